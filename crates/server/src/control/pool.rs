//! Warm sandboxes: made ahead, for whoever comes next.
//!
//! ```text
//!          Park              made             claimed
//!   ─ wanted ─► making ─────────────► parked ─────────► a run's, or a login's: one, and never back
//!                 │ did not work         │ Discard: made from what is outdated, ended, too many,
//!                 ▼                      ▼          memory is short, the server stops
//!               gone; later again      leaving ─► gone
//! ```
//!
//! A parked sandbox is nobody's: no person's file is in it, and no gateway is
//! attached to it, so it has no way out. It is made in the background, and
//! gives way to what runs. How many there are, [`plan`](super::plan) decides.
//!
//! One for a run waits with its agent alone in it, which takes no processor time. One for a login has its desktop up,
//! and sleeps: it is asked nothing until it is claimed.

mod room;

use super::{
    Inner, Runs, chain,
    plan::{Parked, Warm},
    prepare, run,
};
use crate::{
    domain::{id, time},
    metrics::Claimed,
    providers::PROVIDERS,
};
use polydev_sandbox::{Priority, Sandbox, SandboxId, SandboxSpec, desktop, host, image::Kind};
use room::{Room, room};
use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, MutexGuard, PoisonError},
};
use tokio::time::{Duration, Instant};

/// How long after a first failure the next attempt may come; each further one doubles it.
const RETRY: Duration = Duration::from_secs(1);
/// The longest pause between attempts.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// How long a desktop may take to be up and settled. On a machine that others keep busy it gets little of it.
const UP_WITHIN: Duration = Duration::from_secs(180);
/// For how long what starts for somebody may hold up the pool: a desktop whose browser never comes is a desktop.
const STARTING_AT_MOST: Duration = Duration::from_secs(120);

/// The sandboxes that are made ahead, of either kind.
#[derive(Debug, Default)]
pub(super) struct Pools {
    cli: Pool,
    desktop: Pool,
}

impl Pools {
    fn of(&mut self, kind: Kind) -> &mut Pool {
        match kind {
            Kind::Cli => &mut self.cli,
            Kind::Desktop => &mut self.desktop,
        }
    }

    /// Every sandbox that a task makes, that is parked, or that a task destroys.
    pub(super) fn sandboxes(&self) -> impl Iterator<Item = &SandboxId> {
        self.cli.spots.keys().chain(self.desktop.spots.keys())
    }
}

/// The sandboxes of one kind that are made ahead.
#[derive(Debug, Default)]
struct Pool {
    spots: HashMap<SandboxId, Spot>,
    /// What sandboxes are made from now. None: there is no image, or no pool is wanted.
    current: Option<Origin>,
    trouble: Option<Trouble>,
    /// The image that was read into memory: its content id.
    read: Option<String>,
}

#[derive(Debug)]
enum Spot {
    /// A task makes it.
    Making,
    /// It waits for a run or a login.
    Parked(Box<Sandbox>, Origin),
    /// A task destroys it.
    Leaving,
}

/// What a sandbox is made from. One that was made from anything else is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    spec: SandboxSpec,
    /// Which `sandbox.ca_file` it was. None: there is none, or it cannot be looked at.
    ca: Option<FileVersion>,
}

/// A file as it was at one time: device, inode, size, and when its content and the rest of it changed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileVersion(u64, u64, u64, [i64; 4]);

impl FileVersion {
    fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        Some(Self(meta.dev(), meta.ino(), meta.size(), times))
    }
}

/// Why none could be made.
#[derive(Debug)]
struct Trouble {
    origin: Origin,
    cause: String,
    failures: u32,
    again_at: Instant,
}

impl Pool {
    /// A parked sandbox of today's making, for good.
    fn claim(&mut self) -> Option<Sandbox> {
        let current = self.current.as_ref()?;
        let fits = |spot: &Spot| matches!(spot, Spot::Parked(_, origin) if origin == current);
        let id = self.spots.iter().find(|(_, spot)| fits(spot)).map(|(id, _)| id.clone())?;
        match self.spots.remove(&id)? {
            Spot::Parked(sandbox, _) => Some(*sandbox),
            Spot::Making | Spot::Leaving => None,
        }
    }

    /// How many wait.
    fn parked(&self) -> usize {
        self.spots.values().filter(|spot| matches!(spot, Spot::Parked(..))).count()
    }

    /// What the plan is made from.
    fn seen(&self) -> Vec<(SandboxId, Parked)> {
        let seen = |(id, spot): (&SandboxId, &Spot)| {
            let how = match spot {
                Spot::Making => Parked::Making,
                Spot::Parked(_, origin) if Some(origin) == self.current.as_ref() => Parked::Ready,
                Spot::Parked(..) => Parked::Outdated,
                Spot::Leaving => Parked::Leaving,
            };
            (id.clone(), how)
        };
        self.spots.iter().map(seen).collect()
    }

    /// Whether another attempt may be made at this time.
    fn may_try(&self, now: Instant) -> bool {
        !self.trouble.as_ref().is_some_and(|t| Some(&t.origin) == self.current.as_ref() && now < t.again_at)
    }

    /// Writes down that none could be made. Whether that is news.
    fn failed(&mut self, origin: Origin, cause: String, now: Instant) -> bool {
        let before = self.trouble.take().filter(|trouble| trouble.origin == origin);
        let failures = before.as_ref().map_or(0, |trouble| trouble.failures) + 1;
        let pause = RETRY.saturating_mul(1 << (failures - 1).min(16)).min(RETRY_MAX);
        let news = before.is_none_or(|trouble| trouble.cause != cause);
        self.trouble = Some(Trouble { origin, cause, failures, again_at: now + pause });
        news
    }
}

impl Runs {
    /// How many sandboxes of each kind are parked.
    pub fn parked(&self) -> Vec<(Kind, usize)> {
        Kind::ALL.iter().map(|kind| (*kind, self.0.pools().of(*kind).parked())).collect()
    }
}

impl Inner {
    pub(super) fn pools(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many desktops wait for somebody who signs in.
    pub(super) fn warm_desktops(&self) -> usize {
        self.pools().desktop.parked()
    }

    /// Looks at the pools, and at what they would be made from now.
    pub(super) fn warm(&self) -> Vec<Warm> {
        let available = host::available_memory_mib();
        let starting = self.live().values().chain(self.desktops().values()).any(|live| live.starts());
        let look = |kind: &Kind| {
            let most = self.wanted(*kind);
            // Without an image there is nothing to make, and nothing to tell: runs and logins say so.
            let current = if most == 0 { None } else { self.origin(*kind) };
            let room = current.as_ref().map_or(Room::None, |origin| room(available, *kind, &origin.spec.limits));
            let mut pools = self.pools();
            let pool = pools.of(*kind);
            pool.current = current;
            Warm {
                kind: *kind,
                sandboxes: pool.seen(),
                wanted: if room == Room::None { 0 } else { most },
                may_make: room == Room::Ample && !starting && pool.may_try(Instant::now()),
            }
        };
        Kind::ALL.iter().map(look).collect()
    }

    /// How many the operator wants, as far as they are of use.
    fn wanted(&self, kind: Kind) -> usize {
        let pool = &self.config.pool;
        match kind {
            _ if self.draining.is_cancelled() => 0,
            Kind::Cli => pool.cli as usize,
            // One that cannot sleep would take its share of a processor for as long as nobody comes.
            Kind::Desktop if !self.driver.capabilities().freezes => 0,
            Kind::Desktop if !PROVIDERS.iter().any(|provider| self.config.login_enabled(provider.about().name)) => 0,
            Kind::Desktop => pool.desktop as usize,
        }
    }

    fn origin(&self, kind: Kind) -> Option<Origin> {
        let spec = prepare::spec(self, kind).ok()?;
        let ca = spec.ca_file.as_deref().and_then(FileVersion::of);
        Some(Origin { spec, ca })
    }

    /// The sandbox for a run or a login: a parked one, or one to be made.
    pub(super) fn sandbox(&self, kind: Kind) -> Sandbox {
        let claimed = self.pools().of(kind).claim();
        self.metrics.claim(kind, if claimed.is_some() { Claimed::Hit } else { Claimed::Miss });
        claimed.unwrap_or_else(|| self.new_sandbox())
    }

    /// One to be made.
    pub(super) fn new_sandbox(&self) -> Sandbox {
        Sandbox::new(self.driver.clone(), id::new("sbx").parse().expect("an id of ours has this shape"))
    }

    /// Another sandbox for a run whose own is of no use.
    pub(super) fn another_sandbox(&self, run: &str) -> Sandbox {
        let mut live = self.live();
        let sandbox = self.sandbox(Kind::Cli);
        if let Some(live) = live.get_mut(run) {
            live.sandbox = sandbox.id().clone();
        }
        sandbox
    }

    /// The same for a login. It has waited once, and gets one that is made for it.
    pub(super) fn another_desktop(&self, login: &str) -> Sandbox {
        let sandbox = self.new_sandbox();
        if let Some(live) = self.desktops().get_mut(login) {
            live.sandbox = sandbox.id().clone();
        }
        sandbox
    }

    /// The tool of a run has been started: what waited for that may take the processor now.
    pub(super) fn started(&self, run: &str) {
        if let Some(live) = self.live().get_mut(run) {
            live.starting = false;
        }
        self.poke.notify_one();
    }

    /// Starts to make a sandbox, unless one is being made or the server is stopping.
    pub(super) fn park(self: &Arc<Self>, kind: Kind) {
        let _live = self.live();
        let mut pools = self.pools();
        let pool = pools.of(kind);
        if self.draining.is_cancelled() || pool.spots.values().any(|spot| matches!(spot, Spot::Making)) {
            return;
        }
        let Some(origin) = pool.current.clone() else { return };
        let sandbox = self.new_sandbox();
        pool.spots.insert(sandbox.id().clone(), Spot::Making);
        let inner = self.clone();
        self.tasks.spawn(async move {
            inner.make(kind, sandbox, origin).await;
            inner.poke.notify_one();
        });
    }

    async fn make(self: &Arc<Self>, kind: Kind, mut sandbox: Sandbox, origin: Origin) {
        let (id, asked) = (sandbox.id().clone(), Instant::now());
        let made = tokio::select! {
            biased;
            () = self.draining.cancelled() => None,
            made = self.try_to_make(kind, &mut sandbox, &origin) => Some(made),
        };
        if let Some(Ok(())) = made {
            let mut pools = self.pools();
            let pool = pools.of(kind);
            pool.trouble = None;
            // What a desktop needs of its image has been read by its start.
            if kind == Kind::Cli && pool.read.as_ref() != Some(&origin.spec.image_id) {
                pool.read = Some(origin.spec.image_id.clone());
                self.tasks.spawn(read_ahead(self.clone(), origin.spec.clone()));
            }
            pool.spots.insert(id.clone(), Spot::Parked(Box::new(sandbox), origin));
            let took_ms = asked.elapsed().as_millis() as u64;
            tracing::info!(sandbox = %id, %kind, took_ms, "a warm sandbox is ready");
            return;
        }
        run::destroy(self, &mut sandbox, None).await;
        let mut pools = self.pools();
        let pool = pools.of(kind);
        pool.spots.remove(&id);
        if let Some(Err(reason)) = made {
            // The same trouble has another id each time.
            let cause = reason.replace(id.as_str(), "sbx");
            if pool.failed(origin, cause, Instant::now()) {
                tracing::warn!(reason, %kind, "no warm sandbox can be made; each is made when it is needed until one can");
            }
        }
    }

    async fn try_to_make(&self, kind: Kind, sandbox: &mut Sandbox, origin: &Origin) -> Result<(), String> {
        let id = sandbox.id().to_string();
        let (driver, image_id) = (self.driver.kind(), &origin.spec.image_id);
        let stored = self.store.insert_sandbox(&id, None, driver, image_id, time::now_ms()).await;
        stored.map_err(|error| chain(&error))?;
        let priority = match kind {
            Kind::Cli => Priority::Background,
            Kind::Desktop => Priority::UntilThawed,
        };
        let spec = SandboxSpec { priority, ..origin.spec.clone() };
        let (guest, hello) = sandbox.start(&spec).await.map_err(|error| error.to_string())?;
        let stored = self.store.set_sandbox(&id, sandbox.state(), time::now_ms()).await;
        stored.map_err(|error| chain(&error))?;
        match kind {
            Kind::Cli => Ok(()),
            Kind::Desktop => {
                let up = async {
                    prepare::desktop(self, &guest, &hello).await?;
                    desktop::settled(&guest).await
                };
                match tokio::time::timeout(UP_WITHIN, up).await {
                    Ok(up) => up.map_err(|error| error.to_string())?,
                    Err(_elapsed) => return Err(format!("its desktop was not up within {} s", UP_WITHIN.as_secs())),
                }
                sandbox.sleep().await.map_err(|error| error.to_string())
            }
        }
    }

    /// Starts to destroy a parked sandbox. What was claimed meanwhile is left alone.
    pub(super) fn discard(self: &Arc<Self>, kind: Kind, id: &SandboxId) {
        let mut pools = self.pools();
        let pool = pools.of(kind);
        let mut sandbox = match pool.spots.remove(id) {
            Some(Spot::Parked(sandbox, _)) => sandbox,
            Some(other @ (Spot::Making | Spot::Leaving)) => {
                pool.spots.insert(id.clone(), other);
                return;
            }
            None => return,
        };
        pool.spots.insert(id.clone(), Spot::Leaving);
        let inner = self.clone();
        self.tasks.spawn(async move {
            run::destroy(&inner, &mut sandbox, None).await;
            inner.pools().of(kind).spots.remove(sandbox.id());
            inner.poke.notify_one();
        });
    }
}

impl super::Live {
    /// Whether somebody waits for it to start. Not for ever: it may never come to that.
    fn starts(&self) -> bool {
        self.starting && self.since.elapsed() < STARTING_AT_MOST
    }
}

/// Reads the image into memory after a start and when there is another: the first run of each tool from a cold
/// disk takes about twice as long. At most half of what is free is filled, and that only lent.
async fn read_ahead(inner: Arc<Inner>, spec: SandboxSpec) {
    let (asked, Some(free_mib)) = (Instant::now(), host::available_memory_mib()) else { return };
    // An image lies in memory twice, as a file and as what is in it.
    match inner.driver.read_ahead(&spec, free_mib * 1024 * 1024 / 4, &inner.draining).await {
        Ok(0) => {}
        Ok(bytes) => {
            let took_ms = asked.elapsed().as_millis() as u64;
            tracing::info!(mib = bytes / 1024 / 1024, took_ms, "the image was read into memory");
        }
        Err(error) => tracing::warn!(image = %spec.image.display(), %error, "the image could not be read ahead"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polydev_sandbox::{
        driver::{Cpus, Limits},
        drivers::{DriverConfig, by_name},
    };

    fn origin(image: &str, ca: u64) -> Origin {
        let limits = Limits { memory_mib: 64, cpus: Cpus { milli: 1000 }, pids: 16, disk_mib: 16 };
        let (image, image_id) = (format!("/images/{image}").into(), image.to_owned());
        let spec = SandboxSpec { image, image_id, limits, ca_file: None, priority: Priority::Normal };
        Origin { spec, ca: Some(FileVersion(1, ca, 3, [4; 4])) }
    }

    fn pool_of(made_from: &[Origin]) -> Pool {
        let config = DriverConfig { state_dir: "/no/such/folder".into(), oci_runtime: None };
        let driver = by_name("sim", &config).unwrap();
        let spots = made_from.iter().enumerate().map(|(n, origin)| {
            let id: SandboxId = format!("sbx_aaaaaaaaaaaaaaa{}", char::from(b'a' + n as u8)).parse().unwrap();
            (id.clone(), Spot::Parked(Box::new(Sandbox::new(driver.clone(), id)), origin.clone()))
        });
        Pool { spots: spots.collect(), ..Pool::default() }
    }

    #[test]
    fn only_what_is_of_today_s_making_is_claimed_and_once() {
        let now = origin("cli-2", 7);
        let mut pool = pool_of(&[origin("cli-1", 7), now.clone(), origin("cli-2", 8)]);
        assert!(pool.claim().is_none(), "nobody has looked yet what today's is");
        pool.current = Some(now);
        assert_eq!(pool.claim().unwrap().id().as_str(), "sbx_aaaaaaaaaaaaaaab");
        assert!(pool.claim().is_none());
        assert!(pool.seen().iter().all(|(_, how)| *how == Parked::Outdated));
    }

    #[test]
    fn trouble_is_told_once_and_tried_again_ever_later() {
        let (now, before) = (Instant::now(), origin("cli-1", 7));
        let mut pool = Pool { current: Some(before.clone()), ..Pool::default() };
        let mut pauses = Vec::new();
        for attempt in 0..12 {
            assert!(pool.may_try(now + RETRY_MAX));
            assert_eq!(pool.failed(before.clone(), "no room".into(), now), attempt == 0);
            assert!(!pool.may_try(now));
            pauses.push((pool.trouble.as_ref().unwrap().again_at - now).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert!(pool.failed(before, "another cause".into(), now));
        // With another image all is new.
        pool.current = Some(origin("cli-2", 7));
        assert!(pool.may_try(now));
    }
}
