//! Which master key seals, and what is sealed under which.

use super::{Kind, Store, StoreError};
use sqlx::{Any, Executor, FromRow, Transaction};

/// The row of `vault`.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
#[expect(missing_docs, reason = "the migration describes the columns")]
pub struct VaultRow {
    pub key_id: Option<String>,
    pub next_key_id: Option<String>,
    pub learnt_key_id: Option<String>,
}

/// A secret, and the row that it is bound to.
#[derive(Debug, Clone, FromRow)]
#[expect(missing_docs, reason = "the migration describes the columns")]
pub struct SealedRow {
    pub id: String,
    pub user_id: String,
    pub provider: String,
    pub encrypted_data: Vec<u8>,
}

/// Begins to seal something in this transaction: the master key that it must be under, if that is already said. It
/// stays the same until the transaction is over.
pub(super) async fn sealing(transaction: &mut Transaction<'static, Any>) -> Result<Option<String>, StoreError> {
    let sealing = sqlx::query_scalar("UPDATE vault SET sealings = sealings + 1 RETURNING key_id");
    Ok(sealing.fetch_one(&mut **transaction).await?)
}

impl Store {
    /// Which master key seals, and which one is to.
    pub async fn vault(&self) -> Result<VaultRow, StoreError> {
        let select = sqlx::query_as("SELECT key_id, next_key_id, learnt_key_id FROM vault");
        Ok(select.fetch_one(self.read()).await?)
    }

    /// The ids of the master keys that there are secrets under, as they stand in the secrets, each with how many.
    pub async fn sealed_under(&self) -> Result<Vec<(Vec<u8>, i64)>, StoreError> {
        // Their place is the vault's to say; SQL counts from 1.
        let select = "SELECT substr(encrypted_data, 2, 8), COUNT(*) FROM encrypted_credentials
                      GROUP BY 1 ORDER BY 2 DESC";
        Ok(sqlx::query_as(select).fetch_all(self.read()).await?)
    }

    /// This key seals, if it still is this one, or none, that does.
    pub async fn begin_sealing(&self, instead_of: Option<&str>, key: &str) -> Result<(), StoreError> {
        let update = sqlx::query("UPDATE vault SET key_id = $1 WHERE COALESCE(key_id, '') = $2");
        update.bind(key).bind(instead_of.unwrap_or_default()).execute(self.write()).await?;
        Ok(())
    }

    /// The server that runs can open what is under this key, which is to seal next; or has no such key.
    pub async fn server_has_key(&self, next: Option<&str>) -> Result<(), StoreError> {
        let update = sqlx::query("UPDATE vault SET learnt_key_id = $1");
        update.bind(next).execute(self.write()).await?;
        Ok(())
    }

    /// A rotation is to give everything this key.
    pub async fn announce_key(&self, next: &str) -> Result<(), StoreError> {
        let update = sqlx::query("UPDATE vault SET next_key_id = $1");
        update.bind(next).execute(self.write()).await?;
        Ok(())
    }

    /// From now on the next key seals. What was about to be sealed under the one before is stored when this returns.
    /// Says whether it was done: not when another one is the next.
    pub async fn turn_key(&self, next: &str) -> Result<bool, StoreError> {
        let update = sqlx::query("UPDATE vault SET key_id = next_key_id WHERE next_key_id = $1");
        Ok(update.bind(next).execute(self.write()).await?.rows_affected() == 1)
    }

    /// There is no next key any more. When this returns, everything that was stored before it outlives a power cut.
    pub async fn settle_key(&self) -> Result<(), StoreError> {
        let mut connection = self.write().acquire().await?;
        // SQLite syncs its whole log then, PostgreSQL its log up to here.
        let (sync, back) = match self.kind {
            Kind::Sqlite => ("PRAGMA synchronous = FULL", "PRAGMA synchronous = NORMAL"),
            Kind::Postgres => ("SET synchronous_commit = on", "RESET synchronous_commit"),
        };
        connection.execute(sync).await?;
        // Counted, because what is not changed is not written.
        let update = "UPDATE vault SET next_key_id = NULL, learnt_key_id = NULL, sealings = sealings + 1";
        let settled = connection.execute(update).await;
        connection.execute(back).await?;
        settled?;
        Ok(())
    }

    /// Secrets in the order of their rows' ids, behind this one.
    pub async fn sealed_after(&self, id: &str, limit: i64) -> Result<Vec<SealedRow>, StoreError> {
        let select = "SELECT id, user_id, provider, encrypted_data FROM encrypted_credentials
                      WHERE id > $1 ORDER BY id LIMIT $2";
        Ok(sqlx::query_as(select).bind(id).bind(limit).fetch_all(self.read()).await?)
    }

    /// Puts the same secret, sealed anew, in the place of this one. Says whether it was done: not when somebody has
    /// stored another one meanwhile. The version stays, because the secret does.
    pub async fn reseal(&self, row: &SealedRow, anew: Vec<u8>) -> Result<bool, StoreError> {
        let update = "UPDATE encrypted_credentials SET encrypted_data = $1 WHERE id = $2 AND encrypted_data = $3";
        let update = sqlx::query(update).bind(anew).bind(&row.id).bind(row.encrypted_data.clone());
        Ok(update.execute(self.write()).await?.rows_affected() == 1)
    }
}
