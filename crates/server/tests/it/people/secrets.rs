//! No password and no token is anywhere but in its owner's hands.

use super::{Browser, blocking, empty, json_of, refused, said, token_of};
use serde_json::json;
use std::{fs, path::Path};

/// Every file below a folder, whole.
fn files(dir: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&path, found),
            Ok(kind) if kind.is_file() => found.push((path.display().to_string(), fs::read(&path).unwrap_or_default())),
            Ok(_) | Err(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_password_and_no_token_is_kept_or_told() {
    let (server, _standin) = empty(&[("POLYDEV__LOG__LEVEL", "trace")]).await;
    let setup = token_of(&server);
    let mut browser = Browser::new(&server);
    let passwords = ["canary-first-password", "canary-second-password", "canary-wrong-password"];
    let body = json!({ "token": setup, "email": "ann@example.com", "password": passwords[0] });
    let made = browser.post("/setup", body).await;
    browser.keep_cookie(&made);
    json_of(made, 201).await;
    let mut secrets = vec![setup, browser.cookie.clone().unwrap()];

    // Asked for twice: what it answers with, and what it was sent, is not kept to be repeated.
    for _ in 0..2 {
        let made = browser.request(reqwest::Method::POST, "/keys").header("idempotency-key", "one");
        let made = json_of(made.json(&json!({})).send().await.unwrap(), 201).await;
        secrets.push(made["key"].as_str().unwrap().to_owned());
    }
    let made = browser.request(reqwest::Method::POST, "/users").header("idempotency-key", "one");
    let made = json_of(made.json(&json!({ "email": "bob@example.com" })).send().await.unwrap(), 201).await;
    secrets.push(made["password"].as_str().unwrap().to_owned());
    refused(Browser::new(&server).sign_in("ann@example.com", passwords[2]).await, 401, "unauthenticated").await;
    // Typed into the wrong field.
    refused(Browser::new(&server).sign_in(passwords[0], "ann@example.com").await, 401, "unauthenticated").await;
    refused(Browser::new(&server).sign_in("canary-first-password@example.com", "x").await, 401, "unauthenticated")
        .await;
    let body = json!({ "current_password": passwords[0], "new_password": passwords[1] });
    let changed = browser.request(reqwest::Method::POST, "/me/password").header("idempotency-key", "one").json(&body);
    assert_eq!(changed.send().await.unwrap().status(), 204);
    let mut other = Browser::new(&server);
    assert_eq!(other.sign_in("ann@example.com", passwords[1]).await.status(), 201);
    secrets.push(other.cookie.clone().unwrap());
    let audit = browser.get("/audit?limit=200").await.to_string();
    let listed = [browser.get("/keys").await, browser.get("/sessions").await, browser.get("/users").await];
    let told = format!("{audit} {listed:?}");

    let (server, more) = blocking(move || {
        let more = [
            said(&server, &["key", "create", "--user", "ann@example.com"]),
            said(&server, &["user", "password", "ann@example.com"]),
        ];
        (server, more)
    })
    .await;
    secrets.extend(more);
    secrets.extend(passwords.map(str::to_owned));
    let mut kept = vec![("what was told".to_owned(), told.into_bytes())];
    kept.push(("the log".into(), server.log().into_bytes()));
    files(&server.data_dir(), &mut kept);
    assert!(kept.iter().any(|(name, _)| name.ends_with("polydev.db")), "the database is looked at");
    for process in ["cmdline", "environ"] {
        kept.push((process.into(), fs::read(format!("/proc/{}/{process}", server.pid())).unwrap()));
    }
    for secret in &secrets {
        assert!(secret.len() >= 20, "{secret}");
        for (name, content) in &kept {
            assert!(!content.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} is in {name}");
        }
    }
}
