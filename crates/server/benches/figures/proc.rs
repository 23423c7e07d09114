//! What the kernel tells of processes and of groups of them.

use crate::server::Server;
use anyhow::{Context, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The kernel's unit of processor time, per second: the same on every machine that we run on (`man 7 time`).
const TICKS: f64 = 100.0;

/// What a process took of the processors, seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cpu {
    pub(crate) own: f64,
    /// Of the programs that it has started and that have ended.
    pub(crate) children: f64,
}

impl Cpu {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name of the program may hold spaces; what follows it does not.
        let (_, rest) = stat.rsplit_once(')').context("a name in brackets")?;
        let fields: Vec<f64> = rest.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
        let seconds = |at: usize| fields.get(at).map(|value| value / TICKS).context("as many fields");
        // `man 5 proc_pid_stat`: 14 to 17, and the first two are gone.
        Ok(Self { own: seconds(11)? + seconds(12)?, children: seconds(13)? + seconds(14)? })
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { own: self.own - before.own, children: self.children - before.children }
    }
}

/// A process's resident set.
pub(crate) fn resident_mib(pid: u32) -> Result<f64> {
    mib_in(&format!("/proc/{pid}/status"), &["VmRSS:"])
}

/// The largest that it was since [`forget_peak`].
pub(crate) fn peak_mib(pid: u32) -> Result<f64> {
    mib_in(&format!("/proc/{pid}/status"), &["VmHWM:"])
}

pub(crate) fn forget_peak(pid: u32) -> Result<()> {
    // `man 5 proc_pid_clear_refs`
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

/// What these processes have written in their memory and share with no other. Their programs' code is in the page
/// cache, once for all.
pub(crate) fn own_mib(pids: &[u32]) -> f64 {
    let of = |pid: &u32| mib_in(&format!("/proc/{pid}/smaps_rollup"), &["Private_Dirty:"]);
    // A program that has ended since holds nothing.
    pids.iter().fold(0.0, |sum, pid| sum + of(pid).unwrap_or(0.0))
}

/// A process and all that it has started.
pub(crate) fn tree(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for task in tasks {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        pids.extend(children.split_whitespace().filter_map(|child| child.parse().ok()).flat_map(tree));
    }
    pids
}

fn mib_in(file: &str, names: &[&str]) -> Result<f64> {
    let text = fs::read_to_string(file)?;
    let kib = |name: &&str| -> Result<f64> {
        let line = text.lines().find(|line| line.starts_with(*name)).context("a line of this name")?;
        Ok(line.split_whitespace().nth(1).context("a number")?.parse()?)
    };
    Ok(names.iter().map(kib).sum::<Result<f64>>()? / 1024.0)
}

/// The first process of a sandbox: its agent, as the driver has written it down.
pub(crate) fn agent_of(server: &Server, sandbox: &str) -> Result<u32> {
    let note = fs::read(server.data_dir().join("sandboxes/oci").join(sandbox).join("process.json"))?;
    let note: serde_json::Value = serde_json::from_slice(&note)?;
    Ok(note["pid"].as_u64().context("a process has a number")? as u32)
}

/// The control groups that a sandbox's memory and processor time are counted in.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    memory: PathBuf,
    cpu: PathBuf,
}

impl Group {
    /// That of a process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        let with = |controller: &str, files: [&str; 2]| {
            let groups = text.lines().filter_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
                let mount = match controllers {
                    "" => PathBuf::from("/sys/fs/cgroup"),
                    _ if controllers.split(',').any(|name| name == controller) => {
                        Path::new("/sys/fs/cgroup").join(controller)
                    }
                    _ => return None,
                };
                Some(mount.join(path))
            });
            let found = groups.into_iter().find(|dir| files.iter().any(|name| dir.join(name).exists()));
            found.with_context(|| format!("no group of process {pid} counts `{controller}`"))
        };
        let memory = with("memory", ["memory.current", "memory.usage_in_bytes"])?;
        Ok(Self { memory, cpu: with("cpuacct", ["cpu.stat", "cpuacct.usage"])? })
    }

    /// All that is counted: of its processes, its files in memory, the page cache and the kernel.
    pub(crate) fn mib(&self) -> Result<f64> {
        let read = |name: &str| fs::read_to_string(self.memory.join(name));
        let bytes: f64 = read("memory.current").or_else(|_| read("memory.usage_in_bytes"))?.trim().parse()?;
        Ok(bytes / 1024.0 / 1024.0)
    }

    /// What all that ever ran in it took of the processors, seconds.
    pub(crate) fn cpu_s(&self) -> Result<f64> {
        if let Ok(nanoseconds) = fs::read_to_string(self.cpu.join("cpuacct.usage")) {
            return Ok(nanoseconds.trim().parse::<f64>()? / 1e9);
        }
        let text = fs::read_to_string(self.cpu.join("cpu.stat"))?;
        let usec = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).context("`usage_usec`")?;
        Ok(usec.trim().parse::<f64>()? / 1e6)
    }

    /// The processes in it.
    pub(crate) fn pids(&self) -> Result<Vec<u32>> {
        let text = fs::read_to_string(self.memory.join("cgroup.procs"))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }
}
