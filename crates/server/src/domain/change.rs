//! What has changed among the things of a person.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something of a person's has changed, as they are told: which thing, not how. They look it up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// What kind of thing.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Which one: a run's or a login's id, a connection's provider. Null with `resync`.
    pub id: Option<String>,
}

/// What kind of thing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ChangeKind)]
pub enum Kind {
    /// A run was accepted, has started, has ended, or was deleted.
    Run,
    /// A login was opened, has moved on, or has ended.
    Login,
    /// A connection was made, can no longer be used, or was forgotten.
    Connection,
    /// Changes were missed: look at everything again.
    Resync,
}

impl Kind {
    /// As it stands in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Login => "login",
            Self::Connection => "connection",
            Self::Resync => "resync",
        }
    }
}

impl Change {
    /// Changes were missed.
    pub const RESYNC: Self = Self { kind: Kind::Resync, id: None };

    /// This run has changed.
    pub fn run(id: &str) -> Self {
        Self { kind: Kind::Run, id: Some(id.to_owned()) }
    }

    /// This login has changed.
    pub fn login(id: &str) -> Self {
        Self { kind: Kind::Login, id: Some(id.to_owned()) }
    }

    /// The connection to this provider has changed.
    pub fn connection(provider: &str) -> Self {
        Self { kind: Kind::Connection, id: Some(provider.to_owned()) }
    }
}
