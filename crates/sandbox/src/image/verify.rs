//! The proof that an image is what was built, and that it works.

use super::{Image, ext4, prove};
use crate::driver::Driver;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

/// What was looked at, and how it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// Whether it was as it must be.
    pub passed: bool,
    /// What was seen.
    pub saw: String,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", if self.passed { "ok" } else { "failed" }, self.name, self.saw)
    }
}

/// Everything that was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order in which it was.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether all of it was as it must be.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    /// The checks that failed, on one line.
    pub fn failures(&self) -> String {
        let failed: Vec<_> = self.checks.iter().filter(|check| !check.passed).map(Check::to_string).collect();
        failed.join("; ")
    }

    pub(super) fn add(&mut self, name: &str, passed: bool, saw: impl Into<String>) {
        self.checks.push(Check { name: name.to_owned(), passed, saw: saw.into() });
    }
}

/// Looks at the file, and with a driver at a sandbox that is made from it.
pub(super) async fn all(image: &Image, driver: Option<&Arc<dyn Driver>>) -> Report {
    let mut report = Report::default();
    match sha256(&image.path).await {
        Ok(sha256) => report.add("sha256", sha256 == image.sha256, sha256),
        Err(error) => report.add("sha256", false, error.to_string()),
    }
    match ext4::check(&image.path).await {
        Ok(said) => report.add("filesystem", true, said.lines().last().unwrap_or_default()),
        Err(error) => report.add("filesystem", false, error.to_string()),
    }
    // A file that is not what was built is nothing to start from.
    if let Some(driver) = driver.filter(|_| report.passed()) {
        prove::sandbox(image, driver, &mut report).await;
    }
    report
}

/// The SHA-256 of a file, in hex.
pub(super) async fn sha256(path: &Path) -> io::Result<String> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut file = File::open(path)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok(data_encoding::HEXLOWER.encode(&hash.finalize()));
            }
            hash.update(&buffer[..read]);
        }
    })
    .await?
}
