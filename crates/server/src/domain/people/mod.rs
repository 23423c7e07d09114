//! People, their passwords, and what they are let in with.

mod error;
mod keys;
mod limit;
mod password;
mod principal;
mod sessions;
pub mod setup;

pub use error::PeopleError;
pub use keys::{
    KEY_PREFIX, Key, NewKey, authenticate_bearer, create_key, is_still_good, key_by_id, keys, own_key, revoke_key,
};
pub use limit::{Attempt, Limits};
pub use password::Room;
pub use principal::{Principal, Scope, TokenKind, UnknownScope};
pub use sessions::{
    IDLE_MS, KEPT_MS, LIFETIME_MS, Place, SESSION_PREFIX, Session, authenticate_session, begin_session, end_session,
    forget_sessions, know_addresses, own_session, sessions,
};

use super::{id, time};
use crate::store::{
    Store, StoreError,
    people::{self as rows, Changed, Replaced},
    runs::After,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use utoipa::ToSchema;

/// The longest address that mail can be sent to (RFC 5321, 4.5.3.1.3, without its brackets).
const MAX_EMAIL: usize = 254;

/// What somebody may do on this server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything that a member may, and administer the server.
    Admin,
    /// Use their own connections.
    Member,
}

impl Role {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }
}

impl FromStr for Role {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "admin" => Ok(Self::Admin),
            "member" => Ok(Self::Member),
            _ => Err(StoreError::Unknown { what: "role", value: text.to_owned() }),
        }
    }
}

/// Somebody who may use this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// `usr_…`
    pub id: String,
    /// In lower case.
    pub email: String,
    /// What they may do.
    pub role: Role,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Since when they are switched off, Unix milliseconds.
    pub disabled_at: Option<i64>,
}

/// Adds a user and makes up a password for them, which is returned and not kept.
///
/// # Errors
/// The email is none, or taken.
pub async fn create_user(store: &Store, email: &str, role: Role) -> Result<(User, SecretString), PeopleError> {
    let password = password::made_up();
    let row = new_user(&Room::take()?, email, role, password.clone()).await?;
    match rows::insert_user(store, &row).await {
        Ok(()) => Ok((user(row)?, password)),
        Err(error) if error.is_duplicate() => Err(PeopleError::Exists(row.email)),
        Err(error) => Err(error.into()),
    }
}

async fn new_user(room: &Room, email: &str, role: Role, password: SecretString) -> Result<rows::UserRow, PeopleError> {
    Ok(rows::UserRow {
        id: id::new("usr"),
        email: normal_email(email)?,
        role: role.as_str().to_owned(),
        password_hash: password::hash(room, password).await?,
        created_at: time::now_ms(),
        disabled_at: None,
    })
}

/// All users, newest first.
///
/// # Errors
/// The database.
pub async fn users(store: &Store, after: Option<&After>, limit: i64) -> Result<Vec<User>, PeopleError> {
    rows::users(store, after, limit).await?.into_iter().map(user).collect()
}

/// The user with this email.
///
/// # Errors
/// There is none.
pub async fn by_email(store: &Store, email: &str) -> Result<User, PeopleError> {
    user(row(store, email).await?)
}

/// The user of this id.
///
/// # Errors
/// There is none.
pub async fn by_id(store: &Store, id: &str) -> Result<User, PeopleError> {
    let row = if id::is_one(id) { rows::user(store, id).await? } else { None };
    row.map_or_else(|| Err(PeopleError::NoUser(keys::shown(id))), user)
}

/// The user with this email; none where there is none, or it is no email.
///
/// # Errors
/// The database.
pub async fn look_up(store: &Store, email: &str) -> Result<Option<User>, PeopleError> {
    match by_email(store, email).await {
        Ok(user) => Ok(Some(user)),
        Err(PeopleError::NoUser(_) | PeopleError::Email(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The user with this email, or the only one who is not disabled when no email is given.
///
/// # Errors
/// There is none, or there are several.
pub async fn named_or_only(store: &Store, email: Option<&str>) -> Result<User, PeopleError> {
    if let Some(email) = email {
        return by_email(store, email).await;
    }
    let mut active = users(store, None, i64::MAX).await?.into_iter().filter(|user| user.disabled_at.is_none());
    match (active.next(), active.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(PeopleError::WhichUser),
        (None, _) => Err(PeopleError::NoUsers),
    }
}

/// Switches a user off, whoever they are: their keys end to work at once, their sessions for good. Once more is no
/// error.
///
/// # Errors
/// There is no such user.
pub async fn disable(store: &Store, email: &str) -> Result<User, PeopleError> {
    let user = by_email(store, email).await?;
    rows::disable_user(store, &user.id, time::now_ms()).await?;
    by_email(store, email).await
}

/// What is to change of a user; nothing where it is not said.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change {
    /// Their role.
    pub role: Option<Role>,
    /// Whether they are switched off. Their keys work again when they are switched on; their sessions do not.
    pub disabled: Option<bool>,
}

/// Changes a user.
///
/// # Errors
/// There is no such user, or nobody could administer the server any more.
pub async fn change_user(store: &Store, id: &str, change: Change) -> Result<User, PeopleError> {
    let no_user = || PeopleError::NoUser(keys::shown(id));
    if !id::is_one(id) {
        return Err(no_user());
    }
    let role = change.role.map(Role::as_str);
    match rows::change_user(store, id, role, change.disabled, time::now_ms()).await? {
        Changed::Done(row) => user(row),
        Changed::NoUser => Err(no_user()),
        Changed::LastAdmin => Err(PeopleError::LastAdmin),
    }
}

/// Gives a user a password that is made up and returned, and ends their sessions.
///
/// # Errors
/// There is no such user.
pub async fn reset_password(store: &Store, email: &str) -> Result<(User, SecretString), PeopleError> {
    let user = by_email(store, email).await?;
    let password = password::made_up();
    let hash = password::hash(&Room::take()?, password.clone()).await?;
    rows::set_password_hash(store, &user.id, &hash, time::now_ms()).await?;
    Ok((user, password))
}

/// Gives somebody the password that they have chosen, and ends their sessions but the one that they use.
///
/// # Errors
/// The current password is wrong, or is not the current one any more when the new one is to take its place; what they
/// have shown is over by then; the new one is too short.
pub async fn change_password(
    store: &Store,
    who: &Principal,
    current: SecretString,
    new: SecretString,
) -> Result<(), PeopleError> {
    password::check(&new)?;
    let room = Room::take()?;
    let old = checked(store, &room, &who.email, current).await?.ok_or(PeopleError::WrongPassword)?.password_hash;
    let hash = password::hash(&room, new).await?;
    match rows::replace_password_hash(store, &who.user_id, (&old, &hash), &who.token_id, time::now_ms()).await? {
        Replaced::Done => Ok(()),
        Replaced::OtherPassword => Err(PeopleError::WrongPassword),
        Replaced::TokenOver => Err(PeopleError::Over),
    }
}

/// The user of this email and password; none if either is wrong or the user is disabled. An unknown email costs as
/// much as a wrong password, so that the time does not tell which it was.
///
/// # Errors
/// The database.
pub async fn check_password(store: &Store, email: &str, password: SecretString) -> Result<Option<User>, PeopleError> {
    checked(store, &Room::take()?, email, password).await?.map(user).transpose()
}

/// Begins a session for whoever has this email and password.
///
/// # Errors
/// Either is wrong, or the user is disabled.
pub async fn sign_in(
    store: &Store,
    room: Room,
    email: &str,
    password: SecretString,
    from: Place,
) -> Result<(User, Session, SecretString), PeopleError> {
    let row = checked(store, &room, email, password).await?.ok_or(PeopleError::SignIn)?;
    let password_hash = row.password_hash.clone();
    let user = user(row)?;
    let (session, secret) = begin_session(store, &user, Some(&password_hash), from).await?;
    Ok((user, session, secret))
}

async fn checked(
    store: &Store,
    room: &Room,
    email: &str,
    password: SecretString,
) -> Result<Option<rows::UserRow>, PeopleError> {
    let row = match row(store, email).await {
        Ok(row) => Some(row).filter(|row| row.disabled_at.is_none()),
        Err(PeopleError::NoUser(_) | PeopleError::Email(_)) => None,
        Err(error) => return Err(error),
    };
    let expected = row.as_ref().map(|row| row.password_hash.clone());
    Ok(if password::is_right(room, password, expected).await? { row } else { None })
}

/// An address in lower case. What is before the `@` may be almost anything; the rest is for the mail to find out.
fn normal_email(email: &str) -> Result<String, PeopleError> {
    let email = email.trim();
    let plain = |text: &str| !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    match email.split_once('@') {
        Some((name, host)) if plain(name) && plain(host) && !host.contains('@') && email.len() <= MAX_EMAIL => {
            Ok(email.to_lowercase())
        }
        Some(_) | None => Err(PeopleError::Email(email.to_owned())),
    }
}

async fn row(store: &Store, email: &str) -> Result<rows::UserRow, PeopleError> {
    let email = normal_email(email)?;
    rows::user_by_email(store, &email).await?.ok_or(PeopleError::NoUser(email))
}

fn user(row: rows::UserRow) -> Result<User, PeopleError> {
    let role = row.role.parse()?;
    Ok(User { id: row.id, email: row.email, role, created_at: row.created_at, disabled_at: row.disabled_at })
}
