//! Forgetting what is old, a little at a time: each statement is a transaction of its own, and who has something
//! to store goes between two.

use super::{Kind, Store, StoreError};
use sqlx::Row;

/// How many events a statement deletes.
const EVENTS: i64 = 1000;
/// How many files a statement deletes. A file may have 10 MiB.
const FILES: i64 = 4;
/// How many sandboxes a statement deletes. One may have a console of 80 KiB.
const SANDBOXES: i64 = 100;
/// How many logins a statement deletes. One may have some 500 events of a line each.
const LOGINS: i64 = 20;
/// How many entries of the record a statement deletes.
const ENTRIES: i64 = 1000;
/// How many pages of SQLite's file are given back at a time: 1 MiB.
const PAGES: u32 = 256;

impl Store {
    /// At most `limit` runs that ended before this time, Unix milliseconds.
    pub async fn runs_ended_before(&self, before: i64, limit: i64) -> Result<Vec<String>, StoreError> {
        // Who ended before was made before: the index finds those, and no text of a newer run is read.
        let rows = sqlx::query(
            "SELECT id FROM runs WHERE status IN ('completed', 'failed', 'cancelled') \
             AND created_at < $1 AND finished_at < $1 ORDER BY created_at LIMIT $2",
        )
        .bind(before)
        .bind(limit)
        .fetch_all(self.read())
        .await?;
        rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
    }

    /// Takes from a run that is over all that is its own, so that it is quickly deleted. One that is under way stays
    /// as it is.
    pub async fn empty_run(&self, id: &str) -> Result<(), StoreError> {
        if self.is_open(id).await? {
            return Ok(());
        }
        // The last first: who reads it still finds an end, and no hole.
        let events = "DELETE FROM run_events WHERE run_id = $1 AND seq IN \
                      (SELECT seq FROM run_events WHERE run_id = $1 ORDER BY seq DESC LIMIT $2)";
        let files = "DELETE FROM run_files WHERE run_id = $1 AND path IN \
                     (SELECT path FROM run_files WHERE run_id = $1 ORDER BY path LIMIT $2)";
        let outputs = "DELETE FROM run_outputs WHERE run_id = $1 AND path IN \
                       (SELECT path FROM run_outputs WHERE run_id = $1 ORDER BY path LIMIT $2)";
        let sandboxes = "DELETE FROM sandboxes WHERE run_id = $1 AND id IN \
                         (SELECT id FROM sandboxes WHERE run_id = $1 ORDER BY id LIMIT $2)";
        for (delete, at_a_time) in [(events, EVENTS), (files, FILES), (outputs, FILES), (sandboxes, SANDBOXES)] {
            while sqlx::query(delete).bind(id).bind(at_a_time).execute(self.write()).await?.rows_affected() > 0 {}
        }
        Ok(())
    }

    /// Forgets the sandboxes that ended before this time, Unix milliseconds, with their consoles. How many they were.
    pub async fn forget_sandboxes(&self, before: i64) -> Result<u64, StoreError> {
        let delete = "DELETE FROM sandboxes WHERE id IN (SELECT id FROM sandboxes WHERE ended_at < $1 LIMIT $2)";
        let mut forgotten = 0;
        loop {
            match sqlx::query(delete).bind(before).bind(SANDBOXES).execute(self.write()).await?.rows_affected() {
                0 => return Ok(forgotten),
                some => forgotten += some,
            }
        }
    }

    /// Forgets the logins that ended before this time, Unix milliseconds, with their events. How many they were.
    pub async fn forget_logins(&self, before: i64) -> Result<u64, StoreError> {
        let delete = "DELETE FROM auth_sessions WHERE session_id IN \
                      (SELECT session_id FROM auth_sessions WHERE started_at < $1 AND completed_at < $1 LIMIT $2)";
        let mut forgotten = 0;
        loop {
            match sqlx::query(delete).bind(before).bind(LOGINS).execute(self.write()).await?.rows_affected() {
                0 => return Ok(forgotten),
                some => forgotten += some,
            }
        }
    }

    /// Forgets the entries of the record of before this time, Unix milliseconds. How many there were.
    pub async fn purge_audit(&self, before: i64) -> Result<u64, StoreError> {
        let delete = "DELETE FROM audit WHERE id IN \
                      (SELECT id FROM audit WHERE created_at < $1 ORDER BY created_at, id LIMIT $2)";
        let mut forgotten = 0;
        loop {
            match sqlx::query(delete).bind(before).bind(ENTRIES).execute(self.write()).await?.rows_affected() {
                0 => return Ok(forgotten),
                some => forgotten += some,
            }
        }
    }

    /// Gives the disk back what SQLite's file no longer needs. PostgreSQL sees to its files itself: autovacuum makes
    /// the place of what was deleted free for what comes.
    pub async fn give_back(&self) -> Result<(), StoreError> {
        match self.kind {
            Kind::Postgres => Ok(()),
            Kind::Sqlite => {
                let free = async || -> Result<i64, StoreError> {
                    Ok(sqlx::query("PRAGMA freelist_count").fetch_one(self.read()).await?.try_get(0)?)
                };
                let mut before = free().await?;
                while before > 0 {
                    let some = sqlx::AssertSqlSafe(format!("PRAGMA incremental_vacuum({PAGES})"));
                    sqlx::query(some).fetch_all(self.write()).await?;
                    let now = free().await?;
                    // A file that was made without `auto_vacuum` keeps its pages, and uses them again.
                    if now >= before {
                        break;
                    }
                    before = now;
                }
                Ok(())
            }
        }
    }

    /// How large the database is, in bytes.
    pub async fn size(&self) -> Result<i64, StoreError> {
        let size = match self.kind {
            Kind::Sqlite => {
                let pages = "SELECT page_count * page_size AS size FROM pragma_page_count(), pragma_page_size()";
                sqlx::query(pages).fetch_one(self.read()).await?
            }
            Kind::Postgres => {
                sqlx::query("SELECT pg_database_size(current_database()) AS size").fetch_one(self.read()).await?
            }
        };
        Ok(size.try_get("size")?)
    }
}
