//! What runs have used.

use super::{Store, StoreError, runs::parse_optional};
use crate::domain::event::Usage;
use sqlx::Row;

/// What a run has used.
#[derive(Debug, Clone, PartialEq)]
pub struct Used {
    /// When it was accepted, Unix milliseconds.
    pub created_at: i64,
    /// Of which provider.
    pub provider: String,
    /// What it used, once that is known.
    pub usage: Option<Usage>,
}

impl Store {
    /// What a person's runs have used that were accepted from this time on, Unix milliseconds.
    pub async fn used(&self, user_id: &str, since: i64) -> Result<Vec<Used>, StoreError> {
        let rows = sqlx::query("SELECT created_at, provider, usage FROM runs WHERE user_id = $1 AND created_at >= $2")
            .bind(user_id)
            .bind(since)
            .fetch_all(self.read())
            .await?;
        let used = |row| {
            Ok(Used {
                created_at: Row::try_get(row, "created_at")?,
                provider: Row::try_get(row, "provider")?,
                usage: parse_optional(row, "usage")?,
            })
        };
        rows.iter().map(used).collect()
    }
}
