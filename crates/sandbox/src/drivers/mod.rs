//! One file (or folder) a driver, one line each below.

mod agent;
mod folder;
mod oci;
mod process;
mod sim;

use crate::driver::{Driver, Probe};
use std::{path::PathBuf, sync::Arc};

/// What every driver is told about its place on this host.
#[derive(Debug, Clone)]
pub struct DriverConfig {
    /// A folder that is this server's alone; a driver keeps all that it must find again in it.
    pub state_dir: PathBuf,
    /// `sandbox.oci.runtime`: the OCI runtime to use instead of the first that works.
    pub oci_runtime: Option<PathBuf>,
}

/// A way to make a driver.
pub type MakeDriver = fn(&DriverConfig) -> Arc<dyn Driver>;

/// Every driver by name, in the order in which `auto` tries them.
pub const DRIVERS: &[(&str, MakeDriver)] = &[("oci", oci::make), ("sim", sim::make)];

/// The driver of this name, whether it works here or not. `None`: there is no such driver.
pub fn by_name(name: &str, config: &DriverConfig) -> Option<Arc<dyn Driver>> {
    DRIVERS.iter().find(|(known, _)| *known == name).map(|(_, make)| make(config))
}

/// The first driver that isolates and whose probe passes; otherwise what each of them lacks.
pub async fn auto(config: &DriverConfig) -> Result<Arc<dyn Driver>, Vec<(&'static str, Probe)>> {
    let mut unfit = Vec::new();
    for (name, make) in DRIVERS {
        let driver = make(config);
        if !driver.capabilities().isolates {
            continue;
        }
        let probe = driver.probe().await;
        if probe.available {
            return Ok(driver);
        }
        unfit.push((*name, probe));
    }
    Err(unfit)
}

/// The folder of one driver. Its path is told to the kernel and to programs in
/// other folders, so it is absolute.
fn state_dir(config: &DriverConfig, driver: &str) -> PathBuf {
    let dir = config.state_dir.join(driver);
    std::path::absolute(&dir).unwrap_or(dir)
}
