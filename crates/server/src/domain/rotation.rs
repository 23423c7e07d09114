//! The change of the master key, while the server and its runs go on.
//!
//! ```text
//!   begun       [old] ─► [new, old]      on the disk for good, before anything is sealed under it
//!   announced   the server that runs reads its keys again, and says that it has the new one
//!   turned      from now on everything is sealed under the new one: a connection, what a run made of its login
//!   resealed    what is still under another key is sealed anew, unless somebody stores another secret meanwhile
//!   proven      everything opens under the new key alone
//!   retired     [new, old] ─► [new]      after the database is on the disk for good
//! ```
//! A kill -9 at any moment leaves keys and secrets that fit together: whoever begins anew goes on with the key that
//! was begun. Nothing is done twice that matters.

use super::vault::{KeyError, keys};
use crate::{
    store::{Store, StoreError, Watch, credentials::TABLE, vault::SealedRow},
    vault::{KeyId, KeySource, Rotating, RowBinding, Vault, VaultError, sealed_under},
};
use secrecy::ExposeSecret;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How many secrets are read at once.
const PAGE: i64 = 50;
/// How long the server that runs may take until it has the new key. It looks every second.
const LEARNT_WITHIN: Duration = Duration::from_secs(10);
/// How often it is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// How many credentials that do not open are named.
const NAMED_MAX: usize = 5;

/// Why a master key was not changed, or not to the end.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The key is not polydev's to change, and there is no new one.
    #[error("the master key is in {0}, which polydev cannot change")]
    NotOurs(String),
    /// The server that runs does not have the new key.
    #[error("the server that runs does not have the new master key `{new}`, which is in {place}")]
    NotLearnt {
        /// The new key.
        new: KeyId,
        /// Where it was put.
        place: String,
    },
    /// Another rotation goes to another key.
    #[error("another rotation has begun with another master key than `{0}`")]
    Overtaken(KeyId),
    /// Some secrets do not open.
    #[error("{}", some(rows))]
    Unopened {
        /// Each with the reason.
        rows: Vec<String>,
    },
    /// The keys.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl From<VaultError> for RotateError {
    fn from(error: VaultError) -> Self {
        Self::Key(error.into())
    }
}

impl From<StoreError> for RotateError {
    fn from(error: StoreError) -> Self {
        Self::Key(error.into())
    }
}

/// What a rotation has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// There is a new key, or one that an earlier rotation had begun with.
    Begun {
        /// The key.
        key: KeyId,
        /// It was begun with earlier.
        earlier: bool,
    },
    /// The server that runs has the new key, or none runs.
    Announced,
    /// The new key seals.
    Turned,
    /// So many secrets have been looked at.
    Resealed(u64),
    /// So many secrets open under the new key alone.
    Proven(u64),
    /// What was proven outlives a power cut.
    Settled,
}

/// What a rotation has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The master key that everything is sealed under now.
    pub key: KeyId,
    /// Those that nothing is sealed under any more.
    pub retired: Vec<KeyId>,
    /// How many secrets there are.
    pub credentials: u64,
    /// It went on with a rotation that had been begun.
    pub earlier: bool,
    /// Why the retired keys are still where they were, when polydev could not remove them.
    pub left: Option<String>,
}

/// Seals everything in this database under a new master key. `watch` is of the same database; `tell` hears of every
/// step when it is done.
///
/// # Errors
/// The key is not there or not polydev's to change, the server that runs cannot follow, or a secret does not open.
/// The old key is then where it was, and the next rotation goes on.
pub async fn rotate(
    store: &Store,
    watch: &Watch,
    source: &KeySource,
    mut tell: impl FnMut(Step),
) -> Result<Rotated, RotateError> {
    let known = keys(store).await?;
    let file = match source {
        KeySource::File(path) => Some(Rotating::begin(path).map_err(|error| error.with(&known.sealed()))?),
        KeySource::Variable(_) | KeySource::Credential(_) => None,
    };
    let vault = Vault::open(source, &known.sealed())?;
    // What does not open now would keep the rotation from its end.
    open_all(store, &vault).await?;

    let earlier = vault.keys().len() > 1;
    let new = match (&file, earlier) {
        (_, true) => vault.keys()[0],
        (Some(file), false) => file.add()?,
        (None, false) => return Err(RotateError::NotOurs(source.to_string())),
    };
    vault.learn(new)?;
    let retired: Vec<KeyId> = vault.keys().into_iter().filter(|key| *key != new).collect();
    tell(Step::Begun { key: new, earlier });

    if known.sealing != Some(new) {
        announce(store, watch, source, new).await?;
        tell(Step::Announced);
        if !store.turn_key(&new.to_string()).await? {
            return Err(RotateError::Overtaken(new));
        }
    }
    tell(Step::Turned);

    reseal(store, &vault, new, &mut tell).await?;
    let credentials = open_all(store, &Vault::alone(source, new)?).await?;
    tell(Step::Proven(credentials));
    store.settle_key().await?;
    tell(Step::Settled);

    let left = match file.map(|file| file.retire_all_but(new)) {
        Some(Ok(_)) => None,
        Some(Err(error)) => Some(crate::cli::output::chain(&error)),
        None => Some(format!("they are in {source}, which polydev cannot change")),
    };
    Ok(Rotated { key: new, retired, credentials, earlier, left })
}

/// Waits until the server that runs has the new key. One that starts from now on reads it anyway.
async fn announce(store: &Store, watch: &Watch, source: &KeySource, new: KeyId) -> Result<(), RotateError> {
    store.announce_key(&new.to_string()).await?;
    let (deadline, mut often) = (Instant::now() + LEARNT_WITHIN, interval(ASK_EVERY));
    often.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !keys(store).await?.learnt && watch.server_works().await? {
        if Instant::now() > deadline {
            // Nothing is sealed under it: the server may go on for as long as it likes.
            store.settle_key().await?;
            return Err(RotateError::NotLearnt { new, place: source.to_string() });
        }
        often.tick().await;
    }
    Ok(())
}

async fn reseal(store: &Store, vault: &Vault, new: KeyId, tell: &mut impl FnMut(Step)) -> Result<(), RotateError> {
    let (mut seen, mut after) = (0, String::new());
    loop {
        let page = store.sealed_after(&after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after.clone_from(&last.id);
        for row in page.iter().filter(|row| sealed_under(&row.encrypted_data) != Some(new)) {
            let secret = vault.unseal(&binding(row), &row.encrypted_data)?;
            let anew = vault.seal(new, &binding(row), secret.expose_secret())?;
            // If it was changed or forgotten meanwhile, that was under the new key: it has turned.
            store.reseal(row, anew).await?;
        }
        seen += page.len() as u64;
        tell(Step::Resealed(seen));
    }
}

/// Opens every secret with the keys of this vault, and says how many there are.
async fn open_all(store: &Store, vault: &Vault) -> Result<u64, RotateError> {
    let (mut seen, mut after, mut unopened) = (0, String::new(), Vec::new());
    loop {
        let page = store.sealed_after(&after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.id);
        for row in &page {
            if let Err(error) = vault.unseal(&binding(row), &row.encrypted_data) {
                unopened.push(format!("`{}` of {}: {error}", row.id, row.provider));
            }
        }
        seen += page.len() as u64;
    }
    if unopened.is_empty() { Ok(seen) } else { Err(RotateError::Unopened { rows: unopened }) }
}

fn binding(row: &SealedRow) -> RowBinding<'_> {
    RowBinding { table: TABLE, id: &row.id, user: &row.user_id, provider: &row.provider }
}

/// So many of them, and the first few.
fn some(rows: &[String]) -> String {
    let more = rows.len().saturating_sub(NAMED_MAX);
    let named = rows.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join("; ");
    let credentials = if rows.len() == 1 { "a credential".to_owned() } else { format!("{} credentials", rows.len()) };
    let rest = if more == 0 { String::new() } else { format!("; and {more} more") };
    format!("{credentials} cannot be opened: {named}{rest}")
}
