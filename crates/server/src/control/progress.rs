//! How far a run's tool has been heard: what its row keeps for a server that takes over from this one.

use super::{Inner, fault, run::Said, say::Say};
use crate::{
    domain::failure::Failure,
    providers::{Dialogue, Outcome},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

/// How far the words of a run's tool are stored as events. It changes in the transaction that stores them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes of the tool's standard output that were understood and stored: whole lines.
    pub stdout: u64,
    /// The state of the dialogue there.
    pub dialogue: serde_json::Value,
    /// How many bytes the tool had been told before [`Progress::unsaid`].
    pub said: u64,
    /// What it is told that may not have reached it, as base64: a cut may lie inside a character.
    pub unsaid: String,
    /// Which version of the connection it was let in with.
    pub connection: Option<i64>,
    /// How it ended, once the tool has said so: the end itself is stored later, when its files are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// How far a tool was heard, that has printed and understood this much.
pub(super) fn of(stdout: u64, dialogue: &dyn Dialogue, say: &Say, connection: Option<i64>) -> Progress {
    let (said, unsaid) = say.unsaid();
    Progress {
        stdout,
        dialogue: dialogue.save(),
        said,
        unsaid: BASE64_STANDARD.encode(unsaid),
        connection,
        outcome: None,
    }
}

/// What was said in a run until now, from its events.
pub(super) async fn heard(inner: &Inner, run: &str) -> Result<Said, Failure> {
    let (mut said, mut after) = (Said::default(), 0);
    loop {
        let events = inner.store.events_after(run, after).await.map_err(fault)?;
        let Some(last) = events.last() else { return Ok(said) };
        after = last.seq;
        events.iter().for_each(|event| said.note(&event.body));
    }
}
