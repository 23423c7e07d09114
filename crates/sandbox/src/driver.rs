//! The driver: what makes sandboxes on one kind of host.
//!
//! A driver ends at a byte stream. Exec, files, readiness, pixels and the way
//! out are written once, over [`Driver::connect`], in [`crate::guest`] and
//! [`crate::egress`].

use crate::host::rights::Rights;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{fmt, path::PathBuf, str::FromStr};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// Makes, finds, dials and destroys sandboxes.
///
/// Every operation may be called again after a crash at any point: `create`
/// of an id that exists is [`DriverError::Exists`], `destroy` of one that does
/// not is a success, and `observe` tells of everything that any earlier
/// process left, half-made sandboxes too.
#[async_trait]
pub trait Driver: Send + Sync + fmt::Debug {
    /// The name that configuration knows it by.
    fn kind(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// What it needs of root's rights, each for a reason. A server that works with it has no others.
    fn needs(&self) -> Rights {
        Rights::empty()
    }

    /// Whether it can work on this host, found by trying and not by looking.
    async fn probe(&self) -> Probe;

    /// Makes a sandbox and starts the agent in it. It returns when the agent
    /// may be dialled; the agent's own readiness is asked of the agent.
    async fn create(&self, id: &SandboxId, spec: &SandboxSpec) -> Result<(), DriverError>;

    /// Reads an image into memory for the sandboxes to come: what is not there yet, at most `max` bytes, until
    /// `stop`, giving way to all that runs. How many bytes that were. A driver that uses no image has nothing to do.
    async fn read_ahead(&self, _spec: &SandboxSpec, _max: u64, _stop: &CancellationToken) -> Result<u64, DriverError> {
        Ok(0)
    }

    /// Opens a new byte stream to the agent.
    async fn connect(&self, id: &SandboxId) -> Result<Stream, DriverError>;

    /// Every sandbox of this driver's state folder, whoever made it.
    async fn observe(&self) -> Result<Vec<Observed>, DriverError>;

    /// What runs on this host like a sandbox of such a driver's and is in none that [`Driver::observe`] tells of.
    /// It is left alone. A driver whose sandboxes cannot be known from outside has nothing to tell.
    async fn strays(&self) -> Result<Vec<Stray>, DriverError> {
        Ok(Vec::new())
    }

    /// Whether the kernel has ended a process of a sandbox for want of memory, so far.
    /// A driver without limits has nothing to tell.
    async fn out_of_memory(&self, _id: &SandboxId) -> Result<bool, DriverError> {
        Ok(false)
    }

    /// Whether a sandbox wanted more processes than it may have, so far. A driver without limits has nothing to tell.
    async fn out_of_processes(&self, _id: &SandboxId) -> Result<bool, DriverError> {
        Ok(false)
    }

    /// Stops all processes of a sandbox where they are, until [`Driver::thaw`]: it takes no processor time, keeps its
    /// memory, and answers nobody, so that nobody should ask. On an error they go on. [`Capabilities::freezes`] says
    /// beforehand whether this can be done.
    async fn freeze(&self, _id: &SandboxId) -> Result<(), DriverError> {
        let reason = format!("the driver `{}` cannot stop a sandbox where it is", self.kind());
        Err(DriverError::Unavailable { reason, hint: "Set `pool.desktop` to 0.".to_owned() })
    }

    /// Lets a sandbox go on, frozen or not, and from now on with the rank of every other, whatever its
    /// [`Priority`] was.
    async fn thaw(&self, _id: &SandboxId) -> Result<(), DriverError> {
        Ok(())
    }

    /// Ends a sandbox, a frozen one too, and removes everything that it had on this host.
    async fn destroy(&self, id: &SandboxId) -> Result<(), DriverError>;

    /// The last bytes (at most `max`) of what the sandbox's first process
    /// printed. Empty when there is nothing.
    async fn console(&self, id: &SandboxId, max: usize) -> Result<Vec<u8>, DriverError>;
}

/// A byte stream to an agent.
pub type Stream = Box<dyn Duplex>;

/// What a byte stream must be able to do.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Duplex for T {}

/// What a driver can do, so that callers need not know its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// The inside cannot reach the outside but through the egress gateway. False only for `sim`.
    pub isolates: bool,
    /// The root is an image. Without it, `sim` runs on the host's own files.
    pub uses_image: bool,
    /// Memory, cpu, pids and disk limits hold.
    pub limits: bool,
    /// Sandboxes can be stopped where they are ([`Driver::freeze`]).
    pub freezes: bool,
}

/// Whether a driver can work on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// Whether it can.
    pub available: bool,
    /// What was found, or what is missing.
    pub reason: String,
    /// What to do about it, when it cannot.
    pub hint: Option<String>,
}

/// The name of a sandbox: `sbx_` and 16 characters of `a-z2-7`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxId(String);

impl SandboxId {
    const RANDOM_CHARS: usize = 16;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Text that is not the name of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the id of a sandbox")]
pub struct NotASandboxId(String);

impl FromStr for SandboxId {
    type Err = NotASandboxId;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let ok = s.strip_prefix("sbx_").is_some_and(|rest| {
            rest.len() == Self::RANDOM_CHARS && rest.bytes().all(|b| matches!(b, b'a'..=b'z' | b'2'..=b'7'))
        });
        if ok { Ok(Self(s.to_owned())) } else { Err(NotASandboxId(s.to_owned())) }
    }
}

impl TryFrom<String> for SandboxId {
    type Error = NotASandboxId;

    fn try_from(s: String) -> Result<Self, Self::Error> {
        s.parse()
    }
}

impl From<SandboxId> for String {
    fn from(id: SandboxId) -> Self {
        id.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a sandbox is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSpec {
    /// The image's ext4 file. Ignored by a driver that uses none.
    pub image: PathBuf,
    /// The image's content id, as `image list` shows it.
    pub image_id: String,
    /// What it may use.
    pub limits: Limits,
    /// A PEM file with CA certificates that the sandbox trusts beside those of its image.
    pub ca_file: Option<PathBuf>,
    /// How its making ranks beside what runs already.
    pub priority: Priority,
}

/// How the making of a sandbox ranks. Once somebody has them, all are alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for it.
    #[default]
    Normal,
    /// Nobody waits for it: its making gives way to all that runs. A driver without limits makes no difference.
    Background,
    /// Nobody waits for what is started in it either: that gives way too, until [`Driver::thaw`].
    UntilThawed,
}

/// What a sandbox may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory in MiB, its files included: they lie in memory.
    pub memory_mib: u64,
    /// Processors' worth of time; fractions are allowed.
    pub cpus: Cpus,
    /// Processes and threads.
    pub pids: u64,
    /// The writable layer in MiB.
    pub disk_mib: u64,
}

/// Files and folders in a MiB of the writable layer at most: 8 KiB each, on average. One takes some 2 KiB of the
/// kernel's memory, which counts in the limit, and time when the sandbox ends: seconds for a million.
const FILES_PER_MIB: u64 = 128;

impl Limits {
    /// Files and folders that may be made.
    pub fn files(&self) -> u64 {
        self.disk_mib * FILES_PER_MIB
    }
}

/// Processors in thousandths, written and read as a decimal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "f64", into = "f64")]
pub struct Cpus {
    /// Thousandths of a processor.
    pub milli: u32,
}

impl From<f64> for Cpus {
    fn from(cpus: f64) -> Self {
        Self { milli: (cpus * 1000.0).round().clamp(0.0, f64::from(u32::MAX)) as u32 }
    }
}

impl From<Cpus> for f64 {
    fn from(cpus: Cpus) -> Self {
        f64::from(cpus.milli) / 1000.0
    }
}

/// A sandbox as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Which.
    pub id: SandboxId,
    /// How it is.
    pub phase: Phase,
}

/// How a sandbox is, as its driver sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Something of it is there, but it was never started or is only half removed.
    Partial,
    /// Its first process runs.
    Running,
    /// Its first process has ended.
    Ended {
        /// The kernel ended a process of it for want of memory.
        out_of_memory: bool,
    },
}

/// Something that runs like a sandbox's and is none of those that are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stray {
    /// A whole sandbox.
    Sandbox {
        /// Which.
        id: SandboxId,
        /// How many processes it has.
        processes: usize,
        /// The folder of the driver that made it, as far as that can be told.
        made_in: Option<PathBuf>,
    },
    /// A process with a user of a sandbox, outside of all sandboxes.
    Process {
        /// Its number.
        pid: i32,
        /// Its name, in printable ASCII.
        name: String,
        /// Its user's number.
        user: u32,
    },
}

/// Why a driver could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// A sandbox of this id is there already.
    #[error("sandbox `{0}` exists")]
    Exists(SandboxId),
    /// No sandbox of this id, or its first process has ended.
    #[error("sandbox `{0}` is gone")]
    Gone(SandboxId),
    /// The image is missing or cannot be used.
    #[error("image `{image}` cannot be used: {reason}")]
    Image {
        /// Its file.
        image: PathBuf,
        /// Why.
        reason: String,
    },
    /// This host cannot do it.
    #[error("{reason}")]
    Unavailable {
        /// What is missing.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// A step did not work.
    #[error("{step}: {reason}")]
    Step {
        /// What was being done.
        step: &'static str,
        /// The system's or the program's words.
        reason: String,
    },
}
