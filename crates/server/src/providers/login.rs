//! A login: what a tool keeps of a person who has signed in, reduced to what signs in.
//!
//! ```text
//!   the tool's files ─► SignIn::read() ─► Login: known fields of known files, or why it is none
//!   before, after a run ─► change() ─► same | refreshed | dead | refused
//! ```
//! Settings, hooks and whatever else lies in those files never get into a [`Login`], so they cannot get
//! from one sandbox into another.

use super::{HomeFile, ProbeRequest, link::ByLink};
use crate::domain::failure::Failure;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeMap;

/// The most bytes of one of a login's files: several times what a tool writes.
pub const FILE_MAX: usize = 64 * 1024;

/// The most bytes of one text in it.
const TEXT_MAX: usize = 16 * 1024;

/// A tool's files by their names, as they were found.
pub type Files = BTreeMap<String, Vec<u8>>;

/// How one provider's tool keeps a login.
pub trait SignIn: Send + Sync {
    /// Its files. The first one signs in, the others go with it.
    fn files(&self) -> &'static [LoginFile];

    /// What somebody types in a terminal to sign in.
    fn command(&self) -> &'static str;

    /// What they type where the tool has signed them in already, and that is no good.
    fn command_again(&self) -> &'static str {
        self.command()
    }

    /// How they sign in with a browser of their own instead; none where the tool shows no page without a terminal.
    fn link(&self) -> Option<&'static ByLink>;

    /// When somebody has signed in by that, as far as the tool can tell.
    fn finished(&self) -> Finished;

    /// Takes a login out of the tool's files.
    fn read(&self, files: &Files) -> Result<Login, NotALogin>;

    /// The request that asks the provider whose login it is, with its access token.
    fn whose(&self, login: &Login) -> ProbeRequest;

    /// What the answer to [`SignIn::whose`] means. Where a provider names several accounts, the one that the login says
    /// it is of, if that is among them.
    fn account(&self, login: &Login, status: u16, body: &[u8]) -> Result<Account, Failure>;

    /// What of it is secret: whoever has one of these has the login, or some of it.
    fn tokens(&self, login: &Login) -> Vec<SecretString>;

    /// The same login without what could refresh it, for runs that share it; none where the tool needs it whole.
    fn lent(&self, login: &Login) -> Option<Login>;

    /// How long before its access token ends the tool refreshes it, milliseconds.
    fn refreshes_early_ms(&self) -> i64;
}

/// One of a login's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginFile {
    /// Its name, as people know it.
    pub name: &'static str,
    /// Path below the tool's home.
    pub path: &'static str,
    /// Whether there is no login without it.
    pub required: bool,
}

/// What a tool leaves and says when somebody has signed in. That a file is there is not enough: a tool may fail after
/// it has written it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// Where there is something in the first of [`SignIn::files`], read as JSON, once it is finished: JSON pointers
    /// (RFC 6901).
    pub has: &'static [&'static str],
    /// For how long the file must then not have changed, milliseconds.
    pub quiet_ms: u64,
    /// The command that tells whether somebody is signed in, by its exit status, where the tool has one.
    pub status: Option<&'static [&'static str]>,
}

/// A login. What is in it is secret; what is said of it comes from its files and proves nothing.
#[derive(Debug, Clone)]
pub struct Login {
    /// File name → content, made anew from known fields.
    files: BTreeMap<&'static str, SecretString>,
    /// Whose it says it is.
    pub account: Account,
    /// When its access token ends, Unix milliseconds.
    pub fresh_until: i64,
    /// When it ends for good, Unix milliseconds, where the files tell.
    pub ends_at: Option<i64>,
}

/// An account at a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// The provider's own name for it.
    pub id: String,
    /// As its person knows it.
    pub email: Option<String>,
    /// What it pays for.
    pub plan: Option<String>,
}

/// Why files are no login.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotALogin {
    /// A file is missing.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A file is too large.
    #[error("`{name}` has {bytes} bytes, which no login has")]
    TooLarge {
        /// Which.
        name: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// A file is not what the tool writes.
    #[error("`{name}` is not what the tool writes: {reason}")]
    Malformed {
        /// Which.
        name: &'static str,
        /// What is wrong; nothing of what is in it.
        reason: &'static str,
    },
    /// The tool has emptied it, because the provider refused it.
    #[error("`{0}` holds no tokens: the login is over")]
    Blank(&'static str),
    /// It is of another kind, such as an API key.
    #[error("`{name}` holds {found} and no login")]
    OtherKind {
        /// Which.
        name: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// It is of another account than before.
    #[error("it is the login of another account")]
    OtherAccount,
}

/// What has become of a login.
#[derive(Debug)]
pub enum Change {
    /// Nothing.
    Same,
    /// It has new tokens.
    Refreshed(Login),
    /// The tool found that it is over.
    Dead,
    /// It was replaced by what is not kept.
    Refused(NotALogin),
}

/// What a run that could refresh a login has made of it.
pub fn change(before: &Login, after: Result<Login, NotALogin>) -> Change {
    match after {
        Ok(after) if after.is_same(before) => Change::Same,
        Ok(after) if !after.account.id.is_empty() && after.account.id != before.account.id => {
            Change::Refused(NotALogin::OtherAccount)
        }
        Ok(after) => Change::Refreshed(after),
        Err(NotALogin::Blank(_)) => Change::Dead,
        Err(
            why @ (NotALogin::Missing(_)
            | NotALogin::TooLarge { .. }
            | NotALogin::Malformed { .. }
            | NotALogin::OtherKind { .. }
            | NotALogin::OtherAccount),
        ) => Change::Refused(why),
    }
}

impl Login {
    /// A login of one file and these facts.
    pub(super) fn new(account: Account, fresh_until: i64, ends_at: Option<i64>) -> Self {
        Self { files: BTreeMap::new(), account, fresh_until, ends_at }
    }

    /// The same with a file.
    #[must_use]
    pub(super) fn with(mut self, name: &'static str, content: &impl Serialize) -> Self {
        let text = serde_json::to_string(content).expect("structs of texts and numbers are JSON");
        self.files.insert(name, text.into());
        self
    }

    /// The secret content of a file, as it is sealed and written into a home.
    pub fn file(&self, name: &str) -> Option<&SecretString> {
        self.files.get(name)
    }

    /// Its files, to be sealed.
    pub fn sealed(&self) -> BTreeMap<&'static str, &str> {
        self.files.iter().map(|(name, content)| (*name, content.expose_secret())).collect()
    }

    /// What a home needs of it.
    pub fn home(&self, files: &'static [LoginFile]) -> Vec<HomeFile> {
        let home = |file: &LoginFile| {
            let content = self.files.get(file.name)?.clone();
            Some(HomeFile { path: file.path, mode: 0o600, content })
        };
        files.iter().filter_map(home).collect()
    }

    fn is_same(&self, other: &Self) -> bool {
        self.sealed() == other.sealed()
    }

    /// The content of a file that this login was made with.
    pub(super) fn parsed<T: DeserializeOwned>(&self, name: &'static str) -> T {
        let text = self.files.get(name).map_or("null", |content| content.expose_secret());
        serde_json::from_str(text).expect("a login's files were written from the same struct")
    }
}

/// Reads one of a login's files.
pub(super) fn parse<T: DeserializeOwned>(files: &Files, name: &'static str) -> Result<T, NotALogin> {
    let bytes = files.get(name).ok_or(NotALogin::Missing(name))?;
    if bytes.len() > FILE_MAX {
        return Err(NotALogin::TooLarge { name, bytes: bytes.len() });
    }
    let malformed = |reason| NotALogin::Malformed { name, reason };
    let value: Value = serde_json::from_slice(bytes).map_err(|_| malformed("it is no JSON"))?;
    if !texts_are_short(&value) {
        return Err(malformed("it has a text of more than 16 KiB"));
    }
    serde_json::from_value(value).map_err(|_| malformed("a field is missing or of another type"))
}

fn texts_are_short(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() <= TEXT_MAX,
        Value::Array(items) => items.iter().all(texts_are_short),
        Value::Object(fields) => fields.values().all(texts_are_short),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// The claims of a JSON Web Token (RFC 7519). Its signature is not looked at: who presents it to the provider
/// learns whether it is good.
pub(super) fn claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// A header that carries an access token.
pub(super) fn bearer(token: &str) -> (&'static str, SecretString) {
    ("authorization", format!("Bearer {token}").into())
}
