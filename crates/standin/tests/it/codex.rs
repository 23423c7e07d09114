//! OpenAI's API.

use crate::{
    client::{Answered, Client, request},
    events, start,
};
use http_body_util::Full;
use serde_json::{Value, json};

const RESPONSES: &str = "https://api.openai.com/v1/responses";
const GOOD: [(&str, &str); 1] = [("authorization", "Bearer sk-standin-1")];

fn body(prompt: &str) -> Value {
    let said =
        |text: &str| json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]});
    json!({
        "model": "gpt-5.5", "stream": true, "input": [said(prompt), said("<environment_context>echo no")],
        "tools": [{"type": "function", "name": "exec_command"}],
    })
}

async fn ask(client: &Client, prompt: &str) -> Answered {
    client.post(RESPONSES, &GOOD, body(prompt)).await
}

fn text(answered: &Answered) -> Vec<String> {
    let deltas = events(answered).into_iter().filter(|event| event["type"] == "response.output_text.delta");
    deltas.map(|event| event["delta"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn answers_in_chunks_and_whole() {
    let (_standin, client) = start().await;
    let answered = ask(&client, "count to 3").await;
    assert_eq!(text(&answered), ["1", " 2", " 3"]);
    let last = events(&answered).pop().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], "1 2 3");
    let mut unstreamed = body("What is 7/2?");
    unstreamed["stream"] = json!(false);
    let whole = client.post(RESPONSES, &GOOD, unstreamed).await.json();
    assert_eq!(whole["output"][0]["content"][0]["text"], "3.5");
}

#[tokio::test]
async fn a_compressed_request_is_read() {
    let (standin, client) = start().await;
    let packed = zstd::encode_all(body("echo packed").to_string().as_bytes(), 0).unwrap();
    let headers = [GOOD[0], ("content-encoding", "zstd")];
    let sent = request("POST", RESPONSES, &headers, String::new()).map(|_| Full::from(packed));
    assert_eq!(text(&client.send(sent).await), ["packed"]);
    assert!(standin.requests().iter().any(|record| record.body.contains("echo packed")));
}

#[tokio::test]
async fn whichever_shell_is_offered_is_called() {
    let (_standin, client) = start().await;
    let called = events(&ask(&client, "use tool: ls").await).pop().unwrap();
    let call = &called["response"]["output"][0];
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("exec_command")));
    assert_eq!(call["arguments"], r#"{"cmd":"ls"}"#);

    let mut scripted = body("use tool: ls");
    let exec = json!({"type": "custom", "name": "exec"});
    let added =
        json!({"type": "additional_tools", "tools": [{"type": "namespace", "name": "functions", "tools": [exec]}]});
    scripted["input"].as_array_mut().unwrap().insert(0, added);
    let called = events(&client.post(RESPONSES, &GOOD, scripted).await).pop().unwrap();
    let call = &called["response"]["output"][0];
    assert_eq!((&call["type"], &call["name"]), (&json!("custom_tool_call"), &json!("exec")));
    assert!(call["input"].as_str().unwrap().contains(r#"tools.exec_command({"cmd":"ls"})"#));

    let mut answered = body("use tool: ls");
    let printed = json!([{"type": "input_text", "text": "Wall time 0.1 seconds\nOutput:\n"}, {"type": "input_text", "text": "a.txt\n"}]);
    answered["input"].as_array_mut().unwrap().push(json!({"type": "custom_tool_call_output", "output": printed}));
    assert_eq!(text(&client.post(RESPONSES, &GOOD, answered).await).concat(), "done: a.txt");
}

#[tokio::test]
async fn faults_are_the_providers_own_errors() {
    let (_standin, client) = start().await;
    for (fault, status, code) in [
        ("401", 401, json!("invalid_api_key")),
        ("429", 429, json!("rate_limit_exceeded")),
        ("500", 500, Value::Null),
        ("529", 503, json!("server_is_overloaded")),
    ] {
        let answered = ask(&client, &format!("[fault:{fault}] hi")).await;
        assert_eq!((answered.status, &answered.json()["error"]["code"]), (status, &code));
        assert_eq!(answered.retry_after.as_deref(), (status == 429).then_some("7"));
    }
    let cut = ask(&client, "[fault:cut] count to 4").await;
    assert!(!cut.whole);
    assert_eq!(text(&cut), ["1", " 2"]);
}

#[tokio::test]
async fn keys_are_judged_by_probe_and_run_alike() {
    let (_standin, client) = start().await;
    for (key, status) in
        [("sk-standin-1", 200), ("sk-standin-revoked", 401), ("sk-standin-limited", 429), ("sk-proj-real", 401)]
    {
        let bearer = format!("Bearer {key}");
        let headers = [("authorization", bearer.as_str())];
        assert_eq!(client.get("https://api.openai.com/v1/models", &headers).await.status, status, "{key}");
        assert_eq!(client.post(RESPONSES, &headers, body("hi")).await.status, status, "{key}");
    }
    assert_eq!(client.get("https://api.openai.com/v1/models", &GOOD).await.json()["object"], "list");
    // The WebSocket that is tried first.
    assert_eq!(client.get(RESPONSES, &GOOD).await.status, 426);
}
