//! Whom the stand-in plays.

use crate::{Ledger, claude, codex, gemini, received::Received, reply::Reply};
use std::str::FromStr;

/// Whom the stand-in plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// Anthropic, as Claude Code meets it.
    Claude,
    /// OpenAI, as Codex meets it.
    Codex,
    /// Google, as Gemini CLI meets it.
    Gemini,
}

/// A name that is no provider's.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no provider; there are `claude`, `codex` and `gemini`")]
pub struct UnknownProvider(String);

impl Provider {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Claude, Self::Codex, Self::Gemini];

    /// `claude`, `codex`, `gemini`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Gemini => "gemini",
        }
    }

    pub(crate) fn by_host(host: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.hosts().contains(&host))
    }

    fn hosts(self) -> &'static [&'static str] {
        match self {
            Self::Claude => claude::HOSTS,
            Self::Codex => codex::HOSTS,
            Self::Gemini => gemini::HOSTS,
        }
    }

    pub(crate) fn answer(self, request: &Received, ledger: &Ledger) -> Reply {
        match self {
            Self::Claude => claude::answer(request, ledger),
            Self::Codex => codex::answer(request, ledger),
            Self::Gemini => gemini::answer(request, ledger),
        }
    }
}

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(name: &str) -> Result<Self, UnknownProvider> {
        Self::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| UnknownProvider(name.to_owned()))
    }
}
