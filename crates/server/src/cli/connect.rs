//! `polydev connect`, `connections`, `disconnect`: one's own accounts at the providers.

use super::{
    client::Client,
    login::read_secret,
    output::{self, CliError, Format},
};
use crate::api::{connections::ConnectionView, providers::All};
use clap::Args;
use reqwest::Method;
use serde_json::json;
use std::path::PathBuf;

/// Connect an account of a provider.
#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// claude, codex or gemini.
    provider: String,
    /// Read an API key of the provider from standard input.
    #[arg(long)]
    api_key_stdin: bool,
    /// Take the tool's own file or folder (to come).
    #[arg(long, value_name = "PATH")]
    from_file: Option<PathBuf>,
    /// Rename that file once it is verified (to come).
    #[arg(long = "move", requires = "from_file")]
    move_file: bool,
}

/// Connects a provider.
pub async fn connect(args: ConnectArgs, client: &Client, format: Format) -> Result<(), CliError> {
    if args.from_file.is_some() {
        return Err(CliError::usage("`--from-file` is to come in a later version").hint("Use `--api-key-stdin`."));
    }
    if !args.api_key_stdin {
        return Err(CliError::usage("signing in in a desktop is to come in a later version")
            .hint(format!("Use an API key: `polydev connect {} --api-key-stdin`.", args.provider)));
    }
    let key = read_secret("API key")?;
    let path = format!("/connections/{}", segment(&args.provider));
    let connection: ConnectionView =
        client.json(client.request(Method::PUT, &path).json(&json!({ "api_key": key }))).await?;
    match format {
        Format::Text => output::text(format!(
            "Successfully connected {}. Try: polydev run {} \"What is 2+2?\"",
            connection.provider, connection.provider
        )),
        Format::Json | Format::StreamJson => output::json(&connection),
    }
    Ok(())
}

/// Lists one's connections.
pub async fn connections(client: &Client, format: Format) -> Result<(), CliError> {
    let all: All<ConnectionView> = client.json(client.request(Method::GET, "/connections")).await?;
    if format != Format::Text {
        output::json(&all);
        return Ok(());
    }
    let rows = all.items.iter().map(|connection| {
        vec![
            connection.provider.clone(),
            output::word(&connection.status),
            output::word(&connection.method),
            connection.account.clone().unwrap_or_default(),
            connection.connected_at.clone(),
            connection.error.as_ref().map(|error| error.message.clone()).unwrap_or_default(),
        ]
    });
    output::table(
        &["PROVIDER", "STATUS", "METHOD", "ACCOUNT", "CONNECTED", "ERROR"],
        rows.collect(),
        "Nothing is connected. Try: polydev connect claude --api-key-stdin",
    );
    Ok(())
}

/// Forgets a connection.
pub async fn disconnect(provider: &str, client: &Client) -> Result<(), CliError> {
    client.send(client.request(Method::DELETE, &format!("/connections/{}", segment(provider)))).await?;
    output::note(format!(
        "{provider} is disconnected. The key itself stays valid until you revoke it at the provider."
    ));
    Ok(())
}

/// A word as one segment of a path.
pub fn segment(word: &str) -> String {
    url::form_urlencoded::byte_serialize(word.as_bytes()).collect::<String>().replace('+', "%20")
}
