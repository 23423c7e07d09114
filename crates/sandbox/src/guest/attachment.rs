//! Channels that stay open: a job's output, and events.

use super::{GuestError, Opened, REPLY_WITHIN, within};
use bytes::{Bytes, BytesMut};
use polydev_proto::{Ack, Attached, Exit, FrameKind, JobEvent, Malformed, decode_frame, encode_frame};
use serde::de::DeserializeOwned;
use std::{fmt, io, marker::PhantomData};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The output of a job, as it comes.
pub struct Attachment {
    frames: Frames,
    started_at: Attached,
    next: Attached,
    exited: bool,
}

/// What an [`Attachment`] yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobOutput {
    /// Bytes that the job wrote.
    Bytes {
        /// Where.
        stream: OutputStream,
        /// How many bytes of that stream came before these.
        offset: u64,
        /// What it wrote.
        bytes: Bytes,
    },
    /// The job has ended; nothing follows.
    Exit(Exit),
}

/// Where a job wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputStream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Attachment {
    pub(super) fn new(channel: Opened, from: Attached) -> Self {
        Self { frames: Frames::new(channel), started_at: from.clone(), next: from, exited: false }
    }

    /// The first bytes that come: what was asked for, or the oldest that a ring still held.
    pub fn started_at(&self) -> &Attached {
        &self.started_at
    }

    /// Waits for more, as long as it takes. `None` after [`JobOutput::Exit`].
    ///
    /// Nothing is lost when the future is dropped. An error before the exit
    /// means that the sandbox ended or that another attachment took over.
    pub async fn next(&mut self) -> Result<Option<JobOutput>, GuestError> {
        if self.exited {
            return Ok(None);
        }
        let frame = self.frames.next().await?.ok_or_else(|| self.frames.broken(io::ErrorKind::UnexpectedEof.into()))?;
        let (stream, next) = match frame.kind {
            FrameKind::Json => {
                let JobEvent::Exit(exit) = self.frames.json(&frame.data)?;
                self.exited = true;
                return Ok(Some(JobOutput::Exit(exit)));
            }
            FrameKind::Stdout => (OutputStream::Stdout, &mut self.next.stdout),
            FrameKind::Stderr => (OutputStream::Stderr, &mut self.next.stderr),
        };
        // A ring that drops its oldest bytes may leave a gap; nothing may come twice.
        if frame.offset < *next || frame.data.is_empty() {
            return Err(self.frames.unexpected("output that it had sent before"));
        }
        *next = frame.offset.saturating_add(frame.data.len() as u64);
        Ok(Some(JobOutput::Bytes { stream, offset: frame.offset, bytes: frame.data }))
    }

    /// Tells the agent that output up to these offsets is safe here and may be forgotten there.
    pub async fn ack(&mut self, stdout: u64, stderr: u64) -> Result<(), GuestError> {
        let asked = self.frames.channel.asked;
        let ack = encode_frame(&Ack { stdout, stderr }).map_err(|source| GuestError::Request { asked, source })?;
        within(asked, REPLY_WITHIN, async {
            let sent = self.frames.channel.stream.write_all(&ack).await;
            sent.map_err(|source| GuestError::Broken { asked, source })
        })
        .await
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment").field("next", &self.next).field("exited", &self.exited).finish_non_exhaustive()
    }
}

/// Events of one kind, as they come.
pub struct Watch<T> {
    frames: Frames,
    event: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Watch<T> {
    pub(super) fn new(channel: Opened) -> Self {
        Self { frames: Frames::new(channel), event: PhantomData }
    }

    /// Waits for the next event, as long as it takes. `None` when the agent has
    /// no more to tell. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<T>, GuestError> {
        let Some(frame) = self.frames.next().await? else { return Ok(None) };
        match frame.kind {
            FrameKind::Json => self.frames.json(&frame.data).map(Some),
            FrameKind::Stdout | FrameKind::Stderr => Err(self.frames.unexpected("output")),
        }
    }
}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// Cuts what arrives into frames.
struct Frames {
    channel: Opened,
    buf: BytesMut,
}

struct OwnFrame {
    kind: FrameKind,
    offset: u64,
    data: Bytes,
}

impl Frames {
    fn new(channel: Opened) -> Self {
        Self { channel, buf: BytesMut::new() }
    }

    /// The next frame; `None` at an end between two frames.
    async fn next(&mut self) -> Result<Option<OwnFrame>, GuestError> {
        loop {
            let asked = self.channel.asked;
            let decoded = decode_frame(&self.buf).map_err(|source| GuestError::Malformed { asked, source })?;
            if let Some((frame, taken)) = decoded {
                let (kind, offset, len) = (frame.kind, frame.offset, frame.data.len());
                let data = self.buf.split_to(taken).freeze().slice(taken - len..);
                return Ok(Some(OwnFrame { kind, offset, data }));
            }
            // The buffer holds less than one frame here, whose length the contract bounds.
            match self.channel.stream.read_buf(&mut self.buf).await {
                Ok(0) if self.buf.is_empty() => return Ok(None),
                Ok(0) => return Err(self.broken(io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(source) => return Err(self.broken(source)),
            }
        }
    }

    fn json<T: DeserializeOwned>(&self, data: &[u8]) -> Result<T, GuestError> {
        serde_json::from_slice(data)
            .map_err(|error| GuestError::Malformed { asked: self.channel.asked, source: Malformed::Json(error) })
    }

    fn broken(&self, source: io::Error) -> GuestError {
        GuestError::Broken { asked: self.channel.asked, source }
    }

    fn unexpected(&self, what: &'static str) -> GuestError {
        GuestError::Unexpected { asked: self.channel.asked, what }
    }
}
