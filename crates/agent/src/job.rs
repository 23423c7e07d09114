//! Jobs: the programs that the host started, and what is known of them.
//!
//! ```text
//!   exec ─► running ─► ended (reaped) ─► drained (its pipes are read out) ─► forgotten
//! ```
//! A job stays listed and can be attached to until the sandbox ends, or until
//! its place is needed and the host has acknowledged all that it wrote.

use crate::{
    agent::now,
    pump::{self, Output, Source},
    refuse::refuse,
    root::Root,
    stdin::Stdin,
    sys,
};
use polydev_proto::{
    Ack, AgentError, BUFFERED_MAX, ErrorCode, Exec, Exit, Job as JobNow, Overflow, Ring, Started, TerminalSize,
};
use rustix::{
    pipe::{PipeFlags, pipe_with},
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
    process::{Command, Stdio},
    rc::Rc,
};
use tokio::sync::{Notify, oneshot};

/// The most jobs that are listed at a time.
const JOBS_MAX: usize = 64;

/// The longest name of a job.
const NAME_MAX: usize = 128;

/// The variable that marks every process of a job.
pub(crate) const MARK: &str = "POLYDEV_JOB";

/// A job.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) started: Started,
    /// How its process ended, once it is reaped.
    pub(crate) exit: Cell<Option<Exit>>,
    pub(crate) stdout: Output,
    pub(crate) stderr: Output,
    pub(crate) stdin: Stdin,
    /// The terminal, while the job has one.
    terminal: RefCell<Option<Rc<Source>>>,
    /// Poked when there is something to tell an attachment.
    pub(crate) changed: Notify,
    /// Told to all when it wrote something, or ends.
    said: Notify,
    /// Told to all when everything of the job is over.
    over: Notify,
    /// Dropping it ends the attachment that holds the other end.
    pub(crate) attached: RefCell<Option<oneshot::Sender<()>>>,
}

impl Job {
    /// Whether its process has ended and all that it wrote was read.
    pub(crate) fn drained(&self) -> bool {
        self.exit.get().is_some() && self.stdout.closed.get() && self.stderr.closed.get()
    }

    /// Called by a pump that has read something.
    pub(crate) fn spoke(&self) {
        self.changed.notify_one();
        self.said.notify_waiters();
    }

    /// Waits for the first line of its standard output. `None`: it ended, or wrote more than is held, without one.
    pub(crate) async fn first_line(&self) -> Option<String> {
        loop {
            let said = self.said.notified();
            let mut bytes = Vec::new();
            let first = {
                let ring = self.stdout.ring.borrow();
                ring.copy(0, ring.len(), &mut bytes)
            };
            match bytes.iter().position(|byte| *byte == b'\n') {
                Some(end) if first == 0 => return Some(String::from_utf8_lossy(&bytes[..end]).into_owned()),
                _ if first > 0 || self.drained() => return None,
                Some(_) | None => said.await,
            }
        }
    }

    /// The last line that it wrote to its standard error, at most so many bytes of it.
    pub(crate) fn last_words(&self, max: usize) -> String {
        self.last_lines(max).lines().last().unwrap_or_default().to_owned()
    }

    /// The end of its standard error, at most so many bytes of it.
    pub(crate) fn last_lines(&self, max: usize) -> String {
        let mut bytes = Vec::new();
        let ring = self.stderr.ring.borrow();
        ring.copy(ring.written().saturating_sub(max as u64), max, &mut bytes);
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// Called by a pump that has nothing more to read.
    pub(crate) fn settled(&self) {
        if self.drained() {
            self.terminal.take();
            self.stdin.close();
            self.over.notify_waiters();
        }
        self.spoke();
    }

    /// Waits until it is drained.
    pub(crate) async fn over(&self) {
        while !self.drained() {
            self.over.notified().await;
        }
    }

    /// Tells its terminal the new size.
    pub(crate) fn resize(&self, size: TerminalSize) -> Result<(), AgentError> {
        let terminal = self.terminal.borrow();
        let terminal = terminal
            .as_ref()
            .ok_or_else(|| refuse(ErrorCode::Invalid, format!("job `{}` has no terminal", self.name)))?;
        let resized = tcsetwinsize(terminal.get_ref(), winsize(size));
        resized.map_err(|e| refuse(ErrorCode::Io, format!("terminal of job `{}`: {e}", self.name)))
    }

    fn now(&self) -> JobNow {
        JobNow {
            job: self.name.clone(),
            started: self.started.clone(),
            exit: self.exit.get(),
            written: Ack { stdout: self.stdout.written(), stderr: self.stderr.written() },
        }
    }

    /// The bytes that it holds, or may come to hold.
    fn reserved(&self) -> usize {
        let of = |output: &Output| {
            let ring = output.ring.borrow();
            if output.closed.get() { ring.len() } else { ring.capacity() }
        };
        of(&self.stdout) + of(&self.stderr)
    }

    fn forgettable(&self) -> bool {
        self.drained() && self.reserved() == 0
    }

    fn end(&self, exit: Exit) {
        self.exit.set(Some(exit));
        self.stdout.poke.notify_one();
        self.stderr.poke.notify_one();
        self.settled();
    }
}

/// Every job, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Jobs(RefCell<Vec<Rc<Job>>>);

impl Jobs {
    pub(crate) fn list(&self) -> Vec<JobNow> {
        self.0.borrow().iter().map(|job| job.now()).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Result<Rc<Job>, AgentError> {
        let jobs = self.0.borrow();
        let found = jobs.iter().find(|job| job.name == name);
        found.cloned().ok_or_else(|| refuse(ErrorCode::NotFound, format!("there is no job `{name}`")))
    }

    /// Forgets a job that is over, whatever of its output nobody has read, so that its name is free again.
    pub(crate) fn forget(&self, name: &str) {
        self.0.borrow_mut().retain(|job| job.name != name || !job.drained());
    }

    /// A process was reaped: if it is a job's, the job has ended.
    pub(crate) fn ended(&self, pid: i32, exit: Exit) {
        let jobs = self.0.borrow();
        if let Some(job) = jobs.iter().find(|job| job.started.pid == pid && job.exit.get().is_none()) {
            job.end(exit);
        }
    }

    /// Starts a program. It runs when this returns, or nothing is left of it.
    pub(crate) fn exec(&self, root: &Root, exec: Exec) -> Result<Started, AgentError> {
        check(&exec)?;
        if self.get(&exec.job).is_ok() {
            return Err(refuse(ErrorCode::Exists, format!("job `{}` exists", exec.job)));
        }
        self.make_room(&exec)?;
        let cwd = root.resolve(&exec.cwd)?;
        if !cwd.is_dir() {
            return Err(refuse(ErrorCode::Spawn, format!("the working folder `{}` is not there", exec.cwd)));
        }
        #[expect(clippy::disallowed_methods, reason = "the one place where the agent starts programs")]
        let mut command = Command::new(&exec.argv[0]);
        command.args(&exec.argv[1..]).env_clear().envs(&exec.env).env(MARK, &exec.job).current_dir(cwd);
        sys::new_session(&mut command, exec.pty.is_some());
        let job = match exec.pty {
            Some(size) => start_in_terminal(command, exec, size),
            None => start(command, exec),
        }?;
        let started = job.started.clone();
        self.0.borrow_mut().push(job);
        Ok(started)
    }

    fn make_room(&self, exec: &Exec) -> Result<(), AgentError> {
        let mut jobs = self.0.borrow_mut();
        if jobs.len() >= JOBS_MAX {
            let oldest = jobs.iter().position(|job| job.forgettable()).ok_or_else(|| {
                refuse(ErrorCode::TooLarge, format!("{JOBS_MAX} jobs run, or have output that was not acknowledged"))
            })?;
            jobs.remove(oldest);
        }
        let reserved: usize = jobs.iter().map(|job| job.reserved()).sum();
        let wanted = exec.stdout.capacity as usize + stderr_ring(exec).capacity as usize;
        if reserved.saturating_add(wanted) > BUFFERED_MAX {
            let message = format!(
                "job `{}` wants {wanted} bytes of output kept; {reserved} of {BUFFERED_MAX} are taken",
                exec.job
            );
            return Err(refuse(ErrorCode::TooLarge, message));
        }
        Ok(())
    }
}

fn check(exec: &Exec) -> Result<(), AgentError> {
    let invalid = |why: &str| Err(refuse(ErrorCode::Invalid, why));
    if exec.job.is_empty() || exec.job.len() > NAME_MAX || exec.job.contains('\0') {
        return invalid(&format!("the name of a job has 1 to {NAME_MAX} bytes and no NUL"));
    }
    if exec.argv.first().is_none_or(String::is_empty) {
        return invalid("no program is named");
    }
    if exec.argv.iter().chain(exec.env.values()).any(|text| text.contains('\0')) {
        return invalid("an argument or a variable has a NUL byte");
    }
    if exec.env.keys().any(|key| key.is_empty() || key.contains(['=', '\0'])) {
        return invalid("the name of a variable is empty, or has `=` or a NUL byte");
    }
    if [exec.stdout, stderr_ring(exec)].iter().any(|ring| ring.capacity == 0 && ring.overflow == Overflow::Block) {
        return invalid("a ring without capacity that blocks would stop the job for ever");
    }
    Ok(())
}

/// A terminal has one output: nothing is kept for standard error.
fn stderr_ring(exec: &Exec) -> Ring {
    match exec.pty {
        Some(_) => Ring { capacity: 0, overflow: Overflow::DropOldest },
        None => exec.stderr,
    }
}

fn start(mut command: Command, exec: Exec) -> Result<Rc<Job>, AgentError> {
    let io = |e: io::Error| refuse(ErrorCode::Io, format!("pipes for job `{}`: {e}", exec.job));
    let pipe = || Ok(pipe_with(PipeFlags::CLOEXEC)?);
    let (stdout, stdout_in) = pipe().map_err(io)?;
    let (stderr, stderr_in) = pipe().map_err(io)?;
    command.stdout(stdout_in).stderr(stderr_in);
    let stdin = if exec.stdin {
        let (stdin_out, stdin) = pipe().map_err(io)?;
        command.stdin(stdin_out);
        Stdin::pipe(pump::source(stdin).map_err(io)?)
    } else {
        command.stdin(Stdio::null());
        Stdin::none()
    };
    let (stdout, stderr) = (pump::source(stdout).map_err(io)?, pump::source(stderr).map_err(io)?);
    let job = spawn(command, exec, stdin, None)?;
    tokio::task::spawn_local(pump::run(job.clone(), pump::Which::Stdout, stdout));
    tokio::task::spawn_local(pump::run(job.clone(), pump::Which::Stderr, stderr));
    Ok(job)
}

fn start_in_terminal(mut command: Command, exec: Exec, size: TerminalSize) -> Result<Rc<Job>, AgentError> {
    let io = |e: io::Error| refuse(ErrorCode::Io, format!("a terminal for job `{}`: {e}", exec.job));
    let (controller, terminal) = open_terminal(size).map_err(io)?;
    command.stdin(terminal.try_clone().map_err(io)?);
    command.stdout(terminal.try_clone().map_err(io)?).stderr(terminal);
    let controller = pump::source(controller).map_err(io)?;
    let stdin = if exec.stdin { Stdin::terminal(controller.clone()) } else { Stdin::none() };
    let job = spawn(command, exec, stdin, Some(controller.clone()))?;
    job.stderr.closed.set(true);
    tokio::task::spawn_local(pump::run(job.clone(), pump::Which::Stdout, controller));
    Ok(job)
}

fn open_terminal(size: TerminalSize) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let controller = openpt(flags)?;
    grantpt(&controller)?;
    unlockpt(&controller)?;
    let terminal = ioctl_tiocgptpeer(&controller, flags)?;
    tcsetwinsize(&controller, winsize(size))?;
    Ok((controller, terminal))
}

fn winsize(size: TerminalSize) -> Winsize {
    Winsize { ws_col: size.cols, ws_row: size.rows, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Starts the process. Its ends of the pipes are closed here when this returns.
fn spawn(mut command: Command, exec: Exec, stdin: Stdin, terminal: Option<Rc<Source>>) -> Result<Rc<Job>, AgentError> {
    let child = command.spawn().map_err(|e| refuse(ErrorCode::Spawn, format!("program `{}`: {e}", exec.argv[0])))?;
    let stderr = Output::new(stderr_ring(&exec));
    Ok(Rc::new(Job {
        name: exec.job,
        started: Started { pid: child.id() as i32, started_at: now() },
        exit: Cell::new(None),
        stdout: Output::new(exec.stdout),
        stderr,
        stdin,
        terminal: RefCell::new(terminal),
        changed: Notify::new(),
        said: Notify::new(),
        over: Notify::new(),
        attached: RefCell::new(None),
    }))
}
