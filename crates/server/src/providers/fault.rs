//! What providers and their tools refuse, in one set of words.

use super::{About, ToolEnd, json::one_line};
use crate::domain::failure::{Code, Failure};
use serde::{Deserialize, Serialize};

/// Why a provider did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fault {
    /// The credential is not, or no longer, accepted.
    Refused,
    /// The account has nothing left to pay with.
    NoCredit,
    /// Too many requests or tokens.
    RateLimited,
    /// A fault of the provider or of the way there.
    Unavailable,
    /// There is no such model for this account.
    NoModel,
    /// The provider does not take this prompt.
    BadRequest,
    /// The tool gave up for a reason of its own.
    Tool,
}

impl Fault {
    /// What an HTTP status of a provider means; `None` when it is no fault that we know.
    pub(super) fn of_status(status: u16) -> Option<Self> {
        match status {
            401 | 403 => Some(Self::Refused),
            402 => Some(Self::NoCredit),
            404 => Some(Self::NoModel),
            429 => Some(Self::RateLimited),
            408 | 500..=599 => Some(Self::Unavailable),
            400..=499 => Some(Self::BadRequest),
            _ => None,
        }
    }

    /// As people and programs are told; `detail` is what the provider or its tool said.
    pub(super) fn failure(self, about: &About, detail: &str) -> Failure {
        let name = about.name;
        let (code, what, hint) = match self {
            Self::Refused => (
                Code::NeedsReconnect,
                format!("`{name}`: the provider refused the credential"),
                format!("connect again: `polydev connect {name}`"),
            ),
            Self::NoCredit => (
                Code::Forbidden,
                format!("`{name}`: the account has no credit left"),
                "add credit at the provider, then run it again".to_owned(),
            ),
            Self::RateLimited => (
                Code::RateLimited,
                format!("`{name}`: the provider takes no more requests for now"),
                "wait, then run it again".to_owned(),
            ),
            Self::Unavailable => (
                Code::ProviderUnavailable,
                format!("`{name}`: the provider cannot be reached or has a fault"),
                "run it again in a moment".to_owned(),
            ),
            Self::NoModel => (
                Code::InvalidRequest,
                format!("`{name}`: the provider has no such model for this account"),
                format!("take one from `GET /api/v1/providers/{name}/models`"),
            ),
            Self::BadRequest => (
                Code::InvalidRequest,
                format!("`{name}`: the provider did not take the prompt"),
                "change the prompt or the model".to_owned(),
            ),
            Self::Tool => (
                Code::ToolCrashed,
                format!("`{name}`: the tool gave up"),
                "run it again; if it stays so, look at the sandbox's console".to_owned(),
            ),
        };
        let detail = one_line(detail);
        let message = if detail.is_empty() { what } else { format!("{what}: {detail}") };
        Failure::new(code, message).hint(hint)
    }
}

/// A tool that ended before it had answered.
pub(super) fn crashed(about: &About, end: &ToolEnd) -> Failure {
    let how = match (end.signal, end.code) {
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, Some(code)) => format!("exited with status {code}"),
        (None, None) => "ended".to_owned(),
    };
    let said = one_line(&end.stderr);
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    Failure::new(Code::ToolCrashed, format!("`{}` {how} before it had answered{said}", about.name))
        .hint("run it again; if it stays so, look at the sandbox's console")
}
