//! What turns wishes into sandboxes and answers.
//!
//! ```text
//!   accept() ─► row `queued` ─ poke ─► reconcile(): plan ─► start ─► a task for the run, or the login
//!   cancel() ─► wish in row  ─ poke ─►                      stop, end, destroy
//!                         timer ─────►                      park, discard ─► pool: a start takes from it
//! ```
//!
//! The database is the wish, `driver.observe()` is the truth, [`plan`] closes
//! the gap. The reconciler takes no input, runs on a poke and on a timer, and
//! may run at any time: start-up after a crash is no second path.

mod capture;
mod cause;
mod console;
mod converse;
mod disk;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hub;
mod insist;
mod link;
mod login;
mod logins;
mod network;
mod outputs;
pub mod plan;
mod pool;
mod prepare;
pub mod progress;
mod readback;
mod reconcile;
mod retention;
mod run;
mod say;
mod secrets;
pub mod selfcheck;
pub mod verify;

pub use disk::{Disk, DiskError};
pub use hub::{Feed, Follower, Hub};
pub use logins::Logins;

use crate::{
    cli::output::chain,
    config::Config,
    domain::{
        change::Change,
        connections::{self, Connection, ConnectionError, Status},
        event::{EventBody, LogLevel},
        failure::{Code, Failure},
        id,
        run::Wish,
        time,
    },
    metrics::Metrics,
    providers::Provider,
    store::{Store, StoreError},
    vault::Vault,
};
use polydev_sandbox::{
    Driver, SandboxId,
    egress::{Gateway, HostRule, Policy},
    image::{Image, ImageStore, Kind},
};
use progress::Progress;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    sync::Notify,
    time::{Duration, Instant},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Why a run of an earlier server is put back.
const UNBEGUN: &str = "the server was stopped before the tool was started: the run begins anew";

/// How long a server that is stopped at its start waits for its first look at the world.
const LOOKED_WITHIN: Duration = Duration::from_secs(10);

/// Where runs are accepted, followed and cancelled. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runs(Arc<Inner>);

/// What the runs of a server share.
#[derive(Debug)]
pub struct Inner {
    config: Arc<Config>,
    store: Store,
    vault: Arc<Vault>,
    driver: Arc<dyn Driver>,
    images: ImageStore,
    ways: WaysOut,
    metrics: Metrics,
    hub: Hub,
    poke: Notify,
    /// The runs that a task works on.
    live: Mutex<HashMap<String, Live>>,
    /// The logins that a task works on. Locked after `live`, where both are.
    desktops: Mutex<HashMap<String, Live>>,
    /// The sandboxes that are made ahead. Locked after these, where both are.
    pools: Mutex<pool::Pools>,
    /// What was found when the server last looked after itself.
    found: selfcheck::Last,
    /// Nothing new is accepted or started.
    draining: CancellationToken,
    /// A pass has looked at the world: what an earlier server left is taken over.
    looked: CancellationToken,
    tasks: TaskTracker,
}

/// Every way to the network.
#[derive(Debug)]
pub struct WaysOut {
    /// The sandboxes'.
    pub gateway: Gateway,
    /// What they may reach.
    pub rules: Rules,
    /// The server's own, to providers.
    pub client: reqwest::Client,
}

/// What the operator allows and denies beside a provider's own hosts.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// `egress.allow`
    pub allow: Vec<HostRule>,
    /// `egress.deny`
    pub deny: Vec<HostRule>,
}

/// A run or a login that a task works on.
#[derive(Debug)]
struct Live {
    sandbox: SandboxId,
    stop: CancellationToken,
    /// Its tool has not been started yet, or its desktop is not up with its browser.
    starting: bool,
    /// When this server took it up.
    since: Instant,
    /// Why it was stopped, when not by its owner.
    interrupted: bool,
    /// What its sandbox reaches, once it has a way out.
    seen: Option<network::Seen>,
}

impl Live {
    fn new(sandbox: SandboxId, stop: CancellationToken, starting: bool) -> Self {
        Self { sandbox, stop, starting, since: Instant::now(), interrupted: false, seen: None }
    }
}

impl Runs {
    /// Runs over these parts. Nothing happens until [`Runs::reconcile_forever`].
    pub fn new(
        config: Arc<Config>,
        store: Store,
        vault: Arc<Vault>,
        driver: Arc<dyn Driver>,
        images: ImageStore,
        ways: WaysOut,
    ) -> Self {
        Self(Arc::new(Inner {
            config,
            store,
            vault,
            driver,
            images,
            ways,
            metrics: Metrics::default(),
            hub: Hub::default(),
            poke: Notify::new(),
            live: Mutex::default(),
            desktops: Mutex::default(),
            pools: Mutex::default(),
            found: selfcheck::Last::default(),
            draining: CancellationToken::new(),
            looked: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Wakes those who follow a run.
    pub fn hub(&self) -> &Hub {
        &self.0.hub
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Accepts a run for a person: its id. What is accepted is stored.
    pub async fn accept(&self, user_id: &str, wish: Wish) -> Result<String, Failure> {
        let inner = &self.0;
        wish.check()?;
        if inner.draining.is_cancelled() {
            return Err(Failure::new(Code::DriverUnavailable, "the server is stopping").hint("Try again in a moment."));
        }
        let provider = crate::providers::by_name(&wish.provider)
            .ok_or_else(|| Failure::new(Code::NotFound, format!("there is no provider `{}`", wish.provider)))?;
        let connection = connections::get(&inner.store, user_id, &wish.provider).await.map_err(fault)?;
        usable(connection, provider)?;
        if inner.driver.capabilities().uses_image {
            image(&inner.images, Kind::Cli)?;
        }
        let timeout_s = wish.timeout_s.unwrap_or(inner.config.runs.timeout.as_secs() as i64);
        let (id, most) = (id::new("run"), inner.config.runs.max_queued as i64);
        let stored = inner.store.insert_run(&id, user_id, &wish, timeout_s, most, time::now_ms()).await;
        let stored = stored.map_err(|error| {
            if wish.claim.is_some() && error.is_duplicate() {
                return Failure::new(Code::IdempotencyInProgress, "another server is at work on the same request")
                    .hint("Ask again in a moment, with the same key.");
            }
            fault(error)
        })?;
        if !stored {
            return Err(Failure::new(
                Code::QueueFull,
                format!("{most} of your runs are waiting, which is all that may"),
            )
            .hint("Try again when some have ended; `runs.max_queued` sets how many may wait."));
        }
        inner.metrics.events(1);
        inner.hub.changed(user_id, Change::run(&id));
        inner.poke.notify_one();
        Ok(id)
    }

    /// Writes down the wish to cancel a run. `false`: it is over.
    pub async fn cancel(&self, id: &str) -> Result<bool, StoreError> {
        let open = self.0.store.request_cancel(id, time::now_ms()).await?;
        self.0.poke.notify_one();
        Ok(open)
    }

    /// The same, if the run works in this sandbox.
    pub async fn cancel_in(&self, id: &str, sandbox: &str) -> Result<(), StoreError> {
        self.0.store.request_cancel_in(id, sandbox, time::now_ms()).await?;
        self.0.poke.notify_one();
        Ok(())
    }

    /// Looks at once for what follows from a row that somebody else has changed.
    pub fn look(&self) {
        self.0.poke.notify_one();
    }

    /// Deletes a run that is over. `false`: it is not, or there is none.
    pub async fn delete(&self, id: &str) -> Result<bool, StoreError> {
        // A run may have a million events: deleted in one go, they would hold up everybody's for seconds.
        self.0.store.empty_run(id).await?;
        let Some(owner) = self.0.store.delete_run(id).await? else { return Ok(false) };
        // Who reads it still finds nothing more.
        self.0.hub.notify(id, i64::MAX);
        self.0.hub.changed(&owner, Change::run(id));
        Ok(true)
    }

    /// Waits until a run is over, or the server stops.
    pub async fn ended(&self, id: &str) -> Result<(), StoreError> {
        let mut follower = self.0.hub.subscribe(id);
        loop {
            follower.look();
            if !self.0.store.is_open(id).await? || !follower.woken().await {
                return Ok(());
            }
        }
    }

    /// The name of what makes sandboxes.
    pub fn driver(&self) -> &'static str {
        self.0.driver.kind()
    }

    /// Whether a run could be started now.
    pub async fn can_run(&self) -> bool {
        self.0.driver.observe().await.is_ok()
            && (!self.0.driver.capabilities().uses_image || image(&self.0.images, Kind::Cli).is_ok())
    }

    /// Closes the gap between wish and truth, on a poke and on a timer, until cancelled.
    pub async fn reconcile_forever(&self, stop: CancellationToken) {
        let mut timer = tokio::time::interval(Duration::from_secs(10));
        loop {
            if let Err(error) = self.reconcile().await {
                tracing::error!(%error, "the reconciler could not look at the world; it will again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.poke.notified() => {}
                _ = timer.tick() => {}
            }
        }
    }

    /// Takes no new work, gives what runs `grace`, ends the rest as interrupted, and destroys everything.
    pub async fn drain(&self, grace: Duration) {
        let inner = &self.0;
        // What an earlier server left is taken over before it is ended: a tool may have a login to give back.
        if tokio::time::timeout(LOOKED_WITHIN, inner.looked.cancelled()).await.is_err() {
            tracing::error!("the first look at the world has no end; the next start will clean up");
        }
        {
            // A pass that is under way starts its tasks under the same locks: they are waited for below, or never start.
            let (_live, _desktops) = (inner.live(), inner.desktops());
            inner.draining.cancel();
        }
        inner.tasks.close();
        // What is parked is of no use any more, and goes while runs end.
        inner.poke.notify_one();
        let (runs, logins) = (inner.live().len(), inner.desktops().len());
        if runs + logins > 0 {
            tracing::info!(runs, logins, grace_s = grace.as_secs(), "waiting for runs and logins to end");
        }
        if tokio::time::timeout(grace, inner.tasks.wait()).await.is_err() {
            for live in inner.live().values_mut().chain(inner.desktops().values_mut()) {
                live.interrupted = true;
                live.stop.cancel();
            }
            inner.tasks.wait().await;
        }
        if let Err(error) = self.reconcile().await {
            tracing::error!(%error, "the last look at the world did not work; the next start will clean up");
        }
        inner.tasks.wait().await;
        inner.hub.close();
    }
}

impl Inner {
    fn live(&self) -> MutexGuard<'_, HashMap<String, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn desktops(&self) -> MutexGuard<'_, HashMap<String, Live>> {
        self.desktops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What somebody who signs in may reach: the web, whose pages nobody can list beforehand.
    fn web(&self) -> Policy {
        Policy { allow: vec![HostRule::AnyName], deny: self.ways.rules.deny.clone(), ports: vec![443, 80] }
    }

    /// What a run that needs these hosts may reach.
    fn policy(&self, hosts: &[&str]) -> Policy {
        let own = hosts.iter().filter_map(|host| host.parse().ok());
        Policy {
            allow: own.chain(self.ways.rules.allow.iter().cloned()).collect(),
            deny: self.ways.rules.deny.clone(),
            ports: vec![443],
        }
    }

    /// Stores events of a run, with how far its tool was heard, and wakes its followers. `false`: the run is over.
    async fn append(&self, run: &str, bodies: &[EventBody], progress: Option<&Progress>) -> Result<bool, StoreError> {
        let last = self.store.append_events(run, bodies, progress, time::now_ms()).await?;
        if let Some(seq) = last.filter(|_| !bodies.is_empty()) {
            self.metrics.events(bodies.len());
            self.hub.notify(run, seq);
        }
        Ok(last.is_some())
    }

    /// Puts a run back into the queue, whose tool was not started.
    async fn put_back(&self, run: &str, why: &str) -> Result<(), StoreError> {
        let why = EventBody::Log { level: LogLevel::Info, text: why.to_owned() };
        if let Some(seq) = self.store.requeue_run(run, &why, time::now_ms()).await? {
            tracing::info!(run, "a run is put back into the queue");
            self.metrics.events(1);
            self.hub.notify(run, seq);
            self.tell_owner(run).await;
            self.poke.notify_one();
        }
        Ok(())
    }

    /// Ends a run and wakes its followers.
    async fn finish(&self, run: &str, end: &crate::store::runs::End) -> Result<(), StoreError> {
        if let Some(ended) = self.store.finish_run(run, end, time::now_ms()).await? {
            self.metrics.events(1);
            self.metrics.run_ended(end, &ended);
            self.hub.notify(run, ended.seq);
            self.tell_owner(run).await;
        }
        Ok(())
    }

    /// Tells a run's owner that it has changed, where somebody listens at all.
    async fn tell_owner(&self, run: &str) {
        if !self.hub.has_feeds() {
            return;
        }
        match self.store.owner_of(run).await {
            Ok(owner) => owner.iter().for_each(|owner| self.hub.changed(owner, Change::run(run))),
            Err(error) => tracing::warn!(run, error = chain(&error), "whose run has changed cannot be read"),
        }
    }
}

/// The image that sandboxes of this kind are made from.
fn image(images: &ImageStore, kind: Kind) -> Result<Image, Failure> {
    images.current(kind).map_err(|error| {
        Failure::new(Code::ImageMissing, error.to_string()).hint(format!("Build it with `polydev image build {kind}`."))
    })
}

/// A fault of the server: its words are for the log alone.
fn fault(error: impl std::error::Error) -> Failure {
    tracing::error!(error = chain(&error), "a fault");
    Failure::new(Code::Internal, "the server has a fault").hint("Look into the server's log.")
}

/// Refuses a connection that no run can use.
fn usable(connection: Option<Connection>, provider: &dyn Provider) -> Result<(), Failure> {
    let name = || provider.about().name.to_owned();
    let error = match connection {
        None => ConnectionError::NotConnected(name()),
        Some(Connection { status: Status::Active | Status::Expiring, .. }) => return Ok(()),
        Some(Connection { error, .. }) => {
            ConnectionError::NeedsReconnect { provider: name(), error: error.map(Box::new) }
        }
    };
    Err(no_connection(error, provider))
}

/// Why a connection cannot be used, as people are told.
pub fn no_connection(error: ConnectionError, provider: &dyn Provider) -> Failure {
    let (name, label) = (provider.about().name, provider.about().label);
    match error {
        ConnectionError::NotConnected(_) => {
            Failure::new(Code::NotConnected, format!("{label} is not connected")).hint(format!(
                "Sign in or bring an API key on the page that `polydev connect {name}` opens, or connect with \
                 `polydev connect {name} --api-key-stdin`."
            ))
        }
        ConnectionError::NeedsReconnect { error, .. } => {
            let why = error.map(|error| format!(": {}", error.message)).unwrap_or_default();
            Failure::new(Code::NeedsReconnect, format!("{label} no longer accepts the connection{why}")).hint(format!(
                "Sign in again or bring an API key on the page that `polydev connect {name}` opens, or connect \
                     with `polydev connect {name} --api-key-stdin`."
            ))
        }
        error @ (ConnectionError::Unreadable(_) | ConnectionError::Vault(_) | ConnectionError::Store(_)) => {
            fault(error)
        }
    }
}
