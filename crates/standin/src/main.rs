//! `polydev-standin`: a stand-in for each provider's login and API, as a program.

mod ask;

use anyhow::Context;
use clap::Parser;
use polydev_standin::{Options, Standin};
use std::{io::Write, net::SocketAddr, path::PathBuf};
use tokio::signal::unix::{SignalKind, signal};

/// Plays the providers' APIs behind a proxy with a certificate authority of its own, for tests and the demo.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where `ca.pem` and `requests.jsonl` are kept.
    #[arg(long, required = true)]
    dir: Option<PathBuf>,
    #[command(subcommand)]
    ask: Option<ask::Ask>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    match arguments.ask {
        Some(ask) => ask::ask(ask).await,
        None => play(arguments.listen, arguments.dir.unwrap_or_default()).await,
    }
}

async fn play(listen: SocketAddr, dir: PathBuf) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let dir = std::path::absolute(&dir).context("the directory's path cannot be made absolute")?;
    let standin = Standin::start(Options { listen, dir: Some(dir) }).await?;
    let ready = serde_json::json!({"proxy": standin.proxy_url(), "ca_file": standin.ca_file()});
    let mut out = std::io::stdout();
    writeln!(out, "{ready}").and_then(|()| out.flush()).context("standard output is closed")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    standin.stop().await;
    Ok(())
}
