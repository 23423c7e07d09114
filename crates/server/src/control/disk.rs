//! How much of the disk is used, and by what.

use super::Runs;
use crate::{config::Config, store::StoreError};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// With less than this free, bytes, a disk counts as nearly full ...
const LOW_BYTES: u64 = 1024 * 1024 * 1024;
/// ... and with less than this part of it: 5 %.
const LOW_PART: u64 = 20;

/// The disk of the data directory, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// All that it has.
    pub total: u64,
    /// What is free.
    pub free: u64,
    /// The data directory; with the database and the images, where those lie in it.
    pub data: u64,
    /// The database, wherever it is.
    pub database: u64,
    /// The images.
    pub images: u64,
}

/// Why the disk could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The system does not tell.
    #[error("the disk of `{}` cannot be looked at", path.display())]
    System {
        /// Of what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The database does not tell.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Disk {
    /// Whether it is nearly full: runs fail on a disk that is.
    pub fn is_low(&self) -> bool {
        is_low(self.total, self.free)
    }
}

impl Runs {
    /// Looks at the disk.
    pub async fn disk(&self) -> Result<Disk, DiskError> {
        let database = u64::try_from(self.0.store.size().await?).unwrap_or_default();
        let config = self.0.config.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let (total, free) = space(&config)?;
            let (data, images) = (used(&config.server.data_dir), used(&config.image.dir));
            Ok(Disk { total, free, data, database, images })
        });
        looked.await.expect("it neither panics nor is it aborted")
    }
}

pub(super) fn is_low(total: u64, free: u64) -> bool {
    free < LOW_BYTES || free < total / LOW_PART
}

/// All that the data directory's disk has, and what is free of it for this process.
pub(super) fn space(config: &Config) -> Result<(u64, u64), DiskError> {
    let path = &config.server.data_dir;
    let stat =
        rustix::fs::statvfs(path).map_err(|error| DiskError::System { path: path.clone(), source: error.into() })?;
    Ok((stat.f_blocks.saturating_mul(stat.f_frsize), stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// What a folder takes of its disk, as `du -x` has it. What goes away meanwhile, or cannot be seen, counts nothing.
fn used(folder: &Path) -> u64 {
    let Ok(top) = fs::metadata(folder) else { return 0 };
    let mut sum = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.dev() != top.dev() {
                continue;
            }
            sum += meta.blocks() * 512;
            if meta.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_low_by_part_and_by_bytes() {
        const GIB: u64 = LOW_BYTES;
        assert!(is_low(100 * GIB, 5 * GIB - 1) && !is_low(100 * GIB, 5 * GIB));
        assert!(is_low(2 * GIB, GIB - 1) && !is_low(2 * GIB, GIB));
        assert!(is_low(0, 0));
    }

    #[test]
    fn a_folder_is_all_that_is_in_it_and_nothing_beyond() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(used(dir.path()), 0);
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/b/c"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
        let found = used(dir.path());
        assert!((100_000..150_000).contains(&found), "{found}");
        assert_eq!(used(Path::new("/no/such/folder")), 0);
    }
}
