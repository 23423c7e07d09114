//! What a tool is told on its standard input, kept until it has been given.
//!
//! Everything that a tool is told is one stream of bytes, and the agent counts how many of them the tool was
//! given. So a server that takes over a run says what is missing, and nothing twice.

use polydev_sandbox::guest::{Guest, GuestError};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// The most that is given at once.
const CHUNK: usize = 64 * 1024;

/// A tool's standard input, as its run has it.
#[derive(Debug)]
pub(super) struct Say {
    pending: Mutex<Pending>,
    more: Notify,
    /// Whether the tool reads from it at all.
    asked_for: bool,
    /// Whether it stays open for what is yet to be said.
    interactive: bool,
}

#[derive(Debug, Default)]
struct Pending {
    /// How many bytes came before those that wait.
    before: u64,
    waiting: VecDeque<u8>,
}

impl Say {
    /// For a tool that is told `first`, and if it is `interactive`, more.
    pub(super) fn new(first: Option<String>, interactive: bool) -> Self {
        let asked_for = interactive || first.is_some();
        let waiting = first.unwrap_or_default().into_bytes().into();
        Self { pending: Mutex::new(Pending { before: 0, waiting }), more: Notify::new(), asked_for, interactive }
    }

    /// Goes on from where [`Say::unsaid`] was. What is told to a tool that is not interactive is known anyway.
    pub(super) fn restore(&self, before: u64, unsaid: Vec<u8>) {
        if self.interactive {
            *self.pending() = Pending { before, waiting: unsaid.into() };
        }
    }

    /// Says a line, after all that still waits.
    pub(super) fn line(&self, line: &str) {
        let mut pending = self.pending();
        pending.waiting.extend(line.as_bytes());
        pending.waiting.push_back(b'\n');
        drop(pending);
        self.more.notify_one();
    }

    /// What may not have reached the tool, and how many bytes came before it. Nothing of a tool that is not interactive.
    pub(super) fn unsaid(&self) -> (u64, Vec<u8>) {
        let pending = self.pending();
        if self.interactive { (pending.before, pending.waiting.iter().copied().collect()) } else { (0, Vec::new()) }
    }

    /// Gives the tool what there is to say, as fast as it reads, until all is said.
    pub(super) async fn give(&self, guest: &Guest, job: &str) -> Result<(), GuestError> {
        if !self.asked_for {
            return Ok(());
        }
        let mut input = guest.stdin(job).await?;
        self.pending().given_until(input.written());
        loop {
            let chunk = self.pending().next();
            if !chunk.is_empty() {
                input.write(&chunk).await?;
                self.pending().given(chunk.len());
            } else if self.interactive {
                self.more.notified().await;
            } else {
                return input.end().await;
            }
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    /// The tool was given this much in all, by this server or an earlier one.
    fn given_until(&mut self, written: u64) {
        let count = written.saturating_sub(self.before).min(self.waiting.len() as u64);
        self.given(count as usize);
    }

    /// What is to be given next.
    fn next(&self) -> Vec<u8> {
        self.waiting.iter().take(CHUNK).copied().collect()
    }

    fn given(&mut self, count: usize) {
        self.waiting.drain(..count);
        self.before += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tool_that_is_not_interactive_is_told_its_prompt_again() {
        let say = Say::new(Some("prompt".into()), false);
        assert_eq!(say.unsaid(), (0, Vec::new()));
        say.restore(0, Vec::new());
        assert_eq!(say.pending().next(), b"prompt");
    }

    proptest! {
        /// Whatever one server has given of it, the next gives the rest, and nothing twice.
        #[test]
        fn the_next_server_says_what_is_missing(
            lines in prop::collection::vec("\\PC{0,40}", 1..20),
            given in 0..500usize,
            more in 0..500u64,
        ) {
            let all: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
            let first = Say::new(None, true);
            for line in &lines {
                first.line(line);
            }
            first.pending().given(given.min(all.len()));
            let (before, unsaid) = first.unsaid();
            prop_assert_eq!(&all[before as usize..], &unsaid[..]);
            // The tool had been given more than was noted.
            let written = (before + more).min(all.len() as u64);
            let second = Say::new(None, true);
            second.restore(before, unsaid);
            second.pending().given_until(written);
            let rest = second.unsaid();
            prop_assert_eq!((rest.0, &rest.1[..]), (written, &all[written as usize..]));
        }
    }
}
