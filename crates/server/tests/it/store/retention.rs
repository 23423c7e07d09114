//! What is old is forgotten, with all that is its own, and nothing else.

use super::insert_user;
use crate::support::db;
use polydev_sandbox::machine::State;
use polydev_server::{
    domain::{
        event::EventBody,
        run::{Wish, WorkFile},
        sandbox::Work,
    },
    store::{Store, runs::End, sqlite_file},
};

/// A run with a file, so many events, an output and a sandbox with a console, which ended at this time, if it did.
async fn run(store: &Store, id: &str, events: usize, ended_at: Option<i64>) {
    let files = vec![WorkFile { path: "given".into(), content: vec![0; 100_000] }];
    let wish = Wish { provider: "claude".into(), prompt: "hi".into(), files, ..Wish::default() };
    store.insert_run(id, "usr_1", &wish, 60, 100, 1000).await.unwrap();
    let sandbox = id.replace("run", "sbx");
    store.start_run(id, &sandbox, 1001).await.unwrap();
    store.insert_sandbox(&sandbox, Some(("usr_1", Work::Run(id))), "oci", "cli-1", 1001).await.unwrap();
    store.append_events(id, &vec![EventBody::Text { text: "x".into() }; events], None, 1002).await.unwrap();
    for n in 0..6 {
        store.put_output(id, &format!("made {n}"), &[0; 1000]).await.unwrap();
    }
    let Some(ended_at) = ended_at else { return };
    store.keep_console(&sandbox, b"words", None).await.unwrap();
    store.finish_run(id, &End::Cancelled, ended_at).await.unwrap();
    store.set_sandbox(&sandbox, &State::Gone, ended_at + 10).await.unwrap();
}

/// How many rows of a run there are in every table that has some.
async fn rows(store: &Store, id: &str) -> Vec<i64> {
    let mut counts = Vec::new();
    for count in [
        "SELECT COUNT(*) FROM runs WHERE id = $1",
        "SELECT COUNT(*) FROM run_events WHERE run_id = $1",
        "SELECT COUNT(*) FROM run_files WHERE run_id = $1",
        "SELECT COUNT(*) FROM run_outputs WHERE run_id = $1",
        "SELECT COUNT(*) FROM sandboxes WHERE run_id = $1",
    ] {
        counts.push(sqlx::query_scalar(count).bind(id).fetch_one(store.read()).await.unwrap());
    }
    counts
}

#[tokio::test]
async fn an_old_run_goes_whole_and_another_stays_whole() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        run(&store, "run_old", 2500, Some(5000)).await;
        run(&store, "run_older", 2500, Some(4000)).await;
        run(&store, "run_new", 2500, Some(6000)).await;
        run(&store, "run_open", 2500, None).await;
        assert_eq!(store.runs_ended_before(6000, 10).await.unwrap().len(), 2);
        assert_eq!(store.runs_ended_before(6000, 1).await.unwrap().len(), 1);
        for id in store.runs_ended_before(6000, 10).await.unwrap() {
            store.empty_run(&id).await.unwrap();
            assert_eq!(rows(&store, &id).await, [1, 0, 0, 0, 0], "{id}");
            assert_eq!(store.delete_run(&id).await.unwrap().as_deref(), Some("usr_1"));
        }
        assert_eq!(store.runs_ended_before(6000, 10).await.unwrap(), Vec::<String>::new());
        for gone in ["run_old", "run_older"] {
            assert_eq!(rows(&store, gone).await, [0, 0, 0, 0, 0], "{gone}");
        }
        assert_eq!(rows(&store, "run_new").await, [1, 2502, 1, 6, 1]);
        assert_eq!(rows(&store, "run_open").await, [1, 2501, 1, 6, 1]);
        store.empty_run("run_open").await.unwrap();
        assert_eq!(rows(&store, "run_open").await, [1, 2501, 1, 6, 1], "one that is under way is nobody's to forget");
        // The same at once, as its owner asks for it.
        store.delete_run("run_new").await.unwrap();
        assert_eq!(rows(&store, "run_new").await, [0, 0, 0, 0, 0]);
    })
    .await;
}

#[tokio::test]
async fn an_old_sandbox_goes_with_its_console_whatever_it_was_for() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        for (n, ended_at) in [(0, 1000), (1, 2000), (2, 3000)] {
            let id = format!("sbx_{n}");
            store.insert_sandbox(&id, Some(("usr_1", Work::Run("run_gone"))), "oci", "cli-1", 500).await.unwrap();
            store.set_sandbox(&id, &State::Gone, ended_at).await.unwrap();
        }
        store.insert_sandbox("sbx_stands", Some(("usr_1", Work::Run("run_gone"))), "oci", "cli-1", 500).await.unwrap();
        assert_eq!(store.forget_sandboxes(3000).await.unwrap(), 2);
        assert_eq!(store.forget_sandboxes(3000).await.unwrap(), 0);
        let left = store.sandboxes_of("usr_1", None, None, 10).await.unwrap();
        let left: Vec<&str> = left.iter().map(|sandbox| sandbox.id.as_str()).collect();
        assert_eq!(left, ["sbx_stands", "sbx_2"]);
    })
    .await;
}

#[tokio::test]
async fn the_disk_is_given_back() {
    db::each_url(async |url| {
        let store = Store::open(url).await.unwrap();
        insert_user(&store, "usr_1").await;
        for n in 0..60 {
            run(&store, &format!("run_{n}"), 10, Some(5000)).await;
        }
        let full = store.size().await.unwrap();
        for id in store.runs_ended_before(6000, 100).await.unwrap() {
            store.empty_run(&id).await.unwrap();
            store.delete_run(&id).await.unwrap();
        }
        store.give_back().await.unwrap();
        store.give_back().await.unwrap();
        let left = store.size().await.unwrap();
        store.close().await;
        assert!(full > 5_000_000, "{full}");
        // PostgreSQL keeps the place for what comes.
        if let Some(file) = sqlite_file(url) {
            assert!(left < 500_000, "{left}");
            assert_eq!(std::fs::metadata(file).unwrap().len() as i64, left);
        }
    })
    .await;
}
