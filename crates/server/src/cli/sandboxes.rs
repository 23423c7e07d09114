//! `polydev sandboxes`: what one's runs worked in, and what it printed.

use super::{
    client::Client,
    connect::segment,
    output::{self, CliError, Format},
};
use crate::api::{page::Page, sandboxes::SandboxView};
use clap::Args;
use reqwest::Method;

/// List the sandboxes of one's runs, newest first.
#[derive(Debug, Args)]
pub struct SandboxesArgs {
    /// How many, at most 200.
    #[arg(long, default_value_t = 20)]
    limit: u32,
    /// `next_cursor` of the list before.
    #[arg(long)]
    cursor: Option<String>,
    /// Print what this sandbox printed instead.
    #[arg(long, value_name = "ID", conflicts_with_all = ["limit", "cursor"])]
    console: Option<String>,
}

/// Lists sandboxes, or prints what one printed.
pub async fn run(args: SandboxesArgs, client: &Client, format: Format) -> Result<(), CliError> {
    match args.console {
        Some(id) => console(&id, client, format).await,
        None => list(args.limit, args.cursor, client, format).await,
    }
}

async fn list(limit: u32, cursor: Option<String>, client: &Client, format: Format) -> Result<(), CliError> {
    let cursor = cursor.map(|cursor| format!("&cursor={}", segment(&cursor))).unwrap_or_default();
    let page: Page<SandboxView> =
        client.json(client.request(Method::GET, &format!("/sandboxes?limit={limit}{cursor}"))).await?;
    if format != Format::Text {
        output::json(&page);
        return Ok(());
    }
    let rows = page.items.iter().map(|sandbox| {
        vec![
            sandbox.id.clone(),
            sandbox.run_id.clone().unwrap_or_default(),
            sandbox.driver.clone(),
            sandbox.state.as_str().to_owned(),
            sandbox.created_at.clone(),
            sandbox.ended_at.clone().unwrap_or_default(),
            sandbox
                .error
                .iter()
                .flat_map(|error| error.lines().next())
                .flat_map(|line| line.chars().take(48))
                .collect(),
        ]
    });
    output::table(
        &["SANDBOX", "RUN", "DRIVER", "STATE", "CREATED", "ENDED", "ERROR"],
        rows.collect(),
        "No sandboxes yet. Each run is given one: polydev run claude \"What is 2+2?\"",
    );
    if let Some(cursor) = page.next_cursor {
        output::note(format!("More: polydev sandboxes --cursor {cursor}"));
    }
    Ok(())
}

async fn console(id: &str, client: &Client, format: Format) -> Result<(), CliError> {
    let request = client.request(Method::GET, &format!("/sandboxes/{}/console", segment(id)));
    let printed = client.send(request).await?.text().await;
    let printed =
        printed.map_err(|error| CliError::failed(format!("{} did not say all of it: {error}", client.url)))?;
    match format {
        Format::Text if printed.is_empty() => output::note(format!("`{id}` has printed nothing.")),
        Format::Text => output::text(printed.trim_end_matches('\n')),
        Format::Json | Format::StreamJson => output::json(&serde_json::json!({ "id": id, "console": printed })),
    }
    Ok(())
}
