//! What a browser sees of signing in to Codex.
//!
//! Source: the addresses that Codex 0.169.0 opens and prints. Its last page it serves itself.
//!
//! | | |
//! |---|---|
//! | auth.openai.com`/oauth/authorize` | the page |
//! | auth.openai.com`/codex/device` | the page for a code that the tool has printed: `device.rs` |

use super::device;
use crate::{
    Ledger, Provider,
    accounts::{CODEX_CLIENT, Scope},
    received::Received,
    reply::Reply,
    signin::{self, App},
};
use http::Method;

/// Codex, as OpenAI knows it.
pub(super) const APP: App = App {
    provider: Provider::Codex,
    tool: "Codex",
    client: CODEX_CLIENT,
    callback: "/auth/callback",
    shown_at: None,
    pkce: true,
    scope: |_| Scope::Login,
};

/// Answers a browser, if this is one's request.
pub(super) fn answer(request: &Received, ledger: &Ledger) -> Option<Reply> {
    let reply = match (&request.method, request.path.as_str()) {
        (&Method::GET | &Method::POST, "/oauth/authorize") => signin::authorize(&APP, request, ledger),
        (&Method::GET | &Method::POST, "/codex/device") => device::page(request, ledger),
        _ => return None,
    };
    Some(reply)
}
