//! A sandbox as its owner sees it, while it stands and after its end.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a sandbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is being made.
    Creating,
    /// Its agent answers.
    Ready,
    /// It is being destroyed.
    Stopping,
    /// Nothing of it is left, as wished.
    Gone,
    /// Nothing of it is left but why.
    Failed,
}

impl State {
    /// As it stands in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
            Self::Gone => "gone",
            Self::Failed => "failed",
        }
    }

    /// The state of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Creating, Self::Ready, Self::Stopping, Self::Gone, Self::Failed]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// A sandbox. What it printed is read apart from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// `sbx_…`.
    pub id: String,
    /// Whose, once it is somebody's.
    pub user_id: Option<String>,
    /// The run that it was made for.
    pub run_id: Option<String>,
    /// What made it.
    pub driver: String,
    /// The content id of its image; empty where the driver uses none.
    pub image_id: String,
    /// Where it stands.
    pub state: State,
    /// What went wrong.
    pub error: Option<String>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds.
    pub ended_at: Option<i64>,
}

/// What the gateway saw of a sandbox: names, ports and bytes, never paths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Network {
    /// What went to and came from each host that was reached, by name.
    pub hosts: Vec<Host>,
    /// The newest 500 connections that were asked for, oldest first.
    pub connections: Vec<Flow>,
}

/// What went to and came from one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// As it was named.
    pub host: String,
    /// Connections that were opened.
    pub connections: u64,
    /// Bytes from the sandbox.
    pub bytes_up: u64,
    /// Bytes to the sandbox.
    pub bytes_down: u64,
}

/// One connection that a sandbox asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flow {
    /// When it was asked for.
    pub at: String,
    /// The host as it was named.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What became of it.
    pub verdict: Verdict,
    /// Why, unless it was allowed.
    pub reason: Option<String>,
    /// Bytes from the sandbox.
    pub bytes_up: u64,
    /// Bytes to the sandbox.
    pub bytes_down: u64,
}

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was opened.
    Allowed,
    /// It may not be opened from a sandbox.
    Denied,
    /// It was allowed, and the other side could not be reached.
    Failed,
}
