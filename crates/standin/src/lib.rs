//! A stand-in for each provider's login and API, over the real protocols, for tests and the demo.
//!
//! ```text
//!   tool or server ──CONNECT api.anthropic.com:443──► Standin ──TLS (a CA of its own)──► claude.rs
//!   or browser               auth.openai.com, …                                          codex.rs
//!                            oauth2.googleapis.com, …                                    gemini.rs
//!                            any other host: 502                    every request ─────► record.rs
//!   a script ────────POST /accounts/ada/claude/login, …───► control.rs ─► accounts.rs
//! ```
//!
//! It is reached as any proxy with a private certificate authority is: there is
//! no door for tests in what is tested. What it answers is in `answer.rs`, who
//! is signed in and for how long in `accounts.rs`, and the pages on which people
//! sign in, with what can go wrong there, in `signin.rs`.

mod accounts;
mod answer;
mod authority;
mod claude;
mod clock;
mod codex;
mod control;
mod gemini;
mod provider;
mod proxy;
mod received;
mod record;
mod reply;
mod signin;

pub use accounts::Account;
use accounts::Ledger;
use authority::Authority;
pub use provider::{Provider, UnknownProvider};
use proxy::Shared;
use record::Log;
pub use record::{MAX_BODY, MAX_RECORDS, Recorded, credential_id};
pub use signin::{SignInFault, UnknownFault};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{net::TcpListener, task::JoinHandle};

/// Where a stand-in listens and what it keeps.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where `ca.pem`, `ca-key.pem` and `requests.jsonl` are kept. Without it
    /// the certificate authority lives in a temporary directory, and requests
    /// only in memory.
    pub dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 0).into(), dir: None }
    }
}

/// Why a stand-in could not start.
#[derive(Debug, thiserror::Error)]
pub enum StandinError {
    /// The address cannot be listened on.
    #[error("`{0}` cannot be listened on")]
    Listen(SocketAddr, #[source] io::Error),
    /// A file of its directory cannot be read or written.
    #[error("`{}` cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A certificate could not be made, or the kept key is none.
    #[error("the certificate authority cannot be used")]
    Certificate(#[from] rcgen::Error),
    /// A certificate is not fit for TLS.
    #[error("tls cannot be served")]
    Tls(#[from] rustls::Error),
}

impl StandinError {
    fn file(path: &Path, source: io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }
}

/// A running stand-in. It ends when this is dropped.
pub struct Standin {
    address: SocketAddr,
    shared: Shared,
    task: JoinHandle<()>,
    _temporary: Option<tempfile::TempDir>,
}

impl Standin {
    /// Starts one on the current tokio runtime.
    pub async fn start(options: Options) -> Result<Self, StandinError> {
        let (dir, temporary) = match &options.dir {
            Some(dir) => {
                std::fs::create_dir_all(dir).map_err(|e| StandinError::file(dir, e))?;
                (dir.clone(), None)
            }
            None => {
                let temporary = tempfile::tempdir().map_err(|e| StandinError::file(&std::env::temp_dir(), e))?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let authority = Arc::new(Authority::open(&dir)?);
        let log = Log::open(options.dir.as_ref().map(|dir| dir.join("requests.jsonl")).as_deref())?;
        let listener = TcpListener::bind(options.listen).await.map_err(|e| StandinError::Listen(options.listen, e))?;
        let address = listener.local_addr().map_err(|e| StandinError::Listen(options.listen, e))?;
        let shared = Shared { authority, ledger: Ledger::default(), log };
        let task = tokio::spawn(proxy::serve(listener, shared.clone()));
        Ok(Self { address, shared, task, _temporary: temporary })
    }

    /// The proxy to be reached through: `http://127.0.0.1:PORT`.
    pub fn proxy_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The PEM file to trust. It goes when a stand-in without `dir` does.
    pub fn ca_file(&self) -> &Path {
        self.shared.authority.file()
    }

    /// The content of [`Standin::ca_file`].
    pub fn ca_pem(&self) -> &str {
        self.shared.authority.pem()
    }

    /// The person of this name, who has an account at every provider.
    pub fn account(&self, name: &str) -> Account {
        Account::new(name, self.shared.ledger.clone())
    }

    /// Everything that reached it so far, oldest first, at most [`MAX_RECORDS`].
    /// A request is in here before its answer is sent.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.log.all()
    }

    /// The first request that `wanted` takes, past or to come.
    pub async fn request(&self, wanted: impl Fn(&Recorded) -> bool) -> Recorded {
        self.shared.log.first(wanted).await
    }

    /// Ends it and every connection through it.
    pub async fn stop(mut self) {
        self.task.abort();
        // A cancelled task is what was asked for.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.task.abort();
    }
}
