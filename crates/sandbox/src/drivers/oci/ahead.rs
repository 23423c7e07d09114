//! Reading an image into memory before it is needed.

use rustix::io::{Errno, ReadWriteFlags, preadv2};
use std::{
    fs::{self, File},
    io::{self, IoSliceMut},
    os::unix::fs::FileExt,
    path::Path,
};
use tokio_util::sync::CancellationToken;

/// How much is read at once, and found in memory or not by its first byte: what Linux itself reads ahead.
const WINDOW: usize = 128 * 1024;
/// The lowest priority of a thread for the processor, and so for the disk.
const NICEST: i32 = 19;

/// Reads every file below `dir` that is not in memory, until `max` bytes or `stop`; at the lowest priority, which
/// the calling thread keeps. How many bytes that were.
pub(super) fn read_tree(dir: &Path, max: u64, stop: &CancellationToken) -> io::Result<u64> {
    rustix::process::setpriority_process(None, NICEST)?;
    let mut reading = Reading { window: vec![0; WINDOW], left: max, stop };
    reading.tree(dir)?;
    Ok(max - reading.left)
}

struct Reading<'a> {
    window: Vec<u8>,
    left: u64,
    stop: &'a CancellationToken,
}

impl Reading<'_> {
    fn over(&self) -> bool {
        self.left == 0 || self.stop.is_cancelled()
    }

    fn tree(&mut self, dir: &Path) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if self.over() {
                return Ok(());
            }
            // Links lead to what is found anyway, or out of here.
            if kind.is_dir() {
                self.tree(&entry.path())?;
            } else if kind.is_file() {
                self.file(&File::open(entry.path())?)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, file: &File) -> io::Result<()> {
        let size = file.metadata()?.len();
        for offset in (0..size).step_by(WINDOW) {
            if self.over() {
                return Ok(());
            }
            let (first, flags) = (&mut [0], ReadWriteFlags::NOWAIT);
            match preadv2(file, &mut [IoSliceMut::new(first)], offset, flags) {
                Ok(_) => {}
                // Not in memory; or this file system cannot tell.
                Err(Errno::AGAIN | Errno::OPNOTSUPP) => {
                    let read = file.read_at(&mut self.window, offset)? as u64;
                    self.left = self.left.saturating_sub(read);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
