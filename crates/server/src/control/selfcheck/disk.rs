//! How full the disk is.

use super::{Finding, Severity};
use crate::{
    cli::output::{bytes, chain},
    config::Config,
    control::disk::{is_low, space},
};

/// Looks at the data directory's disk.
pub(super) fn look(config: &Config) -> Result<Vec<Finding>, String> {
    if !config.server.data_dir.exists() {
        return Err("there is no data directory before the first start".to_owned());
    }
    let (total, free) = space(config).map_err(|error| chain(&error))?;
    if !is_low(total, free) {
        return Ok(Vec::new());
    }
    Ok(vec![Finding {
        subject: "disk".to_owned(),
        severity: Severity::Warning,
        text: format!(
            "the disk is nearly full, and runs fail on a full one: {} of {} are free for `{}`",
            bytes(free),
            bytes(total),
            config.server.data_dir.display()
        ),
        hint: "Make room, or keep less (`runs.keep_days`, `polydev image prune`).".to_owned(),
    }])
}
