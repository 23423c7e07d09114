//! The same prompts through Polydev: the real server, its sandboxes, and when it has come to rest.

use crate::{Bench, bare::Took, server::Server};
use anyhow::{Context, Result, bail};
use eventsource_stream::Eventsource;
use futures_util::{Stream, StreamExt};
use polydev_server::domain::event::{Event, EventBody};
use reqwest::Method;
use serde_json::json;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

/// How long the server may take to come to rest.
const REST_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// What the server logs when a sandbox that was made ahead may be had.
const READY: &str = "a warm sandbox is ready";

/// A run through Polydev, in milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Through {
    /// Since the request was sent.
    pub(crate) took: Took,
    /// From accepting the run to its tool's start, by the server's clock: differences of whole milliseconds,
    /// whose mean is right.
    pub(crate) spawned: f64,
    /// From sending the request to reading that the tool has started, by this program's clock: with HTTP, two
    /// commits and the stream.
    pub(crate) seen: f64,
    /// Its sandbox.
    pub(crate) sandbox: String,
    /// Whether the sandbox had been made ahead.
    pub(crate) warm: bool,
}

/// A server with these lines of configuration, to which these providers are connected.
pub(crate) async fn server(bench: &Bench, config: String, providers: &'static [&'static str]) -> Result<Arc<Server>> {
    let standin = bench.standin.clone();
    let started = tokio::task::spawn_blocking(move || {
        let server = Server::start_with(&standin, &config);
        providers.iter().for_each(|provider| server.connect(provider));
        Arc::new(server)
    });
    Ok(started.await?)
}

/// Stops it: whatever of all its sandboxes is left then.
pub(crate) async fn stop(server: Arc<Server>) -> Result<Vec<String>> {
    let server = Arc::into_inner(server).context("nobody else uses the server")?;
    let (status, left) = tokio::task::spawn_blocking(move || server.stop_and_left()).await?;
    anyhow::ensure!(status == Some(0), "the server ended with {status:?}");
    Ok(left)
}

/// Waits until nothing is left of any run, and this many sandboxes are parked.
pub(crate) async fn at_rest(server: &Server, parked: usize) -> Result<()> {
    let rest = tokio::time::timeout(REST_WITHIN, async {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            look.tick().await;
            let there = server.sandboxes();
            // What the driver shows is cheap to see; whether it may be had, only the log tells.
            if there.len() == parked && (parked == 0 || made_ahead(server).is_superset(&there.into_iter().collect())) {
                return;
            }
        }
    });
    rest.await.with_context(|| {
        format!(
            "{parked} sandboxes should be parked, and there are {:?}; the log:\n{}",
            server.sandboxes(),
            server.log()
        )
    })
}

/// Every sandbox that has ever been parked.
pub(crate) fn made_ahead(server: &Server) -> BTreeSet<String> {
    let log = server.log();
    let ready = log.lines().filter(|line| line.contains(READY));
    ready.flat_map(|line| line.split('"')).filter(|word| word.starts_with("sbx_")).map(str::to_owned).collect()
}

/// A run to its end.
pub(crate) async fn run(server: &Server, provider: &str, prompt: &str) -> Result<Through> {
    let started = Instant::now();
    let ms = || started.elapsed().as_secs_f64() * 1e3;
    let mut events = std::pin::pin!(begin(server, provider, prompt).await?);
    let (mut queued, mut spawned, mut first) = (None, None, None);
    while let Some(event) = events.next().await {
        let event = event?;
        match event.body {
            EventBody::Queued { .. } => queued = Some(event.at),
            EventBody::Started { sandbox_id } => spawned = Some((event.at, ms(), sandbox_id)),
            EventBody::Text { .. } => first = first.or_else(|| Some(ms())),
            EventBody::Completed { .. } => {
                let end = ms();
                let (at, seen, sandbox) = spawned.context("it never started")?;
                return Ok(Through {
                    took: Took { first: first.context("it answered nothing")?, end },
                    spawned: (at - queued.context("it was never queued")?) as f64,
                    seen,
                    warm: made_ahead(server).contains(&sandbox),
                    sandbox,
                });
            }
            EventBody::Failed { error } => bail!("{provider}: {}", error.message),
            EventBody::Cancelled
            | EventBody::Reasoning { .. }
            | EventBody::ToolCall { .. }
            | EventBody::ToolResult { .. }
            | EventBody::Usage(_)
            | EventBody::Log { .. } => {}
        }
    }
    bail!("{provider}: the stream ended early")
}

/// Asks, and gives the events as they come.
pub(crate) async fn begin(
    server: &Server,
    provider: &str,
    prompt: &str,
) -> Result<impl Stream<Item = Result<Event>> + use<>> {
    let request = server
        .request(Method::POST, "/runs")
        .header("accept", "text/event-stream")
        .json(&json!({ "provider": provider, "prompt": prompt }));
    let response = request.send().await?.error_for_status()?;
    Ok(response.bytes_stream().eventsource().map(|frame| Ok(serde_json::from_str(&frame?.data)?)))
}
