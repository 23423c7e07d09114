//! A run: one prompt, given to a provider's tool.
//!
//! ```text
//!              start               answer
//!   queued ───────────► running ───────────► completed
//!     │ │ ◄───────────────┤ │
//!     │ │    put back     │ │      fail
//!     │ └──── fail ───────┼─┴──────────────► failed
//!     │                   │        stop
//!     └────── cancel ─────┴────────────────► cancelled
//! ```
//! It is put back when its server was stopped before its tool was started.
//!
//! The wish to cancel is a column of the row; it becomes the state when the
//! tool is gone.

use super::{
    event::Usage,
    failure::{Code, Failure},
    idempotency::Claim,
};
use crate::providers::Tools;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use utoipa::ToSchema;

/// The longest prompt, in bytes.
pub const PROMPT_MAX: usize = 1024 * 1024;
/// The largest file that can be given to a run, or that is kept of one, in bytes.
pub const FILE_MAX: usize = 10 * 1024 * 1024;
/// The most files that can be given to a run, or that are kept of one.
pub const FILES_MAX: usize = 1000;
/// The longest time a run may ask for, in seconds: a day.
pub const TIMEOUT_MAX_S: i64 = 86_400;
/// The most bytes of `metadata`, as JSON.
pub const METADATA_MAX: usize = 16 * 1024;

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = RunStatus)]
pub enum Status {
    /// Accepted; waits for a place.
    Queued,
    /// Its sandbox is being made, or its tool runs.
    Running,
    /// It has an answer.
    Completed,
    /// It has none, and says why.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl Status {
    /// As it stands in the database and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads what [`Status::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|status| status.as_str() == text)
    }

    /// Whether nothing more will happen.
    pub fn is_over(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Completed | Self::Failed | Self::Cancelled => true,
        }
    }

    /// Where `change` leads from here. `None`: it cannot happen in this state.
    pub fn after(self, change: Change) -> Option<Self> {
        match (self, change) {
            (Self::Queued, Change::Start) => Some(Self::Running),
            (Self::Running, Change::PutBack) => Some(Self::Queued),
            (Self::Running, Change::Answer) => Some(Self::Completed),
            (Self::Queued | Self::Running, Change::Fail) => Some(Self::Failed),
            (Self::Queued | Self::Running, Change::Cancel) => Some(Self::Cancelled),
            (Self::Queued, Change::Answer | Change::PutBack)
            | (Self::Running, Change::Start)
            | (Self::Completed | Self::Failed | Self::Cancelled, _) => None,
        }
    }
}

/// What can happen to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A sandbox is being made for it.
    Start,
    /// Its server was stopped before its tool was started.
    PutBack,
    /// Its tool has answered.
    Answer,
    /// It did not work.
    Fail,
    /// It was cancelled and its tool is gone.
    Cancel,
}

/// A run as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// `run_…`.
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// Which provider.
    pub provider: String,
    /// Where it stands.
    pub status: Status,
    /// The model that was asked for.
    pub model: Option<String>,
    /// The conversation that it belongs to.
    pub conversation: Option<String>,
    /// The prompt.
    pub prompt: String,
    /// What to add to the tool's system prompt.
    pub system: Option<String>,
    /// Which of its own tools the tool may use.
    pub tools: Tools,
    /// How long it may take, in seconds.
    pub timeout_s: i64,
    /// The caller's own notes.
    pub metadata: Option<serde_json::Value>,
    /// The answer.
    pub text: Option<String>,
    /// What was used.
    pub usage: Option<Usage>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// Its sandbox, once it has one.
    pub sandbox_id: Option<String>,
    /// When somebody asked to cancel it, Unix milliseconds.
    pub cancel_requested_at: Option<i64>,
    /// When it was accepted, Unix milliseconds.
    pub created_at: i64,
    /// When it left the queue, Unix milliseconds.
    pub started_at: Option<i64>,
    /// When it ended, Unix milliseconds.
    pub finished_at: Option<i64>,
}

/// A file for a run's `/workspace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkFile {
    /// Path below `/workspace`.
    pub path: String,
    /// What is in it.
    pub content: Vec<u8>,
}

/// What a person asks for.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Which provider.
    pub provider: String,
    /// The prompt.
    pub prompt: String,
    /// The model; the provider's default when none.
    pub model: Option<String>,
    /// What to add to the tool's system prompt.
    pub system: Option<String>,
    /// Which of its own tools the tool may use.
    pub tools: Tools,
    /// How long it may take, in seconds.
    pub timeout_s: Option<i64>,
    /// The caller's own notes.
    pub metadata: Option<serde_json::Value>,
    /// Files for `/workspace`.
    pub files: Vec<WorkFile>,
    /// The `Idempotency-Key` that it was asked with: of one there is one run.
    pub claim: Option<Claim>,
}

impl Wish {
    /// Refuses what no run can be made of, naming the field.
    pub fn check(&self) -> Result<(), Failure> {
        let invalid = |message: String| Err(Failure::new(Code::InvalidRequest, message));
        if self.prompt.trim().is_empty() {
            return invalid("`prompt` is empty".into());
        }
        if self.prompt.len() > PROMPT_MAX {
            return invalid(format!("`prompt` has {} bytes, at most {PROMPT_MAX} are allowed", self.prompt.len()));
        }
        let texts = [("prompt", Some(&self.prompt)), ("system", self.system.as_ref()), ("model", self.model.as_ref())];
        if let Some((name, _)) = texts.iter().find(|(_, text)| text.is_some_and(|text| text.contains('\0'))) {
            return invalid(format!("`{name}` contains a NUL character"));
        }
        if self.system.as_ref().is_some_and(|text| text.len() > PROMPT_MAX) {
            return invalid(format!("`system` has more than {PROMPT_MAX} bytes"));
        }
        if let Some(model) = &self.model {
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:/@[]".contains(c);
            if model.is_empty() || model.len() > 128 || model.starts_with('-') || !model.chars().all(fits) {
                return invalid(format!(
                    "`model` is not the name of a model: {:?}",
                    model.chars().take(64).collect::<String>()
                ));
            }
        }
        if let Some(timeout_s) = self.timeout_s
            && !(1..=TIMEOUT_MAX_S).contains(&timeout_s)
        {
            return invalid(format!("`timeout_s` is {timeout_s}, it must be from 1 to {TIMEOUT_MAX_S}"));
        }
        if let Some(metadata) = &self.metadata {
            if !metadata.is_object() {
                return invalid("`metadata` must be an object".into());
            }
            if metadata.to_string().len() > METADATA_MAX {
                return invalid(format!("`metadata` has more than {METADATA_MAX} bytes"));
            }
        }
        if self.files.len() > FILES_MAX {
            return invalid(format!("`files` has {} entries, at most {FILES_MAX} are allowed", self.files.len()));
        }
        let mut paths = HashSet::new();
        for (at, file) in self.files.iter().enumerate() {
            check_path(&file.path).or_else(|reason| invalid(format!("`files[{at}].path` {reason}")))?;
            if file.content.len() > FILE_MAX {
                return invalid(format!("`files[{at}]` has more than {FILE_MAX} bytes"));
            }
            if !paths.insert(file.path.as_str()) {
                return invalid(format!("`files[{at}].path` stands there twice: `{}`", file.path));
            }
        }
        for (at, file) in self.files.iter().enumerate() {
            let mut folders = file.path.match_indices('/').map(|(end, _)| &file.path[..end]);
            if let Some(folder) = folders.find(|folder| paths.contains(folder)) {
                return invalid(format!("`files[{at}].path` lies in `{folder}`, which is a file"));
            }
        }
        Ok(())
    }
}

/// The longest path of a file in `/workspace`, in bytes.
const PATH_MAX: usize = 1024;
/// The longest name of a file that Linux takes, in bytes.
const NAME_MAX: usize = 255;

/// Refuses a path of a run's file that could lead out of the folder that it is for, here or on another
/// system, or that a terminal would obey.
pub fn check_path(path: &str) -> Result<(), String> {
    if path.is_empty() || path.len() > PATH_MAX || path.contains('\\') || path.contains(char::is_control) {
        return Err("is not a relative path of plain characters".into());
    }
    if path.starts_with('/') || path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(format!("must be relative, without `.`, `..` and empty parts: `{path}`"));
    }
    if path.split('/').any(|part| part.len() > NAME_MAX) {
        return Err(format!("has a part of more than {NAME_MAX} bytes"));
    }
    Ok(())
}
