//! The host's own programs: the one place that starts them.
//!
//! A program runs in a process group of its own, and the whole group is killed
//! when its time is up or the future that waits for it is dropped.

use crate::sys;
use rustix::process::Uid;
use std::{
    ffi::{CStr, OsStr, OsString},
    fs::File,
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    sync::mpsc,
};

/// How much of a program's standard output and of its standard error is kept, in bytes.
const KEPT_OUTPUT: u64 = 16 << 20;
/// How much of the end of its standard error an error repeats, in bytes.
const ERROR_TAIL: usize = 2000;
/// Where Debian keeps what only root needs. `su` without `-` leaves it out of `PATH`.
const SBIN: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// A program to be run, its standard input empty unless one is given.
#[derive(Debug, Clone)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
    stdin: Vec<u8>,
    timeout: Duration,
    inherits_env: bool,
}

impl Cmd {
    /// A program by its path, or by its name in `PATH` and the folders of root's programs. It may take a minute.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
            stdin: Vec::new(),
            timeout: Duration::from_secs(60),
            inherits_env: true,
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// A variable beside those of this process.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// No variables of this process but `PATH`: what starts or becomes a sandbox sees nothing of ours.
    #[must_use]
    pub fn clean_env(mut self) -> Self {
        self.inherits_env = false;
        self
    }

    /// The folder to run in.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// What it reads.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// How long it may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn name(&self) -> String {
        PathBuf::from(&self.program).file_name().unwrap_or(&self.program).to_string_lossy().into_owned()
    }

    fn failed(&self, status: ExitStatus, said: &[u8]) -> CmdError {
        let tail = String::from_utf8_lossy(&said[said.len().saturating_sub(ERROR_TAIL)..]).trim().to_owned();
        let status = match status.code() {
            Some(code) => format!("status {code}"),
            None => format!("signal {}", status.signal().unwrap_or_default()),
        };
        CmdError::Failed { program: self.name(), status, tail }
    }

    fn start(&self) -> Result<Running, CmdError> {
        let mut command = self.command();
        command
            .stdin(if self.stdin.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        self.spawn(command).map(Running)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts programs")]
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if !self.inherits_env {
            command.env_clear();
        }
        command.args(&self.args).env("PATH", search_path()).envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }

    fn spawn(&self, mut command: Command) -> Result<Child, CmdError> {
        command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound if self.dir.as_ref().is_none_or(|dir| dir.is_dir()) => {
                CmdError::Missing { package: debian_package(&self.name()), program: self.name() }
            }
            _other => CmdError::Start { program: self.name(), error },
        })
    }
}

/// Where programs are looked for.
#[expect(clippy::disallowed_methods, reason = "PATH is for programs, and this is the one place that starts them")]
fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    path.push(":");
    path.push(SBIN);
    path
}

/// Where the program of this name lies.
pub fn find(program: &str) -> Option<PathBuf> {
    let can_run = |file: &PathBuf| file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok();
    std::env::split_paths(&search_path()).map(|dir| dir.join(program)).find(can_run)
}

/// A program's group, killed when this is dropped before the program has been waited for.
#[derive(Debug)]
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let group = self.0.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        if let Some(group) = group {
            let _gone_already = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

/// What a program that ended well printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Its standard output as text without white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

/// Why a program did not end well.
#[derive(Debug, thiserror::Error)]
pub enum CmdError {
    /// It is not installed.
    #[error("`{program}` is not installed{}", package.map(|name| format!(": apt install {name}")).unwrap_or_default())]
    Missing {
        /// Its name.
        program: String,
        /// The Debian package that has it, where known.
        package: Option<&'static str>,
    },
    /// The system did not start it.
    #[error("`{program}` does not start: {error}")]
    Start {
        /// Its name.
        program: String,
        /// The system's words.
        error: std::io::Error,
    },
    /// It took too long and was killed.
    #[error("`{program}` did not end within {} s", after.as_secs())]
    TimedOut {
        /// Its name.
        program: String,
        /// How long it was given.
        after: Duration,
    },
    /// It ended with another status than 0.
    #[error("`{program}` ended with {status}: {tail}")]
    Failed {
        /// Its name.
        program: String,
        /// Its exit status, or `signal N`.
        status: String,
        /// The end of what it printed on standard error, or else on standard output.
        tail: String,
    },
}

/// Runs a program to its end.
///
/// # Errors
/// When it is missing, does not start, takes too long, or ends with another status than 0.
pub async fn run(cmd: Cmd) -> Result<Output, CmdError> {
    run_inner(&cmd, None).await
}

/// Runs a program to its end and tells each line that it prints, on either stream, as it is printed.
///
/// # Errors
/// As [`run`].
pub async fn run_lines(cmd: Cmd, on_line: &mut (dyn FnMut(&str) + Send)) -> Result<Output, CmdError> {
    let (lines, mut printed) = mpsc::unbounded_channel();
    let running = run_inner(&cmd, Some(lines));
    tokio::pin!(running);
    loop {
        tokio::select! {
            biased;
            Some(line) = printed.recv() => on_line(&line),
            result = &mut running => {
                while let Ok(line) = printed.try_recv() {
                    on_line(&line);
                }
                return result;
            }
        }
    }
}

/// Runs a program to its end from a plain thread, whose namespaces it gets.
/// Not from a thread of an async runtime.
///
/// # Errors
/// As [`run`].
pub fn run_blocking(cmd: Cmd) -> Result<Output, CmdError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CmdError::Start { program: cmd.name(), error })?.block_on(run(cmd))
}

/// Runs a program to its end from a plain thread, whose namespaces it gets,
/// with `stdin` and `output` for itself and what it leaves running, in a control
/// `group` if there is one. The kernel kills it if this process ends before it does.
///
/// # Errors
/// As [`run`]; what it printed is in `output`.
pub(crate) fn run_handing_over(cmd: &Cmd, stdin: OwnedFd, output: File, group: Option<File>) -> Result<(), CmdError> {
    let failed = |error| CmdError::Start { program: cmd.name(), error };
    let wait = async {
        let mut command = cmd.command();
        command.stdin(stdin).stdout(output.try_clone().map_err(failed)?).stderr(output).kill_on_drop(true);
        sys::die_with_parent_thread(&mut command);
        if let Some(group) = group {
            sys::join_group(&mut command, group);
        }
        let mut child = cmd.spawn(command)?;
        let status = tokio::time::timeout(cmd.timeout, child.wait())
            .await
            .map_err(|_elapsed| CmdError::TimedOut { program: cmd.name(), after: cmd.timeout })?
            .map_err(failed)?;
        if status.success() { Ok(()) } else { Err(cmd.failed(status, &[])) }
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?.block_on(wait)
}

/// Starts a program in a session of its own, with `stdin` and `output`, and
/// lets it run, beyond the end of this process too.
///
/// # Errors
/// When it is missing or does not start.
pub(crate) fn start_detached(cmd: &Cmd, stdin: OwnedFd, output: File) -> Result<(), CmdError> {
    let again = output.try_clone().map_err(|error| CmdError::Start { program: cmd.name(), error })?;
    let mut command = cmd.command();
    command.stdin(stdin).stdout(again).stderr(output);
    sys::lead_a_session(&mut command);
    // The runtime reaps a child that was dropped.
    cmd.spawn(command).map(drop)
}

/// A user namespace with this line as its `uid_map` and `gid_map` (`man 7 user_namespaces`), in which nobody is. It is
/// of this user of the host: to them the kernel counts what is in it, beside those who are in it. These files of
/// `/proc/sys` are so in it, where they can be written. From a plain thread.
///
/// # Errors
/// When the system refuses one, or this mapping.
pub(crate) fn user_namespace(map: &str, owner: Uid, settings: Vec<(&'static CStr, String)>) -> io::Result<OwnedFd> {
    let hold = async {
        // A namespace begins with a process. This one waits for input that never comes.
        let cmd = Cmd::new("cat").clean_env();
        let mut command = cmd.command();
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        sys::own_user_namespace(&mut command, owner, settings);
        let mut child = cmd.spawn(command).map_err(io::Error::other)?;
        let process = PathBuf::from(format!("/proc/{}", child.id().unwrap_or_default()));
        std::fs::write(process.join("uid_map"), map)?;
        std::fs::write(process.join("gid_map"), map)?;
        let namespace = File::open(process.join("ns/user"))?;
        child.kill().await?;
        Ok(namespace.into())
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(hold)
}

async fn run_inner(cmd: &Cmd, lines: Option<mpsc::UnboundedSender<String>>) -> Result<Output, CmdError> {
    let started = |error| CmdError::Start { program: cmd.name(), error };
    let mut running = cmd.start()?;
    let (stdin, stdout, stderr) = (running.0.stdin.take(), running.0.stdout.take(), running.0.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that ends without reading all of its input has its reasons: its status tells.
            let _not_all_read = stdin.write_all(&cmd.stdin).await;
        }
        Ok(())
    };
    let whole = async {
        tokio::try_join!(feed, collect(stdout, lines.clone()), collect(stderr, lines.clone())).map_err(started)
    };
    let ended = tokio::time::timeout(cmd.timeout, async {
        let ((), stdout, stderr) = whole.await?;
        Ok::<_, CmdError>((running.0.wait().await.map_err(started)?, stdout, stderr))
    });
    let Ok(ended) = ended.await else {
        return Err(CmdError::TimedOut { program: cmd.name(), after: cmd.timeout });
    };
    let (status, stdout, stderr) = ended?;
    if status.success() {
        return Ok(Output { stdout, stderr });
    }
    Err(cmd.failed(status, if stderr.trim_ascii().is_empty() { &stdout } else { &stderr }))
}

async fn collect(
    stream: Option<impl AsyncRead + Unpin>,
    lines: Option<mpsc::UnboundedSender<String>>,
) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(stream) = stream else { return Ok(kept) };
    let mut reader = BufReader::new(stream);
    let Some(lines) = lines else {
        (&mut reader).take(KEPT_OUTPUT).read_to_end(&mut kept).await?;
        // What is too much is read all the same, so that the program does not wait for a reader.
        tokio::io::copy(&mut reader, &mut tokio::io::sink()).await?;
        return Ok(kept);
    };
    let mut line = Vec::new();
    while (&mut reader).take(KEPT_OUTPUT).read_until(b'\n', &mut line).await? > 0 {
        let _nobody_listens = lines.send(String::from_utf8_lossy(&line).trim_end().to_owned());
        if ((kept.len() + line.len()) as u64) < KEPT_OUTPUT {
            kept.extend_from_slice(&line);
        }
        line.clear();
    }
    Ok(kept)
}

/// The Debian package of a program that this crate runs.
fn debian_package(program: &str) -> Option<&'static str> {
    match program {
        "mmdebstrap" => Some("mmdebstrap"),
        "mke2fs" | "e2fsck" | "debugfs" => Some("e2fsprogs"),
        "npm" => Some("npm"),
        "crun" => Some("crun"),
        "runc" => Some("runc"),
        "losetup" | "mount" | "umount" => Some("mount"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_program_prints_comes_back_and_line_by_line() {
        let output = run(Cmd::new("cat").stdin("two\nlines\n")).await.unwrap();
        assert_eq!(output.stdout, b"two\nlines\n");

        let mut lines = Vec::new();
        let script = "echo one; echo two; printf three";
        let output = run_lines(Cmd::new("sh").args(["-c", script]), &mut |line| lines.push(line.to_owned())).await;
        assert_eq!(lines, ["one", "two", "three"]);
        assert_eq!(output.unwrap().text(), "one\ntwo\nthree");
    }

    #[tokio::test]
    async fn every_bad_end_has_its_own_error() {
        let error = run(Cmd::new("sh").args(["-c", "echo why >&2; exit 3"])).await.unwrap_err();
        assert_eq!(error.to_string(), "`sh` ended with status 3: why");
        let error = run(Cmd::new("sh").args(["-c", "kill -9 $$"])).await.unwrap_err();
        assert_eq!(error.to_string(), "`sh` ended with signal 9: ");
        let error = run(Cmd::new("no-such-program")).await.unwrap_err();
        assert_eq!(error.to_string(), "`no-such-program` is not installed");
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program"), None);
    }

    #[test]
    fn a_plain_thread_runs_programs_too_and_a_clean_environment_is_clean() {
        let env = run_blocking(Cmd::new("env").clean_env().env("GIVEN", "yes")).unwrap().text();
        let names: Vec<&str> = env.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
        assert_eq!(names, ["GIVEN", "PATH"], "{env}");
    }

    #[tokio::test]
    async fn a_program_whose_time_is_up_dies_with_all_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        run(Cmd::new("mkfifo").arg(&pipe)).await.unwrap();
        // The pipe ends when the last process that may write to it is gone.
        let reader = pipe.clone();
        let ended = tokio::task::spawn_blocking(move || std::fs::read(reader));
        let script = format!("sleep 600 >{pipe:?} & wait");
        let error = run(Cmd::new("sh").args(["-c", &script]).timeout(Duration::from_millis(300))).await.unwrap_err();
        assert_eq!(error.to_string(), "`sh` did not end within 0 s");
        tokio::time::timeout(Duration::from_secs(20), ended).await.expect("the child lives on").unwrap().unwrap();
    }
}
