//! An attachment: a job's output goes to the host, the host's acknowledgements come back.

use crate::{
    agent::Agent,
    channel::answer,
    job::Job,
    listen::Stream,
    pump::Which,
    refuse::{Ended, refuse},
    ring::BadOffset,
};
use polydev_proto::{
    Ack, AgentError, Answer, Attach, Attached, ErrorCode, FRAME_MAX, Frame, FrameKind, JobEvent, OFFSET_LEN,
    decode_frame, encode_frame, encode_output,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::oneshot,
};

/// The most output in one frame.
const CHUNK: usize = FRAME_MAX - OFFSET_LEN;

/// Attaches until the host goes, another attachment takes over, or the host
/// does not keep to the contract.
pub(crate) async fn serve(agent: &Agent, stream: &mut Stream, attach: Attach) -> Result<(), Ended> {
    let job = agent.jobs.get(&attach.job)?;
    let begin = |which: Which, offset| {
        let began = which.of(&job).ring.borrow().begin(offset);
        began.map_err(|bad| bad_offset(&job, which, &bad))
    };
    let from = Attached { stdout: begin(Which::Stdout, attach.stdout)?, stderr: begin(Which::Stderr, attach.stderr)? };
    acknowledge(&job, Ack { stdout: from.stdout, stderr: from.stderr })?;
    let (mine, taken_over) = oneshot::channel();
    job.attached.replace(Some(mine));
    answer(stream, Answer::Attached(from.clone())).await?;

    let (reader, writer) = stream.split();
    tokio::select! {
        // First of all, so that what wakes this attachment is left to the one that took over.
        biased;
        _ = taken_over => Ok(()),
        sent = send(&job, from, writer) => sent,
        read = receive(&job, reader) => read,
    }
}

/// Sends output as it comes, then how the job ended.
async fn send(job: &Job, from: Attached, mut writer: impl AsyncWrite + Unpin) -> Result<(), Ended> {
    let mut cursors = [(Which::Stdout, from.stdout), (Which::Stderr, from.stderr)];
    loop {
        let mut idle = true;
        for (which, cursor) in &mut cursors {
            if let Some(frame) = next_frame(job, *which, cursor) {
                writer.write_all(&frame).await?;
                idle = false;
            }
        }
        if !idle {
            continue;
        }
        if let Some(exit) = job.exit.get().filter(|_| job.drained()) {
            let exit = encode_frame(&JobEvent::Exit(exit))
                .map_err(|e| refuse(ErrorCode::TooLarge, format!("the exit of job `{}`: {e}", job.name)))?;
            writer.write_all(&exit).await?;
            writer.shutdown().await?;
            // The host may still acknowledge what it just got: the channel ends when it closes.
            std::future::pending::<()>().await;
        }
        job.changed.notified().await;
    }
}

/// The next output frame of a stream, and the cursor moved behind it.
fn next_frame(job: &Job, which: Which, cursor: &mut u64) -> Option<Vec<u8>> {
    let ring = which.of(job).ring.borrow();
    let waiting = ring.written().saturating_sub(*cursor).min(ring.len() as u64) as usize;
    if waiting == 0 {
        return None;
    }
    let len = waiting.min(CHUNK);
    let kind = match which {
        Which::Stdout => FrameKind::Stdout,
        Which::Stderr => FrameKind::Stderr,
    };
    let head = encode_output(kind, 0, len);
    let mut frame = Vec::with_capacity(head.len() + len);
    frame.extend_from_slice(&head);
    let offset = ring.copy(*cursor, len, &mut frame);
    frame[..head.len()].copy_from_slice(&encode_output(kind, offset, len));
    *cursor = offset + len as u64;
    Some(frame)
}

/// Reads acknowledgements until the host closes.
async fn receive(job: &Job, mut reader: impl AsyncRead + Unpin) -> Result<(), Ended> {
    let mut buffer = Vec::new();
    loop {
        while let Some((frame, len)) = decode_frame(&buffer).map_err(|_| Ended::Lost)? {
            acknowledge(job, ack(&frame)?).map_err(|_| Ended::Lost)?;
            buffer.drain(..len);
        }
        if reader.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

fn ack(frame: &Frame<'_>) -> Result<Ack, Ended> {
    match frame.kind {
        FrameKind::Json => serde_json::from_slice(frame.data).map_err(|_| Ended::Lost),
        FrameKind::Stdout | FrameKind::Stderr => Err(Ended::Lost),
    }
}

fn acknowledge(job: &Job, ack: Ack) -> Result<(), AgentError> {
    for (which, offset) in [(Which::Stdout, ack.stdout), (Which::Stderr, ack.stderr)] {
        let output = which.of(job);
        let forgotten = output.ring.borrow_mut().forget(offset);
        forgotten.map_err(|bad| bad_offset(job, which, &bad))?;
        output.poke.notify_one();
    }
    Ok(())
}

fn bad_offset(job: &Job, which: Which, bad: &BadOffset) -> AgentError {
    let stream = match which {
        Which::Stdout => "standard output",
        Which::Stderr => "standard error",
    };
    let BadOffset { offset, start, written } = bad;
    let message = format!("{stream} of job `{}` is held from {start} to {written}, not at {offset}", job.name);
    refuse(ErrorCode::BadOffset, message)
}
