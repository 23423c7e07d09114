//! What a browser sees of signing in to Gemini CLI.
//!
//! Source: the addresses that Gemini CLI 0.61.0 opens, prints and sends the browser to.
//!
//! | | |
//! |---|---|
//! | accounts.google.com`/o/oauth2/v2/auth` | the page |
//! | codeassist.google.com`/authcode` | the code, to be pasted (`NO_BROWSER=true`) |
//! | developers.google.com`/gemini-code-assist/auth_success_gemini`, `…auth_failure_gemini` | where the tool sends the browser at last |

use crate::{
    Ledger, Provider,
    accounts::{GEMINI_CLIENT, Scope},
    received::Received,
    reply::Reply,
    signin::{self, App, page},
};
use http::Method;

/// Gemini CLI, as Google knows it. It uses PKCE where the code is pasted, and none with a browser.
const APP: App = App {
    provider: Provider::Gemini,
    tool: "Gemini CLI",
    client: GEMINI_CLIENT,
    callback: "/oauth2callback",
    shown_at: Some("https://codeassist.google.com/authcode"),
    pkce: false,
    scope: |_| Scope::Login,
};

/// Answers a browser, if this is one's request.
pub(super) fn answer(request: &Received, ledger: &Ledger) -> Option<Reply> {
    let reply = match (request.host.as_str(), &request.method, request.path.as_str()) {
        ("accounts.google.com", &Method::GET | &Method::POST, "/o/oauth2/v2/auth") => {
            signin::authorize(&APP, request, ledger)
        }
        ("codeassist.google.com", &Method::GET, "/authcode") => show_code(request),
        ("developers.google.com", &Method::GET, "/gemini-code-assist/auth_success_gemini") => {
            page::note(200, "You are signed in to Gemini CLI", "You can close this window.")
        }
        ("developers.google.com", &Method::GET, "/gemini-code-assist/auth_failure_gemini") => {
            page::note(200, "You are not signed in to Gemini CLI", "Look at your terminal, and begin again there.")
        }
        ("accounts.google.com" | "codeassist.google.com" | "developers.google.com", _, _) => {
            page::note(404, "There is no such page", &request.path)
        }
        _ => return None,
    };
    Some(reply)
}

fn show_code(request: &Received) -> Reply {
    let parameters = request.parameters();
    match signin::named(&parameters, "code") {
        Some(code) => page::code(APP.tool, code),
        None => {
            let why = signin::named(&parameters, "error_description").unwrap_or("Begin again in the terminal.");
            page::note(400, "No code was given", why)
        }
    }
}
