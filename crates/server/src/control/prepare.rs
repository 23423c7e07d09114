//! What a run needs before its tool speaks: a sandbox, files, a way out, the tool's start.

use super::{
    Inner,
    converse::LINE_MAX,
    fault, image, no_connection, readback,
    run::{JOB, Stop, destroy, lost},
    secrets,
};
use crate::{
    domain::{
        connections::{self, Opened, SecretVersion},
        failure::{Code, Failure},
        lease,
        redact::Redactor,
        run::Run,
        sandbox::Work,
        time,
    },
    metrics::Claimed,
    providers::{Credential, HomeFile, Invocation, Prompt, Provider},
};
use polydev_sandbox::{
    DriverError, Guest, Priority, Sandbox, SandboxSpec, StartError, StartFault, Stream,
    desktop::{self, DesktopError},
    egress::DialError,
    image::{HOME, Kind, USER, WORKSPACE},
    machine::State,
    proto::{Exec, Hello, Overflow, Ring},
};
use secrecy::ExposeSecret;
use std::collections::BTreeMap;

/// How much of the tool's words may wait for the database: more than its longest line, for only whole lines are
/// acknowledged.
const STDOUT_RING: Ring = Ring { capacity: LINE_MAX as u32 + 1024 * 1024, overflow: Overflow::Block };
/// How much of its standard error is kept: the tail, for when it fails.
const STDERR_RING: Ring = Ring { capacity: 64 * 1024, overflow: Overflow::DropOldest };

/// What sandboxes of this kind are made from and may use.
pub(super) fn spec(inner: &Inner, kind: Kind) -> Result<SandboxSpec, Failure> {
    let (image, image_id) = if inner.driver.capabilities().uses_image {
        let image = image(&inner.images, kind)?;
        (image.path, image.id)
    } else {
        Default::default()
    };
    let limits = match kind {
        Kind::Cli => inner.config.sandbox.cli,
        Kind::Desktop => inner.config.sandbox.desktop,
    };
    let ca_file = inner.config.sandbox.ca_file.clone();
    Ok(SandboxSpec { image, image_id, limits, ca_file, priority: Priority::Normal })
}

/// Sees to it that a sandbox that was made ahead is still there: otherwise the run gets another.
pub(super) async fn still_there(inner: &Inner, run: &Run, sandbox: &mut Sandbox) {
    while sandbox.guest().is_some() {
        let Err(error) = sandbox.still_there().await else { return };
        tracing::warn!(run = run.id, %error, "a warm sandbox was lost; the run gets another");
        inner.metrics.claim(Kind::Cli, Claimed::Lost);
        destroy(inner, sandbox, None).await;
        *sandbox = inner.another_sandbox(&run.id);
    }
}

/// Wakes the desktop that was made ahead. One that does not wake is destroyed, and the login gets one that is made for
/// it.
pub(super) async fn awake(inner: &Inner, login: &str, sandbox: &mut Sandbox) {
    if *sandbox.state() != State::Asleep {
        return;
    }
    let Err(error) = sandbox.wake().await else { return };
    tracing::warn!(login, %error, "a warm desktop did not wake; the login gets one that is made for it");
    inner.metrics.claim(Kind::Desktop, Claimed::Lost);
    destroy(inner, sandbox, None).await;
    *sandbox = inner.another_desktop(login);
}

/// Has the agent start the desktop, in surroundings that are everybody's.
pub(super) async fn desktop(inner: &Inner, guest: &Guest, hello: &Hello) -> Result<(), DesktopError> {
    let ca_file = inner.config.sandbox.ca_file.as_deref();
    let mut env = environment(ca_file.is_some(), &hello.proxy, &[]);
    // Its terminal says what it is.
    env.remove("TERM");
    desktop::start(guest, desktop::SIZE, env, ca_file).await
}

/// Makes the sandbox of this kind, or takes one that was made ahead: its agent, and what that says of itself.
pub(super) async fn sandbox(
    inner: &Inner,
    kind: Kind,
    (user_id, work): (&str, Work<'_>),
    sandbox: &mut Sandbox,
) -> Result<(Guest, Hello), Failure> {
    let id = sandbox.id().to_string();
    if let (Some(guest), Some(hello)) = (sandbox.guest(), sandbox.hello()) {
        inner.store.give_sandbox(&id, user_id, work).await.map_err(fault)?;
        return Ok((guest.clone(), hello.clone()));
    }
    let (driver, spec) = (inner.driver.kind(), spec(inner, kind)?);
    let owner = Some((user_id, work));
    inner.store.insert_sandbox(&id, owner, driver, &spec.image_id, time::now_ms()).await.map_err(fault)?;
    let started = sandbox.start(&spec).await;
    inner.store.set_sandbox(&id, sandbox.state(), time::now_ms()).await.map_err(fault)?;
    started.map_err(|error| {
        tracing::error!(%error, "a sandbox could not be made");
        not_made(&error, kind)
    })
}

/// Why there is no sandbox, as people are told.
fn not_made(error: &StartError, kind: Kind) -> Failure {
    match &error.fault {
        StartFault::Create(DriverError::Image { .. }) => Failure::new(Code::ImageMissing, "the image cannot be used")
            .hint(format!("Build it anew with `polydev image build {kind}`.")),
        StartFault::Create(DriverError::Unavailable { reason, hint }) => {
            Failure::new(Code::DriverUnavailable, reason.clone()).hint(hint.clone())
        }
        StartFault::Create(DriverError::Exists(_) | DriverError::Gone(_) | DriverError::Step { .. })
        | StartFault::Hello(_)
        | StartFault::Sleep(_)
        | StartFault::Timeout
        | StartFault::Silent => Failure::new(Code::Internal, "the sandbox did not start")
            .hint("The server's log has its console; `polydev doctor` tells what this host can do."),
    }
}

/// What a tool is let in with.
pub(super) struct Entry {
    pub(super) invocation: Invocation,
    /// Which secret that is.
    pub(super) version: SecretVersion,
    /// What must not be told.
    pub(super) secrets: Redactor,
}

/// Opens the credential and asks the provider what is needed.
pub(super) async fn invocation(
    inner: &Inner,
    run: &Run,
    provider: &'static dyn Provider,
    prompt: &Prompt,
) -> Result<Entry, Failure> {
    let Opened { credential, connection } = open(inner, run, provider).await?;
    let secrets = secrets::of(provider, &credential);
    Ok(Entry { invocation: provider.invoke(&credential, prompt)?, version: connection.secret_version(), secrets })
}

/// The same for a run that begins: it takes the lease that it needs, and of a login that it shares, it gets a copy
/// that cannot be refreshed.
pub(super) async fn leased_invocation(
    inner: &Inner,
    run: &Run,
    provider: &'static dyn Provider,
    prompt: &Prompt,
) -> Result<Entry, Stop> {
    let mut opened = open(inner, run, provider).await?;
    let secrets = secrets::of(provider, &opened.credential);
    let version = opened.connection.secret_version();
    if let Some(kind) = readback::needed(provider, &opened, run) {
        let of = (run.user_id.as_str(), run.provider.as_str());
        if !inner.store.take_lease(&run.id, of, version.version, kind, time::now_ms()).await.map_err(fault)? {
            return Err(Stop::NotBegun("another run has the login alone: this one waits for it"));
        }
        if let (lease::Kind::Shared, Credential::Login(login)) = (kind, &opened.credential)
            && let Some(lent) = provider.sign_in().lent(login)
        {
            opened.credential = Credential::Login(lent);
        }
    }
    Ok(Entry { invocation: provider.invoke(&opened.credential, prompt)?, version, secrets })
}

async fn open(inner: &Inner, run: &Run, provider: &'static dyn Provider) -> Result<Opened, Failure> {
    let opened = connections::open(&inner.store, &inner.vault, &run.user_id, &run.provider).await;
    opened.map_err(|error| no_connection(error, provider))
}

/// Puts the home of the tool and the files of the run in their places.
pub(super) async fn put_files(inner: &Inner, guest: &Guest, run: &Run, home: &[HomeFile]) -> Result<(), Failure> {
    let put = async |path: String, mode, content: &[u8]| guest.write_file(&path, mode, content).await.map_err(lost);
    let home = home
        .iter()
        .map(|file| put(format!("{HOME}/{}", file.path), file.mode, file.content.expose_secret().as_bytes()));
    let work = async {
        for file in inner.store.run_files(&run.id).await.map_err(fault)? {
            put(format!("{WORKSPACE}/{}", file.path), 0o644, &file.content).await?;
        }
        Ok(())
    };
    // A home is a handful of files, of which each costs a round trip.
    tokio::try_join!(futures_util::future::try_join_all(home), work).map(drop)
}

/// Starts the tool.
pub(super) async fn exec(inner: &Inner, guest: &Guest, hello: &Hello, invocation: &Invocation) -> Result<(), Failure> {
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

/// The environment of every program: no secrets, the way out, the certificates.
pub(super) fn environment(has_ca: bool, proxy: &str, own: &[(&'static str, String)]) -> BTreeMap<String, String> {
    let proxy = format!("http://{proxy}");
    let mut env = BTreeMap::from(
        [
            ("HOME", HOME),
            ("USER", USER),
            ("LOGNAME", USER),
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

/// The way to the gateway's channels of a sandbox.
pub(super) fn dial(
    guest: &Guest,
) -> impl Fn() -> futures_util::future::BoxFuture<'static, Result<Stream, DialError>> + Send + Sync + 'static {
    let guest = guest.clone();
    move || {
        let guest = guest.clone();
        Box::pin(async move { Ok(guest.egress().await?) })
    }
}
