//! What can be an API key, before it is sent anywhere.

use super::About;
use crate::domain::failure::{Code, Failure};

/// The longest key of any provider is a fraction of this.
const MAX_LEN: usize = 1024;

/// Whose secret a text looks like, by its beginning. The longer beginning stands first.
const BEGINNINGS: &[(&str, Kind)] = &[
    ("pdv_", Kind::Ours),
    ("sk-ant-oat", Kind::ClaudeToken),
    ("sk-ant-ort", Kind::ClaudeToken),
    ("sk-ant-sid", Kind::ClaudeToken),
    ("sk-ant-admin", Kind::AnthropicAdmin),
    ("sk-ant-", Kind::Anthropic),
    ("sk-", Kind::OpenAi),
    ("AIza", Kind::Google),
    ("ya29.", Kind::LoginToken),
    ("eyJ", Kind::LoginToken),
];

/// Whose secret it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An Anthropic API key.
    Anthropic,
    /// An Anthropic key that administers an organisation and runs nothing.
    AnthropicAdmin,
    /// A token of a Claude login.
    ClaudeToken,
    /// An OpenAI API key.
    OpenAi,
    /// A Google API key.
    Google,
    /// A token that a login left.
    LoginToken,
    /// A key of this server.
    Ours,
}

/// Refuses what cannot be a key of the kind `own`.
pub(super) fn check(about: &About, own: Kind, key: &str) -> Result<(), Failure> {
    let bad = |what: String, hint: &str| Err(Failure::new(Code::InvalidRequest, what).hint(hint));
    let name = about.name;
    if key.is_empty() {
        return bad(format!("the API key of `{name}` is empty"), "give the key itself");
    }
    if key.len() > MAX_LEN {
        return bad(
            format!("the API key of `{name}` is longer than {MAX_LEN} bytes"),
            "give the key alone, not a file around it",
        );
    }
    if key.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return bad(
            format!("the API key of `{name}` has a space, a line break or a control character in it"),
            "copy the key again, without what stands around it",
        );
    }
    if !key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~+/=:".contains(&b)) {
        return bad(
            format!("the API key of `{name}` has a character that no key has"),
            "copy the key again, from where the provider shows it",
        );
    }
    let kind = BEGINNINGS.iter().find(|(start, _)| key.starts_with(start)).map(|(_, kind)| *kind);
    let (is, hint) = match kind {
        None => return Ok(()),
        Some(kind) if kind == own => return Ok(()),
        Some(Kind::Anthropic) => ("an Anthropic API key", "use it with `polydev connect claude`"),
        Some(Kind::AnthropicAdmin) => {
            ("an Anthropic admin key, which runs nothing", "make an ordinary API key in the console")
        }
        Some(Kind::ClaudeToken) => (
            "a token of a Claude login, not an API key",
            "connect it as a setup token (`claude setup-token` prints one), or make an API key in the console",
        ),
        Some(Kind::OpenAi) => ("an OpenAI API key", "use it with `polydev connect codex`"),
        Some(Kind::Google) => ("a Google API key", "use it with `polydev connect gemini`"),
        Some(Kind::LoginToken) => ("a token of a login, not an API key", "make an API key at the provider"),
        Some(Kind::Ours) => ("a key of this server", "give the provider's key"),
    };
    bad(format!("what was given as the API key of `{name}` is {is}"), hint)
}
