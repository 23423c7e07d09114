//! Browser sessions: begun by signing in, found by their cookie, ended.
//!
//! A session is a random secret as a key is, of which the hash is kept. It may be used for all that its person may
//! do, so it ends by itself: [`IDLE_MS`] after its last use, and [`LIFETIME_MS`] after it was begun.

use super::{
    Limits, PeopleError, Principal, Role, Scope, TokenKind, User,
    keys::{NOTE_USE_EVERY_MS, hint, note_use, shown},
};
use crate::{
    domain::{
        id,
        time::{self, DAY_MS},
    },
    store::{
        Store, StoreError,
        runs::After,
        tokens::{self as rows, TokenRow, When},
    },
};
use secrecy::SecretString;
use sha2::{Digest, Sha256};

/// How every session's secret begins.
pub const SESSION_PREFIX: &str = "pds_";
/// How long a session lives that nobody uses, milliseconds: 7 days.
pub const IDLE_MS: i64 = 7 * DAY_MS;
/// How long a session lives at most, milliseconds: 30 days.
pub const LIFETIME_MS: i64 = 30 * DAY_MS;
/// How long a session that is over is kept, so that the record of what was done can be read by it: 30 days more.
pub const KEPT_MS: i64 = 30 * DAY_MS;
/// Of how many sessions the addresses are known when the server starts: a third of what is counted of failures.
const KNOWN_AT_START: i64 = 10_000;
const KIND: &str = TokenKind::Session.as_str();

/// A session, without its secret. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `ses_…`
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// The program that signed in, as it calls itself.
    pub agent: Option<String>,
    /// The address that it was last used from.
    pub address: Option<String>,
    /// When it was begun.
    pub created_at: i64,
    /// When it ends, however much it is used.
    pub expires_at: Option<i64>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<i64>,
}

impl Session {
    /// Who comes with it, while it is good.
    pub fn principal(&self, user: &User) -> Principal {
        Principal {
            user_id: user.id.clone(),
            email: user.email.clone(),
            role: user.role,
            scopes: Scope::of(user.role).to_vec(),
            token: TokenKind::Session,
            token_id: self.id.clone(),
            expires_at: self.expires_at,
        }
    }
}

/// Where a session is begun from.
#[derive(Debug, Clone)]
pub struct Place {
    /// The program, as it calls itself.
    pub agent: Option<String>,
    /// The address.
    pub address: String,
}

/// Begins a session, for the password of this hash where there was one to be shown. Its secret is returned and not kept.
///
/// # Errors
/// They have another password by now, or are switched off.
pub async fn begin_session(
    store: &Store,
    user: &User,
    password_hash: Option<&str>,
    from: Place,
) -> Result<(Session, SecretString), PeopleError> {
    let token = format!("{SESSION_PREFIX}{}", id::random::<32>());
    let now = time::now_ms();
    let row = TokenRow {
        id: id::new("ses"),
        user_id: user.id.clone(),
        kind: KIND.to_owned(),
        hint: hint(&token),
        name: None,
        // A session may do what its person may at the time.
        scopes: String::new(),
        agent: from.agent,
        address: Some(from.address),
        created_at: now,
        expires_at: Some(now + LIFETIME_MS),
        last_used_at: None,
        revoked_at: None,
    };
    if !rows::insert(store, &row, &Sha256::digest(&token), password_hash).await? {
        return Err(PeopleError::SignIn);
    }
    Ok((session(row), token.into()))
}

/// Whose session this is at the time `now` (Unix milliseconds), used from this address; none if it is none, over, or
/// its user disabled.
///
/// # Errors
/// The database.
pub async fn authenticate_session(
    store: &Store,
    token: &str,
    address: &str,
    now: i64,
) -> Result<Option<Principal>, StoreError> {
    if !token.starts_with(SESSION_PREFIX) {
        return Ok(None);
    }
    let found = rows::bearer(store, KIND, &Sha256::digest(token), living(now)).await?;
    let Some(row) = found else { return Ok(None) };
    if row.last_used_at.is_none_or(|used| now - used >= NOTE_USE_EVERY_MS) {
        note_use(store, &row.token_id, Some(address), now).await;
    }
    let role: Role = row.role.parse()?;
    Ok(Some(Principal {
        user_id: row.user_id,
        email: row.email,
        role,
        scopes: Scope::of(role).to_vec(),
        token: TokenKind::Session,
        token_id: row.token_id,
        expires_at: row.expires_at,
    }))
}

/// A user's sessions that are not over, newest first.
///
/// # Errors
/// The database.
pub async fn sessions(
    store: &Store,
    user_id: &str,
    after: Option<&After>,
    limit: i64,
) -> Result<Vec<Session>, PeopleError> {
    let rows = rows::list_live(store, (user_id, KIND), living(time::now_ms()), after, limit).await?;
    Ok(rows.into_iter().map(session).collect())
}

/// The session of this id, if it is this person's own and can do no more than what they have shown.
///
/// # Errors
/// There is none, or it can do more.
pub async fn own_session(store: &Store, who: &Principal, id: &str) -> Result<Session, PeopleError> {
    let row = if id::is_one(id) { rows::get(store, id).await? } else { None };
    let row = row.filter(|row| row.kind == KIND && row.user_id == who.user_id);
    let row = row.ok_or_else(|| PeopleError::NoSession(shown(id)))?;
    if who.may_all(Scope::of(who.role)) { Ok(session(row)) } else { Err(PeopleError::Beyond) }
}

/// Ends a session. Once more is no error.
///
/// # Errors
/// The database.
pub async fn end_session(store: &Store, id: &str) -> Result<(), PeopleError> {
    Ok(rows::revoke(store, id, time::now_ms()).await?)
}

/// Forgets the sessions that are long over at the time `now` (Unix milliseconds). How many there were.
///
/// # Errors
/// The database.
pub async fn forget_sessions(store: &Store, now: i64) -> Result<u64, StoreError> {
    rows::purge(store, KIND, now - KEPT_MS).await
}

/// Makes the addresses that sessions are used from at the time `now` (Unix milliseconds) their people's: those that have
/// signed in lately are not in the queue of who attacks them when the server starts anew.
///
/// # Errors
/// The database.
pub async fn know_addresses(store: &Store, limits: &Limits, now: i64) -> Result<(), StoreError> {
    for (email, address, expires_at) in rows::addresses(store, KIND, living(now), KNOWN_AT_START).await? {
        if let Ok(address) = address.parse() {
            limits.know(&email, address, expires_at.unwrap_or(now + LIFETIME_MS), now);
        }
    }
    Ok(())
}

fn living(now: i64) -> When {
    When { now, used_after: now - IDLE_MS }
}

fn session(row: TokenRow) -> Session {
    Session {
        id: row.id,
        user_id: row.user_id,
        agent: row.agent,
        address: row.address,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
    }
}
