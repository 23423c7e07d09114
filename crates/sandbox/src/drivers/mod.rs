//! One file (or folder) a driver, one line each below.

mod agent;

use crate::driver::Driver;
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
pub const DRIVERS: &[(&str, MakeDriver)] = &[];
