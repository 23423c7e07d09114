//! `polydev connect`, `connections`, `disconnect`: one's own accounts at the providers.

use super::{
    client::Client,
    import,
    login::read_secret,
    output::{self, CliError, Format},
};
use crate::{
    api::{
        connections::ConnectionView,
        providers::{All, ProviderView},
    },
    config::Env,
    providers::Method as Connected,
};
use clap::Args;
use polydev_sandbox::cmd::{self, Cmd};
use reqwest::Method;
use serde_json::json;
use std::{path::PathBuf, time::Duration};

/// Connect an account of a provider.
#[derive(Debug, Args)]
pub struct ConnectArgs {
    /// claude, codex or gemini.
    provider: String,
    /// Read an API key of the provider from standard input.
    #[arg(long)]
    api_key_stdin: bool,
    /// Read a token of `claude setup-token` from standard input.
    #[arg(long, conflicts_with = "api_key_stdin")]
    setup_token_stdin: bool,
    /// Take the login that the tool's own file, or the folder that has it, holds.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["api_key_stdin", "setup_token_stdin"])]
    from_file: Option<PathBuf>,
    /// Rename that file once it is verified: two copies of a login log each other out.
    #[arg(long = "move", requires = "from_file")]
    move_file: bool,
}

/// How long a browser may take to be started.
const OPENED_WITHIN: Duration = Duration::from_secs(10);

/// Connects a provider.
pub async fn connect(args: ConnectArgs, client: &Client, env: &Env, format: Format) -> Result<(), CliError> {
    let path = format!("/connections/{}", segment(&args.provider));
    if let Some(file) = &args.from_file {
        let found = import::find(&args.provider, file)?;
        let request = client.request(Method::POST, &format!("{path}/import")).json(&json!({ "files": found.files }));
        let connection: ConnectionView = client.json(request).await?;
        if args.move_file {
            found.move_away()?;
        } else {
            found.warn();
        }
        connected(&connection, format);
        return Ok(());
    }
    if !args.api_key_stdin && !args.setup_token_stdin {
        return sign_in(&args.provider, client, env, format).await;
    }
    let body = match args.setup_token_stdin {
        true => json!({ "setup_token": read_secret("setup token")? }),
        false => json!({ "api_key": read_secret("API key")? }),
    };
    let connection: ConnectionView = client.json(client.request(Method::PUT, &path).json(&body)).await?;
    connected(&connection, format);
    Ok(())
}

/// Shows the page on which a provider is connected, and opens it where there is a browser.
async fn sign_in(name: &str, client: &Client, env: &Env, format: Format) -> Result<(), CliError> {
    let providers: All<ProviderView> = client.json(client.request(Method::GET, "/providers")).await?;
    if !providers.items.iter().any(|one| one.provider == name) {
        let known: Vec<&str> = providers.items.iter().map(|one| one.provider.as_str()).collect();
        return Err(
            CliError::failed(format!("there is no provider `{name}`")).hint(format!("There are {}.", known.join(", ")))
        );
    }
    let page = client.url.join(&format!("/connect/{}", segment(name))).map_err(CliError::failed)?;
    match format {
        Format::Text => output::text(&page),
        Format::Json | Format::StreamJson => output::json(&json!({ "page_url": page.as_str() })),
    }
    let has_screen = env.get("DISPLAY").or(env.get("WAYLAND_DISPLAY")).is_some();
    if output::is_terminal() && has_screen {
        // Away from this program: a browser that is started by it is to stay.
        let open = Cmd::new("setsid").args(["--fork", "xdg-open", page.as_str()]).timeout(OPENED_WITHIN);
        if cmd::run(open).await.is_ok() {
            return Ok(());
        }
    }
    output::note("Open this page in your browser.");
    Ok(())
}

fn connected(connection: &ConnectionView, format: Format) {
    let provider = &connection.provider;
    let whose = connection.account.as_ref().map(|account| format!(" as {account}")).unwrap_or_default();
    match format {
        Format::Text => output::text(format!(
            "Successfully connected {provider}{whose}. Try: polydev run {provider} \"What is 2+2?\""
        )),
        Format::Json | Format::StreamJson => output::json(connection),
    }
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
            connection.plan.clone().unwrap_or_default(),
            connection.connected_at.clone(),
            connection.expires_at.clone().unwrap_or_default(),
            connection.error.as_ref().map(|error| error.message.clone()).unwrap_or_default(),
        ]
    });
    output::table(
        &["PROVIDER", "STATUS", "METHOD", "ACCOUNT", "PLAN", "CONNECTED", "UNTIL", "ERROR"],
        rows.collect(),
        "Nothing is connected. Try: polydev connect claude",
    );
    Ok(())
}

/// Forgets a connection.
pub async fn disconnect(provider: &str, client: &Client) -> Result<(), CliError> {
    let connections: All<ConnectionView> = client.json(client.request(Method::GET, "/connections")).await?;
    let method = connections.items.iter().find(|one| one.provider == provider).map(|one| one.method);
    client.send(client.request(Method::DELETE, &format!("/connections/{}", segment(provider)))).await?;
    let Some(method) = method else {
        output::note(format!("{provider} was not connected."));
        return Ok(());
    };
    let providers: All<ProviderView> = client.json(client.request(Method::GET, "/providers")).await?;
    let revoke = providers.items.into_iter().find(|one| one.provider == provider).map(|one| one.revoke);
    let (what, place) = match method {
        Connected::ApiKey => ("API key", revoke.map(|revoke| revoke.api_key)),
        Connected::SetupToken => ("setup token", revoke.map(|revoke| revoke.login)),
        Connected::Login | Connected::Import => ("login", revoke.map(|revoke| revoke.login)),
    };
    let place = place.map(|place| format!(" at {place}")).unwrap_or_default();
    output::note(format!("{provider} is disconnected. The {what} itself stays good until you end it{place}."));
    Ok(())
}

/// A word as one segment of a path.
pub fn segment(word: &str) -> String {
    url::form_urlencoded::byte_serialize(word.as_bytes()).collect::<String>().replace('+', "%20")
}
