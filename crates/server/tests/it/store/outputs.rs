//! What runs made: stored file by file, listed by path, gone with their run.

use super::insert_user;
use crate::support::db;
use polydev_server::{
    domain::run::Wish,
    store::{Store, outputs::Output},
};

async fn run(store: &Store, id: &str) {
    let wish = Wish { provider: "claude".into(), prompt: "hi".into(), ..Wish::default() };
    store.insert_run(id, "usr_1", &wish, 60, 100, 1000).await.unwrap();
}

#[tokio::test]
async fn files_come_back_as_they_went() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        run(&store, "run_1").await;
        run(&store, "run_2").await;
        let bytes: Vec<u8> = (0..=255).collect();
        store.put_output("run_1", "a/Grüße 🌍", &bytes).await.unwrap();
        store.put_output("run_1", "empty", b"").await.unwrap();
        store.put_output("run_2", "other", b"other").await.unwrap();
        assert_eq!(store.output("run_1", "a/Grüße 🌍").await.unwrap(), Some(bytes));
        assert_eq!(store.output("run_1", "empty").await.unwrap(), Some(vec![]));
        assert_eq!(store.output("run_1", "other").await.unwrap(), None);

        // A server that was killed meanwhile begins again.
        store.put_output("run_1", "empty", b"no longer").await.unwrap();
        let all = store.outputs_of("run_1", None, 10).await.unwrap();
        let output = |path: &str, size| Output { path: path.into(), size };
        assert_eq!(all, [output("a/Grüße 🌍", 256), output("empty", 9)]);

        sqlx::query("DELETE FROM runs WHERE id = 'run_1'").execute(store.write()).await.unwrap();
        assert_eq!(store.outputs_of("run_1", None, 10).await.unwrap(), []);
        assert_eq!(store.outputs_of("run_2", None, 10).await.unwrap(), [output("other", 5)]);
        store.put_output("run_1", "late", b"").await.expect_err("a run that is gone has no files");
    })
    .await;
}

#[tokio::test]
async fn every_file_is_on_one_page() {
    db::each_database(async |store| {
        insert_user(&store, "usr_1").await;
        run(&store, "run_1").await;
        // Of cases, punctuation and lengths that collations order each in their own way.
        let mut paths: Vec<String> =
            (0..5).flat_map(|n| [format!("a{n}"), format!("A-{n}"), format!("a/{n}")]).collect();
        paths.extend(["Ä", "ä", "z", "~", "_", ".", "a b", "ab"].map(str::to_owned));
        for path in &paths {
            store.put_output("run_1", path, path.as_bytes()).await.unwrap();
        }
        let mut seen = Vec::new();
        loop {
            let page = store.outputs_of("run_1", seen.last().map(String::as_str), 4).await.unwrap();
            if page.is_empty() {
                break;
            }
            seen.extend(page.into_iter().map(|file| file.path));
        }
        seen.sort();
        paths.sort();
        assert_eq!(seen, paths);
    })
    .await;
}
