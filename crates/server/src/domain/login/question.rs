//! What the person of a login is asked before it is kept.

use serde::{Deserialize, Serialize};

/// Whether another account may take the place of the one that is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The account that was signed in with: the provider's own name for it.
    pub account_id: String,
    /// The same, as its person knows it.
    pub account: String,
    /// The account that is connected, as its person knows it.
    pub before: String,
    /// Its person has agreed.
    pub agreed: bool,
}
