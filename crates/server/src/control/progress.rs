//! How far a run's tool has been heard: what its row keeps for a server that takes over from this one.

use super::{Inner, run::Said, say::Say, secrets::Held};
use crate::{
    domain::connections::SecretVersion,
    providers::{Dialogue, Outcome},
    store::{StoreError, runs::End},
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
    /// Which secret it was let in with.
    pub connection: Option<SecretVersion>,
    /// What of its words was understood and is not stored, for it may be the beginning of a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// How it ended, once the tool has said so: the end itself is stored later, when its files are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// How far a tool was heard, that has printed and understood this much.
pub(super) fn of(stdout: u64, dialogue: &dyn Dialogue, say: &Say, connection: Option<SecretVersion>) -> Progress {
    let (said, unsaid) = say.unsaid();
    Progress {
        stdout,
        dialogue: dialogue.save(),
        said,
        unsaid: BASE64_STANDARD.encode(unsaid),
        connection,
        held: None,
        outcome: None,
    }
}

/// What was said in a run until now, from its events.
pub(super) async fn heard(inner: &Inner, run: &str) -> Result<Said, StoreError> {
    let (mut said, mut after) = (Said::default(), 0);
    loop {
        let events = inner.store.events_after(run, after).await?;
        let Some(last) = events.last() else { return Ok(said) };
        after = last.seq;
        events.iter().for_each(|event| said.note(&event.body));
    }
}

/// The end of a run whose tool had said its last, when only that was not stored. `None`: it had not.
pub(super) async fn end(inner: &Inner, run: &str) -> Result<Option<End>, StoreError> {
    Ok(match inner.store.progress(run).await?.and_then(|progress| progress.outcome) {
        None => None,
        Some(Outcome::Failed(error)) => Some(End::Failed { error }),
        Some(Outcome::Answered { usage }) => {
            let said = heard(inner, run).await?;
            Some(End::Completed { text: said.text, usage: usage.or(said.usage) })
        }
    })
}
