//! Where the host dials: the one place that knows what kind of socket it is.

use std::{io, os::unix::net::UnixListener as StdListener, time::Duration};
use tokio::{
    net::{UnixListener, UnixStream},
    time::{Interval, MissedTickBehavior, interval},
};

/// How often accepting is tried while it is refused, for want of descriptors or memory.
const RETRY: Duration = Duration::from_millis(50);

/// The stream of one channel.
pub(crate) type Stream = UnixStream;

/// Accepts the host's connections.
#[derive(Debug)]
pub(crate) struct Listener(UnixListener);

impl Listener {
    /// The listening socket that is this process's standard input: whoever
    /// started it made the socket, so no file of it is visible in the sandbox.
    pub(crate) fn from_stdin() -> io::Result<Self> {
        let stdin = rustix::stdio::stdin();
        if !rustix::net::sockopt::socket_acceptconn(stdin).unwrap_or(false) {
            return Err(io::Error::other("standard input is not a listening socket"));
        }
        let listener = StdListener::from(stdin.try_clone_to_owned()?);
        listener.set_nonblocking(true)?;
        Ok(Self(UnixListener::from_std(listener)?))
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        Ok(self.0.accept().await?.0)
    }
}

/// The pace of accepting while it is refused: the kernel does not tell when it would work again.
pub(crate) fn retry() -> Interval {
    let mut pace = interval(RETRY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}
