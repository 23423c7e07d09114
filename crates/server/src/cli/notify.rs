//! Tells the service manager how the server is: the protocol of systemd (`man 3 sd_notify`), which others speak too.
//!
//! ```text
//!   it listens ─► READY=1 ── every half of WATCHDOG_USEC ─► WATCHDOG=1 ── SIGTERM ─► STOPPING=1
//! ```

use crate::config::Env;
use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Who is told, if anybody is.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// Within which time something must be told for the server to count as alive.
    watchdog: Option<Duration>,
}

impl Notify {
    /// Whoever these variables name.
    pub fn of(env: &Env) -> Self {
        let Some(name) = env.get("NOTIFY_SOCKET") else { return Self::default() };
        let mine = |pid: &str| pid == std::process::id().to_string();
        let watchdog = env
            .get("WATCHDOG_USEC")
            .filter(|_| env.get("WATCHDOG_PID").is_none_or(mine))
            .and_then(|micros| micros.parse().ok())
            .map(Duration::from_micros);
        match open(name) {
            Ok(socket) => Self { socket: Some(socket), watchdog },
            Err(error) => {
                tracing::warn!(%error, "the service manager cannot be told how the server is");
                Self::default()
            }
        }
    }

    /// It answers.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// It is about to end.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// Says that it is alive, as long as it is, where somebody wants to know.
    pub async fn alive_forever(&self, stop: CancellationToken) {
        let Some(within) = self.watchdog.filter(|within| !within.is_zero()) else { return };
        let mut timer = tokio::time::interval(within / 2);
        let alive = async {
            loop {
                timer.tick().await;
                self.say("WATCHDOG=1");
            }
        };
        stop.run_until_cancelled(alive).await;
    }

    fn say(&self, state: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::debug!(%error, state, "the service manager was not told");
        }
    }
}

/// A path, or the name of an abstract socket behind an `@`.
fn open(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}
