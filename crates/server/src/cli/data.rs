//! The data directory, for the commands that work on it whether the server runs or not.

use super::output::CliError;
use crate::{
    config::Config,
    domain::{people::PeopleError, time::rfc3339},
    store::{self, Store},
};
use secrecy::ExposeSecret;

/// Opens the database that the server of this configuration uses. Never makes one.
///
/// # Errors
/// There is none (a usage error that names where it was looked for), or it cannot be opened.
pub async fn open(config: &Config) -> Result<Store, CliError> {
    Store::open(url(config)?).await.map_err(CliError::from_chain)
}

/// The address of that database.
///
/// # Errors
/// There is none, as far as can be seen without asking it.
pub fn url(config: &Config) -> Result<&str, CliError> {
    let url = config.store.url.expose_secret();
    if let Some(file) = store::sqlite_file(url)
        && !file.exists()
    {
        let looked = format!("there is no polydev database at `{}`", file.display());
        return Err(CliError::usage(looked)
            .hint("start `polydev serve` once, or say where it keeps its data with `--data-dir`"));
    }
    Ok(url)
}

/// A time as the public surface has it.
pub(super) fn time(ms: Option<i64>) -> Option<String> {
    ms.map(rfc3339)
}

impl From<PeopleError> for CliError {
    fn from(error: PeopleError) -> Self {
        match &error {
            PeopleError::Email(_) | PeopleError::NoScope => Self::usage(error),
            PeopleError::NoUsers => Self::failed(error).hint("make one: `polydev user create EMAIL`"),
            PeopleError::WhichUser => Self::usage(error).hint("say whose key it is: `--user EMAIL`"),
            PeopleError::NotAdmin(_) => {
                Self::failed(error).hint("leave `--scope admin` out, or name an admin with `--user`")
            }
            PeopleError::Exists(email) => {
                let hint = format!("a new password for them: `polydev user password {email}`");
                Self::failed(error).hint(hint)
            }
            PeopleError::NoUser(_) => Self::failed(error).hint("`polydev user list` shows those there are"),
            PeopleError::NoKey(_) => Self::failed(error).hint("`polydev key list` shows those there are"),
            PeopleError::Disabled(_)
            | PeopleError::LastAdmin
            | PeopleError::NotSetupLink
            | PeopleError::SetUp
            | PeopleError::Password
            | PeopleError::SignIn
            | PeopleError::WrongPassword
            | PeopleError::Busy
            | PeopleError::Past
            | PeopleError::Outlives
            | PeopleError::Beyond
            | PeopleError::Name
            | PeopleError::NoSession(_)
            | PeopleError::Hash
            | PeopleError::Over
            | PeopleError::Store(_) => Self::from_chain(error),
        }
    }
}
