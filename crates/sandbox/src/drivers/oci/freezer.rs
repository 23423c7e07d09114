//! Stopping all processes of a sandbox where they are, and letting them go on.
//!
//! ```text
//!   version 1    freezer.state    THAWED ─► FREEZING ─► FROZEN
//!   version 2    cgroup.freeze    0 ─► 1, and cgroup.events tells when it is so
//! ```
//! What is frozen takes no processor time and answers nobody. On version 1 it does not die of SIGKILL either.

use super::cgroup::Cgroups;
use crate::{driver::SandboxId, drivers::process::wait_a_moment};
use std::{
    fs, io,
    path::PathBuf,
    time::{Duration, Instant},
};

/// How long it may take until all processes stand still. A desktop's thirty take a few milliseconds.
const STILL_WITHIN: Duration = Duration::from_secs(5);

/// How often version 1 is told again to freeze: what begins a process (`vfork`) when it is told may keep it
/// half-frozen for as long as nobody says it again.
const AGAIN_EVERY: Duration = Duration::from_millis(20);

/// The files of one group by which it is frozen.
enum Freezer {
    V1 { state: PathBuf },
    V2 { freeze: PathBuf, events: PathBuf },
}

impl Freezer {
    /// The freezer of a sandbox: that of version 1 where there are both, for its processes are in there alone.
    fn of(cgroups: &Cgroups, id: &SandboxId) -> io::Result<Self> {
        let groups = cgroups.groups(id);
        let file = |name: &str| groups.iter().map(|group| group.join(name)).find(|file| file.exists());
        match (file("freezer.state"), file("cgroup.freeze"), file("cgroup.events")) {
            (Some(state), _, _) => Ok(Self::V1 { state }),
            (None, Some(freeze), Some(events)) => Ok(Self::V2 { freeze, events }),
            (None, _, _) => Err(io::Error::new(io::ErrorKind::NotFound, "it has no group that can be frozen")),
        }
    }

    fn freeze(&self) -> io::Result<()> {
        match self {
            Self::V1 { state } => fs::write(state, "FROZEN"),
            Self::V2 { freeze, .. } => fs::write(freeze, "1"),
        }
    }

    fn is_frozen(&self) -> io::Result<bool> {
        Ok(match self {
            Self::V1 { state } => fs::read_to_string(state)?.trim() == "FROZEN",
            Self::V2 { events, .. } => fs::read_to_string(events)?.lines().any(|line| line == "frozen 1"),
        })
    }

    fn thaw(&self) -> io::Result<()> {
        match self {
            Self::V1 { state } => fs::write(state, "THAWED"),
            Self::V2 { freeze, .. } => fs::write(freeze, "0"),
        }
    }
}

/// Returns when every process of the sandbox stands still. On an error they all go on.
pub(super) fn freeze(cgroups: &Cgroups, id: &SandboxId) -> io::Result<()> {
    let freezer = Freezer::of(cgroups, id)?;
    let frozen = wait_until_frozen(&freezer);
    if frozen.is_err() {
        freezer.thaw()?;
    }
    frozen
}

fn wait_until_frozen(freezer: &Freezer) -> io::Result<()> {
    let deadline = Instant::now() + STILL_WITHIN;
    let mut told: Option<Instant> = None;
    loop {
        if told.is_none_or(|told| told.elapsed() >= AGAIN_EVERY) {
            freezer.freeze()?;
            told = Some(Instant::now());
        }
        if freezer.is_frozen()? {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(io::Error::other(format!("it does not stand still within {} s", STILL_WITHIN.as_secs())));
        }
        wait_a_moment();
    }
}

/// Lets every process of the sandbox go on.
pub(super) fn thaw(cgroups: &Cgroups, id: &SandboxId) -> io::Result<()> {
    Freezer::of(cgroups, id)?.thaw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::{oci::cgroup::PARENT, process::end};

    /// Sandboxes lie in version 1 where there are both; the contract's test has that. Here the kernel's other freezer.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a process to be frozen")]
    fn version_2_stands_still_and_goes_on() {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let v2: String =
            mounts.lines().filter(|line| line.contains(" - cgroup2 ")).map(|line| format!("{line}\n")).collect();
        let cgroups = Cgroups::parse(&v2);
        let (Some(mount), true) = (cgroups.v2(), rustix::process::geteuid().is_root()) else { return };
        let letters: String =
            format!("{:016}", std::process::id()).bytes().map(|n| char::from(n - b'0' + b'a')).collect();
        let id: SandboxId = format!("sbx_{letters}").parse().unwrap();
        assert!(cgroups.freezes() && freeze(&cgroups, &id).is_err(), "there is none yet");

        let group = mount.join(PARENT).join(id.as_str());
        fs::create_dir_all(&group).unwrap();
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        fs::write(group.join("cgroup.procs"), child.id().to_string()).unwrap();
        freeze(&cgroups, &id).unwrap();
        freeze(&cgroups, &id).unwrap();
        let events = || fs::read_to_string(group.join("cgroup.events")).unwrap();
        assert!(events().contains("frozen 1"));
        thaw(&cgroups, &id).unwrap();
        assert_eq!(fs::read_to_string(group.join("cgroup.freeze")).unwrap().trim(), "0");
        // It need not be thawed to die.
        freeze(&cgroups, &id).unwrap();
        end(&[child.id().cast_signed()], |_| true, STILL_WITHIN).unwrap();
        child.wait().unwrap();
        cgroups.destroy(&id).unwrap();
        assert!(!group.exists());
    }
}
