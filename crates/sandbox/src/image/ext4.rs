//! The one file: made from a folder without mounting anything, and looked at.

use super::{ImageError, Stage, tree};
use crate::cmd::{self, Cmd};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
    time::Duration,
};

/// A block's size in bytes.
const BLOCK: u64 = 4096;
/// An inode's size in bytes.
const INODE: u64 = 256;
/// Where the superblock begins, and where its fields lie in it: <https://docs.kernel.org/filesystems/ext4/globals.html>.
const SUPERBLOCK: u64 = 1024;
const MAGIC_AT: usize = 0x38;
const UUID_AT: usize = 0x68;
const MAGIC: [u8; 2] = [0x53, 0xef];

/// Writes what is in `root` into a new ext4 file, as small as it goes, that has the content id's first half as its UUID.
pub(super) async fn make(root: &Path, file: &Path, label: &str, id: &str, epoch: u64) -> Result<(), ImageError> {
    let contents = tree::measure(root, BLOCK).map_err(ImageError::at(root))?;
    // The least inodes that hold all: an image is never written to.
    let inodes = contents.inodes + 32;
    // The file system's own blocks, a bitmap or two every 32768 blocks and the inodes, and one in 64 for folders' indexes.
    let blocks = contents.blocks + inodes * INODE / BLOCK + contents.blocks / 64 + 2048;
    let uuid = uuid(id);
    let mke2fs = Cmd::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-m", "0"])
        .args(["-b".to_owned(), BLOCK.to_string(), "-I".to_owned(), INODE.to_string()])
        .args(["-N".to_owned(), inodes.to_string(), "-L".to_owned(), label.to_owned()])
        // Read-only: nothing to journal, nothing to grow.
        .args(["-O", "^has_journal,^resize_inode"])
        .args(["-U".to_owned(), uuid.clone(), "-E".to_owned()])
        .arg(format!("root_owner=0:0,lazy_itable_init=0,nodiscard,hash_seed={uuid}"))
        .arg("-d")
        .args([root, file])
        .arg(blocks.to_string())
        // The first is for e2fsprogs from 1.47.1, the second for older ones.
        .env("SOURCE_DATE_EPOCH", epoch.to_string())
        .env("E2FSPROGS_FAKE_TIME", epoch.to_string())
        .timeout(Duration::from_secs(20 * 60));
    cmd::run(mke2fs).await.map_err(ImageError::stage(Stage::Filesystem))?;
    Ok(())
}

/// Whether the whole file system is consistent, by e2fsck's word.
pub(super) async fn check(file: &Path) -> Result<String, cmd::CmdError> {
    let e2fsck = Cmd::new("e2fsck").args(["-n", "-f"]).arg(file).timeout(Duration::from_secs(20 * 60));
    Ok(cmd::run(e2fsck).await?.text())
}

/// Whether a file begins as the file system of this content id does: quick, and says nothing of the rest.
pub(super) fn looks_right(file: &Path, id: &str) -> io::Result<bool> {
    let mut superblock = [0; UUID_AT + 16];
    let mut file = File::open(file)?;
    file.seek(SeekFrom::Start(SUPERBLOCK))?;
    match file.read_exact(&mut superblock) {
        Ok(()) => Ok(superblock[MAGIC_AT..MAGIC_AT + 2] == MAGIC
            && data_encoding::HEXLOWER.encode(&superblock[UUID_AT..]) == id[..32]),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The first half of a content id, written as a UUID.
fn uuid(id: &str) -> String {
    format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..32])
}
