//! An admin sees that others' runs are there, and may stop them, and reads nothing of them.

use super::{blocking, connected};
use crate::support::server::{NO_POOL, Server, deeds, text};
use polydev_standin::Standin;
use reqwest::Method;
use serde_json::{Value, json};

/// What only its owner may read.
const CANARY: &str = "canary-of-the-prompt";

async fn get(server: &Server, key: &str, path: &str) -> (u16, String) {
    let response = server.request_as(key, Method::GET, path).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn json_of(server: &Server, key: &str, path: &str) -> Value {
    let (status, body) = get(server, key, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    assert!(!body.contains(CANARY), "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Starts a run that does not end by itself, and waits until it has said something: its id.
async fn hanging(server: &Server) -> String {
    let body = json!({
        "provider": "claude", "prompt": format!("[fault:stall] echo {CANARY} {CANARY}"),
        "metadata": { "note": CANARY }, "system": CANARY,
    });
    let run: Value = server.request(Method::POST, "/runs").json(&body).send().await.unwrap().json().await.unwrap();
    let run = run["id"].as_str().unwrap().to_owned();
    let mut stream = server.request(Method::GET, &format!("/runs/{run}/events")).send().await.unwrap();
    let mut read = Vec::new();
    while !text(&read).contains("text.delta") {
        read.extend(stream.chunk().await.unwrap().expect("the run goes on"));
    }
    run
}

/// A server of which the first person is an admin, and whose own is the second: with a key of the admin's for that, and
/// one for all else.
async fn two_people() -> (Server, Standin, String, String) {
    let (mut server, standin) = connected(NO_POOL).await;
    blocking(move || {
        let scopes = ["--scope", "admin", "--scope", "runs:read", "--scope", "runs:write"];
        let args = [&["key", "create", "--user", "one@example.com"][..], &scopes].concat();
        let admin = text(&server.polydev(&args).stdout).trim().to_owned();
        let second = server.person("two@example.com");
        let plain = std::mem::replace(&mut server.key, second);
        server.connect("claude");
        (server, standin, admin, plain)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_stops_what_they_cannot_read() {
    let (server, _standin, admin, plain) = two_people().await;
    let run = hanging(&server).await;
    let me = json_of(&server, &server.key, "/me").await["id"].as_str().unwrap().to_owned();
    let (_, own) = get(&server, &server.key, &format!("/runs/{run}")).await;
    assert!(own.contains(CANARY), "its owner reads it: {own}");

    assert_eq!(json_of(&server, &admin, "/runs").await["items"], json!([]), "what is not asked for is not shown");
    for path in ["/runs?user_id=all&status=running", &format!("/runs?user_id={me}&provider=claude")] {
        let seen = json_of(&server, &admin, path).await["items"][0].clone();
        assert_eq!((&seen["id"], &seen["user_id"], &seen["status"]), (&json!(run), &json!(me), &json!("running")));
        for unread in ["prompt", "text", "metadata"] {
            assert_eq!(seen[unread], Value::Null, "{unread}");
        }
    }
    assert_eq!(json_of(&server, &admin, "/runs?user_id=usr_none").await["items"], json!([]));
    assert_eq!(get(&server, &admin, "/runs?user_id=%00").await.0, 422);
    assert_eq!(json_of(&server, &admin, &format!("/runs/{run}")).await["prompt"], Value::Null);
    let sandbox = json_of(&server, &admin, "/sandboxes?user_id=all").await["items"][0].clone();
    assert_eq!((&sandbox["run_id"], &sandbox["user_id"]), (&json!(run), &json!(me)));
    let sandbox = sandbox["id"].as_str().unwrap().to_owned();
    for path in [
        format!("/runs/{run}/events"),
        format!("/runs/{run}/stream"),
        format!("/runs/{run}/files"),
        format!("/runs/{run}/files/x"),
        format!("/sandboxes/{sandbox}"),
        format!("/sandboxes/{sandbox}/console"),
    ] {
        assert_eq!(get(&server, &admin, &path).await.0, 404, "{path}");
    }
    let delete = |path: String| server.request_as(&admin, Method::DELETE, &path).send();
    assert_eq!(delete(format!("/runs/{run}")).await.unwrap().status(), 404, "it is its owner's to delete");

    let cancel = async |key: &str| {
        let cancel = server.request_as(key, Method::POST, &format!("/runs/{run}/cancel"));
        cancel.header("idempotency-key", "one").send().await.unwrap()
    };
    let cancelled = cancel(&admin).await;
    assert_eq!(cancelled.status(), 202);
    assert!(!cancelled.text().await.unwrap().contains(CANARY));
    assert_eq!(cancel(&plain).await.status(), 404, "what an admin's other keys may not see is not repeated to them");
    let (_, events) = get(&server, &server.key, &format!("/runs/{run}/events")).await;
    assert!(events.contains("run.cancelled"), "{events}");
    assert_eq!(cancel(&admin).await.status(), 409);

    let second = hanging(&server).await;
    let sandbox = json_of(&server, &admin, &format!("/sandboxes?user_id={me}&limit=1")).await["items"][0].clone();
    assert_eq!(sandbox["run_id"], json!(second));
    let sandbox = sandbox["id"].as_str().unwrap().to_owned();
    assert_eq!(delete(format!("/sandboxes/{sandbox}")).await.unwrap().status(), 204);
    let (_, events) = get(&server, &server.key, &format!("/runs/{second}/events")).await;
    assert!(events.contains("run.cancelled"), "{events}");

    // Its owner sees who it was.
    let newest = deeds(&json_of(&server, &server.key, "/audit").await);
    let said: Vec<_> =
        newest.iter().take(3).map(|entry| (&entry["action"], &entry["outcome"], &entry["target"])).collect();
    let entry = |action: &str, outcome: &str, target: &str| (json!(action), json!(outcome), json!(target));
    let expected =
        [entry("sandbox.delete", "ok", &sandbox), entry("run.cancel", "failed", &run), entry("run.cancel", "ok", &run)];
    assert_eq!(said, expected.iter().map(|(action, outcome, target)| (action, outcome, target)).collect::<Vec<_>>());

    // What they have used, they see for themselves.
    let usage = json_of(&server, &server.key, "/usage").await["items"].clone();
    assert_eq!((&usage[0]["provider"], &usage[0]["runs"]), (&json!("claude"), &json!(2)), "{usage}");
    assert_eq!(json_of(&server, &admin, "/usage").await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runs_of_whoever_is_switched_off_are_cancelled() {
    let (server, _standin, admin, _) = two_people().await;
    let run = hanging(&server).await;
    let me = json_of(&server, &server.key, "/me").await["id"].as_str().unwrap().to_owned();
    let off = server.request_as(&admin, Method::PATCH, &format!("/users/{me}")).json(&json!({ "disabled": true }));
    assert_eq!(off.send().await.unwrap().status(), 200);
    assert_eq!(get(&server, &server.key, "/me").await.0, 401);
    loop {
        let status = json_of(&server, &admin, &format!("/runs/{run}")).await["status"].clone();
        if status != "running" {
            assert_eq!(status, "cancelled");
            break;
        }
    }
    assert_eq!(blocking(move || server.sandboxes()).await, Vec::<String>::new(), "and so is what they worked in");
}
