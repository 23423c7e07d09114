//! API keys: made, found and ended.
//!
//! A key is `pdv_` and 256 random bits. Only its SHA-256 is kept, so that it is shown once, when it is
//! made, and finding it is a look-up of the hash: nothing is compared byte by byte that could be timed.
//!
//! A key that is used to make and end keys and sessions can do that to those alone that can do no more than itself,
//! and makes none that outlives it: who steals one gains nothing by it.

use super::{PeopleError, Principal, Role, Scope, TokenKind, User};
use crate::{
    domain::{id, time},
    store::{
        Store, StoreError,
        runs::After,
        tokens::{self as rows, TokenRow, When},
    },
};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How every key begins.
pub const KEY_PREFIX: &str = "pdv_";
/// A key or session that was used is noted at most this often, milliseconds.
pub(super) const NOTE_USE_EVERY_MS: i64 = 60_000;
/// How long it may take to note it: what somebody asks for does not wait for a database that only others write to.
const NOTE_USE_WITHIN: Duration = Duration::from_secs(1);
/// The most characters of a key's name.
const NAME_MAX: usize = 100;
const KIND: &str = TokenKind::Key.as_str();

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

impl NewKey {
    /// The same, made by somebody with a key or session: when nothing is said, it may do what theirs may, but for
    /// `admin`, and ends when theirs does.
    ///
    /// # Errors
    /// It could do more than theirs, or outlive it.
    pub fn within(self, who: &Principal) -> Result<Self, PeopleError> {
        let scopes =
            self.scopes.unwrap_or_else(|| Scope::DEFAULT.into_iter().filter(|scope| who.may(*scope)).collect());
        if !who.may_all(&scopes) {
            return Err(PeopleError::Beyond);
        }
        let limit = who.expires_at.filter(|_| who.token == TokenKind::Key);
        let expires_at = match (self.expires_at, limit) {
            (Some(asked), Some(limit)) if asked > limit => return Err(PeopleError::Outlives),
            (asked, limit) => asked.or(limit),
        };
        Ok(Self { name: self.name, scopes: Some(scopes), expires_at })
    }
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
    if new.name.as_ref().is_some_and(|name| name.chars().count() > NAME_MAX || name.chars().any(char::is_control)) {
        return Err(PeopleError::Name);
    }
    let token = format!("{KEY_PREFIX}{}", id::random::<32>());
    let row = TokenRow {
        id: id::new("key"),
        user_id: user.id.clone(),
        kind: KIND.to_owned(),
        hint: hint(&token),
        name: new.name,
        scopes: Scope::join(&scopes),
        agent: None,
        address: None,
        created_at: now,
        expires_at: new.expires_at,
        last_used_at: None,
        revoked_at: None,
    };
    if !rows::insert(store, &row, &Sha256::digest(&token), None).await? {
        return Err(PeopleError::Disabled(user.email.clone()));
    }
    Ok((key(row)?, token.into()))
}

/// What somebody took for an id, as it may be shown.
pub(super) fn shown(id: &str) -> String {
    id.chars().take(64).collect()
}

/// How a token begins and ends, to tell it from others.
pub(super) fn hint(token: &str) -> String {
    format!("{}…{}", &token[..KEY_PREFIX.len() + 4], &token[token.len() - 4..])
}

/// A user's keys, newest first, those that are over included.
///
/// # Errors
/// The database.
pub async fn keys(store: &Store, user_id: &str, after: Option<&After>, limit: i64) -> Result<Vec<Key>, PeopleError> {
    rows::list(store, (user_id, KIND), after, limit).await?.into_iter().map(key).collect()
}

/// The key of this id, whoever's it is.
///
/// # Errors
/// There is none.
pub async fn key_by_id(store: &Store, id: &str) -> Result<Key, PeopleError> {
    let row = if id::is_one(id) { rows::get(store, id).await? } else { None };
    row.filter(|row| row.kind == KIND).map_or_else(|| Err(PeopleError::NoKey(shown(id))), key)
}

/// The key of this id, if it is this person's own and can do no more than what they have shown.
///
/// # Errors
/// There is none, or it can do more.
pub async fn own_key(store: &Store, who: &Principal, id: &str) -> Result<Key, PeopleError> {
    let key = key_by_id(store, id).await?;
    if key.user_id != who.user_id {
        return Err(PeopleError::NoKey(shown(id)));
    }
    if who.may_all(&key.scopes) || who.token == TokenKind::Session || who.token_id == key.id {
        Ok(key)
    } else {
        Err(PeopleError::Beyond)
    }
}

/// Ends a key. Once more is no error.
///
/// # Errors
/// The database.
pub async fn revoke_key(store: &Store, key: &Key) -> Result<(), PeopleError> {
    Ok(rows::revoke(store, &key.id, time::now_ms()).await?)
}

/// Whose key this is at the time `now` (Unix milliseconds); none if it is none, over, or its user disabled.
///
/// # Errors
/// The database.
pub async fn authenticate_bearer(store: &Store, token: &str, now: i64) -> Result<Option<Principal>, StoreError> {
    if !token.starts_with(KEY_PREFIX) {
        return Ok(None);
    }
    let when = When { now, used_after: i64::MIN };
    let Some(row) = rows::bearer(store, KIND, &Sha256::digest(token), when).await? else { return Ok(None) };
    if row.last_used_at.is_none_or(|used| now - used >= NOTE_USE_EVERY_MS) {
        note_use(store, &row.token_id, None, now).await;
    }
    let role: Role = row.role.parse()?;
    let mut scopes = Scope::split(&row.scopes)?;
    scopes.retain(|scope| Scope::of(role).contains(scope));
    Ok(Some(Principal {
        user_id: row.user_id,
        email: row.email,
        role,
        scopes,
        token: TokenKind::Key,
        token_id: row.token_id,
        expires_at: row.expires_at,
    }))
}

/// Notes that a key or session was used. Who has a good one is let in where that cannot be written down, too: with a full
/// disk there is still much to read.
pub(super) async fn note_use(store: &Store, id: &str, address: Option<&str>, now: i64) {
    let note = rows::touch(store, id, address, now, now - NOTE_USE_EVERY_MS);
    match tokio::time::timeout(NOTE_USE_WITHIN, note).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(token = id, error = crate::cli::output::chain(&error), "a use could not be noted");
        }
        Err(_) => tracing::warn!(token = id, "a use could not be noted in time"),
    }
}

/// Whether what somebody has shown is still good: neither over nor revoked, and they are not disabled.
///
/// # Errors
/// The database.
pub async fn is_still_good(store: &Store, who: &Principal, now: i64) -> Result<bool, StoreError> {
    rows::is_live(store, &who.token_id, now).await
}

fn key(row: TokenRow) -> Result<Key, PeopleError> {
    Ok(Key {
        scopes: Scope::split(&row.scopes)?,
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
