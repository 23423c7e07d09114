//! The contract between a host and the agent inside a sandbox.
//!
//! ```text
//!   host ── dials ──► agent            one byte stream per channel
//!        Open   ───────────►           u32 length, JSON
//!        ◄─────────── Reply            u32 length, JSON
//!        ◄── then as the channel says ──►
//!            exec, signal, resize, …   nothing more
//!            write                     `size` raw bytes, then a second Reply
//!            read                      `size` raw bytes from the agent
//!            stdin                     raw bytes until the host shuts down its writing half
//!            attach                    frames: output and events to the host, acks to the agent
//!            ready, watch              frames: events to the host
//!            egress                    raw bytes of one proxied connection, once there is one
//!            vnc                       raw bytes of one viewer and the screen
//! ```
//!
//! The agent listens, the host dials. The agent in a running sandbox may be
//! older than the host that dials it: a field that an older agent may ignore
//! is added with a default; anything that it must honour raises [`VERSION`].
//! The shapes are frozen by the snapshots in `tests/`.
//!
//! This crate has no I/O and no runtime: it encodes to and decodes from bytes.

mod desktop;
mod frame;
mod message;

pub use desktop::{Desktop, ScreenSize};
pub use frame::{
    Frame, FrameKind, Malformed, decode_frame, decode_message, encode_frame, encode_message, encode_output,
};
pub use message::*;

/// The version of this contract. Raised when an older agent would not honour a newer host.
pub const VERSION: u32 = 1;

/// The most bytes that a JSON header may have, on either side.
pub const HEADER_MAX: usize = 64 * 1024;

/// The most bytes that one frame may carry.
pub const FRAME_MAX: usize = 64 * 1024 + OFFSET_LEN;

/// Bytes of the offset that stands before the data of an output frame.
pub const OFFSET_LEN: usize = 8;

/// The most channels that may be open to one sandbox at a time.
pub const STREAMS_MAX: usize = 64;

/// The most bytes that an agent holds for its jobs together.
pub const BUFFERED_MAX: usize = 16 * 1024 * 1024;

/// The most bytes that one file may have when it is written or read.
pub const FILE_MAX: u64 = 64 * 1024 * 1024;

/// The longest text that the desktop's terminal greets with, in bytes.
pub const GREETING_MAX: usize = 4096;

/// The port on the sandbox's loopback where the agent's proxy listens, where nothing else is asked for.
pub const PROXY_PORT: u16 = 3128;
