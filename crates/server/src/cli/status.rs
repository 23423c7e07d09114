//! `polydev status`: how the server is, who one is there, what is under way, how full its disk is.

use super::{
    client::Client,
    output::{self, CliError, Format, bytes, exit},
};
use crate::{
    api::{
        connections::ConnectionView,
        health::Health,
        me::Me,
        providers::All,
        status::{ServerStatus, UnderWay, VaultUse},
    },
    domain::people::Scope,
};
use reqwest::Method;
use serde::Serialize;

/// What `polydev status` tells.
#[derive(Serialize)]
struct StatusView {
    url: String,
    health: Health,
    me: Me,
    /// Null when the key may not see them.
    connections: Option<Vec<ConnectionView>>,
    server: ServerStatus,
}

/// Tells how the server is. Fails when it is not ready.
pub async fn status(client: &Client, format: Format) -> Result<(), CliError> {
    let me: Me = client.json(client.request(Method::GET, "/me")).await?;
    let connections = if me.scopes.contains(&Scope::Connections) {
        let all: All<ConnectionView> = client.json(client.request(Method::GET, "/connections")).await?;
        Some(all.items)
    } else {
        None
    };
    let server = client.json(client.request(Method::GET, "/status")).await?;
    let view = StatusView { url: client.url.to_string(), health: client.health().await?, me, connections, server };
    match format {
        Format::Text => print(&view),
        Format::Json | Format::StreamJson => output::json(&view),
    }
    if view.health.ok { Ok(()) } else { Err(CliError::silent(exit::FAILED)) }
}

fn print(StatusView { url, health, me, connections, server }: &StatusView) {
    let down: Vec<&str> = health.dependencies.iter().filter(|it| !it.ok).map(|it| it.name.as_str()).collect();
    let ready =
        if down.is_empty() { "ready".to_owned() } else { format!("not ready: no answer of {}", down.join(", ")) };
    let mut rows = vec![
        ("server", format!("{url}  {ready}")),
        ("version", format!("{}, driver {}, since {}", server.version, server.driver, server.started_at)),
        ("you", format!("{} ({})", me.email, me.role)),
    ];
    for (n, connection) in connections.iter().flatten().enumerate() {
        let heading = if n == 0 { "connections" } else { "" };
        rows.push((heading, format!("{}: {}", connection.provider, output::word(&connection.status))));
    }
    if connections.as_ref().is_some_and(Vec::is_empty) {
        rows.push(("connections", "none: `polydev connect claude`".to_owned()));
    }
    rows.push(("runs", under_way(&server.runs)));
    rows.push(("sandboxes", server.sandboxes.to_string()));
    if let Some(all) = &server.everybody {
        rows.push(("everybody", format!("{}; {} sandboxes", under_way(&all.runs), all.sandboxes)));
    }
    if let Some(disk) = &server.disk {
        let parts = [("data", disk.data_bytes), ("database", disk.database_bytes), ("images", disk.images_bytes)];
        let parts = parts.map(|(what, size)| format!("{what} {}", bytes(size))).join(", ");
        rows.push(("disk", format!("{} of {} free; {parts}", bytes(disk.free_bytes), bytes(disk.total_bytes))));
    }
    if let Some(vault) = &server.vault {
        rows.push(("master key", master_key(vault)));
    }
    output::pairs(rows);
    for check in server.checks.iter().flatten() {
        if let (Some(severity), Some(finding)) = (check.severity, &check.finding) {
            output::note(format!("{}: {finding}. {}", severity.as_str(), check.hint.as_deref().unwrap_or_default()));
        }
    }
}

fn master_key(vault: &VaultUse) -> String {
    let mut said = vault.key_id.clone().unwrap_or_default();
    if let Some(next) = &vault.next_key_id {
        said.push_str(&format!("; being changed to {next}: `polydev vault rotate` ends it"));
    }
    if vault.unopened > 0 {
        said.push_str(&format!("; {} credentials are under another key that is not there", vault.unopened));
    }
    said
}

fn under_way(runs: &UnderWay) -> String {
    format!("{} running, {} queued", runs.running, runs.queued)
}
