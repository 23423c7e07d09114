//! Google's API.

use crate::{
    client::{Answered, Client},
    events, start,
};
use serde_json::{Value, json};

const MODELS: &str = "https://generativelanguage.googleapis.com/v1beta/models";
const GOOD: [(&str, &str); 1] = [("x-goog-api-key", "AIzaStandin1")];

fn body(parts: Value) -> Value {
    let context = json!({"text": "<session_context>echo no</session_context>"});
    let mut all = vec![context];
    all.extend(parts.as_array().unwrap().iter().cloned());
    let tools = json!([{"functionDeclarations": [{"name": "run_shell_command"}]}]);
    json!({"contents": [{"role": "user", "parts": all}], "tools": tools})
}

async fn ask(client: &Client, prompt: &str) -> Answered {
    let url = format!("{MODELS}/gemini-2.5-flash:streamGenerateContent?alt=sse");
    client.post(&url, &GOOD, body(json!([{"text": prompt}]))).await
}

fn text(answered: &Answered) -> Vec<String> {
    let part = |event: Value| event["candidates"][0]["content"]["parts"][0]["text"].as_str().map(str::to_owned);
    events(answered).into_iter().filter_map(part).collect()
}

#[tokio::test]
async fn answers_in_chunks_and_whole() {
    let (_standin, client) = start().await;
    let answered = ask(&client, "count to 3").await;
    assert_eq!(text(&answered), ["1", " 2", " 3"]);
    let all = events(&answered);
    assert_eq!(all[2]["candidates"][0]["finishReason"], "STOP");
    assert_eq!(all[1]["candidates"][0].get("finishReason"), None);
    let url = format!("{MODELS}/gemini-2.5-flash:generateContent");
    let whole = client.post(&url, &GOOD, body(json!([{"text": "What is 6 x 7?"}]))).await.json();
    assert_eq!(whole["candidates"][0]["content"]["parts"][0]["text"], "42");
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_read() {
    let (_standin, client) = start().await;
    let called = events(&ask(&client, "use tool: ls").await);
    let call = &called[0]["candidates"][0]["content"]["parts"][0]["functionCall"];
    assert_eq!(call, &json!({"name": "run_shell_command", "args": {"command": "ls"}}));
    let output = "<untrusted_context>\nOutput: a.txt\nb.txt\n</untrusted_context>";
    let result = json!([{"functionResponse": {"name": "run_shell_command", "response": {"output": output}}}]);
    let url = format!("{MODELS}/gemini-2.5-flash:streamGenerateContent?alt=sse");
    assert_eq!(text(&client.post(&url, &GOOD, body(result)).await).concat(), "done: a.txt");
}

#[tokio::test]
async fn faults_are_the_providers_own_errors() {
    let (_standin, client) = start().await;
    for (fault, status, name) in [
        ("401", 401, "UNAUTHENTICATED"),
        ("429", 429, "RESOURCE_EXHAUSTED"),
        ("500", 500, "INTERNAL"),
        ("529", 503, "UNAVAILABLE"),
    ] {
        let answered = ask(&client, &format!("[fault:{fault}] hi")).await;
        assert_eq!((answered.status, &answered.json()["error"]["status"]), (status, &json!(name)));
        assert_eq!(answered.retry_after.as_deref(), (status == 429).then_some("7"));
    }
    let cut = ask(&client, "[fault:cut] count to 4").await;
    assert!(!cut.whole);
    assert_eq!(text(&cut), ["1", " 2"]);
}

#[tokio::test]
async fn keys_are_judged_by_the_probe() {
    let (_standin, client) = start().await;
    let refused = json!("API_KEY_INVALID");
    for (key, status, reason) in [
        ("AIzaStandin1", 200, &Value::Null),
        ("AIzaStandin-revoked", 400, &refused),
        ("AIzaStandin-limited", 429, &Value::Null),
        ("AIzaSyReal", 400, &refused),
    ] {
        let answered = client.get(MODELS, &[("x-goog-api-key", key)]).await;
        assert_eq!((answered.status, &answered.json()["error"]["details"][0]["reason"]), (status, reason), "{key}");
    }
    assert_eq!(client.get(MODELS, &[]).await.status, 403);
    assert_eq!(client.get(MODELS, &GOOD).await.json()["models"][0]["name"], "models/gemini-2.5-pro");
}
