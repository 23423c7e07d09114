//! Databases for tests: each test gets a fresh one of either kind.

use super::postgres;
use polydev_server::store::{Store, sqlite_url};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// An empty database, without tables. SQLite's file goes with it; PostgreSQL's with the test binary.
pub(crate) struct Fresh {
    /// What `Store::open` takes.
    pub(crate) url: String,
    _dir: Option<TempDir>,
}

/// An empty SQLite database.
pub(crate) fn sqlite() -> Fresh {
    let dir = tempfile::tempdir().expect("a temporary directory");
    Fresh { url: sqlite_url(&dir.path().join("polydev.db")), _dir: Some(dir) }
}

/// An empty PostgreSQL database. Fails, naming the package, where PostgreSQL is not installed.
pub(crate) async fn postgres() -> Fresh {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let server = tokio::task::spawn_blocking(|| postgres::url("postgres")).await.expect("PostgreSQL starts");
    let mut connection = PgConnection::connect(&server).await.expect("PostgreSQL answers");
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(create).execute(&mut connection).await.expect("a database can be made");
    Fresh { url: postgres::url(&name), _dir: None }
}

/// Runs `test` with the address of an empty database, once with SQLite's and once with PostgreSQL's.
#[expect(clippy::print_stderr, reason = "a failed test shows on which database it was")]
pub(crate) async fn each_url(test: impl AsyncFn(&str)) {
    eprintln!("on SQLite:");
    test(&sqlite().url).await;
    eprintln!("on PostgreSQL:");
    test(&postgres().await.url).await;
}

/// Runs `test` with a fresh store, once on SQLite and once on PostgreSQL.
pub(crate) async fn each_database(test: impl AsyncFn(Store)) {
    each_url(async |url| {
        let store = Store::open(url).await.expect("a fresh database opens");
        test(store.clone()).await;
        store.close().await;
    })
    .await;
}
