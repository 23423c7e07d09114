//! One sandbox does its worst while another one works: the other's work is done and right, the server answers, and the
//! worst has an end as soon as it is wished for. How much slower the other is, `make bench` measures (`neighbours`).

use super::{answer, blocking, connected, events, over, sandboxes::get, sound};
use crate::support::{
    host,
    offenders::{OFFENDERS, Offender},
    server::Server,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use polydev_server::domain::event::{Event, EventBody, LogLevel};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// The SHA-256 of 30 million zeros.
const SUM: &str = "5cea420a169be50cd615ee30e570f980afb5eb88e8431d652202fc99df58ed7d";

/// Starts an offender as the server's person: its run, and its sandbox once it is at work there.
async fn started(server: Server, offender: &'static Offender) -> (Server, String, String) {
    let script = json!({ "path": "offend.sh", "content_base64": BASE64_STANDARD.encode(offender.script) });
    let body = json!({ "provider": "claude", "prompt": "use tool: bash offend.sh", "files": [script] });
    let run: Value = server.request(Method::POST, "/runs").json(&body).send().await.unwrap().json().await.unwrap();
    let run = run["id"].as_str().unwrap().to_owned();
    let mut stream = server.request(Method::GET, &format!("/runs/{run}/events")).send().await.unwrap();
    let mut read = String::new();
    while !read.contains("tool.call") {
        read += &String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap_or_else(|| panic!("it ended: {read}")));
    }
    let list = get(&server, "/sandboxes?limit=1").await;
    let sandbox = list["items"][0]["id"].as_str().unwrap().to_owned();
    let (server, sandbox) = blocking(move || {
        host::until(Duration::from_secs(60), || (offender.is_at_work)(&sandbox));
        (server, sandbox)
    })
    .await;
    (server, run, sandbox)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_one_sandbox_does_another_works_on() {
    let (server, _standin) = connected("[runs]\nmax_concurrent = 4\n").await;
    let (mut server, other) = blocking(move || {
        let mut server = server;
        let one = std::mem::take(&mut server.key);
        server.key = server.person("two@example.com");
        server.connect("claude");
        let other = std::mem::replace(&mut server.key, one);
        (server, other)
    })
    .await;
    let work = json!({ "provider": "claude", "prompt": "use tool: head -c 30000000 /dev/zero | sha256sum" });
    for offender in &OFFENDERS {
        let (run, sandbox);
        (server, run, sandbox) = started(server, offender).await;
        let name = offender.name;
        let done = server.request_as(&other, Method::POST, "/runs?wait=true").json(&work).send();
        let (done, health) = tokio::join!(done, async { get(&server, "/me").await });
        let done: Value = done.unwrap().json().await.unwrap();
        assert_eq!(done["status"], "completed", "{name}: {done}\n{}", server.log());
        assert!(done["text"].as_str().unwrap().contains(SUM), "{name}: {done}");
        assert!(health["id"].is_string(), "{name}: {health}");

        // A tool may be the first whom the worst meets: then it has ended, and the run says of what.
        let cancel = server.request(Method::POST, &format!("/runs/{run}/cancel")).send().await.unwrap().status();
        assert!(cancel == 202 || cancel == 409, "{name}: {cancel}");
        let ended = tokio::time::timeout(Duration::from_secs(60), over(&server, &run)).await;
        let (ended, _) = ended.unwrap_or_else(|_| panic!("{name}: it does not end\n{}", server.log()));
        let why = ended["error"]["message"].as_str().unwrap_or_default();
        let told = ["all of its 512 processes", "MiB of memory", "MiB, or"].iter().any(|bound| why.contains(bound));
        assert!(ended["status"] == "cancelled" || ended["status"] == "failed" && told, "{name}: {ended}");
        server = blocking(move || {
            host::until(Duration::from_secs(30), || host::leftovers(&sandbox).is_empty());
            server
        })
        .await;
    }
}

fn warned(events: &[Event], of: &str) -> bool {
    let told =
        |event: &Event| matches!(&event.body, EventBody::Log { level: LogLevel::Warn, text } if text.contains(of));
    events.iter().any(told)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tool_started_is_told_of_its_limits_and_the_run_goes_on() {
    let (server, _standin) = connected("").await;
    let run = async |script: &str| {
        let file = json!({ "path": "script.sh", "content_base64": BASE64_STANDARD.encode(script) });
        let body = json!({ "provider": "claude", "prompt": "use tool: bash script.sh", "files": [file] });
        let all = events(&server, body).await;
        sound(&all);
        all
    };
    let all = run(
        "perl -e 'for (1 .. 600) { my $child = fork; last unless defined $child; if (!$child) { sleep 2; exit } } \
         print \"refused: $!\\n\"; 1 while wait > 0'",
    )
    .await;
    // The tool may itself be the first whom it meets: then its end has the reason.
    match &all[all.len() - 1].body {
        EventBody::Failed { error } => assert!(error.message.contains("all of its 512 processes"), "{all:?}"),
        _ => {
            assert!(answer(&all).contains("refused: Resource temporarily unavailable"), "{all:?}");
            assert!(warned(&all, "all of its 512 processes"), "{all:?}");
        }
    }

    let all = run(
        "mkdir many; perl -e 'for my $n (1 .. 1_000_000) { open my $file, \">\", \"many/$n\" or die \"refused: $!\" }' \
         2>&1; rm -r many",
    )
    .await;
    assert!(answer(&all).contains("refused: No space left on device"), "{all:?}");
}
