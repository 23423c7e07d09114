//! How a channel ends before its time, and how that is said.

use polydev_proto::{AgentError, ErrorCode};
use std::io;

/// The longest message of an error, so that a reply always fits its header.
const MESSAGE_MAX: usize = 1024;

/// Why a channel ended early.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The agent says no: the host is told.
    Refused(AgentError),
    /// The host is gone, or does not keep to the contract: there is nobody to tell.
    Lost,
}

impl From<AgentError> for Ended {
    fn from(error: AgentError) -> Self {
        Self::Refused(error)
    }
}

/// Errors of a stream. What concerns a file or a program becomes a refusal where it happens.
impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self::Lost
    }
}

/// A refusal with a message of bounded length.
pub(crate) fn refuse(code: ErrorCode, message: impl Into<String>) -> AgentError {
    let mut message = message.into();
    if message.len() > MESSAGE_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_MAX));
        message.push('…');
    }
    AgentError { code, message }
}
