//! Bytes: length-prefixed JSON messages, and the frames of a channel that is open.
//!
//! ```text
//!   message   | u32 length | JSON …              |
//!   frame     | u8 kind    | u32 length | data … |
//!   output    | u8 1 or 2  | u32 length | u64 offset | bytes … |
//! ```
//! All numbers are big-endian.

use crate::{FRAME_MAX, HEADER_MAX, OFFSET_LEN};
use serde::{Serialize, de::DeserializeOwned};

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// A JSON message of the channel.
    Json = 0,
    /// Bytes that the job wrote to its standard output (or to its terminal).
    Stdout = 1,
    /// Bytes that the job wrote to its standard error.
    Stderr = 2,
}

/// One frame, borrowed from the buffer that it was decoded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it carries.
    pub kind: FrameKind,
    /// For output: how many bytes of that stream came before `data`. 0 for JSON.
    pub offset: u64,
    /// The JSON text, or the bytes of output.
    pub data: &'a [u8],
}

/// Bytes that are not of this contract. The other side is at fault: the channel is closed.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// A length beyond the limit.
    #[error("a message of {len} bytes, at most {max} are allowed")]
    TooLong {
        /// The length that was announced.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A kind of frame that does not exist.
    #[error("a frame of unknown kind {0}")]
    UnknownKind(u8),
    /// An output frame without its offset.
    #[error("an output frame without an offset")]
    NoOffset,
    /// JSON that does not parse, or has another shape.
    #[error("not the expected JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Encodes a header message. Errors: [`Malformed::TooLong`] beyond [`HEADER_MAX`].
pub fn encode_message<T: Serialize>(message: &T) -> Result<Vec<u8>, Malformed> {
    let mut out = vec![0; 4];
    serde_json::to_writer(&mut out, message)?;
    let len = out.len() - 4;
    if len > HEADER_MAX {
        return Err(Malformed::TooLong { len, max: HEADER_MAX });
    }
    out[..4].copy_from_slice(&(len as u32).to_be_bytes());
    Ok(out)
}

/// Decodes a header message from the start of `buf`: the message and how many
/// bytes it took, or `None` when more bytes are needed.
pub fn decode_message<T: DeserializeOwned>(buf: &[u8]) -> Result<Option<(T, usize)>, Malformed> {
    let Some((len, rest)) = buf.split_first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_be_bytes(*len) as usize;
    if len > HEADER_MAX {
        return Err(Malformed::TooLong { len, max: HEADER_MAX });
    }
    match rest.get(..len) {
        Some(json) => Ok(Some((serde_json::from_slice(json)?, 4 + len))),
        None => Ok(None),
    }
}

/// Encodes a JSON frame. Errors: [`Malformed::TooLong`] beyond [`FRAME_MAX`].
pub fn encode_frame<T: Serialize>(message: &T) -> Result<Vec<u8>, Malformed> {
    let mut out = vec![0; 5];
    serde_json::to_writer(&mut out, message)?;
    let len = out.len() - 5;
    if len > FRAME_MAX {
        return Err(Malformed::TooLong { len, max: FRAME_MAX });
    }
    out[0] = FrameKind::Json as u8;
    out[1..5].copy_from_slice(&(len as u32).to_be_bytes());
    Ok(out)
}

/// Encodes the head of an output frame; the `len` bytes of output follow it.
/// The caller keeps `len` within [`FRAME_MAX`] less [`OFFSET_LEN`].
pub fn encode_output(kind: FrameKind, offset: u64, len: usize) -> [u8; 13] {
    let mut head = [0; 13];
    head[0] = kind as u8;
    head[1..5].copy_from_slice(&((OFFSET_LEN + len) as u32).to_be_bytes());
    head[5..].copy_from_slice(&offset.to_be_bytes());
    head
}

/// Decodes a frame from the start of `buf`: the frame and how many bytes it
/// took, or `None` when more bytes are needed.
pub fn decode_frame(buf: &[u8]) -> Result<Option<(Frame<'_>, usize)>, Malformed> {
    let Some((head, rest)) = buf.split_first_chunk::<5>() else { return Ok(None) };
    let kind = match head[0] {
        0 => FrameKind::Json,
        1 => FrameKind::Stdout,
        2 => FrameKind::Stderr,
        other => return Err(Malformed::UnknownKind(other)),
    };
    let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if len > FRAME_MAX {
        return Err(Malformed::TooLong { len, max: FRAME_MAX });
    }
    let Some(body) = rest.get(..len) else { return Ok(None) };
    let frame = match kind {
        FrameKind::Json => Frame { kind, offset: 0, data: body },
        FrameKind::Stdout | FrameKind::Stderr => {
            let (offset, data) = body.split_first_chunk::<OFFSET_LEN>().ok_or(Malformed::NoOffset)?;
            Frame { kind, offset: u64::from_be_bytes(*offset), data }
        }
    };
    Ok(Some((frame, 5 + len)))
}
