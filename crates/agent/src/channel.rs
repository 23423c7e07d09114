//! One connection of the host: its header is read, and what it asks for is done.

use crate::{agent::Agent, attach, desktop, files, listen::Stream, refuse::Ended, refuse::refuse, stdin, tree, watch};
use polydev_proto::{
    AgentError, Answer, Channel, ErrorCode, HEADER_MAX, Hello, Open, Reply, STREAMS_MAX, Stage, VERSION, encode_frame,
    encode_message,
};
use serde::{Deserialize, Serialize};
use std::{rc::Rc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

/// How long a host may take to say what it wants.
const HEADER_WAIT: Duration = Duration::from_secs(10);

/// The part of [`Open`] that every version has.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// Serves one connection to its end.
pub(crate) async fn serve(agent: &Rc<Agent>, mut stream: Stream) {
    let opened = timeout(HEADER_WAIT, read_open(&mut stream)).await;
    let ended = match opened {
        Err(_) => return,
        Ok(Err(ended)) => Err(ended),
        Ok(Ok(open)) => match agent.channels.try_acquire() {
            Ok(_permit) => dispatch(agent, &mut stream, open.channel).await,
            Err(_) => Err(refuse(ErrorCode::TooLarge, format!("{STREAMS_MAX} channels are open already")).into()),
        },
    };
    match ended {
        Ok(()) | Err(Ended::Lost) => {}
        Err(Ended::Refused(error)) => {
            let _ = reply(&mut stream, &Reply::Error(error)).await;
        }
    }
}

async fn read_open(stream: &mut Stream) -> Result<Open, Ended> {
    let len = stream.read_u32().await? as usize;
    if len > HEADER_MAX {
        let message = format!("a header of {len} bytes, at most {HEADER_MAX} are allowed");
        return Err(refuse(ErrorCode::TooLarge, message).into());
    }
    let mut header = vec![0; len];
    stream.read_exact(&mut header).await?;
    let invalid = |e| refuse(ErrorCode::Invalid, format!("the header is not of this contract: {e}"));
    let Version { version } = serde_json::from_slice(&header).map_err(invalid)?;
    if version != VERSION {
        let message = format!("the host speaks version {version}, this agent version {VERSION}");
        return Err(refuse(ErrorCode::Version, message).into());
    }
    Ok(serde_json::from_slice(&header).map_err(invalid)?)
}

async fn dispatch(agent: &Rc<Agent>, stream: &mut Stream, channel: Channel) -> Result<(), Ended> {
    match channel {
        Channel::Hello => answer(stream, Answer::Hello(hello(agent))).await,
        Channel::Ready => {
            answer(stream, Answer::Done).await?;
            // The agent itself has nothing to wait for: that it answers is its readiness.
            frame(stream, &Stage { name: "agent".to_owned(), done: true, ..Stage::default() }).await?;
            match agent.desk.get() {
                Some(desk) => desk.stages.tell(stream).await,
                None => Ok(()),
            }
        }
        Channel::Exec(exec) => {
            let started = agent.jobs.exec(&agent.root, exec)?;
            answer(stream, Answer::Started(started)).await
        }
        Channel::Jobs => answer(stream, Answer::Jobs(agent.jobs.list())).await,
        Channel::Attach(attach) => attach::serve(agent, stream, attach).await,
        Channel::Stdin { job } => stdin::serve(agent, stream, &job).await,
        Channel::Signal(signal) => {
            let processes = tree::signal(agent, &signal).await?;
            answer(stream, Answer::Signalled { processes }).await
        }
        Channel::Resize { job, size } => {
            agent.jobs.get(&job)?.resize(size)?;
            answer(stream, Answer::Done).await
        }
        Channel::Write(file) => files::write(&agent.root, stream, &file).await,
        Channel::Read(file) => files::read(&agent.root, stream, &file).await,
        Channel::List { path, after } => {
            let entries = files::list(&agent.root, &path, after.as_deref())?;
            answer(stream, Answer::Entries(entries)).await
        }
        Channel::Disk => {
            let disk = files::disk(&agent.root)?;
            answer(stream, disk).await
        }
        Channel::Watch { rules } => watch::serve(&agent.root, stream, rules).await,
        Channel::Egress => agent.proxy.serve(stream).await,
        Channel::Desktop(wanted) => {
            desktop::start(agent, *wanted)?;
            answer(stream, Answer::Done).await
        }
        Channel::Greet { text } => {
            desktop::of(agent)?.greet(text)?;
            answer(stream, Answer::Done).await
        }
        Channel::Vnc => desktop::of(agent)?.view(stream).await,
    }
}

fn hello(agent: &Agent) -> Hello {
    Hello {
        version: VERSION,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: agent.started_at,
        proxy: agent.proxy.address.to_string(),
    }
}

/// Tells the host that it is done.
pub(crate) async fn answer(stream: &mut Stream, answer: Answer) -> Result<(), Ended> {
    reply(stream, &Reply::Ok(answer)).await
}

async fn reply(stream: &mut Stream, reply: &Reply) -> Result<(), Ended> {
    let bytes = encode_message(reply).map_err(too_long)?;
    Ok(stream.write_all(&bytes).await?)
}

/// Sends a JSON frame.
pub(crate) async fn frame<T: Serialize>(stream: &mut Stream, message: &T) -> Result<(), Ended> {
    let bytes = encode_frame(message).map_err(too_long)?;
    Ok(stream.write_all(&bytes).await?)
}

fn too_long(e: polydev_proto::Malformed) -> AgentError {
    refuse(ErrorCode::TooLarge, format!("the answer is {e}"))
}
