//! The vault: secrets at rest, each under a key of its own, bound to its row.
//!
//! ```text
//!   master key (outside the database) ─wraps─► data key (one a secret) ─seals─► secret
//! ```
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

mod key;

pub use key::{KeyId, KeySource, MasterKey};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    error::Unspecified,
    rand::{SecureRandom, SystemRandom},
};
use secrecy::SecretSlice;
use std::{io, path::PathBuf};
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
    /// The key file is missing while there are secrets under that key.
    #[error(
        "the master key `{}` is missing, and the database holds secrets that only it can open: put it back from \
         your backup, or name it with `vault.master_key_file`", .0.display()
    )]
    Missing(PathBuf),
    /// Others than its owner may read the key file.
    #[error("the master key `{}` can be read by others (mode {mode:04o}): run `chmod 600 {}`", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The key file cannot be read or made.
    #[error("the master key `{}` cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What should be a key is none.
    #[error("the master key of {0} is not 64 hexadecimal digits")]
    Malformed(String),
    /// Sealed under another master key.
    #[error("a secret is sealed under the master key `{sealed}`, and this server has `{ours}`: give it the right key")]
    WrongKey {
        /// The key that sealed it.
        sealed: KeyId,
        /// The key that was tried.
        ours: KeyId,
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
    master: RandomizedNonceKey,
    id: KeyId,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("key", &self.id).finish_non_exhaustive()
    }
}

impl Vault {
    /// Opens the vault with the master key of `source`. A key file that does not exist is made if
    /// `may_create`, which must be false as soon as there are secrets under the old one.
    ///
    /// # Errors
    /// The key is missing, open to others, or none.
    pub fn open(source: &KeySource, may_create: bool) -> Result<Self, VaultError> {
        Self::new(&source.read(may_create)?)
    }

    /// A vault under this key.
    ///
    /// # Errors
    /// The cryptography does not work.
    pub fn new(key: &MasterKey) -> Result<Self, VaultError> {
        Ok(Self { master: cipher(key.bytes())?, id: key.id() })
    }

    /// Which master key this is.
    pub fn key_id(&self) -> KeyId {
        self.id
    }

    /// Seals a secret for its row.
    ///
    /// # Errors
    /// The cryptography does not work.
    pub fn seal(&self, row: &RowBinding<'_>, secret: &[u8]) -> Result<Vec<u8>, VaultError> {
        let mut data_key = Zeroizing::new([0; KEY_LEN]);
        SystemRandom::new().fill(&mut *data_key)?;
        let mut sealed = Vec::with_capacity(SECRET_AT + NONCE_LEN + secret.len() + TAG_LEN);
        sealed.push(VERSION);
        sealed.extend_from_slice(self.id.as_bytes());
        seal_part(&self.master, &self.context(row, Part::DataKey), &*data_key, &mut sealed)?;
        seal_part(&cipher(&data_key)?, &self.context(row, Part::Secret), secret, &mut sealed)?;
        Ok(sealed)
    }

    /// Opens what was sealed for this row.
    ///
    /// # Errors
    /// It is under another key, of an unknown format, changed, or of another row.
    pub fn unseal(&self, row: &RowBinding<'_>, sealed: &[u8]) -> Result<SecretSlice<u8>, VaultError> {
        let corrupt = || VaultError::Corrupt(format!("{} {}", row.table, row.id));
        match sealed.first() {
            Some(&VERSION) => {}
            Some(&other) => return Err(VaultError::Format(other)),
            None => return Err(corrupt()),
        }
        let (Some(id), Some(data_key), Some(secret)) =
            (sealed.get(ID_AT..DATA_KEY_AT), sealed.get(DATA_KEY_AT..SECRET_AT), sealed.get(SECRET_AT..))
        else {
            return Err(corrupt());
        };
        if id != self.id.as_bytes() {
            let sealed = KeyId::from_bytes(id).ok_or_else(corrupt)?;
            return Err(VaultError::WrongKey { sealed, ours: self.id });
        }
        let data_key = open_part(&self.master, &self.context(row, Part::DataKey), data_key).map_err(|_| corrupt())?;
        let data_key = data_key.as_slice().try_into().map_err(|_| corrupt())?;
        let secret = open_part(&cipher(data_key)?, &self.context(row, Part::Secret), secret).map_err(|_| corrupt())?;
        Ok(SecretSlice::from(secret.to_vec()))
    }

    /// What both ciphers authenticate; each text with its length before it, so that none runs into the next.
    fn context(&self, row: &RowBinding<'_>, part: Part) -> Vec<u8> {
        let part: &[u8] = match part {
            Part::DataKey => b"data key",
            Part::Secret => b"secret",
        };
        let mut context = vec![VERSION];
        let texts = [row.table, row.id, row.user, row.provider].map(str::as_bytes);
        for text in [self.id.as_bytes(), part].into_iter().chain(texts) {
            context.extend_from_slice(&(text.len() as u64).to_be_bytes());
            context.extend_from_slice(text);
        }
        context
    }
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
