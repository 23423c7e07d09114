//! Anthropic's Messages API, as Claude Code uses it: by API key, by login and by setup token.
//!
//! Source: the public API reference (messages, streaming, errors, models), and
//! what Claude Code 2.1.330 sends.

mod login;
mod pages;

use crate::{
    Ledger,
    accounts::Holder,
    answer::{Answer, Fault, Question, without_tag},
    received::Received,
    reply::{self, Reply, Script, Standing, event, json, standing, with_header},
};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

/// The hosts that are played here.
pub(crate) const HOSTS: &[&str] = &["api.anthropic.com", "platform.claude.com", "claude.com", "claude.ai"];

/// What a key begins with that is accepted.
const KEY: &str = "sk-ant-standin-";

/// The models that `GET /v1/models` lists.
const MODELS: [(&str, &str); 3] = [
    ("claude-opus-5-5", "Claude Opus 5.5"),
    ("claude-sonnet-5", "Claude Sonnet 5"),
    ("claude-haiku-4-5", "Claude Haiku 4.5"),
];

/// Answers one request.
pub(crate) fn answer(request: &Received, ledger: &Ledger) -> Reply {
    if let Some(page) = pages::answer(request, ledger) {
        return page;
    }
    let route = (request.host.as_str(), &request.method, request.path.as_str());
    let refused = match route {
        ("platform.claude.com", &Method::POST, "/v1/oauth/token") => return login::token(request, ledger),
        ("platform.claude.com", &Method::POST, "/v1/oauth/token/revoke") => return login::revoke(request, ledger),
        // Asked by the first run in a terminal, which ends at anything but a 200.
        ("api.anthropic.com", &Method::GET, "/api/hello")
        | ("platform.claude.com", &Method::GET, "/v1/oauth/hello") => {
            return json(200, &json!({"message": "hello"}));
        }
        ("api.anthropic.com", &Method::GET, "/api/oauth/profile") => {
            return about_the_holder(request, ledger, login::profile);
        }
        ("api.anthropic.com", &Method::GET, "/api/oauth/claude_cli/roles") => {
            return about_the_holder(request, ledger, login::roles);
        }
        ("api.anthropic.com", &Method::GET, "/v1/models" | "/v1/mcp_servers")
        | ("api.anthropic.com", &Method::POST, "/v1/messages" | "/v1/messages/count_tokens") => {
            refusal(request, ledger)
        }
        _ => return error(404, "not_found_error", "Not found"),
    };
    match (refused, request.path.as_str()) {
        (Some(refusal), _) => refusal,
        (None, "/v1/models") => models(),
        // A login's own servers: there are none.
        (None, "/v1/mcp_servers") => json(200, &json!({"data": [], "has_more": false, "next_page": null})),
        (None, "/v1/messages/count_tokens") => json(200, &json!({"input_tokens": 12})),
        (None, _) => messages(request),
    }
}

fn about_the_holder(request: &Received, ledger: &Ledger, tell: fn(&Holder) -> Reply) -> Reply {
    match login::holder(request, request.bearer().unwrap_or_default(), ledger) {
        Ok(holder) if holder.mute => error(500, "api_error", "Internal server error"),
        Ok(holder) => tell(&holder),
        Err(refusal) => *refusal,
    }
}

fn refusal(request: &Received, ledger: &Ledger) -> Option<Reply> {
    if request.header("anthropic-version").is_none() {
        return Some(error(400, "invalid_request_error", "anthropic-version: header is required"));
    }
    let Some(key) = request.header("x-api-key") else {
        let message = "x-api-key header is required";
        let Some(token) = request.bearer() else { return Some(error(401, "authentication_error", message)) };
        return login::holder(request, token, ledger).err().map(|refusal| *refusal);
    };
    match standing(key, KEY) {
        Standing::Good => None,
        Standing::Limited => Some(fault_reply(Fault::RateLimited)?),
        Standing::Refused => Some(error(401, "authentication_error", "invalid x-api-key")),
    }
}

fn models() -> Reply {
    let data: Vec<Value> = MODELS
        .iter()
        .map(
            |(id, name)| json!({"type": "model", "id": id, "display_name": name, "created_at": "2026-01-01T00:00:00Z"}),
        )
        .collect();
    let (first, last) = (MODELS[0].0, MODELS[MODELS.len() - 1].0);
    json(200, &json!({"data": data, "has_more": false, "first_id": first, "last_id": last}))
}

#[derive(Deserialize)]
struct MessagesRequest {
    #[serde(default)]
    model: String,
    messages: Vec<Message>,
    #[serde(default)]
    tools: Vec<Tool>,
    #[serde(default)]
    stream: bool,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: Content,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Blocks(Vec<Value>),
}

#[derive(Deserialize)]
struct Tool {
    #[serde(default)]
    name: String,
}

fn messages(request: &Received) -> Reply {
    let asked: MessagesRequest = match serde_json::from_slice(&request.body) {
        Ok(asked) => asked,
        Err(e) => return error(400, "invalid_request_error", &e.to_string()),
    };
    let mut question = question(&asked.messages);
    if question.fault == Some(Fault::BadRequest) {
        return error(400, "invalid_request_error", &question.answer.words());
    }
    if let Some(refusal) = question.fault.and_then(fault_reply) {
        return refusal;
    }
    if matches!(question.answer, Answer::Shell(_)) && !asked.tools.iter().any(|tool| tool.name == "Bash") {
        question.answer = Answer::text("No tool `Bash` was offered to me.");
    }
    if asked.stream { stream(&asked.model, question) } else { whole(&asked.model, question) }
}

/// What the person asked: the last message that is not the tool's own.
fn question(messages: &[Message]) -> Question {
    let last = messages.iter().rev().find(|message| message.role == "user");
    let prompt = match last.map(|message| &message.content) {
        None => String::new(),
        Some(Content::Text(text)) => without_tag(text, "system-reminder"),
        Some(Content::Blocks(blocks)) => {
            if let Some(result) = blocks.iter().rev().find(|block| block["type"] == "tool_result") {
                return Question::after_shell(&text_of(&result["content"]));
            }
            blocks
                .iter()
                .rev()
                .filter_map(|block| block["text"].as_str())
                .map(|text| without_tag(text, "system-reminder"))
                .find(|text| !text.trim().is_empty())
                .unwrap_or_default()
        }
    };
    Question::read(&prompt)
}

/// The text of a tool's result: a string, or blocks.
fn text_of(content: &Value) -> String {
    match content.as_array() {
        Some(blocks) => blocks.iter().filter_map(|block| block["text"].as_str()).collect(),
        None => content.as_str().unwrap_or_default().to_owned(),
    }
}

fn message(model: &str, content: &[Value], stop: Option<&str>, output_tokens: usize) -> Value {
    json!({
        "id": "msg_standin", "type": "message", "role": "assistant", "model": model, "content": content,
        "stop_reason": stop, "stop_sequence": null,
        "usage": {
            "input_tokens": 12, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "output_tokens": output_tokens,
        },
    })
}

fn whole(model: &str, question: Question) -> Reply {
    let message = match question.answer {
        Answer::Text(chunks) => {
            message(model, &[json!({"type": "text", "text": chunks.concat()})], Some("end_turn"), chunks.len() + 1)
        }
        Answer::Shell(command) => message(model, &[tool_use(json!({"command": command}))], Some("tool_use"), 8),
    };
    with_header(reply::whole(&message, question.fault), "request-id", "req_standin")
}

fn tool_use(input: Value) -> Value {
    json!({"type": "tool_use", "id": "toolu_standin", "name": "Bash", "input": input})
}

fn stream(model: &str, question: Question) -> Reply {
    let (block, deltas, stop) = match question.answer {
        Answer::Text(chunks) => {
            let deltas = chunks.into_iter().map(|text| json!({"type": "text_delta", "text": text})).collect();
            (json!({"type": "text", "text": ""}), deltas, "end_turn")
        }
        Answer::Shell(command) => {
            let input = json!({"command": command, "description": "Run a command"}).to_string();
            let delta = json!({"type": "input_json_delta", "partial_json": input});
            (tool_use(json!({})), vec![delta], "tool_use")
        }
    };
    let output_tokens = deltas.len() + 1;
    let named = |data: Value| event(data["type"].as_str().unwrap_or_default(), &data);
    let deltas: Vec<Value> = deltas;
    let script = Script {
        head: vec![
            named(json!({"type": "message_start", "message": message(model, &[], None, 1)})),
            named(json!({"type": "content_block_start", "index": 0, "content_block": block})),
        ],
        chunks: deltas
            .into_iter()
            .map(|delta| named(json!({"type": "content_block_delta", "index": 0, "delta": delta})))
            .collect(),
        tail: vec![
            named(json!({"type": "content_block_stop", "index": 0})),
            named(json!({
                "type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": null},
                "usage": {"output_tokens": output_tokens},
            })),
            named(json!({"type": "message_stop"})),
        ],
    };
    with_header(script.play(question.fault), "request-id", "req_standin")
}

/// The answer that a fault asks for, if it is one that comes before any stream.
fn fault_reply(fault: Fault) -> Option<Reply> {
    match fault {
        Fault::Unauthorized => Some(error(401, "authentication_error", "invalid x-api-key")),
        Fault::RateLimited => {
            let message = "This request would exceed your account's rate limit. Please try again later.";
            Some(with_header(error(429, "rate_limit_error", message), "retry-after", "7"))
        }
        Fault::Internal => Some(error(500, "api_error", "Internal server error")),
        Fault::Overloaded => Some(error(529, "overloaded_error", "Overloaded")),
        Fault::BadRequest | Fault::Slow(_) | Fault::Stall | Fault::Cut => None,
    }
}

fn error(status: u16, kind: &str, message: &str) -> Reply {
    let body = json!({
        "type": "error", "error": {"type": kind, "message": message}, "request_id": "req_standin",
    });
    with_header(json(status, &body), "request-id", "req_standin")
}
