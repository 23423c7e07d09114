//! The stages of a login: how far its desktop is.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The longest that is told of what a stage waits for, characters.
const WAITING_MAX: usize = 200;

/// The longest that is told of a tool's answer, characters: what `claude auth status` says has some 300.
const ANSWER_MAX: usize = 1000;

/// A part of getting ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageName {
    /// A place for it, and a sandbox.
    Allocating,
    /// The sandbox, to where its agent answers.
    Starting,
    /// What the desktop consists of.
    Desktop,
    /// The terminal, to where it hears keys.
    Ready,
}

/// How far a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StageState {
    /// It comes after others.
    Pending,
    /// It is under way.
    Active,
    /// It is done.
    Done,
    /// The login ended in it.
    Failed,
}

/// A stage of a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = LoginStage)]
pub struct Stage {
    /// Which.
    pub name: StageName,
    /// How far it is.
    pub state: StageState,
    /// When it was begun, Unix milliseconds; written as RFC 3339.
    #[serde(with = "moment")]
    #[schema(value_type = Option<String>)]
    pub started_at: Option<i64>,
    /// How long it took, milliseconds, once it is over.
    pub took_ms: Option<i64>,
    /// What it waits for.
    pub waiting_for: Option<String>,
}

impl Stage {
    pub(super) fn pending(name: StageName) -> Self {
        Self { name, state: StageState::Pending, started_at: None, took_ms: None, waiting_for: None }
    }

    /// Ends it. The time that it was, which is not before its start.
    pub(super) fn end(&mut self, state: StageState, at: i64) -> i64 {
        let from = *self.started_at.get_or_insert(at);
        let at = at.max(from);
        (self.state, self.took_ms) = (state, Some(at - from));
        if state == StageState::Done {
            self.waiting_for = None;
        }
        at
    }
}

/// What the guest says, as it may be told: short, and on one line.
pub fn words(said: &str) -> String {
    said.chars().filter(|c| !c.is_control()).take(WAITING_MAX).collect()
}

/// What a tool in the guest answers, as it may be told: its words with a space between each two.
pub fn answer(said: &str) -> String {
    let words: Vec<&str> = said.split_whitespace().collect();
    words.join(" ").chars().filter(|c| !c.is_control()).take(ANSWER_MAX).collect()
}

/// Unix milliseconds as RFC 3339, in rows and in what is told.
mod moment {
    use crate::domain::time;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(at: &Option<i64>, to: S) -> Result<S::Ok, S::Error> {
        at.map(time::rfc3339).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
        let text: Option<String> = Option::deserialize(from)?;
        text.map(|text| time::parse_rfc3339(&text).ok_or_else(|| D::Error::custom("no time"))).transpose()
    }
}
