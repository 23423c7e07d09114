//! The client of the agent: what a host can do in a sandbox, whatever made it.
//!
//! Each call opens a channel of its own over [`Driver::connect`]. The guest is
//! hostile: what it sends is bounded by the limits of the contract and by time,
//! and anything else than what was asked for is an error.

mod attachment;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;

pub use attachment::{Attachment, JobOutput, OutputStream, Watch};

use crate::driver::{Driver, DriverError, SandboxId, Stream};
use polydev_proto::{
    AgentError, Answer, Attach, Channel, Desktop, Entry, Exec, FILE_MAX, HEADER_MAX, Hello, Job, Malformed, Open,
    ReadFile, Reply, Signal, Stage, Started, TerminalSize, VERSION, WatchRule, WriteFile, decode_message,
    encode_message,
};
use std::{future::Future, io, sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long the agent may take to answer.
pub const REPLY_WITHIN: Duration = Duration::from_secs(10);

/// How long the bytes of one file may take.
pub const FILE_WITHIN: Duration = Duration::from_secs(60);

/// The agent of one sandbox.
#[derive(Debug, Clone)]
pub struct Guest {
    driver: Arc<dyn Driver>,
    id: SandboxId,
}

/// Why something could not be done in a sandbox.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The sandbox cannot be dialled.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The agent says why.
    #[error("{asked}: {source}")]
    Agent {
        /// What was asked.
        asked: &'static str,
        /// The agent's words.
        source: AgentError,
    },
    /// The agent did not answer in time.
    #[error("{asked}: no answer of the agent within {} s", .within.as_secs())]
    Timeout {
        /// What was asked.
        asked: &'static str,
        /// How long it was given.
        within: Duration,
    },
    /// What is asked is beyond the limits of the contract.
    #[error("{asked}: {source}")]
    Request {
        /// What was asked.
        asked: &'static str,
        /// Which limit.
        source: Malformed,
    },
    /// The agent sent what is not of the contract.
    #[error("{asked}: the agent sent {source}")]
    Malformed {
        /// What was asked.
        asked: &'static str,
        /// What it sent.
        source: Malformed,
    },
    /// The agent sent what is of the contract, but was not asked for.
    #[error("{asked}: the agent sent {what}")]
    Unexpected {
        /// What was asked.
        asked: &'static str,
        /// What it sent.
        what: &'static str,
    },
    /// A file is larger than the caller wants.
    #[error("`{path}` has {total} bytes, at most {max} are read")]
    TooLarge {
        /// The file.
        path: String,
        /// Its size in bytes.
        total: u64,
        /// The most that was asked for.
        max: u64,
    },
    /// The stream broke: the agent closed it, or the sandbox has ended.
    #[error("{asked}: the sandbox hung up: {source}")]
    Broken {
        /// What was asked.
        asked: &'static str,
        /// The system's words.
        source: io::Error,
    },
}

impl Guest {
    /// The agent of sandbox `id`, which `driver` has made.
    pub fn new(driver: Arc<dyn Driver>, id: SandboxId) -> Self {
        Self { driver, id }
    }

    /// Which sandbox.
    pub fn id(&self) -> &SandboxId {
        &self.id
    }

    /// Asks who is there.
    pub async fn hello(&self) -> Result<Hello, GuestError> {
        match self.ask(Channel::Hello).await? {
            (Answer::Hello(hello), _) => Ok(hello),
            (other, channel) => Err(channel.unexpected(&other)),
        }
    }

    /// Watches the sandbox get ready.
    pub async fn ready(&self) -> Result<Watch<Stage>, GuestError> {
        self.done(Channel::Ready).await.map(Watch::new)
    }

    /// Starts a job.
    pub async fn exec(&self, exec: Exec) -> Result<Started, GuestError> {
        match self.ask(Channel::Exec(exec)).await? {
            (Answer::Started(started), _) => Ok(started),
            (other, channel) => Err(channel.unexpected(&other)),
        }
    }

    /// Lists every job, running or ended, oldest first.
    pub async fn jobs(&self) -> Result<Vec<Job>, GuestError> {
        match self.ask(Channel::Jobs).await? {
            (Answer::Jobs(jobs), _) => Ok(jobs),
            (other, channel) => Err(channel.unexpected(&other)),
        }
    }

    /// Reads a job's output from these offsets on. A second attachment takes over from the first.
    pub async fn attach(&self, job: &str, stdout: u64, stderr: u64) -> Result<Attachment, GuestError> {
        match self.ask(Channel::Attach(Attach { job: job.to_owned(), stdout, stderr })).await? {
            (Answer::Attached(from), channel) => Ok(Attachment::new(channel, from)),
            (other, channel) => Err(channel.unexpected(&other)),
        }
    }

    /// Opens a job's standard input, and takes it over from whoever had it. What the job has been given
    /// already counts in [`Input::written`].
    pub async fn stdin(&self, job: &str) -> Result<Input, GuestError> {
        match self.ask(Channel::Stdin { job: job.to_owned() }).await? {
            (Answer::Input { written }, channel) => Ok(Input { channel, written }),
            (other, channel) => Err(channel.unexpected(&other)),
        }
    }

    /// Sends a signal to a job, with `tree` to all that it has started. Tells how many processes got it.
    pub async fn signal(&self, job: &str, signal: i32, tree: bool) -> Result<u32, GuestError> {
        match self.ask(Channel::Signal(Signal { job: job.to_owned(), signal, tree })).await? {
            (Answer::Signalled { processes }, _) => Ok(processes),
            (other, channel) => Err(channel.unexpected(&other)),
        }
    }

    /// Tells a job's terminal its new size.
    pub async fn resize(&self, job: &str, size: TerminalSize) -> Result<(), GuestError> {
        self.done(Channel::Resize { job: job.to_owned(), size }).await.map(drop)
    }

    /// Writes a file of at most [`FILE_MAX`] bytes, whole or not at all.
    /// `path` is absolute; missing folders are made with mode 0700.
    pub async fn write_file(&self, path: &str, mode: u32, bytes: &[u8]) -> Result<(), GuestError> {
        let size = bytes.len() as u64;
        if size > FILE_MAX {
            return Err(GuestError::TooLarge { path: path.to_owned(), total: size, max: FILE_MAX });
        }
        let mut channel = self.done(Channel::Write(WriteFile { path: path.to_owned(), mode, size })).await?;
        let asked = channel.asked;
        within(asked, FILE_WITHIN, async {
            // An agent that cannot write says so in its reply, and may read no further.
            let sent = channel.stream.write_all(bytes).await;
            match channel.reply().await {
                Ok(Answer::Done) => sent.map_err(|source| GuestError::Broken { asked, source }),
                Ok(other) => Err(channel.unexpected(&other)),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Reads a whole file of at most `max` bytes. `path` is absolute; a link is not followed.
    pub async fn read_file(&self, path: &str, max: u64) -> Result<Vec<u8>, GuestError> {
        let max = max.min(FILE_MAX);
        let (answer, mut channel) = self.ask(Channel::Read(ReadFile { path: path.to_owned(), offset: 0, max })).await?;
        let asked = channel.asked;
        let (size, total) = match answer {
            Answer::File { size, total } => (size, total),
            other => return Err(channel.unexpected(&other)),
        };
        if total > max {
            return Err(GuestError::TooLarge { path: path.to_owned(), total, max });
        }
        if size != total {
            return Err(GuestError::Unexpected { asked, what: "a part of a file" });
        }
        within(asked, FILE_WITHIN, async {
            // The room grows with what arrives, not with what is announced.
            let mut bytes = Vec::new();
            let read = (&mut channel.stream).take(size).read_to_end(&mut bytes).await;
            match read {
                Ok(read) if read as u64 == size => Ok(bytes),
                Ok(_) => Err(GuestError::Broken { asked, source: io::ErrorKind::UnexpectedEof.into() }),
                Err(source) => Err(GuestError::Broken { asked, source }),
            }
        })
        .await
    }

    /// Lists a folder by name, a page of at most 1000 entries: from its start, or after this name.
    /// An empty page is the end.
    pub async fn list(&self, path: &str, after: Option<&str>) -> Result<Vec<Entry>, GuestError> {
        match self.ask(Channel::List { path: path.to_owned(), after: after.map(str::to_owned) }).await? {
            (Answer::Entries(entries), _) => Ok(entries),
            (other, channel) => Err(channel.unexpected(&other)),
        }
    }

    /// How much room the sandbox has for files, in bytes: all of it, and what is free.
    pub async fn disk(&self) -> Result<(u64, u64), GuestError> {
        match self.ask(Channel::Disk).await? {
            (Answer::Disk { total, free }, _) => Ok((total, free)),
            (other, channel) => Err(channel.unexpected(&other)),
        }
    }

    /// Watches for files that match rules, until it is dropped.
    pub async fn watch(&self, rules: Vec<WatchRule>) -> Result<Watch<polydev_proto::WatchEvent>, GuestError> {
        self.done(Channel::Watch { rules }).await.map(Watch::new)
    }

    /// Waits for one connection to the sandbox's proxy. The stream is silent
    /// until a program connects, then it carries that program's bytes.
    pub async fn egress(&self) -> Result<Stream, GuestError> {
        Ok(self.done(Channel::Egress).await?.stream)
    }

    /// Starts the desktop, once. It goes on by itself; [`Self::ready`] tells how far it is, and of its end.
    /// [`crate::desktop`] says what it is made of.
    pub async fn desktop(&self, desktop: Desktop) -> Result<(), GuestError> {
        self.done(Channel::Desktop(Box::new(desktop))).await.map(drop)
    }

    /// Says this in the desktop's terminal, and lets the shell begin there.
    pub async fn greet(&self, text: &str) -> Result<(), GuestError> {
        self.done(Channel::Greet { text: text.to_owned() }).await.map(drop)
    }

    /// A viewer's connection to the desktop's screen: RFB (RFC 6143), its security type None, raw bytes both ways.
    pub async fn vnc(&self) -> Result<Stream, GuestError> {
        Ok(self.done(Channel::Vnc).await?.stream)
    }

    async fn done(&self, what: Channel) -> Result<Opened, GuestError> {
        match self.ask(what).await? {
            (Answer::Done, channel) => Ok(channel),
            (other, channel) => Err(channel.unexpected(&other)),
        }
    }

    async fn ask(&self, what: Channel) -> Result<(Answer, Opened), GuestError> {
        let asked = name(&what);
        let open = Open { version: VERSION, channel: what };
        let open = encode_message(&open).map_err(|source| GuestError::Request { asked, source })?;
        within(asked, REPLY_WITHIN, async {
            let mut channel = Opened { asked, stream: self.driver.connect(&self.id).await? };
            // An agent that refuses may hang up before it has read all: its reply tells more.
            let sent = channel.stream.write_all(&open).await;
            match (channel.reply().await, sent) {
                (Ok(answer), _) => Ok((answer, channel)),
                (Err(GuestError::Broken { .. }), Err(source)) => Err(GuestError::Broken { asked, source }),
                (Err(error), _) => Err(error),
            }
        })
        .await
    }
}

/// A job's standard input. Dropping it leaves the input open for another.
pub struct Input {
    channel: Opened,
    written: u64,
}

impl Input {
    /// How many bytes the job had been given when this was opened.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Gives bytes to the job, as fast as it takes them.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), GuestError> {
        let asked = self.channel.asked;
        self.channel.stream.write_all(bytes).await.map_err(|source| GuestError::Broken { asked, source })
    }

    /// Ends the input: returns when the job has been given everything, and the end.
    pub async fn end(mut self) -> Result<(), GuestError> {
        let asked = self.channel.asked;
        self.channel.stream.shutdown().await.map_err(|source| GuestError::Broken { asked, source })?;
        match self.channel.reply().await? {
            Answer::Done => Ok(()),
            other => Err(self.channel.unexpected(&other)),
        }
    }
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("written", &self.written).finish_non_exhaustive()
    }
}

/// A channel on which the agent has answered, or is about to.
struct Opened {
    asked: &'static str,
    stream: Stream,
}

impl Opened {
    async fn reply(&mut self) -> Result<Answer, GuestError> {
        let asked = self.asked;
        let broken = |source| GuestError::Broken { asked, source };
        let malformed = |source| GuestError::Malformed { asked, source };
        let mut message = vec![0; 4];
        self.stream.read_exact(&mut message).await.map_err(broken)?;
        let len = u32::from_be_bytes([message[0], message[1], message[2], message[3]]) as usize;
        if len > HEADER_MAX {
            return Err(malformed(Malformed::TooLong { len, max: HEADER_MAX }));
        }
        message.resize(4 + len, 0);
        self.stream.read_exact(&mut message[4..]).await.map_err(broken)?;
        match decode_message(&message).map_err(malformed)? {
            Some((Reply::Ok(answer), _)) => Ok(answer),
            Some((Reply::Error(source), _)) => Err(GuestError::Agent { asked, source }),
            None => Err(broken(io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn unexpected(&self, answer: &Answer) -> GuestError {
        let what = match answer {
            Answer::Done => "`done`",
            Answer::Hello(_) => "`hello`",
            Answer::Started(_) => "`started`",
            Answer::Jobs(_) => "`jobs`",
            Answer::Attached(_) => "`attached`",
            Answer::Input { .. } => "`input`",
            Answer::Disk { .. } => "`disk`",
            Answer::Signalled { .. } => "`signalled`",
            Answer::File { .. } => "`file`",
            Answer::Entries(_) => "`entries`",
        };
        GuestError::Unexpected { asked: self.asked, what }
    }
}

/// What was asked, for people.
fn name(channel: &Channel) -> &'static str {
    match channel {
        Channel::Hello => "saying hello",
        Channel::Ready => "asking for readiness",
        Channel::Exec(_) => "starting a job",
        Channel::Jobs => "listing jobs",
        Channel::Attach(_) => "attaching to a job",
        Channel::Stdin { .. } => "writing to a job",
        Channel::Signal(_) => "sending a signal",
        Channel::Resize { .. } => "resizing a terminal",
        Channel::Write(_) => "writing a file",
        Channel::Read(_) => "reading a file",
        Channel::List { .. } => "listing a folder",
        Channel::Disk => "asking for free room",
        Channel::Watch { .. } => "watching files",
        Channel::Egress => "waiting for a connection",
        Channel::Desktop(_) => "starting the desktop",
        Channel::Greet { .. } => "greeting in the terminal",
        Channel::Vnc => "looking at the screen",
    }
}

async fn within<T>(
    asked: &'static str,
    within: Duration,
    work: impl Future<Output = Result<T, GuestError>>,
) -> Result<T, GuestError> {
    tokio::time::timeout(within, work).await.unwrap_or(Err(GuestError::Timeout { asked, within }))
}
