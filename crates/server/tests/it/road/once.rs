//! Requests that are sent twice with one `Idempotency-Key`, and done once.

use super::{blocking, connected};
use crate::support::server::{Server, text};
use futures_util::StreamExt;
use reqwest::{Method, Response};
use serde_json::{Value, json};

fn prompt(prompt: &str) -> Value {
    json!({ "provider": "claude", "prompt": prompt })
}

async fn send(server: &Server, path: &str, key: &str, body: &Value) -> Response {
    server.request(Method::POST, path).header("idempotency-key", key).json(body).send().await.unwrap()
}

fn replayed(response: &Response) -> bool {
    response.headers().get("idempotent-replayed").is_some_and(|value| value == "true")
}

async fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

async fn runs(server: &Server) -> Vec<Value> {
    let list: Value = server.request(Method::GET, "/runs").send().await.unwrap().json().await.unwrap();
    list["items"].as_array().unwrap().clone()
}

/// Asks until an answer is not that the same request is under way.
async fn when_free(ask: impl AsyncFn() -> Response) -> Response {
    loop {
        let response = ask().await;
        if response.status() != 409 {
            return response;
        }
        assert_eq!(code(response).await.1, "idempotency_in_progress");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_asked_for_twice_is_made_once() {
    let (server, _standin) = connected("").await;
    let body = prompt("What is 2+2?");
    let first = send(&server, "/runs", "one", &body).await;
    assert!(first.status() == 202 && !replayed(&first));
    let location = first.headers()["location"].clone();
    let first = first.text().await.unwrap();
    for _ in 0..2 {
        let again = send(&server, "/runs", "one", &body).await;
        assert!(again.status() == 202 && replayed(&again));
        assert_eq!(again.headers()["location"], location);
        assert_eq!(again.headers()["content-type"], "application/json");
        assert_eq!(again.text().await.unwrap(), first);
    }
    for (path, body) in [("/runs", prompt("What is 2+3?")), ("/runs?wait=true", body.clone())] {
        let other = send(&server, path, "one", &body).await;
        assert_eq!(code(other).await, (409, "idempotency_conflict".into()), "{path}");
    }
    for bad in ["x".repeat(256), "ü".into(), " ".into()] {
        assert_eq!(code(send(&server, "/runs", &bad, &body).await).await, (422, "invalid_request".into()), "{bad}");
    }
    assert_eq!(runs(&server).await.len(), 1);

    // Another key, and another person with the same one, make runs of their own.
    let more = send(&server, "/runs?wait=true", "two ~", &body).await;
    let ended: Value = more.json().await.unwrap();
    assert_eq!(ended["text"], "4");
    let again = send(&server, "/runs?wait=true", "two ~", &body).await;
    assert!(again.status() == 200 && replayed(&again));
    assert_eq!(again.json::<Value>().await.unwrap(), ended);
    assert_eq!(runs(&server).await.len(), 2);
    let server = blocking(move || {
        let mut server = server;
        server.key = server.person("two@example.com");
        server.connect("claude");
        server
    })
    .await;
    let theirs = send(&server, "/runs", "one", &body).await;
    assert!(theirs.status() == 202 && !replayed(&theirs));
    let mut stranger = server;
    stranger.key = "pdv_nonsense".into();
    assert_eq!(code(send(&stranger, "/runs", "one", &body).await).await, (401, "unauthenticated".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_asked_for_twice_is_that_runs_from_its_start() {
    let (server, _standin) = connected("").await;
    let body = prompt("count to 20");
    let ask = async || {
        let request = server.request(Method::POST, "/runs").header("idempotency-key", "k").json(&body);
        request.header("accept", "text/event-stream").send().await.unwrap()
    };
    let first = ask().await;
    assert!(first.status() == 200 && !replayed(&first));
    let location = first.headers()["location"].clone();
    let mut first = first.bytes_stream();
    first.next().await.unwrap().unwrap();
    // While the first goes on, and after its reader has left.
    let second = ask().await;
    assert!(replayed(&second));
    assert_eq!(second.headers()["location"], location);
    drop(first);
    let second = second.text().await.unwrap();
    let third = ask().await.text().await.unwrap();
    let events = |text: &str| text.lines().filter(|line| !line.starts_with(':') && !line.is_empty()).count();
    assert_eq!(second.replace(": ping\n\n", ""), third);
    assert!(events(&third) > 20 && third.contains("event: run.queued") && third.contains("event: run.completed"));

    // Asked for as JSON, it is that run, and that answer is kept as well.
    let run = send(&server, "/runs", "k", &body).await;
    assert!(run.status() == 202 && replayed(&run));
    assert_eq!(run.headers()["location"], location);
    let run = run.text().await.unwrap();
    assert_eq!(send(&server, "/runs", "k", &body).await.text().await.unwrap(), run);
    assert_eq!(runs(&server).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_under_way_is_not_begun_again_and_who_comes_back_finds_it() {
    let (server, _standin) = connected("").await;
    let body = prompt("[fault:stall] count to 10");
    let wait = |key: &'static str| {
        let request = server.request(Method::POST, "/runs?wait=true").header("idempotency-key", key).json(&body);
        tokio::spawn(request.send())
    };
    let first = wait("one");
    while runs(&server).await.is_empty() {
        tokio::task::yield_now().await;
    }
    let again = send(&server, "/runs?wait=true", "one", &body).await;
    assert_eq!(code(again).await, (409, "idempotency_in_progress".into()));
    let other = send(&server, "/runs?wait=true", "one", &prompt("hi")).await;
    assert_eq!(code(other).await, (409, "idempotency_conflict".into()));
    let id = runs(&server).await[0]["id"].as_str().unwrap().to_owned();

    // The caller is cut off: the same request finds the run, once the server has seen that the first one left.
    first.abort();
    let _ = first.await;
    let found = when_free(async || {
        let request = server.request(Method::POST, "/runs?wait=true").header("idempotency-key", "one").json(&body);
        request.header("accept", "text/event-stream").send().await.unwrap()
    })
    .await;
    assert!(found.status() == 200 && replayed(&found));
    assert!(found.headers()["location"].to_str().unwrap().ends_with(&id));
    let cancelled = send(&server, &format!("/runs/{id}/cancel"), "one", &json!({})).await;
    assert_eq!(cancelled.status(), 202);
    let stream = found.text().await.unwrap();
    assert!(stream.contains("event: run.queued") && stream.contains("event: run.cancelled"), "{stream}");
    assert_eq!(runs(&server).await.len(), 1);

    // To cancel what is over is refused; to ask for the same once more is not.
    let again = send(&server, &format!("/runs/{id}/cancel"), "one", &json!({})).await;
    assert!(again.status() == 202 && replayed(&again));
    let anew = send(&server, &format!("/runs/{id}/cancel"), "two", &json!({})).await;
    assert_eq!(code(anew).await, (409, "conflict".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_has_not_forgotten_what_it_accepted() {
    let (server, _standin) = connected("").await;
    let body = prompt("[fault:stall] count to 10");
    let answered = send(&server, "/runs", "answered", &body).await.text().await.unwrap();
    // This one's server dies before its caller has an answer.
    let waiting = server.request(Method::POST, "/runs?wait=true").header("idempotency-key", "waiting").json(&body);
    let waiting = tokio::spawn(waiting.send());
    while runs(&server).await.len() < 2 {
        tokio::task::yield_now().await;
    }
    let id = runs(&server).await[0]["id"].as_str().unwrap().to_owned();
    let server = blocking(move || {
        let mut server = server;
        server.kill();
        server.run();
        server
    })
    .await;
    assert!(waiting.await.unwrap().is_err());
    let again = send(&server, "/runs", "answered", &body).await;
    assert!(again.status() == 202 && replayed(&again));
    assert_eq!(again.text().await.unwrap(), answered);
    let cancel = server.request(Method::POST, &format!("/runs/{id}/cancel")).send().await.unwrap();
    assert!(matches!(cancel.status().as_u16(), 202 | 409), "it was taken up, or is over");
    let found = send(&server, "/runs?wait=true", "waiting", &body).await;
    assert!(found.status() == 200 && replayed(&found));
    assert_eq!(found.json::<Value>().await.unwrap()["id"], id);
    assert_eq!(runs(&server).await.len(), 2, "no run was made twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_refused_may_be_sent_again() {
    let (server, _standin) = connected("").await;
    let body = json!({ "provider": "codex", "prompt": "What is 2+2?" });
    assert_eq!(code(send(&server, "/runs", "k", &body).await).await, (409, "not_connected".into()));
    let invalid = json!({ "provider": "codex", "prompt": "" });
    assert_eq!(code(send(&server, "/runs", "k", &invalid).await).await, (422, "invalid_request".into()));
    let huge = server.request(Method::POST, "/runs").header("idempotency-key", "k");
    let huge = huge.header("content-type", "application/json").body(vec![b' '; 33 * 1024 * 1024]).send().await.unwrap();
    assert_eq!(huge.status(), 413);

    let put = |key: &str| {
        let request = server.request(Method::PUT, "/connections/codex").header("idempotency-key", "k");
        request.json(&json!({ "api_key": key })).send()
    };
    assert_eq!(put("sk-standin-revoked").await.unwrap().status(), 409);
    let made = put("sk-standin-test").await.unwrap();
    assert!(made.status() == 200 && !replayed(&made));
    let made = made.text().await.unwrap();
    let again = put("sk-standin-test").await.unwrap();
    assert!(again.status() == 200 && replayed(&again));
    assert_eq!(again.text().await.unwrap(), made);
    assert_eq!(code(put("sk-standin-other").await.unwrap()).await, (409, "idempotency_conflict".into()));

    let run = send(&server, "/runs?wait=true", "k", &body).await;
    assert!(run.status() == 200 && !replayed(&run));
    assert_eq!(run.json::<Value>().await.unwrap()["text"], "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_may_not_ask_for_is_not_repeated_to_it() {
    let (server, _standin) = connected("").await;
    let key = |server: &Server, scope: &str| {
        text(&server.polydev(&["key", "create", "--scope", scope]).stdout).trim().to_owned()
    };
    let (server, reader, writer, connector) = blocking(move || {
        let keys = ["runs:read", "runs:write", "connections"].map(|scope| key(&server, scope));
        let [reader, writer, connector] = keys;
        (server, reader, writer, connector)
    })
    .await;
    let asks: [(Method, &str, Value, &str, &str); 2] = [
        (Method::POST, "/runs", prompt("What is 2+2?"), &writer, "runs:write"),
        (Method::PUT, "/connections/codex", json!({ "api_key": "sk-standin-test" }), &connector, "connections"),
    ];
    for (method, path, body, able, scope) in &asks {
        let ask = async |key: &str, body: &Value| {
            let request = server.request_as(key, method.clone(), path).header("idempotency-key", "one");
            request.json(body).send().await.unwrap()
        };
        let first = ask(&server.key, body).await;
        assert!(first.status().is_success(), "{path}");
        let first = first.text().await.unwrap();
        // Nor is it told that there is something.
        for body in [body, &json!({})] {
            let refused = ask(&reader, body).await;
            assert!(refused.status() == 403 && !replayed(&refused), "{path}");
            let refused: Value = refused.json().await.unwrap();
            assert_eq!(refused["error"]["message"], format!("this key does not have the scope `{scope}`"));
        }
        let again = ask(able, body).await;
        assert!(replayed(&again), "{path}: another key of theirs that may");
        assert_eq!(again.text().await.unwrap(), first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_32_mib_is_hashed_whole() {
    let (server, _standin) = connected("").await;
    let body = |last: char| {
        let json = prompt("What is 2+2?").to_string();
        let blanks = " ".repeat(32 * 1024 * 1024 - json.len() - 1);
        format!("{json}{blanks}{last}")
    };
    let ask = |last| {
        let request = server.request(Method::POST, "/runs").header("idempotency-key", "k");
        request.header("content-type", "application/json").body(body(last)).send()
    };
    assert_eq!(ask('\n').await.unwrap().status(), 202);
    let again = ask('\n').await.unwrap();
    assert!(again.status() == 202 && replayed(&again));
    assert_eq!(code(ask(' ').await.unwrap()).await, (409, "idempotency_conflict".into()));
}
