//! One server a database, wherever their data directories are.

use super::{blocking, standin};
use crate::support::{
    db, host,
    server::{Server, text},
};
use sqlx::{Connection, PgConnection};
use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::Duration,
};

/// Starts another server on this one's database, with a data directory of its own, which is to be refused.
fn refused(server: &Server, database: &str) {
    let dir = tempfile::tempdir().unwrap();
    let out = server
        .command(&["serve"])
        .env("POLYDEV__SERVER__DATA_DIR", dir.path())
        .env("POLYDEV__STORE__URL", database)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("another server works on the database") && said.contains("store.url"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_one_sqlite_file_is_refused() {
    let standin = standin().await;
    blocking(move || {
        let dir = tempfile::tempdir().unwrap();
        let database = format!("sqlite:{}", dir.path().join("shared.db").display());
        let mut server = Server::start_with(&standin, &format!("[store]\nurl = {database:?}\n"));
        refused(&server, &database);
        server.kill();
        server.run();
        refused(&server, &database);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_one_postgresql_database_is_refused() {
    let standin = standin().await;
    let database = db::postgres().await.url;
    let url = database.clone();
    blocking(move || {
        let mut server = Server::start_with(&standin, &format!("[store]\nurl = {url:?}\n"));
        refused(&server, &url);
        server.kill();
        server.run();
        refused(&server, &url);

        // The connection that keeps others off is cut.
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let holders = || {
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&url).await.unwrap();
                let holders = "SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
                               WHERE locktype = 'advisory' AND granted AND datname = current_database()";
                let holders: Vec<i32> = sqlx::query_scalar(holders).fetch_all(&mut connection).await.unwrap();
                holders
            })
        };
        let before = holders();
        assert_eq!(before.len(), 1);
        runtime.block_on(async {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            let cut = sqlx::query("SELECT pg_terminate_backend($1)").bind(before[0]);
            cut.execute(&mut connection).await.unwrap();
        });
        host::until(Duration::from_secs(60), || holders().first().is_some_and(|now| *now != before[0]));
        refused(&server, &url);
        let log = server.log();
        assert!(log.contains("keeps other servers off the database is lost"), "{log}");
        assert!(log.contains("other servers are kept off the database again"), "{log}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_waits_for_what_a_killed_one_was_about_to_start() {
    let standin = standin().await;
    blocking(move || {
        let mut server = Server::start(&standin);
        server.kill();
        // In the place of a process between fork and exec, which has the locks of its parent.
        let path = server.data_dir().join("serve.lock");
        let lock = std::fs::File::open(&path).unwrap();
        lock.lock().unwrap();
        let mut started = server.command(&["serve"]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let open = format!("/proc/{}/fd", started.id());
        let has_it = || {
            let files = std::fs::read_dir(&open).into_iter().flatten().flatten();
            files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|file| file == path)
        };
        host::until(Duration::from_secs(10), has_it);
        drop(lock);
        let mut lines = BufReader::new(started.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("\"listening\"")), "it ends instead");
        started.kill().unwrap();
        started.wait().unwrap();
    })
    .await;
}
