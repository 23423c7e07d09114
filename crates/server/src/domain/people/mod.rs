//! People, their passwords and their API keys.

mod keys;

pub use keys::{
    KEY_PREFIX, Key, NewKey, Principal, Scope, TokenKind, UnknownScope, authenticate_bearer, create_key, keys,
    revoke_key,
};

use super::{id, time};
use crate::store::{Store, StoreError, people as rows};
use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use utoipa::ToSchema;

/// The longest address that mail can be sent to (RFC 5321, 4.5.3.1.3, without its brackets).
const MAX_EMAIL: usize = 254;
/// How long a password that somebody chooses must be (NIST SP 800-63B, 5.1.1.2), and may be.
const PASSWORD_LENGTH: std::ops::RangeInclusive<usize> = 8..=1024;

/// Why something cannot be done with a user or a key.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// Not an email address.
    #[error("`{0}` is no email address")]
    Email(String),
    /// The email is taken.
    #[error("a user `{0}` exists already")]
    Exists(String),
    /// There is no such user.
    #[error("there is no user `{0}`")]
    NoUser(String),
    /// There are no users at all.
    #[error("there is no user yet")]
    NoUsers,
    /// There are several users, and it was not said which.
    #[error("there are several users, and it was not said which one is meant")]
    WhichUser,
    /// The user is switched off.
    #[error("the user `{0}` is disabled")]
    Disabled(String),
    /// A password that is too short or too long.
    #[error("a password has {} to {} characters", PASSWORD_LENGTH.start(), PASSWORD_LENGTH.end())]
    Password,
    /// A key with the scope `admin` for somebody who is none.
    #[error("`{0}` is no admin, so a key of theirs cannot have the scope `admin`")]
    NotAdmin(String),
    /// A key without a scope.
    #[error("a key without a scope can do nothing")]
    NoScope,
    /// A key that would be over at once.
    #[error("a key cannot expire in the past")]
    Past,
    /// There is no such key.
    #[error("there is no key `{0}`")]
    NoKey(String),
    /// Passwords cannot be hashed.
    #[error("the password cannot be hashed")]
    Hash,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

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
    let email = normal_email(email)?;
    let password = SecretString::from(id::random::<15>());
    let row = rows::UserRow {
        id: id::new("usr"),
        email: email.clone(),
        role: role.as_str().to_owned(),
        password_hash: hash(password.clone()).await?,
        created_at: time::now_ms(),
        disabled_at: None,
    };
    match rows::insert_user(store, &row).await {
        Ok(()) => Ok((user(row)?, password)),
        Err(error) if error.is_duplicate() => Err(PeopleError::Exists(email)),
        Err(error) => Err(error.into()),
    }
}

/// All users, newest first.
///
/// # Errors
/// The database.
pub async fn users(store: &Store) -> Result<Vec<User>, PeopleError> {
    rows::users(store).await?.into_iter().map(user).collect()
}

/// The user with this email.
///
/// # Errors
/// There is none.
pub async fn by_email(store: &Store, email: &str) -> Result<User, PeopleError> {
    user(row(store, email).await?)
}

/// The user with this email, or the only one who is not disabled when no email is given.
///
/// # Errors
/// There is none, or there are several.
pub async fn named_or_only(store: &Store, email: Option<&str>) -> Result<User, PeopleError> {
    if let Some(email) = email {
        return by_email(store, email).await;
    }
    let mut active = users(store).await?.into_iter().filter(|user| user.disabled_at.is_none());
    match (active.next(), active.next()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(PeopleError::WhichUser),
        (None, _) => Err(PeopleError::NoUsers),
    }
}

/// Switches a user off: their keys end to work at once. Once more is no error.
///
/// # Errors
/// There is no such user.
pub async fn disable(store: &Store, email: &str) -> Result<(), PeopleError> {
    let user = by_email(store, email).await?;
    Ok(rows::disable_user(store, &user.id, time::now_ms()).await?)
}

/// Gives a user this password, or one that is made up and returned.
///
/// # Errors
/// There is no such user, or the password is too short.
pub async fn set_password(
    store: &Store,
    email: &str,
    password: Option<SecretString>,
) -> Result<SecretString, PeopleError> {
    let user = by_email(store, email).await?;
    let password = match password {
        Some(chosen) if !PASSWORD_LENGTH.contains(&chosen.expose_secret().chars().count()) => {
            return Err(PeopleError::Password);
        }
        Some(chosen) => chosen,
        None => id::random::<15>().into(),
    };
    rows::set_password_hash(store, &user.id, &hash(password.clone()).await?).await?;
    Ok(password)
}

/// The user of this email and password; none if either is wrong or the user is disabled.
///
/// # Errors
/// The database.
pub async fn check_password(store: &Store, email: &str, password: SecretString) -> Result<Option<User>, PeopleError> {
    let row = match row(store, email).await {
        Ok(row) => Some(row).filter(|row| row.disabled_at.is_none()),
        Err(PeopleError::NoUser(_) | PeopleError::Email(_)) => None,
        Err(error) => return Err(error),
    };
    // An unknown email costs as much as a wrong password, so that the time does not tell which it was.
    let Some(row) = row else {
        hash(password).await?;
        return Ok(None);
    };
    let expected = row.password_hash.clone();
    let verify = move || {
        let expected = PasswordHash::new(&expected).map_err(|_| PeopleError::Hash)?;
        Ok(Argon2::default().verify_password(password.expose_secret().as_bytes(), &expected).is_ok())
    };
    if off_the_runtime(verify).await? { user(row).map(Some) } else { Ok(None) }
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

/// Argon2id, version 19, 19 MiB, two passes: the parameters of the crate and of OWASP.
async fn hash(password: SecretString) -> Result<String, PeopleError> {
    off_the_runtime(move || {
        let hash = Argon2::default().hash_password(password.expose_secret().as_bytes());
        Ok(hash.map_err(|_| PeopleError::Hash)?.to_string())
    })
    .await
}

/// Hashing takes tens of milliseconds of a processor, which the runtime's threads must not spend.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PeopleError> + Send + 'static,
) -> Result<T, PeopleError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| PeopleError::Hash)?
}
