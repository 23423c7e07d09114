//! The folder that an image is made from, walked.

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use std::{
    collections::HashSet,
    fs::{self, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

/// What a folder needs of a file system.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Contents {
    pub(super) inodes: u64,
    pub(super) blocks: u64,
}

/// Counts what a folder needs in blocks of so many bytes.
pub(super) fn measure(root: &Path, block: u64) -> io::Result<Contents> {
    let mut seen = HashSet::new();
    let mut contents = Contents { inodes: 1, blocks: 1 };
    walk(root, &mut |_path, meta| {
        // Names of one file count once.
        if meta.is_dir() || meta.nlink() == 1 || seen.insert(meta.ino()) {
            contents.inodes += 1;
            contents.blocks += meta.len().div_ceil(block).max(u64::from(meta.is_dir()));
        }
        Ok(())
    })?;
    Ok(contents)
}

/// Takes away what no image may have: set-user-id and set-group-id bits, file
/// capabilities, and times after `epoch` (Unix seconds).
pub(super) fn tame(root: &Path, epoch: u64) -> io::Result<()> {
    let latest = Timespec { tv_sec: epoch.cast_signed(), tv_nsec: 0 };
    let mut tame_one = |path: &Path, meta: &Metadata| {
        if !meta.is_symlink() {
            let mode = meta.mode() & 0o7777;
            if mode & 0o6000 != 0 {
                fs::set_permissions(path, Permissions::from_mode(mode & !0o6000))?;
            }
            match rustix::fs::lremovexattr(path, "security.capability") {
                Ok(()) | Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let modified = Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() };
        let time = if modified.tv_sec >= latest.tv_sec { latest } else { modified };
        let times = Timestamps { last_access: latest, last_modification: time };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    };
    walk(root, &mut tame_one)?;
    tame_one(root, &fs::symlink_metadata(root)?)
}

/// Lets everyone read, and run what its owner may run.
pub(super) fn open_to_all(root: &Path) -> io::Result<()> {
    walk(root, &mut |path, meta| {
        if meta.is_symlink() {
            return Ok(());
        }
        let run = meta.is_dir() || meta.mode() & 0o100 != 0;
        fs::set_permissions(path, Permissions::from_mode(if run { 0o755 } else { 0o644 }))
    })
}

/// Removes a file or a folder with all in it; what is not there is removed already.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_file) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes all that is in a folder, and keeps the folder.
pub(super) fn empty(dir: &Path) -> io::Result<()> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.into_iter().try_for_each(|entry| remove(&entry?.path())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Calls `each` for all below a folder, what is in a folder before the folder itself.
fn walk(dir: &Path, each: &mut dyn FnMut(&Path, &Metadata) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        if meta.is_dir() {
            walk(&path, each)?;
        }
        each(&path, &meta)?;
    }
    Ok(())
}
