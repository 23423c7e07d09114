//! The vault: secrets at rest, each under a key of its own, bound to its row.
//!
//! ```text
//!   master key (outside the database) ─wraps─► data key (one a secret) ─seals─► secret
//! ```
//!
//! A vault has the newest master key, and while that is being changed (`domain/rotation.rs`) those before it: each
//! secret says which one it is under. Which one seals is for the database to say.
//!
//! A sealed blob, version 1:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 8 | id of the master key: the first bytes of a SHA-256 of it, so that a wrong key can be named |
//! | 12 + 32 + 16 | the data key under the master key: nonce, ciphertext, tag |
//! | 12 + n + 16 | the secret under the data key: nonce, ciphertext, tag |
//!
//! Both are AES-256-GCM (NIST SP 800-38D) with random nonces and authenticate the version, the key id,
//! what they are (data key or secret) and the row: its table, id, user and provider. A blob that is moved
//! to another row does not open.

mod file;
mod key;
mod source;

pub use file::Rotating;
pub use key::{KeyId, MasterKey};
pub use source::KeySource;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    error::Unspecified,
    rand::{SecureRandom, SystemRandom},
};
use key::names;
use secrecy::SecretSlice;
use std::{
    io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const KEY_LEN: usize = 32;
const TAG_LEN: usize = 16;
const ID_AT: usize = 1;
const DATA_KEY_AT: usize = ID_AT + KeyId::LEN;
const SECRET_AT: usize = DATA_KEY_AT + NONCE_LEN + KEY_LEN + TAG_LEN;

/// Why a secret cannot be had, or the vault itself.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// There is no key file.
    #[error("there is no master key `{}`", .0.display())]
    Missing(PathBuf),
    /// The key file is missing while there are secrets under its key.
    #[error(
        "the master key `{}` is missing, and the database holds secrets under the master key {}: put it back from \
         your backup, or name it with `vault.master_key_file`", path.display(), names(sealed)
    )]
    Lost {
        /// Where it should be.
        path: PathBuf,
        /// The keys that there are secrets under.
        sealed: Vec<KeyId>,
    },
    /// The key file is a link to nothing.
    #[error("the master key `{}` is a link to `{}`, which is not there", path.display(), to.display())]
    Dangling {
        /// The link.
        path: PathBuf,
        /// What it leads to.
        to: PathBuf,
    },
    /// Others than its owner may read the key file.
    #[error("the master key `{}` can be read by others (mode {mode:04o}): run `chmod 600 {}`", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory, a pipe, a device.
    #[error("the master key `{}` is no file", .0.display())]
    NoFile(PathBuf),
    /// The key file cannot be read, made or replaced.
    #[error("the master key `{}` cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process changes the key file.
    #[error("the master key `{}` is being changed by another `polydev vault rotate`", .0.display())]
    Rotated(PathBuf),
    /// What should be a key is none.
    #[error(
        "the master key in {of} {why}: a key is 64 hexadecimal digits, and of several each is on a line of its own"
    )]
    Malformed {
        /// Where it was found.
        of: String,
        /// What it is instead.
        why: String,
    },
    /// Sealed under another master key.
    #[error(
        "secrets are sealed under the master key {}, and {place} has {}: put back the key that sealed them, or name \
         it with `vault.master_key_file`",
        names(sealed),
        names(found)
    )]
    WrongKey {
        /// The keys that sealed.
        sealed: Vec<KeyId>,
        /// The keys that were found.
        found: Vec<KeyId>,
        /// Where, as people read it.
        place: String,
    },
    /// Made by a newer server.
    #[error("a secret is sealed in format {0}, which this polydev does not know: start a newer one")]
    Format(u8),
    /// Changed, cut, or of another row.
    #[error("the secret of `{0}` was changed since it was sealed, or belongs elsewhere")]
    Corrupt(String),
    /// The cryptography itself does not work.
    #[error("sealing does not work on this machine")]
    Crypto,
}

impl VaultError {
    /// The same, where there are secrets under these keys.
    #[must_use]
    pub fn with(self, sealed: &[KeyId]) -> Self {
        match self {
            Self::Missing(path) if !sealed.is_empty() => Self::Lost { path, sealed: sealed.to_vec() },
            other => other,
        }
    }
}

/// The row that a secret belongs to.
#[derive(Debug, Clone, Copy)]
pub struct RowBinding<'a> {
    /// The table.
    pub table: &'a str,
    /// The row's id.
    pub id: &'a str,
    /// Whose it is.
    pub user: &'a str,
    /// The provider.
    pub provider: &'a str,
}

/// Seals and opens secrets.
pub struct Vault {
    source: Option<KeySource>,
    ring: RwLock<Ring>,
}

/// Master keys, ready for use, the newest first.
#[derive(Clone)]
struct Ring(Vec<(KeyId, Arc<RandomizedNonceKey>)>);

impl Ring {
    fn new(keys: &[MasterKey]) -> Result<Self, VaultError> {
        let keys = keys.iter().map(|key| Ok((key.id(), Arc::new(cipher(key.bytes())?))));
        keys.collect::<Result<_, VaultError>>().map(Self)
    }

    fn ids(&self) -> Vec<KeyId> {
        self.0.iter().map(|(id, _)| *id).collect()
    }

    fn get(&self, key: KeyId) -> Option<Arc<RandomizedNonceKey>> {
        self.0.iter().find(|(id, _)| *id == key).map(|(_, cipher)| cipher.clone())
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("keys", &self.keys()).finish_non_exhaustive()
    }
}

impl Vault {
    /// Opens the vault with the master keys of `source`. `sealed` are those that there are secrets under: only where
    /// there are none, a key file that does not exist is made.
    ///
    /// # Errors
    /// The key is missing, open to others, none, or none of those that sealed.
    pub fn open(source: &KeySource, sealed: &[KeyId]) -> Result<Self, VaultError> {
        let keys = match source.read() {
            Err(VaultError::Missing(_)) if sealed.is_empty() => source.make()?,
            keys => keys.map_err(|error| error.with(sealed))?,
        };
        let ring = Ring::new(&keys)?;
        if !sealed.is_empty() && sealed.iter().all(|key| ring.get(*key).is_none()) {
            let found = ring.ids();
            return Err(VaultError::WrongKey { sealed: sealed.to_vec(), found, place: source.to_string() });
        }
        Ok(Self { source: Some(source.clone()), ring: RwLock::new(ring) })
    }

    /// A vault with this key of `source` and no other, for ever.
    ///
    /// # Errors
    /// The key is not there.
    pub fn alone(source: &KeySource, key: KeyId) -> Result<Self, VaultError> {
        let (only, others): (Vec<_>, Vec<_>) = source.read()?.into_iter().partition(|found| found.id() == key);
        if only.is_empty() {
            let found = others.iter().map(MasterKey::id).collect();
            return Err(VaultError::WrongKey { sealed: vec![key], found, place: source.to_string() });
        }
        Ok(Self { source: None, ring: RwLock::new(Ring::new(&only)?) })
    }

    fn ring(&self) -> Ring {
        self.ring.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Which master keys it has, the newest first. Never empty.
    pub fn keys(&self) -> Vec<KeyId> {
        self.ring().ids()
    }

    /// Sees to it that it has this key, and says whether it does: another process may have put it where the others
    /// came from. None that it has is lost by this.
    ///
    /// # Errors
    /// The keys cannot be read again.
    pub fn learn(&self, key: KeyId) -> Result<bool, VaultError> {
        if self.ring().get(key).is_some() {
            return Ok(true);
        }
        let Some(source) = &self.source else { return Ok(false) };
        let mut ring = Ring::new(&source.read()?)?;
        if ring.get(key).is_none() {
            return Ok(false);
        }
        let mut current = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        let kept = current.0.iter().filter(|(id, _)| ring.get(*id).is_none()).cloned().collect::<Vec<_>>();
        ring.0.extend(kept);
        *current = ring;
        Ok(true)
    }

    /// Forgets the keys that are no longer where they came from, if this one still is.
    ///
    /// # Errors
    /// The keys cannot be read again.
    pub fn forget_retired(&self, sealing: KeyId) -> Result<(), VaultError> {
        let Some(source) = &self.source else { return Ok(()) };
        let ring = Ring::new(&source.read()?)?;
        if ring.get(sealing).is_some() {
            *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
        }
        Ok(())
    }

    fn master(&self, key: KeyId) -> Result<Arc<RandomizedNonceKey>, VaultError> {
        self.learn(key)?;
        let ring = self.ring();
        ring.get(key).ok_or_else(|| {
            let place = self.source.as_ref().map_or_else(|| "this vault".to_owned(), ToString::to_string);
            VaultError::WrongKey { sealed: vec![key], found: ring.ids(), place }
        })
    }

    /// Seals a secret for its row under this master key.
    ///
    /// # Errors
    /// The vault does not have it, or the cryptography does not work.
    pub fn seal(&self, under: KeyId, row: &RowBinding<'_>, secret: &[u8]) -> Result<Vec<u8>, VaultError> {
        let master = self.master(under)?;
        let mut data_key = Zeroizing::new([0; KEY_LEN]);
        SystemRandom::new().fill(&mut *data_key)?;
        let mut sealed = Vec::with_capacity(SECRET_AT + NONCE_LEN + secret.len() + TAG_LEN);
        sealed.push(VERSION);
        sealed.extend_from_slice(under.as_bytes());
        seal_part(&master, &context(under, row, Part::DataKey), &*data_key, &mut sealed)?;
        seal_part(&cipher(&data_key)?, &context(under, row, Part::Secret), secret, &mut sealed)?;
        Ok(sealed)
    }

    /// Opens what was sealed for this row.
    ///
    /// # Errors
    /// It is under a key that the vault does not have, of an unknown format, changed, or of another row.
    pub fn unseal(&self, row: &RowBinding<'_>, sealed: &[u8]) -> Result<SecretSlice<u8>, VaultError> {
        let corrupt = || VaultError::Corrupt(format!("{} {}", row.table, row.id));
        match sealed.first() {
            Some(&VERSION) => {}
            Some(&other) => return Err(VaultError::Format(other)),
            None => return Err(corrupt()),
        }
        let (Some(id), Some(data_key), Some(secret)) =
            (sealed_under(sealed), sealed.get(DATA_KEY_AT..SECRET_AT), sealed.get(SECRET_AT..))
        else {
            return Err(corrupt());
        };
        let master = self.master(id)?;
        let data_key = open_part(&master, &context(id, row, Part::DataKey), data_key).map_err(|_| corrupt())?;
        let data_key = data_key.as_slice().try_into().map_err(|_| corrupt())?;
        let secret = open_part(&cipher(data_key)?, &context(id, row, Part::Secret), secret).map_err(|_| corrupt())?;
        Ok(SecretSlice::from(secret.to_vec()))
    }
}

/// The master key that something says it is sealed under.
pub fn sealed_under(sealed: &[u8]) -> Option<KeyId> {
    sealed.get(ID_AT..DATA_KEY_AT).and_then(KeyId::from_bytes)
}

/// What both ciphers authenticate; each text with its length before it, so that none runs into the next.
fn context(key: KeyId, row: &RowBinding<'_>, part: Part) -> Vec<u8> {
    let part: &[u8] = match part {
        Part::DataKey => b"data key",
        Part::Secret => b"secret",
    };
    let mut context = vec![VERSION];
    let texts = [row.table, row.id, row.user, row.provider].map(str::as_bytes);
    for text in [key.as_bytes(), part].into_iter().chain(texts) {
        context.extend_from_slice(&(text.len() as u64).to_be_bytes());
        context.extend_from_slice(text);
    }
    context
}

#[derive(Clone, Copy)]
enum Part {
    DataKey,
    Secret,
}

fn cipher(key: &[u8; KEY_LEN]) -> Result<RandomizedNonceKey, VaultError> {
    Ok(RandomizedNonceKey::new(&AES_256_GCM, key)?)
}

/// Appends nonce, ciphertext and tag.
fn seal_part(key: &RandomizedNonceKey, context: &[u8], plain: &[u8], into: &mut Vec<u8>) -> Result<(), VaultError> {
    let mut text = Zeroizing::new(plain.to_vec());
    let (nonce, tag) = key.seal_in_place_separate_tag(Aad::from(context), &mut text)?;
    into.extend_from_slice(nonce.as_ref());
    into.extend_from_slice(&text);
    into.extend_from_slice(tag.as_ref());
    Ok(())
}

fn open_part(key: &RandomizedNonceKey, context: &[u8], part: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unspecified> {
    let (nonce, text) = part.split_at_checked(NONCE_LEN).ok_or(Unspecified)?;
    let mut text = Zeroizing::new(text.to_vec());
    let nonce = Nonce::try_assume_unique_for_key(nonce)?;
    let plain = key.open_in_place(nonce, Aad::from(context), &mut text)?.len();
    text.truncate(plain);
    Ok(text)
}

impl From<Unspecified> for VaultError {
    fn from(_: Unspecified) -> Self {
        Self::Crypto
    }
}
