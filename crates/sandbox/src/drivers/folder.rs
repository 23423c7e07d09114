//! The folder that a driver keeps for each sandbox, in which everything of it can be found again.
//!
//! ```text
//!   <state_dir>/<driver>/<sandbox id>/    0700, made first, removed last
//!       agent.sock      where the host dials; the sandbox sees none of it
//!       console.log     what the first process prints
//!       process.json    the first process, once it runs
//! ```

use super::process::Process;
use crate::driver::{DriverError, SandboxId};
use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    io::Errno,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, OpenOptionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};
use tokio::net::UnixStream;

/// A sandbox's folder.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    id: SandboxId,
    path: PathBuf,
}

impl Folder {
    /// The folder of sandbox `id` below `parent`, whether it is there or not.
    pub(super) fn of(parent: &Path, id: &SandboxId) -> Self {
        Self { id: id.clone(), path: parent.join(id.as_str()) }
    }

    /// Makes the folder of a sandbox that does not exist yet.
    pub(super) fn create(parent: &Path, id: &SandboxId) -> Result<Self, DriverError> {
        let folder = Self::of(parent, id);
        match fs::DirBuilder::new().mode(0o700).create(&folder.path) {
            Ok(()) => Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(DriverError::Exists(id.clone())),
            Err(error) => Err(step("making the sandbox's folder", error)),
        }
    }

    /// Every sandbox that has a folder below `parent`.
    pub(super) fn list(parent: &Path) -> Result<Vec<Self>, DriverError> {
        let entries = match fs::read_dir(parent) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(step("listing the state folder", error)),
        };
        let mut folders = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| step("listing the state folder", error))?;
            if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                folders.push(Self::of(parent, &id));
            }
        }
        Ok(folders)
    }

    pub(super) fn id(&self) -> &SandboxId {
        &self.id
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A file or folder in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Waits until nobody else makes or removes this sandbox, and keeps others
    /// from it until the returned descriptor is closed, or its process dies.
    /// `None` when there is no folder.
    pub(super) fn lock(&self) -> Result<Option<OwnedFd>, DriverError> {
        let refused = |error: Errno| step("locking the sandbox's folder", error);
        match open(&self.path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(folder) => {
                flock(&folder, FlockOperation::LockExclusive).map_err(refused)?;
                Ok(Some(folder))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(refused(error)),
        }
    }

    /// Makes the socket that the agent gets as its standard input. The host's
    /// side is a file in this folder, which nothing in a sandbox can replace.
    pub(super) fn listen(&self) -> Result<OwnedFd, DriverError> {
        let socket = self.short_socket().and_then(|(_dir, path)| UnixListener::bind(path));
        socket.map(OwnedFd::from).map_err(|error| step("making the agent's socket", error))
    }

    /// Dials the agent.
    pub(super) async fn connect(&self) -> Result<UnixStream, DriverError> {
        let gone = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => DriverError::Gone(self.id.clone()),
            _other => step("dialling the agent", error),
        };
        let (_dir, path) = self.short_socket().map_err(gone)?;
        UnixStream::connect(path).await.map_err(gone)
    }

    /// The socket's path by way of an open folder: a socket's address has room
    /// for 108 bytes (`man 7 unix`), and a state folder may lie deeper than that.
    fn short_socket(&self) -> io::Result<(OwnedFd, String)> {
        let dir = open(&self.path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = format!("/proc/self/fd/{}/agent.sock", dir.as_raw_fd());
        Ok((dir, path))
    }

    /// Opens the console to write to.
    pub(super) fn open_console(&self) -> Result<File, DriverError> {
        let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(self.join("console.log"));
        opened.map_err(|error| step("opening the console's log", error))
    }

    /// The last bytes of the console, at most `max`.
    pub(super) fn console(&self, max: usize) -> Result<Vec<u8>, DriverError> {
        tail(&self.join("console.log"), max).map_err(|error| step("reading the console's log", error))
    }

    /// Writes down the first process.
    pub(super) fn record(&self, process: &Process) -> Result<(), DriverError> {
        let text = serde_json::to_vec(process).map_err(io::Error::from);
        let written = text.and_then(|text| {
            fs::write(self.join("process.json.new"), text)?;
            fs::rename(self.join("process.json.new"), self.join("process.json"))
        });
        written.map_err(|error| step("writing down the first process", error))
    }

    /// The first process, if it was ever written down.
    pub(super) fn recorded(&self) -> Option<Process> {
        serde_json::from_slice(&fs::read(self.join("process.json")).ok()?).ok()
    }

    /// Removes the folder and all that is in it.
    pub(super) fn remove(&self) -> Result<(), DriverError> {
        remove_folder(&self.path)
    }
}

/// Removes a folder that may be gone already.
pub(super) fn remove_folder(path: &Path) -> Result<(), DriverError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(step("removing the sandbox's folder", error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The last bytes of a file, at most `max`. Nothing when there is no file.
pub(super) fn tail(path: &Path, max: usize) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(max as u64)))?;
    let mut bytes = Vec::new();
    file.take(max as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A step that the system refused.
pub(super) fn step(step: &'static str, reason: impl std::fmt::Display) -> DriverError {
    DriverError::Step { step, reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deep_folder_can_be_dialled_and_a_dead_one_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(200));
        fs::create_dir(&deep).unwrap();
        let id: SandboxId = "sbx_aaaaaaaaaaaaaaaa".parse().unwrap();
        assert!(matches!(Folder::of(&deep, &id).connect().await, Err(DriverError::Gone(_))));
        let folder = Folder::create(&deep, &id).unwrap();
        assert!(matches!(Folder::create(&deep, &id), Err(DriverError::Exists(_))));
        let listener = folder.listen().unwrap();
        folder.connect().await.unwrap();
        drop(listener);
        assert!(matches!(folder.connect().await, Err(DriverError::Gone(_))));
        assert_eq!(Folder::list(&deep).unwrap().len(), 1);
        folder.remove().unwrap();
        folder.remove().unwrap();
        assert_eq!(Folder::list(&deep).unwrap().len(), 0);
    }

    #[test]
    fn the_console_s_tail_is_bounded() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, "0123456789").unwrap();
        assert_eq!(tail(file.path(), 4).unwrap(), b"6789");
        assert_eq!(tail(file.path(), 40).unwrap(), b"0123456789");
        assert_eq!(tail(Path::new("/no/such/file"), 4).unwrap(), b"");
    }
}
