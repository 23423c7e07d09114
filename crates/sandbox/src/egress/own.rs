//! What leads back to this server: the host's own addresses, and those of its public URL.

use super::{address::OwnHost, network::Network, policy::Host};
use ipnet::IpNet;
use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// How long the addresses of the public URL's name are believed before they are asked for again.
const FRESH: Duration = Duration::from_secs(60);
/// How long an address is refused that the name does not lead to any more: answers may take turns.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// How long its look-up may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// How many of its addresses are known at most.
const ADDRESSES_MAX: usize = 256;

/// What leads back to this server.
#[derive(Debug, Default)]
pub(super) struct Own {
    public: Option<Host>,
    known: Mutex<Known>,
}

/// The addresses of the public URL's name.
#[derive(Debug, Default)]
struct Known {
    asked: Option<Instant>,
    answered: bool,
    seen: HashMap<IpAddr, Instant>,
}

impl Own {
    /// `public`: the host of `server.public_url`.
    pub(super) fn new(public: Option<Host>) -> Self {
        Self { public, known: Mutex::default() }
    }

    /// All of it that is known now. With `looked_up`, what the name of the public URL leads to is among it: a server
    /// behind another address than those of its interfaces is reached by that one.
    pub(super) async fn now(&self, network: &dyn Network, looked_up: bool) -> io::Result<OwnHost> {
        let mut addresses = network.own_addresses()?;
        if let Some(Host::Name(name)) = self.public.as_ref().filter(|_| looked_up) {
            if self.is_due() {
                self.look_up(network, name).await;
            }
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            addresses.extend(known.seen.keys().copied().map(IpNet::from));
        }
        Ok(OwnHost { addresses, public: self.public.clone() })
    }

    /// Whether its name is to be asked for now. Whoever comes while it is, uses what is known; before the first
    /// answer there is nothing, and everybody asks.
    fn is_due(&self) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = !known.answered || known.asked.is_none_or(|asked| asked.elapsed() > FRESH);
        if is_due {
            known.asked = Some(Instant::now());
        }
        is_due
    }

    async fn look_up(&self, network: &dyn Network, name: &str) {
        let found = timeout(LOOKUP_TIMEOUT, network.resolve(name)).await;
        let found = found.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.seen.retain(|_, seen| seen.elapsed() < REMEMBERED);
        match found {
            Ok(found) => {
                known.answered = true;
                let (now, room) = (Instant::now(), ADDRESSES_MAX.saturating_sub(known.seen.len()));
                known.seen.extend(found.into_iter().take(room).map(|address| (address, now)));
            }
            // What it led to before stays refused, and its name in any case. Where there was no answer yet, the next
            // connection asks again.
            Err(error) => tracing::debug!(name, %error, "the name of `server.public_url` cannot be looked up"),
        }
    }
}
