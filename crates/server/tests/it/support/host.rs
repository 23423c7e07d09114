//! What a sandbox leaves on this host.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// The processes in a sandbox's control groups.
pub(crate) fn processes_of(sandbox: &str) -> Vec<String> {
    let lists = cgroups_of(sandbox).into_iter().filter_map(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok());
    lists.flat_map(|list| list.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Everything that a sandbox still has: control groups, processes, mounts, loop devices on a deleted image.
pub(crate) fn leftovers(sandbox: &str) -> Vec<String> {
    let mut left: Vec<String> = cgroups_of(sandbox).into_iter().map(|dir| dir.display().to_string()).collect();
    left.extend(processes_of(sandbox).into_iter().map(|pid| format!("process {pid}")));
    left.extend(mounts().lines().filter(|line| line.contains(sandbox)).map(str::to_owned));
    left
}

/// Whether a sandbox has a control group.
pub(crate) fn has_group(sandbox: &str) -> bool {
    folders(Path::new("/sys/fs/cgroup")).iter().any(|dir| dir.join("polydev").join(sandbox).exists())
        || Path::new("/sys/fs/cgroup/polydev").join(sandbox).exists()
}

/// The processes that have something of this folder: mounted where they are, or in their arguments. This one aside.
pub(crate) fn processes_at(dir: &Path) -> BTreeMap<u32, String> {
    let dir = dir.to_str().expect("a temporary folder's name is text");
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let named = pids.filter(|pid| *pid != std::process::id()).filter_map(|pid| {
        let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let (mounts, arguments) = (read("mountinfo"), read("cmdline"));
        let has = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(dir);
        (has(&mounts) || has(&arguments))
            .then(|| (pid, String::from_utf8_lossy(&arguments).replace('\0', " ").trim().to_owned()))
    });
    named.collect()
}

/// The loop devices that this file lies under.
pub(crate) fn loop_devices_on(file: &Path) -> Vec<PathBuf> {
    let blocks = fs::read_dir("/sys/block").into_iter().flatten().flatten().map(|entry| entry.path());
    let on = |block: &PathBuf| {
        let backing = fs::read_to_string(block.join("loop/backing_file")).unwrap_or_default();
        backing.trim_end().trim_end_matches(" (deleted)") == file.to_string_lossy()
    };
    blocks.filter(on).collect()
}

/// This host's mounts, as this process sees them.
pub(crate) fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// What this file of a sandbox's control groups says, in each hierarchy that has it.
pub(crate) fn in_groups(sandbox: &str, file: &str) -> Vec<String> {
    cgroups_of(sandbox).into_iter().filter_map(|dir| fs::read_to_string(dir.join(file)).ok()).collect()
}

/// The processor weight of a sandbox, in each hierarchy that has one.
pub(crate) fn weights_of(sandbox: &str) -> Vec<String> {
    let files = cgroups_of(sandbox).into_iter().flat_map(|dir| [dir.join("cpu.shares"), dir.join("cpu.weight")]);
    files.filter_map(|file| Some(fs::read_to_string(file).ok()?.trim().to_owned())).collect()
}

fn cgroups_of(sandbox: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut look = vec![PathBuf::from("/sys/fs/cgroup")];
    // Hierarchies, then `polydev`, then the sandboxes: nothing of ours lies deeper.
    for _ in 0..3 {
        look = look.iter().flat_map(|dir| folders(dir)).collect();
        found.extend(
            look.iter()
                .filter(|dir| dir.file_name().is_some_and(|name| name.to_string_lossy().contains(sandbox)))
                .cloned(),
        );
    }
    found
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// Waits until something holds; fails when it does not in this time.
#[track_caller]
pub(crate) fn until(limit: Duration, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < limit, "it did not come to hold within {limit:?}");
        std::thread::yield_now();
    }
}

/// What a process has of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Memory that is its own or shared, KiB.
    pub(crate) rss_kib: u64,
    /// Open files.
    pub(crate) files: usize,
    /// Threads.
    pub(crate) threads: u64,
}

/// What this process has now.
pub(crate) fn weight(pid: u32) -> Weight {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let number = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no `{name}`"));
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    Weight { rss_kib: number("VmRSS:"), files, threads: number("Threads:") }
}
