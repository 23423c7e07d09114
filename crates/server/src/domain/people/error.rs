//! Why something cannot be done with a person, a key or a session.

use super::password::LENGTH;
use crate::{
    domain::{audit::Coded, failure::Code},
    store::StoreError,
};

/// Why something cannot be done with a person, a key or a session.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// Not an email address.
    #[error("`{0}` is no email address")]
    Email(String),
    /// The email is taken.
    #[error("a user `{0}` exists already")]
    Exists(String),
    /// There is no such user.
    #[error("there is no user `{0}`")]
    NoUser(String),
    /// There are no users at all.
    #[error("there is no user yet")]
    NoUsers,
    /// There are several users, and it was not said which.
    #[error("there are several users, and it was not said which one is meant")]
    WhichUser,
    /// The user is switched off.
    #[error("the user `{0}` is disabled")]
    Disabled(String),
    /// Nobody could administer the server any more.
    #[error("the last admin must stay one")]
    LastAdmin,
    /// The token is not that of the setup link.
    #[error("this is not the token of the setup link")]
    NotSetupLink,
    /// There is a user: the setup link is dead.
    #[error("this server is set up")]
    SetUp,
    /// A password that is too short or too long.
    #[error("a password has {} to {} characters", LENGTH.start(), LENGTH.end())]
    Password,
    /// The email, the password, or both.
    #[error("the email or the password is wrong")]
    SignIn,
    /// The current password.
    #[error("the current password is wrong")]
    WrongPassword,
    /// The key or session that asks was ended meanwhile.
    #[error("the key or session that asks is over")]
    Over,
    /// More passwords are to be hashed than the processor can.
    #[error("too many people sign in at this moment")]
    Busy,
    /// A key with the scope `admin` for somebody who is none.
    #[error("`{0}` is no admin, so a key of theirs cannot have the scope `admin`")]
    NotAdmin(String),
    /// A key without a scope.
    #[error("a key without a scope can do nothing")]
    NoScope,
    /// A key that would be over at once.
    #[error("a key cannot expire in the past")]
    Past,
    /// A key that would outlive the key that makes it.
    #[error("a key cannot make one that outlives it")]
    Outlives,
    /// Somebody reaches for a key or session that can do more than what they have shown.
    #[error("that can do more than the key that asks for it")]
    Beyond,
    /// A name that is too long, or not of one line.
    #[error("the name of a key has at most 100 characters, and no line breaks")]
    Name,
    /// There is no such key.
    #[error("there is no key `{0}`")]
    NoKey(String),
    /// There is no such session.
    #[error("there is no session `{0}`")]
    NoSession(String),
    /// Passwords cannot be hashed.
    #[error("the password cannot be hashed")]
    Hash,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Coded for PeopleError {
    fn code(&self) -> Code {
        match self {
            Self::Email(_) | Self::Password | Self::NoScope | Self::Past | Self::Name | Self::WhichUser => {
                Code::InvalidRequest
            }
            Self::Exists(_) | Self::Disabled(_) | Self::LastAdmin => Code::Conflict,
            Self::NoUser(_) | Self::NoUsers | Self::NoKey(_) | Self::NoSession(_) => Code::NotFound,
            Self::NotSetupLink | Self::NotAdmin(_) | Self::Outlives | Self::Beyond | Self::WrongPassword => {
                Code::Forbidden
            }
            Self::SetUp => Code::Gone,
            Self::SignIn | Self::Over => Code::Unauthenticated,
            Self::Busy => Code::RateLimited,
            Self::Hash | Self::Store(_) => Code::Internal,
        }
    }
}

impl PeopleError {
    /// Whether something secret was shown, and it was wrong. Of everything else it is not known.
    pub(super) fn is_wrong_guess(&self) -> bool {
        match self {
            Self::SignIn | Self::WrongPassword | Self::NotSetupLink => true,
            Self::Email(_)
            | Self::Exists(_)
            | Self::NoUser(_)
            | Self::NoUsers
            | Self::WhichUser
            | Self::Disabled(_)
            | Self::LastAdmin
            | Self::SetUp
            | Self::Password
            | Self::Over
            | Self::Busy
            | Self::NotAdmin(_)
            | Self::NoScope
            | Self::Past
            | Self::Outlives
            | Self::Beyond
            | Self::Name
            | Self::NoKey(_)
            | Self::NoSession(_)
            | Self::Hash
            | Self::Store(_) => false,
        }
    }
}
