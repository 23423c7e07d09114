//! Claude Code. Measured with 2.1.330; `docs/providers.md` says how.
//!
//! ```text
//!   system ─► (stream_event* assistant+ user*)* ─► result
//!              text and thinking  blocks  what    the end, good or bad: the tool
//!              as they come       as a    tools   may hang after it
//!                                 whole   said
//! ```
//!
//! Several messages make one answer: their texts are joined by an empty line,
//! except where the tool lets the model go on after it had reached its limit of
//! tokens. A message that breaks off after some of it was told ends the run, for
//! the tool would begin it again. What subagents say is no part of the answer; their use of tools is told.

mod login;

use super::{
    About, Credential, Dialogue, HomeFile, Invocation, Method, Outcome, ProbeRequest, Prompt, Proof, Provider, Step,
    ToolEnd, Tools,
    fault::{self, Fault},
    json::{self, count, items, text, think},
    key,
    login::{SignIn, bearer},
    probe,
};
use crate::domain::{
    event::{EventBody, LogLevel, Usage},
    failure::Failure,
    time,
};
use login::ClaudeLogin;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

static ABOUT: About = About {
    name: "claude",
    earlier_names: &["claude_code"],
    label: "Claude Code",
    methods: &[Method::Login, Method::ApiKey, Method::SetupToken, Method::Import],
    // What the tool takes by itself with an API key. Named, so that a newer tool does not change it.
    default_model: "claude-opus-5-5",
    policy_text: "Anthropic asks products to use an API key; a Free, Pro or Max login is for its own person \
                  and Anthropic's own tools alone.",
    policy_url: "https://code.claude.com/docs/en/legal-and-compliance",
    keys_url: "https://platform.claude.com/settings/keys",
    logins_url: "https://claude.ai/settings/account",
    setup_token_command: Some("claude setup-token"),
};

/// Where the key lies in the home.
const KEY_FILE: &str = ".claude/api-key";

/// Prints the key. The tool runs it with the home's shell; it costs no measurable time.
const SETTINGS: &str = r#"{"apiKeyHelper":"cat ~/.claude/api-key"}"#;

/// What is added to the tool's own system prompt.
const SYSTEM_FILE: &str = ".claude/system.md";

/// Starts the tool with [`SYSTEM_FILE`], whose path the tool takes only in full.
const WITH_SYSTEM: &str = r#"exec claude "$@" --append-system-prompt-file "$HOME/.claude/system.md""#;

/// Claude Code, by API key.
#[derive(Debug)]
pub(super) struct Claude;

impl Provider for Claude {
    fn about(&self) -> &About {
        &ABOUT
    }

    fn check_api_key(&self, key: &str) -> Result<(), Failure> {
        key::check(&ABOUT, key::Kind::Anthropic, key)
    }

    fn check_setup_token(&self, token: &str) -> Result<(), Failure> {
        key::check(&ABOUT, key::Kind::ClaudeToken, token)
    }

    fn sign_in(&self) -> &'static dyn SignIn {
        &ClaudeLogin
    }

    fn probe(&self, credential: &Credential) -> ProbeRequest {
        let models = "https://api.anthropic.com/v1/models?limit=1000";
        let version = ("anthropic-version", "2023-06-01".into());
        match credential {
            Credential::ApiKey(key) => {
                ProbeRequest { url: models.to_owned(), headers: vec![("x-api-key", key.clone()), version] }
            }
            Credential::SetupToken(token) => ProbeRequest {
                url: models.to_owned(),
                headers: vec![bearer(token.expose_secret()), (login::BETA.0, login::BETA.1.into()), version],
            },
            Credential::Login(login) => ClaudeLogin.whose(login),
        }
    }

    fn probed(&self, credential: &Credential, status: u16, body: &[u8]) -> Result<Proof, Failure> {
        match credential {
            Credential::ApiKey(_) | Credential::SetupToken(_) => {
                let answer = probe::answer(&ABOUT, status, body, |_| false)?;
                let model = |m: &Value| probe::model(text(m, "/id"), text(m, "/display_name"));
                Ok(Proof { models: probe::models(items(&answer, "/data"), model), account: None })
            }
            Credential::Login(login) => {
                let account = Some(ClaudeLogin.account(login, status, body)?);
                Ok(Proof { models: probe::known(&["claude-opus-5-5", "opus", "sonnet", "haiku"]), account })
            }
        }
    }

    fn invoke(&self, credential: &Credential, prompt: &Prompt) -> Result<Invocation, Failure> {
        let mut files = match credential {
            Credential::ApiKey(key) => {
                vec![file(KEY_FILE, key.expose_secret().into()), file(".claude/settings.json", SETTINGS.into())]
            }
            Credential::SetupToken(token) => vec![file(".claude/.credentials.json", login::of_setup_token(token))],
            Credential::Login(login) => login.home(ClaudeLogin.files()),
        };
        let mut argv: Vec<String> = match &prompt.system {
            None => vec!["claude".into()],
            Some(system) => {
                files.push(file(SYSTEM_FILE, system.as_str().into()));
                vec!["sh".into(), "-c".into(), WITH_SYSTEM.into(), "claude".into()]
            }
        };
        let model = prompt.model.as_deref().unwrap_or(ABOUT.default_model);
        argv.extend(
            ["-p", "--output-format", "stream-json", "--verbose", "--include-partial-messages"].map(Into::into),
        );
        argv.push(format!("--model={model}"));
        argv.extend(
            match prompt.tools {
                Tools::All => ["--permission-mode", "bypassPermissions"].as_slice(),
                Tools::None => &["--permission-mode", "dontAsk", "--tools", ""],
            }
            .iter()
            .map(|&a| a.into()),
        );
        Ok(Invocation {
            hosts: hosts(credential),
            files,
            argv,
            env: vec![
                // Nothing but the requests of the run itself: no telemetry, updates, feature flags.
                ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".into()),
                ("DISABLE_AUTOUPDATER", "1".into()),
                // The tool's own ten attempts take minutes; who asked may ask again.
                ("CLAUDE_CODE_MAX_RETRIES", "3".into()),
                // The model that was asked for, or none.
                ("CLAUDE_CODE_DISABLE_MODEL_ACCESS_FALLBACK", "1".into()),
                // An answer that broke off would be given again as a whole, after its beginning.
                ("CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK", "1".into()),
            ],
            // An argument holds 128 KiB at most, a prompt may be larger.
            stdin: Some(prompt.text.clone()),
            interactive: false,
        })
    }

    fn dialogue(&self, _prompt: &Prompt) -> Box<dyn Dialogue> {
        Box::new(Talk::default())
    }
}

fn file(path: &'static str, content: SecretString) -> HomeFile {
    HomeFile { path, mode: 0o600, content }
}

/// The exact hosts that a run needs, and no others.
fn hosts(credential: &Credential) -> &'static [&'static str] {
    // With `CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC` a run asks for nothing else.
    match credential {
        Credential::ApiKey(_) | Credential::SetupToken(_) => &["api.anthropic.com"],
        Credential::Login(_) => &["api.anthropic.com", "platform.claude.com"],
    }
}

/// How far the tool has got.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Talk {
    ended: bool,
    /// The message that is under way.
    message: String,
    /// Its last block whose text came in pieces.
    text_in_pieces: Option<i64>,
    /// Its thinking came in pieces.
    thinking_in_pieces: bool,
    /// Some of the answer has been told.
    spoke: bool,
    /// What comes next is not the direct continuation of what was told.
    gap: bool,
    /// The last message broke off at its limit of tokens.
    cut_short: bool,
    /// The last message came to its own end: the model has no more to say.
    said_all: bool,
    /// The calls that have been told.
    calls: BTreeSet<String>,
    /// When the provider will take requests again, Unix seconds.
    resets_at: Option<i64>,
    /// The last fault that the tool wrote as if the model had said it.
    fault: Option<(Fault, String)>,
}

impl Dialogue for Talk {
    fn line(&mut self, line: &[u8]) -> Vec<Step> {
        let mut steps = Vec::new();
        if !self.ended
            && let Some(line) = json::parse(line)
        {
            match text(&line, "/type") {
                "stream_event" => self.piece(&line, &mut steps),
                "assistant" => self.message(&line, &mut steps),
                "user" => tool_results(&line, &mut steps),
                "system" => self.notice(&line, &mut steps),
                "rate_limit_event" => {
                    self.resets_at = line.pointer("/rate_limit_info/resetsAt").and_then(Value::as_i64);
                }
                "result" => self.result(&line, &mut steps),
                _ => {}
            }
        }
        steps
    }

    fn exit(&mut self, end: &ToolEnd) -> Outcome {
        if end.code == Some(0) && self.said_all && self.fault.is_none() {
            // On a busy machine the tool may end before its last line, which repeats a long answer, is written out.
            return Outcome::Answered { usage: None };
        }
        Outcome::Failed(match self.fault.take() {
            Some((fault, said)) => self.failure(fault, &said),
            None => fault::crashed(&ABOUT, end),
        })
    }

    fn save(&self) -> Value {
        json::save(self)
    }

    fn restore(&mut self, saved: Value) -> Result<(), serde_json::Error> {
        *self = serde_json::from_value(saved)?;
        Ok(())
    }
}

impl Talk {
    /// A message begins, goes on or ends.
    fn piece(&mut self, line: &Value, steps: &mut Vec<Step>) {
        if is_subagent(line) {
            return;
        }
        match text(line, "/event/type") {
            "message_start" => self.begin_message(text(line, "/event/message/id")),
            "content_block_delta" => match text(line, "/event/delta/type") {
                "text_delta" => {
                    self.text_in_pieces = Some(count(line, "/event/index"));
                    self.say(text(line, "/event/delta/text"), steps);
                }
                "thinking_delta" => {
                    self.thinking_in_pieces = true;
                    think(text(line, "/event/delta/thinking"), steps);
                }
                _ => {}
            },
            "message_delta" => {
                let reason = text(line, "/event/delta/stop_reason");
                self.cut_short = reason == "max_tokens";
                self.said_all = reason == "end_turn";
            }
            "message_stop" if !line["abandoned_blocks"].is_null() => {
                let from = count(line, "/abandoned_blocks/from_block_index");
                if self.text_in_pieces.is_some_and(|told| told >= from) {
                    self.ended = true;
                    let failure = Fault::Unavailable.failure(&ABOUT, "the answer broke off");
                    steps.push(Step::End(Outcome::Failed(failure)));
                }
            }
            _ => {}
        }
    }

    /// One or more finished blocks of a message, or a fault that is dressed as one.
    fn message(&mut self, line: &Value, steps: &mut Vec<Step>) {
        let subagent = is_subagent(line);
        if !text(line, "/error").is_empty() || line["is_api_error_message"] == true {
            if !subagent {
                self.fault = Some((fault_of(line), text(line, "/message/content/0/text").to_owned()));
            }
            return;
        }
        let id = text(line, "/message/id");
        if !subagent && id != self.message {
            self.begin_message(id);
        }
        for block in items(line, "/message/content") {
            match text(block, "/type") {
                "text" if !subagent && self.text_in_pieces.is_none() => self.say(text(block, "/text"), steps),
                "thinking" if !subagent && !self.thinking_in_pieces => {
                    think(text(block, "/thinking"), steps);
                }
                "tool_use" => self.call(block, steps),
                _ => {}
            }
        }
    }

    fn begin_message(&mut self, id: &str) {
        self.message = id.to_owned();
        self.text_in_pieces = None;
        self.thinking_in_pieces = false;
        self.gap = self.spoke && !self.cut_short;
        self.cut_short = false;
        self.said_all = false;
    }

    fn say(&mut self, piece: &str, steps: &mut Vec<Step>) {
        if piece.is_empty() {
            return;
        }
        let text = if self.gap { format!("\n\n{piece}") } else { piece.to_owned() };
        self.gap = false;
        self.spoke = true;
        steps.push(Step::Emit(EventBody::Text { text }));
    }

    fn call(&mut self, block: &Value, steps: &mut Vec<Step>) {
        let id = text(block, "/id").to_owned();
        if self.calls.insert(id.clone()) {
            let input = json::input(&block["input"]);
            let name = text(block, "/name").to_owned();
            steps.push(Step::Emit(EventBody::ToolCall { id, name, input }));
        }
    }

    /// What the tool does beside the answer and people should know.
    fn notice(&mut self, line: &Value, steps: &mut Vec<Step>) {
        let (level, said) = match text(line, "/subtype") {
            "api_retry" if fault_of(line) == Fault::Refused => {
                // It would read the same key again, for ten seconds.
                self.ended = true;
                let said = format!("it answered {}", line["error_status"]);
                steps.push(Step::End(Outcome::Failed(Fault::Refused.failure(&ABOUT, &said))));
                return;
            }
            "api_retry" => (
                LogLevel::Warn,
                format!(
                    "the provider did not answer ({} {}): further attempt {} of {} follows",
                    line["error_status"],
                    text(line, "/error"),
                    count(line, "/attempt"),
                    count(line, "/max_retries")
                ),
            ),
            "informational" | "model_fallback" => (LogLevel::Warn, text(line, "/content").to_owned()),
            _ => return,
        };
        steps.push(Step::Emit(json::log(level, &said)));
    }

    fn result(&mut self, line: &Value, steps: &mut Vec<Step>) {
        self.ended = true;
        let said = text(line, "/result");
        let good = line["is_error"] == false && text(line, "/subtype") == "success";
        if good && !self.spoke {
            // A version that prints nothing else.
            self.say(said, steps);
        }
        let usage = usage(line);
        if (usage.input_tokens, usage.output_tokens) != (0, 0) {
            steps.push(Step::Emit(EventBody::Usage(usage)));
        }
        if good {
            steps.push(Step::End(Outcome::Answered { usage: Some(usage) }));
            return;
        }
        let (fault, said) = match self.fault.take() {
            Some(fault) => fault,
            None if said.is_empty() => (Fault::Tool, text(line, "/errors/0").to_owned()),
            None => (fault_of(line), said.to_owned()),
        };
        steps.push(Step::End(Outcome::Failed(self.failure(fault, &said))));
    }

    fn failure(&self, fault: Fault, said: &str) -> Failure {
        let mut failure = fault.failure(&ABOUT, said);
        if fault == Fault::RateLimited {
            failure.retry_at = self.resets_at.map(|s| time::rfc3339(s.saturating_mul(1000)));
        }
        failure
    }
}

fn is_subagent(line: &Value) -> bool {
    !text(line, "/parent_tool_use_id").is_empty()
}

/// What tools said to the model.
fn tool_results(line: &Value, steps: &mut Vec<Step>) {
    for block in items(line, "/message/content") {
        if text(block, "/type") != "tool_result" {
            continue;
        }
        let said = match &block["content"] {
            Value::String(said) => said.clone(),
            content => items(content, "").iter().map(part).collect::<Vec<_>>().join("\n"),
        };
        let (output, truncated) = json::cut(&said, json::MAX_OUTPUT);
        steps.push(Step::Emit(EventBody::ToolResult {
            id: text(block, "/tool_use_id").to_owned(),
            ok: block["is_error"] != true,
            output,
            truncated,
        }));
    }
}

/// A part of a tool's answer as text.
fn part(part: &Value) -> String {
    match text(part, "/type") {
        "text" => text(part, "/text").to_owned(),
        other => format!("[{other}]"),
    }
}

/// Which fault a line tells of: by status, then by the tool's own word, then by what it says.
fn fault_of(line: &Value) -> Fault {
    let said = [text(line, "/result"), text(line, "/message/content/0/text")].concat();
    match text(line, "/error") {
        "billing_error" => return Fault::NoCredit,
        "authentication_failed" => return Fault::Refused,
        "rate_limit" => return Fault::RateLimited,
        "model_not_found" => return Fault::NoModel,
        "invalid_request" | "max_output_tokens" => return Fault::BadRequest,
        "server_error" | "overloaded" => return Fault::Unavailable,
        _ => {}
    }
    let status = line["api_error_status"].as_u64().and_then(|s| u16::try_from(s).ok());
    if let Some(fault) = status.and_then(Fault::of_status) {
        return fault;
    }
    if said.contains("authenticate") || said.contains("API key") || said.contains("/login") {
        Fault::Refused
    } else if said.contains("Connection") {
        Fault::Unavailable
    } else {
        Fault::Tool
    }
}

fn usage(line: &Value) -> Usage {
    let cached_tokens = count(line, "/usage/cache_read_input_tokens");
    let fresh = count(line, "/usage/input_tokens");
    let written = count(line, "/usage/cache_creation_input_tokens");
    Usage {
        input_tokens: fresh.saturating_add(written).saturating_add(cached_tokens),
        output_tokens: count(line, "/usage/output_tokens"),
        cached_tokens,
        cost_usd: line["total_cost_usd"].as_f64(),
    }
}
