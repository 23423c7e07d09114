//! The time, read in one place.

use jiff::Timestamp;

/// Now.
#[expect(clippy::disallowed_methods, reason = "tokens expire; this crate uses none of ours, so it has its own place")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
