//! The task of one run: a sandbox, the tool in it, its words, the end.
//!
//! ```text
//!   claim or make sandbox ─► files, way out ─► exec ─┐
//!                                                    ├─► read lines ─► store events ─► acknowledge
//!   adopt one with a tool in it ─► way out ──────────┘        │
//!                                end said by the tool ────────┤
//!                                the tool's exit ─────────────┤──► keep its files ─► store the end ─► destroy
//!                                deadline, stall, stop ───────┤
//!                                adopted, but no tool ────────┘──► destroy ─► back into the queue
//! ```

use super::{
    Inner, UNBEGUN, cause, chain, console,
    converse::{Tool, converse},
    fault,
    network::{self, Seen},
    outputs,
    prepare::{self, Entry},
    progress::{self, Progress},
    readback::{self, When},
    say::Say,
    secrets::{self, Words},
};
use crate::{
    domain::{
        audit::{self, Action, Actor, Deed},
        change::Change,
        connections::{self, SecretVersion},
        event::{EventBody, LogLevel, Usage},
        failure::{Code, Failure},
        redact::Redactor,
        run::Run,
        sandbox::Work,
        time,
    },
    providers::{self, Dialogue, Outcome, Prompt, Provider, Step},
    store::{StoreError, runs::End},
};
use backon::{ExponentialBuilder, Retryable};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures_util::FutureExt;
use polydev_sandbox::{Guest, Sandbox, egress::Attached, guest::GuestError, image::Kind};
use std::{
    io,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// The job's name in its sandbox.
pub(super) const JOB: &str = "run";

/// How often the end of a run is tried to be stored.
const FINISHED_AT_MOST: usize = 9;
/// How long the end of a run, and what its tool made of its login, may wait for a database that is away.
const STORED_WITHIN: Duration = Duration::from_secs(60);

/// How long an adopted run has at least: what its tool said in time, while no server ran, is to be read.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Where the task of a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// With a sandbox that was made ahead, or is to be made.
    Fresh,
    /// With one that an earlier server made, and the tool that runs in it.
    Adopted,
}

/// Runs a run to its end, and removes what it needed.
pub(super) async fn run(inner: &Inner, id: &str, begin: Begin, mut sandbox: Sandbox, stop: &CancellationToken) {
    let run = match inner.store.run(id).await {
        // The pass that found it to adopt may have looked at its row just before it ended.
        Ok(Some(run)) if run.status.is_over() => return,
        Ok(Some(run)) if begin == Begin::Adopted && run.sandbox_id.as_deref() != Some(sandbox.id().as_str()) => return,
        Ok(Some(run)) => run,
        Ok(None) => return,
        Err(error) => {
            // The next pass begins with it anew.
            tracing::error!(run = id, error = chain(&error), "a run could not be read");
            return;
        }
    };
    let mut said = match begin {
        Begin::Fresh => Said::default(),
        // Before anything may stop it: what its tool made of a login is read back in any case.
        Begin::Adopted => {
            Said { let_in: has_tool(&sandbox).await, adopted: Some(Adopted::default()), ..Said::default() }
        }
    };
    let started = Instant::now();
    let ago_ms = run.started_at.filter(|_| begin == Begin::Adopted).map_or(0, |at| time::now_ms() - at);
    let left = Duration::from_secs(run.timeout_s as u64).saturating_sub(Duration::from_millis(ago_ms.max(0) as u64));
    let left = if begin == Begin::Adopted { left.max(READ_WITHIN) } else { left };
    // A panic is a fault of ours at one tool's words: the run ends, its sandbox goes, the server stays.
    let answer = AssertUnwindSafe(answer(inner, &run, begin, &mut sandbox, &mut said)).catch_unwind();
    let result = tokio::select! {
        biased;
        () = stop.cancelled() => Err(Stop::Stopped),
        result = tokio::time::timeout(left, answer) => match result {
            Ok(Ok(result)) => result,
            Ok(Err(_panic)) => {
                tracing::error!(run = run.id, "the task of a run panicked");
                Err(Failure::new(Code::Internal, "the server has a fault").hint("Look into the server's log.").into())
            }
            Err(_elapsed) => Err(Failure::new(Code::Timeout, format!("the run took longer than its {} s", run.timeout_s))
                .hint("Ask for less, or give it a longer `timeout_s`.")
                .into()),
        },
    };
    let result = cause::name(inner, &run, &sandbox, &said, result).await;
    if let (Some(provider), Some(guest), true) = (providers::by_name(&run.provider), sandbox.guest(), said.let_in) {
        // However it ended: the tool may have refreshed its login, and the old one is used up.
        if is_cut_off(&result) {
            readback::let_refresh(inner, &run, provider, guest).await;
        }
        let settled = readback::settle(inner, &run, provider, guest, When::AtTheEnd);
        if tokio::time::timeout(STORED_WITHIN, settled).await.is_err() {
            tracing::error!(run = run.id, "a login could not be taken over in time");
        }
    }
    said.way_out = None;
    if let Some(seen) = &said.seen {
        inner.metrics.egress(&seen.by_this_server());
    }
    let end = match result {
        Ok(()) => End::Completed { text: std::mem::take(&mut said.text), usage: said.usage },
        Err(Stop::Failed(error)) => End::Failed {
            error: match &said.secrets {
                Some(secrets) => error.without(secrets),
                None => error,
            },
        },
        Err(Stop::Stopped) if inner.live().get(&run.id).is_some_and(|live| live.interrupted) => End::Failed {
            error: Failure::new(Code::Interrupted, "the server was stopped while the run was under way")
                .hint("Run it again."),
        },
        Err(Stop::Stopped) => End::Cancelled,
        Err(Stop::NotBegun(why)) => {
            destroy(inner, &mut sandbox, Some(&said)).await;
            if let Err(error) = inner.put_back(&run.id, why).await {
                tracing::error!(run = run.id, %error, "a run could not be put back; the next pass does it");
            }
            return;
        }
    };
    if let End::Failed { error, .. } = &end
        && error.code == Code::NeedsReconnect
    {
        mark_needs_reconnect(inner, &run, said.version.as_ref(), error).await;
    }
    if leaves_files(&end)
        && let Some(guest) = sandbox.guest()
    {
        keep_files(inner, guest, &run, &mut said, stop).await;
    }
    // Whoever hears of the end may ask at once what was printed.
    console::keep(inner, &sandbox, Some(&said)).await;
    // A cancelled run is over when its tool is: those who wait for that may rely on it.
    let cancelled = matches!(end, End::Cancelled);
    if cancelled {
        remove(inner, &mut sandbox).await;
    }
    finish(inner, &run.id, &end).await;
    if !cancelled {
        remove(inner, &mut sandbox).await;
    }
    // The words of a failure may be the provider's, and hold what they were asked: they are in the row.
    let (status, code) = match &end {
        End::Completed { .. } => ("completed", None),
        End::Failed { error, .. } => ("failed", Some(error.code)),
        End::Cancelled => ("cancelled", None),
    };
    let took_ms = started.elapsed().as_millis() as u64;
    tracing::info!(run = run.id, provider = run.provider, status, ?code, took_ms, sandbox = %sandbox.id(), "a run ended");
}

/// Whether the tool is ended in the middle of its work.
fn is_cut_off(result: &Result<(), Stop>) -> bool {
    match result {
        Err(Stop::Stopped) => true,
        Err(Stop::Failed(failure)) => matches!(failure.code, Code::Timeout | Code::Stalled),
        Ok(()) | Err(Stop::NotBegun(_)) => false,
    }
}

/// Whether what the run made is kept: unless it was stopped from outside, and has to be over soon.
fn leaves_files(end: &End) -> bool {
    match end {
        End::Completed { .. } => true,
        End::Failed { error, .. } => error.code != Code::Interrupted,
        End::Cancelled => false,
    }
}

/// Keeps what the run made, without the secrets that its tool had by its end.
async fn keep_files(inner: &Inner, guest: &Guest, run: &Run, said: &mut Said, stop: &CancellationToken) {
    let Some(secrets) = said.secrets.as_mut() else {
        if said.let_in {
            // It was disconnected, and another server took over.
            let text = "the run's files are not kept: what must not be told of them is not known any more".to_owned();
            let told = inner.append(&run.id, &[EventBody::Log { level: LogLevel::Warn, text }], None).await;
            let _logged = told.map_err(fault);
        }
        return;
    };
    if let Some(provider) = providers::by_name(&run.provider)
        && readback::has_it_alone(inner, run).await
        && let Some(more) = secrets::refreshed(secrets, provider, guest).await
    {
        *secrets = more;
    }
    outputs::collect(inner, guest, run, secrets, stop).await;
}

/// Whether there is a tool in the sandbox.
async fn has_tool(sandbox: &Sandbox) -> bool {
    match sandbox.guest() {
        Some(guest) => guest.jobs().await.is_ok_and(|jobs| jobs.iter().any(|job| job.job == JOB)),
        None => false,
    }
}

/// Stores the end of a run: an answer that was given is not lost for a database that is away for a moment.
async fn finish(inner: &Inner, run: &str, end: &End) {
    let stored = (|| inner.finish(run, end))
        .retry(ExponentialBuilder::default().with_max_delay(Duration::from_secs(10)).with_max_times(FINISHED_AT_MOST))
        .when(|error| matches!(error, StoreError::Query(_)))
        .notify(|error, pause| {
            tracing::warn!(run, error = chain(error), ?pause, "the end of a run could not be stored yet");
        });
    match tokio::time::timeout(STORED_WITHIN, stored).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(run, error = chain(&error), "the end of a run could not be stored; the next pass ends it");
        }
        Err(_elapsed) => {
            tracing::error!(run, "the end of a run could not be stored in time; the next pass ends it");
        }
    }
}

/// Why a run has no answer.
pub(super) enum Stop {
    Stopped,
    Failed(Failure),
    /// Its tool was not started, and it is to begin anew: why.
    NotBegun(&'static str),
}

/// An adopted run without a tool.
const NOT_BEGUN: Stop = Stop::NotBegun(UNBEGUN);

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
    /// The end of its standard error, without secrets.
    pub(super) stderr: Vec<u8>,
    /// What must not be told, once it is known.
    pub(super) secrets: Option<Redactor>,
    /// Which secret it was let in with.
    pub(super) version: Option<SecretVersion>,
    /// Its home has all that lets it in: from here on the tool may change it.
    pub(super) let_in: bool,
    /// Its way out, for as long as its tool may need it.
    pub(super) way_out: Option<Attached>,
    /// What its way out has seen.
    pub(super) seen: Option<Seen>,
    /// What its way out tells nobody.
    pub(super) hidden: Option<network::Hidden>,
    /// That this server took the run over from another, until it is seen that the tool has got over that.
    pub(super) adopted: Option<Adopted>,
}

/// What is known of a run's change of servers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Adopted {
    /// What its tool had printed by then, bytes of standard output: words of the time before.
    pub(super) printed: u64,
    /// One of the tool's own tools has answered since.
    pub(super) worked: bool,
}

impl Said {
    /// Takes note of what an event says of the answer.
    pub(super) fn note(&mut self, event: &EventBody) {
        match event {
            EventBody::Text { text } => self.text.push_str(text),
            EventBody::Usage(usage) => self.usage = Some(*usage),
            EventBody::Queued { .. }
            | EventBody::Started { .. }
            | EventBody::Reasoning { .. }
            | EventBody::ToolCall { .. }
            | EventBody::ToolResult { .. }
            | EventBody::Log { .. }
            | EventBody::Completed { .. }
            | EventBody::Failed { .. }
            | EventBody::Cancelled => {}
        }
    }

    /// Takes note of what an event says of the change of servers, which was printed from this byte on. A tool has
    /// got over it when the model speaks to what a tool of its own has answered since: for that it was asked anew.
    /// Mere words may have come before, over the network that was lost, and break off.
    pub(super) fn got_over(&mut self, from: u64, event: &EventBody) {
        let Some(adopted) = self.adopted.as_mut().filter(|adopted| adopted.printed <= from) else { return };
        match event {
            EventBody::ToolResult { .. } => adopted.worked = true,
            EventBody::Text { .. } | EventBody::Reasoning { .. } | EventBody::ToolCall { .. } if adopted.worked => {
                self.adopted = None;
            }
            EventBody::Text { .. }
            | EventBody::Reasoning { .. }
            | EventBody::ToolCall { .. }
            | EventBody::Usage(_)
            | EventBody::Queued { .. }
            | EventBody::Started { .. }
            | EventBody::Log { .. }
            | EventBody::Completed { .. }
            | EventBody::Failed { .. }
            | EventBody::Cancelled => {}
        }
    }
}

async fn answer(inner: &Inner, run: &Run, begin: Begin, sandbox: &mut Sandbox, said: &mut Said) -> Result<(), Stop> {
    let provider = providers::by_name(&run.provider)
        .ok_or_else(|| Failure::new(Code::NotFound, format!("there is no provider `{}` any more", run.provider)))?;
    let prompt =
        Prompt { text: run.prompt.clone(), model: run.model.clone(), system: run.system.clone(), tools: run.tools };
    let outcome = match begin {
        Begin::Fresh => fresh(inner, run, provider, &prompt, sandbox, said).await,
        Begin::Adopted => adopted(inner, run, provider, &prompt, sandbox, said).await,
    };
    match outcome? {
        Outcome::Answered { usage } => {
            said.usage = usage.or(said.usage);
            Ok(())
        }
        Outcome::Failed(failure) => Err(failure.into()),
    }
}

/// Starts the tool in a sandbox of its own.
async fn fresh(
    inner: &Inner,
    run: &Run,
    provider: &'static dyn Provider,
    prompt: &Prompt,
    sandbox: &mut Sandbox,
    said: &mut Said,
) -> Result<Outcome, Stop> {
    prepare::still_there(inner, run, sandbox).await;
    if !inner.store.start_run(&run.id, sandbox.id().as_str(), time::now_ms()).await.map_err(fault)? {
        // Cancelled between the plan and now, which the next pass sees to; or no longer in the queue.
        return Err(NOT_BEGUN);
    }
    inner.hub.changed(&run.user_id, Change::run(&run.id));
    let ((guest, hello), Entry { invocation, version, secrets }) = tokio::try_join!(
        async { Ok(prepare::sandbox(inner, Kind::Cli, (&run.user_id, Work::Run(&run.id)), sandbox).await?) },
        prepare::leased_invocation(inner, run, provider, prompt)
    )?;
    (said.version, said.secrets) = (Some(version.clone()), Some(secrets.clone()));
    let traffic = network::open(inner, run, (invocation.hosts, &secrets), &guest, None, said).await?;
    prepare::put_files(inner, &guest, run, &invocation.files).await?;
    said.let_in = true;
    prepare::exec(inner, &guest, &hello, &invocation).await?;
    let say = Say::new(invocation.stdin, invocation.interactive);
    let mut dialogue = provider.dialogue(prompt);
    begun(inner, run, &guest, &mut *dialogue, &say, version.clone()).await?;
    inner.started(&run.id);
    let (connection, alone, words) = (Some(version), alone(inner, run, provider).await, Words::default());
    let tool = Tool { guest, traffic, dialogue, say: &say, stdout: 0, connection, secrets, alone, words };
    heard(inner, run, provider, tool, said).await
}

/// Goes on with a tool that an earlier server has started.
async fn adopted(
    inner: &Inner,
    run: &Run,
    provider: &'static dyn Provider,
    prompt: &Prompt,
    sandbox: &mut Sandbox,
    said: &mut Said,
) -> Result<Outcome, Stop> {
    let guest = sandbox.guest().cloned().ok_or(NOT_BEGUN)?;
    let jobs = guest.jobs().await.map_err(lost)?;
    let job = jobs.iter().find(|job| job.job == JOB).ok_or(NOT_BEGUN)?;
    said.let_in = true;
    let adopted = Some(Adopted { printed: job.written.stdout, worked: false });
    *said = Said { adopted, let_in: true, ..progress::heard(inner, &run.id).await.map_err(fault)? };
    let progress = inner.store.progress(&run.id).await.map_err(fault)?;
    let entry = prepare::invocation(inner, run, provider, prompt).await;
    if let Some(Progress { outcome: Some(outcome), connection, .. }) = progress {
        // The tool had said its last; only the end was not stored.
        (said.version, said.adopted) = (connection, None);
        said.secrets = entry.ok().map(|entry| entry.secrets);
        return Ok(outcome);
    }
    let Entry { invocation, version, secrets } = entry?;
    // Where somebody has connected anew meanwhile, what this tool has is not known any more.
    let is_its_own = progress.as_ref().is_none_or(|progress| progress.connection.as_ref() == Some(&version));
    said.secrets = is_its_own.then(|| secrets.clone());
    let say = Say::new(invocation.stdin, invocation.interactive);
    let mut dialogue = provider.dialogue(prompt);
    let earlier = inner.store.network(guest.id().as_str()).await.map_err(fault)?;
    let traffic = network::open(inner, run, (invocation.hosts, &secrets), &guest, earlier, said).await?;
    let (stdout, connection, words) = match progress {
        None => {
            begun(inner, run, &guest, &mut *dialogue, &say, version.clone()).await?;
            (0, Some(version), Words::default())
        }
        Some(progress) => {
            dialogue.restore(progress.dialogue).map_err(fault)?;
            say.restore(progress.said, BASE64_STANDARD.decode(progress.unsaid).map_err(fault)?);
            let known = progress.connection.as_ref() == Some(&version);
            (progress.stdout, progress.connection, Words::restore(&secrets, progress.held, known))
        }
    };
    said.version = connection.clone();
    tracing::info!(run = run.id, sandbox = %guest.id(), stdout, "a run of an earlier server goes on");
    let alone = alone(inner, run, provider).await;
    let tool = Tool { guest, traffic, dialogue, say: &say, stdout, connection, secrets, alone, words };
    heard(inner, run, provider, tool, said).await
}

/// The provider, where the run has its login alone.
async fn alone(inner: &Inner, run: &Run, provider: &'static dyn Provider) -> Option<&'static dyn Provider> {
    readback::has_it_alone(inner, run).await.then_some(provider)
}

/// Hears the tool, and keeps an eye on its login.
async fn heard(
    inner: &Inner,
    run: &Run,
    provider: &dyn Provider,
    tool: Tool<'_>,
    said: &mut Said,
) -> Result<Outcome, Stop> {
    let (guest, seen) = (tool.guest.clone(), said.seen.clone());
    let keep = async {
        match &seen {
            Some(seen) => network::keep_forever(inner, guest.id(), seen).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        // Its answer is not to wait for a look at its login: there is a last one at the end.
        outcome = converse(inner, run, tool, said) => outcome,
        never = readback::watch(inner, run, provider, &guest) => match never {},
        never = keep => match never {},
    }
}

/// The tool runs: from here on the run cannot be put back.
async fn begun(
    inner: &Inner,
    run: &Run,
    guest: &Guest,
    dialogue: &mut dyn Dialogue,
    say: &Say,
    version: SecretVersion,
) -> Result<(), Stop> {
    for step in dialogue.begin() {
        match step {
            Step::Send(line) => say.line(&line),
            Step::Emit(_) | Step::End(_) => {
                return Err(fault(io::Error::other("a dialogue may only speak before it has heard something")).into());
            }
        }
    }
    let progress = progress::of(0, dialogue, say, Some(version));
    let started = [EventBody::Started { sandbox_id: guest.id().to_string() }];
    if !inner.append(&run.id, &started, Some(&progress)).await.map_err(fault)? {
        return Err(Stop::Stopped);
    }
    Ok(())
}

/// The agent no longer answers as it must: the sandbox has ended, or is out of order.
pub(super) fn lost(error: GuestError) -> Failure {
    tracing::warn!(%error, "a sandbox was lost");
    Failure::new(Code::ToolCrashed, format!("the sandbox was lost: {error}"))
        .hint("Run it again; the server's log has more.")
}

/// Marks the connection that the provider refused; one that was made since then is another.
async fn mark_needs_reconnect(inner: &Inner, run: &Run, secret: Option<&SecretVersion>, error: &Failure) {
    let Some(secret) = secret else { return };
    let deed =
        Deed::new(Actor::SERVER, Action::ConnectionNeedsReconnect).to(&run.provider).of(&run.user_id).how(&run.id);
    let mark = connections::mark_needs_reconnect(&inner.store, secret, error);
    match audit::record(&inner.store, deed, mark, |_| None).await {
        Ok(_) => inner.hub.changed(&run.user_id, Change::connection(&run.provider)),
        Err(error) => tracing::error!(run = run.id, error = chain(&error), "a refused connection could not be marked"),
    }
}

/// Keeps what is to outlive the sandbox, and destroys it.
pub(super) async fn destroy(inner: &Inner, sandbox: &mut Sandbox, said: Option<&Said>) {
    console::keep(inner, sandbox, said).await;
    remove(inner, sandbox).await;
}

/// Destroys a sandbox of which nothing is to be kept any more. What does not work now, the reconciler does on its
/// next pass.
pub(super) async fn remove(inner: &Inner, sandbox: &mut Sandbox) {
    sandbox.stop().await;
    if let Err(error) = inner.store.set_sandbox(sandbox.id().as_str(), sandbox.state(), time::now_ms()).await {
        tracing::warn!(sandbox = %sandbox.id(), %error, "the end of a sandbox could not be stored; the next pass does it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_has_got_over_a_change_of_servers_when_the_model_was_asked_since() {
        let text = EventBody::Text { text: "words".into() };
        let result = EventBody::ToolResult { id: "1".into(), ok: true, output: String::new(), truncated: false };
        let after = |events: &[(u64, &EventBody)]| {
            let mut said = Said { adopted: Some(Adopted { printed: 100, worked: false }), ..Said::default() };
            events.iter().for_each(|(from, event)| said.got_over(*from, event));
            said.adopted.is_none()
        };
        assert!(!after(&[(90, &text), (100, &text), (300, &text)]), "it may be the answer that was under way");
        assert!(!after(&[(90, &result), (100, &text)]), "what it prints from before says nothing");
        assert!(!after(&[(100, &text), (200, &result)]));
        assert!(after(&[(100, &result), (200, &text)]));
    }
}
