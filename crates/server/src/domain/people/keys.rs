//! API keys: made, found and ended.
//!
//! A key is `pdv_` and 256 random bits. Only its SHA-256 is kept, so that it is shown once, when it is
//! made, and finding it is a look-up of the hash: nothing is compared byte by byte that could be timed.

use super::{PeopleError, Role, User};
use crate::{
    domain::{id, time},
    store::{Store, StoreError, people as rows},
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};
use utoipa::ToSchema;

/// How every key begins.
pub const KEY_PREFIX: &str = "pdv_";
/// A key that was used is noted at most this often, milliseconds.
const NOTE_USE_EVERY_MS: i64 = 60_000;
const KIND: &str = TokenKind::Key.as_str();

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

/// An API key, without the key itself. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// `key_…`
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// How the key begins and ends.
    pub hint: String,
    /// What its owner calls it.
    pub name: Option<String>,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: i64,
    /// When it ends by itself.
    pub expires_at: Option<i64>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<i64>,
    /// When it was ended.
    pub revoked_at: Option<i64>,
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
    /// What their key may be used for; never `admin` for a member.
    pub scopes: Vec<Scope>,
    /// What they have shown.
    pub token: TokenKind,
    /// Its id.
    pub token_id: String,
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

impl Principal {
    /// Whether this may be done in their name.
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// What a new key is to be.
#[derive(Debug, Clone, Default)]
pub struct NewKey {
    /// What its owner calls it.
    pub name: Option<String>,
    /// What it may be used for; [`Scope::DEFAULT`] when none is given.
    pub scopes: Option<Vec<Scope>>,
    /// When it ends by itself, Unix milliseconds.
    pub expires_at: Option<i64>,
}

/// Makes a key for a user. The key itself is returned and not kept.
///
/// # Errors
/// The user is disabled or may not have the scope; the key would be over at once.
pub async fn create_key(store: &Store, user: &User, new: NewKey) -> Result<(Key, SecretString), PeopleError> {
    let mut scopes = new.scopes.unwrap_or_else(|| Scope::DEFAULT.to_vec());
    scopes.sort();
    scopes.dedup();
    let now = time::now_ms();
    if user.disabled_at.is_some() {
        return Err(PeopleError::Disabled(user.email.clone()));
    }
    if scopes.is_empty() {
        return Err(PeopleError::NoScope);
    }
    if scopes.contains(&Scope::Admin) && user.role != Role::Admin {
        return Err(PeopleError::NotAdmin(user.email.clone()));
    }
    if new.expires_at.is_some_and(|at| at <= now) {
        return Err(PeopleError::Past);
    }
    let token = format!("{KEY_PREFIX}{}", id::random::<32>());
    let hint = format!("{}…{}", &token[..KEY_PREFIX.len() + 4], &token[token.len() - 4..]);
    let row = rows::TokenRow {
        id: id::new("key"),
        user_id: user.id.clone(),
        kind: KIND.to_owned(),
        hint,
        name: new.name,
        scopes: scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "),
        created_at: now,
        expires_at: new.expires_at,
        last_used_at: None,
        revoked_at: None,
    };
    rows::insert_token(store, &row, &Sha256::digest(&token)).await?;
    Ok((key(row)?, token.into()))
}

/// A user's keys, newest first, those that are over included.
///
/// # Errors
/// The database.
pub async fn keys(store: &Store, user_id: &str) -> Result<Vec<Key>, PeopleError> {
    rows::tokens(store, user_id, KIND).await?.into_iter().map(key).collect()
}

/// Ends a key: of this user, or of anybody when none is given. Once more is no error.
///
/// # Errors
/// There is no such key.
pub async fn revoke_key(store: &Store, user_id: Option<&str>, id: &str) -> Result<(), PeopleError> {
    if rows::revoke_token(store, user_id, id, time::now_ms()).await? {
        Ok(())
    } else {
        Err(PeopleError::NoKey(id.to_owned()))
    }
}

/// Whose key this is at the time `now` (Unix milliseconds); none if it is none, over, or its user disabled.
///
/// # Errors
/// The database.
pub async fn authenticate_bearer(store: &Store, token: &str, now: i64) -> Result<Option<Principal>, StoreError> {
    if !token.starts_with(KEY_PREFIX) {
        return Ok(None);
    }
    let Some(row) = rows::bearer(store, KIND, &Sha256::digest(token), now).await? else { return Ok(None) };
    if row.last_used_at.is_none_or(|used| now - used >= NOTE_USE_EVERY_MS) {
        rows::touch_token(store, &row.token_id, now).await?;
    }
    let role = row.role.parse()?;
    let mut scopes = scopes(&row.scopes)?;
    if role != Role::Admin {
        scopes.retain(|scope| *scope != Scope::Admin);
    }
    Ok(Some(Principal {
        user_id: row.user_id,
        email: row.email,
        role,
        scopes,
        token: TokenKind::Key,
        token_id: row.token_id,
    }))
}

fn key(row: rows::TokenRow) -> Result<Key, PeopleError> {
    Ok(Key {
        scopes: scopes(&row.scopes)?,
        id: row.id,
        user_id: row.user_id,
        hint: row.hint,
        name: row.name,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
        revoked_at: row.revoked_at,
    })
}

fn scopes(text: &str) -> Result<Vec<Scope>, StoreError> {
    let unknown = |UnknownScope(value)| StoreError::Unknown { what: "scope", value };
    text.split_whitespace().map(|scope| scope.parse().map_err(unknown)).collect()
}
