//! Google's Generative Language API, as Gemini CLI uses it with an API key, and Code Assist, with a login.
//!
//! Source: the public API reference (generateContent, streamGenerateContent,
//! models, `google.rpc.Status`), and what Gemini CLI 0.61.0 sends.

mod assist;
mod login;
mod pages;

use crate::{
    Ledger,
    accounts::Holder,
    answer::{Answer, Fault, Question, without_tag},
    received::Received,
    reply::{self, Reply, Script, Standing, data, json, standing, with_header},
};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

/// The hosts that are played here.
pub(crate) const HOSTS: &[&str] = &[
    "generativelanguage.googleapis.com",
    "oauth2.googleapis.com",
    "www.googleapis.com",
    "cloudcode-pa.googleapis.com",
    "accounts.google.com",
    "codeassist.google.com",
    "developers.google.com",
];

/// What Google says to whoever is not signed in.
const UNAUTHENTICATED: &str = "Request had invalid authentication credentials. Expected OAuth 2 access token, \
                               login cookie or other valid authentication credential.";

/// What Google says of a fault of its own.
const INTERNAL: &str = "An internal error has occurred. Please retry.";

/// What a key begins with that is accepted.
const KEY: &str = "AIzaStandin";

/// The models that `GET /v1beta/models` lists.
const MODELS: [(&str, &str); 3] = [
    ("gemini-2.5-pro", "Gemini 2.5 Pro"),
    ("gemini-2.5-flash", "Gemini 2.5 Flash"),
    ("gemini-2.5-flash-lite", "Gemini 2.5 Flash-Lite"),
];

/// Answers one request.
pub(crate) fn answer(request: &Received, ledger: &Ledger) -> Reply {
    if let Some(page) = pages::answer(request, ledger) {
        return page;
    }
    let with_holder = |tell: &dyn Fn(&Holder) -> Reply| match login::holder(request, ledger) {
        Ok(holder) if holder.mute => error(500, "INTERNAL", INTERNAL, &[]),
        Ok(holder) => tell(&holder),
        Err(refusal) => *refusal,
    };
    match (request.host.as_str(), &request.method, request.path.as_str()) {
        ("oauth2.googleapis.com", &Method::POST, "/token") => login::token(request, ledger),
        ("oauth2.googleapis.com", &Method::POST, "/revoke") => login::revoke(request, ledger),
        ("oauth2.googleapis.com", &Method::POST, "/tokeninfo") => login::token_info(request, ledger),
        ("www.googleapis.com", &Method::GET, "/oauth2/v2/userinfo") => with_holder(&login::user_info),
        ("cloudcode-pa.googleapis.com", &Method::POST, path) => match path.strip_prefix(assist::PATH) {
            Some(method) => with_holder(&|holder| assist::answer(request, method, holder)),
            None => not_found(),
        },
        ("generativelanguage.googleapis.com", _, _) => by_key(request),
        _ => not_found(),
    }
}

fn by_key(request: &Received) -> Reply {
    let Some(path) = request.path.strip_prefix("/v1beta/models") else { return not_found() };
    let call = path.strip_prefix('/').and_then(|path| path.split_once(':'));
    match (&request.method, path, call) {
        (&Method::GET, "", _) => refusal(request).unwrap_or_else(models),
        (&Method::POST, _, Some((model, "streamGenerateContent"))) => {
            refusal(request).unwrap_or_else(|| plain(request, model, true))
        }
        (&Method::POST, _, Some((model, "generateContent"))) => {
            refusal(request).unwrap_or_else(|| plain(request, model, false))
        }
        (&Method::POST, _, Some((_, "countTokens"))) => {
            refusal(request).unwrap_or_else(|| json(200, &json!({"totalTokens": 12})))
        }
        _ => not_found(),
    }
}

fn refusal(request: &Received) -> Option<Reply> {
    let Some(key) = request.header("x-goog-api-key").or_else(|| request.parameter("key")) else {
        let message = "Method doesn't allow unregistered callers (callers without established identity). \
                       Please use API Key or other form of API consumer identity to call this API.";
        return Some(error(403, "PERMISSION_DENIED", message, &[]));
    };
    match standing(key, KEY) {
        Standing::Good => None,
        Standing::Limited => fault_reply(Fault::RateLimited),
        Standing::Refused => Some(bad_key()),
    }
}

/// A key that is none, or none any more: Google says 400, not 401.
fn bad_key() -> Reply {
    let message = "API key not valid. Please pass a valid API key.";
    let details = [
        json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
            "domain": "googleapis.com", "metadata": {"service": HOSTS[0]},
        }),
        json!({
            "@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": message,
        }),
    ];
    error(400, "INVALID_ARGUMENT", message, &details)
}

fn models() -> Reply {
    let models: Vec<Value> = MODELS
        .iter()
        .map(|(id, name)| {
            json!({
                "name": format!("models/{id}"), "displayName": name, "inputTokenLimit": 1_048_576,
                "outputTokenLimit": 65_536, "supportedGenerationMethods": ["generateContent", "countTokens"],
            })
        })
        .collect();
    json(200, &json!({"models": models}))
}

#[derive(Deserialize)]
struct GenerateRequest {
    contents: Vec<Turn>,
    #[serde(default)]
    tools: Vec<Value>,
}

#[derive(Deserialize)]
struct Turn {
    #[serde(default)]
    role: String,
    #[serde(default)]
    parts: Vec<Value>,
}

/// How an answer comes: by itself, or wrapped as Code Assist does.
#[derive(Clone, Copy)]
enum Shape {
    Plain,
    Wrapped,
}

impl Shape {
    fn around(self, response: Value) -> Value {
        match self {
            Self::Plain => response,
            Self::Wrapped => json!({"response": response, "traceId": "standin"}),
        }
    }
}

fn plain(request: &Received, model: &str, stream: bool) -> Reply {
    match serde_json::from_slice(&request.body) {
        Ok(asked) => generate(asked, model, stream, Shape::Plain),
        Err(e) => error(400, "INVALID_ARGUMENT", &e.to_string(), &[]),
    }
}

fn generate(asked: GenerateRequest, model: &str, stream: bool, shape: Shape) -> Reply {
    let mut question = question(&asked.contents);
    if question.fault == Some(Fault::BadRequest) {
        return error(400, "INVALID_ARGUMENT", &question.answer.words(), &[]);
    }
    if let Some(refusal) = question.fault.and_then(fault_reply) {
        return refusal;
    }
    if matches!(question.answer, Answer::Shell(_)) && !offers_shell(&asked.tools) {
        question.answer = Answer::text("No tool `run_shell_command` was offered to me.");
    }
    let parts: Vec<Value> = match question.answer {
        Answer::Text(chunks) => chunks.into_iter().map(|text| json!({"text": text})).collect(),
        Answer::Shell(command) => {
            vec![json!({"functionCall": {"name": "run_shell_command", "args": {"command": command}}})]
        }
    };
    if stream {
        let last = parts.len().saturating_sub(1);
        let chunks = parts.into_iter().enumerate();
        let chunks = chunks.map(|(n, part)| data(&shape.around(response(model, &[part], n + 1, n == last)))).collect();
        Script { chunks, ..Script::default() }.play(question.fault)
    } else {
        let tokens = parts.len();
        reply::whole(&shape.around(response(model, &parts, tokens, true)), question.fault)
    }
}

fn offers_shell(tools: &[Value]) -> bool {
    let declared = tools.iter().filter_map(|tool| tool["functionDeclarations"].as_array()).flatten();
    declared.into_iter().any(|function| function["name"] == "run_shell_command")
}

/// What the person asked, or what the shell has said since.
fn question(contents: &[Turn]) -> Question {
    let Some(turn) = contents.iter().rev().find(|turn| turn.role != "model") else { return Question::read("") };
    if let Some(response) = turn.parts.iter().rev().find_map(|part| part.get("functionResponse")) {
        return Question::after_shell(&shell_output(&response["response"]["output"]));
    }
    let texts = turn.parts.iter().rev().filter_map(|part| part["text"].as_str());
    let own = texts.map(|text| without_tag(text, "session_context")).find(|text| !text.trim().is_empty());
    Question::read(&own.unwrap_or_default())
}

/// What a command printed: Gemini CLI puts `Output: ` before it.
fn shell_output(output: &Value) -> String {
    let text = output.as_str().unwrap_or_default();
    text.split_once("Output: ").map_or(text, |(_, printed)| printed).to_owned()
}

fn response(model: &str, parts: &[Value], tokens: usize, last: bool) -> Value {
    let mut candidate = json!({"content": {"role": "model", "parts": parts}, "index": 0});
    if last {
        candidate["finishReason"] = json!("STOP");
    }
    json!({
        "candidates": [candidate],
        "usageMetadata": {"promptTokenCount": 12, "candidatesTokenCount": tokens, "totalTokenCount": 12 + tokens},
        "modelVersion": model, "responseId": "standin",
    })
}

/// The answer that a fault asks for, if it is one that comes before any stream.
fn fault_reply(fault: Fault) -> Option<Reply> {
    match fault {
        Fault::Unauthorized => Some(error(401, "UNAUTHENTICATED", UNAUTHENTICATED, &[])),
        Fault::RateLimited => {
            let message = "Resource has been exhausted (e.g. check quota).";
            let retry = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"});
            Some(with_header(error(429, "RESOURCE_EXHAUSTED", message, &[retry]), "retry-after", "7"))
        }
        Fault::Internal => Some(error(500, "INTERNAL", INTERNAL, &[])),
        // Google says 503 to what Anthropic says 529 to.
        Fault::Overloaded => Some(error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.", &[])),
        Fault::BadRequest | Fault::Slow(_) | Fault::Stall | Fault::Cut => None,
    }
}

fn not_found() -> Reply {
    error(404, "NOT_FOUND", "Requested entity was not found.", &[])
}

fn error(status: u16, name: &str, message: &str, details: &[Value]) -> Reply {
    let mut error = json!({"code": status, "message": message, "status": name});
    if !details.is_empty() {
        error["details"] = json!(details);
    }
    json(status, &json!({"error": error}))
}
