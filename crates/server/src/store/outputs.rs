//! What runs made or changed in `/workspace`.

use super::{Store, StoreError};
use sqlx::Row;

/// A file that a run made or changed, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Path below `/workspace`.
    pub path: String,
    /// Size in bytes.
    pub size: i64,
}

impl Store {
    /// Stores a file of a run, in place of what was stored under its path: a server that was killed while
    /// it collected leaves some, and the next one begins again.
    pub async fn put_output(&self, run: &str, path: &str, content: &[u8]) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO run_outputs (run_id, path, size, content) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (run_id, path) DO UPDATE SET size = excluded.size, content = excluded.content",
        )
        .bind(run)
        .bind(path)
        .bind(content.len() as i64)
        .bind(content)
        .execute(self.write())
        .await?;
        Ok(())
    }

    /// At most `limit` of a run's files, by path, from its first or after this path.
    pub async fn outputs_of(&self, run: &str, after: Option<&str>, limit: i64) -> Result<Vec<Output>, StoreError> {
        let rows =
            sqlx::query("SELECT path, size FROM run_outputs WHERE run_id = $1 AND path > $2 ORDER BY path LIMIT $3")
                .bind(run)
                .bind(after.unwrap_or_default())
                .bind(limit)
                .fetch_all(self.read())
                .await?;
        rows.iter().map(|row| Ok(Output { path: row.try_get("path")?, size: row.try_get("size")? })).collect()
    }

    /// What is in a run's file.
    pub async fn output(&self, run: &str, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = sqlx::query("SELECT content FROM run_outputs WHERE run_id = $1 AND path = $2")
            .bind(run)
            .bind(path)
            .fetch_optional(self.read())
            .await?;
        Ok(row.map(|row| row.try_get("content")).transpose()?)
    }
}
