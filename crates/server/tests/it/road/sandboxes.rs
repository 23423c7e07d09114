//! Sandboxes as their owner sees them, and what is kept of them.

use super::{blocking, connected, events, sound};
use crate::support::{
    host,
    server::{NO_POOL, Server, text},
};
use polydev_server::domain::event::{Event, EventBody};
use reqwest::Method;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

/// Has the tool print on its own standard error, and try the same with the agent's console.
const SHOUTER: &str = "use tool: for f in /proc/[0-9]*/fd/[12]; do case $f in */fd/2|/proc/1/*) echo SHOUTED >$f;; esac; done 2>/dev/null; echo done";

pub(super) async fn get(server: &Server, path: &str) -> Value {
    let response = server.request(Method::GET, path).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response.json().await.unwrap()
}

async fn console(server: &Server, sandbox: &str) -> String {
    let response = server.request(Method::GET, &format!("/sandboxes/{sandbox}/console")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    response.text().await.unwrap()
}

fn sandbox_of(events: &[Event]) -> String {
    let started = |event: &Event| match &event.body {
        EventBody::Started { sandbox_id } => Some(sandbox_id.clone()),
        _ => None,
    };
    events.iter().find_map(started).expect("it was started")
}

/// Starts a run that does not end by itself, and waits until it says something: its id, and its sandbox's.
async fn hanging(server: &Server) -> (String, String) {
    let body = json!({ "provider": "claude", "prompt": "[fault:stall] count to 10" });
    let run: Value = server.request(Method::POST, "/runs").json(&body).send().await.unwrap().json().await.unwrap();
    let run = run["id"].as_str().unwrap().to_owned();
    let mut stream = server.request(Method::GET, &format!("/runs/{run}/events")).send().await.unwrap();
    let mut read = Vec::new();
    while !text(&read).contains("text.delta") {
        read.extend(stream.chunk().await.unwrap().expect("the run goes on"));
    }
    let list = get(server, "/sandboxes?limit=1").await;
    assert_eq!(list["items"][0]["run_id"], run, "{list}");
    (run, list["items"][0]["id"].as_str().unwrap().to_owned())
}

/// What a command prints, as JSON.
fn json_of(server: &Server, args: &[&str]) -> Value {
    let out = server.polydev(args);
    assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Waits until a sandbox has ended, and tells what it is then.
fn ended(server: &Server, sandbox: &str) -> Value {
    let now = || json_of(server, &["sandboxes", "--output", "json"])["items"].as_array().unwrap().clone();
    let now = || now().into_iter().find(|item| item["id"] == sandbox).unwrap();
    host::until(Duration::from_secs(20), || !now()["ended_at"].is_null());
    now()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sandbox_printed_and_reached_is_kept_after_its_end() {
    let (server, _standin) = connected("").await;
    let all = events(&server, json!({ "provider": "claude", "prompt": SHOUTER })).await;
    sound(&all);
    let sandbox = sandbox_of(&all);
    let (server, seen) = {
        let sandbox = sandbox.clone();
        blocking(move || {
            let seen = ended(&server, &sandbox);
            (server, seen)
        })
        .await
    };
    assert_eq!((&seen["state"], &seen["driver"], &seen["error"]), (&json!("gone"), &json!("oci"), &Value::Null));
    let EventBody::Queued { run_id } = &all[0].body else { unreachable!() };
    assert_eq!(seen["run_id"].as_str(), Some(run_id.as_str()));
    assert_eq!(seen["image_id"].as_str().unwrap().len(), 64, "{seen}");

    // The agent's words, then the tool's. What runs beside the agent cannot speak in its name.
    let printed = console(&server, &sandbox).await;
    let (agent, tool) = printed.split_once("--- standard error of the tool ---\n").expect(&printed);
    assert!(agent.contains("polydev-agent: version") && !agent.contains("SHOUTED"), "{printed}");
    assert!(tool.contains("SHOUTED"), "{printed}");

    let detail = get(&server, &format!("/sandboxes/{sandbox}")).await;
    assert_eq!(detail["id"], json!(sandbox));
    let host = &detail["network"]["hosts"][0];
    assert!(
        host["host"].as_str().unwrap().ends_with("anthropic.com") && host["bytes_up"].as_u64() > Some(0),
        "{detail}"
    );
    let flow = &detail["network"]["connections"][0];
    assert_eq!((&flow["port"], &flow["verdict"]), (&json!(443), &json!("allowed")), "{detail}");

    let server = blocking(move || {
        let out = server.polydev(&["sandboxes"]);
        assert!(text(&out.stdout).contains(&sandbox), "{}", text(&out.stdout));
        let out = server.polydev(&["sandboxes", "--console", &sandbox]);
        assert_eq!(text(&out.stdout).trim_end(), printed.trim_end());
        let out = server.polydev(&["sandboxes", "--console", "sbx_none"]);
        assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
        let mut server = server;
        server.key = server.person("two@example.com");
        for (method, path) in [(Method::GET, ""), (Method::GET, "/console"), (Method::DELETE, "")] {
            let path = format!("/sandboxes/{sandbox}{path}");
            let asked = server.request(method.clone(), &path).send();
            let status = tokio::runtime::Handle::current().block_on(asked).unwrap().status();
            assert_eq!(status, 404, "{method} {path}");
        }
        assert_eq!(json_of(&server, &["sandboxes", "--output", "json"])["items"], json!([]));
        server
    })
    .await;
    for path in ["/sandboxes/sbx_%00", "/sandboxes/..%2f..%2fetc/console", "/sandboxes?cursor=MSAA"] {
        let status = server.request(Method::GET, path).send().await.unwrap().status();
        assert!(status.is_client_error(), "{path}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_ended_takes_its_run_along() {
    let (server, _standin) = connected("").await;
    let (run, sandbox) = hanging(&server).await;
    assert!(console(&server, &sandbox).await.contains("polydev-agent: version"), "it is shown while it stands");
    assert_eq!(get(&server, &format!("/sandboxes/{sandbox}")).await["state"], "ready");
    for _ in 0..2 {
        let response = server.request(Method::DELETE, &format!("/sandboxes/{sandbox}")).send().await.unwrap();
        assert_eq!(response.status(), 204);
    }
    let (server, seen) = {
        let sandbox = sandbox.clone();
        blocking(move || {
            let seen = ended(&server, &sandbox);
            (server, seen)
        })
        .await
    };
    assert_eq!(seen["state"], "gone");
    assert_eq!(get(&server, &format!("/runs/{run}")).await["status"], "cancelled");
    let response = server.request(Method::DELETE, &format!("/sandboxes/{sandbox}")).send().await.unwrap();
    assert_eq!(response.status(), 204, "one that is gone stays so");
    assert_eq!(host::leftovers(&sandbox), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_of_a_sandbox_that_a_killed_server_left_is_kept() {
    let (mut server, _standin) = connected("").await;
    let (run, sandbox) = hanging(&server).await;
    server.kill();
    // Its run is over: nobody needs the sandbox.
    let url = polydev_server::store::sqlite_url(&server.data_dir().join("polydev.db"));
    let store = polydev_server::store::Store::open(&url).await.unwrap();
    sqlx::query("UPDATE runs SET status = 'cancelled', finished_at = 1 WHERE id = $1")
        .bind(&run)
        .execute(store.write())
        .await
        .unwrap();
    store.close().await;
    let (server, seen) = {
        let sandbox = sandbox.clone();
        blocking(move || {
            server.run();
            let seen = ended(&server, &sandbox);
            (server, seen)
        })
        .await
    };
    assert_eq!(seen["state"], "gone");
    assert!(console(&server, &sandbox).await.contains("polydev-agent: version"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_does_not_start_tells_why_on_its_console() {
    let dir = tempfile::tempdir().unwrap();
    let (runtime, broken) = (dir.path().join("crun"), dir.path().join("broken"));
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" != --version ] && [ -e {} ]; then echo 'the runtime has a bad day'; exit 1; fi\nexec crun \"$@\"\n",
        broken.display()
    );
    fs::write(&runtime, script).unwrap();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!("[sandbox.oci]\nruntime = {runtime:?}\n\n{NO_POOL}").leak();
    let (server, _standin) = connected(config).await;
    fs::write(&broken, "").unwrap();
    let body = json!({ "provider": "claude", "prompt": "What is 2+2?" });
    let run: Value =
        server.request(Method::POST, "/runs?wait=true").json(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(run["error"]["code"], "internal", "{run}");
    let sandbox = get(&server, "/sandboxes").await["items"][0].clone();
    assert_eq!((&sandbox["run_id"], &sandbox["state"]), (&run["id"], &json!("failed")), "{sandbox}");
    assert!(sandbox["error"].as_str().unwrap().contains("starting the container"), "{sandbox}");
    assert_eq!(console(&server, sandbox["id"].as_str().unwrap()).await, "the runtime has a bad day\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_long_ago_is_forgotten_when_the_server_starts() {
    let (mut server, _standin) = connected("[runs]\nkeep_days = 2\n").await;
    let mut sandboxes = Vec::new();
    for _ in 0..2 {
        sandboxes.push(sandbox_of(&events(&server, json!({ "provider": "claude", "prompt": "What is 2+2?" })).await));
    }
    let url = polydev_server::store::sqlite_url(&server.data_dir().join("polydev.db"));
    let old = sandboxes[0].clone();
    let server = blocking(move || {
        ended(&server, &old);
        assert_eq!(server.stop(), Some(0));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let store = polydev_server::store::Store::open(&url).await.unwrap();
            for age in [
                "UPDATE runs SET created_at = created_at - 172801000, finished_at = finished_at - 172801000 WHERE sandbox_id = $1",
                "UPDATE sandboxes SET created_at = created_at - 172801000, ended_at = ended_at - 172801000 WHERE id = $1",
            ] {
                sqlx::query(age).bind(&old).execute(store.write()).await.unwrap();
            }
            store.close().await;
        });
        server.run();
        host::until(Duration::from_secs(20), || server.log().contains("what is old is forgotten"));
        server
    })
    .await;
    let runs = get(&server, "/runs").await;
    assert_eq!(runs["items"].as_array().unwrap().len(), 1, "{runs}");
    let left = get(&server, "/sandboxes").await;
    assert_eq!(left["items"].as_array().unwrap().len(), 1, "{left}");
    assert_eq!((&left["items"][0]["id"], &left["items"][0]["run_id"]), (&json!(sandboxes[1]), &runs["items"][0]["id"]));
    let gone = server.request(Method::GET, &format!("/sandboxes/{}/console", sandboxes[0])).send().await.unwrap();
    assert_eq!(gone.status(), 404);
}
