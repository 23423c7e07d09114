//! The road with PostgreSQL for a database.

use super::{answer, blocking, events, sound, standin};
use crate::support::{
    db, host,
    server::{NO_POOL, Server, text},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn on_postgresql_a_run_answers_and_a_killed_server_tells_the_truth() {
    let standin = standin().await;
    let database = db::postgres().await;
    let store = format!("[store]\nurl = {:?}\n\n{NO_POOL}", database.url);
    let (server, standin) = blocking(move || {
        let server = Server::start_with(&standin, &store);
        server.connect("claude");
        (server, standin)
    })
    .await;
    let all = events(&server, json!({ "provider": "claude", "prompt": "count to 20" })).await;
    sound(&all);
    assert_eq!(answer(&all), (1..=20).map(|n| n.to_string()).collect::<Vec<_>>().join(" "));

    // PostgreSQL takes no U+0000 in a text, not even to look for it.
    for path in ["/runs/run_%00", "/runs/run_%00/events", "/runs?cursor=MSAA"] {
        let status = server.request(Method::GET, path).send().await.unwrap().status();
        assert!(status.is_client_error(), "{path}: {status}");
    }

    let mut server = server;
    let body = json!({ "provider": "claude", "prompt": "[fault:stall] count to 10" });
    let run: Value = server.request(Method::POST, "/runs").json(&body).send().await.unwrap().json().await.unwrap();
    let id = run["id"].as_str().unwrap().to_owned();
    let waiting = server.request(Method::GET, &format!("/runs/{id}/events")).send().await.unwrap();
    said_something(waiting).await;
    let server = blocking(move || {
        let sandbox = server.sandboxes().pop().expect("it runs in a sandbox");
        server.kill();
        server.run();
        host::until(Duration::from_secs(10), || server.sandboxes().is_empty() && host::leftovers(&sandbox).is_empty());
        let out = server.polydev(&["run", "claude", "What is 17*23?"]);
        assert_eq!(text(&out.stdout), "391\n", "it works on: {}", text(&out.stderr));
        server
    })
    .await;
    let ended = server.request(Method::GET, &format!("/runs/{id}")).send().await.unwrap();
    let ended: Value = ended.json().await.unwrap();
    assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("failed"), &json!("interrupted")), "{ended}");
    drop(standin);
}

async fn said_something(mut stream: reqwest::Response) {
    let mut read = Vec::new();
    while !text(&read).contains("text.delta") {
        read.extend(stream.chunk().await.unwrap().expect("the run goes on"));
    }
}
