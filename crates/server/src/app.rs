//! The parts of a server, built from its configuration in the order in which they need each other.

use crate::{
    cli::output::{self, CliError},
    config::Config,
    control::{Rules, Runs, WaysOut, selfcheck},
    domain::{
        people::setup::{self, Setup},
        vault,
    },
    store::{Alone, Store, StoreError},
    vault::Vault,
};
use polydev_sandbox::{
    Driver,
    drivers::{self, DriverConfig},
    egress::{Gateway, GatewayConfig, HostRule, UpstreamProxy},
    host::rights::{self, Rights},
    image::ImageStore,
};
use secrecy::ExposeSecret;
use std::{
    fs,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    sync::Arc,
};
use url::Url;

/// What a server works with.
#[derive(Debug)]
pub struct Parts {
    /// The database.
    pub store: Store,
    /// What seals credentials.
    pub vault: Arc<Vault>,
    /// Where runs are accepted, followed and cancelled.
    pub runs: Runs,
    /// For the host's own requests to providers.
    pub outside: reqwest::Client,
}

/// Makes the data directory, for its owner only. One that is there stays as open as it is: it may be anybody's,
/// and what lies in it is closed by itself.
pub fn make_data_dir(config: &Config) -> Result<(), CliError> {
    let dir = &config.server.data_dir;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
        CliError::failed(format!("the data directory {} cannot be made: {error}", dir.display()))
            .hint("Choose another with `--data-dir` or `server.data_dir`.")
    })
}

/// What the first person is made with: while there is nobody, a new link in the data directory, which is shown on a
/// terminal. Logs are kept, and read by others: it is not in them.
pub async fn setup(config: &Config, store: &Store, public_url: &Url) -> Result<Setup, CliError> {
    let dir = &config.server.data_dir;
    let failed = |error: std::io::Error| CliError::failed(format!("`setup-link` in {}: {error}", dir.display()));
    if !setup::is_needed(store).await? {
        setup::remove(dir).map_err(failed)?;
        return Ok(Setup::default());
    }
    let (setup, link) = Setup::write(dir, public_url).map_err(failed)?;
    if output::is_terminal() {
        output::text(format!("setup: {}", link.expose_secret()));
    }
    tracing::info!(file = %dir.join(setup::FILE).display(), "nobody may use this server yet: open the link in this file");
    Ok(setup)
}

/// The folder of sandboxes that prove images, where these lie.
pub const PROOFS: &str = ".proof";
/// The file in the data directory that a server holds locked while it runs.
pub const LOCK: &str = "serve.lock";

/// The driver that proves images. Its place is not the server's: a running server
/// would destroy a sandbox that it does not know.
pub async fn proof_driver(config: &Config) -> Result<Arc<dyn Driver>, CliError> {
    driver_at(config, DriverConfig { state_dir: config.image.dir.join(PROOFS), ..driver_config(config) }).await
}

/// Keeps a second server out of the data directory for as long as it lives: it would take the sandboxes of
/// the first for an earlier server's, and destroy them.
#[derive(Debug)]
pub struct DataDirLock(#[expect(dead_code, reason = "held, not read")] fs::File);

/// Takes the data directory for this server.
pub async fn lock_data_dir(config: &Config) -> Result<DataDirLock, CliError> {
    let path = config.server.data_dir.join(LOCK);
    let refused = |error: std::io::Error| CliError::failed(format!("{} cannot be locked: {error}", path.display()));
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file = file.map_err(refused)?;
    match crate::lock::lock(&file).await {
        Ok(()) => Ok(DataDirLock(file)),
        Err(fs::TryLockError::WouldBlock) => Err(CliError::failed(format!(
            "another server works in the data directory {}",
            config.server.data_dir.display()
        ))
        .hint("Stop it, or choose another directory with `--data-dir`.")),
        Err(fs::TryLockError::Error(error)) => Err(refused(error)),
    }
}

/// Takes the database for this server: another one would end its runs.
pub async fn lock_database(config: &Config) -> Result<Alone, CliError> {
    Alone::take(config.store.url.expose_secret()).await.map_err(|error| {
        let taken = matches!(error, StoreError::Taken { .. });
        let error = CliError::from_chain(error);
        if taken {
            error.hint("Stop it, or give this one a database of its own with `store.url`. Several servers on one database are to come.")
        } else {
            error
        }
    })
}

/// Lays down what root may do and nothing here needs: what the drivers name that may be used, what the self-check
/// names, and to listen at a port that is root's, if that is asked for. To be called before there is a second thread.
pub fn lay_down_rights(config: &Config) -> Result<(), CliError> {
    let place = driver_config(config);
    let drivers: Vec<Arc<dyn Driver>> = match config.sandbox.driver.name() {
        Some(name) => drivers::by_name(name, &place).into_iter().collect(),
        None => drivers::DRIVERS.iter().map(|(_, make)| make(&place)).collect(),
    };
    let mut needed = drivers.iter().fold(selfcheck::NEEDS, |needed, driver| needed | driver.needs());
    if (1..ROOTS_PORTS_END).contains(&config.server.listen.port()) {
        needed |= Rights::NET_BIND_SERVICE;
    }
    rights::keep_only(needed)
        .map_err(|error| CliError::failed(format!("the rights that are not needed cannot be laid down: {error}")))
}

/// Ports below this one are root's (`net.ipv4.ip_unprivileged_port_start` of the kernel, as it comes).
const ROOTS_PORTS_END: u16 = 1024;

/// The driver that the configuration asks for, or the best that works on this host.
pub async fn driver(config: &Config) -> Result<Arc<dyn Driver>, CliError> {
    driver_at(config, driver_config(config)).await
}

async fn driver_at(config: &Config, place: DriverConfig) -> Result<Arc<dyn Driver>, CliError> {
    let Some(name) = config.sandbox.driver.name() else {
        return drivers::auto(&place).await.map_err(|unfit| {
            let reasons = unfit.iter().map(|(name, probe)| format!("{name}: {}", probe.reason)).collect::<Vec<_>>();
            let error = CliError::failed(format!("no driver can make sandboxes on this host: {}", reasons.join("; ")));
            error.hint(unfit.into_iter().find_map(|(_, probe)| probe.hint).unwrap_or_else(|| SEE_DOCTOR.into()))
        });
    };
    let driver = drivers::by_name(name, &place).ok_or_else(|| {
        CliError::usage(format!("the driver `{name}` is to come in a later version")).hint(SEE_DOCTOR)
    })?;
    let probe = driver.probe().await;
    if !probe.available {
        let error = CliError::failed(format!("the driver `{name}` cannot work on this host: {}", probe.reason));
        return Err(error.hint(probe.hint.unwrap_or_else(|| SEE_DOCTOR.into())));
    }
    Ok(driver)
}

const SEE_DOCTOR: &str = "`polydev doctor` tells what this host can do.";

/// Where drivers keep their things.
pub fn driver_config(config: &Config) -> DriverConfig {
    DriverConfig {
        state_dir: config.server.data_dir.join("sandboxes"),
        oci_runtime: config.sandbox.oci_runtime.clone(),
    }
}

/// Builds everything.
pub async fn parts(config: &Arc<Config>) -> Result<Parts, CliError> {
    let store = Store::open(config.store.url.expose_secret()).await.map_err(CliError::from_chain)?;
    let vault = Arc::new(vault::open(&store, &config.vault.key).await.map_err(CliError::from_chain)?);
    let driver = driver(config).await?;
    let images = ImageStore::open(&config.image.dir);
    let outside = outside(config)?;
    let ways = WaysOut { gateway: gateway(config)?, rules: rules(config)?, client: outside.clone() };
    let runs = Runs::new(config.clone(), store.clone(), vault.clone(), driver, images, ways);
    Ok(Parts { store, vault, runs, outside })
}

/// The sandboxes' way out.
fn gateway(config: &Config) -> Result<Gateway, CliError> {
    let upstream = upstream(config)?;
    let public_host =
        config.server.public_url.as_ref().and_then(|url| url.host_str()).and_then(|host| host.parse().ok());
    Ok(Gateway::new(GatewayConfig { upstream, public_host, limits: config.egress.limits }))
}

fn upstream(config: &Config) -> Result<Option<UpstreamProxy>, CliError> {
    let parse = |url: &secrecy::SecretString| url.expose_secret().parse();
    config.egress.upstream_proxy.as_ref().map(parse).transpose().map_err(
        |error: polydev_sandbox::egress::BadUpstream| CliError::usage(format!("`egress.upstream_proxy`: {error}")),
    )
}

fn rules(config: &Config) -> Result<Rules, CliError> {
    let parse = |key: &str, rules: &[String]| {
        let parse =
            |rule: &String| rule.parse::<HostRule>().map_err(|error| CliError::usage(format!("`{key}`: {error}")));
        rules.iter().map(parse).collect::<Result<Vec<_>, _>>()
    };
    Ok(Rules { allow: parse("egress.allow", &config.egress.allow)?, deny: parse("egress.deny", &config.egress.deny)? })
}

/// The client for the server's own requests to providers: out the same way as the sandboxes.
fn outside(config: &Config) -> Result<reqwest::Client, CliError> {
    let mut client = reqwest::Client::builder()
        .user_agent(concat!("polydev/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if let Some(upstream) = upstream(config)? {
        let url = upstream.url();
        client = client.proxy(reqwest::Proxy::all(url.expose_secret()).map_err(CliError::from_chain)?);
    }
    if let Some(file) = &config.sandbox.ca_file {
        let refused =
            |error: &dyn std::fmt::Display| CliError::usage(format!("`sandbox.ca_file` {}: {error}", file.display()));
        let pem = fs::read(file).map_err(|error| refused(&error))?;
        for certificate in reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| refused(&error))? {
            client = client.add_root_certificate(certificate);
        }
    }
    client.build().map_err(CliError::from_chain)
}
