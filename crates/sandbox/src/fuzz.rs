//! What fuzzers give to all that reads what a guest says, and what must hold of it whatever that is.
//!
//! Built for fuzzers and tests alone: `fuzz/` in the workspace has a program for each of [`TARGETS`], and what they
//! found. A target panics when something does not hold.

pub use crate::{
    egress::fuzz::{gateway, hello, names},
    guest::fuzz::agent,
};

use crate::driver::{Capabilities, Driver, DriverError, Observed, Probe, SandboxId, SandboxSpec, Stream};
use async_trait::async_trait;
use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    runtime::Runtime,
};

/// A target: takes whatever there is.
pub type Target = fn(&[u8]);

/// Every target of this crate by its name.
pub const TARGETS: &[(&str, Target)] = &[("agent", agent), ("gateway", gateway), ("hello", hello), ("names", names)];

/// A stream that says these bytes, in pieces whose lengths follow from them, and then ends. It takes all that is
/// written to it, and nobody waits for it.
#[derive(Debug)]
pub(crate) struct Saying {
    bytes: Vec<u8>,
    at: usize,
    pieces: u64,
    heard: Arc<Mutex<Vec<u8>>>,
}

/// How much is kept of what was written to it, bytes.
const HEARD_MAX: usize = 64 * 1024;

impl Saying {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        // FNV-1a: the same bytes are always cut in the same way.
        let pieces = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self { bytes: bytes.to_vec(), at: 0, pieces, heard: Arc::default() }
    }

    /// What is written to it.
    pub(crate) fn heard(&self) -> Arc<Mutex<Vec<u8>>> {
        self.heard.clone()
    }
}

impl AsyncRead for Saying {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.pieces = self.pieces.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A third of all pieces are a byte, the others have up to 4 KiB.
        let piece = if self.pieces >> 60 < 5 { 1 } else { 1 + (self.pieces >> 48) as usize % 4096 };
        let end = self.bytes.len().min(self.at + piece.min(buf.remaining()));
        buf.put_slice(&self.bytes[self.at..end]);
        self.at = end;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Saying {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let room = HEARD_MAX.saturating_sub(heard.len());
        heard.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A driver all of whose sandboxes say this on every channel.
#[derive(Debug)]
pub(crate) struct Scripted(pub(crate) Vec<u8>);

#[async_trait]
impl Driver for Scripted {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { isolates: false, uses_image: false, limits: false }
    }

    async fn probe(&self) -> Probe {
        Probe { available: true, reason: String::new(), hint: None }
    }

    async fn create(&self, _id: &SandboxId, _spec: &SandboxSpec) -> Result<(), DriverError> {
        Ok(())
    }

    async fn connect(&self, _id: &SandboxId) -> Result<Stream, DriverError> {
        Ok(Box::new(Saying::new(&self.0)))
    }

    async fn observe(&self) -> Result<Vec<Observed>, DriverError> {
        Ok(Vec::new())
    }

    async fn destroy(&self, _id: &SandboxId) -> Result<(), DriverError> {
        Ok(())
    }

    async fn console(&self, _id: &SandboxId, _max: usize) -> Result<Vec<u8>, DriverError> {
        Ok(Vec::new())
    }
}

/// A sandbox's name.
pub(crate) fn sandbox() -> SandboxId {
    "sbx_aaaaaaaaaaaaaaaa".parse().expect("it is one")
}

/// Runs it to its end, on one runtime for all that a fuzzer tries.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: RefCell<Runtime> = RefCell::new(
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a host can make a runtime"),
        );
    }
    RUNTIME.with_borrow(|runtime| runtime.block_on(work))
}

#[cfg(test)]
mod tests {
    use super::TARGETS;
    use std::{fs, path::Path};

    /// What fuzzers set out from and what they found is tried with every build.
    #[test]
    fn the_corpora_hold() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        for (name, target) in TARGETS {
            let files: Vec<_> = fs::read_dir(corpora.join(name)).unwrap().map(|file| file.unwrap().path()).collect();
            assert!(!files.is_empty(), "{name} has nothing to set out from");
            for file in files {
                eprintln!("{}", file.display());
                target(&fs::read(file).unwrap());
            }
        }
    }
}
