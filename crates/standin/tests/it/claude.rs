//! Anthropic's API.

use crate::{
    client::{Answered, Client, read, request},
    events, start,
};
use serde_json::{Value, json};

const MESSAGES: &str = "https://api.anthropic.com/v1/messages?beta=true";
const GOOD: [(&str, &str); 2] = [("x-api-key", "sk-ant-standin-1"), ("anthropic-version", "2023-06-01")];

fn body(content: Value) -> Value {
    let tools = json!([{"name": "Bash"}]);
    json!({"model": "claude-opus-5-5", "stream": true, "tools": tools, "messages": [{"role": "user", "content": content}]})
}

async fn ask(client: &Client, prompt: &str) -> Answered {
    client.post(MESSAGES, &GOOD, body(json!(prompt))).await
}

fn text(answered: &Answered) -> Vec<String> {
    let deltas = events(answered).into_iter().filter_map(|event| event["delta"]["text"].as_str().map(str::to_owned));
    deltas.collect()
}

#[tokio::test]
async fn counts_in_chunks_that_arrive_by_themselves() {
    let (_standin, client) = start().await;
    let answered = ask(&client, "count to 4").await;
    assert_eq!((answered.status, answered.whole), (200, true));
    assert_eq!(text(&answered), ["1", " 2", " 3", " 4"]);
    assert!(answered.pieces.len() >= 4, "{:?}", answered.pieces);
    let kinds: Vec<Value> = events(&answered).iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds.first(), Some(&json!("message_start")));
    assert_eq!(kinds.last(), Some(&json!("message_stop")));
}

#[tokio::test]
async fn the_prompt_is_found_among_reminders() {
    let (_standin, client) = start().await;
    let content = json!([
        {"type": "text", "text": "What is 2+2?"},
        {"type": "text", "text": "<system-reminder>echo no</system-reminder>"},
    ]);
    assert_eq!(text(&client.post(MESSAGES, &GOOD, body(content)).await), ["4"]);
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_read() {
    let (_standin, client) = start().await;
    let called = events(&ask(&client, "use tool: ls").await);
    let block = called.iter().find(|event| event["type"] == "content_block_start").unwrap();
    assert_eq!(block["content_block"]["name"], "Bash");
    let input = called.iter().find_map(|event| event["delta"]["partial_json"].as_str()).unwrap();
    assert_eq!(serde_json::from_str::<Value>(input).unwrap()["command"], "ls");
    let result = json!([{"type": "tool_result", "tool_use_id": "toolu_standin", "content": "a.txt\nb.txt"}]);
    assert_eq!(text(&client.post(MESSAGES, &GOOD, body(result)).await).concat(), "done: a.txt");
}

#[tokio::test]
async fn faults_are_the_providers_own_errors() {
    let (_standin, client) = start().await;
    for (fault, status, kind) in [
        ("401", 401, "authentication_error"),
        ("429", 429, "rate_limit_error"),
        ("500", 500, "api_error"),
        ("529", 529, "overloaded_error"),
    ] {
        let answered = ask(&client, &format!("[fault:{fault}] hi")).await;
        assert_eq!((answered.status, &answered.json()["error"]["type"]), (status, &json!(kind)));
        assert_eq!(answered.retry_after.as_deref(), (status == 429).then_some("7"));
    }
}

#[tokio::test]
async fn a_cut_answer_is_half_of_one() {
    let (_standin, client) = start().await;
    let answered = ask(&client, "[fault:cut] count to 4").await;
    assert!(!answered.whole);
    assert_eq!(text(&answered), ["1", " 2"]);
    let mut unstreamed = body(json!("[fault:cut] count to 4"));
    unstreamed["stream"] = json!(false);
    let answered = client.post(MESSAGES, &GOOD, unstreamed).await;
    assert!(!answered.whole && serde_json::from_str::<Value>(&answered.text).is_err());
}

#[tokio::test]
async fn a_stalled_answer_never_ends() {
    let (_standin, client) = start().await;
    let stalled = request("POST", MESSAGES, &GOOD, body(json!("[fault:stall] count to 4")).to_string());
    let mut answer = client.open(stalled).await;
    let mut text = String::new();
    while !text.contains("\" 2\"") {
        let frame = http_body_util::BodyExt::frame(answer.body_mut()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
    }
    let more = http_body_util::BodyExt::frame(answer.body_mut());
    assert!(tokio::time::timeout(std::time::Duration::from_millis(50), more).await.is_err());
}

#[tokio::test]
async fn a_slow_answer_is_the_same_answer() {
    let (_standin, client) = start().await;
    assert_eq!(text(&ask(&client, "[fault:slow 5] count to 3").await).concat(), "1 2 3");
}

#[tokio::test]
async fn keys_are_judged_by_probe_and_run_alike() {
    let (_standin, client) = start().await;
    for (key, status) in [
        ("sk-ant-standin-1", 200),
        ("sk-ant-standin-revoked", 401),
        ("sk-ant-standin-limited", 429),
        ("sk-ant-api03-real", 401),
    ] {
        let headers = [("x-api-key", key), ("anthropic-version", "2023-06-01")];
        assert_eq!(client.get("https://api.anthropic.com/v1/models", &headers).await.status, status, "{key}");
        assert_eq!(client.post(MESSAGES, &headers, body(json!("hi"))).await.status, status, "{key}");
    }
    let models = client.get("https://api.anthropic.com/v1/models", &GOOD).await.json();
    assert_eq!(models["data"][0]["id"], "claude-opus-5-5");
    assert_eq!(client.get("https://api.anthropic.com/v1/models", &GOOD[..1]).await.status, 400);
}

#[tokio::test]
async fn what_was_asked_is_on_record() {
    let (standin, client) = start().await;
    let sent = request("POST", MESSAGES, &GOOD, body(json!("echo hello")).to_string());
    assert_eq!(text(&read(client.open(sent).await).await), ["hello"]);
    let record = standin.request(|record| record.path.starts_with("/v1/messages")).await;
    assert!(record.body.contains("echo hello"));
    assert_eq!(record.status, 200);
}
