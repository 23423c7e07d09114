//! Google's Generative Language API, as Gemini CLI uses it with an API key.
//!
//! Source: the public API reference (generateContent, streamGenerateContent,
//! models, `google.rpc.Status`), and what Gemini CLI 0.61.0 sends.

use crate::{
    answer::{Answer, Fault, Question, without_tag},
    proxy::Received,
    reply::{self, Reply, Script, Standing, data, json, standing, with_header},
};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

/// The hosts that are played here.
pub(crate) const HOSTS: &[&str] = &["generativelanguage.googleapis.com"];

/// What a key begins with that is accepted.
const KEY: &str = "AIzaStandin";

/// The models that `GET /v1beta/models` lists.
const MODELS: [(&str, &str); 3] = [
    ("gemini-2.5-pro", "Gemini 2.5 Pro"),
    ("gemini-2.5-flash", "Gemini 2.5 Flash"),
    ("gemini-2.5-flash-lite", "Gemini 2.5 Flash-Lite"),
];

/// Answers one request.
pub(crate) fn answer(request: &Received) -> Reply {
    let Some(path) = request.path.strip_prefix("/v1beta/models") else { return not_found() };
    let call = path.strip_prefix('/').and_then(|path| path.split_once(':'));
    match (&request.method, path, call) {
        (&Method::GET, "", _) => refusal(request).unwrap_or_else(models),
        (&Method::POST, _, Some((model, "streamGenerateContent"))) => {
            refusal(request).unwrap_or_else(|| generate(request, model, true))
        }
        (&Method::POST, _, Some((model, "generateContent"))) => {
            refusal(request).unwrap_or_else(|| generate(request, model, false))
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

fn generate(request: &Received, model: &str, stream: bool) -> Reply {
    let asked: GenerateRequest = match serde_json::from_slice(&request.body) {
        Ok(asked) => asked,
        Err(e) => return error(400, "INVALID_ARGUMENT", &e.to_string(), &[]),
    };
    let mut question = question(&asked.contents);
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
        let chunks = chunks.map(|(n, part)| data(&response(model, &[part], n + 1, n == last))).collect();
        Script { chunks, ..Script::default() }.play(question.fault)
    } else {
        let tokens = parts.len();
        reply::whole(&response(model, &parts, tokens, true), question.fault)
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
        Fault::Unauthorized => {
            let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, \
                           login cookie or other valid authentication credential.";
            Some(error(401, "UNAUTHENTICATED", message, &[]))
        }
        Fault::RateLimited => {
            let message = "Resource has been exhausted (e.g. check quota).";
            let retry = json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"});
            Some(with_header(error(429, "RESOURCE_EXHAUSTED", message, &[retry]), "retry-after", "7"))
        }
        Fault::Internal => Some(error(500, "INTERNAL", "An internal error has occurred. Please retry.", &[])),
        // Google says 503 to what Anthropic says 529 to.
        Fault::Overloaded => Some(error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.", &[])),
        Fault::Slow(_) | Fault::Stall | Fault::Cut => None,
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
