//! What a browser sees of signing in to Claude Code.
//!
//! Source: the addresses that Claude Code 2.1.330 opens, prints and sends the browser to.
//!
//! | | |
//! |---|---|
//! | claude.com`/cai/oauth/authorize`, platform.claude.com`/oauth/authorize` | the page |
//! | claude.ai`/oauth/authorize?SHORT` | the link that is printed: scopes in base 64, then the challenge |
//! | platform.claude.com`/oauth/code/callback` | `code#state`, to be pasted |
//! | platform.claude.com`/oauth/code/success` | where the tool sends the browser at last |

use crate::{
    Ledger, Provider,
    accounts::{Scope, random},
    received::Received,
    reply::Reply,
    signin::{self, App, OWN_STATE, page},
};
use http::Method;
use url::form_urlencoded::Serializer;

const AUTHORIZE: &str = "https://claude.com/cai/oauth/authorize";
const SHOWN_AT: &str = "https://platform.claude.com/oauth/code/callback";

/// Claude Code, as Anthropic knows it.
const APP: App = App {
    provider: Provider::Claude,
    tool: "Claude Code",
    client: "9d1c250a-e61b-44d9-88ed-5944d1962f5e",
    callback: "/callback",
    shown_at: Some(SHOWN_AT),
    pkce: true,
    scope,
};

/// The scopes of a short link, by the bit that stands for each, from the second on.
const SCOPES: [&str; 11] = [
    "org:create_api_key",
    "user:profile",
    "user:inference",
    "user:sessions:claude_code",
    "user:mcp_servers",
    "user:file_upload",
    "user:plugins",
    "user:projects:read",
    "user:projects:write",
    "user:privacy_consents:write",
    "org:desktop_config",
];

/// The digits of a short link's scopes.
const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// How long the challenge at the end of a short link is.
const CHALLENGE_CHARS: usize = 43;

/// Answers a browser, if this is one's request.
pub(super) fn answer(request: &Received, ledger: &Ledger) -> Option<Reply> {
    let reply = match (request.host.as_str(), &request.method, request.path.as_str()) {
        ("claude.com", &Method::GET | &Method::POST, "/cai/oauth/authorize")
        | ("platform.claude.com", &Method::GET | &Method::POST, "/oauth/authorize") => {
            signin::authorize(&APP, request, ledger)
        }
        ("claude.ai", &Method::GET, "/oauth/authorize") => short_link(&request.query),
        ("platform.claude.com", &Method::GET, "/oauth/code/callback") => show_code(request),
        ("platform.claude.com", &Method::GET, "/oauth/code/success") => {
            page::note(200, "You are signed in to Claude Code", "You can close this window.")
        }
        ("claude.com" | "claude.ai", _, _) => page::note(404, "There is no such page", &request.path),
        _ => return None,
    };
    Some(reply)
}

/// A setup token is asked for with this scope alone.
fn scope(asked: &str) -> Scope {
    if asked == "user:inference" { Scope::Inference } else { Scope::Login }
}

/// The whole address that a short link stands for. The tool's state is not in it: the page makes one up.
fn short_link(query: &str) -> Reply {
    let (short, more) = query.split_once('&').unwrap_or((query, ""));
    let Some((scopes, challenge)) = short.len().checked_sub(CHALLENGE_CHARS).and_then(|at| short.split_at_checked(at))
    else {
        return page::note(400, "This link is not whole", "Copy all of it from the terminal.");
    };
    let mut address = Serializer::new(String::new());
    address
        .append_pair("code", "true")
        .append_pair("client_id", APP.client)
        .append_pair("response_type", "code")
        .append_pair("redirect_uri", SHOWN_AT)
        .append_pair("scope", &scopes_of(scopes).join(" "))
        .append_pair("code_challenge", challenge)
        .append_pair("code_challenge_method", "S256")
        .append_pair("state", &format!("{OWN_STATE}{}", random()))
        .extend_pairs(url::form_urlencoded::parse(more.as_bytes()));
    page::go(&format!("{AUTHORIZE}?{}", address.finish()))
}

fn scopes_of(digits: &str) -> Vec<&'static str> {
    let bits = digits.chars().filter_map(|c| DIGITS.find(c)).fold(0_u64, |bits, digit| bits << 6 | digit as u64);
    SCOPES.iter().enumerate().filter(|(n, _)| bits & (2 << n) != 0).map(|(_, scope)| *scope).collect()
}

/// What is pasted: the code and the state, with `#` between them.
fn show_code(request: &Received) -> Reply {
    let parameters = request.parameters();
    let named = |name: &str| signin::named(&parameters, name);
    match (named("code"), named("state")) {
        (Some(code), Some(state)) => page::code(APP.tool, &format!("{code}#{state}")),
        _ => page::note(400, "No code was given", named("error_description").unwrap_or("Begin again in the terminal.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_link_says_its_scopes() {
        // As it was printed for `claude auth login`, and for `claude setup-token`.
        assert_eq!(
            scopes_of("z-").join(" "),
            SCOPES
                .iter()
                .enumerate()
                .filter(|(n, _)| ![7, 8].contains(n))
                .map(|(_, s)| *s)
                .collect::<Vec<_>>()
                .join(" ")
        );
        assert_eq!(scopes_of("I"), ["user:inference"]);
    }
}
