//! `sim`: the real agent as an ordinary process of this host. No image, no
//! isolation and no root needed: for trying things out and for tests.

use super::{
    DriverConfig,
    agent::place_agent,
    folder::{Folder, step},
    process::{self, Process},
    state_dir,
};
use crate::{
    cmd::{self, Cmd},
    driver::{Capabilities, Driver, DriverError, Observed, Phase, Probe, SandboxId, SandboxSpec, Stream},
};
use async_trait::async_trait;
use std::{collections::HashMap, fs, io, os::unix::ffi::OsStrExt, path::PathBuf, sync::Arc, time::Duration};

/// How long what was killed may take to go.
const END_WITHIN: Duration = Duration::from_secs(10);

/// The driver.
#[derive(Debug)]
struct Sim {
    dir: PathBuf,
}

/// Makes the driver.
pub(super) fn make(config: &DriverConfig) -> Arc<dyn Driver> {
    Arc::new(Sim { dir: state_dir(config, "sim") })
}

#[async_trait]
impl Driver for Sim {
    fn kind(&self) -> &'static str {
        "sim"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { isolates: false, uses_image: false, limits: false, freezes: false }
    }

    async fn probe(&self) -> Probe {
        let reason = "the agent as a process of this host, without isolation and limits: for tests only".to_owned();
        Probe { available: true, reason, hint: None }
    }

    async fn create(&self, id: &SandboxId, _spec: &SandboxSpec) -> Result<(), DriverError> {
        fs::create_dir_all(&self.dir).map_err(|error| step("making the state folder", error))?;
        let folder = Folder::create(&self.dir, id)?;
        fs::create_dir_all(root(&folder).join("workspace")).map_err(|error| step("making the root", error))?;
        let agent = place_agent(&self.dir).map_err(|error| step("writing the agent", error))?;
        let start = Cmd::new(agent)
            .clean_env()
            .dir(folder.path())
            .args(["--proxy", "127.0.0.1:0", "--root"])
            .arg(root(&folder));
        cmd::start_detached(&start, folder.listen()?, folder.open_console()?)
            .map_err(|error| step("starting the agent", error))
    }

    async fn connect(&self, id: &SandboxId) -> Result<Stream, DriverError> {
        Ok(Box::new(Folder::of(&self.dir, id).connect().await?))
    }

    async fn observe(&self) -> Result<Vec<Observed>, DriverError> {
        let processes = processes();
        let observed = Folder::list(&self.dir)?.into_iter().map(|folder| {
            let runs = agents(&processes, &folder).next().is_some();
            let phase = match (runs, folder.join("agent.sock").exists()) {
                (true, _) => Phase::Running,
                (false, true) => Phase::Ended { out_of_memory: false },
                (false, false) => Phase::Partial,
            };
            Observed { id: folder.id().clone(), phase }
        });
        Ok(observed.collect())
    }

    async fn destroy(&self, id: &SandboxId) -> Result<(), DriverError> {
        let folder = Folder::of(&self.dir, id);
        let ended = tokio::task::spawn_blocking(move || {
            end_all(&folder).map_err(|error| step("ending the agent and its jobs", error))?;
            folder.remove()
        });
        ended.await.map_err(|error| step("ending the agent and its jobs", error))?
    }

    async fn console(&self, id: &SandboxId, max: usize) -> Result<Vec<u8>, DriverError> {
        Folder::of(&self.dir, id).console(max)
    }
}

/// What the agent takes for `/`.
fn root(folder: &Folder) -> PathBuf {
    folder.join("root")
}

/// A process of this host.
struct Entry {
    parent: i32,
    args: Vec<u8>,
}

fn processes() -> HashMap<i32, Entry> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, entry(pid)?))).collect()
}

fn entry(pid: i32) -> Option<Entry> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
    Some(Entry { parent, args: fs::read(format!("/proc/{pid}/cmdline")).ok()? })
}

/// The agents of one sandbox, known by the folder in their arguments: so there
/// is no moment at which one runs and could not be found again.
fn agents<'a>(processes: &'a HashMap<i32, Entry>, folder: &Folder) -> impl Iterator<Item = i32> + 'a {
    let end = [b"\0--root\0", root(folder).as_os_str().as_bytes(), b"\0"].concat();
    processes.iter().filter(move |(_, entry)| entry.args.ends_with(&end)).map(|(pid, _)| *pid)
}

/// Kills a sandbox's agent and all below it. The agent goes last: as long as it
/// lives it is the parent of every process that its own parent left behind.
fn end_all(folder: &Folder) -> io::Result<()> {
    loop {
        let all = processes();
        let agents: Vec<i32> = agents(&all, folder).collect();
        let below = |pid: &i32| {
            std::iter::successors(all.get(pid), |entry| all.get(&entry.parent))
                .take(all.len())
                .any(|entry| agents.contains(&entry.parent))
        };
        let jobs: Vec<i32> = all.keys().copied().filter(below).filter(|pid| Process::living(*pid).is_some()).collect();
        let (doomed, jobs_left) = if jobs.is_empty() { (agents, false) } else { (jobs, true) };
        process::end(&doomed, |pid| entry(pid).is_some_and(|now| now.args == all[&pid].args), END_WITHIN)?;
        if !jobs_left {
            return Ok(());
        }
    }
}
