//! The command line where nobody reads, and where it is interrupted early.

use super::{blocking, standin};
use crate::support::{
    host,
    server::{Server, text},
};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

fn signal(name: &str, pid: u32) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// Whether a process handles SIGINT itself, as the kernel says.
fn hears_ctrl_c(child: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
    u64::from_str_radix(caught.trim(), 16).unwrap_or(0) & 0b10 != 0
}

fn runs(server: &Server) -> Vec<Value> {
    let out = server.polydev(&["runs", "--output", "json"]);
    let list: Value = serde_json::from_slice(&out.stdout).unwrap();
    list["items"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_before_the_first_event_leaves_no_run_under_way() {
    let standin = standin().await;
    blocking(move || {
        let server = Server::start(&standin);
        server.connect("claude");
        // A server that does not answer yet: the run is accepted after Ctrl-C.
        signal("-STOP", server.pid());
        let mut run = server.command(&["run", "claude", "[fault:stall] count to 10"]);
        let mut run = run.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        host::until(Duration::from_secs(10), || hears_ctrl_c(&run));
        signal("-INT", run.id());
        host::until(Duration::from_secs(10), || !pending_ctrl_c(&run));
        signal("-CONT", server.pid());
        assert_eq!(run.wait().unwrap().code(), Some(130));
        host::until(Duration::from_secs(10), || runs(&server).iter().all(|run| run["status"] == "cancelled"));
    })
    .await;
}

/// Whether SIGINT waits to be taken by a process.
fn pending_ctrl_c(child: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let waiting = status.lines().filter_map(|line| line.strip_prefix("SigPnd:").or(line.strip_prefix("ShdPnd:")));
    waiting.map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap_or(0)).any(|mask| mask & 0b10 != 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_ends_the_command_and_not_the_run() {
    let standin = standin().await;
    blocking(move || {
        let server = Server::start(&standin);
        server.connect("claude");
        let mut run = server.command(&["run", "claude", "[fault:slow 300] count to 20", "--output", "stream-json"]);
        let mut run = run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(run.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let out = run.wait_with_output().unwrap();
        assert_eq!((out.status.code(), text(&out.stderr).as_str()), (Some(1), ""), "it leaves without a word");
        assert_eq!(runs(&server)[0]["status"], "running", "at once");
        host::until(Duration::from_secs(60), || runs(&server)[0]["status"] == "completed");

        // Where nobody reads errors either.
        let script = "\"$0\" run hal hi 2>&1 | true; echo ${PIPESTATUS[0]}";
        let mut shell = Command::new("bash");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_polydev")]).env("POLYDEV_API_KEY", &server.key);
        let out = shell.env("POLYDEV_URL", &server.url).output().unwrap();
        assert_eq!(text(&out.stdout).trim(), "1", "no panic: {}", text(&out.stderr));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_no_request_can_carry_is_a_bad_key() {
    let standin = standin().await;
    blocking(move || {
        let server = Server::start(&standin);
        for key in ["pdv_a b", "pdv_a\nb", "pdv_\u{e9}"] {
            let out = server.command(&["status"]).env("POLYDEV_API_KEY", key).output().unwrap();
            assert_eq!(out.status.code(), Some(5), "{key:?}: {}", text(&out.stderr));
            assert!(!text(&out.stderr).contains(key), "{}", text(&out.stderr));
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_key_is_sent_to_its_own_server_alone() {
    let standin = standin().await;
    blocking(move || {
        let mut server = Server::start(&standin);
        let out = server.polydev(&["login"]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        // Saved: neither address nor key need be said.
        server.key = String::new();
        let out = server.command(&["status"]).env_remove("POLYDEV_URL").output().unwrap();
        assert!(out.status.success(), "{}", text(&out.stderr));
        // Another address, and somebody who listens there.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let elsewhere = format!("http://{}", listener.local_addr().unwrap());
        let out = server.command(&["status"]).env("POLYDEV_URL", &elsewhere).output().unwrap();
        assert_eq!(out.status.code(), Some(5), "{}", text(&out.stderr));
        assert!(listener.accept().is_err(), "nobody has called");
        assert!(server.polydev(&["logout"]).status.success());
        assert_eq!(server.command(&["status"]).env_remove("POLYDEV_URL").output().unwrap().status.code(), Some(5));
    })
    .await;
}
