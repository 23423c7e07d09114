//! Where the host dials: the one place that knows what kind of socket it is.

use std::{io, os::unix::net::UnixListener as StdListener};
use tokio::net::{UnixListener, UnixStream};

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
