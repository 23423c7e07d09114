//! The configuration: its defaults, its sources, and what is said of one that is wrong.

use polydev_server::{
    config::{Config, Driver, Env, Flags, LogFormat, LogLevel, Problems},
    vault::KeySource,
};
use secrecy::ExposeSecret;
use std::{fs, path::Path, time::Duration};
use tempfile::TempDir;

/// A home with an empty configuration, so that the machine's own is not read.
struct Home(TempDir);

impl Home {
    fn new(toml: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("polydev")).expect("a directory");
        fs::write(dir.path().join("polydev/config.toml"), toml).expect("a file");
        Self(dir)
    }

    fn load(&self, vars: &[(&str, &str)]) -> Result<Config, Problems> {
        let home = self.0.path().to_str().expect("UTF-8");
        let base = [("XDG_CONFIG_HOME", home), ("XDG_DATA_HOME", "/data")];
        let env = base.into_iter().chain(vars.iter().copied()).collect::<Env>();
        Config::load(&Flags::default(), &env)
    }

    /// What is said, with this home's path made the same for every run.
    fn problems(&self, vars: &[(&str, &str)]) -> String {
        let problems = self.load(vars).expect_err("a configuration with problems");
        problems.to_string().replace(self.0.path().to_str().expect("UTF-8"), "HOME")
    }
}

#[test]
fn nothing_said_means_the_defaults() {
    let home = Home::new("");
    let config = home.load(&[]).unwrap();
    let server = &config.server;
    assert_eq!(config.file.as_deref(), Some(&*home.0.path().join("polydev/config.toml")));
    assert_eq!(server.listen.to_string(), "127.0.0.1:4000");
    assert_eq!(server.public_url(server.listen).as_str(), "http://127.0.0.1:4000/");
    assert_eq!(server.public_url("0.0.0.0:81".parse().unwrap()).as_str(), "http://127.0.0.1:81/");
    assert_eq!(server.data_dir, Path::new("/data/polydev"));
    assert_eq!((server.drain, server.insecure), (Duration::from_secs(20), false));
    assert_eq!(server.trusted_proxies, None);
    assert_eq!((config.log.level, config.log.format), (LogLevel::Info, None));
    assert_eq!(config.store.url.expose_secret(), "sqlite:///data/polydev/polydev.db");
    assert!(matches!(&config.vault.key, KeySource::File(path) if path == Path::new("/data/polydev/master.key")));
    assert_eq!(config.image.dir, Path::new("/data/polydev/images"));
    assert_eq!(config.sandbox.driver, Driver::Auto);
    let limits =
        |limits: polydev_sandbox::driver::Limits| (limits.memory_mib, limits.cpus.milli, limits.pids, limits.disk_mib);
    assert_eq!(limits(config.sandbox.desktop), (1536, 1000, 1024, 512));
    assert_eq!(limits(config.sandbox.cli), (1024, 1000, 512, 512));
    assert_eq!((config.sandbox.ca_file, config.sandbox.oci_runtime), (None, None));
    assert_eq!((config.pool.desktop, config.pool.cli), (1, 1));
    assert!(config.egress.upstream_proxy.is_none() && config.egress.allow.is_empty() && config.egress.deny.is_empty());
    let limits = |limits: polydev_sandbox::egress::Limits| {
        [limits.connections, limits.connections_per_s, limits.bytes_per_s].map(|most| most.map_or(0, |most| most.get()))
    };
    assert_eq!(limits(config.egress.limits), [256, 64, 64 << 20]);
    let none = "[egress]\nmax_connections = 0\nconnections_per_s = 0\nmib_per_s = 0\n";
    assert_eq!(limits(Home::new(none).load(&[]).unwrap().egress.limits), [0, 0, 0], "0 is no limit");
    assert_eq!(config.login.ttl, Duration::from_secs(600));
    let runs = config.runs;
    assert_eq!((runs.timeout, runs.stall), (Duration::from_secs(1800), Duration::from_secs(300)));
    assert_eq!(runs.max_concurrent % 4, 0);
    assert_eq!((runs.max_queued, runs.keep_days), (1000, 30));
    let limits = config.limits;
    assert_eq!((limits.key_per_s, limits.person_per_s, limits.changes_per_s, limits.address_per_s), (50, 100, 10, 20));
    assert_eq!((limits.refused_per_min, limits.address_connections), (10, 256));
    assert_eq!((limits.person_streams, limits.address_streams), (64, 512));
}

const EVERYTHING: &str = r#"
[server]
listen = "[::1]:5000"
public_url = "https://polydev.example.com"
data_dir = "/srv/polydev"
drain_s = 0
insecure = true
trusted_proxies = ["172.16.0.0/12", "2001:db8::1"]
[log]
level = "debug"
format = "json"
[store]
url = "postgres://polydev:secret@db/polydev"
[kv]
url = "memory:"
[vault]
master_key_file = "/srv/master.key"
[image]
dir = "/srv/images"
[sandbox]
driver = "oci"
ca_file = "/srv/ca.pem"
[sandbox.desktop]
memory_mib = 2048
cpus = 2
pids = 2000
disk_mib = 1024
[sandbox.cli]
memory_mib = 512
cpus = 0.5
pids = 100
disk_mib = 256
[sandbox.oci]
runtime = "/usr/bin/crun"
[pool]
desktop = 0
cli = 3
[egress]
upstream_proxy = "http://user:secret@proxy:3128"
allow = ["*.example.com", "10.0.0.0/8"]
deny = ["example.org"]
max_connections = 10
connections_per_s = 5
mib_per_s = 2
[login]
ttl_s = 900
[runs]
timeout_s = 60
stall_s = 30
max_concurrent = 2
max_queued = 0
keep_days = 1
[limits]
key_per_s = 1
person_per_s = 2
changes_per_s = 3
address_per_s = 4
refused_per_min = 5
person_streams = 6
address_streams = 7
address_connections = 0
[providers.claude]
login = "off"
"#;

#[test]
fn every_key_can_be_said_in_the_file() {
    check_everything(&Home::new(EVERYTHING).load(&[]).unwrap());
}

#[test]
fn every_key_can_be_said_by_a_variable() {
    let mut vars = Vec::new();
    let mut section = String::new();
    for line in EVERYTHING.lines().filter(|line| !line.is_empty()) {
        match line.split_once(" = ") {
            None => section = line.trim_matches(['[', ']']).replace('.', "__").to_uppercase(),
            Some((key, value)) => {
                let name = format!("POLYDEV__{section}__{}", key.to_uppercase());
                vars.push((name, value.trim_matches('"').to_owned()));
            }
        }
    }
    assert_eq!(vars.len(), 46);
    let vars: Vec<_> = vars.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    check_everything(&Home::new("").load(&vars).unwrap());
}

fn check_everything(config: &Config) {
    assert_eq!(config.server.listen.to_string(), "[::1]:5000");
    assert_eq!(config.server.public_url(config.server.listen).as_str(), "https://polydev.example.com/");
    assert_eq!(config.server.data_dir, Path::new("/srv/polydev"));
    assert_eq!((config.server.drain, config.server.insecure), (Duration::ZERO, true));
    let proxies = config.server.trusted_proxies.as_ref().unwrap();
    assert_eq!(proxies.iter().map(ToString::to_string).collect::<Vec<_>>(), ["172.16.0.0/12", "2001:db8::1/128"]);
    assert_eq!((config.log.level, config.log.format), (LogLevel::Debug, Some(LogFormat::Json)));
    assert_eq!(config.store.url.expose_secret(), "postgres://polydev:secret@db/polydev");
    assert!(matches!(&config.vault.key, KeySource::File(path) if path == Path::new("/srv/master.key")));
    assert_eq!(config.image.dir, Path::new("/srv/images"));
    assert_eq!(config.sandbox.driver, Driver::Oci);
    assert_eq!(config.sandbox.ca_file.as_deref(), Some(Path::new("/srv/ca.pem")));
    assert_eq!((config.sandbox.desktop.cpus.milli, config.sandbox.desktop.pids), (2000, 2000));
    assert_eq!((config.sandbox.cli.cpus.milli, config.sandbox.cli.disk_mib), (500, 256));
    assert_eq!(config.sandbox.oci_runtime.as_deref(), Some(Path::new("/usr/bin/crun")));
    assert_eq!((config.pool.desktop, config.pool.cli), (0, 3));
    let proxy = config.egress.upstream_proxy.as_ref().map(|proxy| proxy.expose_secret());
    assert_eq!(proxy, Some("http://user:secret@proxy:3128"));
    assert_eq!(config.egress.allow, ["*.example.com", "10.0.0.0/8"]);
    assert_eq!(config.egress.deny, ["example.org"]);
    let limits = config.egress.limits;
    assert_eq!(limits.connections.unwrap().get(), 10);
    assert_eq!((limits.connections_per_s.unwrap().get(), limits.bytes_per_s.unwrap().get()), (5, 2 << 20));
    assert_eq!(config.login.ttl, Duration::from_secs(900));
    assert_eq!((config.runs.timeout, config.runs.stall), (Duration::from_secs(60), Duration::from_secs(30)));
    assert_eq!((config.runs.max_concurrent, config.runs.max_queued, config.runs.keep_days), (2, 0, 1));
    let limits = config.limits;
    assert_eq!((limits.key_per_s, limits.person_per_s, limits.changes_per_s, limits.address_per_s), (1, 2, 3, 4));
    assert_eq!((limits.refused_per_min, limits.address_connections), (5, 0));
    assert_eq!((limits.person_streams, limits.address_streams), (6, 7));
    assert!(!config.login_enabled("claude") && config.login_enabled("codex"));
    assert!(!format!("{config:?}").contains("secret@"), "{config:?}");
}

#[test]
fn flags_come_before_variables_and_variables_before_the_file() {
    let home = Home::new("server.listen = \"127.0.0.1:1\"\nserver.drain_s = 1\npool.cli = 5");
    let env = Env::from_iter([
        ("XDG_CONFIG_HOME", home.0.path().to_str().unwrap()),
        ("POLYDEV__SERVER__LISTEN", "127.0.0.1:2"),
        ("POLYDEV__SERVER__DRAIN_S", "2"),
        ("POLYDEV__SERVER__DATA_DIR", "/from-variable"),
        ("POLYDEV__LOG__LEVEL", ""),
    ]);
    let flags = Flags { data_dir: Some("/from-flag".into()), listen: Some("127.0.0.1:3".into()), ..Flags::default() };
    let config = Config::load(&flags, &env).unwrap();
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.server.drain, Duration::from_secs(2));
    assert_eq!(config.pool.cli, 5);
    assert_eq!(config.image.dir, Path::new("/from-flag/images"));
}

#[test]
fn the_file_that_is_named_first_counts() {
    let home = Home::new("pool.cli = 2");
    let named = |name: &str, cli: u32| {
        let path = home.0.path().join(name);
        fs::write(&path, format!("pool.cli = {cli}")).unwrap();
        path
    };
    let (flag, variable) = (named("flag.toml", 4), named("variable.toml", 3));
    let base = [("XDG_CONFIG_HOME", home.0.path().to_str().unwrap())];
    let env = base.into_iter().chain([("POLYDEV_CONFIG", variable.to_str().unwrap())]).collect();
    let flags = Flags { config: Some(flag), ..Flags::default() };
    assert_eq!(Config::load(&flags, &env).unwrap().pool.cli, 4);
    assert_eq!(Config::load(&Flags::default(), &env).unwrap().pool.cli, 3);
    assert_eq!(Config::load(&Flags::default(), &Env::from_iter(base)).unwrap().pool.cli, 2);
    let home = [("HOME", home.0.path().join("x"))].map(|(name, path)| (name, path.display().to_string()));
    assert_eq!(Config::load(&Flags::default(), &Env::from_iter(home)).unwrap().pool.cli, 1);
}

#[test]
fn a_file_that_was_named_must_exist() {
    let flags = Flags { config: Some("/nonexistent/polydev.toml".into()), ..Flags::default() };
    let by_flag = Config::load(&flags, &Env::default()).unwrap_err();
    let env = Env::from_iter([("POLYDEV_CONFIG", "/nonexistent/polydev.toml")]);
    let by_variable = Config::load(&Flags::default(), &env).unwrap_err();
    insta::assert_snapshot!(format!("{by_flag}\n\n{by_variable}"));
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let home = Home::new(
        r#"
        sever.listen = "127.0.0.1:4000"
        pool.cli = -1
        pool.deskop = 1
        runs.timeout_s = "30m"
        runs.max_queued = 1.5
        egress.deny = "example.com"
        sandbox.cli.memory_mib = 1
        sandbox.desktop.cpus = 0
        sandbox.driver = "docker"
        log.level = "loud"
        log.format = 7
        kv.url = "redis://localhost"
        store.url = "mysql://root:canary@localhost"
        egress.upstream_proxy = "ftp://user:canary@localhost"
        providers.claude.login = "maybe"
        image = {}
        images = {}
        [server]
        listen = "localhost"
        public_url = "https://example.com/polydev"
        insecure = "yes"
        "#,
    );
    let vars = [
        ("POLYDEV__EGRESS__ALLOW", r#"["exa mple.com", "*.example.com", "10.0.0.0/33"]"#),
        ("POLYDEV__LOGIN__TTL_S", "soon"),
        ("POLYDEV__VAULT__KEY", "canary"),
        ("ENCRYPTION_MASTER_KEY", "canary"),
    ];
    let said = home.problems(&vars);
    assert!(!said.contains("canary"), "{said}");
    insta::assert_snapshot!(said);
}

#[test]
fn a_provider_that_does_not_exist_is_named_beside_those_that_do() {
    let said = Home::new("providers.clod.login = \"off\"\nproviders.claude.logins = \"off\"").problems(&[]);
    assert!(said.contains("`clod` is no provider that polydev knows; the providers are `claude`"), "{said}");
    assert!(said.contains("providers.claude.logins: is no key that polydev knows"), "{said}");
}

#[test]
fn a_list_in_a_variable_is_json() {
    let said = Home::new("").problems(&[("POLYDEV__EGRESS__DENY", "example.com")]);
    assert!(said.contains("POLYDEV__EGRESS__DENY is no JSON list of strings, such as `[\"example.com\"]`"), "{said}");
}

#[test]
fn a_file_that_is_no_toml_is_named_with_the_line_but_not_what_it_holds() {
    let home = Home::new("[store]\nurl = \"postgres://polydev:canary@db\n");
    let said = home.problems(&[]);
    assert!(!said.contains("canary"), "{said}");
    insta::assert_snapshot!(said);
}

#[test]
fn listening_beyond_loopback_takes_tls_or_a_word() {
    let home = Home::new("server.listen = \"0.0.0.0:4000\"");
    insta::assert_snapshot!(home.problems(&[]));
    let http = [("POLYDEV__SERVER__PUBLIC_URL", "http://polydev.example.com")];
    assert_eq!(home.load(&http).unwrap_err().0[0].key, "server.listen");
    home.load(&[("POLYDEV__SERVER__PUBLIC_URL", "https://polydev.example.com")]).unwrap();
    home.load(&[("POLYDEV__SERVER__INSECURE", "true")]).unwrap();
}

#[test]
fn a_secret_may_lie_in_a_file_or_be_a_credential() {
    let home = Home::new("");
    let file = home.0.path().join("url");
    fs::write(&file, "postgres://polydev:canary@db/polydev\n").unwrap();
    let file = file.to_str().unwrap();
    let config = home.load(&[("POLYDEV__STORE__URL_FILE", file)]).unwrap();
    assert_eq!(config.store.url.expose_secret(), "postgres://polydev:canary@db/polydev");

    let credentials = home.0.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::write(credentials.join("store.url"), "postgres://credential@db/polydev").unwrap();
    fs::write(credentials.join("vault.master_key"), "c".repeat(64) + "\n").unwrap();
    let directory = ("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap());
    let config = home.load(&[directory]).unwrap();
    assert_eq!(config.store.url.expose_secret(), "postgres://credential@db/polydev");
    let KeySource::Credential(path) = &config.vault.key else { panic!("{:?}", config.vault) };
    assert_eq!(*path, credentials.join("vault.master_key"));

    let beside = ("ENCRYPTION_MASTER_KEY", &*"d".repeat(64));
    assert_eq!(home.load(&[directory, beside]).unwrap_err().0[0].key, "ENCRYPTION_MASTER_KEY");
    home.load(&[("ENCRYPTION_MASTER_KEY", &*format!("{},{}", "d".repeat(64), "e".repeat(64)))]).unwrap();

    let inline = ("POLYDEV__STORE__URL", "sqlite:/srv/own.db");
    let config = home.load(&[directory, inline]).unwrap();
    assert_eq!(config.store.url.expose_secret(), "sqlite:///srv/own.db");

    let key = ("ENCRYPTION_MASTER_KEY", &*"d".repeat(64));
    let twice = [
        inline,
        ("POLYDEV__STORE__URL_FILE", file),
        key,
        ("POLYDEV__VAULT__MASTER_KEY_FILE", file),
        ("POLYDEV__EGRESS__UPSTREAM_PROXY_FILE", "/nonexistent/proxy"),
    ];
    insta::assert_snapshot!(home.problems(&twice));
}

#[test]
fn what_is_not_said_about_the_data_directory_follows_xdg() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let flags = Flags { config: Some(file.path().into()), ..Flags::default() };
    let data_dir = |vars: &[(&str, &str)]| {
        let env = vars.iter().copied().collect();
        Config::load(&flags, &env).unwrap().server.data_dir
    };
    assert_eq!(data_dir(&[("XDG_DATA_HOME", "/xdg"), ("HOME", "/home/ann")]), Path::new("/xdg/polydev"));
    let root = rustix::process::geteuid().is_root();
    let home = if root { "/var/lib/polydev" } else { "/home/ann/.local/share/polydev" };
    assert_eq!(data_dir(&[("HOME", "/home/ann")]), Path::new(home));
    assert_eq!(data_dir(&[]), Path::new("/var/lib/polydev"));
}

#[test]
fn a_proxy_that_is_believed_is_somebody_in_particular() {
    let of = |list: &str| Home::new(&format!("server.trusted_proxies = {list}"));
    assert_eq!(of("[]").load(&[]).unwrap().server.trusted_proxies, Some(Vec::new()));
    let problems = of(r#"["proxy", "10.0.0.0/33", "0.0.0.0/0", "::/0", "10.0.0.1"]"#).problems(&[]);
    for text in ["`proxy` is no network", "`10.0.0.0/33` is no", "`0.0.0.0/0` is everybody", "`::/0` is everybody"] {
        assert!(problems.contains(text), "{text}: {problems}");
    }
    assert!(!problems.contains("`10.0.0.1`"), "{problems}");
}
