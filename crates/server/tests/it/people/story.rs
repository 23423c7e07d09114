//! From nobody to a key, and back.

use super::{Browser, PASSWORD, blocking, empty, json_of, key, refused, said, token_of, with_admin};
use reqwest::Method;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt};

#[tokio::test(flavor = "multi_thread")]
async fn from_the_setup_link_to_a_key_that_is_revoked() {
    let (server, _standin) = empty(&[]).await;
    let link = server.data_dir().join("setup-link");
    assert_eq!(fs::metadata(&link).unwrap().permissions().mode() & 0o777, 0o600);
    let (token, mut browser) = (token_of(&server), Browser::new(&server));
    assert_eq!(browser.status("/me").await, 401);

    // The first person.
    for wrong in ["", "x", &token[1..], &token.to_uppercase()] {
        refused(browser.set_up(wrong, "ann@example.com").await, 403, "forbidden").await;
    }
    for (email, password) in [("ann", PASSWORD), ("ann@example.com", "short")] {
        let body = json!({ "token": token, "email": email, "password": password });
        refused(browser.post("/setup", body).await, 422, "invalid_request").await;
    }
    let made = browser.set_up(&token, "Ann@Example.com").await;
    let cookie = made.headers()["set-cookie"].to_str().unwrap().to_owned();
    for attribute in ["polydev_session=pds_", "; Path=/", "; HttpOnly", "; SameSite=Lax", "; Max-Age=2592000"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Secure") && !cookie.contains("Domain"), "{cookie}");
    let me = json_of(made, 201).await;
    assert_eq!((&me["email"], &me["role"]), (&json!("ann@example.com"), &json!("admin")));
    assert_eq!(me["scopes"].as_array().unwrap().len(), 5);
    assert_eq!(browser.get("/me").await, me);
    assert!(!link.exists());
    refused(Browser::new(&server).set_up(&token, "eve@example.com").await, 410, "gone").await;

    // A key that may read, and no more.
    let (id, token) = key(&browser, &["runs:read"]).await;
    assert!(token.starts_with("pdv_"));
    let ask = |method: Method, path: &str| server.request_as(&token, method, path);
    assert_eq!(ask(Method::GET, "/runs").send().await.unwrap().status(), 200);
    let run = ask(Method::POST, "/runs").json(&json!({ "provider": "claude", "prompt": "hi" })).send().await.unwrap();
    let error = refused(run, 403, "forbidden").await;
    assert!(error["message"].as_str().unwrap().contains("`runs:write`"), "{error}");
    let listed = browser.get("/keys").await["items"][0].clone();
    assert_eq!((&listed["id"], &listed["scopes"]), (&json!(id), &json!(["runs:read"])));
    assert!(listed["last_used_at"].is_string() && listed["revoked_at"].is_null(), "{listed}");
    assert!(listed.get("key").is_none());
    assert_eq!(browser.delete(&format!("/keys/{id}")).await, 204);
    refused(ask(Method::GET, "/runs").send().await.unwrap(), 401, "unauthenticated").await;
    assert_eq!(browser.delete(&format!("/keys/{id}")).await, 204, "once more is no error");
    assert!(browser.get("/keys").await["items"][0]["revoked_at"].is_string());
    assert_eq!(browser.delete("/keys/key_none").await, 404);
    assert_eq!(browser.delete("/keys/%00").await, 404);

    // Signed in twice, and out.
    let mut other = Browser::new(&server);
    refused(other.sign_in("ann@example.com", "something else").await, 401, "unauthenticated").await;
    assert_eq!(other.sign_in(" ANN@example.com", PASSWORD).await.status(), 201);
    let sessions = other.get("/sessions").await;
    let of = |current: bool| {
        let mut items = sessions["items"].as_array().unwrap().iter();
        items.find(|session| session["current"] == current).unwrap().clone()
    };
    assert_eq!((&of(true)["agent"], &of(true)["address"]), (&json!("a browser"), &json!("127.0.0.1")));
    assert_eq!(other.delete(&format!("/sessions/{}", of(false)["id"].as_str().unwrap())).await, 204);
    assert_eq!(browser.status("/me").await, 401, "at once");
    let out = other.request(Method::DELETE, "/session").send().await.unwrap();
    assert!(out.headers()["set-cookie"].to_str().unwrap().starts_with("polydev_session=; Path=/; Max-Age=0"));
    assert_eq!(out.status(), 204);
    assert_eq!(other.status("/me").await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_start_makes_a_link_until_there_is_somebody() {
    let (mut server, _standin) = empty(&[]).await;
    let first = token_of(&server);
    server = blocking(move || {
        server.stop();
        server.run();
        server
    })
    .await;
    let second = token_of(&server);
    assert_ne!(first, second);
    let mut browser = Browser::new(&server);
    refused(browser.set_up(&first, "ann@example.com").await, 403, "forbidden").await;

    // Made on the command line, while the server runs.
    let server = blocking(move || {
        let password = said(&server, &["user", "create", "ann@example.com"]);
        (server, password)
    })
    .await;
    let (mut server, password) = server;
    let link = server.data_dir().join("setup-link");
    assert!(!link.exists());
    refused(browser.set_up(&second, "eve@example.com").await, 410, "gone").await;
    assert_eq!(browser.sign_in("ann@example.com", &password).await.status(), 201);
    assert_eq!(browser.get("/me").await["role"], "admin");

    let server = blocking(move || {
        server.stop();
        fs::write(&link, "left by somebody").unwrap();
        server.run();
        assert!(!link.exists());
        server
    })
    .await;
    browser.moved_to(&server);
    assert_eq!(browser.status("/me").await, 200, "a session outlives a server");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_first_people_there_is_one() {
    let (server, _standin) = empty(&[]).await;
    let token = token_of(&server);
    let made = (0..6).map(|n| {
        let (mut browser, token) = (Browser::new(&server), token.clone());
        async move { browser.set_up(&token, &format!("{n}@example.com")).await.status().as_u16() }
    });
    let mut made = futures_util::future::join_all(made).await;
    made.sort();
    assert_eq!(made, [201, 410, 410, 410, 410, 410]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_ends_the_other_sessions() {
    let (server, _standin, browser) = with_admin().await;
    let mut other = Browser::new(&server);
    assert_eq!(other.sign_in("ann@example.com", PASSWORD).await.status(), 201);
    let (_, token) = key(&browser, &["runs:read"]).await;
    let change = |current: &str, new: &str| {
        browser.post("/me/password", json!({ "current_password": current, "new_password": new }))
    };
    refused(change("something else", "another password").await, 403, "forbidden").await;
    refused(change(PASSWORD, "short").await, 422, "invalid_request").await;
    assert_eq!(other.status("/me").await, 200);
    assert_eq!(change(PASSWORD, "another password").await.status(), 204);
    assert_eq!((browser.status("/me").await, other.status("/me").await), (200, 401));
    assert_eq!(server.request_as(&token, Method::GET, "/me").send().await.unwrap().status(), 200, "keys go on");
    refused(other.sign_in("ann@example.com", PASSWORD).await, 401, "unauthenticated").await;
    assert_eq!(other.sign_in("ann@example.com", "another password").await.status(), 201);

    // The operator's.
    let (_server, password) = blocking(move || {
        let password = said(&server, &["user", "password", "ann@example.com"]);
        (server, password)
    })
    .await;
    assert_eq!((browser.status("/me").await, other.status("/me").await), (401, 401));
    assert_eq!(other.sign_in("ann@example.com", &password).await.status(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_what_opened_it() {
    let (server, _standin, browser) = with_admin().await;
    let (id, token) = key(&browser, &["runs:read"]).await;
    let by_key = server.request_as(&token, Method::GET, "/events").send().await.unwrap();
    let mut other = Browser::new(&server);
    assert_eq!(other.sign_in("ann@example.com", PASSWORD).await.status(), 201);
    let by_session = other.request(Method::GET, "/events").send().await.unwrap();
    let stays = browser.request(Method::GET, "/events").send().await.unwrap();
    for stream in [&by_key, &by_session, &stays] {
        assert_eq!(stream.status(), 200);
    }
    assert_eq!(browser.delete(&format!("/keys/{id}")).await, 204);
    assert_eq!(by_key.text().await.unwrap(), "retry: 1000\n\n", "it has ended, and told nothing");
    assert_eq!(other.delete("/session").await, 204);
    assert_eq!(by_session.text().await.unwrap(), "retry: 1000\n\n");
    drop(stays);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_a_page_at_a_time() {
    let (server, _standin, browser) = with_admin().await;
    for _ in 0..3 {
        key(&browser, &["runs:read"]).await;
        assert_eq!(Browser::new(&server).sign_in("ann@example.com", PASSWORD).await.status(), 201);
    }
    for (path, many) in [("/keys", 3), ("/sessions", 4), ("/users", 1), ("/audit", 7)] {
        let whole = browser.get(path).await;
        // What the server finds of its host is on record too.
        let own = |item: &&Value| item["action"] != "finding.appeared";
        assert_eq!(whole["items"].as_array().unwrap().iter().filter(own).count(), many, "{path}: {whole}");
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = browser.get(&format!("{path}?limit=2{cursor}")).await;
            seen.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(Value::from(seen), whole["items"], "{path}");
        for (query, code) in [("limit=0", "bad_limit"), ("limit=201", "bad_limit"), ("cursor=MSAA", "bad_cursor")] {
            let response = browser.request(Method::GET, &format!("{path}?{query}")).send().await.unwrap();
            refused(response, 400, code).await;
        }
    }
    assert_eq!(browser.get("/usage").await, json!({ "items": [], "next_cursor": null }));
    for path in ["/usage?days=0", "/usage?days=367", "/usage?day=1"] {
        assert_eq!(browser.status(path).await, 422, "{path}");
    }
}
