//! The tool's words, read, stored, and only then acknowledged.
//!
//! ```text
//!   bytes ─► lines ─► dialogue ─► steps ─┬─ emit ─► batch ─► rows, with how far was heard ─► acknowledged
//!                                        └─ send ─► told to the tool when the rows are there
//! ```
//! A batch is stored at once when the last one is older than [`BATCH`], and otherwise when it will be: the first
//! word is not delayed, and a flood of them makes fifty transactions a second.

use super::{
    Inner, fault,
    progress::{self, Progress},
    run::{JOB, Said, Stop, lost},
    say::Say,
    secrets::{self, Complaints, Words},
};
use crate::{
    domain::{
        connections::SecretVersion,
        event::EventBody,
        failure::{Code, Failure},
        redact::Redactor,
        run::Run,
    },
    providers::{Dialogue, Outcome, Provider, Step, ToolEnd},
};
use polydev_sandbox::{
    Guest,
    egress::Traffic,
    guest::{Attachment, GuestError, JobOutput, OutputStream},
    pace::Pace,
    proto::Exit,
};
use std::{num::NonZeroU64, time::Duration};
use tokio::time::Instant;

/// The longest line that a tool may print. Its ring in the sandbox holds more: what is no whole line stays there.
pub(super) const LINE_MAX: usize = 12 * 1024 * 1024;
/// The most that a tool may print in a run. All of it is kept, as events: without an end to it, one sandbox
/// could fill the database.
const PRINTED_MAX: u64 = 64 * 1024 * 1024;
/// How fast a tool is read, bytes a second; one that prints more waits. It keeps the server from being busy for it.
const PACE: NonZeroU64 = NonZeroU64::new(8 * 1024 * 1024).expect("not zero");
/// What may be read at once of one that has printed little so far: `PACE` of so much time.
const PACE_BURST: Duration = Duration::from_secs(4);
/// What a line counts at least: it is parsed, and may be stored.
const LINE_COUNTS: u64 = 1024;
/// How long events wait for others, at most.
const BATCH: Duration = Duration::from_millis(20);
/// How many events make a batch that waits no longer.
const BATCH_EVENTS: usize = 256;

/// A tool that runs, and what is needed to understand it.
pub(super) struct Tool<'a> {
    pub(super) guest: Guest,
    pub(super) traffic: Traffic,
    pub(super) dialogue: Box<dyn Dialogue>,
    pub(super) say: &'a Say,
    /// Where to read on.
    pub(super) stdout: u64,
    /// Which secret it was let in with.
    pub(super) connection: Option<SecretVersion>,
    /// What must not be told.
    pub(super) secrets: Redactor,
    /// Whose login it has alone, if it has one: it may get new secrets.
    pub(super) alone: Option<&'a dyn Provider>,
    /// What of its words waits.
    pub(super) words: Words,
}

/// Reads the tool's words until it, or its dialogue, has ended.
pub(super) async fn converse(inner: &Inner, run: &Run, tool: Tool<'_>, said: &mut Said) -> Result<Outcome, Stop> {
    let mut output = tool.guest.attach(JOB, tool.stdout, 0).await.map_err(lost)?;
    let (say, guest) = (tool.say, tool.guest.clone());
    let mut talk = std::pin::pin!(say.give(&guest, JOB));
    let mut talking = true;
    let mut hearing = Hearing {
        inner,
        run,
        tool,
        said,
        lines: Lines::default(),
        complaints: Complaints::default(),
        batch: Batch::default(),
    };
    let (pace, mut due_to_read) = (Pace::new(PACE, PACE_BURST), Instant::now());
    let mut last_output = Instant::now();
    let stall = inner.config.runs.stall;
    loop {
        let quiet_since = last_output.max(hearing.tool.traffic.last_activity().into());
        let due = hearing.batch.due();
        let next = tokio::select! {
            next = paced(due_to_read, &mut output) => next.map_err(lost)?,
            () = tokio::time::sleep_until(due.unwrap_or(quiet_since)), if due.is_some() => {
                if let Some(outcome) = hearing.store(&mut output).await? {
                    return Ok(outcome);
                }
                continue;
            }
            result = &mut talk, if talking => {
                talking = false;
                if let Err(error) = result {
                    // A tool that closes its input has its reasons; what it prints tells.
                    tracing::debug!(run = run.id, %error, "the tool's input is closed");
                }
                continue;
            }
            () = tokio::time::sleep_until(quiet_since + stall) => {
                if last_output.max(hearing.tool.traffic.last_activity().into()) > quiet_since {
                    continue;
                }
                return Err(Failure::new(Code::Stalled, format!("neither the tool nor the network moved for {} s", stall.as_secs()))
                    .hint("Run it again; `runs.stall_s` sets how long is too long.").into());
            }
        };
        last_output = Instant::now();
        match next {
            Some(JobOutput::Bytes { stream, offset, bytes }) => {
                due_to_read = pace.take(counted(&bytes));
                hearing.learn().await;
                match stream {
                    OutputStream::Stdout => hearing.hear(&bytes)?,
                    OutputStream::Stderr => {
                        hearing.complaints.push(&hearing.tool.secrets, offset, &bytes, &mut hearing.said.stderr);
                    }
                }
            }
            Some(JobOutput::Exit(exit)) => {
                hearing.end();
                return match hearing.store(&mut output).await? {
                    Some(outcome) => Ok(outcome),
                    None => Ok(hearing.tool.dialogue.exit(&tool_end(exit, &hearing.said.stderr))),
                };
            }
            None => return Err(Failure::new(Code::ToolCrashed, "the tool's output ended before the tool").into()),
        }
        if hearing.batch.is_due()
            && let Some(outcome) = hearing.store(&mut output).await?
        {
            return Ok(outcome);
        }
    }
}

/// The next output, not before it is due.
async fn paced(due: Instant, output: &mut Attachment) -> Result<Option<JobOutput>, GuestError> {
    if due > Instant::now() {
        tokio::time::sleep_until(due).await;
    }
    output.next().await
}

/// What bytes count: many short lines are more work than a long one.
fn counted(bytes: &[u8]) -> u64 {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    (bytes.len() as u64).max(lines * LINE_COUNTS)
}

/// What hears a tool.
struct Hearing<'a, 'b> {
    inner: &'a Inner,
    run: &'a Run,
    tool: Tool<'b>,
    said: &'a mut Said,
    lines: Lines,
    complaints: Complaints,
    batch: Batch,
}

/// What was understood and is not stored yet.
#[derive(Debug, Default)]
struct Batch {
    events: Vec<EventBody>,
    to_say: Vec<String>,
    outcome: Option<Outcome>,
    /// When its first line came.
    since: Option<Instant>,
    /// When the one before it was stored.
    stored: Option<Instant>,
}

impl Batch {
    /// When it is to be stored. `None`: it is empty.
    fn due(&self) -> Option<Instant> {
        let since = self.since?;
        if self.events.is_empty() {
            return Some(since + BATCH);
        }
        Some(self.stored.map_or(since, |stored| stored + BATCH))
    }

    fn is_due(&self) -> bool {
        self.outcome.is_some()
            || !self.to_say.is_empty()
            || self.events.len() >= BATCH_EVENTS
            || self.due().is_some_and(|due| due <= Instant::now())
    }
}

impl Hearing<'_, '_> {
    fn progress(&self) -> Progress {
        let tool = &self.tool;
        let progress = progress::of(tool.stdout, &*tool.dialogue, tool.say, tool.connection.clone());
        Progress { held: tool.words.held(&tool.secrets), outcome: self.batch.outcome.clone(), ..progress }
    }

    /// Looks for new secrets before something is heard that may hold them.
    async fn learn(&mut self) {
        let Some(provider) = self.tool.alone else { return };
        if let Some(secrets) = secrets::refreshed(&self.tool.secrets, provider, &self.tool.guest).await {
            if let Some(hidden) = &self.said.hidden {
                hidden.learn(&secrets);
            }
            self.said.secrets = Some(secrets.clone());
            self.tool.secrets = secrets;
        }
    }

    /// Understands what the tool printed.
    fn hear(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let (mut steps, mut whole) = (Vec::new(), 0);
        let (dialogue, secrets) = (&mut self.tool.dialogue, &self.tool.secrets);
        self.lines.push(bytes, |line, len| {
            whole += len;
            // Before anything is cut from it, or kept of it.
            steps.extend(dialogue.line(&secrets.bytes(line)));
        })?;
        let from = self.tool.stdout;
        self.tool.stdout += whole;
        if self.tool.stdout > PRINTED_MAX {
            let words = format!("the tool printed more than {} MiB", PRINTED_MAX / 1024 / 1024);
            return Err(Failure::new(Code::ToolCrashed, words).hint("Ask for less at a time."));
        }
        if whole > 0 {
            self.batch.since.get_or_insert_with(Instant::now);
        }
        self.understand(from, steps);
        Ok(())
    }

    /// The tool has ended: what it left is a line too.
    fn end(&mut self) {
        let mut steps = Vec::new();
        let (dialogue, secrets, from) = (&mut self.tool.dialogue, &self.tool.secrets, self.tool.stdout);
        self.tool.stdout += self.lines.finish(|line| steps.extend(dialogue.line(&secrets.bytes(line))));
        self.understand(from, steps);
        self.tool.words.finish(&self.tool.secrets, &mut self.batch.events);
        self.complaints.finish(&self.tool.secrets, &mut self.said.stderr);
    }

    /// Takes what follows from lines, the first of which was printed from this byte on.
    fn understand(&mut self, from: u64, steps: Vec<Step>) {
        for step in steps {
            if self.batch.outcome.is_some() {
                return;
            }
            match step {
                Step::Emit(event) => {
                    // A line may have had it escaped.
                    let event = event.without(&self.tool.secrets);
                    self.said.got_over(from, &event);
                    self.tool.words.push(&self.tool.secrets, event, &mut self.batch.events);
                }
                Step::Send(line) => self.batch.to_say.push(line),
                Step::End(outcome) => {
                    let outcome = match outcome {
                        Outcome::Failed(failure) => Outcome::Failed(failure.without(&self.tool.secrets)),
                        answered @ Outcome::Answered { .. } => answered,
                    };
                    self.tool.words.finish(&self.tool.secrets, &mut self.batch.events);
                    self.batch.outcome = Some(outcome);
                }
            }
        }
    }

    /// Stores the batch; then tells the tool what it is to be told, and that what it printed may be forgotten.
    /// The outcome, if the tool has said its last.
    async fn store(&mut self, output: &mut Attachment) -> Result<Option<Outcome>, Stop> {
        for line in &self.batch.to_say {
            self.tool.say.line(line);
        }
        let progress = self.progress();
        let batch = std::mem::take(&mut self.batch);
        for event in &batch.events {
            self.said.note(event);
        }
        if !self.inner.append(&self.run.id, &batch.events, Some(&progress)).await.map_err(fault)? {
            // Somebody else has ended it: the reconciler of a newer server, or an operator.
            return Err(Stop::Stopped);
        }
        self.batch.stored = Some(Instant::now());
        // A tool whose end is known need not be told that it may go on.
        if batch.outcome.is_none() {
            output.ack(self.tool.stdout, 0).await.map_err(lost)?;
        }
        Ok(batch.outcome)
    }
}

/// Bytes, cut into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Gives each whole line to `each`, and how many bytes it took.
    pub(super) fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8], u64)) -> Result<(), Failure> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            if self.rest.is_empty() {
                each(&bytes[..end], end as u64 + 1);
            } else {
                self.rest.extend_from_slice(&bytes[..end]);
                each(&self.rest, self.rest.len() as u64 + 1);
                self.rest.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.rest.extend_from_slice(bytes);
        if self.rest.len() > LINE_MAX {
            return Err(Failure::new(
                Code::ToolCrashed,
                format!("the tool printed a line of more than {LINE_MAX} bytes"),
            ));
        }
        Ok(())
    }

    /// Gives what has no end to `each`; how many bytes that was.
    pub(super) fn finish(&mut self, mut each: impl FnMut(&[u8])) -> u64 {
        let rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            each(&rest);
        }
        rest.len() as u64
    }
}

fn tool_end(exit: Exit, stderr: &[u8]) -> ToolEnd {
    ToolEnd { code: exit.code, signal: exit.signal, stderr: String::from_utf8_lossy(stderr).into_owned() }
}
