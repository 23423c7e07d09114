//! Requests that are sent twice and done once.
//!
//! ```text
//!   no row ──────────────► the request is done ─► its answer is kept, for 24 hours
//!   row, other request ──► refused: the key means something else
//!   row with an answer ──► that answer
//!   row with a run only ─► that run: its server died before it had answered, or it answered with a stream
//! ```
//!
//! A row is written when there is something to repeat: for a run in the transaction that makes it, for anything
//! else with the answer. A request that was refused, or died, leaves none, and may be sent again. That it is still
//! under way is known to the server that does it, and to nothing that could outlive it.

/// How long an answer is kept, milliseconds.
pub const KEPT_MS: i64 = 24 * 60 * 60 * 1000;

/// A request that is to be done once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Whose.
    pub user_id: String,
    /// Method and path.
    pub endpoint: String,
    /// The `Idempotency-Key`.
    pub key: String,
    /// SHA-256 of its query and body.
    pub request_hash: [u8; 32],
}
