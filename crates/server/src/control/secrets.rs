//! What must not be told of a run: what its tool is let in with, and what it gets by that.
//!
//! ```text
//!   line of the tool ─► without secrets ─► dialogue ─► event ─► Words: nor across its pieces ─► batch
//!   standard error ───► Complaints: nor across its pieces ─► failures, console
//!   file, file name ──► without secrets ─► row
//! ```

use super::readback;
use crate::{
    domain::{
        event::EventBody,
        redact::{Pieces, Redactor},
    },
    providers::{Credential, Provider},
};
use polydev_sandbox::Guest;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

/// How many bytes of secrets, in all their forms, are learnt from a sandbox: those of some ten logins, more than a run
/// can refresh. A hostile one would have the server know ever more.
const SIZE_MAX: usize = 128 * 1024;
/// How much of standard error is kept, bytes.
const TAIL: usize = 16 * 1024;

/// What takes the secrets of a credential out of texts.
pub(super) fn of(provider: &dyn Provider, credential: &Credential) -> Redactor {
    let secrets = provider.secrets(credential);
    Redactor::new(secrets.iter().map(ExposeSecret::expose_secret))
}

/// The same with the tokens that lie in the sandbox now; nothing if they are known. What a tool shows of its login
/// it had written there before.
pub(super) async fn refreshed(secrets: &Redactor, provider: &dyn Provider, guest: &Guest) -> Option<Redactor> {
    if secrets.size() >= SIZE_MAX {
        return None;
    }
    let tokens = provider.sign_in().tokens(&readback::now(provider, guest).await?);
    secrets.knowing(tokens.iter().map(ExposeSecret::expose_secret))
}

/// The pieces of an answer and of the thinking before it. What may yet become a secret waits for the next piece,
/// or for something else to happen: there a piece ends.
#[derive(Debug, Default)]
pub(super) struct Words {
    thinking: bool,
    pieces: Pieces,
}

/// What waits, without saying it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// It is a piece of the model's thinking.
    pub thinking: bool,
    /// Of which form of a secret it may be the beginning.
    pub form: usize,
    /// How much of it, bytes.
    pub bytes: usize,
}

impl Words {
    /// Goes on from what [`Words::held`] said. `known`: the secrets are those of then.
    pub(super) fn restore(secrets: &Redactor, held: Option<Held>, known: bool) -> Self {
        let of = held.map(|held| (if known { held.form } else { usize::MAX }, held.bytes));
        Self { thinking: held.is_some_and(|held| held.thinking), pieces: Pieces::restore(secrets, of) }
    }

    /// What waits.
    pub(super) fn held(&self, secrets: &Redactor) -> Option<Held> {
        self.pieces.held(secrets).map(|(form, bytes)| Held { thinking: self.thinking, form, bytes })
    }

    /// Takes an event, and adds what can be told by now.
    pub(super) fn push(&mut self, secrets: &Redactor, event: EventBody, told: &mut Vec<EventBody>) {
        match event {
            EventBody::Text { text } => self.piece(secrets, false, &text, told),
            EventBody::Reasoning { text } => self.piece(secrets, true, &text, told),
            // These come in the middle of a piece.
            EventBody::Usage(_) | EventBody::Log { .. } => told.push(event),
            EventBody::ToolCall { .. }
            | EventBody::ToolResult { .. }
            | EventBody::Queued { .. }
            | EventBody::Started { .. }
            | EventBody::Completed { .. }
            | EventBody::Failed { .. }
            | EventBody::Cancelled => {
                self.finish(secrets, told);
                told.push(event);
            }
        }
    }

    /// The tool has said its last.
    pub(super) fn finish(&mut self, secrets: &Redactor, told: &mut Vec<EventBody>) {
        let rest = self.pieces.finish(secrets);
        self.tell(rest, told);
    }

    fn piece(&mut self, secrets: &Redactor, thinking: bool, text: &str, told: &mut Vec<EventBody>) {
        if self.thinking != thinking {
            self.finish(secrets, told);
            self.thinking = thinking;
        }
        let settled = self.pieces.push(secrets, text.as_bytes());
        self.tell(settled, told);
    }

    fn tell(&self, settled: Vec<u8>, told: &mut Vec<EventBody>) {
        let text = String::from_utf8(settled).expect("texts are cut where secrets begin and end, which are texts");
        if !text.is_empty() {
            told.push(if self.thinking { EventBody::Reasoning { text } } else { EventBody::Text { text } });
        }
    }
}

/// The end of what a tool wrote to its standard error.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    pieces: Pieces,
    /// The offset of what comes next, bytes.
    next: u64,
    /// Some of a line is lost, which may have been some of a secret.
    torn: bool,
}

impl Complaints {
    /// Takes what was written from this offset on, and adds to the `tail` what can be told of it.
    pub(super) fn push(&mut self, secrets: &Redactor, offset: u64, mut bytes: &[u8], tail: &mut Vec<u8>) {
        if offset != self.next {
            *self = Self { torn: true, ..Self::default() };
        }
        self.next = offset.saturating_add(bytes.len() as u64);
        if self.torn {
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return };
            bytes = &bytes[end + 1..];
            self.torn = false;
        }
        tail.extend(self.pieces.push(secrets, bytes));
        tail.drain(..tail.len().saturating_sub(TAIL));
    }

    /// The tool has ended.
    pub(super) fn finish(&mut self, secrets: &Redactor, tail: &mut Vec<u8>) {
        tail.extend(self.pieces.finish(secrets));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::LogLevel;
    use serde_json::Value;

    const KEY: &str = "sk-ant-api03-abcdef";

    fn text(text: &str) -> EventBody {
        EventBody::Text { text: text.into() }
    }

    fn thought(text: &str) -> EventBody {
        EventBody::Reasoning { text: text.into() }
    }

    fn call() -> EventBody {
        EventBody::ToolCall { id: "1".into(), name: "Bash".into(), input: Value::Null }
    }

    fn log() -> EventBody {
        EventBody::Log { level: LogLevel::Info, text: "meanwhile".into() }
    }

    fn told(events: Vec<EventBody>) -> Vec<EventBody> {
        let (secrets, mut words, mut told) = (Redactor::new([KEY]), Words::default(), Vec::new());
        for event in events {
            // Another server goes on after every event.
            let held = words.held(&secrets);
            words = Words { thinking: words.thinking, ..Words::restore(&secrets, held, true) };
            words.push(&secrets, event, &mut told);
        }
        words.finish(&secrets, &mut told);
        told
    }

    #[test]
    fn a_secret_in_pieces_is_not_told() {
        let pieces = [text("it is sk-"), text("ant-api0"), log(), text("3-abcdef, "), text("no")];
        assert_eq!(told(pieces.to_vec()), [text("it is "), log(), text("[redacted], "), text("no")]);
    }

    #[test]
    fn what_was_no_secret_is_told_where_it_stood() {
        let pieces = [thought("hmm s"), text("let us"), call(), text("\n\nsk-ant"), text(" is how they begin: s")];
        let expected = [
            thought("hmm "),
            thought("s"),
            text("let u"),
            text("s"),
            call(),
            text("\n\n"),
            text("sk-ant is how they begin: "),
            text("s"),
        ];
        assert_eq!(told(pieces.to_vec()), expected);
    }

    #[test]
    fn what_waited_for_a_server_that_does_not_know_the_secret_any_more_is_not_told() {
        let (before, after) = (Redactor::new([KEY]), Redactor::new(["another-key"]));
        let (mut words, mut told) = (Words::default(), Vec::new());
        words.push(&before, text("it is sk-ant-api03"), &mut told);
        let mut words = Words::restore(&after, words.held(&before), false);
        words.push(&after, text(" or so"), &mut told);
        assert_eq!(told, [text("it is "), text("[redacted] or so")]);
    }

    #[test]
    fn what_is_left_of_a_torn_line_is_not_told() {
        let (secrets, mut complaints, mut tail) = (Redactor::new([KEY]), Complaints::default(), Vec::new());
        complaints.push(&secrets, 0, b"one\nsk-ant-a", &mut tail);
        complaints.push(&secrets, 12, b"pi03-abcdef\nsk-an", &mut tail);
        complaints.push(&secrets, 90, b"i03-abcd", &mut tail);
        complaints.push(&secrets, 98, b"ef\ntwo sk", &mut tail);
        complaints.finish(&secrets, &mut tail);
        assert_eq!(String::from_utf8(tail).unwrap(), "one\n[redacted]\ntwo sk");
    }
}
