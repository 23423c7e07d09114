//! What runs have used.

use super::{
    Store, StoreError,
    runs::{After, parse_optional},
};
use crate::domain::event::Usage;
use sqlx::Row;

/// What a run has used.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// The run.
    pub run_id: String,
    /// When it was accepted, Unix milliseconds.
    pub created_at: i64,
    /// Of which provider.
    pub provider: String,
    /// What it used, once that is known.
    pub usage: Option<Usage>,
}

impl Store {
    /// What a person's runs have used that were accepted from this time on, Unix milliseconds, and come after this place:
    /// the newest first, at most `limit`. No text sums what stands in JSON on both databases.
    pub async fn used(&self, user_id: &str, since: i64, after: &After, limit: i64) -> Result<Vec<Used>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, created_at, provider, usage FROM runs WHERE user_id = $1 AND created_at >= $2 \
             AND (created_at < $3 OR (created_at = $3 AND id < $4)) ORDER BY created_at DESC, id DESC LIMIT $5",
        )
        .bind(user_id)
        .bind(since)
        .bind(after.created_at)
        .bind(&after.id)
        .bind(limit)
        .fetch_all(self.read())
        .await?;
        let used = |row| {
            Ok(Used {
                run_id: Row::try_get(row, "id")?,
                created_at: Row::try_get(row, "created_at")?,
                provider: Row::try_get(row, "provider")?,
                usage: parse_optional(row, "usage")?,
            })
        };
        rows.iter().map(used).collect()
    }
}
