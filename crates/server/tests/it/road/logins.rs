//! Logins: imported, lent, refreshed once, taken over, refused.

use super::{answer, blocking, events, sound, standin};
use crate::support::server::Server;
use base64::{Engine, prelude::BASE64_STANDARD};
use polydev_server::domain::{
    event::{Event, EventBody},
    failure::Code,
};
use polydev_standin::{Provider, Standin};
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

const ALL: [(&str, Provider); 3] =
    [("gemini", Provider::Gemini), ("claude", Provider::Claude), ("codex", Provider::Codex)];

async fn server(config: &'static str) -> (Server, Standin) {
    let standin = standin().await;
    blocking(move || (Server::start_with(&standin, config), standin)).await
}

async fn import(server: &Server, provider: &str, files: BTreeMap<String, Vec<u8>>) -> (u16, Value) {
    let files: BTreeMap<String, String> =
        files.into_iter().map(|(name, content)| (name, BASE64_STANDARD.encode(content))).collect();
    let path = format!("/connections/{provider}/import");
    let response = server.request(Method::POST, &path).json(&json!({ "files": files })).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn connection(server: &Server, provider: &str) -> Value {
    let all: Value = server.request(Method::GET, "/connections").send().await.unwrap().json().await.unwrap();
    let items = all["items"].as_array().unwrap();
    items.iter().find(|connection| connection["provider"] == provider).cloned().unwrap_or_default()
}

async fn run(server: &Server, provider: &str, prompt: &str) -> Vec<Event> {
    let all = events(server, json!({ "provider": provider, "prompt": prompt })).await;
    sound(&all);
    all
}

fn failed(events: &[Event]) -> Option<Code> {
    match &events[events.len() - 1].body {
        EventBody::Failed { error } => Some(error.code),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tool_answers_with_an_imported_login() {
    let (server, standin) = server("").await;
    let ada = standin.account("ada");
    for (name, provider) in ALL {
        let (status, connected) = import(&server, name, ada.login_files(provider)).await;
        assert_eq!(status, 200, "{name}: {connected}\n{}", server.log());
        assert_eq!(
            (&connected["status"], &connected["method"], &connected["account"]),
            (&json!("active"), &json!("import"), &json!(ada.email())),
            "{connected}"
        );
        let all = run(&server, name, "What is 17*23?").await;
        assert_eq!(answer(&all).trim(), "391", "{name}: {all:?}\n{}", server.log());
        // It was lent: nothing was refreshed, and nothing could be.
        assert_eq!((ada.refreshes(provider), ada.refresh_reuses(provider)), (0, 0), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_runs_at_the_moment_of_expiry_refresh_once() {
    let (server, standin) = server("[runs]\nmax_concurrent = 4\n").await;
    let ada = standin.account("ada");
    for (name, provider) in ALL {
        // The tools refresh what ends within five minutes.
        let (status, connected) = import(&server, name, ada.login_files_for(provider, Duration::from_secs(120))).await;
        assert_eq!(status, 200, "{name}: {connected}");
        let ten = (0..10).map(|n| {
            let server = &server;
            async move { (n, run(server, name, &format!("What is {n}+1?")).await) }
        });
        for (n, all) in futures_util::future::join_all(ten).await {
            assert_eq!(answer(&all).trim(), (n + 1).to_string(), "{name}: {all:?}\n{}", server.log());
        }
        assert_eq!((ada.refreshes(provider), ada.refresh_reuses(provider)), (1, 0), "{name}\n{}", server.log());
        assert_eq!(connection(&server, name).await["status"], "active");
        let all = run(&server, name, "What is 17*23?").await;
        assert_eq!(answer(&all).trim(), "391", "the login lives: {all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_the_provider_revoked_needs_to_be_connected_again() {
    let (server, standin) = server("").await;
    let ada = standin.account("ada");
    for (name, provider) in ALL {
        for lives in [Duration::from_secs(120), Duration::from_secs(3600)] {
            let (status, connected) = import(&server, name, ada.login_files_for(provider, lives)).await;
            assert_eq!(status, 200, "{name}: {connected}");
            ada.revoke(provider);
            let all = run(&server, name, "What is 17*23?").await;
            assert_eq!(failed(&all), Some(Code::NeedsReconnect), "{name} {lives:?}: {all:?}\n{}", server.log());
            assert_eq!(connection(&server, name).await["status"], "needs_reconnect", "{name}");
            let refused =
                server.request(Method::POST, "/runs").json(&json!({ "provider": name, "prompt": "hi" })).send().await;
            assert_eq!(refused.unwrap().status(), 409, "{name}");
        }
    }
}
