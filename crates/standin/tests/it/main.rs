//! The stand-in as a tool meets it: CONNECT, TLS with its authority, HTTP.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test's helper fails as the test itself does, starts programs, and says what it skips"
)]

mod claude;
mod client;
mod codex;
mod gemini;
mod logins;
mod proxy;
mod signin;

use client::{Answered, Client};
use polydev_standin::{Options, Standin};
use serde_json::Value;

async fn start() -> (Standin, Client) {
    let standin = Standin::start(Options::default()).await.unwrap();
    let client = Client::of(&standin);
    (standin, client)
}

/// The JSON of every `data:` line.
fn events(answered: &Answered) -> Vec<Value> {
    let lines = answered.text.lines().filter_map(|line| line.strip_prefix("data: "));
    lines.map(|data| serde_json::from_str(data).unwrap()).collect()
}
