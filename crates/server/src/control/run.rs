//! The task of one run: a sandbox, the tool in it, its words, the end.
//!
//! ```text
//!   make sandbox ─► files, way out ─► exec ─► read lines ─► store events ─► acknowledge
//!                                                │
//!                       end said by the tool ────┤
//!                       the tool's exit ─────────┤──► store the end ─► destroy
//!                       deadline, stall, stop ───┘
//! ```

use super::{Inner, fault, image, no_connection};
use crate::{
    domain::{
        connections,
        event::{EventBody, Usage},
        failure::{Code, Failure},
        run::Run,
        time,
    },
    providers::{self, Dialogue, HomeFile, Invocation, Outcome, Prompt, Provider, Step, ToolEnd},
    store::{runs::End, sandboxes::SandboxState},
};
use polydev_sandbox::{
    DriverError, Guest, SandboxId, SandboxSpec, StartError, StartFault, Stream,
    egress::{Access, Attached, DialError},
    guest::{GuestError, JobOutput, OutputStream},
    proto::{Exec, Exit, Overflow, Ring},
};
use secrecy::ExposeSecret;
use std::{collections::BTreeMap, time::Duration};
use tokio::{io::AsyncWriteExt, time::Instant};
use tokio_util::sync::CancellationToken;

/// The job's name in its sandbox.
const JOB: &str = "run";
/// Where the tool is at home, and where it works.
const HOME: &str = "/home/polydev";
const WORKSPACE: &str = "/workspace";
/// How much of the tool's words may wait for the database.
const STDOUT_RING: Ring = Ring { capacity: 4 * 1024 * 1024, overflow: Overflow::Block };
/// How much of its standard error is kept: the tail, for when it fails.
const STDERR_RING: Ring = Ring { capacity: 64 * 1024, overflow: Overflow::DropOldest };
/// The longest line that a tool may print.
const LINE_MAX: usize = 16 * 1024 * 1024;
/// How much of standard error a failure is made from.
const STDERR_TAIL: usize = 16 * 1024;

/// Runs a run to its end, and removes what it needed.
pub(super) async fn run(inner: &Inner, run: Run, sandbox: &SandboxId, stop: &CancellationToken) {
    let mut said = Said::default();
    let deadline = Instant::now() + Duration::from_secs(run.timeout_s as u64);
    let result = tokio::select! {
        biased;
        () = stop.cancelled() => Err(Stop::Stopped),
        () = tokio::time::sleep_until(deadline) => {
            Err(Stop::Failed(Failure::new(Code::Timeout, format!("the run took longer than its {} s", run.timeout_s))
                .hint("Ask for less, or give it a longer `timeout_s`.")))
        }
        result = answer(inner, &run, sandbox, &mut said) => result,
    };
    let Said { text, usage, .. } = said;
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
    if let End::Failed { error, .. } = &end {
        tracing::info!(run = run.id, code = ?error.code, message = error.message, "a run failed");
        if error.code == Code::NeedsReconnect {
            mark_needs_reconnect(inner, &run, error).await;
        }
    }
    // A cancelled run is over when its tool is: those who wait for that may rely on it.
    let cancelled = matches!(end, End::Cancelled { .. });
    if cancelled {
        destroy(inner, sandbox).await;
    }
    if let Err(error) = inner.finish(&run.id, &end).await {
        tracing::error!(run = run.id, %error, "the end of a run could not be stored; the next pass ends it");
    }
    if !cancelled {
        destroy(inner, sandbox).await;
    }
}

/// Why a run has no answer.
enum Stop {
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
struct Said {
    text: String,
    usage: Option<Usage>,
    stderr: Vec<u8>,
}

async fn answer(inner: &Inner, run: &Run, sandbox: &SandboxId, said: &mut Said) -> Result<(), Stop> {
    let provider = providers::by_name(&run.provider)
        .ok_or_else(|| Failure::new(Code::NotFound, format!("there is no provider `{}` any more", run.provider)))?;
    if !inner.store.start_run(&run.id, sandbox.as_str(), time::now_ms()).await.map_err(fault)? {
        // Cancelled between the plan and now.
        return Err(Stop::Stopped);
    }
    let prompt =
        Prompt { text: run.prompt.clone(), model: run.model.clone(), system: run.system.clone(), tools: run.tools };
    let (guest, invocation) = tokio::try_join!(make(inner, run, sandbox), prepare(inner, run, provider, &prompt))?;
    let access = Access { sandbox: sandbox.clone(), person: run.user_id.clone(), policy: inner.policy(provider) };
    let way_out = inner.gateway.attach(access, dial(&guest));
    put_files(inner, &guest, run, &invocation.files).await?;
    exec(inner, &guest, &invocation).await?;
    inner.append(&run.id, &[EventBody::Started { sandbox_id: sandbox.to_string() }]).await.map_err(fault)?;
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

/// Makes the sandbox.
async fn make(inner: &Inner, run: &Run, sandbox: &SandboxId) -> Result<Guest, Failure> {
    let (path, image_id) = if inner.driver.capabilities().uses_image {
        let image = image(&inner.images)?;
        (image.path, image.id)
    } else {
        Default::default()
    };
    let spec = SandboxSpec {
        image: path,
        image_id: image_id.clone(),
        limits: inner.config.sandbox.cli,
        ca_file: inner.config.sandbox.ca_file.clone(),
    };
    let kind = inner.driver.kind();
    inner
        .store
        .insert_sandbox(sandbox.as_str(), &run.user_id, &run.id, kind, &image_id, time::now_ms())
        .await
        .map_err(fault)?;
    match polydev_sandbox::start(&inner.driver, sandbox, &spec).await {
        Ok(guest) => {
            inner
                .store
                .set_sandbox(sandbox.as_str(), SandboxState::Ready, None, time::now_ms())
                .await
                .map_err(fault)?;
            Ok(guest)
        }
        Err(error) => {
            tracing::error!(%sandbox, %error, "a sandbox could not be made");
            inner
                .store
                .set_sandbox(sandbox.as_str(), SandboxState::Failed, Some(&error.to_string()), time::now_ms())
                .await
                .map_err(fault)?;
            Err(not_made(&error))
        }
    }
}

/// Why there is no sandbox, as people are told.
fn not_made(error: &StartError) -> Failure {
    match &error.reason {
        StartFault::Create(DriverError::Image { .. }) => Failure::new(Code::ImageMissing, "the image cannot be used")
            .hint("Build it anew with `polydev image build cli`."),
        StartFault::Create(DriverError::Unavailable { reason, hint }) => {
            Failure::new(Code::DriverUnavailable, reason.clone()).hint(hint.clone())
        }
        StartFault::Create(DriverError::Exists(_) | DriverError::Gone(_) | DriverError::Step { .. })
        | StartFault::Hello(_)
        | StartFault::Timeout => Failure::new(Code::Internal, "the sandbox did not start")
            .hint("The server's log has its console; `polydev doctor` tells what this host can do."),
    }
}

/// Opens the credential and asks the provider what is needed.
async fn prepare(
    inner: &Inner,
    run: &Run,
    provider: &'static dyn Provider,
    prompt: &Prompt,
) -> Result<Invocation, Failure> {
    let opened = connections::open(&inner.store, &inner.vault, &run.user_id, &run.provider).await;
    let opened = opened.map_err(|error| no_connection(error, provider))?;
    provider.invoke(&opened.credential, prompt)
}

async fn put_files(inner: &Inner, guest: &Guest, run: &Run, home: &[HomeFile]) -> Result<(), Failure> {
    for file in home {
        let content = file.content.expose_secret().as_bytes();
        guest.write_file(&format!("{HOME}/{}", file.path), file.mode, content).await.map_err(lost)?;
    }
    for file in inner.store.run_files(&run.id).await.map_err(fault)? {
        guest.write_file(&format!("{WORKSPACE}/{}", file.path), 0o644, &file.content).await.map_err(lost)?;
    }
    Ok(())
}

async fn exec(inner: &Inner, guest: &Guest, invocation: &Invocation) -> Result<(), Failure> {
    let hello = guest.hello().await.map_err(lost)?;
    let env = environment(inner.config.sandbox.ca_file.is_some(), &hello.proxy, &invocation.env);
    let exec = Exec {
        job: JOB.into(),
        argv: invocation.argv.clone(),
        env,
        cwd: WORKSPACE.into(),
        stdin: invocation.interactive || invocation.stdin.is_some(),
        pty: None,
        stdout: STDOUT_RING,
        stderr: STDERR_RING,
    };
    guest.exec(exec).await.map_err(|error| {
        Failure::new(Code::ToolCrashed, format!("`{}` could not be started: {error}", invocation.argv[0]))
            .hint("Check the image with `polydev image verify`.")
    })?;
    Ok(())
}

/// The environment of every tool: no secrets, the way out, the certificates.
fn environment(has_ca: bool, proxy: &str, own: &[(&'static str, String)]) -> BTreeMap<String, String> {
    let proxy = format!("http://{proxy}");
    let mut env = BTreeMap::from(
        [
            ("HOME", HOME),
            ("USER", "polydev"),
            ("LOGNAME", "polydev"),
            ("SHELL", "/bin/bash"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("LANG", "C.UTF-8"),
            ("TERM", "dumb"),
            ("HTTPS_PROXY", &proxy),
            ("https_proxy", &proxy),
            ("HTTP_PROXY", &proxy),
            ("http_proxy", &proxy),
            ("NO_PROXY", "localhost,127.0.0.1,::1"),
            ("no_proxy", "localhost,127.0.0.1,::1"),
            ("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    if has_ca {
        env.insert("NODE_EXTRA_CA_CERTS".into(), "/.polydev/ca.pem".into());
        env.insert("CODEX_CA_CERTIFICATE".into(), "/etc/ssl/certs/ca-certificates.crt".into());
    }
    env.extend(own.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    env
}

/// Reads the tool's words until it, or its dialogue, has ended.
async fn converse(
    inner: &Inner,
    run: &Run,
    guest: &Guest,
    invocation: Invocation,
    dialogue: &mut dyn Dialogue,
    way_out: &Attached,
    said: &mut Said,
) -> Result<Outcome, Stop> {
    let mut output = guest.attach(JOB, 0, 0).await.map_err(lost)?;
    let (say, mut to_say) = tokio::sync::mpsc::unbounded_channel::<String>();
    let mut talk = std::pin::pin!(talk(guest, invocation.stdin, invocation.interactive, &mut to_say));
    let mut talking = true;
    let mut lines = Lines::default();
    let mut last_output = Instant::now();
    let stall = inner.config.runs.stall;
    if let Some(outcome) = take(inner, run, dialogue.begin(), &say, said).await? {
        return Ok(outcome);
    }
    loop {
        let quiet_since = last_output.max(way_out.last_activity().into());
        let next = tokio::select! {
            next = output.next() => next.map_err(lost)?,
            result = &mut talk, if talking => {
                talking = false;
                if let Err(error) = result {
                    // A tool that closes its input has its reasons; what it prints tells.
                    tracing::debug!(run = run.id, %error, "the tool's input is closed");
                }
                continue;
            }
            () = tokio::time::sleep_until(quiet_since + stall) => {
                if last_output.max(way_out.last_activity().into()) > quiet_since {
                    continue;
                }
                return Err(Failure::new(Code::Stalled, format!("neither the tool nor the network moved for {} s", stall.as_secs()))
                    .hint("Run it again; `runs.stall_s` sets how long is too long.").into());
            }
        };
        last_output = Instant::now();
        match next {
            Some(JobOutput::Bytes { stream: OutputStream::Stdout, offset, bytes }) => {
                let stdout = offset + bytes.len() as u64;
                let mut steps = Vec::new();
                lines.push(&bytes, |line| steps.extend(dialogue.line(line)))?;
                let outcome = take(inner, run, steps, &say, said).await?;
                output.ack(stdout, 0).await.map_err(lost)?;
                if let Some(outcome) = outcome {
                    return Ok(outcome);
                }
            }
            Some(JobOutput::Bytes { stream: OutputStream::Stderr, bytes, .. }) => {
                said.stderr.extend_from_slice(&bytes);
                let excess = said.stderr.len().saturating_sub(STDERR_TAIL);
                said.stderr.drain(..excess);
            }
            Some(JobOutput::Exit(exit)) => {
                let mut steps = Vec::new();
                lines.finish(|line| steps.extend(dialogue.line(line)));
                if let Some(outcome) = take(inner, run, steps, &say, said).await? {
                    return Ok(outcome);
                }
                return Ok(dialogue.exit(&tool_end(exit, &said.stderr)));
            }
            None => return Err(Failure::new(Code::ToolCrashed, "the tool's output ended before the tool").into()),
        }
    }
}

/// Stores what follows from steps; the outcome, if the tool has said its last.
async fn take(
    inner: &Inner,
    run: &Run,
    steps: Vec<Step>,
    say: &tokio::sync::mpsc::UnboundedSender<String>,
    said: &mut Said,
) -> Result<Option<Outcome>, Stop> {
    let mut events = Vec::new();
    let mut outcome = None;
    for step in steps {
        match step {
            Step::Emit(event) => {
                match &event {
                    EventBody::Text { text } => said.text.push_str(text),
                    EventBody::Usage(usage) => said.usage = Some(*usage),
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
                events.push(event);
            }
            Step::Send(line) => {
                let _ = say.send(line);
            }
            Step::End(end) => {
                outcome = Some(end);
                break;
            }
        }
    }
    if !inner.append(&run.id, &events).await.map_err(fault)? {
        // Somebody else has ended it: the reconciler of a newer server, or an operator.
        return Err(Stop::Stopped);
    }
    Ok(outcome)
}

/// Says to the tool what it is to be told.
async fn talk(
    guest: &Guest,
    first: Option<String>,
    interactive: bool,
    lines: &mut tokio::sync::mpsc::UnboundedReceiver<String>,
) -> std::io::Result<()> {
    if first.is_none() && !interactive {
        return Ok(());
    }
    let mut stdin = guest.stdin(JOB).await.map_err(std::io::Error::other)?;
    if let Some(first) = first {
        stdin.write_all(first.as_bytes()).await?;
    }
    if interactive {
        while let Some(line) = lines.recv().await {
            stdin.write_all(format!("{line}\n").as_bytes()).await?;
        }
    }
    stdin.shutdown().await
}

/// Bytes, cut into lines.
#[derive(Debug, Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), Failure> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            if self.rest.is_empty() {
                each(&bytes[..end]);
            } else {
                self.rest.extend_from_slice(&bytes[..end]);
                each(&self.rest);
                self.rest.clear();
            }
            bytes = &bytes[end + 1..];
        }
        self.rest.extend_from_slice(bytes);
        if self.rest.len() > LINE_MAX {
            return Err(Failure::new(
                Code::ToolCrashed,
                format!("the tool printed a line of more than {LINE_MAX} bytes"),
            ));
        }
        Ok(())
    }

    fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.rest.is_empty() {
            each(&std::mem::take(&mut self.rest));
        }
    }
}

fn tool_end(exit: Exit, stderr: &[u8]) -> ToolEnd {
    ToolEnd { code: exit.code, signal: exit.signal, stderr: String::from_utf8_lossy(stderr).into_owned() }
}

/// The way to the gateway's channels of a sandbox.
fn dial(
    guest: &Guest,
) -> impl Fn() -> futures_util::future::BoxFuture<'static, Result<Stream, DialError>> + Send + Sync + 'static {
    let guest = guest.clone();
    move || {
        let guest = guest.clone();
        Box::pin(async move {
            guest.egress().await.map_err(|error| match error {
                GuestError::Driver(DriverError::Gone(_)) => DialError::Gone,
                error => DialError::Io(std::io::Error::other(error)),
            })
        })
    }
}

/// The agent no longer answers as it must: the sandbox has ended, or is out of order.
fn lost(error: GuestError) -> Failure {
    tracing::warn!(%error, "a sandbox was lost");
    Failure::new(Code::ToolCrashed, format!("the sandbox was lost: {error}"))
        .hint("Run it again; the server's log has more.")
}

async fn mark_needs_reconnect(inner: &Inner, run: &Run, error: &Failure) {
    let marked = async {
        if let Some(connection) = connections::get(&inner.store, &run.user_id, &run.provider).await? {
            connections::mark_needs_reconnect(&inner.store, &run.user_id, &run.provider, connection.version, error)
                .await?;
        }
        Ok::<_, connections::ConnectionError>(())
    };
    if let Err(error) = marked.await {
        tracing::error!(run = run.id, %error, "a refused connection could not be marked");
    }
}

async fn destroy(inner: &Inner, sandbox: &SandboxId) {
    match inner.driver.destroy(sandbox).await {
        Ok(()) => {
            if let Err(error) =
                inner.store.set_sandbox(sandbox.as_str(), SandboxState::Gone, None, time::now_ms()).await
            {
                tracing::warn!(%sandbox, %error, "the end of a sandbox could not be stored; the next pass does it");
            }
        }
        Err(error) => tracing::error!(%sandbox, %error, "a sandbox could not be destroyed; the next pass tries again"),
    }
}
