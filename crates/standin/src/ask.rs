//! `polydev-standin account`: asks a stand-in that is running about an account, or to do something to it.

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::{Subcommand, ValueEnum};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use polydev_standin::{Provider, SignInFault};
use serde_json::Value;
use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use tokio::net::TcpStream;

/// What can be asked.
#[derive(Subcommand)]
pub(crate) enum Ask {
    /// Asks a stand-in that is running about an account, or to do something to it, and prints its answer.
    Account {
        /// Where it listens, as it said when it started: `http://127.0.0.1:PORT`.
        #[arg(long)]
        proxy: String,
        /// Whose account: any name.
        name: String,
        /// `claude`, `codex` or `gemini`.
        provider: Provider,
        /// What to do.
        what: What,
        /// For `login`: how many seconds the access token lives, 0 for one that has expired.
        #[arg(long)]
        lives: Option<u64>,
        /// For `fault`: what goes wrong, such as `denied`; nothing without it.
        #[arg(long)]
        is: Option<SignInFault>,
        /// For `approve`: the code that the tool shows.
        #[arg(long)]
        user_code: Option<String>,
        /// For `login`: the folder to write the tool's files into, instead of printing them.
        #[arg(long)]
        into: Option<PathBuf>,
    },
}

/// What can be done to an account.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Tells its address and how often its tokens were refreshed.
    Status,
    /// Signs in: the files that the provider's tool would have written.
    Login,
    /// A code as the provider's sign-in page gives it.
    Code,
    /// A token for a year (claude).
    SetupToken,
    /// All of its access tokens expire.
    Expire,
    /// All of its logins are dead.
    Revoke,
    /// Sign-in pages offer it first.
    First,
    /// Says what goes wrong when it signs in.
    Fault,
    /// Agrees to what a tool's device code stands for (codex).
    Approve,
}

/// Does what was asked.
pub(crate) async fn ask(ask: Ask) -> anyhow::Result<()> {
    let Ask::Account { proxy, name, provider, what, lives, is, user_code, into } = ask;
    let (method, step) = match what {
        What::Status => ("GET", ""),
        What::Login => ("POST", "/login"),
        What::Code => ("POST", "/code"),
        What::SetupToken => ("POST", "/setup-token"),
        What::Expire => ("POST", "/expire"),
        What::Revoke => ("POST", "/revoke"),
        What::First => ("POST", "/first"),
        What::Fault => ("POST", "/fault"),
        What::Approve => ("POST", "/approve"),
    };
    let query = match (lives, is, user_code) {
        (Some(seconds), _, _) => format!("?lives={seconds}"),
        (None, Some(fault), _) => format!("?is={fault}"),
        (None, None, Some(code)) => format!("?user_code={code}"),
        (None, None, None) => String::new(),
    };
    let answer = send(&proxy, method, &format!("/accounts/{name}/{}{step}{query}", provider.name())).await?;
    let told = match (what, into) {
        (What::Login, Some(dir)) => write(&dir, &answer["files"])?,
        (_, _) => answer.to_string(),
    };
    let mut out = std::io::stdout();
    writeln!(out, "{told}").context("standard output is closed")
}

async fn send(proxy: &str, method: &str, path: &str) -> anyhow::Result<Value> {
    let address = proxy.strip_prefix("http://").unwrap_or(proxy).trim_end_matches('/');
    let stream = TcpStream::connect(address).await.with_context(|| format!("no stand-in answers at `{proxy}`"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", address).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "`{path}` was answered with {status}");
    Ok(serde_json::from_slice(&body)?)
}

/// Writes the files as the tool would, and tells their paths, one a line.
fn write(dir: &Path, files: &Value) -> anyhow::Result<String> {
    std::fs::create_dir_all(dir).with_context(|| format!("`{}` cannot be made", dir.display()))?;
    let mut paths = Vec::new();
    for (name, text) in files.as_object().into_iter().flatten() {
        let path = dir.join(name);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(text.as_str().unwrap_or_default().as_bytes())?;
        paths.push(path.display().to_string());
    }
    Ok(paths.join("\n"))
}
