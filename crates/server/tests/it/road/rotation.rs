//! The master key is changed while the server and its runs go on, and the wrong one is named.

use super::{answer, blocking, events, sound, standin};
use crate::support::{
    chance::chance,
    db,
    server::{NO_POOL, Server, text},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use polydev_server::{
    domain::{
        connections,
        people::{self, Role},
        vault::keys,
    },
    providers::{Credential, Method},
    store::{Store, sqlite_url},
    vault::{KeyId, KeySource, Vault},
};
use polydev_standin::Provider;
use proptest::prelude::RngExt;
use reqwest::Method as Http;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::Stdio,
    sync::Arc,
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How many credentials there are beside those of the runs.
const OTHERS: usize = 150;

async fn run(server: &Server, prompt: &str) -> String {
    let all = events(server, json!({ "provider": "claude", "prompt": prompt })).await;
    sound(&all);
    answer(&all).trim().to_owned()
}

/// Everything in this database opens under this key alone.
async fn all_under(store: &Store, source: &KeySource, key: KeyId) {
    let vault = Vault::alone(source, key).unwrap();
    let sealed = keys(store).await.unwrap().sealed;
    assert_eq!(sealed.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [key], "{sealed:?}");
    for row in store.sealed_after("", 1000).await.unwrap() {
        connections::open(store, &vault, &row.user_id, &row.provider).await.unwrap();
    }
}

async fn others(store: &Store, source: &KeySource) {
    let vault = Vault::open(source, &[]).unwrap();
    let user = people::create_user(store, "many@example.com", Role::Member).await.unwrap().0;
    for n in 0..OTHERS {
        let key = Credential::ApiKey(format!("key {n}").into());
        let of = (user.id.as_str(), format!("provider {n}"));
        connections::put(store, &vault, (of.0, &of.1), Method::ApiKey, &key, None).await.unwrap();
    }
}

/// A rotation that is killed after so many of its words, and some time.
fn rotate_and_kill(server: &Server, words: usize, after: Duration) {
    let mut child = server.command(&["vault", "rotate"]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let heard: Vec<String> = said.by_ref().take(words).map_while(Result::ok).collect();
    std::thread::sleep(after);
    let _ = child.kill();
    let status = child.wait().unwrap();
    eprintln!("killed {after:?} after {:?}: {status}", heard.last());
}

async fn killed_rotations_beside_runs(postgres: Option<String>, rounds: usize) {
    let mut chance = chance();
    let standin = standin().await;
    let more = postgres.as_ref().map_or(String::new(), |url| format!("[store]\nurl = {url:?}\n\n"));
    let (server, _standin) = blocking(move || {
        let server = Server::start_with(&standin, &format!("{more}{NO_POOL}"));
        server.connect("claude");
        (Arc::new(server), standin)
    })
    .await;
    let url = postgres.unwrap_or_else(|| sqlite_url(&server.data_dir().join("polydev.db")));
    let store = Store::open(&url).await.unwrap();
    let source = KeySource::File(server.data_dir().join("master.key"));
    others(&store, &source).await;
    for n in 0..rounds {
        let before = source.look().unwrap();
        // It says ten things.
        let (words, after) = (chance.random_range(0..10), Duration::from_micros(chance.random_range(0..20_000)));
        let killed = blocking({
            let server = server.clone();
            move || rotate_and_kill(&server, words, after)
        });
        let question = format!("use tool: sleep 1; echo woken {n}");
        let (answered, ()) = tokio::join!(run(&server, &question), killed);
        assert!(answered.contains("woken"), "{answered}");
        assert_eq!(run(&server, "What is 6*7?").await, "42", "with two keys, or one");
        let server_ = server.clone();
        let rotate = blocking(move || server_.polydev(&["vault", "rotate", "--output", "json"]));
        let (answered, rotated) = tokio::join!(run(&server, &question), rotate);
        assert!(answered.contains("woken"), "{answered}");
        assert!(rotated.status.success(), "{}\n{}", text(&rotated.stderr), server.log());
        let rotated: Value = serde_json::from_slice(&rotated.stdout).unwrap();
        let key: KeyId = rotated["key"].as_str().unwrap().parse().unwrap();
        assert!(!before.contains(&key) && rotated["left"].is_null(), "{rotated}");
        assert_eq!(rotated["credentials"], OTHERS + 1);
        assert_eq!(source.look().unwrap(), [key]);
        all_under(&store, &source, key).await;
        assert_eq!(run(&server, "What is 17*23?").await, "391");
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_killed_is_ended_by_the_next_and_runs_go_on() {
    killed_rotations_beside_runs(None, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_too() {
    killed_rotations_beside_runs(Some(db::postgres().await.url), 2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make soak`"]
async fn a_rotation_killed_anywhere_is_ended_by_the_next() {
    killed_rotations_beside_runs(None, 30).await;
    killed_rotations_beside_runs(Some(db::postgres().await.url), 30).await;
}

/// A run refreshes its login while everything is sealed anew: what it has is taken over.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refreshed_meanwhile_is_kept() {
    let standin = standin().await;
    let (server, standin) = blocking(move || (Arc::new(Server::start_with(&standin, NO_POOL)), standin)).await;
    let ada = standin.account("ada");
    let login = ada.login_files_for(Provider::Claude, Duration::from_secs(120));
    let files: BTreeMap<_, _> =
        login.into_iter().map(|(name, content)| (name, BASE64_STANDARD.encode(content))).collect();
    let imported = server.request(Http::POST, "/connections/claude/import").json(&json!({ "files": files }));
    assert_eq!(imported.send().await.unwrap().status(), 200);

    let over = CancellationToken::new();
    let rotations = blocking({
        let (server, over) = (server.clone(), over.clone());
        move || {
            let mut rotations = 0;
            while !over.is_cancelled() {
                let out = server.polydev(&["vault", "rotate"]);
                assert!(out.status.success(), "{}", text(&out.stderr));
                rotations += 1;
            }
            rotations
        }
    });
    let runs = async {
        let answered = run(&server, "use tool: sleep 3; echo woken").await;
        over.cancel();
        answered
    };
    let (answered, rotations) = tokio::join!(runs, rotations);
    assert!(answered.contains("woken") && rotations > 0, "{answered}, {rotations} rotations");
    assert!(server.log().contains("a login was refreshed"), "{}", server.log());
    assert_eq!(run(&server, "What is 17*23?").await, "391", "the login lives\n{}", server.log());
    assert_eq!((ada.refreshes(Provider::Claude), ada.refresh_reuses(Provider::Claude)), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_key_is_named_and_nothing_is_made_in_its_place() {
    let standin = standin().await;
    blocking(move || {
        let mut server = Server::start_with(&standin, NO_POOL);
        server.connect("claude");
        let path = server.data_dir().join("master.key");
        let key = fs::read(&path).unwrap();
        let id = KeySource::File(path.clone()).look().unwrap()[0].to_string();
        let doctor = |server: &Server| -> Value {
            let out = server.polydev(&["doctor", "--output", "json"]);
            serde_json::from_slice(&out.stdout).unwrap()
        };
        let fine = doctor(&server)["vault"].clone();
        assert_eq!((&fine["available"], &fine["keys"]), (&json!(true), &json!([id])), "{fine}");
        server.key = server.whole_key("one@example.com");
        let status: Value = serde_json::from_slice(&server.polydev(&["status", "--output", "json"]).stdout).unwrap();
        assert_eq!(status["server"]["vault"], json!({ "key_id": id, "next_key_id": null, "unopened": 0 }));
        assert_eq!(server.stop(), Some(0));

        let other = "f".repeat(64);
        let other_id = KeySource::Variable(other.clone().into()).look().unwrap()[0].to_string();
        fs::write(&path, &other).unwrap();
        for args in [&["serve"][..], &["doctor"], &["vault", "rotate"]] {
            let out = server.polydev(args);
            assert_eq!(out.status.code(), Some(1), "{args:?}");
            let said = text(&out.stderr) + &text(&out.stdout);
            for words in [&id, &other_id, path.to_str().unwrap(), "put back the key"] {
                assert!(said.contains(words), "{args:?}, {words}: {said}");
            }
            assert!(!said.contains("panicked") && !said.contains(&other), "{said}");
            assert_eq!(fs::read_to_string(&path).unwrap(), other);
        }
        fs::remove_file(&path).unwrap();
        for args in [&["serve"][..], &["doctor"], &["vault", "rotate"]] {
            let out = server.polydev(args);
            assert_eq!(out.status.code(), Some(1), "{args:?}");
            let said = text(&out.stderr) + &text(&out.stdout);
            assert!(said.contains("is missing") && said.contains("from your backup") && said.contains(&id), "{said}");
            assert!(!path.exists());
        }
        fs::write(&path, key).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        server.run();
        let out = server.polydev(&["run", "claude", "What is 17*23?"]);
        assert_eq!(text(&out.stdout), "391\n", "{}", text(&out.stderr));
    })
    .await;
}

/// A key that polydev does not own: by variable and by systemd's credential, each with a server that runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_given_is_changed_with_a_restart() {
    let standin = standin().await;
    blocking(move || {
        let mut server = Server::start_with(&standin, NO_POOL);
        server.connect("claude");
        let path = server.data_dir().join("master.key");
        let old = fs::read_to_string(&path).unwrap().trim().to_owned();
        fs::remove_file(&path).unwrap();
        assert_eq!(server.stop(), Some(0));
        server.env = vec![("ENCRYPTION_MASTER_KEY", old.clone())];
        server.run();
        let refused = server.polydev(&["vault", "rotate"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains("start the server again with both"), "{}", text(&refused.stderr));

        // Not yet started again with it: nothing is sealed under what the server cannot open.
        let new = "f".repeat(64);
        server.env = vec![("ENCRYPTION_MASTER_KEY", format!("{new},{old}"))];
        let refused = server.polydev(&["vault", "rotate"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused.stderr).contains("does not have the new master key"), "{}", text(&refused.stderr));
        let answered = server.polydev(&["run", "claude", "What is 17*23?"]);
        assert_eq!(text(&answered.stdout), "391\n", "{}", text(&answered.stderr));

        assert_eq!(server.stop(), Some(0));
        server.run();
        let rotated = server.polydev(&["vault", "rotate"]);
        assert!(rotated.status.success(), "{}", text(&rotated.stderr));
        assert!(text(&rotated.stderr).contains("ENCRYPTION_MASTER_KEY"), "{}", text(&rotated.stderr));

        // The same key as a credential, and on to the next.
        assert_eq!(server.stop(), Some(0));
        let credentials = server.data_dir().join("credentials");
        fs::create_dir(&credentials).unwrap();
        server.env = vec![("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap().to_owned())];
        let newest = "e".repeat(64);
        for keys in [format!("{new}\n"), format!("{newest}\n{new}\n"), format!("{newest}\n")] {
            fs::write(credentials.join("vault.master_key"), &keys).unwrap();
            server.run();
            let answered = server.polydev(&["run", "claude", "What is 17*23?"]);
            assert_eq!(text(&answered.stdout), "391\n", "{}", text(&answered.stderr));
            let rotated = server.polydev(&["vault", "rotate"]);
            assert_eq!(rotated.status.success(), keys.lines().count() == 2, "{}", text(&rotated.stderr));
            assert_eq!(fs::read_to_string(credentials.join("vault.master_key")).unwrap(), keys);
            assert_eq!(server.stop(), Some(0));
        }
        assert!(!path.exists(), "no file was made beside it");
        server.run();
    })
    .await;
}
