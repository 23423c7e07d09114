//! The control groups of a sandbox: `polydev/<id>` in every hierarchy that this host has.
//!
//! Version 2 has one hierarchy for everything; version 1 has one for each
//! controller; a hybrid host has version 1 and beside it an empty version 2.
//!
//! ```text
//!   polydev/making     the runtime, while it makes what nobody waits for: little processor time
//!   polydev/<id>       a sandbox; its weight is the usual one once it is made
//! ```

use crate::{
    driver::SandboxId,
    drivers::process::{Process, end, wait_a_moment},
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Below which group the sandboxes' groups lie.
pub(super) const PARENT: &str = "polydev";

/// The group below it in which the runtime makes sandboxes that nobody waits for.
const MAKING: &str = "making";

/// The weight of what nobody waits for, in the unit of version 1: a sixteenth of a running
/// tool's. With much less, a making among many busy tools would not come to its end in time.
pub(super) const BACKGROUND_SHARES: u64 = 64;
/// The same in the unit of version 2.
const BACKGROUND_WEIGHT: u64 = 6;
/// What the kernel gives every group, in the unit of version 1 (`man 5 cgroups`: sched(7), "cpu.shares").
const NORMAL_SHARES: u64 = 1024;
/// The same in the unit of version 2 (the kernel's `cgroup-v2.rst`).
const NORMAL_WEIGHT: u64 = 100;

/// What the sockets of a sandbox may hold in the kernel, where that does not count in its memory limit.
const SOCKETS_BYTES: u64 = 64 * 1024 * 1024;

/// How long what was killed may take to leave its group.
const EMPTY_WITHIN: Duration = Duration::from_secs(10);

/// What limits a sandbox.
const WANTED: [&str; 3] = ["memory", "cpu", "pids"];

/// The hierarchies of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    /// Of version 1; none for version 2.
    controllers: Option<Vec<String>>,
}

/// Which versions a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// None is mounted.
    None,
    /// Version 1 alone.
    V1,
    /// Version 2 alone.
    V2,
    /// Version 1, and an empty version 2 beside it.
    Hybrid,
}

/// What a host can limit beside memory, processors and processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Able {
    /// Memory and swap together.
    pub(super) swap: bool,
    /// Reading from disks.
    pub(super) reads: bool,
}

impl Cgroups {
    /// The hierarchies that are mounted below `/sys/fs/cgroup`.
    pub(super) fn of_this_host() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    pub(super) fn parse(mountinfo: &str) -> Self {
        let hierarchy = |line: &str| {
            let (mount, filesystem) = line.split_once(" - ")?;
            let mount = PathBuf::from(mount.split(' ').nth(4)?);
            let mut filesystem = filesystem.split(' ');
            let controllers = match filesystem.next()? {
                "cgroup" => Some(filesystem.nth(1)?.split(',').map(str::to_owned).collect()),
                "cgroup2" => None,
                _another_filesystem => return None,
            };
            mount.starts_with("/sys/fs/cgroup").then_some(Hierarchy { mount, controllers })
        };
        Self { hierarchies: mountinfo.lines().filter_map(hierarchy).collect() }
    }

    pub(super) fn layout(&self) -> Layout {
        let v1 = self.hierarchies.iter().any(|h| h.controllers.is_some());
        match (v1, self.v2().is_some()) {
            (false, false) => Layout::None,
            (true, false) => Layout::V1,
            (false, true) => Layout::V2,
            (true, true) => Layout::Hybrid,
        }
    }

    /// Where version 2 is mounted.
    pub(super) fn v2(&self) -> Option<&Path> {
        self.hierarchies.iter().find(|h| h.controllers.is_none()).map(|h| h.mount.as_path())
    }

    /// Where a controller can be reached, and whether it is of version 1.
    fn controller(&self, name: &str) -> Option<(&Path, bool)> {
        let v1 = |h: &&Hierarchy| h.controllers.iter().flatten().any(|c| c == name);
        let v2 = || {
            let mount = self.v2()?;
            let controllers = fs::read_to_string(mount.join("cgroup.controllers")).ok()?;
            controllers.split_whitespace().any(|c| c == name).then_some((mount, false))
        };
        self.hierarchies.iter().find(v1).map(|h| (h.mount.as_path(), true)).or_else(v2)
    }

    /// What is missing for the limits to hold.
    pub(super) fn missing(&self) -> Vec<String> {
        let lacking = |name: &&&str| self.controller(name).is_none();
        let mut missing: Vec<String> =
            WANTED.iter().filter(lacking).map(|name| format!("the cgroup controller `{name}`")).collect();
        for hierarchy in &self.hierarchies {
            if let Err(error) = fs::create_dir_all(hierarchy.mount.join(PARENT)) {
                missing.push(format!("the right to make groups in `{}` ({error})", hierarchy.mount.display()));
            }
        }
        if let (Layout::V2, Some(mount)) = (self.layout(), self.v2()) {
            // As the runtime will do: version 2 hands each controller on by name, and
            // refuses where the group holds processes of its own, as in some containers.
            for name in WANTED {
                if let Err(error) = fs::write(mount.join("cgroup.subtree_control"), format!("+{name}")) {
                    missing.push(format!("the right to hand on the cgroup controller `{name}` ({error})"));
                }
            }
        }
        missing
    }

    /// The group for making what nobody waits for, open to be joined: a process that writes `0` is in it.
    pub(super) fn making(&self) -> io::Result<File> {
        let Some((mount, v1)) = self.controller("cpu") else { return Err(io::ErrorKind::NotFound.into()) };
        let group = mount.join(PARENT).join(MAKING);
        fs::create_dir_all(&group)?;
        if !v1 {
            // As in `missing`: until the first sandbox is made, nobody has handed the controller on.
            for parent in [mount.to_owned(), mount.join(PARENT)] {
                fs::write(parent.join("cgroup.subtree_control"), "+cpu")?;
            }
        }
        set_weight(&group, v1, BACKGROUND_SHARES, BACKGROUND_WEIGHT)?;
        File::options().write(true).open(group.join("cgroup.procs"))
    }

    /// Limits what a sandbox's sockets hold in the kernel. Version 2 counts that as memory; version 1 does so by itself,
    /// and of the runtimes crun alone can be told.
    pub(super) fn limit_sockets(&self, id: &SandboxId) -> io::Result<()> {
        let Some((mount, true)) = self.controller("memory") else { return Ok(()) };
        let file = mount.join(PARENT).join(id.as_str()).join("memory.kmem.tcp.limit_in_bytes");
        if file.exists() { fs::write(file, SOCKETS_BYTES.to_string()) } else { Ok(()) }
    }

    /// Keeps a sandbox from the huge pages that an operator has set apart, neither in use nor promised: they are in no
    /// limit on memory. Where this host has no such group, there is nothing to write to.
    pub(super) fn limit_huge_pages(&self, id: &SandboxId) -> io::Result<()> {
        let Some((mount, v1)) = self.controller("hugetlb") else { return Ok(()) };
        if !v1 {
            for parent in [mount.to_owned(), mount.join(PARENT)] {
                fs::write(parent.join("cgroup.subtree_control"), "+hugetlb")?;
            }
        }
        let group = mount.join(PARENT).join(id.as_str());
        let Ok(files) = fs::read_dir(group) else { return Ok(()) };
        for file in files {
            let (file, name) = file.map(|file| (file.path(), file.file_name().to_string_lossy().into_owned()))?;
            if name.starts_with("hugetlb.") && (name.ends_with(".limit_in_bytes") || name.ends_with(".max")) {
                fs::write(file, "0")?;
            }
        }
        Ok(())
    }

    /// Gives a sandbox that was made in the background the weight of every other.
    pub(super) fn set_normal_weight(&self, id: &SandboxId) -> io::Result<()> {
        let Some((mount, v1)) = self.controller("cpu") else { return Ok(()) };
        set_weight(&mount.join(PARENT).join(id.as_str()), v1, NORMAL_SHARES, NORMAL_WEIGHT)
    }

    /// Whether a sandbox can be stopped where it is.
    pub(super) fn freezes(&self) -> bool {
        // A group of version 2 has a freezer by itself; beside version 1 it holds no sandboxes.
        match self.layout() {
            Layout::V2 => true,
            Layout::V1 | Layout::Hybrid => self.controller("freezer").is_some(),
            Layout::None => false,
        }
    }

    /// What can be limited beside what is wanted of every host.
    pub(super) fn able(&self) -> Able {
        let swap = match self.controller("memory") {
            Some((mount, true)) => mount.join("memory.memsw.limit_in_bytes").exists(),
            Some((_, false)) => true,
            None => false,
        };
        Able { swap, reads: self.controller("blkio").or_else(|| self.controller("io")).is_some() }
    }

    /// The path of a sandbox's groups in each hierarchy.
    pub(super) fn path(id: &SandboxId) -> String {
        format!("/{PARENT}/{id}")
    }

    /// A sandbox's groups, those that there are.
    pub(super) fn groups(&self, id: &SandboxId) -> Vec<PathBuf> {
        let group = |h: &Hierarchy| h.mount.join(PARENT).join(id.as_str());
        self.hierarchies.iter().map(group).filter(|dir| dir.exists()).collect()
    }

    /// Whether the kernel has ended a process of the sandbox for want of memory.
    pub(super) fn out_of_memory(&self, id: &SandboxId) -> bool {
        self.happened(id, "memory", |v1| if v1 { "memory.oom_control" } else { "memory.events" }, "oom_kill ")
    }

    /// Whether the kernel has refused the sandbox another process.
    pub(super) fn out_of_processes(&self, id: &SandboxId) -> bool {
        self.happened(id, "pids", |_| "pids.events", "max ")
    }

    /// Whether the kernel has counted any of this in a file of a controller.
    fn happened(&self, id: &SandboxId, controller: &str, file: impl Fn(bool) -> &'static str, what: &str) -> bool {
        let Some((mount, v1)) = self.controller(controller) else { return false };
        let text = fs::read_to_string(mount.join(PARENT).join(id.as_str()).join(file(v1))).unwrap_or_default();
        text.lines().any(|line| line.strip_prefix(what).is_some_and(|count| count != "0"))
    }

    /// Kills whatever is in the sandbox's groups, until they are empty, and removes them.
    pub(super) fn destroy(&self, id: &SandboxId) -> io::Result<()> {
        let groups = self.groups(id);
        if groups.is_empty() {
            return Ok(());
        }
        // On version 1 what is frozen dies only when it thaws.
        for state in groups.iter().map(|group| group.join("freezer.state")).filter(|state| state.exists()) {
            fs::write(state, "THAWED")?;
        }
        let deadline = Instant::now() + EMPTY_WITHIN;
        loop {
            let doomed: Vec<i32> = living(&groups)?.into_iter().collect();
            if doomed.is_empty() {
                break;
            }
            end(&doomed, |pid| living(&groups).is_ok_and(|now| now.contains(&pid)), EMPTY_WITHIN)?;
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("`{}` does not get empty", Self::path(id))));
            }
        }
        groups.iter().try_for_each(|group| remove(group, deadline))
    }
}

fn set_weight(group: &Path, v1: bool, shares: u64, weight: u64) -> io::Result<()> {
    if v1 {
        fs::write(group.join("cpu.shares"), shares.to_string())
    } else {
        fs::write(group.join("cpu.weight"), weight.to_string())
    }
}

/// The processes in these groups. What has ended and was not collected yet is none.
fn living(groups: &[PathBuf]) -> io::Result<BTreeSet<i32>> {
    let mut pids = BTreeSet::new();
    for group in groups {
        match fs::read_to_string(group.join("cgroup.procs")) {
            Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    pids.retain(|pid| Process::living(*pid).is_some());
    Ok(pids)
}

fn remove(group: &Path, deadline: Instant) -> io::Result<()> {
    let inner: Vec<PathBuf> = match fs::read_dir(group) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    inner.iter().try_for_each(|group| remove(group, deadline))?;
    loop {
        match fs::remove_dir(group) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // The kernel takes a dead process out of its group a moment after it tells
            // of the death, and version 1 does not tell of that.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => wait_a_moment(),
            Err(error) => return Err(io::Error::new(error.kind(), format!("`{}`: {error}", group.display()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_gets_no_huge_pages() {
        let v1 = ["limit_in_bytes", "max_usage_in_bytes", "rsvd.limit_in_bytes", "usage_in_bytes"];
        let v2 = ["max", "rsvd.max", "current", "events"];
        for (controllers, files, limits) in
            [(Some(vec!["hugetlb".to_owned()]), v1, [true, false, true, false]), (None, v2, [true, true, false, false])]
        {
            let mount = tempfile::tempdir().unwrap();
            let id: SandboxId = "sbx_aaaaaaaaaaaaaaaa".parse().unwrap();
            let group = mount.path().join(PARENT).join(id.as_str());
            fs::create_dir_all(&group).unwrap();
            fs::write(mount.path().join("cgroup.controllers"), "cpu hugetlb\n").unwrap();
            let hierarchy = Hierarchy { mount: mount.path().to_owned(), controllers };
            let cgroups = Cgroups { hierarchies: vec![hierarchy] };
            for size in ["2MB", "1GB"] {
                files
                    .iter()
                    .for_each(|file| fs::write(group.join(format!("hugetlb.{size}.{file}")), "before").unwrap());
            }
            cgroups.limit_huge_pages(&id).unwrap();
            for size in ["2MB", "1GB"] {
                let read = files.map(|file| fs::read_to_string(group.join(format!("hugetlb.{size}.{file}"))).unwrap());
                assert_eq!(read.map(|text| text == "0"), limits, "{size} {files:?}");
            }
            fs::remove_dir_all(&group).unwrap();
            cgroups.limit_huge_pages(&id).unwrap();
        }
    }

    const V1: &str = "44 35 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                      45 35 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n";
    const V2: &str = "36 24 0:31 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const BESIDE: &str = "50 35 0:40 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_layouts_are_told_apart() {
        let disk = "29 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n99 29 0:9 / /srv/x rw - cgroup2 none rw\n";
        for (text, layout) in [
            (disk.to_owned(), Layout::None),
            (format!("{disk}{V1}"), Layout::V1),
            (format!("{disk}{V2}"), Layout::V2),
            (format!("{disk}{V1}{BESIDE}"), Layout::Hybrid),
        ] {
            assert_eq!(Cgroups::parse(&text).layout(), layout, "{text}");
        }
    }

    #[test]
    fn a_controller_is_found_where_it_is() {
        let cgroups = Cgroups::parse(&format!("{V1}{BESIDE}"));
        assert_eq!(cgroups.controller("cpu"), Some((Path::new("/sys/fs/cgroup/cpu,cpuacct"), true)));
        assert_eq!(cgroups.v2(), Some(Path::new("/sys/fs/cgroup/unified")));
    }
}
