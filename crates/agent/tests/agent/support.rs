//! An agent that is running, and the host's side of its channels.

use polydev_proto::*;
use rustix::process::{Pid, Signal as UnixSignal, kill_process};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long anything may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A ring that holds what most tests write.
pub(crate) const BLOCK: Ring = Ring { capacity: 64 * 1024, overflow: Overflow::Block };

/// An agent with a root of its own.
pub(crate) struct Agent {
    child: Child,
    dir: TempDir,
}

impl Agent {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_polydev-agent"));
        command.arg("--root").arg(dir.path().join("root")).args(["--proxy", "127.0.0.1:0"]);
        command.env_clear().stdin(OwnedFd::from(listener)).stdout(Stdio::null());
        Self { child: command.spawn().unwrap(), dir }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Where a path of the contract is on this machine.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("root").join(path.trim_start_matches('/'))
    }

    pub(crate) fn dial(&self) -> UnixStream {
        let stream = UnixStream::connect(self.dir.path().join("socket")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Opens a channel and reads the reply.
    pub(crate) fn open(&self, channel: Channel) -> (Result<Answer, AgentError>, UnixStream) {
        let mut stream = self.dial();
        stream.write_all(&encode_message(&Open { version: VERSION, channel }).unwrap()).unwrap();
        (reply(&mut stream), stream)
    }

    pub(crate) fn ask(&self, channel: Channel) -> Result<Answer, AgentError> {
        self.open(channel).0
    }

    /// Opens a channel that is answered by `done`.
    pub(crate) fn done(&self, channel: Channel) -> UnixStream {
        let (answer, stream) = self.open(channel);
        assert_eq!(answer, Ok(Answer::Done));
        stream
    }

    /// Opens a job's standard input, and tells how much it has been given.
    pub(crate) fn input(&self, job: &str) -> (u64, UnixStream) {
        match self.open(Channel::Stdin { job: job.to_owned() }) {
            (Ok(Answer::Input { written }), stream) => (written, stream),
            (other, _) => panic!("{other:?}"),
        }
    }

    /// Why something is refused.
    pub(crate) fn refused(&self, channel: Channel) -> AgentError {
        self.ask(channel).expect_err("it is refused")
    }

    pub(crate) fn hello(&self) -> Hello {
        match self.ask(Channel::Hello) {
            Ok(Answer::Hello(hello)) => hello,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn exec(&self, exec: Exec) -> Started {
        match self.ask(Channel::Exec(exec)) {
            Ok(Answer::Started(started)) => started,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn job(&self, name: &str) -> Job {
        match self.ask(Channel::Jobs) {
            Ok(Answer::Jobs(jobs)) => jobs.into_iter().find(|job| job.job == name).expect("the job is listed"),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn attach(&self, job: &str, stdout: u64, stderr: u64) -> Attachment {
        let (answer, stream) = self.open(Channel::Attach(Attach { job: job.to_owned(), stdout, stderr }));
        match answer {
            Ok(Answer::Attached(from)) => Attachment { stream, buffer: Vec::new(), from },
            other => panic!("{other:?}"),
        }
    }

    /// Writes all of a job's standard input.
    pub(crate) fn feed(&self, job: &str, bytes: &[u8]) {
        let (_, mut stdin) = self.input(job);
        stdin.write_all(bytes).unwrap();
        stdin.shutdown(Shutdown::Write).unwrap();
        assert_eq!(reply(&mut stdin), Ok(Answer::Done));
    }

    pub(crate) fn signal(&self, job: &str, signal: i32, tree: bool) -> u32 {
        match self.ask(Channel::Signal(Signal { job: job.to_owned(), signal, tree })) {
            Ok(Answer::Signalled { processes }) => processes,
            other => panic!("{other:?}"),
        }
    }

    /// Runs a shell script to its end.
    pub(crate) fn run(&self, job: &str, script: &str) -> Ran {
        self.exec(shell(job, script));
        self.attach(job, 0, 0).finish()
    }

    /// Every process below the agent, with its state as /proc shows it.
    pub(crate) fn processes(&self) -> Vec<(i32, char)> {
        let mut all = BTreeMap::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let mut fields = stat[stat.rfind(')').unwrap() + 1..].split_ascii_whitespace();
            let state = fields.next().unwrap().chars().next().unwrap();
            all.insert(pid, (fields.next().unwrap().parse::<i32>().unwrap(), state));
        }
        let below = |mut pid: i32| {
            while let Some((parent, _)) = all.get(&pid) {
                if *parent == self.pid() {
                    return true;
                }
                pid = *parent;
            }
            false
        };
        all.iter().filter(|(pid, _)| below(**pid)).map(|(pid, (_, state))| (*pid, *state)).collect()
    }

    /// Asks the agent to end, and waits until it has.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let pid = Pid::from_raw(self.pid()).unwrap();
        // Ended already: fine.
        let _ = kill_process(pid, UnixSignal::TERM);
        self.child.wait().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end();
    }
}

/// Asks again and again until it is so. Each asking is a round trip to the agent or to the kernel.
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::yield_now();
    }
}

/// A job that runs a script, with the little environment that it needs.
pub(crate) fn shell(job: &str, script: &str) -> Exec {
    program(job, &["/bin/sh", "-c", script])
}

pub(crate) fn program(job: &str, argv: &[&str]) -> Exec {
    Exec {
        job: job.to_owned(),
        argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        cwd: "/".to_owned(),
        stdin: false,
        pty: None,
        stdout: BLOCK,
        stderr: BLOCK,
    }
}

pub(crate) fn reply(stream: &mut UnixStream) -> Result<Answer, AgentError> {
    let mut message = vec![0; 4];
    stream.read_exact(&mut message).unwrap();
    let len = u32::from_be_bytes(message[..4].try_into().unwrap()) as usize;
    message.resize(4 + len, 0);
    stream.read_exact(&mut message[4..]).unwrap();
    match decode_message(&message).unwrap().unwrap().0 {
        Reply::Ok(answer) => Ok(answer),
        Reply::Error(error) => Err(error),
    }
}

/// All that comes until the other side ends.
pub(crate) fn rest(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// What a job wrote, and how it ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
}

impl Ran {
    pub(crate) fn out(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

/// What came on an attachment.
#[derive(Debug)]
pub(crate) enum Came {
    Stdout(u64, Vec<u8>),
    Stderr(u64, Vec<u8>),
    Exit(Exit),
    Closed,
}

/// The host's side of an attachment.
pub(crate) struct Attachment {
    pub(crate) stream: UnixStream,
    buffer: Vec<u8>,
    pub(crate) from: Attached,
}

impl Attachment {
    pub(crate) fn next(&mut self) -> Came {
        loop {
            if let Some((frame, taken)) = decode_frame(&self.buffer).unwrap() {
                let came = match frame.kind {
                    FrameKind::Stdout => Came::Stdout(frame.offset, frame.data.to_vec()),
                    FrameKind::Stderr => Came::Stderr(frame.offset, frame.data.to_vec()),
                    FrameKind::Json => match serde_json::from_slice(frame.data).unwrap() {
                        JobEvent::Exit(exit) => Came::Exit(exit),
                    },
                };
                self.buffer.drain(..taken);
                return came;
            }
            let mut chunk = [0; 64 * 1024];
            match self.stream.read(&mut chunk).unwrap() {
                0 => return Came::Closed,
                count => self.buffer.extend(&chunk[..count]),
            }
        }
    }

    pub(crate) fn ack(&mut self, stdout: u64, stderr: u64) {
        self.stream.write_all(&encode_frame(&Ack { stdout, stderr }).unwrap()).unwrap();
    }

    /// Reads standard output without acknowledging, until `len` bytes came.
    pub(crate) fn stdout(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            match self.next() {
                Came::Stdout(_, more) => bytes.extend(more),
                other => panic!("{other:?}"),
            }
        }
        bytes
    }

    /// Reads and acknowledges everything, and checks that no byte is missing.
    pub(crate) fn finish(mut self) -> Ran {
        let Attached { mut stdout, mut stderr } = self.from.clone();
        let mut ran = Ran::default();
        loop {
            match self.next() {
                Came::Stdout(offset, bytes) => {
                    assert_eq!(offset, stdout);
                    stdout += bytes.len() as u64;
                    ran.stdout.extend(bytes);
                }
                Came::Stderr(offset, bytes) => {
                    assert_eq!(offset, stderr);
                    stderr += bytes.len() as u64;
                    ran.stderr.extend(bytes);
                }
                Came::Exit(exit) => {
                    assert_eq!(rest(&mut self.stream), b"", "the exit is the last frame");
                    (ran.code, ran.signal) = (exit.code, exit.signal);
                    return ran;
                }
                Came::Closed => panic!("closed before the job ended"),
            }
            self.ack(stdout, stderr);
        }
    }
}
