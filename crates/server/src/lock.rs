//! Locks on files that keep a second server out.

use std::{
    fs::{File, TryLockError},
    time::Duration,
};
use tokio::time::{Instant, interval};

/// How long a server that starts waits for an earlier one to be gone. One that was killed while it started a
/// program leaves a process that has its files open until it becomes that program: some milliseconds, more on a
/// busy host.
const WITHIN: Duration = Duration::from_secs(3);
/// How often it looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Locks a file for this process. The lock goes with the file, or with the process.
///
/// # Errors
/// Another process keeps it, or it cannot be locked.
pub async fn lock(file: &File) -> Result<(), TryLockError> {
    let (deadline, mut look) = (Instant::now() + WITHIN, interval(LOOK_EVERY));
    loop {
        look.tick().await;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {}
            locked => return locked,
        }
    }
}
