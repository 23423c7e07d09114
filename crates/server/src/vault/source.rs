//! Where master keys come from.

use super::{
    VaultError, file,
    key::{KeyId, MasterKey},
};
use secrecy::{ExposeSecret, SecretString};
use std::{fmt, path::PathBuf};

/// Where the master key is, with those that were before it: one or several of 64 hexadecimal digits, the newest
/// first.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// In this file, which is polydev's own to make and to change.
    File(PathBuf),
    /// In `ENCRYPTION_MASTER_KEY`, which nobody can change while the server runs.
    Variable(SecretString),
    /// In this file of systemd's, which is made anew whenever the server starts.
    Credential(PathBuf),
}

impl KeySource {
    /// Whether polydev can change what is there.
    pub fn is_own(&self) -> bool {
        match self {
            Self::File(_) => true,
            Self::Variable(_) | Self::Credential(_) => false,
        }
    }

    /// Says whether keys can be had from here, and which. Makes none.
    ///
    /// # Errors
    /// There are none, or they are open to others.
    pub fn look(&self) -> Result<Vec<KeyId>, VaultError> {
        Ok(self.read()?.iter().map(MasterKey::id).collect())
    }

    pub(super) fn read(&self) -> Result<Vec<MasterKey>, VaultError> {
        match self {
            Self::File(path) => file::read(path, file::Of::Polydev),
            Self::Variable(text) => MasterKey::several(text.expose_secret(), self),
            Self::Credential(path) => file::read(path, file::Of::Systemd),
        }
    }

    /// Makes the first key.
    pub(super) fn make(&self) -> Result<Vec<MasterKey>, VaultError> {
        match self {
            Self::File(path) => file::create(path),
            Self::Variable(_) | Self::Credential(_) => self.read(),
        }
    }
}

impl fmt::Display for KeySource {
    /// As people read it, after "in".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "`{}`", path.display()),
            Self::Variable(_) => f.write_str("the variable ENCRYPTION_MASTER_KEY"),
            Self::Credential(path) => write!(f, "the systemd credential `{}`", path.display()),
        }
    }
}
