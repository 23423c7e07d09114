//! Gemini CLI. Measured with 0.61.0; `docs/providers.md` says how.
//!
//! ```text
//!   init ─► (message tool_use tool_result error)* ─► result
//!            a piece of the answer                    the end, good or bad
//! ```
//!
//! What the model says before and after it has used tools is one answer, joined
//! by an empty line. The tool does not print what the model thinks.

mod login;

use super::{
    About, Credential, Dialogue, HomeFile, Invocation, Method, Outcome, ProbeRequest, Prompt, Proof, Provider, Step,
    ToolEnd, Tools,
    fault::{self, Fault},
    json::{self, count, items, text},
    key,
    login::SignIn,
    probe,
};
use crate::domain::{
    event::{EventBody, LogLevel, Usage},
    failure::Failure,
    time,
};
use login::GeminiLogin;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

static ABOUT: About = About {
    name: "gemini",
    earlier_names: &[],
    label: "Gemini CLI",
    // Google no longer serves most people's own accounts in this tool.
    methods: &[Method::ApiKey, Method::Login, Method::Import],
    // The tool's own stable default. Without a model it would ask another one which to take.
    default_model: "gemini-2.5-pro",
    policy_text: "Google serves Gemini CLI by API key, Vertex AI and Code Assist Standard or Enterprise; \
                  individual accounts (free, AI Pro, Ultra) are no longer served since 18 June 2026.",
    policy_url: "https://ai.google.dev/gemini-api/terms",
    keys_url: "https://aistudio.google.com/apikey",
    logins_url: "https://myaccount.google.com/connections",
    setup_token_command: None,
};

/// Makes its writes to a pipe wait for the reader. By itself it exits with
/// output unwritten, the end of a long answer included, when the reader is not
/// quicker. What it starts does not inherit this. (`%3F` is `?`, for this is a URL.)
const BLOCKING_OUTPUT: &str = "--import=data:text/javascript,\
    delete%20process.env.NODE_OPTIONS;process.stdout._handle%3F.setBlocking%3F.(true)";

/// The exit status when the tool has no login that works.
const EXIT_AUTHENTICATION: i32 = 41;

/// Gemini CLI, by API key.
#[derive(Debug)]
pub(super) struct Gemini;

impl Provider for Gemini {
    fn about(&self) -> &About {
        &ABOUT
    }

    fn check_api_key(&self, key: &str) -> Result<(), Failure> {
        key::check(&ABOUT, key::Kind::Google, key)
    }

    fn sign_in(&self) -> &'static dyn SignIn {
        &GeminiLogin
    }

    fn probe(&self, credential: &Credential) -> ProbeRequest {
        match credential {
            Credential::ApiKey(key) | Credential::SetupToken(key) => ProbeRequest {
                url: "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1000".to_owned(),
                headers: vec![("x-goog-api-key", key.clone())],
            },
            Credential::Login(login) => GeminiLogin.whose(login),
        }
    }

    fn probed(&self, credential: &Credential, status: u16, body: &[u8]) -> Result<Proof, Failure> {
        match credential {
            Credential::ApiKey(_) | Credential::SetupToken(_) => {
                let answer = probe::answer(&ABOUT, status, body, key_is_refused)?;
                let models = probe::models(items(&answer, "/models"), |m| {
                    let id = text(m, "/name").strip_prefix("models/")?;
                    can_converse(id, m).then(|| probe::model(id, text(m, "/displayName"))).flatten()
                });
                Ok(Proof { models, account: None })
            }
            Credential::Login(login) => {
                let account = Some(GeminiLogin.account(login, status, body)?);
                Ok(Proof { models: probe::known(&[ABOUT.default_model, "gemini-2.5-flash"]), account })
            }
        }
    }

    fn invoke(&self, credential: &Credential, prompt: &Prompt) -> Result<Invocation, Failure> {
        let mut files = match credential {
            // No character of a key needs quoting: `key::check`.
            Credential::ApiKey(key) | Credential::SetupToken(key) => vec![
                file(".gemini/.env", format!("GEMINI_API_KEY={}\n", key.expose_secret()).into()),
                file(".gemini/settings.json", settings("gemini-api-key", prompt.tools).to_string().into()),
            ],
            Credential::Login(login) => {
                let mut files = login.home(GeminiLogin.files());
                files.push(file(".gemini/settings.json", settings("oauth-personal", prompt.tools).to_string().into()));
                files
            }
        };
        if let Some(system) = &prompt.system {
            // The tool adds this file to its own system prompt.
            files.push(file(".gemini/GEMINI.md", system.as_str().into()));
        }
        let model = prompt.model.as_deref().unwrap_or(ABOUT.default_model);
        let approval = match prompt.tools {
            Tools::All => "yolo",
            Tools::None => "default",
        };
        Ok(Invocation {
            hosts: hosts(credential),
            files,
            argv: vec![
                "gemini".into(),
                "--output-format=stream-json".into(),
                format!("--approval-mode={approval}"),
                format!("--model={model}"),
            ],
            env: vec![
                // It would start itself a second time with more memory: 0.7 CPU seconds.
                ("GEMINI_CLI_NO_RELAUNCH", "true".into()),
                ("NODE_OPTIONS", BLOCKING_OUTPUT.into()),
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

/// No questions, no telemetry, no updates.
fn settings(selected: &str, tools: Tools) -> Value {
    let mut settings = json!({
        "security": {
            "auth": { "selectedType": selected },
            "folderTrust": { "enabled": false },
            // It puts the key of `.env` into its environment, which what its shell starts would inherit. Names with
            // `CERT` in them would go too.
            "environmentVariableRedaction": { "enabled": true, "allowed": ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] },
        },
        "general": {
            "enableAutoUpdate": false,
            "enableAutoUpdateNotification": false,
            // The tool's own ten attempts take many minutes; who asked may ask again.
            "maxAttempts": 3,
        },
        "privacy": { "usageStatisticsEnabled": false },
        "telemetry": { "enabled": false },
        "ide": { "enabled": false },
    });
    match tools {
        Tools::All => {}
        Tools::None => settings["tools"] = json!({ "core": [] }),
    }
    settings
}

/// Google answers a bad key with 400 and a reason.
fn key_is_refused(body: &Value) -> bool {
    items(body, "/error/details").iter().any(|d| text(d, "/reason") == "API_KEY_INVALID")
        || text(body, "/error/message").contains("API key not valid")
}

/// Whether a model of Google's list answers prompts with text.
fn can_converse(id: &str, model: &Value) -> bool {
    const OTHERS: [&str; 6] = ["tts", "image", "audio", "live", "embedding", "robotics"];
    id.starts_with("gemini-")
        && items(model, "/supportedGenerationMethods").iter().any(|m| m == "generateContent")
        && !OTHERS.iter().any(|other| id.contains(other))
}

/// The exact hosts that a run needs, and no others.
fn hosts(credential: &Credential) -> &'static [&'static str] {
    match credential {
        Credential::ApiKey(_) | Credential::SetupToken(_) => &["generativelanguage.googleapis.com"],
        Credential::Login(_) => &["cloudcode-pa.googleapis.com", "oauth2.googleapis.com", "www.googleapis.com"],
    }
}

/// How far the tool has got.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Talk {
    ended: bool,
    /// Some of the answer has been told.
    spoke: bool,
    /// Some of it since the last use of a tool.
    goes_on: bool,
    /// The calls that have been told.
    calls: BTreeSet<String>,
    /// The last fault that was told.
    fault: String,
}

impl Dialogue for Talk {
    fn line(&mut self, line: &[u8]) -> Vec<Step> {
        let mut steps = Vec::new();
        if !self.ended
            && let Some(line) = json::parse(line)
        {
            match text(&line, "/type") {
                "message" if text(&line, "/role") == "assistant" => self.say(&line, &mut steps),
                "tool_use" => self.call(&line, &mut steps),
                "tool_result" => tool_result(&line, &mut steps),
                "error" => self.notice(&line, &mut steps),
                "result" => self.result(&line, &mut steps),
                _ => {}
            }
        }
        steps
    }

    fn exit(&mut self, end: &ToolEnd) -> Outcome {
        Outcome::Failed(match end.code.and_then(fault_of_exit) {
            Some(Fault::BadRequest) if end.stderr.contains("API_KEY_INVALID") => Fault::Refused.failure(&ABOUT, ""),
            Some(fault) => {
                let said = end.stderr.lines().rfind(|line| !line.trim().is_empty());
                fault.failure(&ABOUT, said.unwrap_or_default())
            }
            // A login that is refused before there is a conversation: the dump of an error, and status 1.
            None if end.stderr.contains("status: 'UNAUTHENTICATED'") => Fault::Refused.failure(&ABOUT, ""),
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
    fn say(&mut self, line: &Value, steps: &mut Vec<Step>) {
        let piece = text(line, "/content");
        // A message as a whole repeats its pieces.
        if piece.is_empty() || (line["delta"] != true && self.goes_on) {
            return;
        }
        let gap = self.spoke && !self.goes_on;
        let text = if gap { format!("\n\n{piece}") } else { piece.to_owned() };
        self.spoke = true;
        self.goes_on = true;
        steps.push(Step::Emit(EventBody::Text { text }));
    }

    fn call(&mut self, line: &Value, steps: &mut Vec<Step>) {
        self.goes_on = false;
        let id = text(line, "/tool_id").to_owned();
        if self.calls.insert(id.clone()) {
            let name = text(line, "/tool_name").to_owned();
            let input = json::input(&line["parameters"]);
            steps.push(Step::Emit(EventBody::ToolCall { id, name, input }));
        }
    }

    fn notice(&mut self, line: &Value, steps: &mut Vec<Step>) {
        let said = text(line, "/message");
        if text(line, "/severity") == "error" {
            said.clone_into(&mut self.fault);
        }
        steps.push(Step::Emit(json::log(LogLevel::Warn, said)));
    }

    fn result(&mut self, line: &Value, steps: &mut Vec<Step>) {
        self.ended = true;
        let usage = usage(line);
        if (usage.input_tokens, usage.output_tokens) != (0, 0) {
            steps.push(Step::Emit(EventBody::Usage(usage)));
        }
        steps.push(Step::End(if text(line, "/status") == "success" {
            Outcome::Answered { usage: Some(usage) }
        } else {
            let said = text(line, "/error/message");
            Outcome::Failed(failure(if said.is_empty() { &self.fault } else { said }, line))
        }));
    }
}

/// What a tool said to the model.
fn tool_result(line: &Value, steps: &mut Vec<Step>) {
    let said = match text(line, "/output") {
        "" => text(line, "/error/message"),
        output => output,
    };
    let (output, truncated) = json::cut(said, json::MAX_OUTPUT);
    steps.push(Step::Emit(EventBody::ToolResult {
        id: text(line, "/tool_id").to_owned(),
        ok: text(line, "/status") == "success",
        output,
        truncated,
    }));
}

/// Why there is no answer. The tool puts into `[API Error: …]` the provider's own JSON, or words.
fn failure(said: &str, line: &Value) -> Failure {
    let said = match said.split_once("[API Error: ") {
        Some((_, inner)) => inner.rsplit_once(']').map_or(inner, |(inner, _)| inner),
        None => said,
    };
    let inner = json::parse(said.as_bytes()).unwrap_or_default();
    let status = u16::try_from(count(&inner, "/error/code")).unwrap_or_default();
    let fault = match Fault::of_status(status) {
        _ if key_is_refused(&inner) => Fault::Refused,
        Some(fault) => fault,
        None => fault_of(said),
    };
    let told = text(&inner, "/error/message");
    let mut failure = fault.failure(&ABOUT, if told.is_empty() { said } else { told });
    if fault == Fault::RateLimited {
        failure.retry_at = retry_at(&inner, said, text(line, "/timestamp"));
    }
    failure
}

/// When the provider will take requests again: so many seconds after the line was printed.
fn retry_at(error: &Value, said: &str, printed: &str) -> Option<String> {
    let told = items(error, "/error/details").iter().find_map(|d| d["retryDelay"].as_str());
    let delay = told.or_else(|| said.split_once("retry after ").map(|(_, delay)| delay))?;
    let seconds: i64 = delay.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    let printed: jiff::Timestamp = printed.parse().ok()?;
    let after = seconds.checked_mul(1000)?.checked_add(printed.as_millisecond())?;
    Some(time::rfc3339(after))
}

/// Which fault an exit status tells of: the tool makes it from the provider's, of which eight bits are left.
fn fault_of_exit(code: i32) -> Option<Fault> {
    if code == EXIT_AUTHENTICATION {
        return Some(Fault::Refused);
    }
    match code.checked_add(256)? {
        status @ (400 | 401 | 403 | 404 | 429 | 500..=504) => Fault::of_status(u16::try_from(status).ok()?),
        _ => None,
    }
}

/// Which fault words tell of that come without a status.
fn fault_of(said: &str) -> Fault {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if has(&["quota", "rate limit", "Too Many Requests", "retry after"]) {
        Fault::RateLimited
    } else if has(&["is not found", "ModelNotFound"]) {
        Fault::NoModel
    } else if has(&["overloaded", "internal error", "unavailable", "terminated", "fetch failed"]) {
        Fault::Unavailable
    } else if has(&["blocked", "safety", "token count"]) {
        Fault::BadRequest
    } else {
        Fault::Tool
    }
}

fn usage(line: &Value) -> Usage {
    Usage {
        input_tokens: count(line, "/stats/input_tokens"),
        output_tokens: count(line, "/stats/output_tokens"),
        cached_tokens: count(line, "/stats/cached"),
        cost_usd: None,
    }
}
