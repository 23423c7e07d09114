//! The record of what was done.

use super::{Store, StoreError, runs::After};
use sqlx::FromRow;

/// A row of `audit`.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
#[expect(missing_docs, reason = "the migration describes the columns")]
pub struct AuditRow {
    pub id: String,
    pub created_at: i64,
    pub action: String,
    pub target: Option<String>,
    pub detail: Option<String>,
    pub user_id: Option<String>,
    pub actor: String,
    pub actor_user_id: Option<String>,
    pub actor_token_id: Option<String>,
    pub address: Option<String>,
    pub request_id: Option<String>,
    pub outcome: Option<String>,
    pub code: Option<String>,
    pub finished_at: Option<i64>,
}

impl Store {
    /// Opens an entry.
    pub async fn insert_audit(&self, row: &AuditRow) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO audit (id, created_at, action, target, detail, user_id, actor, actor_user_id, actor_token_id, \
             address, request_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(&row.id)
        .bind(row.created_at)
        .bind(&row.action)
        .bind(&row.target)
        .bind(&row.detail)
        .bind(&row.user_id)
        .bind(&row.actor)
        .bind(&row.actor_user_id)
        .bind(&row.actor_token_id)
        .bind(&row.address)
        .bind(&row.request_id)
        .execute(self.write())
        .await?;
        Ok(())
    }

    /// Completes an entry, once: with `ok`, or with `failed` and its code, and with what was made if that was not
    /// known before.
    pub async fn complete_audit(
        &self,
        id: &str,
        (outcome, code): (&str, Option<&str>),
        target: Option<&str>,
        at: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE audit SET outcome = $2, code = $3, target = COALESCE($4, target), finished_at = $5 \
             WHERE id = $1 AND outcome IS NULL",
        )
        .bind(id)
        .bind(outcome)
        .bind(code)
        .bind(target)
        .bind(at)
        .execute(self.write())
        .await?;
        Ok(())
    }

    /// Entries, newest first: of this person, by whom or to whose things it was done, or of everybody.
    pub async fn audit(
        &self,
        user_id: Option<&str>,
        after: Option<&After>,
        limit: i64,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let (created_at, id) = after.map_or((i64::MAX, ""), |after| (after.created_at, after.id.as_str()));
        let query = match user_id {
            None => sqlx::query_as(
                "SELECT * FROM audit WHERE (created_at < $1 OR (created_at = $1 AND id < $2)) \
                 ORDER BY created_at DESC, id DESC LIMIT $3",
            ),
            Some(_) => sqlx::query_as(
                "SELECT * FROM audit WHERE (created_at < $1 OR (created_at = $1 AND id < $2)) \
                 AND (user_id = $4 OR actor_user_id = $4) ORDER BY created_at DESC, id DESC LIMIT $3",
            ),
        };
        let query = query.bind(created_at).bind(id).bind(limit);
        let query = match user_id {
            None => query,
            Some(user_id) => query.bind(user_id),
        };
        Ok(query.fetch_all(self.read()).await?)
    }
}
