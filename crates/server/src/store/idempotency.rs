//! Answers that are given twice.

use super::{Store, StoreError};
use crate::domain::idempotency::{Claim, KEPT_MS};
use sqlx::{AnyConnection, Row};

/// What is known of a request that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// SHA-256 of its query and body.
    pub request_hash: Vec<u8>,
    /// The run that it made.
    pub run_id: Option<String>,
    /// What it was answered with. A run whose server died, or that is streamed, has none.
    pub answer: Option<Answer>,
}

/// What a request was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Store {
    /// What was kept under the key of this claim, if it is not too old.
    pub async fn kept(&self, claim: &Claim, now: i64) -> Result<Option<Kept>, StoreError> {
        let row = sqlx::query(
            "SELECT request_hash, run_id, status, headers, body FROM idempotency_keys \
             WHERE user_id = $1 AND endpoint = $2 AND key = $3 AND created_at > $4",
        )
        .bind(&claim.user_id)
        .bind(&claim.endpoint)
        .bind(&claim.key)
        .bind(now - KEPT_MS)
        .fetch_optional(self.read())
        .await?;
        let Some(row) = row else { return Ok(None) };
        let answer = match row.try_get::<Option<i64>, _>("status")? {
            None => None,
            Some(status) => {
                let unknown = |value: String| StoreError::Unknown { what: "kept answer", value };
                let headers: String = row.try_get("headers")?;
                Some(Answer {
                    status: u16::try_from(status).map_err(|_| unknown(status.to_string()))?,
                    headers: serde_json::from_str(&headers).map_err(|error| unknown(error.to_string()))?,
                    body: row.try_get("body")?,
                })
            }
        };
        Ok(Some(Kept { request_hash: row.try_get("request_hash")?, run_id: row.try_get("run_id")?, answer }))
    }

    /// Keeps the answer to a request, beside the run that it made if it made one: not that of a run which is deleted
    /// by now.
    pub async fn keep(&self, claim: &Claim, answer: &Answer, now: i64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        forget_old(&mut tx, claim, now).await?;
        sqlx::query(
            "INSERT INTO idempotency_keys (user_id, endpoint, key, request_hash, created_at, status, headers, body) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
             ON CONFLICT (user_id, endpoint, key) DO UPDATE SET status = $6, headers = $7, body = $8 \
             WHERE idempotency_keys.run_id IS NULL \
             OR EXISTS (SELECT 1 FROM runs WHERE runs.id = idempotency_keys.run_id)",
        )
        .bind(&claim.user_id)
        .bind(&claim.endpoint)
        .bind(&claim.key)
        .bind(&claim.request_hash[..])
        .bind(now)
        .bind(i64::from(answer.status))
        .bind(serde_json::to_string(&answer.headers).expect("pairs of strings are JSON"))
        .bind(&answer.body[..])
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Forgets what was kept before this time, Unix milliseconds. How much it was.
    pub async fn purge_idempotency_keys(&self, before: i64) -> Result<u64, StoreError> {
        let purge = sqlx::query("DELETE FROM idempotency_keys WHERE created_at < $1").bind(before);
        Ok(purge.execute(self.write()).await?.rows_affected())
    }
}

/// Writes down that the request of this claim made this run.
pub(super) async fn insert_claim(
    tx: &mut AnyConnection,
    claim: &Claim,
    run_id: &str,
    now: i64,
) -> Result<(), StoreError> {
    forget_old(tx, claim, now).await?;
    sqlx::query(
        "INSERT INTO idempotency_keys (user_id, endpoint, key, request_hash, run_id, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&claim.user_id)
    .bind(&claim.endpoint)
    .bind(&claim.key)
    .bind(&claim.request_hash[..])
    .bind(run_id)
    .bind(now)
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets the answers that speak of a run. That its key was used for it stays: who repeats that request is told
/// that the run is gone, and does not make a second one.
pub(super) async fn forget_answers(tx: &mut AnyConnection, user_id: &str, run_id: &str) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE idempotency_keys SET status = NULL, headers = NULL, body = NULL WHERE user_id = $1 AND run_id = $2",
    )
    .bind(user_id)
    .bind(run_id)
    .execute(&mut *tx)
    .await?;
    // What was asked of the run itself has its id in the path.
    sqlx::query("DELETE FROM idempotency_keys WHERE user_id = $1 AND endpoint LIKE $2")
        .bind(user_id)
        .bind(format!("%/{run_id}/%"))
        .execute(tx)
        .await?;
    Ok(())
}

/// Makes room for a key that is used again after its time.
async fn forget_old(tx: &mut AnyConnection, claim: &Claim, now: i64) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM idempotency_keys WHERE user_id = $1 AND endpoint = $2 AND key = $3 AND created_at <= $4")
        .bind(&claim.user_id)
        .bind(&claim.endpoint)
        .bind(&claim.key)
        .bind(now - KEPT_MS)
        .execute(tx)
        .await?;
    Ok(())
}
