//! Connections: a person's credential for a provider, sealed and versioned.
//!
//! ```text
//!   put ─► active ─► expiring ─► needs_reconnect ─put─► active
//!             └───────────────────────┘     (with every put: version + 1)
//! ```
//! `expiring` is `active` looked at in its last days, and is not stored; nor is that the last of them is over.

use super::{
    audit::Coded,
    failure::{Code, Failure},
    lease,
    login::Change,
    time,
};
use crate::{
    providers::{self, Credential, Method, login::Account},
    store::{
        Store, StoreError,
        credentials::{self as rows, CredentialRow, Described},
    },
    vault::{RowBinding, Vault, VaultError},
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use zeroize::Zeroizing;

/// How long a setup token lives: a year, as the tool says that prints it.
const SETUP_TOKEN_MS: i64 = 365 * 24 * 60 * 60 * 1000;

/// How long before its end a connection is told to be `expiring`: a week to connect again in.
const EXPIRING_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Why a connection cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The person has not connected the provider.
    #[error("`{0}` is not connected")]
    NotConnected(String),
    /// The provider no longer accepts it.
    #[error("`{provider}` needs to be connected again")]
    NeedsReconnect {
        /// The provider.
        provider: String,
        /// What the provider said, if it is known.
        error: Option<Box<Failure>>,
    },
    /// What was sealed is not what this server seals.
    #[error("the credential `{0}` is of a kind that this polydev does not know")]
    Unreadable(String),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Coded for ConnectionError {
    fn code(&self) -> Code {
        match self {
            Self::NotConnected(_) => Code::NotConnected,
            Self::NeedsReconnect { .. } => Code::NeedsReconnect,
            Self::Unreadable(_) | Self::Vault(_) | Self::Store(_) => Code::Internal,
        }
    }
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ConnectionStatus)]
pub enum Status {
    /// In use.
    Active,
    /// In use, but soon over.
    Expiring,
    /// The provider no longer accepts it.
    NeedsReconnect,
    /// Withdrawn.
    Revoked,
}

/// What is known of a connection; never the secret. Times are Unix milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// `crd_…`
    pub id: String,
    /// Whose it is. Nobody else can use it.
    pub user_id: String,
    /// The provider.
    pub provider: String,
    /// Its state.
    pub status: Status,
    /// How it was made.
    pub method: Method,
    /// The account at the provider, where the provider tells.
    pub account: Option<String>,
    /// What that account pays for, where the provider tells.
    pub plan: Option<String>,
    /// When it was made.
    pub connected_at: i64,
    /// The provider's own name for that account.
    pub account_id: Option<String>,
    /// When the access token of a login ends; none for what is never refreshed.
    pub fresh_until: Option<i64>,
    /// When it ends by itself.
    pub expires_at: Option<i64>,
    /// Why it needs to be connected again.
    pub error: Option<Failure>,
    /// From 1, one more with every new secret.
    pub version: i64,
}

/// One of the secrets that a connection has had. Versions alone do not tell them apart: who disconnects and connects
/// again has another connection, which begins at version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretVersion {
    /// The connection's id.
    pub connection: String,
    /// From 1, one more with every new secret.
    pub version: i64,
}

impl Connection {
    /// The secret that it has now.
    pub fn secret_version(&self) -> SecretVersion {
        SecretVersion { connection: self.id.clone(), version: self.version }
    }
}

/// A connection as its person is told of it; never its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ConnectionView)]
pub struct View {
    /// Which provider.
    pub provider: String,
    /// `active`, `expiring`, `needs_reconnect` or `revoked`.
    pub status: Status,
    /// How it was made.
    pub method: Method,
    /// Whose account it is, where the provider tells.
    pub account: Option<String>,
    /// Which plan it has, where the provider tells.
    pub plan: Option<String>,
    /// When it was made.
    pub connected_at: String,
    /// Until when it is good, where that is known.
    pub expires_at: Option<String>,
    /// What is wrong with it.
    pub error: Option<Failure>,
}

impl From<Connection> for View {
    fn from(connection: Connection) -> Self {
        Self {
            provider: connection.provider,
            status: connection.status,
            method: connection.method,
            account: connection.account,
            plan: connection.plan,
            connected_at: time::rfc3339(connection.connected_at),
            expires_at: connection.expires_at.map(time::rfc3339),
            error: connection.error,
        }
    }
}

/// A connection with its secret, for one use.
#[derive(Debug)]
pub struct Opened {
    /// What lets the tool in.
    pub credential: Credential,
    /// What is known of it; its version is for [`mark_needs_reconnect`].
    pub connection: Connection,
}

/// What is sealed: the secret of one method. The names of the fields say which.
#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Payload {
    ApiKey { api_key: String },
    SetupToken { setup_token: String },
    Login { files: BTreeMap<String, String> },
}

impl Payload {
    fn of(credential: &Credential) -> Self {
        match credential {
            Credential::ApiKey(key) => Self::ApiKey { api_key: key.expose_secret().to_owned() },
            Credential::SetupToken(token) => Self::SetupToken { setup_token: token.expose_secret().to_owned() },
            Credential::Login(login) => {
                let files = login.sealed().into_iter().map(|(name, text)| (name.to_owned(), text.to_owned()));
                Self::Login { files: files.collect() }
            }
        }
    }

    fn credential(self, provider: &str) -> Option<Credential> {
        Some(match self {
            Self::ApiKey { api_key } => Credential::ApiKey(api_key.into()),
            Self::SetupToken { setup_token } => Credential::SetupToken(setup_token.into()),
            Self::Login { files } => {
                let files = files.into_iter().map(|(name, text)| (name, text.into_bytes())).collect();
                Credential::Login(providers::by_name(provider)?.sign_in().read(&files).ok()?)
            }
        })
    }
}

/// Connects a provider, over whatever connection there was. `account` is who the provider says it is.
///
/// # Errors
/// The vault or the database.
pub async fn put(
    store: &Store,
    vault: &Vault,
    (user_id, provider): (&str, &str),
    method: Method,
    credential: &Credential,
    account: Option<&Account>,
) -> Result<Connection, ConnectionError> {
    let now = time::now_ms();
    let payload = sealable(credential);
    let described = described(method, credential, account, now);
    let row = rows::put(store, (user_id, provider), &described, now, |under, id| {
        let row = RowBinding { table: rows::TABLE, id, user: user_id, provider };
        Ok::<_, ConnectionError>(vault.seal(super::vault::sealing(vault, under)?, &row, &payload)?)
    })
    .await?;
    connection(row)
}

/// What a login that was to be kept has led to.
#[derive(Debug)]
pub enum Captured {
    /// Its connection is made or renewed, and the login is over.
    Kept(Box<super::login::Login>),
    /// Another account is connected, and nobody has agreed that it gives way.
    Other(Box<Connection>),
    /// The login is over already, or is to end.
    Over,
}

/// Connects a provider by what somebody's login has left, and the login with it, both or neither. `account` is who the
/// provider says it is; it takes the place of another one only where its person has `agreed` to that, of the account of
/// this name.
///
/// # Errors
/// The vault or the database.
pub async fn capture(
    store: &Store,
    vault: &Vault,
    (login, user_id, provider): (&str, &str, &str),
    credential: &Credential,
    account: &Account,
    agreed: Option<&str>,
) -> Result<Captured, ConnectionError> {
    let now = time::now_ms();
    let payload = sealable(credential);
    let described = described(Method::Login, credential, Some(account), now);
    let seal = |under: Option<&str>, id: &str| {
        let row = RowBinding { table: rows::TABLE, id, user: user_id, provider };
        Ok::<_, ConnectionError>(vault.seal(super::vault::sealing(vault, under)?, &row, &payload)?)
    };
    let proven = |row| Ok(Change::Proven(View::from(connection(row)?)));
    let of = (login, user_id, provider);
    Ok(match rows::capture(store, of, &described, agreed, now, seal, proven).await? {
        rows::Captured::Kept(login) => Captured::Kept(login),
        rows::Captured::Other(row) => Captured::Other(Box::new(connection(*row)?)),
        rows::Captured::Denied(_) => Captured::Over,
    })
}

fn sealable(credential: &Credential) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(serde_json::to_vec(&Payload::of(credential)).expect("structs of strings are JSON"))
}

fn described<'a>(method: Method, credential: &'a Credential, account: Option<&'a Account>, now: i64) -> Described<'a> {
    // The provider says whose it is; of that account, the login's own files may say more.
    let told = |credential: &'a Credential| match credential {
        Credential::Login(login) if account.is_some_and(|account| account.id == login.account.id) => {
            Some(&login.account)
        }
        Credential::Login(_) | Credential::ApiKey(_) | Credential::SetupToken(_) => None,
    };
    let told = told(credential);
    let (fresh_until, expires_at) = match credential {
        Credential::ApiKey(_) => (None, None),
        Credential::SetupToken(_) => (None, Some(now + SETUP_TOKEN_MS)),
        Credential::Login(login) => (Some(login.fresh_until), login.ends_at),
    };
    Described {
        method: method_text(method),
        account: account.and_then(|account| {
            account.email.as_deref().or(told.and_then(|told| told.email.as_deref())).or(Some(&account.id))
        }),
        account_id: account.map(|account| account.id.as_str()),
        plan: account.and_then(|account| account.plan.as_deref()).or(told.and_then(|told| told.plan.as_deref())),
        fresh_until,
        expires_at,
    }
}

/// What is known of a person's connection.
///
/// # Errors
/// The database.
pub async fn get(store: &Store, user_id: &str, provider: &str) -> Result<Option<Connection>, ConnectionError> {
    rows::get(store, user_id, provider).await?.map(connection).transpose()
}

/// All connections of a person, newest first.
///
/// # Errors
/// The database.
pub async fn list(store: &Store, user_id: &str) -> Result<Vec<Connection>, ConnectionError> {
    rows::list(store, user_id).await?.into_iter().map(connection).collect()
}

/// The secret of a person's connection.
///
/// # Errors
/// There is none, the provider no longer accepts it, or the vault cannot open it.
pub async fn open(store: &Store, vault: &Vault, user_id: &str, provider: &str) -> Result<Opened, ConnectionError> {
    let opened = open_refused(store, vault, user_id, provider).await;
    match opened {
        Ok(Opened { connection: Connection { status: Status::NeedsReconnect, error, .. }, .. }) => {
            Err(ConnectionError::NeedsReconnect { provider: provider.to_owned(), error: error.map(Box::new) })
        }
        opened => opened,
    }
}

/// The same, of one that the provider no longer accepts too: a run that was let in before may have a newer one.
///
/// # Errors
/// There is none, or the vault cannot open it.
pub async fn open_refused(
    store: &Store,
    vault: &Vault,
    user_id: &str,
    provider: &str,
) -> Result<Opened, ConnectionError> {
    let not_connected = || ConnectionError::NotConnected(provider.to_owned());
    let mut row = rows::get(store, user_id, provider).await?.ok_or_else(not_connected)?;
    let mut sealed = vault.unseal(&binding(&row), &row.encrypted_data);
    if let Err(VaultError::WrongKey { .. }) = sealed {
        // A rotation may have ended between the reading of the row and the use of its key.
        row = rows::get(store, user_id, provider).await?.ok_or_else(not_connected)?;
        sealed = vault.unseal(&binding(&row), &row.encrypted_data);
    }
    let connection = connection(row)?;
    if connection.status == Status::Revoked {
        return Err(not_connected());
    }
    let unreadable = || ConnectionError::Unreadable(connection.id.clone());
    let payload: Payload = serde_json::from_slice(sealed?.expose_secret()).map_err(|_| unreadable())?;
    let credential = payload.credential(provider).ok_or_else(unreadable)?;
    Ok(Opened { credential, connection })
}

/// Takes over what a run has made of its login. `false`: there is a newer one, or the run has no right to.
///
/// # Errors
/// The vault or the database.
pub async fn write_back(
    store: &Store,
    vault: &Vault,
    run_id: &str,
    before: &Connection,
    login: providers::login::Login,
    lease: lease::Kind,
) -> Result<bool, ConnectionError> {
    let times = (Some(login.fresh_until), login.ends_at);
    let payload = sealable(&Credential::Login(login));
    let row = RowBinding { table: rows::TABLE, id: &before.id, user: &before.user_id, provider: &before.provider };
    let of = (run_id, before.id.as_str(), before.version);
    rows::write_back(store, of, times, lease, time::now_ms(), |under| {
        Ok::<_, ConnectionError>(vault.seal(super::vault::sealing(vault, under)?, &row, &payload)?)
    })
    .await
}

/// Forgets a connection and its secret. Says whether there was one.
///
/// # Errors
/// The database.
pub async fn delete(store: &Store, user_id: &str, provider: &str) -> Result<bool, ConnectionError> {
    Ok(rows::delete(store, user_id, provider).await?)
}

/// Notes that the provider refuses this version of a connection. Says whether it changed anything: a run
/// that was started with an older version says nothing of the newer one.
///
/// # Errors
/// The database.
pub async fn mark_needs_reconnect(
    store: &Store,
    secret: &SecretVersion,
    why: &Failure,
) -> Result<bool, ConnectionError> {
    let error = serde_json::to_string(why).expect("a struct of strings is JSON");
    Ok(rows::refuse(store, (&secret.connection, secret.version), &error, time::now_ms()).await?)
}

fn binding(row: &CredentialRow) -> RowBinding<'_> {
    RowBinding { table: rows::TABLE, id: &row.id, user: &row.user_id, provider: &row.provider }
}

fn connection(row: CredentialRow) -> Result<Connection, ConnectionError> {
    let unknown = |what, value: &str| StoreError::Unknown { what, value: value.to_owned() };
    let stored = match row.status.as_str() {
        "active" => Status::Active,
        "needs_reconnect" => Status::NeedsReconnect,
        "revoked" => Status::Revoked,
        other => return Err(unknown("status of a connection", other).into()),
    };
    let status = aged(stored, row.expires_at, time::now_ms());
    let methods = [Method::Login, Method::ApiKey, Method::SetupToken, Method::Import];
    let method = methods.into_iter().find(|method| method_text(*method) == row.method);
    let error = row.error.as_deref().map(serde_json::from_str).transpose();
    let error: Option<Failure> = error.map_err(|_| unknown("error of a connection", &row.id))?;
    let ended = row.expires_at.filter(|_| stored == Status::Active && status == Status::NeedsReconnect);
    Ok(Connection {
        status,
        method: method.ok_or_else(|| unknown("method of a connection", &row.method))?,
        error: error.or(ended.map(|at| {
            Failure::new(Code::NeedsReconnect, format!("it ended by itself on {}", time::rfc3339(at)))
                .hint(format!("Connect again: `polydev connect {}`.", row.provider))
        })),
        id: row.id,
        user_id: row.user_id,
        provider: row.provider,
        account: row.account,
        plan: row.plan,
        connected_at: row.connected_at,
        account_id: row.account_id,
        fresh_until: row.fresh_until,
        expires_at: row.expires_at,
        version: row.version,
    })
}

/// What a connection has become by now, that ends by itself at `expires_at`. Times are Unix milliseconds.
fn aged(stored: Status, expires_at: Option<i64>, now: i64) -> Status {
    match (stored, expires_at) {
        (Status::Active, Some(end)) if end <= now => Status::NeedsReconnect,
        (Status::Active, Some(end)) if end.saturating_sub(now) <= EXPIRING_MS => Status::Expiring,
        (Status::Active | Status::Expiring | Status::NeedsReconnect | Status::Revoked, _) => stored,
    }
}

fn method_text(method: Method) -> &'static str {
    match method {
        Method::Login => "login",
        Method::ApiKey => "api_key",
        Method::SetupToken => "setup_token",
        Method::Import => "import",
    }
}

#[cfg(test)]
mod tests {
    use super::{EXPIRING_MS, Status, aged};

    #[test]
    fn a_connection_ages_until_it_is_over() {
        let at = |now| aged(Status::Active, Some(EXPIRING_MS + 100), now);
        assert_eq!([at(99), at(100), at(EXPIRING_MS + 99)], [Status::Active, Status::Expiring, Status::Expiring]);
        assert_eq!(at(EXPIRING_MS + 100), Status::NeedsReconnect);
        assert_eq!(aged(Status::Active, None, i64::MAX), Status::Active);
        assert_eq!(aged(Status::Active, Some(i64::MIN), i64::MAX), Status::NeedsReconnect);
        assert_eq!(aged(Status::Revoked, Some(0), 1), Status::Revoked);
    }
}
