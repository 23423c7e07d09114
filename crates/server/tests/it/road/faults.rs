//! What goes wrong at the provider, and how the run says so.

use super::{answer, blocking, connected, events, sound};
use crate::support::server::{Server, text};
use polydev_server::domain::{event::EventBody, failure::Code};
use polydev_standin::{Options, Standin};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_provider_end_a_run_with_their_code() {
    let (server, _standin) = connected("[runs]\nstall_s = 20\n").await;
    for (fault, code) in [
        ("429", Code::RateLimited),
        ("500", Code::ProviderUnavailable),
        ("cut", Code::ProviderUnavailable),
        ("stall", Code::Stalled),
        ("401", Code::NeedsReconnect),
    ] {
        let timeout_s = if fault == "stall" { 60 } else { 120 };
        let all = events(
            &server,
            json!({ "provider": "claude", "prompt": format!("[fault:{fault}] count to 5"), "timeout_s": timeout_s }),
        )
        .await;
        sound(&all);
        let EventBody::Failed { error } = &all[all.len() - 1].body else { panic!("{fault}: {:?}", all[all.len() - 1]) };
        assert_eq!(error.code, code, "{fault}: {error:?}");
        assert!(!error.message.is_empty() && error.hint.is_some(), "{fault}: {error:?}");
    }
    // The refused key has marked the connection, and a further run says so at once.
    let connections: Value =
        server.request(reqwest::Method::GET, "/connections").send().await.unwrap().json().await.unwrap();
    assert_eq!(connections["items"][0]["status"], "needs_reconnect", "{connections}");
    let out = blocking(move || {
        let out = server.polydev(&["run", "claude", "What is 2+2?"]);
        server.connect("claude");
        let again = server.polydev(&["run", "claude", "What is 2+2?"]);
        assert_eq!(text(&again.stdout), "4\n", "connected again it works: {}", text(&again.stderr));
        out
    })
    .await;
    assert_eq!(out.status.code(), Some(3), "{}", text(&out.stderr));
}

/// A refusal marks the connection that the run was let in with: not another that has its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_of_the_connection_that_was_used() {
    let (server, _standin) = connected("[runs]\nmax_concurrent = 1\n").await;
    let ask = async |server: &Server, prompt: &str| {
        let body = json!({ "provider": "claude", "prompt": prompt });
        let run = server.request(reqwest::Method::POST, "/runs").json(&body).send().await.unwrap();
        run.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let ended = async |server: &Server, run: &str| {
        let events = server.request(reqwest::Method::GET, &format!("/runs/{run}/events")).send().await.unwrap();
        events.text().await.unwrap()
    };
    let status = async |server: &Server| {
        let all = server.request(reqwest::Method::GET, "/connections").send().await.unwrap();
        all.json::<Value>().await.unwrap()["items"][0]["status"].as_str().unwrap().to_owned()
    };
    let connect = async |server: Server| {
        blocking(move || {
            server.connect("claude");
            server
        })
        .await
    };
    // It waits while its person connects anew, and is let in with what was connected last.
    let first = ask(&server, "[fault:slow 300] count to 5").await;
    let waits = ask(&server, "[fault:401] count to 5").await;
    let server = connect(server).await;
    assert!(ended(&server, &first).await.contains("run.completed"));
    assert!(ended(&server, &waits).await.contains("needs_reconnect"));
    assert_eq!(status(&server).await, "needs_reconnect");

    // It is at work while its person disconnects and connects again: another connection of the same version.
    let gone = server.request(reqwest::Method::DELETE, "/connections/claude").send().await.unwrap();
    assert_eq!(gone.status(), 204);
    let server = connect(server).await;
    let works = ask(&server, "[fault:401] count to 5").await;
    let path = format!("/runs/{works}/events");
    let mut stream = server.request(reqwest::Method::GET, &path).send().await.unwrap();
    let mut read = Vec::new();
    while !text(&read).contains("run.started") {
        read.extend(stream.chunk().await.unwrap().expect("the run goes on"));
    }
    let gone = server.request(reqwest::Method::DELETE, "/connections/claude").send().await.unwrap();
    assert_eq!(gone.status(), 204);
    let server = connect(server).await;
    assert!(ended(&server, &works).await.contains("needs_reconnect"));
    assert_eq!(status(&server).await, "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_provider_is_waited_for_and_a_deadline_is_kept() {
    let (server, _standin) = connected("").await;
    let all = events(&server, json!({ "provider": "claude", "prompt": "[fault:slow 200] count to 5" })).await;
    assert_eq!(answer(&all), "1 2 3 4 5");
    let all =
        events(&server, json!({ "provider": "claude", "prompt": "[fault:stall] count to 5", "timeout_s": 3 })).await;
    sound(&all);
    let EventBody::Failed { error } = &all[all.len() - 1].body else { panic!("{all:?}") };
    assert_eq!(error.code, Code::Timeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_is_named() {
    // The certificate stays when the stand-in goes.
    let dir = tempfile::tempdir().unwrap();
    let options = Options { dir: Some(dir.path().to_owned()), ..Options::default() };
    let standin = Standin::start(options).await.unwrap();
    let (server, standin) = blocking(move || {
        let server = Server::start(&standin);
        server.connect("claude");
        (server, standin)
    })
    .await;
    standin.stop().await;
    let all = events(&server, json!({ "provider": "claude", "prompt": "What is 2+2?", "timeout_s": 120 })).await;
    let EventBody::Failed { error } = &all[all.len() - 1].body else { panic!("{all:?}") };
    assert_eq!(error.code, Code::ProviderUnavailable, "{error:?}");
    let out = blocking(move || server.polydev_with(&["connect", "codex", "--api-key-stdin"], "sk-standin-x\n")).await;
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("cannot be reached"), "{}", text(&out.stderr));
}
