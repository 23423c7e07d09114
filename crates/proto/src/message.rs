//! The messages: what a host asks when it opens a channel, what the agent answers.

use crate::Desktop;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The first message on every channel, from the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The host's [`crate::VERSION`].
    pub version: u32,
    /// What the channel is for.
    pub channel: Channel,
}

/// What a channel is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// Who is there? Answered by [`Answer::Hello`].
    Hello,
    /// Tell every [`Stage`] until all are done, as JSON frames, then close. With a desktop: tell every stage, and
    /// each again when it changes, until the host closes.
    Ready,
    /// Start a job. Answered by [`Answer::Started`].
    Exec(Exec),
    /// Every job, running or ended. Answered by [`Answer::Jobs`].
    Jobs,
    /// Read a job's output from an offset on. Answered by [`Answer::Attached`], then frames.
    Attach(Attach),
    /// Write to a job's standard input, from where an earlier channel ended. Answered by [`Answer::Input`],
    /// then raw bytes. A host that ends its side, and is there to read the second reply, [`Answer::Done`],
    /// ends the input. One that is merely gone does not: the next channel goes on where it was cut off.
    /// A second channel takes over from the first.
    Stdin {
        /// The job.
        job: String,
    },
    /// Send a signal to a job. Answered by [`Answer::Signalled`].
    Signal(Signal),
    /// Tell a job's terminal its new size. Answered by [`Answer::Done`].
    Resize {
        /// The job.
        job: String,
        /// The new size.
        size: TerminalSize,
    },
    /// Write a file. Answered by [`Answer::Done`], then `size` raw bytes, then a
    /// second reply when the file is in place.
    Write(WriteFile),
    /// Read a file. Answered by [`Answer::File`], then exactly that many raw bytes.
    Read(ReadFile),
    /// List a folder, a page at a time. Answered by [`Answer::Entries`]; an empty page is the end.
    List {
        /// Absolute path.
        path: String,
        /// The last name of the page before: only names after it are told. An older agent
        /// does not know this, and tells the first page again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
    /// How much room there is for files. Answered by [`Answer::Disk`].
    Disk,
    /// Tell when files match rules, as JSON frames of [`WatchEvent`], until the host closes.
    Watch {
        /// What to look for.
        rules: Vec<WatchRule>,
    },
    /// Wait for one connection to the loopback proxy and carry its bytes.
    /// Answered by [`Answer::Done`] at once; the bytes start when a program connects.
    Egress,
    /// Start the desktop, once: another time is [`ErrorCode::Exists`]. Answered by [`Answer::Done`] at once; how far it
    /// is, [`Channel::Ready`] tells. An agent from before there were desktops answers [`ErrorCode::Invalid`].
    Desktop(Box<Desktop>),
    /// Say this in the desktop's terminal, at most [`crate::GREETING_MAX`] bytes, and let the shell begin there: what
    /// is typed before waits for it. Every later terminal begins with the same. Answered by [`Answer::Done`].
    Greet {
        /// What to say, its lines ended by a newline.
        text: String,
    },
    /// Carry the bytes of a viewer and the desktop's screen (RFB, RFC 6143). Answered by [`Answer::Done`] when the
    /// screen has accepted, then raw bytes both ways.
    Vnc,
}

/// A job to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The host's name for it, unique in the sandbox. The same name again is [`ErrorCode::Exists`].
    pub job: String,
    /// Program and arguments. A program without a slash is looked up in `PATH` of `env`.
    pub argv: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Absolute path of the working folder.
    pub cwd: String,
    /// Whether a `stdin` channel will be opened; `/dev/null` otherwise.
    #[serde(default)]
    pub stdin: bool,
    /// Run in a terminal of this size: standard error then arrives as standard output.
    #[serde(default)]
    pub pty: Option<TerminalSize>,
    /// How standard output is kept.
    pub stdout: Ring,
    /// How standard error is kept.
    pub stderr: Ring,
}

/// How the output of a job is kept until the host has acknowledged it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// How many bytes are held at most.
    pub capacity: u32,
    /// What happens when it is full.
    pub overflow: Overflow,
}

/// What happens when a ring is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The job waits, as on a full pipe, until the host acknowledges. Nothing is lost.
    Block,
    /// The oldest bytes are dropped: the ring holds the tail.
    DropOldest,
}

/// Columns and rows of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

/// Where to read a job's output from. A second attachment takes over from the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// The job.
    pub job: String,
    /// The first byte of standard output that is wanted, or that is acknowledged already.
    /// Bytes before it are forgotten. Beyond what was written: [`ErrorCode::BadOffset`].
    pub stdout: u64,
    /// The same for standard error. An offset that a `drop_oldest` ring no longer holds
    /// is answered from the oldest byte on.
    pub stderr: u64,
}

/// What the host sends on an attached channel, as a JSON frame: output up to
/// these offsets is kept safe on the host and may be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Bytes of standard output.
    pub stdout: u64,
    /// Bytes of standard error.
    pub stderr: u64,
}

/// What the agent sends on an attached channel beside output, as a JSON frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobEvent {
    /// The job's own process has ended and all that it wrote has been sent. The last frame.
    Exit(Exit),
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit status, if it exited.
    pub code: Option<i32>,
    /// The signal, if one ended it.
    pub signal: Option<i32>,
}

/// A signal to a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    /// The job.
    pub job: String,
    /// The signal's number.
    pub signal: i32,
    /// Whether the whole tree gets it: the job's process, its descendants, and those
    /// of its session or with its mark that were left behind by their parents.
    pub tree: bool,
}

/// A file to write. It is written beside its place and renamed into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteFile {
    /// Absolute path. Missing folders are made with mode 0700.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// How many bytes follow, at most [`crate::FILE_MAX`].
    pub size: u64,
}

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadFile {
    /// Absolute path. A link as the last part, or anything but a regular file, is [`ErrorCode::NotAFile`].
    pub path: String,
    /// The first byte that is wanted.
    #[serde(default)]
    pub offset: u64,
    /// How many bytes at most.
    pub max: u64,
}

/// When to tell of a file: it exists, satisfies every predicate, and has not changed for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRule {
    /// The host's name for the rule.
    pub rule: String,
    /// Absolute path of the file. Its folder need not exist yet.
    pub path: String,
    /// What must hold of its content, read as JSON. None: any content.
    #[serde(default)]
    pub require: Vec<Predicate>,
    /// For how many milliseconds it must not have changed.
    pub quiet_ms: u64,
}

/// What must hold of a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predicate {
    /// A JSON pointer (RFC 6901).
    pub pointer: String,
    /// What must stand there.
    pub is: Expected,
}

/// What must stand at a place in a JSON document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// Anything but null, the empty string, and nothing.
    Present,
    /// Exactly this value.
    Equal(serde_json::Value),
}

/// A file matches its rule (again, when it changed since).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchEvent {
    /// The rule.
    pub rule: String,
    /// The file's size in bytes.
    pub size: u64,
}

/// The agent's answer to an [`Open`], and to a finished write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It is done, or the channel is open.
    Ok(Answer),
    /// It could not be done; the channel is closed.
    Error(AgentError),
}

/// What the agent answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nothing to say.
    Done,
    /// To [`Channel::Hello`].
    Hello(Hello),
    /// To [`Channel::Exec`].
    Started(Started),
    /// To [`Channel::Jobs`], oldest first.
    Jobs(Vec<Job>),
    /// To [`Channel::Attach`].
    Attached(Attached),
    /// To [`Channel::Stdin`].
    Input {
        /// How many bytes of the input the job has been given so far, over all channels.
        written: u64,
    },
    /// To [`Channel::Disk`].
    Disk {
        /// Bytes that the root can hold.
        total: u64,
        /// Bytes of them that are free.
        free: u64,
    },
    /// To [`Channel::Signal`].
    Signalled {
        /// How many processes got it.
        processes: u32,
    },
    /// To [`Channel::Read`].
    File {
        /// How many raw bytes follow.
        size: u64,
        /// The file's whole size in bytes.
        total: u64,
    },
    /// To [`Channel::List`], by name, at most 1000 and as many as fit a header.
    Entries(Vec<Entry>),
}

/// Who the agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The agent's [`crate::VERSION`].
    pub version: u32,
    /// The agent's package version.
    pub agent: String,
    /// When it started, Unix milliseconds.
    pub started_at: i64,
    /// Where its proxy listens: `127.0.0.1:port`.
    pub proxy: String,
}

/// A part of getting ready.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Whether it is done.
    pub done: bool,
    /// What it waits for, while it is not.
    pub waiting_for: Option<String>,
    /// When it began, Unix milliseconds. Of the desktop's stages alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<i64>,
    /// How long it took, in milliseconds, once it is done. Of the desktop's stages alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<u64>,
    /// Why it will never be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

impl Stage {
    /// The stage that means: a key that is pressed now reaches the terminal.
    pub const READY: &str = "ready";
    /// The stage that means: the browser has a window.
    pub const BROWSER: &str = "browser";
}

/// A job that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Its process id inside the sandbox.
    pub pid: i32,
    /// When it was started, Unix milliseconds.
    pub started_at: i64,
}

/// A job as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The host's name for it.
    pub job: String,
    /// Its process and when it started.
    pub started: Started,
    /// How it ended, once it has.
    pub exit: Option<Exit>,
    /// Bytes that it has written so far.
    pub written: Ack,
}

/// What an attachment will send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The first byte of standard output that will come.
    pub stdout: u64,
    /// The first byte of standard error that will come.
    pub stderr: u64,
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name. Bytes that are not UTF-8 are replaced.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Size in bytes, of a file.
    pub size: u64,
    /// When it last changed, Unix milliseconds.
    pub modified_at: i64,
}

/// What an entry of a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// Anything else.
    Other,
}

/// Why the agent could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct AgentError {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what happened, to what.
    pub message: String,
}

/// Why the agent could not do what was asked, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The host is of a version that this agent does not speak.
    Version,
    /// A message that is not of this contract, or a value that makes no sense.
    Invalid,
    /// No such job, file or folder.
    NotFound,
    /// A job of this name exists.
    Exists,
    /// An offset that was forgotten or not yet written.
    BadOffset,
    /// A link, a folder or a device where a file is wanted.
    NotAFile,
    /// Beyond a limit of this contract.
    TooLarge,
    /// No space, or no right: the message has the system's words.
    Io,
    /// The program could not be started: the message has the system's words.
    Spawn,
}
