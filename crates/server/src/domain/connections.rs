//! Connections: a person's credential for a provider, sealed and versioned.
//!
//! ```text
//!   put ─► active ─► expiring ─► needs_reconnect ─put─► active
//!             └───────────────────────┘     (with every put: version + 1)
//! ```

use super::{failure::Failure, time};
use crate::{
    providers::{Credential, Method},
    store::{
        Store, StoreError,
        credentials::{self as rows, CredentialRow, Described},
    },
    vault::{KeySource, RowBinding, Vault, VaultError},
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

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
    /// When it ends by itself.
    pub expires_at: Option<i64>,
    /// Why it needs to be connected again.
    pub error: Option<Failure>,
    /// From 1, one more with every new secret.
    pub version: i64,
}

/// A connection with its secret, for one use.
#[derive(Debug)]
pub struct Opened {
    /// What lets the tool in.
    pub credential: Credential,
    /// Which version it is, for [`mark_needs_reconnect`].
    pub version: i64,
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload<S> {
    api_key: S,
}

/// Opens the vault of this database. The master key's file is made if it is missing and nothing is
/// sealed yet.
///
/// # Errors
/// The key is missing, open to others, none, or not the one that the secrets are sealed under.
pub async fn open_vault(store: &Store, source: &KeySource) -> Result<Vault, ConnectionError> {
    let sealed = rows::any(store).await?;
    let vault = Vault::open(source, sealed.is_none())?;
    if let Some(row) = sealed {
        vault.unseal(&binding(&row), &row.encrypted_data)?;
    }
    Ok(vault)
}

/// Connects a provider by API key, over whatever connection there was.
///
/// # Errors
/// The vault or the database.
pub async fn put_api_key(
    store: &Store,
    vault: &Vault,
    user_id: &str,
    provider: &str,
    api_key: &SecretString,
) -> Result<Connection, ConnectionError> {
    let payload = Payload { api_key: api_key.expose_secret() };
    let payload = Zeroizing::new(serde_json::to_vec(&payload).expect("a struct of strings is JSON"));
    let described = Described { method: method_text(Method::ApiKey), ..Described::default() };
    let row = rows::put(store, (user_id, provider), &described, time::now_ms(), |id| {
        let row = RowBinding { table: rows::TABLE, id, user: user_id, provider };
        Ok::<_, ConnectionError>(vault.seal(&row, &payload)?)
    })
    .await?;
    connection(row)
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
    let not_connected = || ConnectionError::NotConnected(provider.to_owned());
    let row = rows::get(store, user_id, provider).await?.ok_or_else(not_connected)?;
    let sealed = vault.unseal(&binding(&row), &row.encrypted_data);
    let Connection { id, status, method, error, version, .. } = connection(row)?;
    match status {
        Status::Active | Status::Expiring => {}
        Status::NeedsReconnect => {
            return Err(ConnectionError::NeedsReconnect { provider: provider.to_owned(), error: error.map(Box::new) });
        }
        Status::Revoked => return Err(not_connected()),
    }
    let payload = sealed?;
    let credential = match method {
        Method::ApiKey => {
            let payload: Payload<String> =
                serde_json::from_slice(payload.expose_secret()).map_err(|_| ConnectionError::Unreadable(id))?;
            Credential::ApiKey(payload.api_key.into())
        }
        Method::Login | Method::SetupToken | Method::Import => return Err(ConnectionError::Unreadable(id)),
    };
    Ok(Opened { credential, version })
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
    user_id: &str,
    provider: &str,
    version: i64,
    why: &Failure,
) -> Result<bool, ConnectionError> {
    let error = serde_json::to_string(why).expect("a struct of strings is JSON");
    Ok(rows::refuse(store, (user_id, provider), version, &error, time::now_ms()).await?)
}

fn binding(row: &CredentialRow) -> RowBinding<'_> {
    RowBinding { table: rows::TABLE, id: &row.id, user: &row.user_id, provider: &row.provider }
}

fn connection(row: CredentialRow) -> Result<Connection, ConnectionError> {
    let unknown = |what, value: &str| StoreError::Unknown { what, value: value.to_owned() };
    let status = match row.status.as_str() {
        "active" => Status::Active,
        "expiring" => Status::Expiring,
        "needs_reconnect" => Status::NeedsReconnect,
        "revoked" => Status::Revoked,
        other => return Err(unknown("status of a connection", other).into()),
    };
    let methods = [Method::Login, Method::ApiKey, Method::SetupToken, Method::Import];
    let method = methods.into_iter().find(|method| method_text(*method) == row.method);
    let error = row.error.as_deref().map(serde_json::from_str).transpose();
    Ok(Connection {
        status,
        method: method.ok_or_else(|| unknown("method of a connection", &row.method))?,
        error: error.map_err(|_| unknown("error of a connection", &row.id))?,
        id: row.id,
        user_id: row.user_id,
        provider: row.provider,
        account: row.account,
        plan: row.plan,
        connected_at: row.connected_at,
        expires_at: row.expires_at,
        version: row.version,
    })
}

fn method_text(method: Method) -> &'static str {
    match method {
        Method::Login => "login",
        Method::ApiKey => "api_key",
        Method::SetupToken => "setup_token",
        Method::Import => "import",
    }
}
