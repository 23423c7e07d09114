//! Every door of the document is looked at: what is not open asks who comes, from which page, and with which right.

use super::{Browser, key, with_admin};
use reqwest::Method;
use serde_json::{Value, json};

/// A body that an endpoint understands: the scopes are looked at after that.
fn body(method: &Method, path: &str) -> Value {
    match (method.as_str(), path) {
        ("POST", "/runs") => json!({ "provider": "claude", "prompt": "hi" }),
        ("PUT", "/connections/claude") => json!({ "api_key": "sk-ant-standin-revoked" }),
        ("POST", "/connections/claude/import") => json!({ "files": {} }),
        ("POST", "/users") => json!({ "email": "bob@example.com" }),
        ("PATCH", "/users/x_none") => json!({ "disabled": true }),
        ("POST", "/me/password") => json!({ "current_password": "x", "new_password": "short" }),
        ("POST" | "PUT" | "PATCH", _) => json!({}),
        _ => Value::Null,
    }
}

/// Every endpoint of the document: method, path with something in it, and whether it is open.
fn endpoints() -> Vec<(Method, String, bool)> {
    let document = serde_json::to_value(polydev_server::api::document()).unwrap();
    let mut endpoints = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let operation = &item[method.as_str().to_lowercase()];
            if operation.is_object() {
                let path = path.replace("{provider}", "claude").replace("{id}", "x_none").replace("{path}", "x");
                assert!(!path.contains('{'), "{path} has a part that this test does not know");
                endpoints.push((method, path, operation["security"] == json!([{}])));
            }
        }
    }
    assert!(endpoints.len() > 30, "{endpoints:?}");
    endpoints
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_open_needs_a_key_or_a_session_and_a_page_of_our_own() {
    let (server, _standin, browser) = with_admin().await;
    let mut open = Vec::new();
    let ask = |browser: &Browser, method: &Method, path: &str| {
        // Nothing is to be done, whoever asks: a body that none understands.
        let url = path.strip_prefix("/api/v1").map(str::to_owned).unwrap_or_else(|| format!("/../..{path}"));
        browser.request(method.clone(), &url).json(&json!([])).send()
    };
    let nobody = Browser { cookie: None, ..Browser::new(&server) };
    let foreign = Browser { origin: Some("https://evil.example".into()), ..browser.clone() };
    let pageless = Browser { origin: None, ..browser.clone() };
    for (method, path, is_open) in endpoints() {
        if is_open {
            open.push(path);
            continue;
        }
        let response = ask(&nobody, &method, &path).await.unwrap();
        assert_eq!(response.status(), 401, "{method} {path}");
        if !method.is_safe() {
            for page in [&foreign, &pageless] {
                let response = ask(page, &method, &path).await.unwrap();
                assert_eq!(response.status(), 403, "{method} {path}");
                let error = response.json::<Value>().await.unwrap();
                assert!(error["error"]["message"].as_str().unwrap().contains("`Origin`"), "{method} {path}: {error}");
            }
        }
    }
    assert_eq!(open, ["/api/v1/session", "/api/v1/setup", "/health", "/healthz", "/readyz"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_what_its_scopes_say() {
    let (server, _standin, browser) = with_admin().await;
    // What everybody may who is somebody: see who they are, and what is theirs to be let in with.
    let any = ["/me", "/me/password", "/session", "/sessions", "/keys", "/audit", "/providers", "/status"];
    let admins = ["/users"];
    let (_, logins) = key(&browser, &["logins"]).await;
    let (_, all_but_admin) = key(&browser, &["runs:read", "runs:write", "connections", "logins"]).await;
    for (method, path, is_open) in endpoints() {
        let Some(path) = path.strip_prefix("/api/v1").filter(|_| !is_open) else { continue };
        let first = format!("/{}", path.split('/').nth(1).unwrap());
        let status = async |key: &str| {
            let request = server.request_as(key, method.clone(), path).json(&body(&method, path));
            request.send().await.unwrap().status().as_u16()
        };
        let mine = any.contains(&first.as_str()) && !path.ends_with("/models") || path.starts_with("/logins");
        assert_eq!(status(&logins).await == 403, !mine, "{method} {path}");
        assert_eq!(status(&all_but_admin).await == 403, admins.contains(&first.as_str()), "{method} {path}");
    }
}
