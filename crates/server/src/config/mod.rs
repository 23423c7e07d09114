//! The configuration: one TOML file, overlaid by environment variables, overlaid by flags.
//!
//! ```text
//!   --config FILE | $POLYDEV_CONFIG | $XDG_CONFIG_HOME/polydev/config.toml | /etc/polydev/config.toml
//!        └─► every key as POLYDEV__SECTION__KEY ─► --data-dir, --listen ─► Config, or all its problems
//! ```
//!
//! A secret (`store.url`, `kv.url`, `egress.upstream_proxy`) may stand in a file of its own that
//! `<key>_file` names, or be a systemd credential named like its key. The vault's master key may be
//! the credential `vault.master_key`.

mod load;
mod problem;
mod settings;

pub use problem::{Problem, Problems};

use crate::vault::KeySource;
use ipnet::IpNet;
use polydev_sandbox::{driver::Limits, egress};
use secrecy::SecretString;
use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};
use url::Url;

/// The environment that the configuration is read from: `main` fills it, nobody else reads the real one.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// The value of a variable; one that is empty counts as unset.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// All variables that are not empty, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(vars: I) -> Self {
        Self(vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Env {
    /// Names only: values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What the command line says about the configuration. Flags win over everything.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config FILE`.
    pub config: Option<PathBuf>,
    /// `--data-dir DIR`.
    pub data_dir: Option<PathBuf>,
    /// `--listen ADDR`.
    pub listen: Option<String>,
}

/// The whole configuration, checked. Paths are absolute.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file that was read, if there is one.
    pub file: Option<PathBuf>,
    /// The files that passwords were read from, that one among them if it has one.
    pub secret_files: Vec<PathBuf>,
    /// `[server]`
    pub server: Server,
    /// `[log]`
    pub log: Log,
    /// `[store]`
    pub store: Store,
    /// `[kv]`
    pub kv: Kv,
    /// `[vault]`
    pub vault: Vault,
    /// `[image]`
    pub image: Image,
    /// `[sandbox]`
    pub sandbox: Sandbox,
    /// `[pool]`
    pub pool: Pool,
    /// `[egress]`
    pub egress: Egress,
    /// `[login]`
    pub login: Login,
    /// `[runs]`
    pub runs: Runs,
    /// `[limits]`
    pub limits: RateLimits,
    /// `[providers.<name>]`, those that the configuration names.
    pub providers: BTreeMap<String, Provider>,
}

impl Config {
    /// Whether people may sign in to this provider in a desktop.
    pub fn login_enabled(&self, provider: &str) -> bool {
        self.providers.get(provider).is_none_or(|provider| provider.login)
    }
}

/// `[server]`
#[derive(Debug, Clone)]
pub struct Server {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where people reach it, if it was said; see [`Server::public_url`].
    pub public_url: Option<Url>,
    /// Where everything lies that the server keeps.
    pub data_dir: PathBuf,
    /// How long a stopping server waits for its runs.
    pub drain: Duration,
    /// Listening beyond loopback without TLS is meant.
    pub insecure: bool,
    /// The proxies that are believed where a request comes from, if they were named; else such as are on this machine.
    pub trusted_proxies: Option<Vec<IpNet>>,
}

impl Server {
    /// Where people reach a server that listens on `bound`: as configured, else the address itself
    /// (with loopback for "every address").
    pub fn public_url(&self, bound: SocketAddr) -> Url {
        if let Some(url) = &self.public_url {
            return url.clone();
        }
        let ip = match bound.ip() {
            std::net::IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let address = SocketAddr::new(ip, bound.port());
        Url::parse(&format!("http://{address}")).expect("a socket address is an authority")
    }
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// The least important level that is written.
    pub level: LogLevel,
    /// How a line looks; by default text on a terminal and JSON elsewhere.
    pub format: Option<LogFormat>,
}

/// `log.level`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// `log.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs, an object a line.
    Json,
}

/// `[store]`
#[derive(Debug, Clone)]
pub struct Store {
    /// `sqlite:…` with an absolute path, or `postgres://…`. Secret because it may carry a password.
    pub url: SecretString,
}

/// `[kv]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kv {
    /// In this process.
    Memory,
}

/// `[vault]`
#[derive(Debug, Clone)]
pub struct Vault {
    /// Where the master key is.
    pub key: KeySource,
}

/// `[image]`
#[derive(Debug, Clone)]
pub struct Image {
    /// Where the golden images lie.
    pub dir: PathBuf,
}

/// `[sandbox]`
#[derive(Debug, Clone)]
pub struct Sandbox {
    /// What makes sandboxes.
    pub driver: Driver,
    /// Limits of a desktop.
    pub desktop: Limits,
    /// Limits of a headless sandbox.
    pub cli: Limits,
    /// Extra CA certificates (PEM) that every sandbox trusts.
    pub ca_file: Option<PathBuf>,
    /// The OCI runtime; by default the first of `crun` and `runc` that works.
    pub oci_runtime: Option<PathBuf>,
}

/// `sandbox.driver`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Driver {
    /// The best that works on this host.
    Auto,
    Oci,
    Firecracker,
    Qemu,
    Kubernetes,
    Sim,
}

impl Driver {
    /// The driver's name; `None` for [`Driver::Auto`].
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Auto => None,
            Self::Oci => Some("oci"),
            Self::Firecracker => Some("firecracker"),
            Self::Qemu => Some("qemu"),
            Self::Kubernetes => Some("kubernetes"),
            Self::Sim => Some("sim"),
        }
    }
}

/// `[pool]`: warm sandboxes that are kept ready; 0 is none.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Pool {
    pub desktop: u64,
    pub cli: u64,
}

/// `[egress]`
#[derive(Debug, Clone)]
pub struct Egress {
    /// `http://…` or `socks5://…`. Secret because it may carry a password.
    pub upstream_proxy: Option<SecretString>,
    /// Names (with `*.`) and CIDRs that may be reached beside the provider's own.
    pub allow: Vec<String>,
    /// Names (with `*.`) and CIDRs that may not be reached whatever else allows them.
    pub deny: Vec<String>,
    /// What each person's sandboxes may use together.
    pub limits: egress::Limits,
}

/// `[login]`
#[derive(Debug, Clone, Copy)]
pub struct Login {
    /// How long a login stays open.
    pub ttl: Duration,
    /// How many logins are open at once, of all people.
    pub max_concurrent: u64,
}

/// `[runs]`
#[derive(Debug, Clone, Copy)]
pub struct Runs {
    /// How long a run may take.
    pub timeout: Duration,
    /// How long a run may say nothing.
    pub stall: Duration,
    /// How many runs work at once.
    pub max_concurrent: u64,
    /// How many runs of one person may wait.
    pub max_queued: u64,
    /// After how many days an ended run is forgotten; 0 is never.
    pub keep_days: u64,
}

/// `[limits]`: how much may be asked; 0 is as much as one likes. An address of IPv6 is the first 64 bits of it.
#[derive(Debug, Clone, Copy)]
pub struct RateLimits {
    /// Requests with one key or session, a second.
    pub key_per_s: u32,
    /// Requests of one person, with all their keys and sessions, a second.
    pub person_per_s: u32,
    /// Those among them that change something, a second; and those of an address that shows no good key.
    pub changes_per_s: u32,
    /// Requests of one address that show no good key or session, a second.
    pub address_per_s: u32,
    /// Wrong keys and sessions of one address, a minute.
    pub refused_per_min: u32,
    /// Streams that one person has open.
    pub person_streams: u32,
    /// Streams that one address has open.
    pub address_streams: u32,
    /// Connections that one address has open, but for this machine and the proxies that are believed.
    pub address_connections: u32,
}

/// `[providers.<name>]`
#[derive(Debug, Clone, Copy)]
pub struct Provider {
    /// Whether people may sign in to it in a desktop.
    pub login: bool,
}
