//! A sandbox as its owner sees it, while it stands and after its end.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, btree_map::Entry};
use utoipa::ToSchema;

/// How many connections of a sandbox are kept, the newest.
const CONNECTIONS_MAX: usize = 500;

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

/// What a sandbox is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work<'a> {
    /// This run.
    Run(&'a str),
    /// This login.
    Login(&'a str),
}

impl<'a> Work<'a> {
    /// The run.
    pub fn run(self) -> Option<&'a str> {
        match self {
            Self::Run(id) => Some(id),
            Self::Login(_) => None,
        }
    }

    /// The login.
    pub fn login(self) -> Option<&'a str> {
        match self {
            Self::Run(_) => None,
            Self::Login(id) => Some(id),
        }
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
    /// The login that it was made for.
    pub login_id: Option<String>,
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
    /// Every host that was asked for, by name; beyond 256 that were reached and 256 that were not, as `(others)`.
    pub hosts: Vec<Host>,
    /// The newest 500 connections that were asked for, oldest first.
    pub connections: Vec<Flow>,
}

impl Network {
    /// What was seen at first by one server, and then by the one that took the sandbox over.
    #[must_use]
    pub fn and_then(self, later: Self) -> Self {
        let mut hosts: BTreeMap<String, Host> = self.hosts.into_iter().map(|host| (host.host.clone(), host)).collect();
        for host in later.hosts {
            match hosts.entry(host.host.clone()) {
                Entry::Vacant(new) => drop(new.insert(host)),
                Entry::Occupied(known) => known.into_mut().add(host),
            }
        }
        let mut connections = self.connections;
        connections.extend(later.connections);
        connections.drain(..connections.len().saturating_sub(CONNECTIONS_MAX));
        Self { hosts: hosts.into_values().collect(), connections }
    }

    /// The same, with every name as `shown` gives it back.
    #[must_use]
    pub fn shown_by(mut self, shown: impl Fn(&str) -> String) -> Self {
        self.hosts.iter_mut().for_each(|host| host.host = shown(&host.host));
        self.connections.iter_mut().for_each(|flow| flow.host = shown(&flow.host));
        self
    }
}

/// What went to and came from one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// As it was named.
    pub host: String,
    /// Connections that were opened.
    pub connections: u64,
    /// Connections that were refused, those among them that had been opened before.
    #[serde(default)]
    pub denied: u64,
    /// Connections that were allowed, and could not be opened.
    #[serde(default)]
    pub failed: u64,
    /// Why the last of those was refused or not opened.
    #[serde(default)]
    pub reason: Option<String>,
    /// Bytes from the sandbox.
    pub bytes_up: u64,
    /// Bytes to the sandbox.
    pub bytes_down: u64,
}

impl Host {
    fn add(&mut self, later: Self) {
        self.connections += later.connections;
        self.denied += later.denied;
        self.failed += later.failed;
        self.reason = later.reason.or(self.reason.take());
        self.bytes_up += later.bytes_up;
        self.bytes_down += later.bytes_down;
    }
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
