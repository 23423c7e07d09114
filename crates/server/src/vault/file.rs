//! The file of the master key: made once, for its owner only, and replaced whole.
//!
//! ```text
//!   create     draft ─ sync ─ link ──► [key]            never over another file
//!   add        [old] ─► draft [new, old] ─ sync ─ rename ─ sync of the directory
//!   retire     [new, old] ─► draft [new] ─ the same
//! ```
//! At any moment there is one whole file under the name, with all keys that anything may be sealed under.

use super::{
    VaultError,
    key::{KeyId, MasterKey},
};
use std::{
    ffi::OsString,
    fs,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// The most that is read: more than the keys of a file take.
const BYTES_MAX: usize = 4096;

/// Whose file it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// Nobody but its owner may read it.
    Polydev,
    /// systemd lets the service in by an access control list, which shows as rights of the group
    /// (systemd.exec(5), Credentials).
    Systemd,
}

/// Reads the keys of a file.
pub(super) fn read(path: &Path, of: Of) -> Result<Vec<MasterKey>, VaultError> {
    let failed = |source| VaultError::File { path: path.to_owned(), source };
    // A pipe that nobody writes to would be waited for.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(match fs::read_link(path) {
                Ok(to) => VaultError::Dangling { path: path.to_owned(), to },
                Err(_) => VaultError::Missing(path.to_owned()),
            });
        }
        opened => opened.map_err(failed)?,
    };
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(VaultError::NoFile(path.to_owned()));
    }
    let mode = about.permissions().mode() & 0o7777;
    if of == Of::Polydev && mode & 0o077 != 0 {
        return Err(VaultError::Open { path: path.to_owned(), mode });
    }
    // All its room at once: what grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES_MAX + 1));
    file.take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    let malformed = |why: &str| VaultError::Malformed { of: format!("`{}`", path.display()), why: why.into() };
    if bytes.len() > BYTES_MAX {
        return Err(malformed("is far too long"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed("is no text"))?;
    MasterKey::several(text, format_args!("`{}`", path.display()))
}

/// Makes a file with a new key, unless another process was faster: then with that one's.
pub(super) fn create(path: &Path) -> Result<Vec<MasterKey>, VaultError> {
    let failed = |source| VaultError::File { path: path.to_owned(), source };
    let key = MasterKey::random()?;
    let draft = path.with_extension(format!("new-{}", crate::domain::id::random::<5>()));
    let written = write(&draft, &key.line(), 0o600, None).and_then(|()| fs::hard_link(&draft, path));
    let _ = fs::remove_file(&draft);
    match written {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return read(path, Of::Polydev),
        Err(error) => return Err(failed(error)),
    }
    sync_directory(path).map_err(failed)?;
    tracing::warn!(
        path = %path.display(),
        key = %key.id(),
        "made a new master key: back this file up, apart from the database. Without it nobody can open the stored credentials"
    );
    Ok(vec![key])
}

/// Keeps every other rotation away from a file of keys for as long as it lives: it holds the directory that the
/// file lies in, because the file itself is replaced.
#[derive(Debug)]
pub struct Rotating {
    path: PathBuf,
    _directory: fs::File,
}

impl Rotating {
    /// Begins to change this file, or goes on with it.
    ///
    /// # Errors
    /// Somebody else does, or it is not there.
    pub fn begin(path: &Path) -> Result<Self, VaultError> {
        let failed = |source| VaultError::File { path: path.to_owned(), source };
        // A link stays one: what it leads to is replaced.
        let real = match path.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(VaultError::Missing(path.to_owned())),
            real => real.map_err(failed)?,
        };
        let directory = fs::File::open(directory(&real)).map_err(failed)?;
        match directory.try_lock() {
            Ok(()) => Ok(Self { path: real, _directory: directory }),
            Err(fs::TryLockError::WouldBlock) => Err(VaultError::Rotated(path.to_owned())),
            Err(fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Adds a new key before those that are there, on the disk for good when this returns.
    ///
    /// # Errors
    /// The file cannot be replaced. Then it is as it was.
    pub fn add(&self) -> Result<KeyId, VaultError> {
        let mut keys = read(&self.path, Of::Polydev)?;
        keys.insert(0, MasterKey::random()?);
        self.replace(&keys)?;
        Ok(keys[0].id())
    }

    /// Leaves this key alone in the file, and tells which others were there.
    ///
    /// # Errors
    /// It is not among them, or the file cannot be replaced. Then it is as it was.
    pub fn retire_all_but(&self, key: KeyId) -> Result<Vec<KeyId>, VaultError> {
        let (kept, retired): (Vec<_>, Vec<_>) =
            read(&self.path, Of::Polydev)?.into_iter().partition(|found| found.id() == key);
        if kept.is_empty() {
            let found = retired.iter().map(MasterKey::id).collect();
            return Err(VaultError::WrongKey { sealed: vec![key], found, place: format!("`{}`", self.path.display()) });
        }
        if !retired.is_empty() {
            self.replace(&kept)?;
        }
        Ok(retired.iter().map(MasterKey::id).collect())
    }

    fn replace(&self, keys: &[MasterKey]) -> Result<(), VaultError> {
        let failed = |source| VaultError::File { path: self.path.clone(), source };
        let old = fs::metadata(&self.path).map_err(failed)?;
        let mut text = Zeroizing::new(String::with_capacity(BYTES_MAX));
        keys.iter().for_each(|key| text.push_str(&key.line()));
        let mut draft = OsString::from(&self.path);
        draft.push(".draft");
        let draft = PathBuf::from(draft);
        // One that was left when a rotation was killed.
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        // The server may be another user than the one who rotates, such as root.
        let replaced = write(&draft, &text, old.mode() & 0o700, Some((old.uid(), old.gid())))
            .and_then(|()| fs::rename(&draft, &self.path));
        if let Err(error) = replaced {
            let _ = fs::remove_file(&draft);
            return Err(failed(error));
        }
        sync_directory(&self.path).map_err(failed)
    }
}

/// Writes a new file of this mode and owner, on the disk for good when this returns.
fn write(path: &Path, text: &str, mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    if let Some((user, group)) = owner {
        let about = file.metadata()?;
        if (about.uid(), about.gid()) != (user, group) {
            fchown(&file, Some(user), Some(group))?;
        }
    }
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_directory(of: &Path) -> io::Result<()> {
    fs::File::open(directory(of))?.sync_all()
}

fn directory(of: &Path) -> &Path {
    of.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
