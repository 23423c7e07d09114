//! Signing in with one's own browser, beside a login's desktop.
//!
//! ```text
//!   asked ─► the tool is started there ─► shown: a page, and a code to enter there or to bring back ─► over
//!              └─► over, and why: it shows none                    over, and why: refused, or too late ◄┘
//! ```

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How many times the tool is asked for a page in one login: nobody needs so many.
pub const LINKS_MAX: u32 = 20;

/// A tool that was asked for a page which its person opens in a browser of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// How many times it was asked in this login, this time included.
    pub nth: u32,
    /// What it has printed.
    pub page: Option<LinkPage>,
    /// Nobody can sign in by it any more.
    pub over: bool,
}

/// What a tool prints for who signs in with a browser of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = LoginLink)]
pub struct LinkPage {
    /// The provider's page, to be opened in a browser anywhere (RFC 8628).
    #[schema(examples("https://auth.openai.com/codex/device"))]
    pub verification_uri: String,
    /// What is to be entered there (RFC 8628). Null: that page shows a code at last, which goes to
    /// `POST /logins/{id}/code`.
    #[schema(examples("BCDF-GHJKL"))]
    pub user_code: Option<String>,
}

impl Link {
    /// Whether somebody can sign in by it, or soon will.
    pub fn is_open(&self) -> bool {
        !self.over
    }

    /// What names its job in the sandbox.
    pub fn job(&self) -> String {
        format!("link-{}", self.nth)
    }
}
