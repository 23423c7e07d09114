//! Whether this host can run containers, found by trying.

use super::{
    cgroup::{Cgroups, Layout},
    mounts::{in_a_thread, try_mounts},
    runtime::Runtime,
    users,
};
use crate::driver::Probe;
use std::path::Path;

/// What to do when there is no runtime.
pub(super) const INSTALL: &str = "apt install crun";

/// Tries everything, and tells all that is missing at once.
pub(super) async fn probe(configured: Option<&Path>) -> Probe {
    let mut missing = Vec::new();
    let runtime = Runtime::find(configured).await;
    if let Err(reason) = &runtime {
        let hint = match configured {
            Some(_) => "set `sandbox.oci.runtime` to a runtime that works, or remove it",
            None => INSTALL,
        };
        missing.push((reason.clone(), hint));
    }
    let root = rustix::process::geteuid().is_root();
    if !root {
        missing.push(("not running as root, which mounts and cgroups need".to_owned(), "run it as root (sudo)"));
    }
    let cgroups = match Cgroups::of_this_host() {
        Ok(cgroups) => cgroups,
        Err(error) => return unavailable(&[(format!("/proc cannot be read: {error}"), "mount /proc")]),
    };
    let layout = match cgroups.layout() {
        Layout::None => {
            missing.push(("no cgroups are mounted".to_owned(), "mount -t cgroup2 none /sys/fs/cgroup"));
            "none"
        }
        Layout::V1 => "version 1",
        Layout::V2 => "version 2",
        Layout::Hybrid => "hybrid (version 1 is used, the empty version 2 is hidden from the runtime)",
    };
    if root {
        let tried = in_a_thread("probe", || Ok(try_mounts())).await;
        if let Err(lack) = tried.unwrap_or_else(|error| Err(error.to_string())) {
            missing.push((
                format!("{lack} cannot be had"),
                "in a container, run it privileged; else load `overlay` and `loop`",
            ));
        }
        let users = in_a_thread("probe", || Ok(users::missing())).await;
        if let Some(lack) = users.unwrap_or_else(|error| Some(error.to_string())) {
            missing.push((
                format!("{lack} cannot be had"),
                "use a newer kernel, and allow user namespaces (`user.max_user_namespaces`)",
            ));
        }
        let lacks = cgroups.missing();
        missing.extend(
            lacks.into_iter().map(|lack| {
                (format!("{lack} is missing"), "enable it in the kernel, or delegate it to this container")
            }),
        );
    }
    match runtime {
        Ok(runtime) if missing.is_empty() => {
            Probe { available: true, reason: format!("{}, cgroups {layout}", runtime.version), hint: None }
        }
        Ok(_) | Err(_) => unavailable(&missing),
    }
}

fn unavailable(missing: &[(String, &str)]) -> Probe {
    let reasons: Vec<&str> = missing.iter().map(|(reason, _)| reason.as_str()).collect();
    let mut hints: Vec<&str> = missing.iter().map(|(_, hint)| *hint).collect();
    hints.dedup();
    Probe { available: false, reason: reasons.join("; "), hint: Some(hints.join("; ")) }
}
