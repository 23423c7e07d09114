//! `polydev doctor`: what this host can do.

use super::output::{self, CliError, Format};
use crate::{app, config::Config};
use polydev_sandbox::{
    drivers::DRIVERS,
    image::{ImageStore, Kind},
};
use serde::Serialize;

#[derive(Serialize)]
struct Report {
    drivers: Vec<DriverReport>,
    images: Vec<ImageReport>,
}

#[derive(Serialize)]
struct DriverReport {
    kind: &'static str,
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

/// Tries every driver, and looks for the images.
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
    let report = Report { drivers, images: images.collect() };
    match format {
        Format::Json | Format::StreamJson => output::json(&report),
        Format::Text => {
            for driver in &report.drivers {
                line("driver", driver.kind, driver.available, &driver.reason, driver.hint.as_deref());
            }
            for image in &report.images {
                line("image", image.kind.as_str(), image.available, &image.reason, image.hint.as_deref());
            }
        }
    }
    if isolates {
        Ok(())
    } else {
        Err(CliError::failed("nothing on this host can isolate a sandbox")
            .hint("See the hints above; root and crun are the shortest way."))
    }
}

fn line(what: &str, name: &str, available: bool, reason: &str, hint: Option<&str>) {
    output::text(format!("{} {what} {name}: {reason}", if available { "ok     " } else { "missing" }));
    if let Some(hint) = hint {
        output::text(format!("        → {hint}"));
    }
}
