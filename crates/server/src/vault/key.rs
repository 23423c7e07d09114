//! The master key, and where it comes from.

use super::{KEY_LEN, VaultError};
use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use secrecy::{ExposeSecret, SecretString};
use std::{
    fmt, fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Where the master key is.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// In this file, as 64 hexadecimal digits.
    File(PathBuf),
    /// Given by `ENCRYPTION_MASTER_KEY` or a systemd credential, as 64 hexadecimal digits.
    Given(SecretString),
}

impl KeySource {
    pub(super) fn read(&self, may_create: bool) -> Result<MasterKey, VaultError> {
        match self {
            Self::Given(hex) => MasterKey::from_hex(hex),
            Self::File(path) => match read_file(path) {
                Err(VaultError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                    if may_create {
                        create_file(path)
                    } else {
                        Err(VaultError::Missing(path.clone()))
                    }
                }
                read => read,
            },
        }
    }
}

/// The key that wraps all data keys: 256 random bits.
pub struct MasterKey(Zeroizing<[u8; KEY_LEN]>);

impl MasterKey {
    /// Reads 64 hexadecimal digits.
    ///
    /// # Errors
    /// It is anything else.
    pub fn from_hex(hex: &SecretString) -> Result<Self, VaultError> {
        Self::decode(hex.expose_secret().trim(), "the environment")
    }

    fn decode(hex: &str, of: &str) -> Result<Self, VaultError> {
        let malformed = || VaultError::Malformed(of.to_owned());
        if hex.len() != 2 * KEY_LEN {
            return Err(malformed());
        }
        let mut key = Zeroizing::new([0; KEY_LEN]);
        HEX.decode_mut(hex.as_bytes(), &mut *key).map_err(|_| malformed())?;
        Ok(Self(key))
    }

    fn random() -> Result<Self, VaultError> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        SystemRandom::new().fill(&mut *key)?;
        Ok(Self(key))
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
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
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; Self::LEN]);

impl KeyId {
    pub(super) const LEN: usize = 8;

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
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

fn read_file(path: &Path) -> Result<MasterKey, VaultError> {
    let failed = |source| VaultError::File { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(VaultError::Open { path: path.to_owned(), mode });
    }
    let text = Zeroizing::new(io::read_to_string(file).map_err(failed)?);
    MasterKey::decode(text.trim(), &format!("`{}`", path.display()))
}

/// Makes a key. Its file appears whole or not at all, and never over another one.
fn create_file(path: &Path) -> Result<MasterKey, VaultError> {
    let failed = |source| VaultError::File { path: path.to_owned(), source };
    let key = MasterKey::random()?;
    let text = Zeroizing::new(HEX.encode(key.bytes()) + "\n");
    let draft = path.with_extension(format!("new-{}", crate::domain::id::random::<5>()));
    let written = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::hard_link(&draft, path)
    };
    let linked = written();
    let _ = fs::remove_file(&draft);
    match linked {
        Ok(()) => {}
        // Another server was faster: its key counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return read_file(path),
        Err(error) => return Err(failed(error)),
    }
    if let Some(dir) = path.parent() {
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    }
    tracing::warn!(
        path = %path.display(),
        key = %key.id(),
        "made a new master key: back this file up, apart from the database. Without it nobody can open the stored credentials"
    );
    Ok(key)
}
