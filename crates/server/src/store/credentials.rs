//! Connections: sealed credentials and what is known of them.

use super::{
    Store, StoreError,
    logins::{self, Changed},
    vault,
};
use crate::domain::login::{Change, Denied, Login, Status};
use sqlx::{Any, FromRow, Transaction};

/// The table, as the vault binds secrets to it.
pub const TABLE: &str = "encrypted_credentials";

/// A person's credential for a provider.
const OF_PERSON: &str = "SELECT * FROM encrypted_credentials WHERE user_id = $1 AND provider = $2";

/// A row of `encrypted_credentials`.
#[derive(Debug, Clone, FromRow)]
#[expect(missing_docs, reason = "the migration describes the columns")]
pub struct CredentialRow {
    pub id: String,
    pub user_id: String,
    pub provider: String,
    pub encrypted_data: Vec<u8>,
    pub version: i64,
    pub status: String,
    pub method: String,
    pub account: Option<String>,
    pub plan: Option<String>,
    pub error: Option<String>,
    pub connected_at: i64,
    pub expires_at: Option<i64>,
    pub account_id: Option<String>,
    pub fresh_until: Option<i64>,
}

/// What a new credential says of itself.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the migration describes the columns")]
pub struct Described<'a> {
    pub method: &'a str,
    pub account: Option<&'a str>,
    pub account_id: Option<&'a str>,
    pub plan: Option<&'a str>,
    pub fresh_until: Option<i64>,
    pub expires_at: Option<i64>,
}

/// Stores a credential, as a new row or a new version of the one there is. `seal` is given the master key that
/// seals, and the row's id, because what is sealed is bound to it.
///
/// # Errors
/// The database does not answer, or `seal` refuses.
pub async fn put<E: From<StoreError>>(
    store: &Store,
    (user_id, provider): (&str, &str),
    described: &Described<'_>,
    now: i64,
    seal: impl FnOnce(Option<&str>, &str) -> Result<Vec<u8>, E>,
) -> Result<CredentialRow, E> {
    let mut transaction = store.begin_durable().await?;
    let under = vault::sealing(&mut transaction).await?;
    let row = put_in(&mut transaction, (user_id, provider), described, now, |id| seal(under.as_deref(), id)).await?;
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(row)
}

/// What became of a login that was to be kept.
#[derive(Debug)]
pub enum Captured {
    /// It is kept, and its login is over.
    Kept(Box<Login>),
    /// It would take the place of another account's, which nobody has agreed to.
    Other(Box<CredentialRow>),
    /// Its login cannot be connected any more.
    Denied(Changed),
}

/// Stores what a login has left, like [`put`], and connects the login by it, both or neither: `proven` says what happens
/// to the login. Another account than the one that is there is replaced only where its person has `agreed` to that, of
/// the account of this name; and nothing is kept of somebody who has cancelled, or is switched off. Where it was stored
/// before, and the answer to that was lost, it is as if it were done now.
///
/// # Errors
/// The database does not answer, or `seal` or `proven` refuses.
pub async fn capture<E: From<StoreError>>(
    store: &Store,
    (login, user_id, provider): (&str, &str, &str),
    described: &Described<'_>,
    agreed: Option<&str>,
    now: i64,
    seal: impl FnOnce(Option<&str>, &str) -> Result<Vec<u8>, E>,
    proven: impl FnOnce(CredentialRow) -> Result<Change, E>,
) -> Result<Captured, E> {
    let mut transaction = store.begin_durable().await?;
    // Whoever seals waits here: what is there stays so until this is over.
    let under = vault::sealing(&mut transaction).await?;
    // Changes nothing, and takes a lock: who switches somebody off does so before this, or after it.
    let is_on = sqlx::query("UPDATE users SET role = role WHERE id = $1 AND disabled_at IS NULL").bind(user_id);
    if is_on.execute(&mut *transaction).await.map_err(StoreError::from)?.rows_affected() == 0 {
        return Ok(Captured::Denied(Changed::Denied(Denied::Cancelled)));
    }
    let before: Option<CredentialRow> = sqlx::query_as(OF_PERSON)
        .bind(user_id)
        .bind(provider)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(StoreError::from)?;
    let is_other = |before: &CredentialRow| {
        before.account_id.as_deref().is_some_and(|account| Some(account) != described.account_id)
    };
    let name = |before: &CredentialRow| before.account.clone().or(before.account_id.clone());
    if let Some(other) = before.filter(|before| is_other(before) && agreed != name(before).as_deref()) {
        return Ok(Captured::Other(Box::new(other)));
    }
    let row = put_in(&mut transaction, (user_id, provider), described, now, |id| seal(under.as_deref(), id)).await?;
    match logins::change_in(&mut transaction, login, &proven(row)?, now).await? {
        Changed::Done(login) => {
            transaction.commit().await.map_err(StoreError::from)?;
            Ok(Captured::Kept(login))
        }
        denied @ (Changed::Denied(_) | Changed::None) => {
            transaction.rollback().await.map_err(StoreError::from)?;
            let kept = match denied {
                Changed::Denied(Denied::State(Status::Connected)) => store.login(login).await?,
                Changed::Denied(_) | Changed::Done(_) | Changed::None => None,
            };
            Ok(kept.map_or(Captured::Denied(denied), |login| Captured::Kept(Box::new(login))))
        }
    }
}

async fn put_in<E: From<StoreError>>(
    transaction: &mut Transaction<'static, Any>,
    (user_id, provider): (&str, &str),
    described: &Described<'_>,
    now: i64,
    seal: impl FnOnce(&str) -> Result<Vec<u8>, E>,
) -> Result<CredentialRow, E> {
    // The row first: whoever stores the same credential at the same time waits here.
    sqlx::query(
        "INSERT INTO encrypted_credentials
             (id, user_id, provider, encrypted_data, version, status, method, created_at, connected_at, updated_at)
         VALUES ($1, $2, $3, $4, 0, 'active', $5, $6, $6, $6)
         ON CONFLICT (user_id, provider) DO NOTHING",
    )
    .bind(crate::domain::id::new("crd"))
    .bind(user_id)
    .bind(provider)
    .bind(Vec::<u8>::new())
    .bind(described.method)
    .bind(now)
    .execute(&mut **transaction)
    .await
    .map_err(StoreError::from)?;
    let id: String = sqlx::query_scalar("SELECT id FROM encrypted_credentials WHERE user_id = $1 AND provider = $2")
        .bind(user_id)
        .bind(provider)
        .fetch_one(&mut **transaction)
        .await
        .map_err(StoreError::from)?;
    let sealed = seal(&id)?;
    let update = "UPDATE encrypted_credentials
                  SET encrypted_data = $2, version = version + 1, status = 'active', method = $3, account = $4,
                      plan = $5, error = NULL, connected_at = $6, updated_at = $6, expires_at = $7,
                      account_id = $8, fresh_until = $9
                  WHERE id = $1 RETURNING *";
    let row = sqlx::query_as(update)
        .bind(&id)
        .bind(sealed)
        .bind(described.method)
        .bind(described.account)
        .bind(described.plan)
        .bind(now)
        .bind(described.expires_at)
        .bind(described.account_id)
        .bind(described.fresh_until)
        .fetch_one(&mut **transaction)
        .await
        .map_err(StoreError::from)?;
    Ok(row)
}

/// Stores what a run has made of its login: a new version of the one that it has alone, whose lease goes on for the
/// new version, and as a shared one if that is fresh for long enough. Says whether it was done: not when there is a
/// newer version, or when the run's lease is another. `seal` is given the master key that seals.
///
/// # Errors
/// The database does not answer, or `seal` refuses.
pub async fn write_back<E: From<StoreError>>(
    store: &Store,
    (run_id, id, version): (&str, &str, i64),
    (fresh_until, expires_at): (Option<i64>, Option<i64>),
    lease: crate::domain::lease::Kind,
    now: i64,
    seal: impl FnOnce(Option<&str>) -> Result<Vec<u8>, E>,
) -> Result<bool, E> {
    let mut transaction = store.begin_durable().await?;
    let sealed = seal(vault::sealing(&mut transaction).await?.as_deref())?;
    let update = "UPDATE encrypted_credentials
                  SET encrypted_data = $1, version = version + 1, updated_at = $2, fresh_until = $3, expires_at = $4,
                      status = 'active', error = NULL
                  WHERE id = $5 AND version = $6 AND status <> 'revoked' AND EXISTS
                  (SELECT 1 FROM leases WHERE run_id = $7 AND credential_id = $5 AND version = $6 AND kind <> 'shared')";
    let update = sqlx::query(update).bind(sealed).bind(now).bind(fresh_until).bind(expires_at).bind(id);
    let updated = update.bind(version).bind(run_id).execute(&mut *transaction).await.map_err(StoreError::from)?;
    if updated.rows_affected() != 1 {
        return Ok(false);
    }
    sqlx::query("UPDATE leases SET version = version + 1, kind = $1 WHERE run_id = $2")
        .bind(lease.as_str())
        .bind(run_id)
        .execute(&mut *transaction)
        .await
        .map_err(StoreError::from)?;
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(true)
}

/// A user's credential for a provider.
///
/// # Errors
/// The database does not answer.
pub async fn get(store: &Store, user_id: &str, provider: &str) -> Result<Option<CredentialRow>, StoreError> {
    Ok(sqlx::query_as(OF_PERSON).bind(user_id).bind(provider).fetch_optional(store.read()).await?)
}

/// All credentials of a user, newest first.
///
/// # Errors
/// The database does not answer.
pub async fn list(store: &Store, user_id: &str) -> Result<Vec<CredentialRow>, StoreError> {
    let select = "SELECT * FROM encrypted_credentials WHERE user_id = $1 ORDER BY connected_at DESC, id DESC";
    Ok(sqlx::query_as(select).bind(user_id).fetch_all(store.read()).await?)
}

/// Forgets a credential. Says whether there was one.
///
/// # Errors
/// The database does not answer.
pub async fn delete(store: &Store, user_id: &str, provider: &str) -> Result<bool, StoreError> {
    let delete = "DELETE FROM encrypted_credentials WHERE user_id = $1 AND provider = $2";
    Ok(sqlx::query(delete).bind(user_id).bind(provider).execute(store.write()).await?.rows_affected() > 0)
}

/// Notes that the provider refuses this version of the credential of this id, and why (JSON). Says whether that version
/// is still the one that is kept, and in use.
///
/// # Errors
/// The database does not answer.
pub async fn refuse(store: &Store, (id, version): (&str, i64), error: &str, now: i64) -> Result<bool, StoreError> {
    let update = "UPDATE encrypted_credentials SET status = 'needs_reconnect', error = $3, updated_at = $4
                  WHERE id = $1 AND version = $2 AND status IN ('active', 'expiring')";
    let update = sqlx::query(update).bind(id).bind(version).bind(error).bind(now);
    Ok(update.execute(store.write()).await?.rows_affected() > 0)
}
