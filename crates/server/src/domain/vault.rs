//! The vault of a database: which of its master keys seals, and what it can open.

use crate::{
    cli::output::chain,
    store::{Store, StoreError},
    vault::{KeyId, KeySource, Vault, VaultError},
};
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often a server looks whether its master key is being changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why the vault of a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The next master key cannot be found.
    #[error("the next master key `{0}` is not where this server has its own from: start it again with both")]
    NotLearnt(KeyId),
    /// The vault.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is known of the master keys of a database.
#[derive(Debug)]
pub struct Keys {
    /// The one that seals; none before the first start of a server.
    pub sealing: Option<KeyId>,
    /// The one that a rotation under way gives everything.
    pub next: Option<KeyId>,
    /// Whether the server that runs can open what is under that one.
    pub learnt: bool,
    /// Those that there are secrets under, each with how many.
    pub sealed: Vec<(KeyId, i64)>,
}

impl Keys {
    /// How many secrets are under other keys than these.
    pub fn under_others(&self, than: &[KeyId]) -> i64 {
        self.sealed.iter().filter(|(key, _)| !than.contains(key)).map(|(_, n)| n).sum()
    }

    /// The keys that there are secrets under.
    pub fn sealed(&self) -> Vec<KeyId> {
        self.sealed.iter().map(|(key, _)| *key).collect()
    }
}

/// What a database says of its master keys.
///
/// # Errors
/// The database.
pub async fn keys(store: &Store) -> Result<Keys, StoreError> {
    let row = store.vault().await?;
    let read = |text: Option<String>| text.map(|text| key(&text)).transpose();
    let next = read(row.next_key_id)?;
    let learnt = read(row.learnt_key_id)?;
    let sealed = store.sealed_under().await?;
    Ok(Keys {
        sealing: read(row.key_id)?,
        next,
        learnt: next.is_some() && learnt == next,
        // What has no whole name of a key is no secret, and whoever opens it is told so.
        sealed: sealed.iter().filter_map(|(key, n)| Some((KeyId::from_bytes(key)?, *n))).collect(),
    })
}

fn key(text: &str) -> Result<KeyId, StoreError> {
    text.parse().map_err(|_| StoreError::Unknown { what: "id of a master key", value: text.to_owned() })
}

/// What would keep a server of this database from its secrets. Nothing is made, and nothing changed.
///
/// # Errors
/// The key is missing, open to others, none, or not one that all secrets are sealed under; or the database.
pub async fn look(store: &Store, source: &KeySource) -> Result<Vec<KeyId>, KeyError> {
    let known = keys(store).await?;
    let found = match source.look() {
        Err(VaultError::Missing(_)) if known.sealed.is_empty() => return Ok(Vec::new()),
        found => found.map_err(|error| error.with(&known.sealed()))?,
    };
    if known.under_others(&found) == 0 {
        return Ok(found);
    }
    Err(VaultError::WrongKey { sealed: known.sealed(), found, place: source.to_string() }.into())
}

/// Opens the vault of this database, for the server that works on it. The master key's file is made if it is missing
/// and nothing is sealed yet.
///
/// # Errors
/// The key is missing, open to others, none, or not the one that the secrets are sealed under.
pub async fn open(store: &Store, source: &KeySource) -> Result<Vault, KeyError> {
    let known = keys(store).await?;
    let vault = Vault::open(source, &known.sealed())?;
    let found = vault.keys();
    for (key, credentials) in known.sealed.iter().filter(|(key, _)| !found.contains(key)) {
        tracing::error!(
            %key, credentials, from = %source,
            "credentials are sealed under a master key that is not there: put it back on a line of its own, behind the \
             others, or have their owners connect again"
        );
    }
    let text = |key: KeyId| key.to_string();
    if known.sealing.is_none_or(|key| !found.contains(&key)) {
        store.begin_sealing(known.sealing.map(text).as_deref(), &text(found[0])).await?;
    }
    let learnt = known.next.filter(|key| found.contains(key)).map(text);
    store.server_has_key(learnt.as_deref()).await?;
    tracing::info!(keys = ?found, from = %source, "the vault is open");
    Ok(vault)
}

/// The key that a secret is to be sealed under: as the database says, or the newest.
///
/// # Errors
/// What the database says is no key.
pub(super) fn sealing(vault: &Vault, said: Option<&str>) -> Result<KeyId, StoreError> {
    said.map_or_else(|| Ok(vault.keys()[0]), key)
}

/// Follows rotations by another process until it is told to stop: learns the next key and says so, and forgets the
/// ones that were retired.
pub async fn follow_forever(store: Store, vault: &Vault, stop: CancellationToken) {
    let mut often = interval(LOOK_EVERY);
    often.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = often.tick() => {}
        }
        let followed = follow(&store, vault).await.map_err(|error| chain(&error));
        if let Err(error) = &followed
            && told.as_ref() != Some(error)
        {
            tracing::warn!(error, "the master key is being changed, and this server cannot follow");
        }
        told = followed.err();
    }
}

/// One step of it.
///
/// # Errors
/// The database, or the next key cannot be had.
pub async fn follow(store: &Store, vault: &Vault) -> Result<(), KeyError> {
    let row = store.vault().await?;
    match (row.next_key_id, row.key_id) {
        (Some(next), _) if row.learnt_key_id.as_ref() != Some(&next) => {
            if !vault.learn(key(&next)?)? {
                return Err(KeyError::NotLearnt(key(&next)?));
            }
            store.server_has_key(Some(&next)).await?;
            tracing::info!(key = next, "a rotation of the master key is under way: the new one is known");
        }
        (None, Some(sealing)) if vault.keys().len() > 1 => vault.forget_retired(key(&sealing)?)?,
        (Some(_) | None, _) => {}
    }
    Ok(())
}
