//! From what was said to a [`Config`]: defaults and checks, key by key.

use super::{
    Config, Driver, Egress, Env, Flags, Image, Kv, Log, LogFormat, LogLevel, Login, Pool, Problem, Problems, Provider,
    RateLimits, Runs, Sandbox, Server, Store, Vault, settings::Settings,
};
use crate::{providers::PROVIDERS, vault::KeySource};
use ipnet::IpNet;
use polydev_sandbox::{
    driver::{Cpus, Limits},
    egress::{self, HostRule, UpstreamProxy},
};
use secrecy::ExposeSecret;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    num::NonZeroU64,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};
use url::Url;

const SYSTEM_FILE: &str = "/etc/polydev/config.toml";
/// Where a service keeps its state (Filesystem Hierarchy Standard 3.0, 5.8).
const SYSTEM_DATA: &str = "/var/lib/polydev";
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4000);
/// The most warm sandboxes of a kind: they are made one at a time, and each takes some MiB for nobody.
const POOL_MAX: u64 = 64;
/// The most that a limit may be said to be: beyond it none is meant, which is 0.
const LIMIT_MAX: u32 = 1_000_000;
const DAY_S: u64 = 24 * 60 * 60;

impl Config {
    /// Reads and checks the configuration. Nothing is created or bound.
    ///
    /// # Errors
    /// All that is wrong with it, at once.
    pub fn load(flags: &Flags, env: &Env) -> Result<Self, Problems> {
        let (file, table) = read_file(flags, env).map_err(|problem| Problems(vec![problem]))?;
        let mut from = Settings::new(table, env);
        if let Some(dir) = &flags.data_dir {
            from.overlay("server.data_dir", "--data-dir", dir.to_string_lossy().into_owned());
        }
        if let Some(address) = &flags.listen {
            from.overlay("server.listen", "--listen", address.clone());
        }

        let server = server(&mut from, env);
        let mut config = Self {
            secret_files: Vec::new(),
            file,
            log: Log { level: from.parsed("log.level").unwrap_or(LogLevel::Info), format: from.parsed("log.format") },
            store: store(&mut from, &server.data_dir),
            kv: kv(&mut from),
            vault: vault(&mut from, env, &server.data_dir),
            image: Image { dir: from.path("image.dir").unwrap_or_else(|| server.data_dir.join("images")) },
            sandbox: sandbox(&mut from),
            pool: Pool {
                desktop: from.number("pool.desktop", 1, 0..=POOL_MAX),
                cli: from.number("pool.cli", 1, 0..=POOL_MAX),
            },
            egress: egress(&mut from),
            login: Login {
                ttl: seconds(&mut from, "login.ttl_s", 600, 30..=3600),
                max_concurrent: from.number("login.max_concurrent", 16, 1..=1000),
            },
            runs: runs(&mut from),
            limits: limits_of_requests(&mut from),
            providers: providers(&mut from),
            server,
        };
        config.secret_files = std::mem::take(&mut from.secret_files);
        config.secret_files.extend(config.file.clone().filter(|_| from.has_password));
        let problems = from.finish();
        if problems.is_empty() { Ok(config) } else { Err(Problems(problems)) }
    }
}

/// The file that counts, and what it says. Only one that was named must exist.
fn read_file(flags: &Flags, env: &Env) -> Result<(Option<PathBuf>, toml::Table), Problem> {
    let named = flags
        .config
        .clone()
        .map(|path| ("--config", path))
        .or_else(|| env.get("POLYDEV_CONFIG").map(|path| ("POLYDEV_CONFIG", path.into())));
    let found = match named {
        Some(named) => Some(named),
        None => xdg(env, "XDG_CONFIG_HOME", ".config")
            .map(|dir| dir.join("polydev/config.toml"))
            .into_iter()
            .chain([SYSTEM_FILE.into()])
            .find(|path| path.exists())
            .map(|path| ("the configuration file", path)),
    };
    let Some((by, path)) = found else { return Ok((None, toml::Table::new())) };
    let text = std::fs::read_to_string(&path)
        .map_err(|e| Problem { key: by.into(), message: format!("`{}` cannot be read: {e}", path.display()) })?;
    match text.parse() {
        Ok(table) => Ok((Some(path), table)),
        Err(error) => Err(Problem { key: path.display().to_string(), message: syntax(&text, &error) }),
    }
}

/// What a parser says, with the line but without its text: it may hold a secret.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("is no TOML: line {}: {}", before.matches('\n').count() + 1, error.message())
}

/// A directory of the XDG Base Directory Specification 0.8, which ignores relative ones.
fn xdg(env: &Env, variable: &str, below_home: &str) -> Option<PathBuf> {
    let given = env.get(variable).map(PathBuf::from).filter(|dir| dir.is_absolute());
    given.or_else(|| Some(Path::new(env.get("HOME")?).join(below_home)))
}

/// `$XDG_DATA_HOME/polydev` where that is set; else `/var/lib/polydev` for root, whose server is a
/// service, and `~/.local/share/polydev` for everybody else.
fn default_data_dir(env: &Env) -> PathBuf {
    if env.get("XDG_DATA_HOME").is_none() && rustix::process::geteuid().is_root() {
        return SYSTEM_DATA.into();
    }
    xdg(env, "XDG_DATA_HOME", ".local/share").map_or_else(|| SYSTEM_DATA.into(), |dir| dir.join("polydev"))
}

fn server(from: &mut Settings, env: &Env) -> Server {
    let listen = from.text("server.listen").map_or(Some(LISTEN), |text| match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            from.problem("server.listen", format!("`{text}` is no address and port, such as `{LISTEN}`"));
            None
        }
    });
    let public_url = from.text("server.public_url").and_then(|text| match public_url(&text) {
        Ok(url) => Some(url),
        Err(why) => {
            from.problem("server.public_url", format!("`{text}` {why}"));
            None
        }
    });
    let data_dir = from.path("server.data_dir").unwrap_or_else(|| default_data_dir(env));
    let drain = seconds(from, "server.drain_s", 20, 0..=DAY_S);
    let insecure = from.boolean("server.insecure", false);
    let trusted_proxies = proxies(from, "server.trusted_proxies");

    let beyond_loopback = listen.is_some_and(|address| !address.ip().is_loopback());
    let https = public_url.as_ref().is_some_and(|url| url.scheme() == "https");
    if beyond_loopback && !https && !insecure {
        from.problem(
            "server.listen",
            "is reachable from other machines, and keys and passwords would cross the network in the clear: listen on \
             127.0.0.1 behind a proxy that speaks TLS, or set `server.public_url` to the https address of that proxy, \
             or set `server.insecure = true` if the network is yours alone",
        );
    }
    Server { listen: listen.unwrap_or(LISTEN), public_url, data_dir, drain, insecure, trusted_proxies }
}

/// Networks and addresses; none where nothing was said, which is not an empty list.
fn proxies(from: &mut Settings, key: &str) -> Option<Vec<IpNet>> {
    let is_given = from.is_given(key);
    let mut proxies = Vec::new();
    for text in from.list(key) {
        match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(net) if net.prefix_len() > 0 => proxies.push(net),
            Ok(_) => {
                from.problem(key, format!("`{text}` is everybody, and anybody could say that they come from anywhere"))
            }
            Err(_) => from.problem(key, format!("`{text}` is no network, such as `172.16.0.0/12`, and no address")),
        }
    }
    is_given.then_some(proxies)
}

fn public_url(text: &str) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "is no address, such as `https://polydev.example.com`")?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err("is no http or https address");
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err("has a path: polydev answers at the root of its address only");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("has a user name: leave it out");
    }
    Ok(url)
}

fn store(from: &mut Settings, data_dir: &Path) -> Store {
    let own = || crate::store::sqlite_url(&data_dir.join("polydev.db"));
    let url = match from.secret("store.url") {
        None => own(),
        Some(url) => {
            let text = url.expose_secret();
            if let Some(path) = text.strip_prefix("sqlite:") {
                let path = path.strip_prefix("//").unwrap_or(path);
                match path {
                    "" => own(),
                    path if path.starts_with(':') || path.contains('?') => {
                        from.problem("store.url", "has SQLite options: give a file, such as `sqlite:/srv/polydev.db`");
                        own()
                    }
                    path => std::path::absolute(path).map_or_else(|_| own(), |path| crate::store::sqlite_url(&path)),
                }
            } else if Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "postgres" | "postgresql")) {
                text.to_owned()
            } else {
                from.problem("store.url", "is neither `sqlite:…` nor `postgres://…`");
                own()
            }
        }
    };
    Store { url: url.into() }
}

fn kv(from: &mut Settings) -> Kv {
    if let Some(url) = from.secret("kv.url") {
        match url.expose_secret().split_once(':').map(|(scheme, _)| scheme) {
            Some("memory") => {}
            Some("redis" | "rediss") => {
                from.problem("kv.url", "Redis is not supported yet: leave `kv.url` at `memory:`");
            }
            Some(_) | None => from.problem("kv.url", "is not `memory:`"),
        }
    }
    Kv::Memory
}

fn vault(from: &mut Settings, env: &Env, data_dir: &Path) -> Vault {
    let file = from.path("vault.master_key_file").map(KeySource::File);
    let variable = env.get("ENCRYPTION_MASTER_KEY").map(|keys| KeySource::Variable(keys.into()));
    let credential = from.credential_file("vault.master_key").map(KeySource::Credential);

    let names = ["vault.master_key_file", "ENCRYPTION_MASTER_KEY", "the systemd credential `vault.master_key`"];
    let mut given = names.into_iter().zip([file, variable, credential]).filter_map(|(name, key)| Some((name, key?)));
    let (name, key) = given.next().unwrap_or(("", KeySource::File(data_dir.join("master.key"))));
    if let Some((other, _)) = given.next() {
        from.problem(name, format!("is set beside {other}: keep one of them"));
    }
    if matches!(key, KeySource::Variable(_)) && key.look().is_err() {
        from.problem(name, "is not 64 hexadecimal digits: make one with `openssl rand -hex 32`");
    }
    Vault { key }
}

fn sandbox(from: &mut Settings) -> Sandbox {
    Sandbox {
        driver: from.parsed("sandbox.driver").unwrap_or(Driver::Auto),
        desktop: limits(from, "desktop", 1536, 1024),
        cli: limits(from, "cli", 1024, 512),
        ca_file: from.path("sandbox.ca_file"),
        oci_runtime: from.path("sandbox.oci.runtime"),
    }
}

fn limits(from: &mut Settings, of: &str, memory_mib: u64, pids: u64) -> Limits {
    let key = |name: &str| format!("sandbox.{of}.{name}");
    Limits {
        memory_mib: from.number(&key("memory_mib"), memory_mib, 64..=1 << 20),
        cpus: Cpus::from(from.decimal(&key("cpus"), 1.0, 0.1..=1024.0)),
        pids: from.number(&key("pids"), pids, 16..=1 << 20),
        disk_mib: from.number(&key("disk_mib"), 512, 16..=1 << 20),
    }
}

fn egress(from: &mut Settings) -> Egress {
    let upstream_proxy = from.secret("egress.upstream_proxy");
    if let Some(Err(error)) = upstream_proxy.as_ref().map(|proxy| proxy.expose_secret().parse::<UpstreamProxy>()) {
        from.problem("egress.upstream_proxy", error.to_string());
    }
    let (allow, deny) = (rules(from, "egress.allow"), rules(from, "egress.deny"));
    let limits = egress::Limits {
        connections: NonZeroU64::new(from.number("egress.max_connections", 256, 0..=1 << 20)),
        connections_per_s: NonZeroU64::new(from.number("egress.connections_per_s", 64, 0..=1 << 20)),
        bytes_per_s: NonZeroU64::new(from.number("egress.mib_per_s", 64, 0..=1 << 20) * 1024 * 1024),
    };
    Egress { upstream_proxy, allow, deny, limits }
}

fn rules(from: &mut Settings, key: &str) -> Vec<String> {
    let rules = from.list(key);
    for error in rules.iter().filter_map(|rule| rule.parse::<HostRule>().err()) {
        from.problem(key, error.to_string());
    }
    rules
}

fn runs(from: &mut Settings) -> Runs {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    Runs {
        timeout: seconds(from, "runs.timeout_s", 1800, 1..=DAY_S),
        stall: seconds(from, "runs.stall_s", 300, 1..=DAY_S),
        max_concurrent: from.number("runs.max_concurrent", cores * 4, 1..=100_000),
        max_queued: from.number("runs.max_queued", 1000, 0..=1_000_000),
        keep_days: from.number("runs.keep_days", 30, 0..=36_500),
    }
}

fn limits_of_requests(from: &mut Settings) -> RateLimits {
    let mut limit = |name: &str, default: u32| {
        let number = from.number(&format!("limits.{name}"), default.into(), 0..=LIMIT_MAX.into());
        u32::try_from(number).unwrap_or(LIMIT_MAX)
    };
    RateLimits {
        key_per_s: limit("key_per_s", 50),
        person_per_s: limit("person_per_s", 100),
        changes_per_s: limit("changes_per_s", 10),
        address_per_s: limit("address_per_s", 20),
        refused_per_min: limit("refused_per_min", 10),
        person_streams: limit("person_streams", 64),
        address_streams: limit("address_streams", 512),
        address_connections: limit("address_connections", 256),
    }
}

fn providers(from: &mut Settings) -> BTreeMap<String, Provider> {
    let mut providers = BTreeMap::new();
    for key in from.unread_below("providers") {
        let Some((name, "login")) = key.split_once('.').and_then(|(_, rest)| rest.rsplit_once('.')) else {
            from.refuse(&key, "is no key that polydev knows; a provider has the key `login`");
            continue;
        };
        if crate::providers::by_name(name).is_none() {
            let names = PROVIDERS.iter().map(|provider| format!("`{}`", provider.about().name));
            let names = names.collect::<Vec<_>>().join(", ");
            from.refuse(&key, format!("`{name}` is no provider that polydev knows; the providers are {names}"));
            continue;
        }
        let login = from.parsed(&key).unwrap_or(Switch(true)).0;
        providers.insert(name.to_owned(), Provider { login });
    }
    providers
}

fn seconds(from: &mut Settings, key: &str, default: u64, bounds: RangeInclusive<u64>) -> Duration {
    Duration::from_secs(from.number(key, default, bounds))
}

/// `on` or `off`.
struct Switch(bool);

impl FromStr for Switch {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on" => Ok(Self(true)),
            "off" => Ok(Self(false)),
            _ => Err("is neither `on` nor `off`"),
        }
    }
}

impl FromStr for LogLevel {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err("is none of `error`, `warn`, `info`, `debug`, `trace`"),
        }
    }
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("is neither `text` nor `json`"),
        }
    }
}

impl FromStr for Driver {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "oci" => Ok(Self::Oci),
            "firecracker" => Ok(Self::Firecracker),
            "qemu" => Ok(Self::Qemu),
            "kubernetes" => Ok(Self::Kubernetes),
            "sim" => Ok(Self::Sim),
            _ => Err("is none of `auto`, `oci`, `firecracker`, `qemu`, `kubernetes`, `sim`"),
        }
    }
}
