//! Images: what sandboxes are made from.
//!
//! An image is one ext4 file that serves every driver, read-only. It is made
//! from a [`Recipe`] that this program carries, kept in an [`ImageStore`], and
//! known by its content id: a hash over all that the recipe says, so that
//! building twice without change does nothing.
//!
//! ```text
//! <dir>/.lock                 held by whoever builds or prunes
//! <dir>/.build-…              a build under way, or left by one that was killed
//! <dir>/cli-<id16>.ext4       an image
//! <dir>/cli-<id16>.json       what is known of it: the image is there when this is
//! <dir>/cli.json              a link to the current image's
//! ```
//!
//! Inside, `/etc/polydev/image.json` tells the content id. To run an image's
//! tools on the host itself, mount its file (`mount -o ro,loop FILE DIR`) and
//! call what the links in `DIR/usr/local/bin` lead to: they are absolute, so
//! put `DIR` before them.

mod desktop;
mod ext4;
mod prove;
mod recipe;
mod store;
mod tree;
mod verify;

pub use recipe::Recipe;
pub use store::{Built, ImageStore};
pub use verify::{Check, Report};

use crate::cmd::CmdError;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

/// The user that tools run as in every image, and its group: the same number for both.
pub const UID: u32 = 10001;
/// That user's name, and the host name inside.
pub const USER: &str = "polydev";
/// Its home.
pub const HOME: &str = "/home/polydev";
/// Where a run works. It belongs to [`UID`].
pub const WORKSPACE: &str = "/workspace";
/// Where an image tells its kind, content id and tools: `{"kind","id","tools"}`.
pub const IDENTITY: &str = "/etc/polydev/image.json";
/// A folder with empty files `agent` and `ca.pem`, for a driver to mount on.
pub const MOUNT_POINTS: &str = "/.polydev";

/// The kinds of image there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// For sandboxes without a desktop: the tools, git, ripgrep.
    Cli,
    /// All that, and a desktop to sign in at.
    Desktop,
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[Self::Cli, Self::Desktop];

    /// Its name, as on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Desktop => "desktop",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text that names no kind of image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no image `{0}`: there are `cli` and `desktop`")]
pub struct NoSuchKind(String);

impl FromStr for Kind {
    type Err = NoSuchKind;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == s).ok_or_else(|| NoSuchKind(s.to_owned()))
    }
}

/// A built image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    /// What it is for.
    pub kind: Kind,
    /// Its content id: 64 hex digits over all that it was made from.
    pub id: String,
    /// Its ext4 file.
    pub path: PathBuf,
    /// The file's SHA-256 in hex, as it was when it was built.
    pub sha256: String,
    /// The file's length in bytes.
    pub size: u64,
    /// Each tool's pinned version by the tool's name.
    pub tools: BTreeMap<String, String>,
    /// When it was built, in Unix milliseconds.
    pub built_at_ms: i64,
    /// Whether sandboxes of its kind are made from it.
    pub current: bool,
    /// Whether this program would make the same: no when it carries a newer recipe.
    pub up_to_date: bool,
}

/// The parts of a build, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Debian's packages.
    Bootstrap,
    /// The tools from npm.
    Tools,
    /// The user, the identity, and away with what is not needed.
    Trim,
    /// What programs would otherwise prepare in every sandbox anew.
    Warm,
    /// One ext4 file.
    Filesystem,
    /// The proof that it works.
    Verify,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bootstrap => "bootstrap",
            Self::Tools => "tools",
            Self::Trim => "trim",
            Self::Warm => "warm",
            Self::Filesystem => "filesystem",
            Self::Verify => "verify",
        })
    }
}

/// What a build tells while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Another process builds or prunes in the same folder, and is waited for.
    Waiting,
    /// A stage begins.
    Started(Stage),
    /// A line that a stage's program printed.
    Line(Stage, String),
    /// A stage is done, and took so long.
    Finished(Stage, Duration),
}

/// Who is told of a build's progress.
pub type OnProgress<'a> = &'a mut (dyn FnMut(Progress) + Send);

/// What an image can be made from. [`Recipe`] is the one that counts; a test has its own.
#[async_trait]
pub trait Source: Send + Sync {
    /// The kind of image that it makes.
    fn kind(&self) -> Kind;
    /// The content id: equal inputs have equal ids, whoever builds. 64 hex digits.
    fn id(&self) -> String;
    /// Each tool's version by its name.
    fn tools(&self) -> BTreeMap<String, String>;
    /// Unix seconds that no file in the image is younger than.
    fn epoch(&self) -> u64;
    /// Fills `root`, an empty folder, with all that the image shall hold.
    async fn fill(&self, root: &Path, progress: OnProgress<'_>) -> Result<(), ImageError>;
}

/// Why there is no image, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// It was never built here.
    #[error("image `{kind}` is missing from `{}`", dir.display())]
    Missing {
        /// Which.
        kind: Kind,
        /// Where it would be.
        dir: PathBuf,
    },
    /// It is not what was built.
    #[error("image `{}` is corrupt: {reason}", path.display())]
    Corrupt {
        /// Which.
        kind: Kind,
        /// The file that is wrong.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// This host or user cannot build images.
    #[error("images cannot be built here: {reason}")]
    CannotBuild {
        /// Why.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// A stage's program did not do its work.
    #[error("{stage}: {error}")]
    Stage {
        /// Which stage.
        stage: Stage,
        /// What the program said.
        error: CmdError,
    },
    /// A file could not be read or written.
    #[error("`{}`: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// The new image did not stand the proof, and was thrown away.
    #[error("image `{kind}` was built and does not work: {failed}")]
    Unproven {
        /// Which.
        kind: Kind,
        /// The checks that it did not stand, and what they saw.
        failed: String,
    },
}

impl ImageError {
    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { kind, .. } => Some(format!("polydev image build {kind}")),
            Self::Corrupt { kind, .. } => Some(format!("polydev image build {kind} makes it anew")),
            Self::CannotBuild { hint, .. } => Some(hint.clone()),
            Self::Stage { error: CmdError::Missing { .. }, .. } => Some("install it and build again".to_owned()),
            Self::Stage { .. } | Self::File { .. } => {
                Some("the image that was there before is still in place".to_owned())
            }
            Self::Unproven { .. } => Some("polydev doctor tells whether this host can run sandboxes".to_owned()),
        }
    }

    pub(crate) fn at(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |error| Self::File { path, error }
    }

    pub(crate) fn stage(stage: Stage) -> impl FnOnce(CmdError) -> Self {
        move |error| Self::Stage { stage, error }
    }
}
