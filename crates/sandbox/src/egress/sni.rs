//! The first TLS message of a connection: does it name the server that was asked for?

use super::policy::{Denial, Host};
use bytes::{Bytes, BytesMut};
use rustls::server::Acceptor;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The most bytes that are read in search of a ClientHello. Those of today's
/// tools and browsers, post-quantum key shares included, have under 3 KiB.
const HELLO_MAX: usize = 16 * 1024;

/// A fatal `unrecognized_name` alert (RFC 8446, 6.2), so that the tool can say
/// what happened instead of "connection closed".
pub(super) const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// What came instead of a fitting ClientHello.
#[derive(Debug)]
pub(super) enum BadHello {
    /// The client closed before it was complete.
    Closed,
    /// The policy refuses it.
    Denied(Denial),
}

impl From<io::Error> for BadHello {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// Reads a ClientHello and compares its server name with the host of the
/// CONNECT. An address has no server name (RFC 6066, 3), so none must be
/// there. Gives back every byte that was read.
pub(super) async fn read_hello<S: AsyncRead + Unpin>(client: &mut S, host: &Host) -> Result<Bytes, BadHello> {
    let mut acceptor = Acceptor::default();
    let mut seen = BytesMut::with_capacity(4096);
    loop {
        let start = seen.len();
        let room = HELLO_MAX - start;
        if room == 0 || client.take(room as u64).read_buf(&mut seen).await? == 0 {
            return Err(if room == 0 { BadHello::Denied(Denial::NotTls) } else { BadHello::Closed });
        }
        let mut fresh = &seen[start..];
        while !fresh.is_empty() {
            // Beyond a first message rustls buffers no more; those bytes are in `seen` all the same.
            if acceptor.read_tls(&mut fresh).map_err(|_| BadHello::Denied(Denial::NotTls))? == 0 {
                break;
            }
            match acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    return compare(hello.server_name(), host).map(|()| seen.freeze()).map_err(BadHello::Denied);
                }
                Err(_) => return Err(BadHello::Denied(Denial::NotTls)),
            }
        }
    }
}

fn compare(server_name: Option<&str>, host: &Host) -> Result<(), Denial> {
    match (server_name, host) {
        (None, Host::Address(_)) => Ok(()),
        (None, Host::Name(_)) => Err(Denial::NoServerName),
        (Some(name), Host::Name(host)) if name.eq_ignore_ascii_case(host) => Ok(()),
        (Some(_), Host::Name(_) | Host::Address(_)) => Err(Denial::OtherServerName),
    }
}
