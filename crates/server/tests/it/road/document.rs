//! The OpenAPI document, held against the running server by schemathesis: requests of every kind that it allows and
//! forbids, and each answer one that it promises.

use super::{blocking, standin};
use crate::support::{
    chance::chance,
    server::{Server, text},
};
use proptest::prelude::RngExt;
use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Few places, so that the queue is full at times, and a request that waits for its run waits for few others.
const CONFIG: &str = "[runs]\nmax_concurrent = 4\nmax_queued = 4\n[login]\nmax_concurrent = 1\n";

/// Asks with these choices of chance, and more arguments; what it found.
async fn ask(seed: u32, more: &'static [&'static str]) {
    eprintln!("schemathesis with --seed {seed}");
    let standin = standin().await;
    blocking(move || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let python = root.join("target/tools/schemathesis/bin/python");
        assert!(python.exists(), "schemathesis is not installed: `scripts/setup test` does that");
        let server = Server::start_with(&standin, CONFIG);
        for provider in ["claude", "codex", "gemini"] {
            server.connect(provider);
        }
        let own = tempfile::tempdir().unwrap();
        let out = Command::new(python)
            // As a module: a program of a virtual environment has the path to it written in.
            .args(["-m", "schemathesis.cli", "--config-file"])
            .arg(root.join("openapi/schemathesis/config.toml"))
            .args(["run", &format!("{}/api/v1/openapi.json", server.url), "--url", &server.url])
            .args(["--header", &format!("Authorization: Bearer {}", server.key), "--seed", &seed.to_string()])
            .args(more)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", own.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("SCHEMATHESIS_HOOKS", root.join("openapi/schemathesis/hooks.py"))
            .current_dir(own.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (said, log) = (text(&out.stdout), server.log());
        assert!(out.status.success(), "{said}{}", text(&out.stderr));
        eprintln!("{}", said.lines().filter(|line| line.contains("generated")).collect::<String>().trim());
        let faults: Vec<&str> = log.lines().filter(|line| line.contains("\"level\":\"ERROR\"")).collect();
        assert!(faults.is_empty(), "{faults:#?}");
        drop(standin);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_one_that_the_document_promises() {
    ask(1, &["--max-examples", "10"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make soak`"]
async fn every_answer_of_many_is_one_that_the_document_promises() {
    ask(chance().random(), &["--max-examples", "200"]).await;
}
