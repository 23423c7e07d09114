//! `polydev doctor`: what this host can do.

use super::{
    data,
    output::{self, CliError, Format, chain},
};
use crate::{
    app,
    config::Config,
    control::selfcheck::{self, CheckView, Looked, Place},
    domain::vault,
    vault::KeyId,
};
use polydev_sandbox::{
    drivers::DRIVERS,
    image::{ImageStore, Kind},
};
use serde::Serialize;

#[derive(Serialize)]
struct Report {
    drivers: Vec<DriverReport>,
    images: Vec<ImageReport>,
    vault: VaultReport,
    /// What is not as it should be: the same that a server looks at, every hour.
    checks: Vec<CheckView>,
}

#[derive(Serialize)]
struct DriverReport {
    kind: &'static str,
    available: bool,
    reason: String,
    hint: Option<String>,
}

#[derive(Serialize)]
struct VaultReport {
    /// The master keys that were found, the newest first.
    keys: Vec<String>,
    available: bool,
    reason: String,
    hint: Option<String>,
}

#[derive(Serialize)]
struct ImageReport {
    kind: Kind,
    available: bool,
    reason: String,
    hint: Option<String>,
}

/// Tries every driver, looks for the images and the master key, and for what is not as it should be on this host.
pub async fn doctor(config: &Config, format: Format) -> Result<(), CliError> {
    let place = app::driver_config(config);
    let mut drivers = Vec::new();
    let mut isolates = false;
    for (kind, make) in DRIVERS {
        let driver = make(&place);
        let probe = driver.probe().await;
        isolates |= probe.available && driver.capabilities().isolates;
        drivers.push(DriverReport { kind, available: probe.available, reason: probe.reason, hint: probe.hint });
    }
    let images = ImageStore::open(&config.image.dir);
    let images = Kind::ALL.iter().map(|kind| match images.current(*kind) {
        Ok(image) => ImageReport { kind: *kind, available: true, reason: image.path.display().to_string(), hint: None },
        Err(error) => ImageReport { kind: *kind, available: false, reason: error.to_string(), hint: error.hint() },
    });
    let report = Report { drivers, images: images.collect(), vault: vault(config).await, checks: checks(config).await };
    match format {
        Format::Json | Format::StreamJson => output::json(&report),
        Format::Text => {
            for driver in &report.drivers {
                line("driver", driver.kind, driver.available, &driver.reason, driver.hint.as_deref());
            }
            for image in &report.images {
                line("image", image.kind.as_str(), image.available, &image.reason, image.hint.as_deref());
            }
            let vault = &report.vault;
            line("master", "key", vault.available, &vault.reason, vault.hint.as_deref());
            report.checks.iter().for_each(check);
        }
    }
    if isolates {
        // What is wrong has been said.
        if report.vault.available { Ok(()) } else { Err(CliError::silent(output::exit::FAILED)) }
    } else {
        Err(CliError::failed("nothing on this host can isolate a sandbox")
            .hint("See the hints above; root and crun are the shortest way."))
    }
}

/// Whether a server could open what the database holds. Makes neither.
async fn vault(config: &Config) -> VaultReport {
    let of = |keys: Vec<KeyId>, available, reason| VaultReport {
        keys: keys.iter().map(ToString::to_string).collect(),
        available,
        reason,
        hint: None,
    };
    let source = &config.vault.key;
    // There may be none before the first start.
    let Ok(_) = data::url(config) else { return of(Vec::new(), true, "nothing is sealed yet".to_owned()) };
    let store = match data::open(config).await {
        Ok(store) => store,
        Err(error) => return VaultReport { hint: error.hint, ..of(Vec::new(), false, error.message) },
    };
    let looked = vault::look(&store, source).await;
    store.close().await;
    match looked {
        Ok(keys) if keys.is_empty() => of(keys, true, format!("the first start of the server makes {source}")),
        Ok(keys) => {
            let names = keys.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            of(keys, true, format!("{names} in {source}"))
        }
        Err(error) => {
            let hint = "docs/operating.md, \"The master key\", tells what to do when it is lost.".to_owned();
            let found = source.look().unwrap_or_default();
            VaultReport { hint: Some(hint), ..of(found, false, chain(&error)) }
        }
    }
}

/// What a server would find that looked now.
async fn checks(config: &Config) -> Vec<CheckView> {
    let driver = app::driver(config).await.ok();
    // There may be no database before the first start, and what is wrong with one has been said.
    let store = data::open(config).await.ok();
    let looked = selfcheck::look(Place { config, store: store.as_ref(), driver: driver.as_deref() }).await;
    if let Some(store) = store {
        store.close().await;
    }
    looked.iter().flat_map(Looked::views).collect()
}

fn check(check: &CheckView) {
    let how = match (check.ok, check.severity) {
        (Some(true), _) => "ok     ",
        (_, Some(severity)) => severity.as_str(),
        (_, None) => "unknown",
    };
    let finding = check.finding.as_deref().unwrap_or("nothing found");
    output::text(format!("{how:<7} check {}: {finding}", check.name.as_str()));
    if let Some(hint) = &check.hint {
        output::text(format!("        → {hint}"));
    }
}

fn line(what: &str, name: &str, available: bool, reason: &str, hint: Option<&str>) {
    output::text(format!("{} {what} {name}: {reason}", if available { "ok     " } else { "missing" }));
    if let Some(hint) = hint {
        output::text(format!("        → {hint}"));
    }
}
