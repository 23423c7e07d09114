//! `polydev login`, `logout`: which server the other commands speak to.

use super::{
    client::{Client, DEFAULT_URL, saved_at},
    output::{self, CliError, Format},
};
use crate::{api::me::Me, config::Env};
use clap::Args;
use reqwest::Method;
use std::io::{IsTerminal, Read};

/// Save the address of a server and a key for the commands below.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Where the server is; `POLYDEV_URL`, else the local one, when absent.
    url: Option<String>,
}

/// Saves address and key, once the server has taken the key.
pub async fn login(args: LoginArgs, env: &Env, format: Format) -> Result<(), CliError> {
    let url = args.url.or_else(|| env.get("POLYDEV_URL").map(str::to_owned)).unwrap_or_else(|| DEFAULT_URL.to_owned());
    let key = match env.get("POLYDEV_API_KEY") {
        Some(key) => key.to_owned(),
        None => read_secret("API key (pdv_…)")?,
    };
    let client = Client::new(&url, key.into())?;
    let me: Me = client.json(client.request(Method::GET, "/me")).await?;
    let path = client.save(env)?;
    match format {
        Format::Text => {
            output::text(format!("Signed in to {} as {}. Saved in {}.", client.url, me.email, path.display()))
        }
        Format::Json | Format::StreamJson => output::json(&me),
    }
    Ok(())
}

/// Forgets them. The key itself stays valid.
pub fn logout(env: &Env) -> Result<(), CliError> {
    let path = saved_at(env)?;
    match std::fs::remove_file(&path) {
        Ok(()) => {
            output::note(format!("{} is removed. The key stays valid until `polydev key revoke`.", path.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => output::note("Nothing was saved."),
        Err(error) => return Err(CliError::failed(format!("{} cannot be removed: {error}", path.display()))),
    }
    Ok(())
}

/// Reads a secret from standard input: a line on a terminal, unseen, or all of a pipe less its last newline.
pub fn read_secret(what: &str) -> Result<String, CliError> {
    let mut secret = String::new();
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        output::ask(&format!("{what}: "));
        let unseen = Unseen::new();
        let read = stdin.read_line(&mut secret);
        drop(unseen);
        output::note("");
        read.map(drop)
    } else {
        stdin.lock().read_to_string(&mut secret).map(drop)
    }
    .map_err(|error| CliError::usage(format!("standard input cannot be read: {error}")))?;
    let end =
        secret.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text)).map_or(secret.len(), str::len);
    secret.truncate(end);
    if secret.is_empty() {
        return Err(CliError::usage(format!("no {what} on standard input")));
    }
    Ok(secret)
}

/// A terminal that does not show what is typed, until dropped.
struct Unseen(Option<rustix::termios::Termios>);

impl Unseen {
    fn new() -> Self {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let stdin = rustix::stdio::stdin();
        let Ok(before) = tcgetattr(stdin) else { return Self(None) };
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO);
        let _ = tcsetattr(stdin, OptionalActions::Flush, &unseen);
        Self(Some(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), rustix::termios::OptionalActions::Flush, before);
        }
    }
}
