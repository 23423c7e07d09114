//! The gateway: gives sandboxes their way out, and tells what went through it.

use super::{
    ledger::{Connection, HostUsage, Ledger},
    network::{Network, SystemNetwork},
    own::Own,
    policy::{Host, Policy},
    share::{Limits, People},
    upstream::UpstreamProxy,
    way_out::WayOut,
};
use crate::{
    driver::{DriverError, SandboxId, Stream},
    guest::GuestError,
};
use std::{fmt, future::Future, io, sync::Arc, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Channels of a sandbox that wait for a program to connect.
const WAITING: usize = 4;

/// What every sandbox's way out has in common.
#[derive(Debug, Clone, Default)]
pub struct GatewayConfig {
    /// `egress.upstream_proxy`.
    pub upstream: Option<UpstreamProxy>,
    /// The host of `server.public_url`: no sandbox reaches it.
    pub public_host: Option<Host>,
    /// What each person's sandboxes may use together.
    pub limits: Limits,
}

/// Lets sandboxes out.
#[derive(Debug, Clone)]
pub struct Gateway(Arc<Common>);

/// What the ways out have in common.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) upstream: Option<UpstreamProxy>,
    limits: Limits,
    pub(super) network: Arc<dyn Network>,
    pub(super) own: Own,
    people: People,
}

/// Who goes out, and where to.
#[derive(Debug, Clone)]
pub struct Access {
    /// The sandbox, for the server's own log.
    pub sandbox: SandboxId,
    /// Whose it is: what they may use, they share with their other sandboxes.
    pub person: String,
    /// Their number among the people, from 0, which stays theirs. It chooses the upstream proxy's port.
    pub seat: u64,
    /// What may be reached.
    pub policy: Policy,
    /// How names are written down.
    pub mask: Mask,
}

/// Takes out of a name that a sandbox asked for what must not be told, before it is in a log, an answer or the book.
#[derive(Clone)]
pub struct Mask(Arc<dyn Fn(&str) -> String + Send + Sync>);

impl Mask {
    /// Names are told as `shown` gives them back.
    pub fn new(shown: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(shown))
    }

    pub(super) fn shown(&self, name: &str) -> String {
        (self.0)(name)
    }
}

/// Names are told as they are.
impl Default for Mask {
    fn default() -> Self {
        Self::new(str::to_owned)
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mask").finish_non_exhaustive()
    }
}

/// Why a channel to a sandbox could not be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The sandbox has ended: the gateway stops.
    #[error("the sandbox is gone")]
    Gone,
    /// Anything else: the gateway tries again.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<GuestError> for DialError {
    fn from(error: GuestError) -> Self {
        match error {
            GuestError::Driver(DriverError::Gone(_)) => Self::Gone,
            GuestError::Driver(
                DriverError::Exists(_)
                | DriverError::Image { .. }
                | DriverError::Unavailable { .. }
                | DriverError::Step { .. },
            )
            | GuestError::Agent { .. }
            | GuestError::Timeout { .. }
            | GuestError::Request { .. }
            | GuestError::Malformed { .. }
            | GuestError::Unexpected { .. }
            | GuestError::TooLarge { .. }
            | GuestError::Broken { .. } => Self::Io(io::Error::other(error)),
        }
    }
}

impl Gateway {
    /// A gateway over the host's own network.
    pub fn new(config: GatewayConfig) -> Self {
        Self::over(config, Arc::new(SystemNetwork::default()))
    }

    /// A gateway over another network.
    pub fn over(config: GatewayConfig, network: Arc<dyn Network>) -> Self {
        let GatewayConfig { upstream, public_host, limits } = config;
        Self(Arc::new(Common { upstream, limits, network, own: Own::new(public_host), people: People::default() }))
    }

    /// Whether people's seats make a difference: the upstream proxy has several ports.
    pub fn has_seats(&self) -> bool {
        self.0.upstream.as_ref().is_some_and(UpstreamProxy::has_seats)
    }

    /// Gives a sandbox its way out. `dial` opens an egress channel to its agent,
    /// as [`crate::guest::Guest::egress`] does. It ends, with every
    /// connection, when the handle is dropped or `dial` says that the sandbox is gone.
    pub fn attach<D, F>(&self, access: Access, dial: D) -> Attached
    where
        D: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Stream, DialError>> + Send + 'static,
    {
        let ledger = Arc::new(Ledger::new());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let way_out = Arc::new(self.way_out(access, &ledger, &stop, &tasks));
        let dial = Arc::new(dial);
        for _ in 0..WAITING {
            let (way_out, dial, stop) = (Arc::clone(&way_out), Arc::clone(&dial), stop.clone());
            tasks.spawn(async move { stop.run_until_cancelled(way_out.keep_one_waiting(&*dial)).await });
        }
        tasks.close();
        Attached { ledger, stop, tasks }
    }

    pub(super) fn way_out(
        &self,
        access: Access,
        ledger: &Arc<Ledger>,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> WayOut {
        let share = self.0.people.share(&access.person, &self.0.limits);
        WayOut::new(Arc::clone(&self.0), access, share, Arc::clone(ledger), stop.clone(), tasks.clone())
    }
}

/// A sandbox's way out. Dropping it closes every connection.
#[derive(Debug)]
pub struct Attached {
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Attached {
    /// When a byte last went either way, or else when it was attached.
    pub fn last_activity(&self) -> Instant {
        self.ledger.activity().last()
    }

    /// The last 500 connections, oldest first.
    pub fn log(&self) -> Vec<Connection> {
        self.ledger.log()
    }

    /// What went to and came from each host, by name.
    pub fn hosts(&self) -> Vec<HostUsage> {
        self.ledger.hosts()
    }

    /// What it has seen and will see, to be read after it is closed too.
    pub fn traffic(&self) -> Traffic {
        Traffic(Arc::clone(&self.ledger))
    }

    /// Closes every connection and waits until it is so; the log stays.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// What a sandbox's way out has seen. Cheap to clone; it keeps nothing open.
#[derive(Debug, Clone)]
pub struct Traffic(Arc<Ledger>);

impl Traffic {
    /// When a byte last went either way, or else when it was attached.
    pub fn last_activity(&self) -> Instant {
        self.0.activity().last()
    }

    /// The last 500 connections, oldest first.
    pub fn log(&self) -> Vec<Connection> {
        self.0.log()
    }

    /// What went to and came from each host, by name.
    pub fn hosts(&self) -> Vec<HostUsage> {
        self.0.hosts()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
