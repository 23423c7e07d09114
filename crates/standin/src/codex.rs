//! OpenAI's Responses API, as Codex uses it: with an API key, and with a ChatGPT login at ChatGPT's backend.
//!
//! Source: the public API reference (responses, streaming events, errors,
//! models), and what Codex 0.169.0 sends.

mod device;
mod login;
mod pages;

use crate::{
    Ledger,
    answer::{Answer, Fault, Question},
    received::Received,
    reply::{self, Reply, Script, Standing, event, json, standing, with_header},
};
pub(crate) use device::approve;
use http::Method;
pub(crate) use login::api_key;
use login::holder;
use serde::Deserialize;
use serde_json::{Value, json};

/// The hosts that are played here.
pub(crate) const HOSTS: &[&str] = &["api.openai.com", "chatgpt.com", "auth.openai.com"];

/// What a key begins with that is accepted.
const KEY: &str = "sk-standin-";

/// The models that `GET /v1/models` lists.
const MODELS: [&str; 3] = ["gpt-5.5", "gpt-5.4-mini", "gpt-5-codex"];

/// What Codex wraps around a prompt, in messages of the person's role.
const WRAPPERS: [&str; 4] = ["<environment_context>", "<user_instructions>", "# AGENTS.md", "<permissions"];

/// Answers one request.
pub(crate) fn answer(request: &Received, ledger: &Ledger) -> Reply {
    match request.host.as_str() {
        "auth.openai.com" => match (&request.method, request.path.as_str()) {
            (&Method::POST, "/oauth/token") => login::token(request, ledger),
            (&Method::POST, device::BEGIN) => device::begin(ledger),
            (&Method::POST, device::POLL) => device::poll(request, ledger),
            (&Method::POST, "/oauth/revoke") => login::revoke(request, ledger),
            _ => pages::answer(request, ledger).unwrap_or_else(not_found),
        },
        "chatgpt.com" => by_login(request, ledger),
        _ => by_key(request),
    }
}

fn by_key(request: &Received) -> Reply {
    match (&request.method, request.path.as_str()) {
        (&Method::GET, "/v1/models") => refusal(request).unwrap_or_else(models),
        (&Method::POST, "/v1/responses") => refusal(request).unwrap_or_else(|| responses(request)),
        (&Method::GET, "/v1/responses") => no_websocket(),
        _ => not_found(),
    }
}

fn by_login(request: &Received, ledger: &Ledger) -> Reply {
    let Some(path) = request.path.strip_prefix("/backend-api") else { return not_found() };
    let holder = match holder(request, ledger) {
        Ok(holder) => holder,
        Err(refusal) => return *refusal,
    };
    if holder.mute {
        return error(500, "server_error", "The server had an error while processing your request.", None);
    }
    match (&request.method, path) {
        (&Method::GET, "/wham/accounts/check") => login::accounts_check(&holder),
        (&Method::GET, "/wham/usage") => login::usage(),
        (&Method::POST, "/codex/responses") => responses(request),
        (&Method::GET, "/codex/responses") => no_websocket(),
        _ => not_found(),
    }
}

/// A WebSocket is asked for first; this makes Codex fall back to HTTP at once.
fn no_websocket() -> Reply {
    error(426, "upgrade_required", "Use HTTP", None)
}

fn not_found() -> Reply {
    error(404, "invalid_request_error", "Unknown request URL", None)
}

fn refusal(request: &Received) -> Option<Reply> {
    let Some(key) = request.bearer() else {
        let message = "You didn't provide an API key.";
        return Some(error(401, "invalid_request_error", message, None));
    };
    match standing(key, KEY) {
        Standing::Good => None,
        Standing::Limited => fault_reply(Fault::RateLimited),
        Standing::Refused => Some(bad_key(key)),
    }
}

fn bad_key(key: &str) -> Reply {
    let tail: String = key.chars().skip(key.chars().count().saturating_sub(4)).collect();
    let message = format!(
        "Incorrect API key provided: sk-***{tail}. You can find your API key at \
         https://platform.openai.com/account/api-keys."
    );
    error(401, "invalid_request_error", &message, Some("invalid_api_key"))
}

fn models() -> Reply {
    let data: Vec<Value> = MODELS
        .iter()
        .map(|id| json!({"id": id, "object": "model", "created": 1_767_225_600, "owned_by": "system"}))
        .collect();
    json(200, &json!({"object": "list", "data": data}))
}

#[derive(Deserialize)]
struct ResponsesRequest {
    #[serde(default)]
    model: String,
    #[serde(default)]
    input: Vec<Value>,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    stream: bool,
}

fn responses(request: &Received) -> Reply {
    let asked: ResponsesRequest = match serde_json::from_slice(&request.body) {
        Ok(asked) => asked,
        Err(e) => return error(400, "invalid_request_error", &e.to_string(), None),
    };
    let mut question = question(&asked.input);
    if question.fault == Some(Fault::BadRequest) {
        return error(400, "invalid_request_error", &question.answer.words(), None);
    }
    if let Some(refusal) = question.fault.and_then(fault_reply) {
        return refusal;
    }
    let call = match &question.answer {
        Answer::Text(_) => None,
        Answer::Shell(command) => shell_call(&asked, command),
    };
    if let (Answer::Shell(_), None) = (&question.answer, &call) {
        question.answer = Answer::text("No shell was offered to me.");
    }
    let script = script(&asked.model, question.answer, call);
    if asked.stream { script.play(question.fault) } else { reply::whole(&script.response, question.fault) }
}

/// What the person asked, or what the shell has said since.
fn question(input: &[Value]) -> Question {
    for item in input.iter().rev() {
        match item["type"].as_str() {
            Some("function_call_output" | "custom_tool_call_output") => {
                return Question::after_shell(&shell_output(&item["output"]));
            }
            Some("message") | None if item["role"] == "user" => {
                let text = item["content"].as_str().map(str::to_owned).unwrap_or_else(|| texts(&item["content"]));
                if !text.trim().is_empty() {
                    return Question::read(&text);
                }
            }
            _ => {}
        }
    }
    Question::read("")
}

/// The person's own texts of a message.
fn texts(content: &Value) -> String {
    let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
    blocks
        .iter()
        .filter_map(|block| block["text"].as_str())
        .filter(|text| !WRAPPERS.iter().any(|wrapper| text.trim_start().starts_with(wrapper)))
        .collect()
}

/// What a command printed: Codex puts lines of its own before an `Output:` line.
fn shell_output(output: &Value) -> String {
    let text = output.as_str().map(str::to_owned).unwrap_or_else(|| texts(output));
    match text.split_once("Output:\n") {
        Some((_, printed)) => printed.to_owned(),
        None => text,
    }
}

/// A call of whichever shell was offered: a function of the request's `tools`, or
/// of the JavaScript that newer models write for `exec`.
fn shell_call(request: &ResponsesRequest, command: &str) -> Option<Value> {
    let offered = |name: &str| request.tools.iter().any(|tool| tool["name"] == name);
    let (name, arguments) = if offers_exec(&request.input) {
        let script = format!("const r = await tools.exec_command({});\ntext(r.output);", json!({"cmd": command}));
        return Some(json!({
            "type": "custom_tool_call", "id": "ctc_standin", "call_id": "call_standin", "name": "exec",
            "namespace": "functions", "input": script, "status": "completed",
        }));
    } else if offered("exec_command") {
        ("exec_command", json!({"cmd": command}))
    } else if offered("shell_command") {
        ("shell_command", json!({"command": command}))
    } else if offered("shell") {
        ("shell", json!({"command": ["bash", "-lc", command]}))
    } else {
        return None;
    };
    Some(json!({
        "type": "function_call", "id": "fc_standin", "call_id": "call_standin", "name": name,
        "arguments": arguments.to_string(), "status": "completed",
    }))
}

fn offers_exec(input: &[Value]) -> bool {
    let added = input.iter().filter(|item| item["type"] == "additional_tools");
    let spaces = added.filter_map(|item| item["tools"].as_array()).flatten();
    let tools = spaces.filter_map(|space| space["tools"].as_array()).flatten();
    tools.into_iter().any(|tool| tool["type"] == "custom" && tool["name"] == "exec")
}

/// A response, streamed or whole.
struct Played {
    script: Script,
    response: Value,
}

impl Played {
    fn play(self, fault: Option<Fault>) -> Reply {
        with_header(self.script.play(fault), "x-request-id", "req_standin")
    }
}

fn script(model: &str, answer: Answer, call: Option<Value>) -> Played {
    let mut events = Events::default();
    let response = |status: &str, output: &[Value], usage: Value| {
        json!({
            "id": "resp_standin", "object": "response", "created_at": 1_767_225_600, "status": status,
            "model": model, "output": output, "error": null, "usage": usage,
        })
    };
    let begun = response("in_progress", &[], Value::Null);
    let mut script = Script {
        head: vec![
            events.next("response.created", json!({"response": begun})),
            events.next("response.in_progress", json!({"response": begun})),
        ],
        ..Script::default()
    };
    let (item, output_tokens) = match (answer, call) {
        (Answer::Text(chunks), None) => {
            let at = json!({"item_id": "msg_standin", "output_index": 0, "content_index": 0});
            let item = |status: &str, content: &[Value]| json!({"type": "message", "id": "msg_standin", "role": "assistant", "status": status, "content": content});
            let part = |text: &str| json!({"type": "output_text", "text": text, "annotations": []});
            script.head.push(
                events.next("response.output_item.added", json!({"output_index": 0, "item": item("in_progress", &[])})),
            );
            script.head.push(events.next("response.content_part.added", with(&at, json!({"part": part("")}))));
            for chunk in &chunks {
                script.chunks.push(events.next("response.output_text.delta", with(&at, json!({"delta": chunk}))));
            }
            let text = chunks.concat();
            script.tail.push(events.next("response.output_text.done", with(&at, json!({"text": text}))));
            script.tail.push(events.next("response.content_part.done", with(&at, json!({"part": part(&text)}))));
            (item("completed", &[part(&text)]), chunks.len() + 1)
        }
        (_, call) => {
            let item = call.unwrap_or_default();
            // One event each would do: the tool reads the whole call from the last one.
            let (field, kind) = if item["type"] == "custom_tool_call" {
                ("input", "response.custom_tool_call_input")
            } else {
                ("arguments", "response.function_call_arguments")
            };
            let at = json!({"item_id": item["id"], "output_index": 0});
            let added = with(&item, json!({field: "", "status": "in_progress"}));
            script.head.push(events.next("response.output_item.added", json!({"output_index": 0, "item": added})));
            script.chunks.push(events.next(&format!("{kind}.delta"), with(&at, json!({"delta": item[field]}))));
            script.tail.push(events.next(&format!("{kind}.done"), with(&at, json!({field: item[field]}))));
            (item, 8)
        }
    };
    let usage = json!({
        "input_tokens": 12, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output_tokens, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 12 + output_tokens,
    });
    let done = response("completed", std::slice::from_ref(&item), usage);
    script.tail.push(events.next("response.output_item.done", json!({"output_index": 0, "item": item})));
    script.tail.push(events.next("response.completed", json!({"response": done})));
    Played { script, response: done }
}

/// Numbers the events of a stream.
#[derive(Default)]
struct Events(u64);

impl Events {
    fn next(&mut self, kind: &str, data: Value) -> String {
        let data = with(&json!({"type": kind, "sequence_number": self.0}), data);
        self.0 += 1;
        event(kind, &data)
    }
}

/// An object with the fields of another.
fn with(object: &Value, more: Value) -> Value {
    let mut object = object.clone();
    if let (Value::Object(fields), Value::Object(more)) = (&mut object, more) {
        fields.extend(more);
    }
    object
}

/// The answer that a fault asks for, if it is one that comes before any stream.
fn fault_reply(fault: Fault) -> Option<Reply> {
    match fault {
        Fault::Unauthorized => Some(bad_key("standin")),
        Fault::RateLimited => {
            let message = "Rate limit reached for requests. Please try again in 7s.";
            let refused = error(429, "requests", message, Some("rate_limit_exceeded"));
            Some(with_header(refused, "retry-after", "7"))
        }
        Fault::Internal => {
            let message = "The server had an error while processing your request. Sorry about that!";
            Some(error(500, "server_error", message, None))
        }
        // OpenAI says 503 to what Anthropic says 529 to.
        Fault::Overloaded => {
            let message = "The engine is currently overloaded, please try again later.";
            Some(error(503, "server_error", message, Some("server_is_overloaded")))
        }
        Fault::BadRequest | Fault::Slow(_) | Fault::Stall | Fault::Cut => None,
    }
}

fn error(status: u16, kind: &str, message: &str, code: Option<&str>) -> Reply {
    let body = json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
    with_header(json(status, &body), "x-request-id", "req_standin")
}
