//! What the command line prints, and how it ends: the only place that does.

#![expect(clippy::print_stderr, reason = "the command line prints here, and nowhere else")]

use crate::domain::failure::{Code, Failure};
use clap::ValueEnum;
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one JSON value.
    Json,
    /// For programs: an event a line, as it comes (`run` and `logs`).
    StreamJson,
}

/// Exit statuses, as the public surface has them.
pub mod exit {
    /// It did not work.
    pub const FAILED: u8 = 1;
    /// The command was not understood.
    pub const USAGE: u8 = 2;
    /// The provider is not connected, or must be again.
    pub const NOT_CONNECTED: u8 = 3;
    /// The server cannot be reached.
    pub const UNREACHABLE: u8 = 4;
    /// The server does not take the key.
    pub const BAD_KEY: u8 = 5;
    /// Ctrl-C.
    pub const CTRL_C: u8 = 130;
}

/// Why a command ends with something else than 0.
#[derive(Debug)]
pub struct CliError {
    /// The exit status.
    pub status: u8,
    /// What happened, to what. Empty: everything has been said.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

impl CliError {
    /// An error with its exit status.
    pub fn new(status: u8, message: impl ToString) -> Self {
        Self { status, message: message.to_string(), hint: None }
    }

    /// Something did not work.
    pub fn failed(message: impl ToString) -> Self {
        Self::new(exit::FAILED, message)
    }

    /// The command was not understood.
    pub fn usage(message: impl ToString) -> Self {
        Self::new(exit::USAGE, message)
    }

    /// An end with this status, about which everything has been said.
    pub fn silent(status: u8) -> Self {
        Self::new(status, "")
    }

    /// Something did not work: its words, and those of what caused it.
    pub fn from_chain(error: impl std::error::Error) -> Self {
        Self::failed(chain(&error))
    }

    /// The same with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Tells people, on standard error.
    pub fn print(&self) {
        if !self.message.is_empty() {
            eprintln!("error: {}", self.message);
        }
        if let Some(hint) = &self.hint {
            eprintln!("hint: {hint}");
        }
    }
}

impl From<Failure> for CliError {
    fn from(failure: Failure) -> Self {
        let status = match failure.code {
            Code::NotConnected | Code::NeedsReconnect => exit::NOT_CONNECTED,
            Code::Unauthenticated => exit::BAD_KEY,
            _ => exit::FAILED,
        };
        let message = match &failure.request_id {
            Some(id) if failure.code == Code::Internal => format!("{} (request `{id}`)", failure.message),
            _ => failure.message,
        };
        Self { status, message, hint: failure.hint }
    }
}

/// An error's words, and those of what caused it, once each.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !words.contains(&more) {
            words.push_str(": ");
            words.push_str(&more);
        }
        cause = inner.source();
    }
    words
}

/// Prints an answer as text.
pub fn text(answer: impl std::fmt::Display) {
    // A closed pipe is the reader's choice, not a fault.
    let _ = writeln!(std::io::stdout(), "{answer}");
}

/// Prints a piece of an answer at once, without a newline.
pub fn piece(piece: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(piece.as_bytes());
    let _ = out.flush();
}

/// Prints an answer as JSON, on many lines.
pub fn json(answer: &impl Serialize) {
    text(serde_json::to_string_pretty(answer).unwrap_or_default());
}

/// Prints an answer as JSON, on one line.
pub fn json_line(answer: &impl Serialize) {
    text(serde_json::to_string(answer).unwrap_or_default());
}

/// Prints what is not an answer, on standard error.
pub fn note(note: impl std::fmt::Display) {
    eprintln!("{note}");
}

/// One of our own words (a status, a role), as it stands in JSON.
pub fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Whether a person reads standard output.
pub fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Prints rows under headings, or what to do when there are none.
pub fn table(headings: &[&str], rows: Vec<Vec<String>>, when_empty: &str) {
    if rows.is_empty() {
        note(when_empty);
        return;
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(headings).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for line in table.lines() {
        text(line.trim_end());
    }
}
