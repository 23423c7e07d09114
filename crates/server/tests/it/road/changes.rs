//! What one's own things become: told as it happens, and deleted when they are over.

use super::{blocking, connected};
use crate::support::server::{Server, text};
use eventsource_stream::Eventsource;
use futures_util::{Stream, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};

/// The changes of whoever has this key, from now on.
async fn feed(server: &Server, key: &str) -> impl Stream<Item = (String, Value)> + Unpin + use<> {
    let mut request = server.request(Method::GET, "/events").build().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    let response = reqwest::Client::builder().no_proxy().build().unwrap().execute(request).await.unwrap();
    assert_eq!(response.status(), 200);
    Box::pin(response.bytes_stream().eventsource().map(|frame| {
        let frame = frame.unwrap();
        (frame.event, serde_json::from_str(&frame.data).unwrap())
    }))
}

/// Runs a prompt to its end: the run.
async fn run(server: &Server, prompt: &str) -> Value {
    let body = json!({ "provider": "claude", "prompt": prompt });
    server.request(Method::POST, "/runs?wait=true").json(&body).send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_to_their_owner_alone() {
    let (server, _standin) = connected("").await;
    let (server, other, blind) = blocking(move || {
        let other = server.person("two@example.com");
        let key = |scope| {
            let out = server.polydev(&["key", "create", "--user", "two@example.com", "--scope", scope]);
            text(&out.stdout).trim().to_owned()
        };
        let blind = key("runs:read");
        let deaf = key("runs:write");
        (server, (other, deaf), blind)
    })
    .await;
    let (other, deaf) = other;
    let mut own = feed(&server, &server.key).await;
    let mut theirs = feed(&server, &other).await;
    let mut runs_only = feed(&server, &blind).await;
    let mut next = async || own.next().await.unwrap();

    let ended = run(&server, "What is 2+2?").await;
    let id = ended["id"].clone();
    let change = ("run".to_owned(), json!({ "type": "run", "id": id }));
    for step in ["accepted", "started", "ended"] {
        assert_eq!(next().await, change, "{step}");
    }
    let path = format!("/runs/{}", id.as_str().unwrap());
    assert_eq!(server.request(Method::DELETE, &path).send().await.unwrap().status(), 204);
    assert_eq!(next().await, change, "deleted");

    let refused = run(&server, "[fault:401] hi").await;
    assert_eq!(refused["error"]["code"], "needs_reconnect", "{refused}");
    let mut kinds = Vec::new();
    for _ in 0..4 {
        kinds.push(next().await.1);
    }
    let connection = json!({ "type": "connection", "id": "claude" });
    assert_eq!(kinds.iter().filter(|change| **change == connection).count(), 1, "{kinds:?}");
    for step in ["deleted", "put"] {
        if step == "deleted" {
            let gone = server.request(Method::DELETE, "/connections/claude").send().await.unwrap();
            assert_eq!(gone.status(), 204);
        } else {
            let body = json!({ "api_key": crate::support::server::good_key("claude") });
            let put = server.request(Method::PUT, "/connections/claude").json(&body).send().await.unwrap();
            assert_eq!(put.status(), 200);
        }
        assert_eq!(next().await, ("connection".to_owned(), connection.clone()), "{step}");
    }

    // Of all that, the other one hears nothing: their first news is their own, by what their key may see.
    let server = blocking(move || {
        let mut server = server;
        server.key = other;
        server.connect("claude");
        server
    })
    .await;
    assert_eq!(theirs.next().await.unwrap().1, connection);
    let made = run(&server, "What is 2+3?").await;
    assert_eq!(theirs.next().await.unwrap().1["id"], made["id"]);
    assert_eq!(runs_only.next().await.unwrap().1["id"], made["id"]);
    let mut request = server.request(Method::GET, "/events").build().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {deaf}").parse().unwrap());
    let refused = reqwest::Client::builder().no_proxy().build().unwrap().execute(request).await.unwrap();
    assert_eq!(refused.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_deleted_when_it_is_over_and_by_its_owner() {
    let (server, _standin) = connected("").await;
    let body = json!({ "provider": "claude", "prompt": "[fault:stall] count to 10" });
    let made = server.request(Method::POST, "/runs").header("idempotency-key", "k").json(&body).send().await.unwrap();
    let id = made.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let path = format!("/runs/{id}");
    let refused = server.request(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(refused.status(), 409);
    let refused: Value = refused.json().await.unwrap();
    assert_eq!(refused["error"]["code"], "conflict");
    assert!(refused["error"]["hint"].as_str().unwrap().contains("Cancel it first"), "{refused}");

    let events = server.request(Method::GET, &format!("{path}/events")).send().await.unwrap();
    let cancel = server.request(Method::POST, &format!("{path}/cancel")).send().await.unwrap();
    assert_eq!(cancel.status(), 202);
    assert!(events.text().await.unwrap().contains("event: run.cancelled"));
    let server = blocking(move || {
        let mut server = server;
        let own = server.key.clone();
        server.key = server.person("two@example.com");
        (server, own)
    })
    .await;
    let (mut server, own) = server;
    assert_eq!(server.request(Method::DELETE, &path).send().await.unwrap().status(), 404, "it is another's");
    server.key = own;
    assert_eq!(server.request(Method::GET, &path).send().await.unwrap().status(), 200);
    assert_eq!(server.request(Method::DELETE, &path).send().await.unwrap().status(), 204);
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::GET, format!("{path}/events")),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/cancel")),
    ] {
        assert_eq!(server.request(method.clone(), &path).send().await.unwrap().status(), 404, "{method} {path}");
    }
    // The key that it was asked with does not make another one.
    let again = server.request(Method::POST, "/runs").header("idempotency-key", "k").json(&body).send().await.unwrap();
    assert_eq!(again.status(), 404);
    let list: Value = server.request(Method::GET, "/runs").send().await.unwrap().json().await.unwrap();
    assert_eq!(list["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_picked_and_status_counts_what_is_under_way() {
    let (server, _standin) = connected("[runs]\nmax_concurrent = 1\n").await;
    run(&server, "What is 2+2?").await;
    let post = async |prompt: &str| {
        let body = json!({ "provider": "claude", "prompt": prompt });
        let made = server.request(Method::POST, "/runs").json(&body).send().await.unwrap();
        made.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let running = post("[fault:stall] count to 10").await;
    let first = server.request(Method::GET, &format!("/runs/{running}/events")).send().await.unwrap();
    let mut first = first.bytes_stream().eventsource();
    while first.next().await.unwrap().unwrap().event != "run.started" {}
    let queued = post("What is 2+3?").await;
    let ids = async |query: &str| {
        let list: Value =
            server.request(Method::GET, &format!("/runs?{query}")).send().await.unwrap().json().await.unwrap();
        let ids = list["items"].as_array().unwrap_or_else(|| panic!("{query}: {list}")).iter();
        ids.map(|run| run["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("status=running").await, [running]);
    assert_eq!(ids("status=queued&provider=claude&limit=1").await, [queued]);
    assert_eq!(ids("provider=codex").await, Vec::<String>::new());
    for (query, status) in [("status=lost", 422), ("provider=hal", 404), ("provider=%00", 404), ("state=running", 422)]
    {
        let refused = server.request(Method::GET, &format!("/runs?{query}")).send().await.unwrap();
        assert_eq!(refused.status(), status, "{query}");
    }
    let out = blocking(move || server.polydev(&["status", "--output", "json"])).await;
    let status: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(status["server"]["runs"], json!({ "queued": 1, "running": 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn long_prompts_are_listed_page_by_page_and_by_the_command_line_at_once() {
    let (server, _standin) = connected("[runs]\nmax_concurrent = 1\n").await;
    for n in 0..6 {
        let prompt = format!("[fault:stall] {n} {}", "long ".repeat(200_000));
        let body = json!({ "provider": "claude", "prompt": prompt });
        assert_eq!(server.request(Method::POST, "/runs").json(&body).send().await.unwrap().status(), 202);
    }
    let page: Value = server.request(Method::GET, "/runs?limit=200").send().await.unwrap().json().await.unwrap();
    assert_eq!(page["items"].as_array().unwrap().len(), 5, "it ends when its texts are 4 MiB");
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest: Value =
        server.request(Method::GET, &format!("/runs?cursor={cursor}")).send().await.unwrap().json().await.unwrap();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_cursor"]), (1, &Value::Null));
    let lines = blocking(move || {
        let count = |args: &[&str]| text(&server.polydev(args).stdout).lines().filter(|l| l.contains("run_")).count();
        (count(&["runs"]), count(&["runs", "--limit", "6"]), count(&["runs", "--limit", "2"]))
    })
    .await;
    assert_eq!(lines, (6, 6, 2));
}
