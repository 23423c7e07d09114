//! What the host writes to a job's standard input.

use crate::{agent::Agent, channel::answer, job::Job, listen::Stream, pump::Source, refuse::Ended, refuse::refuse};
use polydev_proto::{AgentError, Answer, ErrorCode};
use std::{io, rc::Rc};
use tokio::io::{AsyncReadExt, Interest};

/// The most that is read from the host at once.
const CHUNK: usize = 64 * 1024;

/// A job's standard input, as the agent has it.
#[derive(Debug)]
pub(crate) enum Stdin {
    /// None was asked for.
    None,
    /// A pipe. It closes, and the job reads its end, when the host has ended writing.
    Pipe(Rc<Source>),
    /// A terminal. It outlives the channel.
    Terminal(Rc<Source>),
    /// A channel has it.
    Taken,
    /// It has been closed.
    Closed,
}

/// Carries the host's bytes to the job until the host ends, or the job does.
pub(crate) async fn serve(agent: &Agent, stream: &mut Stream, name: &str) -> Result<(), Ended> {
    let job = agent.jobs.get(name)?;
    let (sink, after) = take(&job)?;
    let copy = async {
        answer(stream, Answer::Done).await?;
        copy(stream, &sink).await
    };
    let copied = tokio::select! {
        copied = copy => copied,
        () = job.over() => Ok(()),
    };
    if !job.drained() {
        job.stdin.replace(after);
    }
    copied
}

/// The job's standard input, and what it becomes when the channel ends.
fn take(job: &Job) -> Result<(Rc<Source>, Stdin), AgentError> {
    let mut stdin = job.stdin.borrow_mut();
    let refused = |code, what: &str| Err(refuse(code, format!("standard input of job `{}` {what}", job.name)));
    let taken = match &*stdin {
        Stdin::Pipe(sink) => (sink.clone(), Stdin::Closed),
        Stdin::Terminal(sink) => (sink.clone(), Stdin::Terminal(sink.clone())),
        Stdin::None => return refused(ErrorCode::Invalid, "was not asked for"),
        Stdin::Closed => return refused(ErrorCode::Invalid, "is closed"),
        Stdin::Taken => return refused(ErrorCode::Exists, "is being written by another channel"),
    };
    *stdin = Stdin::Taken;
    Ok(taken)
}

async fn copy(stream: &mut Stream, sink: &Source) -> Result<(), Ended> {
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
            rest = &rest[count..];
        }
    }
}
