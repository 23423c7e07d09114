//! The tool's words, read, stored, and only then acknowledged.

use super::{
    Inner, fault,
    run::{JOB, Said, Stop, lost},
};
use crate::{
    domain::{
        event::EventBody,
        failure::{Code, Failure},
        run::Run,
    },
    providers::{Dialogue, Invocation, Outcome, Step, ToolEnd},
};
use polydev_sandbox::{
    Guest,
    egress::Attached,
    guest::{JobOutput, OutputStream},
    proto::Exit,
};
use tokio::{
    io::AsyncWriteExt,
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    time::Instant,
};

/// The longest line that a tool may print.
const LINE_MAX: usize = 16 * 1024 * 1024;
/// The most that a tool may print in a run. All of it is kept, as events: without an end to it, one sandbox
/// could fill the database.
const PRINTED_MAX: u64 = 64 * 1024 * 1024;
/// How much of standard error a failure is made from.
const STDERR_TAIL: usize = 16 * 1024;

/// Reads the tool's words until it, or its dialogue, has ended.
pub(super) async fn converse(
    inner: &Inner,
    run: &Run,
    guest: &Guest,
    invocation: Invocation,
    dialogue: &mut dyn Dialogue,
    way_out: &Attached,
    said: &mut Said,
) -> Result<Outcome, Stop> {
    let mut output = guest.attach(JOB, 0, 0).await.map_err(lost)?;
    let (say, mut to_say) = mpsc::unbounded_channel::<String>();
    let mut talk = std::pin::pin!(talk(guest, invocation.stdin, invocation.interactive, &mut to_say));
    let mut talking = true;
    let mut lines = Lines::default();
    let mut last_output = Instant::now();
    let stall = inner.config.runs.stall;
    if let Some(outcome) = take(inner, run, dialogue.begin(), &say, said).await? {
        return Ok(outcome);
    }
    loop {
        let quiet_since = last_output.max(way_out.last_activity().into());
        let next = tokio::select! {
            next = output.next() => next.map_err(lost)?,
            result = &mut talk, if talking => {
                talking = false;
                if let Err(error) = result {
                    // A tool that closes its input has its reasons; what it prints tells.
                    tracing::debug!(run = run.id, %error, "the tool's input is closed");
                }
                continue;
            }
            () = tokio::time::sleep_until(quiet_since + stall) => {
                if last_output.max(way_out.last_activity().into()) > quiet_since {
                    continue;
                }
                return Err(Failure::new(Code::Stalled, format!("neither the tool nor the network moved for {} s", stall.as_secs()))
                    .hint("Run it again; `runs.stall_s` sets how long is too long.").into());
            }
        };
        last_output = Instant::now();
        match next {
            Some(JobOutput::Bytes { stream: OutputStream::Stdout, offset, bytes }) => {
                let stdout = offset.saturating_add(bytes.len() as u64);
                said.printed = said.printed.saturating_add(bytes.len() as u64);
                if said.printed > PRINTED_MAX {
                    let words = format!("the tool printed more than {} MiB", PRINTED_MAX / 1024 / 1024);
                    return Err(Failure::new(Code::ToolCrashed, words).hint("Ask for less at a time.").into());
                }
                let mut steps = Vec::new();
                lines.push(&bytes, |line| steps.extend(dialogue.line(line)))?;
                let outcome = take(inner, run, steps, &say, said).await?;
                output.ack(stdout, 0).await.map_err(lost)?;
                if let Some(outcome) = outcome {
                    return Ok(outcome);
                }
            }
            Some(JobOutput::Bytes { stream: OutputStream::Stderr, bytes, .. }) => {
                said.stderr.extend_from_slice(&bytes);
                let excess = said.stderr.len().saturating_sub(STDERR_TAIL);
                said.stderr.drain(..excess);
            }
            Some(JobOutput::Exit(exit)) => {
                let mut steps = Vec::new();
                lines.finish(|line| steps.extend(dialogue.line(line)));
                if let Some(outcome) = take(inner, run, steps, &say, said).await? {
                    return Ok(outcome);
                }
                return Ok(dialogue.exit(&tool_end(exit, &said.stderr)));
            }
            None => return Err(Failure::new(Code::ToolCrashed, "the tool's output ended before the tool").into()),
        }
    }
}

/// Stores what follows from steps; the outcome, if the tool has said its last.
async fn take(
    inner: &Inner,
    run: &Run,
    steps: Vec<Step>,
    say: &UnboundedSender<String>,
    said: &mut Said,
) -> Result<Option<Outcome>, Stop> {
    let mut events = Vec::new();
    let mut outcome = None;
    for step in steps {
        match step {
            Step::Emit(event) => {
                match &event {
                    EventBody::Text { text } => said.text.push_str(text),
                    EventBody::Usage(usage) => said.usage = Some(*usage),
                    EventBody::Queued { .. }
                    | EventBody::Started { .. }
                    | EventBody::Reasoning { .. }
                    | EventBody::ToolCall { .. }
                    | EventBody::ToolResult { .. }
                    | EventBody::Log { .. }
                    | EventBody::Completed { .. }
                    | EventBody::Failed { .. }
                    | EventBody::Cancelled => {}
                }
                events.push(event);
            }
            Step::Send(line) => {
                let _ = say.send(line);
            }
            Step::End(end) => {
                outcome = Some(end);
                break;
            }
        }
    }
    if !inner.append(&run.id, &events).await.map_err(fault)? {
        // Somebody else has ended it: the reconciler of a newer server, or an operator.
        return Err(Stop::Stopped);
    }
    Ok(outcome)
}

/// Says to the tool what it is to be told.
async fn talk(
    guest: &Guest,
    first: Option<String>,
    interactive: bool,
    lines: &mut UnboundedReceiver<String>,
) -> std::io::Result<()> {
    if first.is_none() && !interactive {
        return Ok(());
    }
    let mut stdin = guest.stdin(JOB).await.map_err(std::io::Error::other)?;
    if let Some(first) = first {
        stdin.write_all(first.as_bytes()).await?;
    }
    if interactive {
        while let Some(line) = lines.recv().await {
            stdin.write_all(format!("{line}\n").as_bytes()).await?;
        }
    }
    stdin.shutdown().await
}

/// Bytes, cut into lines.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), Failure> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            if self.rest.is_empty() {
                each(&bytes[..end]);
            } else {
                self.rest.extend_from_slice(&bytes[..end]);
                each(&self.rest);
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

    fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.rest.is_empty() {
            each(&std::mem::take(&mut self.rest));
        }
    }
}

fn tool_end(exit: Exit, stderr: &[u8]) -> ToolEnd {
    ToolEnd { code: exit.code, signal: exit.signal, stderr: String::from_utf8_lossy(stderr).into_owned() }
}
