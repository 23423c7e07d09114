//! What the command line prints, and how it ends: the only place that does.

use crate::domain::failure::{Code, Failure};
use clap::ValueEnum;
use serde::Serialize;
use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};

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
            note(format_args!("error: {}", self.message));
        }
        if let Some(hint) = &self.hint {
            note(format_args!("hint: {hint}"));
        }
    }
}

impl From<Failure> for CliError {
    fn from(failure: Failure) -> Self {
        let status = match failure.code {
            Code::NotConnected | Code::NeedsReconnect => exit::NOT_CONNECTED,
            Code::Unauthenticated => exit::BAD_KEY,
            // What this version does not understand yet.
            Code::NotYet => exit::USAGE,
            Code::Forbidden
            | Code::NotFound
            | Code::InvalidRequest
            | Code::BadCursor
            | Code::BadLimit
            | Code::Conflict
            | Code::LoginDisabled
            | Code::IdempotencyConflict
            | Code::IdempotencyInProgress
            | Code::ConversationBusy
            | Code::NotReady
            | Code::Gone
            | Code::RateLimited
            | Code::QueueFull
            | Code::ProviderUnavailable
            | Code::Timeout
            | Code::Stalled
            | Code::ToolCrashed
            | Code::Interrupted
            | Code::OutOfMemory
            | Code::DiskFull
            | Code::ImageMissing
            | Code::DriverUnavailable
            | Code::Unsupported
            | Code::Internal => exit::FAILED,
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
    let _ = print(&format!("{answer}\n"));
}

/// Prints a piece of an answer at once, without a newline.
///
/// # Errors
/// Nobody reads any more.
pub fn piece(piece: &str) -> io::Result<()> {
    print(piece)
}

fn print(words: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(shown(words, out.is_terminal()).as_bytes())?;
    out.flush()
}

/// What a sandbox or a provider says, as it may be shown. On a terminal, control characters are commands
/// (to set its title, the clipboard, what the next line seems to be), and none of theirs is carried out.
fn shown(words: &str, on_terminal: bool) -> Cow<'_, str> {
    let obeyed = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if on_terminal && words.contains(obeyed) { words.replace(obeyed, "\u{fffd}").into() } else { words.into() }
}

/// Prints an answer as JSON, on many lines.
pub fn json(answer: &impl Serialize) {
    text(serde_json::to_string_pretty(answer).unwrap_or_default());
}

/// Prints an answer as JSON, on one line.
///
/// # Errors
/// Nobody reads any more.
pub fn json_line(answer: &impl Serialize) -> io::Result<()> {
    print(&(serde_json::to_string(answer)? + "\n"))
}

/// Prints what is not an answer, on standard error.
pub fn note(note: impl std::fmt::Display) {
    ask(&format!("{note}\n"));
}

/// Prints what is to be answered on the same line, on standard error.
pub fn ask(question: &str) {
    let mut out = io::stderr();
    // A closed pipe is the reader's choice, not a fault.
    let _ = out.write_all(shown(question, out.is_terminal()).as_bytes());
}

/// One of our own words (a status, a role), as it stands in JSON.
pub fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Whether a person reads standard output.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
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

/// Prints what things are, beside their names.
pub fn pairs(rows: Vec<(&str, String)>) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.add_rows(rows.into_iter().map(|(name, value)| [name.to_owned(), value]));
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    for line in table.lines() {
        text(line.trim_end());
    }
}

/// A size for people, such as `1.4 GiB`.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if size < 1024 {
        return format!("{size} bytes");
    }
    let (mut shown, mut unit) = (size as f64 / 1024.0, 0);
    while shown >= 1024.0 && unit + 1 < UNITS.len() {
        shown /= 1024.0;
        unit += 1;
    }
    format!("{shown:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::{bytes, shown};

    #[test]
    fn sizes_are_for_people() {
        let sizes = [0, 1023, 1024, 1536 * 1024, 5 << 30, 3 << 50].map(bytes);
        assert_eq!(sizes, ["0 bytes", "1023 bytes", "1.0 KiB", "1.5 MiB", "5.0 GiB", "3072.0 TiB"]);
    }

    #[test]
    fn a_terminal_is_not_commanded_by_what_a_sandbox_says() {
        let words = "a\u{1b}]52;c;aGk=\u{7}b\r\n\tc\u{9b}2J";
        assert_eq!(shown(words, true), "a\u{fffd}]52;c;aGk=\u{fffd}b\u{fffd}\n\tc\u{fffd}2J");
        assert_eq!(shown(words, false), words, "a pipe gets it as it is");
    }
}
