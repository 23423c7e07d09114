//! `polydev runs`, `logs`, `cancel`: what became of one's prompts.

use super::{
    client::Client,
    connect::segment,
    output::{self, CliError, Format},
    run::{Follower, interrupts},
};
use crate::{
    api::{page::Page, runs::RunView},
    domain::sandbox::Network,
};
use clap::Args;
use reqwest::Method;

/// List one's runs, newest first.
#[derive(Debug, Args)]
pub struct RunsArgs {
    /// How many, at most 200.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// `next_cursor` of the list before.
    #[arg(long)]
    cursor: Option<String>,
}

/// Lists runs.
pub async fn list(args: RunsArgs, client: &Client, format: Format) -> Result<(), CliError> {
    let mut page: Page<RunView> = Page { items: Vec::new(), next_cursor: args.cursor };
    // A page of long prompts and answers ends early.
    loop {
        let left = args.limit.saturating_sub(page.items.len() as u32);
        let cursor = page.next_cursor.map(|cursor| format!("&cursor={}", segment(&cursor))).unwrap_or_default();
        let more: Page<RunView> =
            client.json(client.request(Method::GET, &format!("/runs?limit={left}{cursor}"))).await?;
        page.next_cursor = more.next_cursor;
        page.items.extend(more.items);
        if page.next_cursor.is_none() || page.items.len() >= args.limit as usize {
            break;
        }
    }
    if format != Format::Text {
        output::json(&page);
        return Ok(());
    }
    let rows = page.items.iter().map(|run| {
        vec![
            run.id.clone(),
            run.provider.clone(),
            run.status.as_str().to_owned(),
            run.created_at.clone(),
            run.duration_ms.map(|ms| format!("{:.1} s", ms as f64 / 1000.0)).unwrap_or_default(),
            run.prompt
                .as_deref()
                .unwrap_or_default()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .chars()
                .take(48)
                .collect(),
        ]
    });
    output::table(
        &["RUN", "PROVIDER", "STATUS", "CREATED", "TOOK", "PROMPT"],
        rows.collect(),
        "No runs yet. Try: polydev run claude \"What is 2+2?\"",
    );
    if let Some(cursor) = page.next_cursor {
        output::note(format!("More: polydev runs --cursor {cursor}"));
    }
    Ok(())
}

/// Print a run's answer from its start, and follow it to its end.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The run's id.
    run: String,
    /// Print which hosts its sandbox has asked for and reached so far instead.
    #[arg(long)]
    network: bool,
}

/// Prints a run's events from its start, and follows it to its end; or what its sandbox reached.
pub async fn logs(args: LogsArgs, client: &Client, format: Format) -> Result<(), CliError> {
    let LogsArgs { run, network: of_network } = args;
    if of_network {
        return network(&run, client, format).await;
    }
    let response = client.send(client.request(Method::GET, &format!("/runs/{}/events", segment(&run)))).await?;
    Follower { client, format, run: Some(run), seq: 0, told: false, cancels: false, ended: false }
        .follow(response, &mut interrupts())
        .await
}

async fn network(run: &str, client: &Client, format: Format) -> Result<(), CliError> {
    let seen: Network = client.json(client.request(Method::GET, &format!("/runs/{}/network", segment(run)))).await?;
    if format != Format::Text {
        output::json(&seen);
        return Ok(());
    }
    let rows = seen.hosts.iter().map(|host| {
        vec![
            host.host.clone(),
            host.connections.to_string(),
            host.denied.to_string(),
            host.failed.to_string(),
            output::bytes(host.bytes_up),
            output::bytes(host.bytes_down),
            host.reason.clone().unwrap_or_default(),
        ]
    });
    let headings = ["HOST", "OPENED", "DENIED", "FAILED", "UP", "DOWN", "REASON"];
    output::table(&headings, rows.collect(), &format!("The sandbox of `{run}` has asked for no host."));
    Ok(())
}

/// Cancels a run.
pub async fn cancel(run: &str, client: &Client, format: Format) -> Result<(), CliError> {
    let run: RunView = client.json(client.request(Method::POST, &format!("/runs/{}/cancel", segment(run)))).await?;
    match format {
        Format::Text => output::note(format!("`{}` will be cancelled.", run.id)),
        Format::Json | Format::StreamJson => output::json(&run),
    }
    Ok(())
}
