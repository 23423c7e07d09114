//! Ends that nobody wished for: Ctrl-C, a killed server, a stopped one.

use super::{blocking, standin};
use crate::support::{
    host,
    server::{NO_POOL, Server, text},
};
use polydev_server::domain::event::{Event, EventBody};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Starts a run that never ends by itself, and waits until its tool has said something: the run's id.
fn hanging(server: &Server) -> (Child, String) {
    let mut child = server
        .command(&["run", "claude", "[fault:stall] count to 10", "--output", "stream-json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut run = String::new();
    for line in BufReader::new(child.stdout.as_mut().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if let Some(id) = event["run_id"].as_str() {
            run = id.to_owned();
        }
        if event["type"] == "text.delta" {
            return (child, run);
        }
    }
    let out = child.wait_with_output().unwrap();
    panic!("the run said nothing: {}\n{}", text(&out.stderr), server.log());
}

fn run_of(server: &Server, id: &str) -> Value {
    let out = server.polydev(&["runs", "--output", "json"]);
    let runs: Value = serde_json::from_slice(&out.stdout).unwrap();
    runs["items"].as_array().unwrap().iter().find(|run| run["id"] == id).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_the_whole_tree_within_a_second() {
    let standin = standin().await;
    blocking(move || {
        let server = Server::start_with(&standin, NO_POOL);
        server.connect("claude");
        let (mut child, run) = hanging(&server);
        let sandbox = server.sandboxes().pop().expect("it runs in a sandbox");
        assert!(!host::processes_of(&sandbox).is_empty(), "its processes are seen from here");
        let pressed = Instant::now();
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        host::until(Duration::from_secs(1), || host::processes_of(&sandbox).is_empty());
        println!("Ctrl-C to the last process gone: {:?}", pressed.elapsed());
        host::until(Duration::from_secs(5), || run_of(&server, &run)["status"] == "cancelled");
        host::until(Duration::from_secs(5), || server.sandboxes().is_empty());
        assert_eq!(host::leftovers(&sandbox), Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_nothing_and_tells_the_truth() {
    let standin = standin().await;
    blocking(move || {
        let mut server = Server::start_with(&standin, NO_POOL);
        server.connect("claude");
        let before = host::mounts();
        let (mut child, run) = hanging(&server);
        let sandbox = server.sandboxes().pop().expect("it runs in a sandbox");
        assert_eq!(host::mounts(), before, "the host's own mounts are untouched while it runs");
        server.kill();
        assert!(!host::leftovers(&sandbox).is_empty(), "there is something to clean up");
        server.run();
        host::until(Duration::from_secs(10), || server.sandboxes().is_empty() && host::leftovers(&sandbox).is_empty());
        assert_eq!(host::mounts(), before);
        let ended = run_of(&server, &run);
        assert_eq!(ended["status"], "failed", "{ended}");
        assert_eq!(ended["error"]["code"], "interrupted", "{ended}");
        // The one that followed it is told as well, or has given up on a server at a new address.
        let _ = child.kill();
        let _ = child.wait();
        let out = server.polydev(&["run", "claude", "What is 17*23?"]);
        assert_eq!(text(&out.stdout), "391\n", "it works on: {}", text(&out.stderr));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_ends_its_runs_as_interrupted() {
    let standin = standin().await;
    blocking(move || {
        let mut server = Server::start_with(&standin, NO_POOL);
        server.connect("claude");
        let (child, run) = hanging(&server);
        let sandbox = server.sandboxes().pop().expect("it runs in a sandbox");
        assert_eq!(server.stop(), Some(0));
        assert_eq!((server.sandboxes(), host::leftovers(&sandbox)), (vec![], vec![]));
        let out = child.wait_with_output().unwrap();
        assert_eq!(out.status.code(), Some(1), "who followed it is told: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains("the server was stopped"), "{}", text(&out.stderr));
        server.run();
        assert_eq!(run_of(&server, &run)["error"]["code"], "interrupted");
    })
    .await;
}

/// A run whose tool works in its sandbox for a while, and has begun to.
fn working(server: &Server, seconds: u32) -> (Child, String) {
    let prompt = format!("use tool: echo begun | tee begun.txt; sleep {seconds}; echo woken");
    let mut child = server
        .command(&["run", "claude", &prompt, "--output", "stream-json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut run = String::new();
    for line in BufReader::new(child.stdout.as_mut().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if let Some(id) = event["run_id"].as_str() {
            run = id.to_owned();
        }
        if event["type"] == "tool.call" {
            return (child, run);
        }
    }
    let out = child.wait_with_output().unwrap();
    panic!("the tool was not used: {}\n{}", text(&out.stderr), server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_still_runs_is_adopted() {
    let standin = standin().await;
    blocking(move || {
        let mut server = Server::start_with(&standin, NO_POOL);
        server.connect("claude");
        let (mut child, run) = working(&server, 3);
        let sandbox = server.sandboxes().pop().expect("it runs in a sandbox");
        server.kill();
        let _ = child.kill();
        let _ = child.wait();
        assert!(!host::processes_of(&sandbox).is_empty(), "the tool works on");
        server.run();
        // Twice: what one server has adopted is adopted from it as well.
        host::until(Duration::from_secs(10), || server.log().contains("a run of an earlier server goes on"));
        server.kill();
        server.run();
        host::until(Duration::from_secs(30), || run_of(&server, &run)["finished_at"].is_string());
        let ended = run_of(&server, &run);
        assert_eq!(ended["status"], "completed", "{ended}\n{}", server.log());
        let logs = server.polydev(&["logs", &run, "--output", "stream-json"]);
        let events: Vec<Event> = text(&logs.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        super::sound(&events);
        let woken =
            |event: &Event| matches!(&event.body, EventBody::ToolResult { output, .. } if output.contains("woken"));
        assert_eq!(events.iter().filter(|event| woken(event)).count(), 1, "{events:?}");
        let files = server.request(reqwest::Method::GET, &format!("/runs/{run}/files/begun.txt"));
        let file = tokio::runtime::Handle::current().block_on(async { files.send().await.unwrap().text().await });
        assert_eq!(file.unwrap(), "begun\n", "what it made before is kept too");
        host::until(Duration::from_secs(10), || server.sandboxes().is_empty());
        assert_eq!(host::leftovers(&sandbox), Vec::<String>::new());
    })
    .await;
}
