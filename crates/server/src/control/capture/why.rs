//! Why what was found in a desktop is not kept, as its person is told.

use super::{AGAIN, Desk};
use crate::{
    domain::failure::{Code, Failure},
    providers::login::NotALogin,
};
use polydev_sandbox::guest::GuestError;

/// Why what was found is not kept.
pub(super) enum Refusal {
    /// It is no login, or none of theirs: the file, the tool or the provider says so.
    No(Failure),
    /// Nobody says so: it may be one.
    Unsaid(Failure),
}

impl Desk<'_> {
    /// What is there is none, and why.
    pub(super) fn nothing(&self, why: &str) -> Refusal {
        self.nothing_but(why, self.sign_in_again())
    }

    fn nothing_but(&self, why: &str, hint: String) -> Refusal {
        let label = self.provider.about().label;
        let words = format!("what {label} has left is not kept: {why}");
        Refusal::No(Failure::new(Code::NotConnected, words).hint(hint))
    }

    pub(super) fn no_login(&self, why: &NotALogin) -> Refusal {
        match why {
            NotALogin::Blank(file) => {
                self.nothing(&format!("a token is missing in `{file}`, without which it would soon end"))
            }
            NotALogin::OtherKind { .. } => {
                let hint = format!("Connect with that on this provider's page, or sign in: {}", self.typed());
                self.nothing_but(&why.to_string(), hint)
            }
            NotALogin::Missing(_)
            | NotALogin::TooLarge { .. }
            | NotALogin::Malformed { .. }
            | NotALogin::OtherAccount => self.nothing(&why.to_string()),
        }
    }

    /// The desktop does not let it be read.
    pub(super) fn unread(&self, error: &GuestError) -> Refusal {
        let label = self.provider.about().label;
        self.unsaid(Failure::new(Code::Timeout, format!("what {label} has left could not be read: {error}")))
    }

    /// The tool was asked by this command, and has not come to an answer.
    pub(super) fn unanswered(&self, command: &str) -> Refusal {
        let words = format!("`{command}` did not come to say whether somebody is signed in");
        self.unsaid(Failure::new(Code::Timeout, words))
    }

    /// The provider does not say whose it is.
    pub(super) fn unproven(&self, failure: Failure) -> Refusal {
        match failure.code {
            Code::ProviderUnavailable | Code::RateLimited => {
                let words = format!("you have signed in, but it is not known as whom: {}", failure.message);
                self.unsaid(Failure { message: words, ..failure })
            }
            _refused => self.nothing(&failure.message),
        }
    }

    /// This server could not keep it.
    pub(super) fn unkept(&self) -> Refusal {
        let words = "you have signed in, but the server has a fault and could not keep it";
        self.unsaid(Failure::new(Code::Internal, words))
    }

    fn unsaid(&self, failure: Failure) -> Refusal {
        let again = format!("It is looked at again every {} s while this desktop is open.", AGAIN.as_secs());
        Refusal::Unsaid(failure.hint(format!("{again} If that does not help, sign in again: {}", self.typed())))
    }

    fn sign_in_again(&self) -> String {
        format!("Sign in again: {} If it stays so, connect with an API key.", self.typed())
    }

    fn typed(&self) -> String {
        format!("type `{}` in the terminal.", self.provider.sign_in().command_again())
    }
}
