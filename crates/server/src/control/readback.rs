//! What a run makes of the login that it has alone: read back, proven, and taken over; or refused.
//!
//! ```text
//!   the tool's file changes, or the run ends ─► read it through the agent ─► Login ─┬─ same: nothing
//!                                                                                   ├─ refreshed ─► whose is it? ─► new version
//!                                                                                   └─ dead, not a login, another's ─► needs_reconnect
//! ```
//! The guest is hostile: it decides neither whose login is kept nor what else is in it. Only the run whose lease
//! is exclusive, for the version that it was given, is read back at all.

use super::{
    Inner, chain,
    plan::Logins,
    verify::{self, BEFORE_IT_IS_LOST},
};
use crate::{
    domain::{
        audit::{self, Action, Actor, Deed},
        change::Change as Changed,
        connections::{self, Connection, ConnectionError, Opened},
        failure::{Code, Failure},
        lease::{self, Kind},
        run::{Run, Status},
        time,
    },
    providers::{
        Credential, Provider,
        login::{Change, FILE_MAX, Files, Login, LoginFile, change},
    },
    store::{StoreError, runs::OpenRun},
};
use backon::{ExponentialBuilder, Retryable};
use polydev_sandbox::{
    Guest,
    guest::{GuestError, Watch},
    image::HOME,
    proto::{ErrorCode, WatchEvent, WatchRule},
};
use std::{convert::Infallible, time::Duration};
use tokio::time::{Instant, MissedTickBehavior};

/// For how long a file must not have changed: gemini writes in place.
const QUIET_MS: u64 = 1000;
/// How often the last look at a login is tried while the database is away, about a minute long: what its sandbox
/// has is lost with it.
const SETTLED_AT_MOST: usize = 9;
/// How long a tool that is ended may be at refreshing its login: a request, and the quiet after it.
const REFRESHED_WITHIN: Duration = Duration::from_secs(5);
/// How often a login is looked at, at most.
const OFTEN: Duration = Duration::from_secs(1);
/// When what the provider did not prove is looked at again, though it has not changed.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How often a run has the provider asked in vain before its login is left to the last look. A hostile one would have
/// it asked by this host for as long as it runs.
const IN_VAIN_AT_MOST: u32 = 10;

/// The logins of people whose runs wait, and who uses them.
pub(super) async fn of_waiting(inner: &Inner, open: &[OpenRun]) -> Result<Logins, StoreError> {
    if open.iter().all(|run| run.status != Status::Queued) {
        return Ok(Logins::default());
    }
    let of = inner.store.logins().await?.into_iter().filter_map(|login| {
        let early_ms = crate::providers::by_name(&login.provider)?.sign_in().refreshes_early_ms();
        Some(((login.user_id.clone(), login.provider.clone()), (login, early_ms)))
    });
    Ok(Logins { now: time::now_ms(), of: of.collect() })
}

/// Which lease a run needs for a login, if it is one.
pub(super) fn needed(provider: &dyn Provider, opened: &Opened, run: &Run) -> Option<Kind> {
    let Credential::Login(login) = &opened.credential else { return None };
    let early_ms = provider.sign_in().refreshes_early_ms();
    Some(lease::needed(login.fresh_until, early_ms, run.timeout_s, time::now_ms()))
}

/// Takes over what the tool makes of its login while it runs, for as long as it is polled. A run that has no login
/// alone has nothing to tell.
pub(super) async fn watch(inner: &Inner, run: &Run, provider: &dyn Provider, guest: &Guest) -> Infallible {
    if has_it_alone(inner, run).await {
        match watched(provider, guest).await {
            Ok(mut changes) => {
                // A sandbox that tells of changes without end is not asked more often.
                let mut often = tokio::time::interval(OFTEN);
                often.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let (mut in_vain, mut again) = (0, None);
                while in_vain < IN_VAIN_AT_MOST && is_to_look(&mut changes, again).await {
                    often.tick().await;
                    let settled = settle(inner, run, provider, guest, When::Meanwhile).await;
                    in_vain += u32::from(settled != Settled::Done);
                    again = (settled == Settled::Unproven).then(|| Instant::now() + AGAIN_AFTER);
                }
                tracing::debug!(run = run.id, in_vain, "the login is not looked at any more until the end");
            }
            Err(error) => tracing::warn!(run = run.id, %error, "the login is not watched; it is read at the end"),
        }
    }
    std::future::pending().await
}

/// Waits for a change, or until it is time to look again. False, if there will be none.
async fn is_to_look(changes: &mut Watch<WatchEvent>, again: Option<Instant>) -> bool {
    let changed = async { matches!(changes.next().await, Ok(Some(_))) };
    match again {
        Some(again) => tokio::time::timeout_at(again, changed).await.unwrap_or(true),
        None => changed.await,
    }
}

/// Gives a tool that is ended in the middle of its work the time to refresh its login, if it may be at that: the
/// provider has used up the old one, and the new one is on its way.
pub(super) async fn let_refresh(inner: &Inner, run: &Run, provider: &dyn Provider, guest: &Guest) {
    let early_ms = provider.sign_in().refreshes_early_ms();
    let may_be_at_it = async || {
        let lease = inner.store.lease_of(&run.id).await.ok().flatten()?;
        let due = lease.fresh_until.is_some_and(|until| until - early_ms <= time::now_ms());
        (lease.kind == Kind::Exclusive.as_str() && due).then_some(())
    };
    let until = Instant::now() + REFRESHED_WITHIN;
    let watched = async {
        may_be_at_it().await?;
        watched(provider, guest).await.ok()
    };
    let Ok(Some(mut changes)) = tokio::time::timeout_at(until, watched).await else { return };
    // Only the waiting has an end: what is taken over is on record.
    while let Ok(Ok(Some(_))) = tokio::time::timeout_at(until, changes.next()).await {
        settle(inner, run, provider, guest, When::Meanwhile).await;
        if may_be_at_it().await.is_none() {
            return;
        }
    }
}

/// Changes of the tool's login files.
async fn watched(provider: &dyn Provider, guest: &Guest) -> Result<Watch<WatchEvent>, GuestError> {
    let rule = |file: &LoginFile| WatchRule {
        rule: file.name.into(),
        path: format!("{HOME}/{}", file.path),
        require: Vec::new(),
        quiet_ms: QUIET_MS,
    };
    guest.watch(provider.sign_in().files().iter().map(rule).collect()).await
}

/// Whether the run was lent a login that is over by now. Runs get leases for longer than they may take; only clocks
/// that jump, and hosts that sleep, make it so.
pub(super) async fn lent_is_over(inner: &Inner, run: &Run) -> bool {
    let lease = inner.store.lease_of(&run.id).await;
    lease.is_ok_and(|lease| {
        lease.is_some_and(|lease| {
            lease.kind == Kind::Shared.as_str() && lease.fresh_until.is_some_and(|until| until <= time::now_ms())
        })
    })
}

/// The login that lies in a sandbox now, if it is one.
pub(super) async fn now(provider: &dyn Provider, guest: &Guest) -> Option<Login> {
    provider.sign_in().read(&read(provider, guest).await.ok()?).ok()
}

/// Whether the run has its login alone: its tool may refresh it.
pub(super) async fn has_it_alone(inner: &Inner, run: &Run) -> bool {
    let lease = inner.store.lease_of(&run.id).await;
    lease.is_ok_and(|lease| lease.is_some_and(|lease| lease.kind != Kind::Shared.as_str()))
}

/// When a login is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// The tool still runs: what cannot be proven now may be later.
    Meanwhile,
    /// The last time.
    AtTheEnd,
}

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// It is kept, or there was nothing to ask the provider for.
    Done,
    /// The provider said that it is not what is to be kept.
    Refused,
    /// The provider did not say whose it is.
    Unproven,
}

/// Takes over what the tool has made of its login by now, if the run has it alone.
pub(super) async fn settle(inner: &Inner, run: &Run, provider: &dyn Provider, guest: &Guest, when: When) -> Settled {
    let database_is_away = |error: &ConnectionError| matches!(error, ConnectionError::Store(StoreError::Query(_)));
    let settled = (|| try_settle(inner, run, provider, guest, when))
        .retry(ExponentialBuilder::default().with_max_delay(Duration::from_secs(10)).with_max_times(SETTLED_AT_MOST))
        .when(|error| when == When::AtTheEnd && database_is_away(error));
    settled.await.unwrap_or_else(|error| {
        tracing::error!(run = run.id, error = chain(&error), "a login could not be taken over");
        Settled::Done
    })
}

async fn try_settle(
    inner: &Inner,
    run: &Run,
    provider: &dyn Provider,
    guest: &Guest,
    when: When,
) -> Result<Settled, ConnectionError> {
    let Some(lease) = inner.store.lease_of(&run.id).await? else { return Ok(Settled::Done) };
    // Also of one that was refused meanwhile: what the provider refuses is the old one.
    let opened = connections::open_refused(&inner.store, &inner.vault, &run.user_id, &run.provider).await?;
    let Opened { credential: Credential::Login(before), connection } = opened else { return Ok(Settled::Done) };
    if lease.kind == Kind::Shared.as_str() || lease.version != connection.version {
        // Somebody has connected anew meanwhile: this run's login is no longer the one that is kept.
        return Ok(Settled::Done);
    }
    let not_kept = async |why: &str| refuse(inner, run, &connection, why, when).await.map(|()| Settled::Done);
    let after = match read(provider, guest).await {
        Ok(files) => provider.sign_in().read(&files),
        Err(Unread::Gone(error)) => {
            // Nothing can be said of it. If it was refreshed, the next run will find it dead.
            tracing::warn!(run = run.id, error = chain(&error), "the login could not be read back");
            return Ok(Settled::Done);
        }
        Err(Unread::Refused(why)) => return not_kept(&why).await,
    };
    match change(&before, after) {
        Change::Same => Ok(Settled::Done),
        Change::Dead => not_kept("the provider refused to refresh it").await,
        Change::Refused(why) => not_kept(&why.to_string()).await,
        Change::Refreshed(login) => refreshed(inner, run, provider, (&connection, &before), login, when).await,
    }
}

/// New tokens: whose are they?
async fn refreshed(
    inner: &Inner,
    run: &Run,
    provider: &dyn Provider,
    (connection, before): (&Connection, &Login),
    login: Login,
    when: When,
) -> Result<Settled, ConnectionError> {
    let now = time::now_ms();
    let kind = match lease::needed(login.fresh_until, provider.sign_in().refreshes_early_ms(), run.timeout_s, now) {
        Kind::Shared | Kind::Keeper => Kind::Keeper,
        Kind::Exclusive => Kind::Exclusive,
    };
    let credential = Credential::Login(login);
    let not_kept = async |settled: Settled, why: &str| {
        refuse(inner, run, connection, why, when).await?;
        Ok(settled)
    };
    let account = match verify::prove(&inner.ways.client, provider, &credential, BEFORE_IT_IS_LOST).await {
        Ok(proof) => proof.account,
        Err(failure) if failure.code == Code::NeedsReconnect => {
            return not_kept(Settled::Refused, "the provider does not take its access token").await;
        }
        Err(_) => return not_kept(Settled::Unproven, "the provider did not say whose it is").await,
    };
    let known = connection.account_id.as_deref().unwrap_or(&before.account.id);
    if account.is_none_or(|account| account.id != known) {
        return not_kept(Settled::Refused, "it is the login of another account").await;
    }
    let Credential::Login(login) = credential else { return Ok(Settled::Done) };
    let deed = deed(run, connection);
    let entry = audit::open(&inner.store, deed).await?;
    if connections::write_back(&inner.store, &inner.vault, &run.id, connection, login, kind).await? {
        tracing::info!(
            run = run.id,
            provider = run.provider,
            version = connection.version + 1,
            "a login was refreshed"
        );
        entry.done(&inner.store, None).await;
        inner.hub.changed(&run.user_id, Changed::connection(&run.provider));
        // Whoever waits for it may go on.
        inner.poke.notify_one();
    } else {
        entry.failed(&inner.store, Code::Conflict).await;
    }
    Ok(Settled::Done)
}

/// Nothing of it is kept, and what is kept may be used up. While the tool runs this is no last word: a file may be half
/// written and whole a moment later, and a provider out of reach may be asked again.
async fn refuse(
    inner: &Inner,
    run: &Run,
    connection: &Connection,
    why: &str,
    when: When,
) -> Result<(), ConnectionError> {
    if when == When::Meanwhile {
        tracing::info!(run = run.id, why, "what a run makes of its login is not kept yet; it is judged at the end");
        return Ok(());
    }
    tracing::warn!(run = run.id, provider = run.provider, why, "what a run made of its login is not kept");
    let entry = audit::open(&inner.store, deed(run, connection).how(why)).await?;
    let failure = Failure::new(Code::NeedsReconnect, format!("run `{}` left a login that is not kept: {why}", run.id))
        .hint(format!("Connect again: `polydev connect {}`.", run.provider));
    connections::mark_needs_reconnect(&inner.store, &connection.secret_version(), &failure).await?;
    entry.failed(&inner.store, Code::NeedsReconnect).await;
    inner.hub.changed(&run.user_id, Changed::connection(&run.provider));
    Ok(())
}

fn deed(run: &Run, connection: &Connection) -> Deed {
    Deed::new(Actor::SERVER, Action::CredentialWriteBack).of(&run.user_id).to(&connection.id)
}

/// Why a login's files were not read.
#[derive(Debug)]
pub(super) enum Unread {
    /// The sandbox does not tell.
    Gone(GuestError),
    /// What is there is no file, or no such small one.
    Refused(String),
}

/// The files that the tool keeps its login in, bounded.
pub(super) async fn read(provider: &dyn Provider, guest: &Guest) -> Result<Files, Unread> {
    let mut files = Files::new();
    for file in provider.sign_in().files() {
        match guest.read_file(&format!("{HOME}/{}", file.path), FILE_MAX as u64).await {
            Ok(content) => drop(files.insert(file.name.into(), content)),
            Err(GuestError::Agent { source, .. }) if source.code == ErrorCode::NotFound => {}
            // There is a login without it.
            Err(GuestError::TooLarge { .. }) if !file.required => {}
            Err(GuestError::Agent { source, .. }) if !file.required && source.code == ErrorCode::NotAFile => {}
            Err(GuestError::TooLarge { .. }) => return Err(Unread::Refused("it is far too large".into())),
            Err(GuestError::Agent { source, .. }) if source.code == ErrorCode::NotAFile => {
                return Err(Unread::Refused("it is no regular file".into()));
            }
            Err(
                error @ (GuestError::Agent { .. }
                | GuestError::Driver(_)
                | GuestError::Timeout { .. }
                | GuestError::Request { .. }
                | GuestError::Malformed { .. }
                | GuestError::Unexpected { .. }
                | GuestError::Broken { .. }),
            ) => return Err(Unread::Gone(error)),
        }
    }
    Ok(files)
}
