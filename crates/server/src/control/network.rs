//! What a run's sandbox reaches, as its owner sees it: while it goes on, and after.
//!
//! ```text
//!   gateway ─► Traffic ─┐
//!                       ├─► Seen::now() ─┬─► GET /runs/{id}/network
//!   row, of the server ─┘                └─► row: now and then, and at the end
//!   that began the run
//! ```

use super::{Inner, Live, Runs, chain, fault, prepare, run::Said};
use crate::{
    domain::{
        failure::Failure,
        redact::Redactor,
        run::Run,
        sandbox::{Flow, Host, Network, Verdict},
        time,
    },
    store::StoreError,
};
use polydev_sandbox::{
    Guest, SandboxId,
    egress::{self, Access, Attached, Mask, Policy, Traffic},
};
use std::{
    convert::Infallible,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

/// How often what was seen is kept: a server that is killed loses no more of it.
const KEPT_EVERY: Duration = Duration::from_secs(30);

/// What was seen of a sandbox so far. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    traffic: Traffic,
    earlier: Option<Network>,
    /// A moment, by both clocks.
    since: (Instant, i64),
}

impl Seen {
    /// What this server sees, after what an `earlier` one saw, as far as that was kept.
    pub(super) fn new(traffic: Traffic, earlier: Option<Network>) -> Self {
        Self { traffic, earlier, since: (Instant::now(), time::now_ms()) }
    }

    /// All of it.
    pub(super) fn now(&self) -> Network {
        let now = self.by_this_server();
        match &self.earlier {
            Some(earlier) => earlier.clone().and_then(now),
            None => now,
        }
    }

    /// All that this server sees.
    pub(super) fn by_this_server(&self) -> Network {
        let host = |seen: egress::HostUsage| Host {
            host: seen.host,
            connections: seen.connections,
            denied: seen.denied,
            failed: seen.failed,
            reason: seen.reason.map(str::to_owned),
            bytes_up: seen.bytes_up,
            bytes_down: seen.bytes_down,
        };
        let flow = |seen: egress::Connection| Flow {
            at: time::rfc3339(self.since.1 + seen.at.saturating_duration_since(self.since.0).as_millis() as i64),
            host: seen.host,
            port: seen.port,
            verdict: match seen.verdict {
                egress::Verdict::Allowed => Verdict::Allowed,
                egress::Verdict::Denied => Verdict::Denied,
                egress::Verdict::Failed => Verdict::Failed,
            },
            reason: seen.reason.map(str::to_owned),
            bytes_up: seen.bytes_up,
            bytes_down: seen.bytes_down,
        };
        Network {
            hosts: self.traffic.hosts().into_iter().map(host).collect(),
            connections: self.traffic.log().into_iter().map(flow).collect(),
        }
    }
}

impl Runs {
    /// What a sandbox of this run has reached so far, or had until its end; nothing where that is not known.
    pub async fn network(&self, run: &str, sandbox: &str) -> Result<Option<Network>, StoreError> {
        let seen = |live: &Live| live.seen.clone().filter(|_| live.sandbox.as_str() == sandbox);
        let seen = self.0.live().get(run).and_then(seen);
        match seen {
            Some(seen) => Ok(Some(seen.now())),
            None => self.0.store.network(sandbox).await,
        }
    }
}

/// Opens the way out of a run, to these hosts and without telling these secrets. What it sees comes after what was
/// seen by an `earlier` server.
pub(super) async fn open(
    inner: &Inner,
    run: &Run,
    (hosts, secrets): (&[&str], &Redactor),
    guest: &Guest,
    earlier: Option<Network>,
    said: &mut Said,
) -> Result<Traffic, Failure> {
    let hidden = Hidden::from(secrets);
    let way_out = attach(inner, &run.user_id, inner.policy(hosts), hidden.clone(), guest).await?;
    let traffic = way_out.traffic();
    let seen = Seen::new(traffic.clone(), earlier);
    if let Some(live) = inner.live().get_mut(&run.id) {
        live.seen = Some(seen.clone());
    }
    (said.way_out, said.seen, said.hidden) = (Some(way_out), Some(seen), Some(hidden));
    Ok(traffic)
}

/// What must not be told in the names that a sandbox asks for. Clones are one.
#[derive(Debug, Clone)]
pub(super) struct Hidden(Arc<RwLock<Redactor>>);

impl From<&Redactor> for Hidden {
    fn from(secrets: &Redactor) -> Self {
        // Names are compared in lower case, and written down so.
        Self(Arc::new(RwLock::new(secrets.and_lower_case())))
    }
}

impl Hidden {
    /// From here on it is these.
    pub(super) fn learn(&self, secrets: &Redactor) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = secrets.and_lower_case();
    }

    fn mask(self) -> Mask {
        Mask::new(move |name| self.0.read().unwrap_or_else(PoisonError::into_inner).text(name).into_owned())
    }
}

/// Gives a person's sandbox its way out, by this policy and without telling these secrets.
pub(super) async fn attach(
    inner: &Inner,
    person: &str,
    policy: Policy,
    secrets: impl Into<Hidden>,
    guest: &Guest,
) -> Result<Attached, Failure> {
    let gateway = &inner.ways.gateway;
    let seat = if gateway.has_seats() { inner.store.seat(person).await.map_err(fault)? } else { 0 };
    let access =
        Access { sandbox: guest.id().clone(), person: person.to_owned(), seat, policy, mask: secrets.into().mask() };
    Ok(gateway.attach(access, prepare::dial(guest)))
}

/// Keeps what is seen of a sandbox, now and then, for as long as it is waited for.
pub(super) async fn keep_forever(inner: &Inner, sandbox: &SandboxId, seen: &Seen) -> Infallible {
    let mut timer = tokio::time::interval(KEPT_EVERY);
    let mut kept = Network::default();
    loop {
        timer.tick().await;
        let now = seen.now();
        if now == kept {
            continue;
        }
        match inner.store.keep_network(sandbox.as_str(), &now).await {
            Ok(()) => kept = now,
            Err(error) => {
                tracing::warn!(%sandbox, error = chain(&error), "what a sandbox reached could not be kept yet");
            }
        }
    }
}
