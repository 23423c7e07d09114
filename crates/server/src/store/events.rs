//! The events of a run, read.

use super::{Store, StoreError, runs::parse};
use crate::domain::event::Event;
use sqlx::Row;

/// The most events of a page.
const PAGE_MAX: i64 = 256;
/// When a page is full, bytes: it is read, parsed and sent as a whole, once for every reader. An event alone may
/// be larger: an answer has up to 64 MiB.
const PAGE_BYTES: i64 = 256 * 1024;

impl Store {
    /// The next events of a run after number `after`, in order: as many as make a page, at least one if there is one.
    pub async fn events_after(&self, id: &str, after: i64) -> Result<Vec<Event>, StoreError> {
        // The lengths are looked at first: neither database reads a text for the length of it.
        let rows = sqlx::query(
            "SELECT seq, at, body FROM run_events WHERE run_id = $1 AND seq > $2 AND seq <= (\
                 SELECT MAX(seq) FROM (\
                     SELECT seq, SUM(size) OVER (ORDER BY seq) - size AS before FROM (\
                         SELECT seq, OCTET_LENGTH(body) AS size FROM run_events \
                         WHERE run_id = $1 AND seq > $2 ORDER BY seq LIMIT $3\
                     ) AS sizes\
                 ) AS sums WHERE before < $4\
             ) ORDER BY seq",
        )
        .bind(id)
        .bind(after)
        .bind(PAGE_MAX)
        .bind(PAGE_BYTES)
        .fetch_all(self.read())
        .await?;
        rows.iter()
            .map(|row| Ok(Event { seq: row.try_get("seq")?, at: row.try_get("at")?, body: parse(row, "body")? }))
            .collect()
    }

    /// Whether a run has events after number `after`.
    pub async fn has_events_after(&self, id: &str, after: i64) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT 1 FROM run_events WHERE run_id = $1 AND seq > $2 LIMIT 1").bind(id).bind(after);
        Ok(row.fetch_optional(self.read()).await?.is_some())
    }
}
