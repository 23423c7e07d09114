//! What fuzzers give to all that reads what a guest says, and what must hold of it whatever that is.
//!
//! Built for fuzzers and tests alone: `fuzz/` in the workspace has a program for each of [`TARGETS`], and what they
//! found. A target panics when something does not hold.

pub use crate::{
    egress::fuzz::{gateway, hello, names},
    guest::fuzz::agent,
};

use crate::testing::pieces;
use std::{
    cell::RefCell,
    collections::VecDeque,
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
    pieces: VecDeque<Vec<u8>>,
    heard: Arc<Mutex<Vec<u8>>>,
}

/// How much is kept of what was written to it, bytes.
const HEARD_MAX: usize = 64 * 1024;

impl Saying {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self { pieces: pieces(bytes).map(<[u8]>::to_vec).collect(), heard: Arc::default() }
    }

    /// What is written to it.
    pub(crate) fn heard(&self) -> Arc<Mutex<Vec<u8>>> {
        self.heard.clone()
    }
}

impl AsyncRead for Saying {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(piece) = self.pieces.front_mut() {
            let rest = piece.split_off(piece.len().min(buf.remaining()));
            buf.put_slice(piece);
            *piece = rest;
            self.pieces.pop_front_if(|piece| piece.is_empty());
        }
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
    /// What fuzzers set out from and what they found is tried with every build.
    #[test]
    fn the_corpora_hold() {
        for (name, target) in super::TARGETS {
            crate::testing::corpus(name, target);
        }
    }
}
