//! One person's queue, however long, is not another's.

use super::{blocking, connected};
use crate::support::server::Server;
use futures_util::{StreamExt, stream};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What `runs.max_queued` is when nobody says otherwise.
const QUEUE: usize = 1000;

async fn post(server: &Server, key: &str, prompt: &str) -> (StatusCode, Value) {
    let body = json!({ "provider": "claude", "prompt": prompt });
    let response = server.request_as(key, Method::POST, "/runs").json(&body).send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

async fn run(server: &Server, key: &str, id: &str) -> Value {
    server.request_as(key, Method::GET, &format!("/runs/{id}")).send().await.unwrap().json().await.unwrap()
}

/// All of a person's runs, newest first.
async fn runs(server: &Server, key: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/runs?limit=200{cursor}");
        let page: Value = server.request_as(key, Method::GET, &path).send().await.unwrap().json().await.unwrap();
        all.extend(page["items"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next_cursor"].as_str() else { return all };
        cursor = format!("&cursor={next}");
    }
}

/// Reads a run's events to its end, and tells how it ended.
async fn ended(server: &Server, key: &str, id: &str) -> Value {
    let path = format!("/runs/{id}/events");
    let events = server.request_as(key, Method::GET, &path).send().await.unwrap().text();
    tokio::time::timeout(Duration::from_secs(60), events).await.expect("its turn comes").unwrap();
    run(server, key, id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_waiting_runs_of_one_delay_nobody_else() {
    let (mut server, _standin) = connected("[runs]\nmax_concurrent = 1\n").await;
    let first = server.key.clone();
    let (server, second) = blocking(move || {
        server.key = server.person("two@example.com");
        server.connect("claude");
        let second = server.key.clone();
        (server, second)
    })
    .await;

    // The only place is taken by a run that does not end by itself.
    let (_, holds) = post(&server, &first, "[fault:stall] count to 2").await;
    let holds = holds["id"].as_str().unwrap().to_owned();
    let deadline = Instant::now() + Duration::from_secs(30);
    while run(&server, &first, &holds).await["status"] != "running" {
        assert!(Instant::now() < deadline, "it does not start:\n{}", server.log());
    }
    let posted = Instant::now();
    let prompts: Vec<String> = (0..QUEUE).map(|n| format!("echo {n}")).collect();
    let accepted = stream::iter(&prompts).map(|prompt| post(&server, &first, prompt));
    let accepted: Vec<_> = accepted.buffer_unordered(16).map(|(status, _)| status).collect().await;
    println!("{QUEUE} runs accepted in {:?}", posted.elapsed());
    assert!(accepted.iter().all(|status| *status == 202), "{accepted:?}");
    let (status, refused) = post(&server, &first, "echo one too many").await;
    assert_eq!((status.as_u16(), &refused["error"]["code"]), (429, &json!("queue_full")), "{refused}");

    let (status, other) = post(&server, &second, "echo mine").await;
    assert_eq!(status, 202, "another's queue is not full: {other}");
    let cancel = |id: String| {
        let request = server.request_as(&first, Method::POST, &format!("/runs/{id}/cancel"));
        async move { request.send().await.unwrap().status() }
    };
    assert_eq!(cancel(holds.clone()).await, 202);
    let other = ended(&server, &second, other["id"].as_str().unwrap()).await;
    assert_eq!((&other["status"], &other["text"]), (&json!("completed"), &json!("mine")));
    let all = runs(&server, &first).await;
    assert_eq!(all.len(), QUEUE + 1);
    let before: Vec<&Value> = all
        .iter()
        .filter(|run| run["id"] != holds && run["started_at"].as_str() < other["started_at"].as_str())
        .filter(|run| run["started_at"].is_string())
        .collect();
    assert!(before.len() <= 1, "these were started before it: {before:?}");

    // What waits is cancelled without ever having a sandbox, and quickly.
    let pressed = Instant::now();
    let open = all.iter().filter(|run| run["status"] == "queued").map(|run| run["id"].as_str().unwrap().to_owned());
    let answers: Vec<_> = stream::iter(open).map(cancel).buffer_unordered(16).collect().await;
    // One or two were started meanwhile, and may have ended.
    assert!(answers.iter().filter(|status| **status == 202).count() > QUEUE - 10, "{answers:?}");
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let all = runs(&server, &first).await;
        if all.iter().all(|run| run["finished_at"].is_string()) {
            assert!(all.iter().filter(|run| run["status"] == "cancelled").count() > QUEUE - 10);
            break;
        }
        assert!(Instant::now() < deadline, "they are not cancelled");
    }
    println!("all cancelled after {:?}", pressed.elapsed());
}
