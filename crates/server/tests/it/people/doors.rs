//! Every door of the document is looked at: what is not open asks who comes, from which page, and with which right.

use super::{Browser, json_of, key, refused, with_admin};
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
pub(super) fn endpoints() -> Vec<(Method, String, bool)> {
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
    let any = ["/me", "/me/password", "/session", "/sessions", "/keys", "/audit", "/providers", "/status", "/events"];
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

/// Begins a run that does not end: its id.
async fn hanging(browser: &Browser) -> String {
    let put = browser.request(Method::PUT, "/connections/claude").json(&json!({ "api_key": "sk-ant-standin-test" }));
    json_of(put.send().await.unwrap(), 200).await;
    let run = browser.post("/runs", json!({ "provider": "claude", "prompt": "[fault:stall] canary" })).await;
    json_of(run, 202).await["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_a_run_may_cancel_it_and_is_not_told_of_it() {
    let (server, _standin, browser) = with_admin().await;
    let (_, reader) = key(&browser, &["runs:read", "runs:write"]).await;
    let (_, writer) = key(&browser, &["runs:write"]).await;
    let cancel = async |key: &str, run: &str| {
        let cancel = server.request_as(key, Method::POST, &format!("/runs/{run}/cancel"));
        let answer = cancel.header("idempotency-key", "one").send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let first = hanging(&browser).await;
    let (status, told) = cancel(&writer, &first).await;
    assert!(status == 202 && told.contains(&first) && !told.contains("canary"), "{told}");

    // What was kept for a key that may read is not repeated to one that may not.
    let second = hanging(&browser).await;
    let (status, told) = cancel(&reader, &second).await;
    assert!(status == 202 && told.contains("canary"), "{told}");
    let (_, told) = cancel(&writer, &second).await;
    assert!(!told.contains("canary"), "{told}");
    assert_eq!(cancel(&reader, &second).await.0, 202, "it is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_run_is_sent_away_when_their_key_is_ended() {
    let (server, _standin, browser) = with_admin().await;
    hanging(&browser).await;
    let (id, token) = key(&browser, &["runs:read", "runs:write"]).await;
    let body = json!({ "provider": "claude", "prompt": "[fault:stall] canary" });
    let waiting = tokio::spawn(server.request_as(&token, Method::POST, "/runs?wait=true").json(&body).send());
    while browser.get("/runs").await["items"].as_array().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(browser.delete(&format!("/keys/{id}")).await, 204);
    refused(waiting.await.unwrap().unwrap(), 401, "unauthenticated").await;
}
