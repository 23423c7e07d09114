//! Master keys, and their names.

use super::{KEY_LEN, VaultError};
use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use secrecy::{ExposeSecret, SecretString};
use std::{fmt, str::FromStr};
use zeroize::Zeroizing;

/// The most keys that are given at once: the one that seals, and a few that were before it.
const KEYS_MAX: usize = 8;

/// A key that wraps data keys: 256 random bits.
pub struct MasterKey(Zeroizing<[u8; KEY_LEN]>);

impl MasterKey {
    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// It is anything else.
    pub fn from_hex(hex: &SecretString) -> Result<Self, VaultError> {
        Self::decode(hex.expose_secret().trim())
            .map_err(|why| VaultError::Malformed { of: "what was given".into(), why })
    }

    /// Reads keys of 64 hexadecimal digits each, with spaces, line ends or commas between them: the newest first.
    /// There is at least one. `of` says where they were found.
    pub(super) fn several(text: &str, of: impl fmt::Display) -> Result<Vec<Self>, VaultError> {
        let malformed = |why| VaultError::Malformed { of: of.to_string(), why };
        let mut keys: Vec<Self> = Vec::new();
        for hex in text.split([' ', '\t', '\r', '\n', ',']).filter(|hex| !hex.is_empty()) {
            let key = Self::decode(hex).map_err(malformed)?;
            if keys.iter().all(|known| known.id() != key.id()) {
                keys.push(key);
            }
            if keys.len() > KEYS_MAX {
                return Err(malformed(format!("is more than {KEYS_MAX} keys")));
            }
        }
        if keys.is_empty() { Err(malformed("is empty".into())) } else { Ok(keys) }
    }

    fn decode(hex: &str) -> Result<Self, String> {
        if hex.len() != 2 * KEY_LEN {
            return Err(format!("has {} characters", hex.chars().count()));
        }
        let mut key = Zeroizing::new([0; KEY_LEN]);
        HEX.decode_mut(hex.as_bytes(), &mut *key).map_err(|_| "has other characters".to_owned())?;
        Ok(Self(key))
    }

    pub(super) fn random() -> Result<Self, VaultError> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        SystemRandom::new().fill(&mut *key)?;
        Ok(Self(key))
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// As [`MasterKey::several`] reads it, with the end of its line.
    pub(super) fn line(&self) -> Zeroizing<String> {
        let mut line = Zeroizing::new(String::with_capacity(2 * KEY_LEN + 1));
        HEX.encode_append(self.bytes(), &mut line);
        line.push('\n');
        line
    }

    /// Its name: a hash that tells keys apart and says nothing of them.
    pub fn id(&self) -> KeyId {
        let named = Zeroizing::new([b"polydev master key id\0".as_slice(), &*self.0].concat());
        KeyId::from_bytes(&digest(&SHA256, &named).as_ref()[..KeyId::LEN]).expect("a SHA-256 is longer than that")
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id())
    }
}

/// The name of a master key. Not secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId([u8; Self::LEN]);

impl KeyId {
    pub(super) const LEN: usize = 8;

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as it stands in what is sealed; none if it is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl FromStr for KeyId {
    type Err = &'static str;

    /// Reads what [`fmt::Display`] writes: 16 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = HEX.decode(text.as_bytes()).ok();
        bytes.and_then(|bytes| Self::from_bytes(&bytes)).ok_or("is no id of a master key")
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEX.encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The names of keys as people read them.
pub(super) fn names(keys: &[KeyId]) -> String {
    keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
}
