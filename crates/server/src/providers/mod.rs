//! Providers: what each tool needs, prints and means. One file each, one line each in [`PROVIDERS`].
//!
//! A provider does no I/O. It says which files a home needs, which command
//! runs a prompt, and reads what that command prints:
//!
//! ```text
//!   Prompt, Credential ──► invoke() ──► Invocation { files, argv, env, stdin }
//!   each line of output ─► Dialogue::line() ─► Emit(event) | Send(line to its stdin) | End(outcome)
//!   its end ─────────────► Dialogue::exit() ─► outcome
//! ```

mod claude;
mod codex;
mod fault;
mod gemini;
mod json;
mod key;
pub mod link;
pub mod login;
mod probe;

use crate::domain::{
    event::{EventBody, Usage},
    failure::{Code, Failure},
};
use login::SignIn;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Every provider, in the order in which they are shown.
#[rustfmt::skip]
pub const PROVIDERS: &[&dyn Provider] = &[
    &claude::Claude,
    &codex::Codex,
    &gemini::Gemini,
];

/// The provider of this name.
pub fn by_name(name: &str) -> Option<&'static dyn Provider> {
    PROVIDERS.iter().copied().find(|p| p.about().name == name)
}

/// The provider of this name, or of an earlier one.
pub fn by_any_name(name: &str) -> Option<&'static dyn Provider> {
    by_name(name).or_else(|| PROVIDERS.iter().copied().find(|p| p.about().earlier_names.contains(&name)))
}

/// What one provider's tool needs, prints and means.
pub trait Provider: Send + Sync {
    /// What people are told of it, and what the server needs to know before a run.
    fn about(&self) -> &About;

    /// Refuses what cannot be an API key of this provider, before it is sent anywhere.
    fn check_api_key(&self, key: &str) -> Result<(), Failure>;

    /// Refuses what cannot be a setup token of this provider.
    fn check_setup_token(&self, _token: &str) -> Result<(), Failure> {
        let about = self.about();
        Err(Failure::new(Code::Unsupported, format!("`{}` has no setup tokens", about.name))
            .hint("Use an API key, or import a login."))
    }

    /// How its tool keeps a login.
    fn sign_in(&self) -> &'static dyn SignIn;

    /// What of a credential is secret, as it would be shown.
    fn secrets(&self, credential: &Credential) -> Vec<SecretString> {
        match credential {
            Credential::ApiKey(secret) | Credential::SetupToken(secret) => vec![secret.clone()],
            Credential::Login(login) => self.sign_in().tokens(login),
        }
    }

    /// The request that proves a credential without spending anything. It lists the models, or tells whose it is.
    fn probe(&self, credential: &Credential) -> ProbeRequest;

    /// What the answer to [`Provider::probe`] means, or why the credential is refused.
    fn probed(&self, credential: &Credential, status: u16, body: &[u8]) -> Result<Proof, Failure>;

    /// What to put into a sandbox's home, and what to start.
    fn invoke(&self, credential: &Credential, prompt: &Prompt) -> Result<Invocation, Failure>;

    /// Reads what the command of [`Provider::invoke`] prints.
    fn dialogue(&self, prompt: &Prompt) -> Box<dyn Dialogue>;
}

/// A provider in a few words.
#[derive(Debug)]
pub struct About {
    /// `claude`, `codex`, `gemini`.
    pub name: &'static str,
    /// What it was called before.
    pub earlier_names: &'static [&'static str],
    /// As people know it.
    pub label: &'static str,
    /// How it can be connected, best first.
    pub methods: &'static [Method],
    /// The model that is used when none is asked for.
    pub default_model: &'static str,
    /// What the provider allows, in one plain sentence.
    pub policy_text: &'static str,
    /// Where the provider says so.
    pub policy_url: &'static str,
    /// Where its person withdraws an API key.
    pub keys_url: &'static str,
    /// Where its person ends a login.
    pub logins_url: &'static str,
    /// What prints a setup token where the tool is installed, where there are such.
    pub setup_token_command: Option<&'static str>,
}

/// How a provider is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Signing in at the provider, in a desktop.
    Login,
    /// An API key.
    ApiKey,
    /// A long-lived token that the tool prints (claude).
    SetupToken,
    /// The tool's own files.
    Import,
}

/// What lets a tool in.
#[derive(Debug)]
pub enum Credential {
    /// An API key.
    ApiKey(SecretString),
    /// A long-lived token that the tool prints, and that is never refreshed.
    SetupToken(SecretString),
    /// A login.
    Login(login::Login),
}

/// What a provider says to a credential that it takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proof {
    /// The models that it may use.
    pub models: Vec<Model>,
    /// Whose it is, where the provider tells.
    pub account: Option<login::Account>,
}

/// A model that can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Model {
    /// What `model` of a run takes.
    pub id: String,
    /// As people know it.
    pub label: Option<String>,
}

/// One HTTP GET to the provider.
#[derive(Debug)]
pub struct ProbeRequest {
    /// `https://…`.
    pub url: String,
    /// Headers; the values are secret.
    pub headers: Vec<(&'static str, SecretString)>,
}

/// What is asked of a tool.
#[derive(Debug, Clone, Default)]
pub struct Prompt {
    /// The prompt.
    pub text: String,
    /// The model; the provider's default when none.
    pub model: Option<String>,
    /// What to add to the tool's own system prompt.
    pub system: Option<String>,
    /// Whether the tool may use its own tools in `/workspace` without asking.
    pub tools: Tools,
}

/// Which of its own tools a tool may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tools {
    /// All, without asking, inside its sandbox.
    #[default]
    All,
    /// None.
    None,
}

/// What to put into a sandbox and start there.
#[derive(Debug)]
pub struct Invocation {
    /// The exact hosts that it may reach (port 443).
    pub hosts: &'static [&'static str],
    /// Files to write first.
    pub files: Vec<HomeFile>,
    /// Program and arguments, looked up in the image's `PATH`.
    pub argv: Vec<String>,
    /// Environment beside what every tool gets (`HOME`, `PATH`, `HTTPS_PROXY`, CA variables). No secrets.
    pub env: Vec<(&'static str, String)>,
    /// What to write to its standard input before closing it; `None` is `/dev/null`,
    /// unless `interactive`.
    pub stdin: Option<String>,
    /// Standard input stays open for the lines of [`Step::Send`].
    pub interactive: bool,
}

/// A file that a tool's home needs.
#[derive(Debug)]
pub struct HomeFile {
    /// Path below the home, without a leading slash.
    pub path: &'static str,
    /// Permission bits.
    pub mode: u32,
    /// Its content, which may be secret.
    pub content: SecretString,
}

/// Reads what a tool prints. Fed with whole lines, without their newline.
pub trait Dialogue: Send {
    /// What to say first.
    fn begin(&mut self) -> Vec<Step> {
        Vec::new()
    }

    /// A line of standard output. A line that is no JSON, or of an unknown kind, is no error.
    fn line(&mut self, line: &[u8]) -> Vec<Step>;

    /// The tool has ended without [`Step::End`]: what to make of it.
    fn exit(&mut self, end: &ToolEnd) -> Outcome;

    /// How far it has got, between two lines: kept with the run, for a server that takes over from this one.
    fn save(&self) -> serde_json::Value;

    /// Goes on from where another dialogue of the same prompt was saved.
    fn restore(&mut self, saved: serde_json::Value) -> Result<(), serde_json::Error>;
}

/// What follows from a line.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Something happened. Never one of the `run.*` events.
    Emit(EventBody),
    /// Say this line to the tool.
    Send(String),
    /// The tool has said its last: it need not exit by itself.
    End(Outcome),
}

/// How a tool ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolEnd {
    /// The exit status, if it exited.
    pub code: Option<i32>,
    /// The signal, if one ended it.
    pub signal: Option<i32>,
    /// The last lines of its standard error.
    pub stderr: String,
}

/// How a run ended, as far as the tool can tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// An answer. Its text is what the `text.delta` events said.
    Answered {
        /// What was used, if the tool told.
        usage: Option<Usage>,
    },
    /// None.
    Failed(Failure),
}
