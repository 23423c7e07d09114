//! The task of one run: a sandbox, the tool in it, its words, the end.
//!
//! ```text
//!   make sandbox ─► files, way out ─► exec ─► read lines ─► store events ─► acknowledge
//!                                                │
//!                       end said by the tool ────┤
//!                       the tool's exit ─────────┤──► keep its files ─► store the end ─► destroy
//!                       deadline, stall, stop ───┘
//! ```

use super::{Inner, chain, console, converse::converse, fault, outputs, prepare};
use crate::{
    domain::{
        connections,
        event::{EventBody, Usage},
        failure::{Code, Failure},
        run::Run,
        time,
    },
    providers::{self, Outcome, Prompt},
    store::runs::End,
};
use futures_util::FutureExt;
use polydev_sandbox::{
    Sandbox, SandboxId,
    egress::{Access, Traffic},
    guest::GuestError,
};
use std::{panic::AssertUnwindSafe, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The job's name in its sandbox.
pub(super) const JOB: &str = "run";

/// Runs a run to its end, and removes what it needed.
pub(super) async fn run(inner: &Inner, id: &str, sandbox: SandboxId, stop: &CancellationToken) {
    let run = match inner.store.run(id).await {
        Ok(Some(run)) => run,
        Ok(None) => return,
        Err(error) => {
            return finish(inner, id, &End::Failed { error: fault(error), text: String::new(), usage: None }).await;
        }
    };
    let mut sandbox = Sandbox::new(inner.driver.clone(), sandbox);
    let mut said = Said::default();
    let started = Instant::now();
    let deadline = started + Duration::from_secs(run.timeout_s as u64);
    // A panic is a fault of ours at one tool's words: the run ends, its sandbox goes, the server stays.
    let answer = AssertUnwindSafe(answer(inner, &run, &mut sandbox, &mut said)).catch_unwind();
    let result = tokio::select! {
        biased;
        () = stop.cancelled() => Err(Stop::Stopped),
        () = tokio::time::sleep_until(deadline) => {
            Err(Stop::Failed(Failure::new(Code::Timeout, format!("the run took longer than its {} s", run.timeout_s))
                .hint("Ask for less, or give it a longer `timeout_s`.")))
        }
        result = answer => result.unwrap_or_else(|_| {
            tracing::error!(run = run.id, "the task of a run panicked");
            Err(Failure::new(Code::Internal, "the server has a fault").hint("Look into the server's log.").into())
        }),
    };
    let Said { text, usage, version, stderr, traffic, .. } = said;
    let end = match result {
        Ok(()) => End::Completed { text, usage },
        Err(Stop::Failed(error)) => End::Failed { error, text, usage },
        Err(Stop::Stopped) if inner.live().get(&run.id).is_some_and(|live| live.interrupted) => End::Failed {
            error: Failure::new(Code::Interrupted, "the server was stopped while the run was under way")
                .hint("Run it again."),
            text,
            usage,
        },
        Err(Stop::Stopped) => End::Cancelled { text, usage },
    };
    if let End::Failed { error, .. } = &end
        && error.code == Code::NeedsReconnect
    {
        mark_needs_reconnect(inner, &run, version, error).await;
    }
    if leaves_files(&end)
        && let Some(guest) = sandbox.guest()
    {
        outputs::collect(inner, guest, &run, stop).await;
    }
    // A cancelled run is over when its tool is: those who wait for that may rely on it.
    let cancelled = matches!(end, End::Cancelled { .. });
    if cancelled {
        destroy(inner, &mut sandbox, &stderr, traffic.as_ref()).await;
    }
    finish(inner, &run.id, &end).await;
    if !cancelled {
        destroy(inner, &mut sandbox, &stderr, traffic.as_ref()).await;
    }
    // The words of a failure may be the provider's, and hold what they were asked: they are in the row.
    let (status, code) = match &end {
        End::Completed { .. } => ("completed", None),
        End::Failed { error, .. } => ("failed", Some(error.code)),
        End::Cancelled { .. } => ("cancelled", None),
    };
    let took_ms = started.elapsed().as_millis() as u64;
    tracing::info!(run = run.id, provider = run.provider, status, ?code, took_ms, sandbox = %sandbox.id(), "a run ended");
}

/// Whether what the run made is kept: unless it was stopped from outside, and has to be over soon.
fn leaves_files(end: &End) -> bool {
    match end {
        End::Completed { .. } => true,
        End::Failed { error, .. } => error.code != Code::Interrupted,
        End::Cancelled { .. } => false,
    }
}

async fn finish(inner: &Inner, run: &str, end: &End) {
    if let Err(error) = inner.finish(run, end).await {
        tracing::error!(run, error = chain(&error), "the end of a run could not be stored; the next pass ends it");
    }
}

/// Why a run has no answer.
pub(super) enum Stop {
    Stopped,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// What the tool has said so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) usage: Option<Usage>,
    pub(super) stderr: Vec<u8>,
    /// How much it has printed, bytes.
    pub(super) printed: u64,
    /// Which version of the connection it was let in with.
    pub(super) version: Option<i64>,
    /// What its way out has seen.
    pub(super) traffic: Option<Traffic>,
}

async fn answer(inner: &Inner, run: &Run, sandbox: &mut Sandbox, said: &mut Said) -> Result<(), Stop> {
    let provider = providers::by_name(&run.provider)
        .ok_or_else(|| Failure::new(Code::NotFound, format!("there is no provider `{}` any more", run.provider)))?;
    if !inner.store.start_run(&run.id, sandbox.id().as_str(), time::now_ms()).await.map_err(fault)? {
        // Cancelled between the plan and now.
        return Err(Stop::Stopped);
    }
    let prompt =
        Prompt { text: run.prompt.clone(), model: run.model.clone(), system: run.system.clone(), tools: run.tools };
    let (guest, (invocation, version)) =
        tokio::try_join!(prepare::sandbox(inner, run, sandbox), prepare::invocation(inner, run, provider, &prompt))?;
    said.version = Some(version);
    let id = guest.id().clone();
    let access = Access { sandbox: id.clone(), person: run.user_id.clone(), policy: inner.policy(provider) };
    let way_out = inner.gateway.attach(access, prepare::dial(&guest));
    said.traffic = Some(way_out.traffic());
    prepare::put_files(inner, &guest, run, &invocation.files).await?;
    prepare::exec(inner, &guest, &invocation).await?;
    inner.append(&run.id, &[EventBody::Started { sandbox_id: id.to_string() }]).await.map_err(fault)?;
    let mut dialogue = provider.dialogue(&prompt);
    let outcome = converse(inner, run, &guest, invocation, &mut *dialogue, &way_out, said).await?;
    match outcome {
        Outcome::Answered { usage } => {
            said.usage = usage.or(said.usage);
            Ok(())
        }
        Outcome::Failed(failure) => Err(failure.into()),
    }
}

/// The agent no longer answers as it must: the sandbox has ended, or is out of order.
pub(super) fn lost(error: GuestError) -> Failure {
    tracing::warn!(%error, "a sandbox was lost");
    Failure::new(Code::ToolCrashed, format!("the sandbox was lost: {error}"))
        .hint("Run it again; the server's log has more.")
}

/// Marks the connection that the provider refused; one that was made since then is another.
async fn mark_needs_reconnect(inner: &Inner, run: &Run, version: Option<i64>, error: &Failure) {
    let Some(version) = version else { return };
    let marked = connections::mark_needs_reconnect(&inner.store, &run.user_id, &run.provider, version, error).await;
    if let Err(error) = marked {
        tracing::error!(run = run.id, error = chain(&error), "a refused connection could not be marked");
    }
}

/// Keeps what is to outlive the sandbox, and destroys it. What does not work now, the reconciler does on its next pass.
async fn destroy(inner: &Inner, sandbox: &mut Sandbox, stderr: &[u8], traffic: Option<&Traffic>) {
    console::keep(inner, sandbox, stderr, traffic).await;
    sandbox.stop().await;
    if let Err(error) = inner.store.set_sandbox(sandbox.id().as_str(), sandbox.state(), time::now_ms()).await {
        tracing::warn!(sandbox = %sandbox.id(), %error, "the end of a sandbox could not be stored; the next pass does it");
    }
}
