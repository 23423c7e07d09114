//! What runs on this host as a sandbox does, and is none of those that this driver's folder knows: processes with
//! users of the range that sandboxes take theirs from.
//!
//! ```text
//!   a process with such a user ─┬─ in `polydev/<id>`, a folder here ──► ours, as it should be
//!                               ├─ in `polydev/<id>`, no folder here ─► another server's, or nobody's: Stray::Sandbox
//!                               └─ in no such group, for a minute ────► Stray::Process
//! ```

use super::{cgroup, users};
use crate::{
    driver::{SandboxId, Stray},
    drivers::process::age,
    host::listeners::printable,
};
use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// How old a process is before it is expected in its group: the runtime moves it there while it makes the sandbox.
pub(super) const SETTLED: Duration = Duration::from_secs(60);

/// Others who run containers with users of the same range, by the beginning of their groups' names: systemd-nspawn, LXC
/// and Incus, Kubernetes.
const OTHERS: [&str; 3] = ["machine.slice", "lxc", "kubepods"];

/// Looks at every process of this host. `known` have a folder; processes younger than `settled` are left out where
/// they may be on their way.
pub(super) fn strays(known: &HashSet<SandboxId>, settled: Duration) -> Vec<Stray> {
    let is_settled = |pid| age(pid).is_some_and(|age| age >= settled);
    let mut foreign: BTreeMap<SandboxId, Vec<i32>> = BTreeMap::new();
    let mut strays = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let read = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        let status = read("status");
        let Some(user) = user(&status).filter(|user| users::is_sandboxs(*user)) else { continue };
        let groups = String::from_utf8_lossy(&read("cgroup")).into_owned();
        match place(&groups) {
            Place::Gone | Place::Other => {}
            Place::Sandbox(id) if known.contains(&id) => {}
            Place::Sandbox(id) => foreign.entry(id).or_default().push(pid),
            Place::Outside if is_settled(pid) => {
                strays.push(Stray::Process { pid, name: printable(&read("comm")), user });
            }
            Place::Outside => {}
        }
    }
    for (id, pids) in foreign {
        let made_in = pids.iter().find_map(|pid| made_in(*pid));
        // One that is being made has no agent yet, and one that is being ended has none any more.
        if made_in.is_some() || pids.iter().copied().any(is_settled) {
            strays.push(Stray::Sandbox { id, processes: pids.len(), made_in });
        }
    }
    strays
}

/// Where a process is, by its groups.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// In a sandbox.
    Sandbox(SandboxId),
    /// In a container of somebody else's.
    Other,
    /// In neither.
    Outside,
    /// Nowhere: it has ended.
    Gone,
}

/// Reads `/proc/<pid>/cgroup` (`man 7 cgroups`): `hierarchy:controllers:path` a line.
fn place(groups: &str) -> Place {
    let paths = || groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let sandbox = |path: &str| {
        let mut parts = path.split('/').skip_while(|part| *part != cgroup::PARENT);
        parts.nth(1)?.parse().ok()
    };
    if groups.is_empty() {
        Place::Gone
    } else if let Some(id) = paths().find_map(sandbox) {
        Place::Sandbox(id)
    } else if paths().any(|path| path.split('/').any(|part| OTHERS.iter().any(|other| part.starts_with(other)))) {
        Place::Other
    } else {
        Place::Outside
    }
}

/// The real user in `/proc/<pid>/status`.
fn user(status: &[u8]) -> Option<u32> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:\t"))?;
    std::str::from_utf8(line).ok()?.split('\t').next()?.parse().ok()
}

/// The state folder of the driver that made the sandbox of this process: what its agent was mounted from. Of the
/// kernel's words alone; no path of a guest is opened.
fn made_in(pid: i32) -> Option<PathBuf> {
    let theirs = fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()?;
    let ours = fs::read_to_string("/proc/self/mountinfo").ok()?;
    agent_file(&theirs, &ours)?.parent().map(Path::to_owned)
}

/// The file of this host that is mounted as the agent there (`man 5 proc_pid_mountinfo`).
fn agent_file(theirs: &str, ours: &str) -> Option<PathBuf> {
    // device, folder of that device, where it is mounted
    let fields = |line: &'_ str| -> Option<(String, String, String)> {
        let mut fields = line.split(' ').skip(2).map(unescape);
        Some((fields.next()?, fields.next()?, fields.next()?))
    };
    let (device, file, _) =
        theirs.lines().filter_map(fields).find(|(_, _, mounted_at)| mounted_at == "/.polydev/agent")?;
    ours.lines().filter_map(fields).find_map(|(of, folder, mounted_at)| {
        let rest = Path::new(&file).strip_prefix(&folder).ok()?;
        (of == device).then(|| Path::new(&mounted_at).join(rest))
    })
}

/// A blank is written as `\040` there, and so on.
fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test may start a program as a user of a sandbox")]
    fn a_process_with_a_sandbox_s_user_outside_of_one_is_found_when_it_has_settled() {
        use std::{
            os::unix::process::CommandExt,
            process::{Command, Stdio},
        };
        if !rustix::process::geteuid().is_root() {
            return;
        }
        const USER: u32 = 0x6FFE_0007;
        let mut child = Command::new("cat").uid(USER).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = child.id().cast_signed();
        let found = |settled| {
            let is_it = |stray: &Stray| matches!(stray, Stray::Process { pid: found, .. } if *found == pid);
            strays(&HashSet::new(), settled).into_iter().find(is_it)
        };
        assert_eq!(found(Duration::ZERO), Some(Stray::Process { pid, name: "cat".to_owned(), user: USER }));
        assert_eq!(found(SETTLED), None);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found(Duration::ZERO), None);
    }

    #[test]
    fn a_process_is_where_its_groups_say() {
        let id = "sbx_aaaaaaaaaaaaaaaa";
        let sandbox = Place::Sandbox(id.parse().unwrap());
        for (groups, is) in [
            (format!("3:pids:/polydev/{id}\n2:cpu:/\n0::/\n"), sandbox),
            (format!("0::/polydev/{id}/inner\n"), Place::Sandbox(id.parse().unwrap())),
            ("0::/machine.slice/machine-x.scope/payload\n".to_owned(), Place::Other),
            ("0::/lxc.payload.c1\n".to_owned(), Place::Other),
            ("3:pids:/\n0::/system.slice/cron.service\n".to_owned(), Place::Outside),
            ("0::/polydev/making\n".to_owned(), Place::Outside),
            (String::new(), Place::Gone),
        ] {
            assert_eq!(place(&groups), is, "{groups}");
        }
        assert_eq!(user(b"Name:\tsh\nUid:\t268445457\t1\t2\t3\n"), Some(268_445_457));
        assert_eq!(user(b"Name:\tUid:\t7\n"), None);
    }

    #[test]
    fn a_sandbox_is_traced_to_the_folder_that_it_was_made_in() {
        let theirs = "812 700 0:61 / / rw - overlay overlay rw\n\
            820 812 254:0 /srv/a\\040b/sandboxes/oci/agent-0f /.polydev/agent ro - ext4 /dev/vda rw\n";
        let ours = "20 1 0:20 / /proc rw - proc proc rw\n29 1 254:0 / / rw - ext4 /dev/vda rw\n";
        let file = Some("/srv/a b/sandboxes/oci/agent-0f".into());
        assert_eq!(agent_file(theirs, ours), file);
        let beside = "20 1 254:0 /other /mnt rw - ext4 /dev/vda rw\n29 1 254:0 /srv /data rw - ext4 /dev/vda rw\n";
        assert_eq!(agent_file(theirs, beside), Some("/data/a b/sandboxes/oci/agent-0f".into()));
        assert_eq!(agent_file("812 700 0:61 / / rw - overlay overlay rw\n", ours), None);
    }
}
