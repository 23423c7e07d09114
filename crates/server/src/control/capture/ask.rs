//! Asks a tool itself whether somebody is signed in.

use super::{Desk, prepare};
use crate::domain::id;
use polydev_sandbox::{
    guest::{Attachment, GuestError, JobOutput, OutputStream, REPLY_WITHIN},
    image::HOME,
    proto::{Exec, Overflow, Ring},
};
use std::time::Duration;
use tokio::time::timeout;

/// How long a tool may take to say it. It takes a second, and several on a busy machine.
const WITHIN: Duration = Duration::from_secs(30);
/// How much of that is read, bytes.
const ANSWER_MAX: usize = 8 * 1024;
/// How much of it the agent holds.
const ANSWER: Ring = Ring { capacity: ANSWER_MAX as u32, overflow: Overflow::DropOldest };

const SIGKILL: i32 = 9;

impl Desk<'_> {
    /// Runs a command to its end: its exit status, if it exits by itself and in time, and the beginning of what it says.
    pub(super) async fn ask(&self, argv: &[&str]) -> Result<(Option<i32>, String), GuestError> {
        let job = id::new("status");
        let has_ca = self.inner.config.sandbox.ca_file.is_some();
        let exec = Exec {
            job: job.clone(),
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            env: prepare::environment(has_ca, &self.hello.proxy, &[]),
            cwd: HOME.into(),
            stdin: false,
            pty: None,
            stdout: ANSWER,
            stderr: ANSWER,
        };
        self.guest.exec(exec).await?;
        let mut output = self.guest.attach(&job, 0, 0).await?;
        let mut answer = Answer::default();
        let code = match timeout(WITHIN, answer.hear(&mut output)).await {
            Ok(code) => code?,
            Err(_elapsed) => {
                self.guest.signal(&job, SIGKILL, true).await?;
                // What it says until it is gone is acknowledged too.
                if let Ok(Err(error)) = timeout(REPLY_WITHIN, answer.hear(&mut output)).await {
                    return Err(error);
                }
                None
            }
        };
        // The agent has room for so many jobs only, of whose output something is not acknowledged. One that hears
        // nothing more needs no room.
        if let Err(error) = output.ack(answer.stdout, answer.stderr).await {
            tracing::debug!(job, %error, "an answer could not be acknowledged");
        }
        Ok((code, String::from_utf8_lossy(&answer.said).into_owned()))
    }
}

/// What a command has said so far.
#[derive(Default)]
struct Answer {
    /// The beginning of it.
    said: Vec<u8>,
    /// How far its standard output was read, bytes.
    stdout: u64,
    /// How far its standard error was.
    stderr: u64,
}

impl Answer {
    /// Hears it to its end: its exit status, if it exits by itself.
    async fn hear(&mut self, output: &mut Attachment) -> Result<Option<i32>, GuestError> {
        loop {
            match output.next().await? {
                Some(JobOutput::Bytes { stream, offset, bytes }) => {
                    let read = match stream {
                        OutputStream::Stdout => &mut self.stdout,
                        OutputStream::Stderr => &mut self.stderr,
                    };
                    *read = offset.saturating_add(bytes.len() as u64);
                    self.said.extend(bytes.iter().take(ANSWER_MAX - self.said.len()));
                }
                Some(JobOutput::Exit(exit)) => return Ok(exit.code),
                None => return Ok(None),
            }
        }
    }
}
