//! `polydev serve`: parts, built in order; then it listens, runs, and drains.

use super::{
    notify::Notify,
    output::{CliError, is_terminal},
};
use crate::{
    api::{self, App, Hosts, listener},
    app,
    config::{Config, LogFormat},
    domain::{
        audit::Audit,
        people::{self, Limits},
        rates::Rates,
        time, vault,
    },
};
use clap::Args;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

/// Start the server.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where to listen; `server.listen` when absent.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
}

/// Runs the server until it is told to stop.
pub async fn serve(config: Config, notify: Notify) -> Result<(), CliError> {
    let config = Arc::new(config);
    log(&config);
    app::make_data_dir(&config)?;
    let _only = app::lock_data_dir(&config).await?;
    let _alone = app::lock_database(&config).await?;
    let parts = app::parts(&config).await?;
    let (listener, address) = listen(&config).await?;
    let public_url = config.server.public_url(address);
    if !address.ip().is_loopback() && public_url.scheme() == "https" && config.server.trusted_proxies.is_none() {
        tracing::warn!(
            "a proxy on another machine or in a container is not believed where people come from, and all of them count \
             as one: name its address in `server.trusted_proxies`, or listen on 127.0.0.1 if it is on this machine"
        );
    }
    let sign_ins = Limits::default();
    people::know_addresses(&parts.store, &sign_ins, time::now_ms()).await.map_err(CliError::from_chain)?;
    let setup = app::setup(&config, &parts.store, &public_url).await?;
    let audit = Audit::new(parts.store.clone());
    let hosts = Arc::new(Hosts::new(&public_url, address).behind(config.server.trusted_proxies.clone()));
    let router = api::router(App {
        store: parts.store.clone(),
        vault: parts.vault.clone(),
        runs: parts.runs.clone(),
        started_at: time::now_ms(),
        outside: parts.outside,
        hosts: hosts.clone(),
        audit: audit.clone(),
        setup: Arc::new(setup),
        sign_ins,
        rates: Rates::new(&config.limits),
        streams: api::rate::Streams::new(&config.limits),
        revoked: watch::Sender::new(()),
        public_url: public_url.clone(),
        desktops: api::desktop::Desktops::default(),
        under_way: api::idempotency::UnderWay::default(),
    });
    let stop = CancellationToken::new();
    let reconciler = tokio::spawn({
        let (runs, stop) = (parts.runs.clone(), stop.clone());
        async move { runs.reconcile_forever(stop).await }
    });
    let keeper = tokio::spawn({
        let (runs, stop) = (parts.runs.clone(), stop.clone());
        async move { runs.keep_house_forever(stop).await }
    });
    let watcher = tokio::spawn({
        let (runs, stop) = (parts.runs.clone(), stop.clone());
        async move { runs.look_after_itself_forever(stop).await }
    });
    let follower = tokio::spawn({
        let stop = stop.clone();
        async move { vault::follow_forever(parts.store, &parts.vault, stop).await }
    });
    tracing::info!(%address, url = %public_url, data_dir = %config.server.data_dir.display(), "listening");

    let closing = CancellationToken::new();
    let of_address = config.limits.address_connections;
    let is_shared = Box::new(move |address: IpAddr| address.is_loopback() || hosts.is_proxy(address));
    let room = listener::Room { places: listener::places(), of_address, is_shared };
    let server = tokio::spawn(listener::serve(listener, router, room, listener::Patience::default(), closing.clone()));
    let notify = Arc::new(notify);
    notify.ready();
    let heart = tokio::spawn({
        let (notify, stop) = (notify.clone(), stop.clone());
        async move { notify.alive_forever(stop).await }
    });
    let signal = stopped().await;
    notify.stopping();
    tracing::info!(signal, drain_s = config.server.drain.as_secs(), "stopping");
    // The API answers on while runs end, so that those who follow them see the end.
    parts.runs.drain(config.server.drain).await;
    stop.cancel();
    closing.cancel();
    let _ = (reconciler.await, keeper.await, watcher.await, follower.await, heart.await);
    // A client that keeps its connection open does not keep the server.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), server).await;
    // What was begun for a client who has left is still to be recorded.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), audit.drain()).await;
    tracing::info!("stopped");
    Ok(())
}

async fn listen(config: &Config) -> Result<(TcpListener, SocketAddr), CliError> {
    let address = config.server.listen;
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok::<_, std::io::Error>((listener, address))
    };
    bound.await.map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "Another program listens there: stop it, or choose another port with `--listen`."
            }
            _ => "Choose another address with `--listen` or `server.listen`.",
        };
        CliError::failed(format!("`{address}` cannot be listened at: {error}")).hint(hint)
    })
}

/// Waits for SIGTERM or SIGINT, and says which came.
async fn stopped() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate()).expect("a process can listen for its signals");
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = tokio::signal::ctrl_c() => "SIGINT",
    }
}

fn log(config: &Config) {
    use tracing_subscriber::{EnvFilter, fmt};
    let level = config.log.level.as_str();
    let filter = EnvFilter::new(format!("warn,polydev_server={level},polydev_sandbox={level}"));
    let json = match config.log.format {
        Some(LogFormat::Json) => true,
        Some(LogFormat::Text) => false,
        None => !is_terminal(),
    };
    // A line that cannot be written is lost, and nothing more: to complain of it on the same closed stream is a panic.
    let log = fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    // A second server in one process (a test) keeps the first one's log.
    let _ = if json { log.json().flatten_event(true).try_init() } else { log.with_target(false).try_init() };
}
