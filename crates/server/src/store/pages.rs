//! Lists of runs, a page at a time.

use super::{
    Store, StoreError,
    runs::{After, run_of, select},
};
use crate::domain::run::{Run, Status};
use sqlx::Row;

/// When a page of runs is full, bytes of their texts: a prompt has up to 1 MiB, an answer up to 64 MiB, and a page up
/// to 200 of each. A run alone may be larger.
const PAGE_BYTES: i64 = 4 * 1024 * 1024;

/// Which runs of a person.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Those in this state.
    pub status: Option<Status>,
    /// Those of this provider.
    pub provider: Option<&'a str>,
}

/// How many runs are not over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// That wait.
    pub queued: i64,
    /// That run.
    pub running: i64,
}

/// Which runs a page is cut from: of a person, filtered, after a place.
macro_rules! which {
    ($($rest:literal),+) => {
        concat!(
            "WHERE user_id = $1 AND (created_at < $2 OR (created_at = $2 AND id < $3)) ",
            "AND ($4 = '' OR status = $4) AND ($5 = '' OR provider = $5) ",
            $($rest),+
        )
    };
}

impl Store {
    /// At most `limit` of a person's runs, newest first, and whether there are more. A page ends early, but not
    /// before its first run, when the texts in it are enough.
    pub async fn runs_of(
        &self,
        user_id: &str,
        filter: Filter<'_>,
        after: Option<&After>,
        limit: i64,
    ) -> Result<(Vec<Run>, bool), StoreError> {
        let (before, id) = after.map_or((i64::MAX, ""), |after| (after.created_at, after.id.as_str()));
        let (status, provider) = (filter.status.map_or("", Status::as_str), filter.provider.unwrap_or_default());
        // The lengths are looked at first: neither database reads a text for the length of it.
        let sizes = sqlx::query(concat!(
            "SELECT id, created_at, CAST(OCTET_LENGTH(prompt) + COALESCE(OCTET_LENGTH(text), 0) AS BIGINT) AS size ",
            "FROM runs ",
            which!("ORDER BY created_at DESC, id DESC LIMIT $6")
        ))
        .bind(user_id)
        .bind(before)
        .bind(id)
        .bind(status)
        .bind(provider)
        .bind(limit + 1)
        .fetch_all(self.read())
        .await?;
        let (mut bytes, mut last) = (0, None);
        let mut more = false;
        for (n, row) in sizes.iter().enumerate() {
            if n as i64 == limit || bytes >= PAGE_BYTES {
                more = true;
                break;
            }
            bytes += row.try_get::<i64, _>("size")?;
            last = Some(After { created_at: row.try_get("created_at")?, id: row.try_get("id")? });
        }
        let Some(last) = last else { return Ok((Vec::new(), false)) };
        let rows = sqlx::query(select!(which!(
            "AND (created_at > $6 OR (created_at = $6 AND id >= $7)) ORDER BY created_at DESC, id DESC"
        )))
        .bind(user_id)
        .bind(before)
        .bind(id)
        .bind(status)
        .bind(provider)
        .bind(last.created_at)
        .bind(&last.id)
        .fetch_all(self.read())
        .await?;
        Ok((rows.iter().map(run_of).collect::<Result<_, _>>()?, more))
    }

    /// How many runs are not over, of a person or of all.
    pub async fn under_way(&self, user_id: Option<&str>) -> Result<UnderWay, StoreError> {
        // Few are under way of all that there ever were: the index by status is the one to use.
        let rows = sqlx::query(
            "SELECT status, COUNT(*) AS n FROM runs WHERE status IN ('queued', 'running') AND ($1 = '' OR user_id = $1) \
             GROUP BY status",
        )
        .bind(user_id.unwrap_or_default())
        .fetch_all(self.read())
        .await?;
        let mut under_way = UnderWay::default();
        for row in rows {
            let n = row.try_get("n")?;
            match row.try_get::<String, _>("status")?.as_str() {
                "queued" => under_way.queued = n,
                _ => under_way.running = n,
            }
        }
        Ok(under_way)
    }
}
