//! What the host writes to a job's standard input.
//!
//! ```text
//!   open ─► taken by a channel ─┬─ the host ends its side and waits ─► closed
//!     ▲                         │
//!     └──── the host is gone ───┘    another channel takes over: taken by that one
//! ```
//! A host that dies in the middle of a prompt has not ended it: its successor
//! is told how much the job was given, and goes on from there.

use crate::{
    agent::Agent,
    channel::answer,
    job::Job,
    listen::Stream,
    pump::Source,
    refuse::{Ended, refuse},
};
use polydev_proto::{AgentError, Answer, ErrorCode};
use std::{
    cell::{Cell, RefCell},
    io,
    rc::Rc,
};
use tokio::{
    io::{AsyncReadExt, Interest},
    sync::oneshot,
};

/// The most that is read from the host at once.
const CHUNK: usize = 64 * 1024;

/// A job's standard input, as the agent has it.
#[derive(Debug)]
pub(crate) struct Stdin {
    sink: RefCell<Sink>,
    /// How many bytes the job has been given.
    written: Cell<u64>,
    /// Dropping it ends the channel that holds the other end.
    owner: RefCell<Option<oneshot::Sender<()>>>,
}

/// Where the bytes go.
#[derive(Debug, Clone)]
enum Sink {
    /// None was asked for.
    None,
    /// A pipe: the job reads its end when it is closed here.
    Pipe(Rc<Source>),
    /// A terminal, which has no end.
    Terminal(Rc<Source>),
    /// It has ended.
    Closed,
}

impl Stdin {
    pub(crate) fn none() -> Self {
        Self::of(Sink::None)
    }

    pub(crate) fn pipe(sink: Rc<Source>) -> Self {
        Self::of(Sink::Pipe(sink))
    }

    pub(crate) fn terminal(sink: Rc<Source>) -> Self {
        Self::of(Sink::Terminal(sink))
    }

    fn of(sink: Sink) -> Self {
        Self { sink: RefCell::new(sink), written: Cell::new(0), owner: RefCell::new(None) }
    }

    /// The job needs it no more.
    pub(crate) fn close(&self) {
        self.sink.replace(Sink::Closed);
    }

    fn sink(&self, job: &Job) -> Result<Rc<Source>, AgentError> {
        let refused =
            |what: &str| Err(refuse(ErrorCode::Invalid, format!("standard input of job `{}` {what}", job.name)));
        match &*self.sink.borrow() {
            Sink::Pipe(sink) | Sink::Terminal(sink) => Ok(sink.clone()),
            Sink::None => refused("was not asked for"),
            Sink::Closed => refused("is closed"),
        }
    }

    /// The host has said that nothing more comes.
    fn end(&self) {
        let mut sink = self.sink.borrow_mut();
        match &*sink {
            Sink::Pipe(_) => *sink = Sink::Closed,
            Sink::None | Sink::Terminal(_) | Sink::Closed => {}
        }
    }
}

/// Carries the host's bytes to the job until the host ends, the job does, or another channel takes over.
pub(crate) async fn serve(agent: &Agent, stream: &mut Stream, name: &str) -> Result<(), Ended> {
    let job = agent.jobs.get(name)?;
    let sink = job.stdin.sink(&job)?;
    let (mine, taken_over) = oneshot::channel();
    job.stdin.owner.replace(Some(mine));
    let carry = async {
        answer(stream, Answer::Input { written: job.stdin.written.get() }).await?;
        copy(stream, &sink, &job.stdin.written).await?;
        // A host that is gone cannot be told, and so has not ended the input.
        answer(stream, Answer::Done).await
    };
    let carried = tokio::select! {
        // First of all, so that no byte of this channel follows one of its successor's.
        biased;
        _ = taken_over => return Ok(()),
        () = job.over() => return Ok(()),
        carried = carry => carried,
    };
    drop(sink);
    if carried.is_ok() {
        job.stdin.end();
    }
    carried
}

async fn copy(stream: &mut Stream, sink: &Source, written: &Cell<u64>) -> Result<(), Ended> {
    loop {
        stream.readable().await?;
        let mut chunk = Vec::with_capacity(CHUNK);
        if stream.read_buf(&mut chunk).await? == 0 {
            return Ok(());
        }
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let count =
                sink.async_io(Interest::WRITABLE, |fd| Ok::<_, io::Error>(rustix::io::write(fd, rest)?)).await?;
            written.set(written.get() + count as u64);
            rest = &rest[count..];
        }
    }
}
