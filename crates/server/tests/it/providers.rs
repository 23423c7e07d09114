//! The providers against what their tools really print, byte for byte.
//!
//! `tests/samples` holds the recordings. A test named after a provider replays
//! all of its own; the snapshots show every step that follows from them.

mod claude;
mod codex;
mod gemini;
mod hostile;
mod keys;
mod logins;
mod probes;

use polydev_server::{
    domain::event::EventBody,
    providers::{self, Credential, Outcome, Prompt, Provider, Step, ToolEnd, Tools},
};
use std::{fmt::Write as _, path::PathBuf};

fn provider(name: &str) -> &'static dyn Provider {
    providers::by_name(name).expect("a provider of this name")
}

fn sample(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(path);
    std::fs::read(&path).unwrap_or_else(|e| panic!("`{}`: {e}", path.display()))
}

fn prompt(tools: Tools) -> Prompt {
    Prompt { text: "What is 17*23?".into(), model: None, system: None, tools }
}

fn key(key: &str) -> Credential {
    Credential::ApiKey(key.into())
}

/// What follows from every recording of the provider, in the order of their names.
fn recordings(name: &str, tools: Tools) -> String {
    let samples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let mut shown = Vec::new();
    for dir in [name.to_owned(), format!("standin/{name}")] {
        let mut files: Vec<_> = std::fs::read_dir(samples.join(&dir))
            .expect("the provider has recordings")
            .map(|f| f.expect("a readable folder").file_name().into_string().expect("plain names"))
            .filter(|f| f.ends_with(".jsonl") && !f.starts_with("exec-"))
            .collect();
        files.sort();
        for file in files {
            let path = format!("{dir}/{file}");
            let steps = replay(name, tools, &said_by_the_tool(&sample(&path)), &silent_exit());
            shown.push(format!("## {path}\n{}", show(&steps)));
        }
    }
    shown.join("\n")
}

/// The tool's own lines of a recording of both directions (`{"<": …}`, `{">": …}`), or all lines.
fn said_by_the_tool(recording: &[u8]) -> Vec<u8> {
    let lines = recording.split(|&b| b == b'\n').filter(|line| !line.starts_with(b"{\">\":"));
    let lines = lines.map(|line| line.strip_prefix(b"{\"<\":").map_or(line, |l| l.strip_suffix(b"}").unwrap_or(l)));
    lines.collect::<Vec<_>>().join(&b'\n')
}

/// A tool that exited with status 1 without a word.
fn silent_exit() -> ToolEnd {
    ToolEnd { code: Some(1), signal: None, stderr: String::new() }
}

/// Feeds the lines to a dialogue of the provider, and its exit when it has not ended by them. After each line
/// another server takes over, and makes nothing else of what follows.
fn replay(name: &str, tools: Tools, output: &[u8], end: &ToolEnd) -> Vec<Step> {
    let mut dialogue = provider(name).dialogue(&prompt(tools));
    let mut steps = dialogue.begin();
    for line in output.split(|&b| b == b'\n') {
        let mut successor = provider(name).dialogue(&prompt(tools));
        successor.restore(dialogue.save()).expect("what was saved can be restored");
        let taken_up = successor.line(line);
        assert_eq!(taken_up, dialogue.line(line), "after a change of servers: {}", String::from_utf8_lossy(line));
        assert_eq!(successor.save(), dialogue.save());
        steps.extend(taken_up);
        dialogue = successor;
    }
    if !steps.iter().any(|s| matches!(s, Step::End(_))) {
        steps.push(Step::End(dialogue.exit(end)));
    }
    steps
}

/// The answer that the steps add up to.
fn answer(steps: &[Step]) -> String {
    let texts = steps.iter().filter_map(|s| match s {
        Step::Emit(EventBody::Text { text }) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("events are JSON")
}

/// The steps as a snapshot shows them, one a line.
fn show(steps: &[Step]) -> String {
    let mut out = String::new();
    for step in steps {
        match step {
            Step::Emit(body) => writeln!(out, "emit {}", json(body)),
            Step::Send(line) => writeln!(out, "send {line}"),
            Step::End(Outcome::Answered { usage }) => writeln!(out, "answered {}", json(usage)),
            Step::End(Outcome::Failed(failure)) => writeln!(out, "failed {}", json(failure)),
        }
        .expect("a string takes everything");
    }
    writeln!(out, "= {:?}", answer(steps)).expect("a string takes everything");
    out
}
