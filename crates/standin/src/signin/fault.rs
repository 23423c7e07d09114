//! What goes wrong with a sign-in on request.

use std::{fmt, str::FromStr, time::Duration};

/// How long a slow sign-in takes where nothing else is said, in milliseconds: long enough to be seen.
const SLOW_MS: u64 = 3_000;

/// The most that can be asked for, in milliseconds: longer than any tool waits.
const SLOW_MAX_MS: u64 = 600_000;

/// What goes wrong with a sign-in on request: [`Account::fault`](crate::Account::fault), or its name after the last
/// `+` of an account's (`ada+denied`), or as `fault=` in the page's address, or chosen on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInFault {
    /// `denied`: the provider refuses the account, although the person authorizes.
    Denied,
    /// `slow-page`, `slow-page-MS`: the page comes this much later, and so does the way back.
    SlowPage(Duration),
    /// `slow-token`, `slow-token-MS`: the tool's call for tokens is answered this much later.
    SlowToken(Duration),
    /// `expired-code`: the code that the tool gets has expired.
    ExpiredCode,
    /// `no-refresh-token`: the tool's tokens come without one for refreshing.
    NoRefreshToken,
    /// `after-token`: whatever the tool asks about the account once it has its tokens is answered 500.
    AfterToken,
    /// `other-account`: another account signs in than the page says: `NAME-other`.
    OtherAccount,
    /// `twice`: the browser comes back to the tool twice, each time with a code.
    Twice,
}

/// A name that is no fault's.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no fault of a sign-in")]
pub struct UnknownFault(String);

impl SignInFault {
    /// One of each kind, with what it does, as the page lists them.
    pub(crate) const ALL: [(Self, &'static str); 8] = [
        (Self::Denied, "the provider refuses the account"),
        (Self::SlowPage(Duration::from_millis(SLOW_MS)), "the page is slow"),
        (Self::SlowToken(Duration::from_millis(SLOW_MS)), "the tokens are slow"),
        (Self::ExpiredCode, "the code has expired"),
        (Self::NoRefreshToken, "no refresh token"),
        (Self::AfterToken, "everything after the tokens fails"),
        (Self::OtherAccount, "another account signs in"),
        (Self::Twice, "the browser comes back twice"),
    ];

    /// The one that an account's name asks for.
    pub(crate) fn in_name(name: &str) -> Option<Self> {
        name.rsplit_once('+')?.1.parse().ok()
    }
}

impl fmt::Display for SignInFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => f.write_str("denied"),
            Self::SlowPage(time) => write!(f, "slow-page-{}", time.as_millis()),
            Self::SlowToken(time) => write!(f, "slow-token-{}", time.as_millis()),
            Self::ExpiredCode => f.write_str("expired-code"),
            Self::NoRefreshToken => f.write_str("no-refresh-token"),
            Self::AfterToken => f.write_str("after-token"),
            Self::OtherAccount => f.write_str("other-account"),
            Self::Twice => f.write_str("twice"),
        }
    }
}

impl FromStr for SignInFault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        let slow = |kind: &str| match name.strip_prefix(kind)? {
            "" => Some(Duration::from_millis(SLOW_MS)),
            ms => Some(Duration::from_millis(ms.strip_prefix('-')?.parse::<u64>().ok()?.min(SLOW_MAX_MS))),
        };
        let fault = match name {
            "denied" => Some(Self::Denied),
            "expired-code" => Some(Self::ExpiredCode),
            "no-refresh-token" => Some(Self::NoRefreshToken),
            "after-token" => Some(Self::AfterToken),
            "other-account" => Some(Self::OtherAccount),
            "twice" => Some(Self::Twice),
            _ => slow("slow-page").map(Self::SlowPage).or_else(|| slow("slow-token").map(Self::SlowToken)),
        };
        fault.ok_or_else(|| UnknownFault(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_read_as_it_is_written() {
        for (fault, _) in SignInFault::ALL {
            assert_eq!(fault.to_string().parse::<SignInFault>().unwrap(), fault);
        }
        assert_eq!(SignInFault::in_name("ada+slow-token-50"), Some(SignInFault::SlowToken(Duration::from_millis(50))));
        assert_eq!(SignInFault::in_name("ada+slow-page").map(|f| f.to_string()).as_deref(), Some("slow-page-3000"));
        for name in ["ada", "denied", "ada+work", "ada+slow-page-", "ada+slow-tokens"] {
            assert_eq!(SignInFault::in_name(name), None, "{name}");
        }
    }
}
