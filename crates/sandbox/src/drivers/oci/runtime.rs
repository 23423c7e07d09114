//! The program that makes containers: crun, runc, or another with their command line.

use crate::{
    cmd::{self, Cmd, CmdError},
    driver::DriverError,
    drivers::folder::{Folder, step, tail},
};
use std::{
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

/// What is looked for, best first: crun starts a container in a third of runc's time.
const KNOWN: [&str; 2] = ["crun", "runc"];

/// How long the runtime may take to start a container.
const START_WITHIN: Duration = Duration::from_secs(60);

/// How much of what went wrong an error repeats, in bytes.
const WORDS: usize = 2000;

/// A runtime that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Runtime {
    program: PathBuf,
    /// The first line of what it says of its version.
    pub(super) version: String,
}

impl Runtime {
    /// The configured runtime, or the first known one that answers.
    pub(super) async fn find(configured: Option<&Path>) -> Result<Self, String> {
        if let Some(program) = configured {
            let asked = Self::ask(program.to_owned()).await;
            return asked.map_err(|_| format!("`{}` is no runtime that answers `--version`", program.display()));
        }
        let mut reasons = Vec::new();
        for name in KNOWN {
            let Some(program) = cmd::find(name) else { continue };
            match Self::ask(program).await {
                Ok(runtime) => return Ok(runtime),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        if reasons.is_empty() {
            Err("neither `crun` nor `runc` is installed".to_owned())
        } else {
            Err(reasons.join("; "))
        }
    }

    async fn ask(program: PathBuf) -> Result<Self, CmdError> {
        let ask = Cmd::new(&program).clean_env().arg("--version").timeout(Duration::from_secs(10));
        let version = cmd::run(ask).await?.text().lines().next().unwrap_or_default().to_owned();
        Ok(Self { program, version })
    }

    /// Whether it is crun, which enters a user namespace for good before it does anything in it. runc steers from
    /// outside, and sets limits there for which root alone is not enough.
    pub(super) fn is_crun(&self) -> bool {
        self.version.starts_with("crun")
    }

    /// Starts the container of a bundle, in the calling thread's namespaces, and
    /// tells its first process. `agent` becomes that process's standard input. The
    /// runtime itself works in control group `group`, or where this process is.
    pub(super) fn run(
        &self,
        state: &Path,
        folder: &Folder,
        agent: OwnedFd,
        console: File,
        group: Option<File>,
    ) -> Result<i32, DriverError> {
        let (log, pid_file) = (folder.join("runtime.log"), folder.join("pid"));
        let mut run = Cmd::new(&self.program).clean_env().timeout(START_WITHIN).arg("--root").arg(state);
        if self.is_crun() {
            run = run.arg("--cgroup-manager=cgroupfs");
        }
        let run = run.arg("--log").arg(&log).args(["run", "--detach", "--pid-file"]).arg(&pid_file);
        let run = run.arg("--bundle").arg(folder.path()).arg(folder.id().as_str());
        cmd::run_handing_over(&run, agent, console, group).map_err(|error| {
            let words = [tail(&log, WORDS), tail(&folder.join("console.log"), WORDS)];
            let words: Vec<u8> = words.into_iter().flatten().flatten().collect();
            step("starting the container", format!("{error}{}", String::from_utf8_lossy(&words).trim()))
        })?;
        let pid = std::fs::read_to_string(pid_file).map_err(|error| step("reading the container's process", error))?;
        pid.trim().parse().map_err(|error| step("reading the container's process", error))
    }
}

/// The most open files that this process may hand on.
pub(super) fn open_files() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Where this host tells how hot its processors were: from the load of others, a neighbour learns what they do.
pub(super) fn thermal() -> Vec<String> {
    let processors = std::fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten();
    let folders = processors.map(|entry| entry.path().join("thermal_throttle")).filter(|folder| folder.is_dir());
    folders.filter_map(|folder| Some(folder.to_str()?.to_owned())).collect()
}

/// Writes a bundle's `config.json`.
pub(super) fn write_bundle(folder: &Folder, config: &serde_json::Value) -> Result<(), DriverError> {
    std::fs::write(folder.join("config.json"), config.to_string()).map_err(|error| step("writing the bundle", error))
}
