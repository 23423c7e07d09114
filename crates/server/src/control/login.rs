//! The task of one login: a desktop, somebody at it, the end.
//!
//! ```text
//!   make sandbox ─► way out ─► desktop ─┐
//!                                       ├─► its stages, stored as they come ─► ready: somebody is at it
//!   adopt one that runs ─► way out ─────┘                │
//!                                they have signed in ────┤ capture.rs
//!                                deadline ───────────────┤
//!                                cancelled, server stops ┼─► store the end ─► destroy
//!                                the desktop fails ──────┘
//! ```

use super::{
    Inner, capture, chain, console, fault, insist, link,
    network::{self, Seen},
    prepare,
    run::{self, Begin, Said},
};
use crate::{
    domain::{
        failure::{Code, Failure},
        login::{Change, EventBody, Login, StageName, Status, WARNING_MS, words},
        redact::Redactor,
        sandbox::Work,
        time,
    },
    providers::{self, Provider},
    store::{StoreError, logins::Changed},
};
use backon::{ExponentialBuilder, Retryable};
use futures_util::FutureExt;
use polydev_sandbox::{
    Guest, Sandbox,
    desktop::DesktopError,
    guest::GuestError,
    image::Kind,
    pace::Pace,
    proto::{ErrorCode, Hello, Stage},
};
use std::{
    convert::Infallible,
    num::NonZeroU64,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// How long the end of a login may wait for a database that is away.
const STORED_WITHIN: Duration = Duration::from_secs(60);
/// How often that is tried.
const STORED_AT_MOST: usize = 9;
/// How long a deadline that cannot be read waits for the next look.
const AGAIN: Duration = Duration::from_secs(5);

/// How many stages of a desktop are looked at in a second, on average, and for how long that may be exceeded: ten times
/// what a desktop tells in all, of an agent that nobody has taken over.
const STAGES_PER_S: NonZeroU64 = NonZeroU64::new(20).expect("not zero");
const STAGES_BURST: Duration = Duration::from_secs(5);

/// Works on a login to its end, and removes what it needed.
pub(super) async fn login(inner: &Arc<Inner>, id: &str, begin: Begin, mut sandbox: Sandbox, stop: &CancellationToken) {
    let login = match inner.store.login(id).await {
        // The pass that found it may have looked at its row just before it ended.
        Ok(Some(login)) if login.status.is_over() => return,
        Ok(Some(login)) if begin == Begin::Adopted && login.sandbox_id.as_deref() != Some(sandbox.id().as_str()) => {
            return;
        }
        Ok(Some(login)) => login,
        Ok(None) => return,
        Err(error) => {
            tracing::error!(login = id, error = chain(&error), "a login could not be read");
            return;
        }
    };
    let (started, mut said) = (Instant::now(), Said::default());
    // A panic is a fault of ours: the login ends, its sandbox goes, the server stays.
    let work = AssertUnwindSafe(at_desktop(inner, &login, begin, &mut sandbox, &mut said)).catch_unwind();
    let end = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        () = deadline(inner, id) => None,
        end = work => Some(match end {
            Ok(Err(failure)) => failure,
            Ok(Ok(never)) => match never {},
            Err(_panic) => {
                tracing::error!(login = id, "the task of a login panicked");
                Failure::new(Code::Internal, "the server has a fault").hint("Look into the server's log.")
            }
        }),
    };
    let end = match end {
        Some(failure) => Change::Fail(left_behind(inner, id, named(inner, &sandbox, failure).await).await),
        None if inner.desktops().get(id).is_some_and(|live| live.interrupted) => {
            Change::Fail(left_behind(inner, id, interrupted()).await)
        }
        None => Change::Cancel,
    };
    said.way_out = None;
    // Whoever hears of the end may ask at once what was printed.
    console::keep(inner, &sandbox, Some(&said)).await;
    // One that is over by its deadline takes no other end.
    store(inner, id, &end).await;
    run::remove(inner, &mut sandbox).await;
    let status = inner.store.login(id).await.ok().flatten().map(|login| login.status.as_str());
    let took_ms = started.elapsed().as_millis() as u64;
    tracing::info!(login = id, provider = login.provider, status, took_ms, sandbox = %sandbox.id(), "a login ended");
}

/// Why a login ends whose desktop went with the server.
pub(super) fn interrupted() -> Failure {
    let words = "the server or its host was stopped while you were signing in, and the desktop is gone";
    Failure::new(Code::Interrupted, words).hint("Open another one: nothing was kept of this one.")
}

/// The same failure, with what to do where somebody had signed in: the provider knows of that.
pub(super) async fn left_behind(inner: &Inner, id: &str, failure: Failure) -> Failure {
    let (Ok(Some(login)), Ok(events)) = (inner.store.login(id).await, inner.store.login_events_after(id, 0).await)
    else {
        return failure;
    };
    let has_signed_in = events.iter().any(|event| matches!(event.body, EventBody::Verifying));
    match providers::by_name(&login.provider).filter(|_| has_signed_in) {
        Some(provider) => failure.hint(format!(
            "Open another one and sign in again: nothing was kept of this one. What you had signed in with may still \
             be listed at {}, where you can end it.",
            provider.about().logins_url
        )),
        None => failure,
    }
}

/// Stores the end of a login, also of a database that is away for a moment.
async fn store(inner: &Inner, id: &str, end: &Change) {
    let stored = (|| inner.change_login(id, end))
        .retry(ExponentialBuilder::default().with_max_delay(Duration::from_secs(10)).with_max_times(STORED_AT_MOST))
        .when(|error| matches!(error, StoreError::Query(_)));
    match tokio::time::timeout(STORED_WITHIN, stored.into_future()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::error!(login = id, error = chain(&error), "the end of a login could not be stored"),
        Err(_elapsed) => tracing::error!(login = id, "the end of a login could not be stored in time"),
    }
}

/// Warns of the deadline, and returns when it is over and the login with it. It may be moved meanwhile.
async fn deadline(inner: &Inner, id: &str) {
    let mut follower = inner.hub.subscribe(id);
    loop {
        follower.look();
        let pause = match look_at_deadline(inner, id).await {
            Ok(Some(pause)) => pause,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(
                    login = id,
                    error = chain(&error),
                    "a deadline could not be looked at; it will be again"
                );
                AGAIN
            }
        };
        if let Ok(false) = tokio::time::timeout(pause, follower.woken()).await {
            // The server stops, and says so elsewhere.
            std::future::pending::<()>().await;
        }
    }
}

/// Until when there is nothing to do about it. `None`: the login is over.
async fn look_at_deadline(inner: &Inner, id: &str) -> Result<Option<Duration>, StoreError> {
    loop {
        let Some(login) = inner.store.login(id).await?.filter(|login| !login.status.is_over()) else { return Ok(None) };
        let now = time::now_ms();
        // A deadline that passed while no server ran is past warning of.
        let warned = login.warned_at.is_some() || now >= login.expires_at;
        let due = if warned { login.expires_at } else { login.expires_at - WARNING_MS };
        let left = due - now;
        if left > 0 {
            return Ok(Some(Duration::from_millis(left as u64)));
        }
        if !warned {
            inner.change_login(id, &Change::Warn).await?;
        } else if login.status == Status::Verifying && !login.waits_for_an_answer() {
            // What was found is looked at to the end; whatever comes of it wakes.
            return Ok(Some(AGAIN));
        } else {
            inner.change_login(id, &Change::Expire).await?;
        }
    }
}

/// Brings the desktop up, and keeps watch over it for as long as it lasts.
async fn at_desktop(
    inner: &Arc<Inner>,
    login: &Login,
    begin: Begin,
    sandbox: &mut Sandbox,
    said: &mut Said,
) -> Result<Infallible, Failure> {
    let provider = providers::by_name(&login.provider)
        .ok_or_else(|| Failure::new(Code::NotFound, format!("there is no provider `{}` any more", login.provider)))?;
    let (guest, hello, earlier) = match begin {
        Begin::Fresh => {
            // Before anybody writes down whose it is: what an earlier server left, and is a login's, is awake.
            prepare::awake(inner, &login.id, sandbox).await;
            let take = Change::Take { sandbox: sandbox.id().to_string() };
            if let Changed::Denied(_) | Changed::None = inner.change_login(&login.id, &take).await.map_err(fault)? {
                // It has ended since it was planned, which `deadline` sees too.
                return std::future::pending().await;
            }
            let of = (login.user_id.as_str(), Work::Login(&login.id));
            let (guest, hello) = prepare::sandbox(inner, Kind::Desktop, of, sandbox).await?;
            (guest, hello, None)
        }
        Begin::Adopted => {
            tracing::info!(login = login.id, sandbox = %sandbox.id(), "a login of an earlier server goes on");
            let guest = sandbox.guest().cloned().ok_or_else(interrupted)?;
            let hello = insist::guest(|| guest.hello(), insist::is_there).await.map_err(gone)?;
            let earlier = insist::store(|| inner.store.network(guest.id().as_str())).await;
            (guest, hello, earlier)
        }
    };
    let way_out = network::attach(inner, &login.user_id, inner.web(), &Redactor::new([]), &guest).await?;
    let seen = Seen::new(way_out.traffic(), earlier);
    (said.way_out, said.seen) = (Some(way_out), Some(seen.clone()));
    // One that was ready when its server went has all that.
    if begin == Begin::Fresh || login.status == Status::Preparing {
        start(inner, login, &guest, &hello).await?;
    }
    tokio::select! {
        failure = follow(inner, login, provider, &guest) => Err(failure),
        failure = capture::watch(inner, login, provider, &guest, &hello) => Err(failure),
        failure = link::offer(inner, login, provider, &guest, &hello) => Err(failure),
        never = network::keep_forever(inner, guest.id(), &seen) => match never {},
    }
}

/// Has the agent start the desktop. One that has done so before, for an earlier server or ahead, goes on with it.
async fn start(inner: &Inner, login: &Login, guest: &Guest, hello: &Hello) -> Result<(), Failure> {
    let reach = Change::Reach { stage: StageName::Desktop, waiting_for: None, at: time::now_ms() };
    inner.change_login(&login.id, &reach).await.map_err(fault)?;
    match prepare::desktop(inner, guest, hello).await {
        Ok(()) => Ok(()),
        Err(DesktopError::Guest(GuestError::Agent { source, .. })) if source.code == ErrorCode::Exists => Ok(()),
        Err(DesktopError::Guest(error)) => Err(gone(error)),
        Err(error @ (DesktopError::Failed(_) | DesktopError::Certificates(_))) => Err(fault(error)),
    }
}

/// Follows how far the desktop is, until it is no more.
async fn follow(inner: &Inner, login: &Login, provider: &dyn Provider, guest: &Guest) -> Failure {
    let mut stages = match insist::guest(|| guest.ready(), insist::is_there).await {
        Ok(stages) => stages,
        Err(error) => return gone(error),
    };
    let (mut is_ready, mut has_browser) = (login.status.has_desktop(), false);
    let pace = Pace::new(STAGES_PER_S, STAGES_BURST);
    loop {
        let next = stages.next().await;
        pace.wait(1).await;
        let stage = match next {
            Ok(Some(stage)) if stage.name == Stage::READY => stage,
            Ok(Some(stage)) if stage.name == Stage::BROWSER => {
                has_browser |= stage.done;
                if is_ready && has_browser {
                    inner.is_up(&login.id);
                }
                continue;
            }
            Ok(Some(_)) => continue,
            Ok(None) => return lost("its agent has nothing more to say"),
            Err(error) => return gone(error),
        };
        if let Some(why) = &stage.failed {
            let failure = Failure::new(Code::ToolCrashed, format!("the desktop has failed: {}", words(why)));
            return failure.hint("Open another one; the console of its sandbox has more.");
        }
        if is_ready {
            // The terminal was closed, and comes again.
            continue;
        }
        if stage.done {
            let label = provider.about().label;
            let command = provider.sign_in().command();
            let greeting = format!("To sign in to {label}, type this and press Enter:\n\n    {command}\n\n");
            if let Err(error) = insist::guest(|| guest.greet(&greeting), insist::is_there).await {
                return gone(error);
            }
        }
        for change in reached(&stage, login.started_at) {
            inner.surely_change_login(&login.id, &change).await;
        }
        if stage.done {
            is_ready = true;
            if has_browser {
                inner.is_up(&login.id);
            }
        }
    }
}

/// What the last stage of a desktop says of its login, which was asked for at `from`: one that was made ahead came as far
/// before.
fn reached(stage: &Stage, from: i64) -> Vec<Change> {
    let at = stage.started_at.map_or_else(time::now_ms, |at| at.max(from));
    // Before it begins, it waits for what comes before it.
    let name = if stage.started_at.is_some() { StageName::Ready } else { StageName::Desktop };
    let mut changes = vec![Change::Reach { stage: name, waiting_for: stage.waiting_for.clone(), at }];
    if stage.done {
        let took = i64::try_from(stage.took_ms.unwrap_or_default()).unwrap_or_default();
        changes.push(Change::Ready { at: at.saturating_add(took) });
    }
    changes
}

/// The agent no longer answers as it must: the sandbox has ended, or is out of order.
pub(super) fn gone(error: GuestError) -> Failure {
    tracing::warn!(%error, "a desktop was lost");
    lost(&error.to_string())
}

pub(super) fn lost(why: &str) -> Failure {
    Failure::new(Code::ToolCrashed, format!("the desktop was lost: {why}"))
        .hint("Open another one: nothing was kept of this one.")
}

/// The same failure, by its true name.
async fn named(inner: &Inner, sandbox: &Sandbox, failure: Failure) -> Failure {
    let of_memory = failure.code == Code::ToolCrashed;
    if of_memory && inner.driver.out_of_memory(sandbox.id()).await.unwrap_or(false) {
        let has = inner.config.sandbox.desktop.memory_mib;
        return Failure::new(Code::OutOfMemory, format!("the desktop needed more than its {has} MiB of memory"))
            .hint("Open another one, and fewer pages in it; `sandbox.desktop.memory_mib` sets how much there is.");
    }
    failure
}

impl Inner {
    /// The desktop of a login is up, its browser too: what waited for that may take the processor now.
    fn is_up(&self, login: &str) {
        let started = self.desktops().get_mut(login).is_some_and(|live| std::mem::take(&mut live.starting));
        if started {
            self.poke.notify_one();
        }
    }
}
