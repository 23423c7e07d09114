//! As much as may be asked for, and readers who ask for what never comes.

use super::{answer, blocking, events, sound, standin};
use crate::support::server::Server;
use polydev_server::domain::{event::EventBody, run::PROMPT_MAX};
use reqwest::Method;
use serde_json::json;

async fn server() -> (Server, polydev_standin::Standin) {
    let standin = standin().await;
    blocking(move || {
        let server = Server::start(&standin);
        for provider in ["claude", "codex"] {
            server.connect(provider);
        }
        (server, standin)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_of_1_mib_goes_in_and_its_echo_comes_out() {
    let (server, _standin) = server().await;
    // Words, quotes, characters of every length: nothing on the way may cut or change them.
    // And no two alike, so that a piece which is left out or comes twice shows.
    let mut said = String::new();
    for n in 0.. {
        let more = format!("{:x} \"quoted\" \\ word, \u{e9}\u{20ac}\u{1f600}; ", n * 2_654_435_761_u64);
        if said.len() + more.len() + "echo ".len() > PROMPT_MAX {
            break;
        }
        said += &more;
    }
    let said = said.trim_end();
    for provider in ["claude", "codex"] {
        let all = events(&server, json!({ "provider": provider, "prompt": format!("echo {said}") })).await;
        sound(&all);
        let end = &all[all.len() - 1].body;
        assert!(matches!(end, EventBody::Completed { .. }), "{provider}: {end:?}");
        let answer = answer(&all);
        let tail = answer.char_indices().rev().take(40).last().map_or("", |(at, _)| &answer[at..]);
        assert!(answer == said, "{provider}: {} bytes of {}: …{tail}", answer.len(), said.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_system_prompt_of_1_mib_and_files_in_folders_are_taken() {
    let (server, standin) = server().await;
    let system = format!("{} the end of the system prompt", "s".repeat(PROMPT_MAX - 64));
    let all = events(
        &server,
        json!({
            "provider": "claude",
            "prompt": "use tool: cat a/b/c.txt; touch a/b/new; stat -c %U a a/b a/b/c.txt | sort -u",
            "system": system,
            "files": [{ "path": "a/b/c.txt", "content_base64": "Z2l2ZW4K" }],
        }),
    )
    .await;
    sound(&all);
    let output = all.iter().find_map(|event| {
        if let EventBody::ToolResult { output, .. } = &event.body { Some(output.clone()) } else { None }
    });
    assert_eq!(output.as_deref().map(str::trim), Some("given\npolydev"), "{:?}", all[all.len() - 1]);
    drop(standin);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_ahead_of_a_run_is_let_go_when_it_ends() {
    let (server, _standin) = server().await;
    let body = json!({ "provider": "claude", "prompt": "[fault:slow 200] count to 5" });
    let run: serde_json::Value =
        server.request(Method::POST, "/runs").json(&body).send().await.unwrap().json().await.unwrap();
    let path = format!("/runs/{}/events?after=1000000", run["id"].as_str().unwrap());
    let ahead = server.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(ahead.status(), 200, "the run goes on");
    let body = tokio::time::timeout(std::time::Duration::from_secs(60), ahead.text()).await;
    let body = body.expect("it ends with the run").unwrap();
    assert!(!body.contains("data:"), "{body}");
    assert_eq!(server.request(Method::GET, &path).send().await.unwrap().status(), 204);
}
