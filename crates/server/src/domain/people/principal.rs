//! Who a request comes from, and what they may do.

use super::Role;
use crate::store::StoreError;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use utoipa::ToSchema;

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub enum Scope {
    /// See runs.
    #[serde(rename = "runs:read")]
    RunsRead,
    /// Make, cancel and delete runs.
    #[serde(rename = "runs:write")]
    RunsWrite,
    /// See and change connections.
    #[serde(rename = "connections")]
    Connections,
    /// Sign in at providers.
    #[serde(rename = "logins")]
    Logins,
    /// Administer the server, if the key's owner may.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] = [Self::RunsRead, Self::RunsWrite, Self::Connections, Self::Logins, Self::Admin];
    /// What a key has unless something else is asked for.
    pub const DEFAULT: [Self; 4] = [Self::RunsRead, Self::RunsWrite, Self::Connections, Self::Logins];

    /// All that somebody of this role may do: what their sessions may be used for.
    pub fn of(role: Role) -> &'static [Self] {
        match role {
            Role::Admin => &Self::ALL,
            Role::Member => &Self::DEFAULT,
        }
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RunsRead => "runs:read",
            Self::RunsWrite => "runs:write",
            Self::Connections => "connections",
            Self::Logins => "logins",
            Self::Admin => "admin",
        }
    }

    /// Several, as they stand in the database.
    pub fn join(scopes: &[Self]) -> String {
        scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// Reads what [`Scope::join`] wrote.
    pub(super) fn split(text: &str) -> Result<Vec<Self>, StoreError> {
        let unknown = |UnknownScope(value)| StoreError::Unknown { what: "scope", value };
        text.split_whitespace().map(|scope| scope.parse().map_err(unknown)).collect()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no scope.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no scope; the scopes are `runs:read`, `runs:write`, `connections`, `logins` and `admin`")]
pub struct UnknownScope(String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or_else(|| UnknownScope(text.to_owned()))
    }
}

/// What somebody shows to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// An API key.
    Key,
    /// A browser's session.
    Session,
}

impl TokenKind {
    /// As it stands in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Session => "session",
        }
    }
}

/// Whoever a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user.
    pub user_id: String,
    /// Their email.
    pub email: String,
    /// What they may do.
    pub role: Role,
    /// What the key or session may be used for; never `admin` for a member.
    pub scopes: Vec<Scope>,
    /// What they have shown.
    pub token: TokenKind,
    /// Its id.
    pub token_id: String,
    /// When it ends by itself, Unix milliseconds.
    pub expires_at: Option<i64>,
}

impl Principal {
    /// Whether this may be done in their name.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether all of this may be.
    pub fn may_all(&self, scopes: &[Scope]) -> bool {
        scopes.iter().all(|scope| self.may(*scope))
    }
}
