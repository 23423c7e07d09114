//! Signing in with a browser of one's own: what a tool prints for that, and what is believed of it.
//!
//! The tool runs in a sandbox where somebody has signed in and browsed: what is shown to a person of its words is the
//! address of a known page of the provider, and a code of few letters.

use crate::domain::login::LinkPage;
use serde::{Deserialize, Serialize};
use url::Url;
use utoipa::ToSchema;

/// The longest address that is shown, bytes: several times claude's.
const ADDRESS_MAX: usize = 4096;
/// How long a code to be entered may be, and is at least, with its dashes.
const USER_CODE: std::ops::RangeInclusive<usize> = 6..=16;

/// How a tool signs somebody in who has another browser than the desktop's.
#[derive(Debug)]
pub struct ByLink {
    /// What starts it. It needs no terminal.
    pub argv: &'static [&'static str],
    /// Beside the environment of every program.
    pub env: &'static [(&'static str, &'static str)],
    /// The pages that it may send somebody to, without their queries.
    pub pages: &'static [&'static str],
    /// What is to be done on that page.
    pub means: LinkMeans,
}

/// What goes from one browser to the tool in another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkMeans {
    /// The tool shows a code, which is entered on the page.
    DeviceCode,
    /// The page shows a code, which is brought back to the tool.
    PastedCode,
}

impl ByLink {
    /// What is to be shown of what the tool has printed so far; nothing, if that is not all there yet.
    pub fn read(&self, printed: &str) -> Option<LinkPage> {
        let plain = plain(printed);
        // What no space follows may go on.
        let whole = plain.rfind(char::is_whitespace).map_or("", |end| &plain[..end]);
        let mut words = whole.split_whitespace();
        let verification_uri = words.find_map(|word| self.page(word))?;
        let user_code = match self.means {
            LinkMeans::DeviceCode => Some(words.find(|word| is_user_code(word))?.to_owned()),
            LinkMeans::PastedCode => None,
        };
        Some(LinkPage { verification_uri, user_code })
    }

    /// The address, if it is that of one of its pages.
    fn page(&self, word: &str) -> Option<String> {
        let url = Url::parse(word).ok().filter(|_| word.len() <= ADDRESS_MAX)?;
        let mut bare = url.clone();
        bare.set_query(None);
        // With a port, a user or a fragment it is another one.
        self.pages.contains(&bare.as_str()).then(|| url.into())
    }

    /// Whether this can be what the page has shown at last: `code#state`.
    pub fn is_code(&self, code: &str) -> bool {
        let plain = code.len() <= ADDRESS_MAX && code.bytes().all(|byte| byte.is_ascii_graphic());
        plain && code.split_once('#').is_some_and(|(code, state)| !code.is_empty() && !state.is_empty())
    }
}

fn is_user_code(word: &str) -> bool {
    let parts = || word.split('-');
    USER_CODE.contains(&word.len())
        && parts().count() > 1
        && parts()
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()))
}

/// The same without what colours it (ECMA-48: `ESC [ … letter`).
pub fn plain(printed: &str) -> String {
    let mut plain = String::with_capacity(printed.len());
    let mut rest = printed;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.trim_start_matches(|c: char| ('\u{20}'..='\u{3f}').contains(&c));
        rest = rest.strip_prefix(|c: char| ('\u{40}'..='\u{7e}').contains(&c)).unwrap_or(rest);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::by_name;

    const CODEX: &str = include_str!("../../tests/samples/codex/device-auth.txt");
    const CLAUDE: &str = include_str!("../../tests/samples/claude/auth-login-full-link.txt");

    fn of(provider: &str) -> &'static ByLink {
        by_name(provider).unwrap().sign_in().link().unwrap()
    }

    #[test]
    fn what_the_tools_print_is_read_once_it_is_all_there() {
        let page = of("codex").read(CODEX).unwrap();
        assert_eq!(page.verification_uri, "https://auth.openai.com/codex/device");
        assert_eq!(page.user_code.as_deref(), Some("KMCJ-WXSQL"));
        let page = of("claude").read(CLAUDE).unwrap();
        assert!(page.verification_uri.starts_with("https://claude.com/cai/oauth/authorize?code=true&client_id="));
        assert!(CLAUDE.contains(&format!("{}\n", page.verification_uri)), "all of it");
        assert_eq!(page.user_code, None);
        for (provider, printed) in [("codex", CODEX), ("claude", CLAUDE)] {
            let whole = of(provider).read(printed);
            for end in 0..printed.len() {
                let Some(part) = printed.get(..end) else { continue };
                let read = of(provider).read(part);
                assert!(read.is_none() || read == whole, "{read:?}");
            }
        }
    }

    #[test]
    fn nobody_is_sent_to_another_page_than_the_providers() {
        for page in [
            "http://claude.com/cai/oauth/authorize?x",
            "https://claude.com/cai/oauth/authorize/../../x?y",
            "https://claude.com:444/cai/oauth/authorize",
            "https://eve@claude.com/cai/oauth/authorize",
            "https://claude.com.eve.example/cai/oauth/authorize",
            "https://claude.ai/public/artifacts/1",
            "https://eve.example/?https://claude.com/cai/oauth/authorize",
            "https://claude.com/cai/oauth/authorize#x",
            "javascript:alert(1)",
        ] {
            assert_eq!(of("claude").read(&format!("visit {page} \n")), None, "{page}");
        }
        let long = format!("https://claude.com/cai/oauth/authorize?{} ", "x".repeat(ADDRESS_MAX));
        assert_eq!(of("claude").read(&long), None);
        for code in ["ABCD", "abcd-efghi", "ABCD-EFGHI-JKLMN-OPQRS", "ABCD-", "<b>A-B</b>"] {
            let printed = format!("https://auth.openai.com/codex/device {code} \n");
            assert_eq!(of("codex").read(&printed), None, "{code}");
        }
    }

    #[test]
    fn a_code_that_was_not_copied_whole_is_told_apart() {
        assert!(of("claude").is_code("abc_D-1#state"));
        for code in ["abc", "#state", "abc#", "a b#c", "abc#state\n/exit", "", &format!("a#{}", "b".repeat(5000))] {
            assert!(!of("claude").is_code(code), "{code}");
        }
    }
}
