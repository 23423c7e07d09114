//! A connection is its owner's alone. Another person, an admin too, can neither see it, nor use it, nor ask the
//! provider about it, nor put theirs in its place, nor end it: every endpoint of the document that speaks of
//! connections is tried.

use super::{Browser, json_of, member, with_admin};
use crate::support::server::good_key;
use base64::{Engine, prelude::BASE64_STANDARD};
use polydev_standin::{Provider, Standin, credential_id};
use reqwest::Method;
use serde_json::{Value, json};

const OWNERS_KEY: &str = "sk-ant-standin-owner";
const PROVIDERS: [(&str, Provider); 2] = [("claude", Provider::Claude), ("gemini", Provider::Gemini)];

/// Every endpoint that speaks of connections, or uses one: method, and path below `/api/v1`.
fn endpoints() -> Vec<(Method, String)> {
    let document = serde_json::to_value(polydev_server::api::document()).unwrap();
    let mut endpoints = vec![(Method::POST, "/runs".to_owned())];
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(path) =
            path.strip_prefix("/api/v1").filter(|path| path.contains("connections") || path.contains("provider"))
        else {
            continue;
        };
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            if item[method.as_str().to_lowercase()].is_object() {
                endpoints.push((method, path.to_owned()));
            }
        }
    }
    endpoints
}

/// A login of somebody's as `import` takes it.
fn files(standin: &Standin, name: &str, provider: Provider) -> Value {
    let files = standin.account(name).login_files(provider).into_iter();
    json!({ "files": files.map(|(name, content)| (name, BASE64_STANDARD.encode(content).into())).collect::<serde_json::Map<_, _>>() })
}

/// What somebody asks an endpoint with who has connected nothing, and the status that answers them.
fn tried(method: &Method, path: &str, (name, provider): (&str, Provider), standin: &Standin) -> (Value, u16) {
    match (method.as_str(), path) {
        ("GET", "/connections" | "/providers") => (Value::Null, 200),
        ("PUT", "/connections/{provider}") => (json!({ "api_key": good_key(name) }), 200),
        ("POST", "/connections/{provider}/import") => (files(standin, "eve", provider), 200),
        ("DELETE", "/connections/{provider}") => (Value::Null, 204),
        ("POST", "/connections/{provider}/verify") | ("GET", "/providers/{provider}/models") => (Value::Null, 409),
        ("POST", "/runs") => (json!({ "provider": name, "prompt": "hi" }), 409),
        (method, path) => panic!("{method} {path}: say what is told to somebody who has connected nothing"),
    }
}

async fn ask(browser: &Browser, method: &Method, path: &str, body: &Value) -> (u16, String) {
    let request = browser.request(method.clone(), path);
    let request = if body.is_null() { request } else { request.json(body) };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_its_owners_alone() {
    let (server, standin, admin) = with_admin().await;
    let (_, owner) = member(&server, &admin, "bob@example.com").await;
    let (_, eve) = member(&server, &admin, "eve@example.com").await;
    let put = owner.request(Method::PUT, "/connections/claude").json(&json!({ "api_key": OWNERS_KEY }));
    json_of(put.send().await.unwrap(), 200).await;
    let imported = owner.post("/connections/gemini/import", files(&standin, "ada", Provider::Gemini)).await;
    json_of(imported, 200).await;
    let connections = owner.get("/connections").await;
    assert_eq!(connections["items"].as_array().unwrap().len(), 2, "{connections}");
    let account = standin.account("ada").email();
    let used = || {
        let requests = standin.requests().into_iter();
        requests.filter(|request| request.credential == Some(credential_id(OWNERS_KEY))).count()
    };
    let before = used();
    for stranger in [&eve, &admin] {
        for of in PROVIDERS {
            for (method, path) in endpoints() {
                let (body, expected) = tried(&method, &path, of, &standin);
                let path = path.replace("{provider}", of.0);
                let (status, said) = ask(stranger, &method, &path, &body).await;
                assert_eq!(status, expected, "{method} {path}: {said}");
                assert!(!said.contains(&account) && !said.contains("\"connected\":true"), "{method} {path}: {said}");
                if status == 409 {
                    assert!(said.contains("not_connected"), "{method} {path}: {said}");
                }
                assert_eq!(owner.get("/connections").await, connections, "{method} {path}");
                assert_eq!(stranger.delete(&format!("/connections/{}", of.0)).await, 204);
            }
        }
        assert_eq!(stranger.get("/connections").await["items"], json!([]));
    }
    assert_eq!(used(), before, "nobody has used it");
    json_of(owner.post("/connections/claude/verify", json!({})).await, 200).await;
    assert!(used() > before, "it is still the one that its owner has made");
}
