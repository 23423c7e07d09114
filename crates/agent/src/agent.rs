//! The agent as a whole: what its tasks share, and the loop that accepts.

use crate::{
    args::Args,
    channel,
    desktop::Desk,
    job::Jobs,
    listen::{Listener, retry},
    proxy::Proxy,
    reap,
    root::Root,
    tree,
};
use polydev_proto::STREAMS_MAX;
use std::{
    cell::OnceCell,
    io::{self, Write},
    rc::Rc,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::{
    runtime::{Builder, LocalOptions},
    signal::unix::{SignalKind, signal},
    sync::{Notify, Semaphore},
    task::spawn_local,
};

/// Connections that may be open while their header has not been read: as many again as there may be channels.
const CONNECTIONS_MAX: usize = 2 * STREAMS_MAX;

/// What the tasks share.
#[derive(Debug)]
pub(crate) struct Agent {
    /// When it started, Unix milliseconds.
    pub(crate) started_at: i64,
    pub(crate) root: Root,
    pub(crate) jobs: Jobs,
    pub(crate) proxy: Proxy,
    /// The desktop, once it was asked for.
    pub(crate) desk: OnceCell<Rc<Desk>>,
    /// One permit a channel.
    pub(crate) channels: Semaphore,
    /// Poked when a process was reaped.
    pub(crate) reaped: Notify,
}

/// Runs until somebody asks it to end.
pub(crate) fn run(args: Args) -> Result<(), String> {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = runtime.map_err(|e| format!("starting: {e}"))?;
    runtime.block_on(serve(args))
}

async fn serve(args: Args) -> Result<(), String> {
    let listener = Listener::from_stdin().map_err(|e| e.to_string())?;
    let proxy = Proxy::bind(args.proxy).await.map_err(|e| format!("proxy at `{}`: {e}", args.proxy))?;
    let deaths = signal(SignalKind::child()).map_err(|e| format!("signals: {e}"))?;
    let mut asked = signal(SignalKind::terminate()).map_err(|e| format!("signals: {e}"))?;
    let agent = Rc::new(Agent {
        started_at: now(),
        root: Root::new(args.root),
        jobs: Jobs::default(),
        proxy,
        desk: OnceCell::new(),
        channels: Semaphore::new(STREAMS_MAX),
        reaped: Notify::new(),
    });
    let version = env!("CARGO_PKG_VERSION");
    say(&format!("version {version} listens, proxy at {}", agent.proxy.address));
    spawn_local(reap::run(agent.clone(), deaths));
    spawn_local(accept_program_connections(agent.clone()));
    tokio::select! {
        () = accept(agent.clone(), listener) => {}
        _ = asked.recv() => {}
    }
    tree::end_everything(&agent).await;
    say("ends");
    Ok(())
}

async fn accept_program_connections(agent: Rc<Agent>) {
    agent.proxy.accept().await;
}

async fn accept(agent: Rc<Agent>, listener: Listener) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut again = retry();
    while let Ok(permit) = connections.clone().acquire_owned().await {
        match listener.accept().await {
            Ok(stream) => {
                let agent = agent.clone();
                spawn_local(async move {
                    channel::serve(&agent, stream).await;
                    drop(permit);
                });
            }
            Err(_) => drop(again.tick().await),
        }
    }
}

/// The time, Unix milliseconds.
#[expect(clippy::disallowed_methods, reason = "the one place where the agent reads the clock")]
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// A line for the console. Nobody may be listening, and that is no reason to end.
pub(crate) fn say(line: &str) {
    let _: io::Result<()> = writeln!(io::stdout(), "polydev-agent: {line}");
}
