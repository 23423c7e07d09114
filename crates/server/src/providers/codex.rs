//! Codex. Measured with 0.169.0; `docs/providers.md` says how.
//!
//! The tool is spoken to by JSON-RPC over its standard input and output
//! (`codex app-server`), for `codex exec --json` tells whole items only:
//!
//! ```text
//!   ─► initialize, initialized, thread/start
//!   ◄─ the thread's id
//!   ─► turn/start with the prompt
//!   ◄─ (item/started, item/*/delta*, item/completed, thread/tokenUsage/updated, error)*
//!   ◄─ turn/completed: the end, good or bad; the tool itself goes on waiting
//! ```
//!
//! Several messages make one answer: their texts are joined by an empty line. A
//! message that breaks off after some of it was told ends the run, for the tool
//! would begin it again.

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
    failure::{Code, Failure},
    time,
};
use login::CodexLogin;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeSet;

static ABOUT: About = About {
    name: "codex",
    earlier_names: &[],
    label: "Codex",
    methods: &[Method::Login, Method::ApiKey, Method::Import],
    // What the tool takes by itself. Named, so that a newer tool does not change it.
    default_model: "gpt-6.1-sol",
    policy_text: "OpenAI recommends an API key for programs; a ChatGPT login is for its own person, on a \
                  trusted private machine, one job after the other.",
    policy_url: "https://developers.openai.com/codex/auth",
    keys_url: "https://platform.openai.com/api-keys",
    logins_url: "https://chatgpt.com/#settings/Security",
    setup_token_command: None,
};

/// Quiet, and with no other host than the API's. With model discovery by API
/// key on, the tool asks another host first, and without an answer loses six
/// seconds; connections would be tried again without end.
const CONFIG: &str = r#"cli_auth_credentials_store = "file"
check_for_update_on_startup = false
[analytics]
enabled = false
[otel]
exporter = "none"
trace_exporter = "none"
metrics_exporter = "none"
[features]
apps = false
plugins = false
api_key_model_discovery = false
unbounded_connection_retries = false
"#;

/// The ids of our own requests.
const INITIALIZE: i64 = 1;
const THREAD_START: i64 = 2;
const TURN_START: i64 = 3;

/// Codex, by API key.
#[derive(Debug)]
pub(super) struct Codex;

impl Provider for Codex {
    fn about(&self) -> &About {
        &ABOUT
    }

    fn check_api_key(&self, key: &str) -> Result<(), Failure> {
        key::check(&ABOUT, key::Kind::OpenAi, key)
    }

    fn sign_in(&self) -> &'static dyn SignIn {
        &CodexLogin
    }

    fn probe(&self, credential: &Credential) -> ProbeRequest {
        match credential {
            Credential::ApiKey(key) | Credential::SetupToken(key) => ProbeRequest {
                url: "https://api.openai.com/v1/models".to_owned(),
                headers: vec![bearer(key.expose_secret())],
            },
            Credential::Login(login) => CodexLogin.whose(login),
        }
    }

    fn probed(&self, credential: &Credential, status: u16, body: &[u8]) -> Result<Proof, Failure> {
        match credential {
            Credential::ApiKey(_) | Credential::SetupToken(_) => {
                let answer = probe::answer(&ABOUT, status, body, |_| false)?;
                let models = probe::models(items(&answer, "/data"), |m| {
                    Some(text(m, "/id")).filter(|id| can_code(id)).and_then(|id| probe::model(id, ""))
                });
                Ok(Proof { models, account: None })
            }
            Credential::Login(login) => {
                let account = Some(CodexLogin.account(login, status, body)?);
                Ok(Proof { models: probe::known(&[ABOUT.default_model]), account })
            }
        }
    }

    fn invoke(&self, credential: &Credential, prompt: &Prompt) -> Result<Invocation, Failure> {
        if prompt.tools == Tools::None {
            // Its features can be switched off one by one, but running JavaScript,
            // patching files and subagents stay.
            return Err(Failure::new(Code::Unsupported, "`codex` cannot run without its tools")
                .hint("leave `tools` out, or ask another provider"));
        }
        let file = |path, content: String| HomeFile { path, mode: 0o600, content: content.into() };
        let mut files = match credential {
            Credential::ApiKey(key) | Credential::SetupToken(key) => {
                let auth = json!({ "auth_mode": "apikey", "OPENAI_API_KEY": key.expose_secret() });
                vec![file(".codex/auth.json", auth.to_string())]
            }
            Credential::Login(login) => login.home(CodexLogin.files()),
        };
        files.push(file(".codex/config.toml", CONFIG.to_owned()));
        Ok(Invocation {
            hosts: hosts(credential),
            files,
            argv: vec!["codex".into(), "app-server".into()],
            env: Vec::new(),
            stdin: None,
            interactive: true,
        })
    }

    fn dialogue(&self, prompt: &Prompt) -> Box<dyn Dialogue> {
        Box::new(Talk { prompt: prompt.clone(), ..Talk::default() })
    }
}

/// Whether a model of OpenAI's long list is one that Codex can work with.
fn can_code(id: &str) -> bool {
    const OTHERS: [&str; 8] = ["audio", "realtime", "image", "search", "transcribe", "tts", "chat", "instruct"];
    let generation = id.strip_prefix("gpt-").and_then(|rest| rest.bytes().next());
    let known = generation.is_some_and(|digit| (b'5'..=b'9').contains(&digit))
        || id.starts_with("codex-")
        || id.starts_with("gpt-1");
    known && !OTHERS.iter().any(|other| id.contains(other))
}

/// The exact hosts that a run needs, and no others.
fn hosts(credential: &Credential) -> &'static [&'static str] {
    match credential {
        Credential::ApiKey(_) | Credential::SetupToken(_) => &["api.openai.com"],
        Credential::Login(_) => &["chatgpt.com", "auth.openai.com"],
    }
}

/// How far the tool has got.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Talk {
    #[serde(skip)]
    prompt: Prompt,
    /// The prompt has been given.
    asked: bool,
    /// Our thread. Those of subagents have other ids.
    thread: String,
    ended: bool,
    /// The item whose text is coming in pieces.
    open: Option<String>,
    /// Some of the answer has been told.
    spoke: bool,
    /// The reasoning of this item came in pieces.
    reasoning: String,
    /// The calls that have been told.
    calls: BTreeSet<String>,
    usage: Option<Usage>,
    /// When the provider will take requests again, Unix seconds.
    resets_at: Option<i64>,
    /// The last fault that was told.
    fault: Option<(Fault, String)>,
}

impl Dialogue for Talk {
    fn begin(&mut self) -> Vec<Step> {
        let client = json!({ "name": "polydev", "title": "Polydev", "version": env!("CARGO_PKG_VERSION") });
        let thread = json!({
            "model": self.prompt.model.as_deref().unwrap_or(ABOUT.default_model),
            "developerInstructions": self.prompt.system,
            // The sandbox around the tool is ours, and nobody is there to ask.
            "approvalPolicy": "never",
            "sandbox": "danger-full-access",
            "ephemeral": true,
        });
        vec![
            request(INITIALIZE, "initialize", &json!({ "clientInfo": client })),
            send(&json!({ "method": "initialized" })),
            request(THREAD_START, "thread/start", &thread),
        ]
    }

    fn line(&mut self, line: &[u8]) -> Vec<Step> {
        let mut steps = Vec::new();
        if !self.ended
            && let Some(line) = json::parse(line)
        {
            match (line.get("method").and_then(Value::as_str), line.get("id")) {
                (Some(method), None) => self.told(method, &line["params"], &mut steps),
                (Some(method), Some(id)) => steps.push(reply(method, id, self.prompt.tools)),
                (None, Some(id)) => self.answered(id, &line, &mut steps),
                (None, None) => {}
            }
        }
        steps
    }

    fn exit(&mut self, end: &ToolEnd) -> Outcome {
        Outcome::Failed(match self.fault.take() {
            Some((fault, said)) => self.failure(fault, &said),
            None => fault::crashed(&ABOUT, end),
        })
    }

    fn save(&self) -> Value {
        json::save(self)
    }

    fn restore(&mut self, saved: Value) -> Result<(), serde_json::Error> {
        let prompt = std::mem::take(&mut self.prompt);
        *self = Self { prompt, ..serde_json::from_value(saved)? };
        Ok(())
    }
}

impl Talk {
    /// An answer to one of our requests.
    fn answered(&mut self, id: &Value, line: &Value, steps: &mut Vec<Step>) {
        if !line["error"].is_null() {
            self.fail(Fault::Tool, text(line, "/error/message"), steps);
        } else if id.as_i64() == Some(THREAD_START) && !self.asked {
            self.asked = true;
            self.thread = text(line, "/result/thread/id").to_owned();
            let turn = json!({
                "threadId": self.thread,
                "input": [{ "type": "text", "text": self.prompt.text }],
                "summary": "auto",
            });
            steps.push(request(TURN_START, "turn/start", &turn));
        }
    }

    /// Something happened.
    fn told(&mut self, method: &str, params: &Value, steps: &mut Vec<Step>) {
        let thread = text(params, "/threadId");
        if !thread.is_empty() && thread != self.thread {
            return;
        }
        let item = &params["item"];
        match method {
            "item/agentMessage/delta" => {
                self.say(text(params, "/itemId"), text(params, "/delta"), steps);
            }
            "item/reasoning/summaryTextDelta" | "item/reasoning/textDelta" => {
                text(params, "/itemId").clone_into(&mut self.reasoning);
                think(text(params, "/delta"), steps);
            }
            "item/reasoning/summaryPartAdded" if count(params, "/summaryIndex") > 0 => {
                think("\n\n", steps);
            }
            "item/started" => self.call(item, steps),
            "item/completed" => self.completed(item, steps),
            "thread/tokenUsage/updated" => {
                let usage = usage(&params["tokenUsage"]["total"]);
                self.usage = Some(usage);
                steps.push(Step::Emit(EventBody::Usage(usage)));
            }
            "account/rateLimits/updated" => {
                self.resets_at = params.pointer("/rateLimits/primary/resetsAt").and_then(Value::as_i64);
            }
            "error" => self.error(params, steps),
            "warning" | "guardianWarning" => {
                steps.push(Step::Emit(json::log(LogLevel::Warn, text(params, "/message"))));
            }
            "turn/completed" => self.end(&params["turn"], steps),
            _ => {}
        }
    }

    /// A piece of the answer, of the item `id`.
    fn say(&mut self, id: &str, piece: &str, steps: &mut Vec<Step>) {
        if piece.is_empty() {
            return;
        }
        let goes_on = self.open.as_deref() == Some(id);
        let text = if self.spoke && !goes_on { format!("\n\n{piece}") } else { piece.to_owned() };
        if !goes_on {
            self.open = Some(id.to_owned());
        }
        self.spoke = true;
        steps.push(Step::Emit(EventBody::Text { text }));
    }

    /// The model uses a tool, if it is that what the item is; told once.
    fn call(&mut self, item: &Value, steps: &mut Vec<Step>) {
        if let Some((name, input)) = tool(item) {
            let id = text(item, "/id").to_owned();
            if self.calls.insert(id.clone()) {
                steps.push(Step::Emit(EventBody::ToolCall { id, name, input: json::input(&input) }));
            }
        }
    }

    fn completed(&mut self, item: &Value, steps: &mut Vec<Step>) {
        let id = text(item, "/id");
        match text(item, "/type") {
            "agentMessage" => {
                if self.open.as_deref() != Some(id) {
                    self.say(id, text(item, "/text"), steps);
                }
                self.open = None;
            }
            "reasoning" if self.reasoning != id => {
                let parts = items(item, "/summary").iter().filter_map(Value::as_str);
                think(&parts.collect::<Vec<_>>().join("\n\n"), steps);
            }
            _ if tool(item).is_some() => {
                self.call(item, steps);
                let (output, truncated) = json::cut(&output(item), json::MAX_OUTPUT);
                steps.push(Step::Emit(EventBody::ToolResult {
                    id: id.to_owned(),
                    ok: !matches!(text(item, "/status"), "failed" | "declined") && item["success"] != false,
                    output,
                    truncated,
                }));
            }
            _ => {}
        }
    }

    /// A fault, after which the tool may try again.
    fn error(&mut self, params: &Value, steps: &mut Vec<Step>) {
        let error = &params["error"];
        let fault = fault_of(error);
        let said = match text(error, "/additionalDetails") {
            "" => message(error),
            details => details.to_owned(),
        };
        if params["willRetry"] != true {
            self.fault = Some((fault, said));
            return;
        }
        let refused = fault == Fault::Refused;
        if refused || self.open.is_some() {
            self.fail(if refused { fault } else { Fault::Unavailable }, &said, steps);
            return;
        }
        let told = format!("{} {said}", text(error, "/message"));
        steps.push(Step::Emit(json::log(LogLevel::Warn, &told)));
        self.fault = Some((fault, said));
    }

    fn end(&mut self, turn: &Value, steps: &mut Vec<Step>) {
        match text(turn, "/status") {
            "completed" => {
                if !self.spoke {
                    for item in items(turn, "/items") {
                        self.completed(item, steps);
                    }
                }
                self.ended = true;
                steps.push(Step::End(Outcome::Answered { usage: self.usage }));
            }
            "failed" if !turn["error"].is_null() => {
                self.fail(fault_of(&turn["error"]), &message(&turn["error"]), steps);
            }
            status => self.fail(Fault::Tool, &format!("its turn is {status}"), steps),
        }
    }

    fn fail(&mut self, fault: Fault, said: &str, steps: &mut Vec<Step>) {
        self.ended = true;
        steps.push(Step::End(Outcome::Failed(self.failure(fault, said))));
    }

    fn failure(&self, fault: Fault, said: &str) -> Failure {
        let mut failure = fault.failure(&ABOUT, said);
        if fault == Fault::RateLimited {
            failure.retry_at = self.resets_at.map(|s| time::rfc3339(s.saturating_mul(1000)));
        }
        failure
    }
}

fn send(line: &Value) -> Step {
    Step::Send(line.to_string())
}

fn request(id: i64, method: &str, params: &Value) -> Step {
    send(&json!({ "id": id, "method": method, "params": params }))
}

/// The answer to a request of the tool. It should make none; nobody is there to ask.
fn reply(method: &str, id: &Value, tools: Tools) -> Step {
    let decision = match tools {
        Tools::All => "accept",
        Tools::None => "decline",
    };
    let result = match method {
        "item/commandExecution/requestApproval" | "item/fileChange/requestApproval" => {
            json!({ "decision": decision })
        }
        "item/permissions/requestApproval" => json!({ "permissions": {} }),
        "item/tool/requestUserInput" => json!({ "answers": {} }),
        "mcpServer/elicitation/request" => json!({ "action": "decline" }),
        _ => {
            let error = json!({ "code": -32601, "message": "not supported by this client" });
            return send(&json!({ "id": id, "error": error }));
        }
    };
    send(&json!({ "id": id, "result": result }))
}

/// The name and the input of the tool that an item is a use of.
fn tool(item: &Value) -> Option<(String, Value)> {
    let (name, input) = match text(item, "/type") {
        "commandExecution" => ("exec_command", json!({ "command": item["command"], "cwd": item["cwd"] })),
        "fileChange" => ("apply_patch", json!({ "changes": item["changes"] })),
        "webSearch" => ("web_search", json!({ "query": item["query"] })),
        "imageView" => ("view_image", json!({ "path": item["path"] })),
        "mcpToolCall" | "dynamicToolCall" => (text(item, "/tool"), item["arguments"].clone()),
        "collabAgentToolCall" => (text(item, "/tool"), json!({ "prompt": item["prompt"] })),
        _ => return None,
    };
    Some((name.to_owned(), input))
}

/// What a tool said.
fn output(item: &Value) -> String {
    let said = [text(item, "/aggregatedOutput"), text(item, "/error/message")].concat();
    let parts = items(item, "/result/content").iter().chain(items(item, "/contentItems"));
    let parts = parts.map(|part| text(part, "/text").to_owned());
    std::iter::once(said).chain(parts).filter(|s| !s.is_empty()).collect::<Vec<_>>().join("\n")
}

/// What an error says; the provider's own JSON is taken apart.
fn message(error: &Value) -> String {
    let said = text(error, "/message");
    json::parse(said.as_bytes())
        .map(|inner| text(&inner, "/error/message").to_owned())
        .filter(|inner| !inner.is_empty())
        .unwrap_or_else(|| said.to_owned())
}

/// Which fault an error tells of: by the tool's own word, then by status, then by what it says.
fn fault_of(error: &Value) -> Fault {
    let info = &error["codexErrorInfo"];
    let said = text(error, "/message");
    match info.as_str().unwrap_or_default() {
        "usageLimitExceeded" if said.contains("billing") => return Fault::NoCredit,
        "usageLimitExceeded" | "sessionBudgetExceeded" | "rateLimitExceeded" | "flexUnavailable" => {
            return Fault::RateLimited;
        }
        "serverOverloaded" | "internalServerError" | "policyCapacityUnavailable" => {
            return Fault::Unavailable;
        }
        "modelNotFound" => return Fault::NoModel,
        "unauthorized" => return Fault::Refused,
        "badRequest" | "contextWindowExceeded" | "cyberPolicy" | "misalignmentPolicyViolation" => {
            return Fault::BadRequest;
        }
        _ => {}
    }
    let kind = info.as_object().and_then(|o| o.values().next());
    if let Some(kind) = kind {
        let status = kind["httpStatusCode"].as_u64().and_then(|s| u16::try_from(s).ok());
        return status.and_then(Fault::of_status).unwrap_or(Fault::Unavailable);
    }
    if said.contains("invalid_request_error") {
        Fault::BadRequest
    } else if said.contains("sign in again") {
        Fault::Refused
    } else if said.starts_with("stream disconnected") {
        Fault::Unavailable
    } else {
        Fault::Tool
    }
}

fn usage(total: &Value) -> Usage {
    Usage {
        input_tokens: count(total, "/inputTokens"),
        output_tokens: count(total, "/outputTokens"),
        cached_tokens: count(total, "/cachedInputTokens"),
        cost_usd: None,
    }
}
