//! The road, whole: the real server, real sandboxes, the real tools, and the
//! stand-in where the providers would be.

mod admins;
mod alone;
mod bad_input;
mod changes;
mod crash;
mod cuts;
mod document;
mod fair;
mod faults;
mod files;
mod flags;
mod kills;
mod large;
mod limits;
mod logins;
mod metrics;
mod neighbours;
mod network;
mod once;
mod pool;
mod postgres;
mod rights;
mod rotation;
mod sandboxes;
mod secrets;
mod selfcheck;
mod service;
mod soak;
mod socket;
mod status;
mod terminal;
mod unread;
mod ways;

use crate::support::server::{Server, text};
use futures_util::StreamExt;
use polydev_server::domain::event::{Event, EventBody};
use polydev_standin::{Options, Standin};
use reqwest::Method;
use serde_json::{Value, json};

/// A stand-in of the test's own.
async fn standin() -> Standin {
    Standin::start(Options::default()).await.unwrap()
}

/// A server that claude is connected to, with these lines in its configuration, and the stand-in behind it.
async fn connected(config: &'static str) -> (Server, Standin) {
    let standin = standin().await;
    blocking(move || {
        let server = Server::start_with(&standin, config);
        server.connect("claude");
        (server, standin)
    })
    .await
}

/// Runs what blocks beside the stand-in, which needs this runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// A run's events, from its start to its end, as `POST /runs` streams them.
pub(crate) async fn events(server: &Server, body: Value) -> Vec<Event> {
    let response =
        server.request(Method::POST, "/runs").header("accept", "text/event-stream").json(&body).send().await.unwrap();
    stream(response).await
}

/// A stream of events, to its end.
async fn stream(response: reqwest::Response) -> Vec<Event> {
    use eventsource_stream::Eventsource;
    assert_eq!(response.status(), 200);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let mut stream = response.bytes_stream().eventsource();
    let mut events = Vec::new();
    while let Some(frame) = stream.next().await {
        let frame = frame.unwrap();
        let event: Event = serde_json::from_str(&frame.data).unwrap();
        assert_eq!(frame.id, event.seq.to_string());
        assert_eq!(frame.event, event.body.kind());
        events.push(event);
    }
    events
}

/// A run that is over, or soon will be, and all its events: they are sound, and it is as the last one says.
async fn over(server: &Server, id: &str) -> (Value, Vec<Event>) {
    let get = |path: String| server.request(Method::GET, &path).send();
    let all = stream(get(format!("/runs/{id}/events")).await.unwrap()).await;
    sound(&all);
    let run: Value = get(format!("/runs/{id}")).await.unwrap().json().await.unwrap();
    let said = match &all[all.len() - 1].body {
        EventBody::Completed { text, .. } => json!(["completed", text, null]),
        EventBody::Failed { error } => json!(["failed", run["text"], error]),
        EventBody::Cancelled => json!(["cancelled", run["text"], null]),
        other => panic!("{other:?} is no end"),
    };
    assert_eq!(json!([run["status"], run["text"], run["error"]]), said);
    assert_eq!(run["text"].as_str().unwrap_or_default(), answer(&all), "all that was said is kept");
    (run, all)
}

/// What holds of every run's events.
fn sound(events: &[Event]) {
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=events.len() as i64).collect::<Vec<_>>(), "numbered from 1 without holes");
    assert!(matches!(events[0].body, EventBody::Queued { .. }));
    let last: Vec<bool> = events.iter().map(|event| event.body.is_last()).collect();
    assert_eq!(last.iter().filter(|last| **last).count(), 1, "exactly one end");
    assert!(last[last.len() - 1], "and it is the last");
    if let EventBody::Completed { text, .. } = &events[events.len() - 1].body {
        assert_eq!(&answer(events), text, "the pieces are the answer");
    }
}

/// The pieces of the answer together.
pub(crate) fn answer(events: &[Event]) -> String {
    events
        .iter()
        .filter_map(|event| if let EventBody::Text { text } = &event.body { Some(text.as_str()) } else { None })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_tools_answer_through_the_command_line() {
    let standin = standin().await;
    let server = blocking(move || {
        let server = Server::start(&standin);
        for provider in ["claude", "codex", "gemini"] {
            server.connect(provider);
            let out = server.polydev(&["run", provider, "What is 17*23?"]);
            assert!(out.status.success(), "{provider}: {}", text(&out.stderr));
            assert_eq!(text(&out.stdout).trim(), "391", "{provider}");
        }
        let out = server.polydev(&["run", "claude", "echo from a pipe", "--output", "json"]);
        let run: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(run["status"], "completed");
        assert_eq!(run["text"], "from a pipe");
        assert!(run["usage"]["input_tokens"].as_i64().unwrap() > 0, "{run}");
        assert!(run["duration_ms"].as_i64().unwrap() > 0);
        let out = server.polydev_with(&["run", "claude"], "What is 2+2?");
        assert_eq!(text(&out.stdout), "4\n");
        let out = server.polydev(&["runs", "--output", "json"]);
        let runs: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(runs["items"].as_array().unwrap().len(), 5);
        assert_eq!(runs["items"][0]["prompt"], "What is 2+2?", "newest first");
        let out = server.polydev(&["logs", runs["items"][0]["id"].as_str().unwrap()]);
        assert_eq!(text(&out.stdout), "4\n");
        server
    })
    .await;
    assert_eq!(
        blocking(move || server.stop_and_left()).await,
        (Some(0), vec![]),
        "it stops cleanly and leaves nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_streams_in_pieces_over_sse() {
    let standin = standin().await;
    let (server, standin) = blocking(move || (Server::start(&standin), standin)).await;
    let server = blocking(move || {
        server.connect("claude");
        server
    })
    .await;
    let all = events(&server, json!({ "provider": "claude", "prompt": "count to 20" })).await;
    sound(&all);
    let pieces = all.iter().filter(|event| matches!(event.body, EventBody::Text { .. })).count();
    assert!(pieces > 1, "the answer came in {pieces} piece");
    assert_eq!(answer(&all), (1..=20).map(|n| n.to_string()).collect::<Vec<_>>().join(" "));

    // From the middle, and past the end.
    let EventBody::Queued { run_id } = &all[0].body else { unreachable!() };
    let from = server.request(Method::GET, &format!("/runs/{run_id}/events?after=3")).send().await.unwrap();
    let body = from.text().await.unwrap();
    assert!(body.contains("id: 4\n") && !body.contains("id: 3\n"), "{body}");
    assert!(body.contains("retry: 1000"));
    let past = server
        .request(Method::GET, &format!("/runs/{run_id}/events"))
        .header("last-event-id", all.len())
        .send()
        .await
        .unwrap();
    assert_eq!(past.status(), 204);

    // What reached the provider came from the tool, with the key, and from the host's own check.
    let seen = standin.requests();
    assert!(seen.iter().any(|request| request.path.starts_with("/v1/messages")), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_is_the_image_and_the_tool_works_in_it() {
    let (server, _standin) = connected("").await;
    let all = events(
        &server,
        json!({
            "provider": "claude",
            "prompt": "use tool: cat /etc/polydev/image.json given.txt; id -u; pwd",
            "files": [{ "path": "given.txt", "content_base64": "Z2l2ZW4K" }],
        }),
    )
    .await;
    sound(&all);
    let output = all
        .iter()
        .find_map(|event| {
            if let EventBody::ToolResult { output, ok: true, .. } = &event.body { Some(output.clone()) } else { None }
        })
        .unwrap_or_else(|| panic!("no tool has answered: {all:?}"));
    let current: Value =
        serde_json::from_slice(&std::fs::read(crate::support::server::images().join("cli.json")).unwrap()).unwrap();
    assert!(output.contains(current["id"].as_str().unwrap()), "{output} is not of {current}");
    assert!(output.contains("given") && output.contains("10001") && output.contains("/workspace"), "{output}");
    assert!(all.iter().any(|event| matches!(&event.body, EventBody::ToolCall { name, .. } if name == "Bash")));

    // `none` takes the tools away.
    let all = events(&server, json!({ "provider": "claude", "prompt": "What is 6*7?", "tools": "none" })).await;
    assert_eq!(answer(&all), "42");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_answers_with_the_ended_run() {
    let (server, _standin) = connected("").await;
    let body = json!({ "provider": "claude", "prompt": "What is 2+2?", "metadata": { "ticket": 7 } });
    let response = server.request(Method::POST, "/runs?wait=true").json(&body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let run: Value = response.json().await.unwrap();
    assert_eq!(
        (&run["status"], &run["text"], &run["metadata"]["ticket"]),
        (&json!("completed"), &json!("4"), &json!(7))
    );
    let response = server.request(Method::POST, "/runs").json(&body).send().await.unwrap();
    assert_eq!(response.status(), 202);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let run: Value = response.json().await.unwrap();
    assert_eq!(location, format!("/api/v1/runs/{}", run["id"].as_str().unwrap()));
    assert_eq!(run["finished_at"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_tells_what_asking_the_same_again_takes() {
    let (server, _standin) = connected(crate::support::server::NO_POOL).await;
    let body = json!({
        "provider": "claude", "prompt": "What is 2+2?", "system": "be brief", "tools": "none", "timeout_s": 60,
        "files": [{ "path": "a/b.txt", "content_base64": "Z2l2ZW4K" }],
    });
    let run: Value = server.request(Method::POST, "/runs").json(&body).send().await.unwrap().json().await.unwrap();
    let of =
        async |path: &str| -> Value { server.request(Method::GET, path).send().await.unwrap().json().await.unwrap() };
    assert_eq!(
        of(&format!("/runs/{}", run["id"].as_str().unwrap())).await["given"],
        json!({ "system": "be brief", "tools": "none", "timeout_s": 60, "files": ["a/b.txt"] })
    );
    assert_eq!(of("/runs").await["items"][0]["given"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_only_their_own() {
    let standin = standin().await;
    let (mut server, _standin) = blocking(move || {
        let server = Server::start(&standin);
        server.connect("claude");
        (server, standin)
    })
    .await;
    let run: Value = server
        .request(Method::POST, "/runs?wait=true")
        .json(&json!({ "provider": "claude", "prompt": "What is 2+2?" }))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let id = run["id"].as_str().unwrap().to_owned();
    server = blocking(move || {
        server.key = server.person("two@example.com");
        server
    })
    .await;
    for (method, path) in [
        (Method::GET, format!("/runs/{id}")),
        (Method::GET, format!("/runs/{id}/events")),
        (Method::POST, format!("/runs/{id}/cancel")),
    ] {
        assert_eq!(server.request(method.clone(), &path).send().await.unwrap().status(), 404, "{method} {path}");
    }
    let list: Value = server.request(Method::GET, "/runs").send().await.unwrap().json().await.unwrap();
    assert_eq!(list["items"], json!([]));
    let refused = server
        .request(Method::POST, "/runs")
        .json(&json!({ "provider": "claude", "prompt": "hi" }))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 409);
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], "not_connected");
}
