//! A foreign page cannot use somebody's session.

use super::{Browser, PASSWORD, empty, key, refused, token_of, with_admin};
use crate::support::server::Server;
use reqwest::Method;
use serde_json::json;
use tokio_tungstenite::tungstenite::{Error, client::IntoClientRequest};

const FOREIGN: [Option<&str>; 6] = [
    None,
    Some("null"),
    Some("https://evil.example"),
    Some("http://127.0.0.1"),
    Some("https://localhost:4000"),
    Some("http://evil.example:4000"),
];

fn on(browser: &Browser, origin: Option<&str>) -> Browser {
    Browser { origin: origin.map(str::to_owned), ..browser.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_something_comes_from_a_page_of_our_own() {
    let (server, _standin, browser) = with_admin().await;
    let port = server.url.rsplit(':').next().unwrap();
    for origin in FOREIGN {
        let page = on(&browser, origin);
        refused(page.post("/keys", json!({})).await, 403, "forbidden").await;
        assert_eq!(page.delete("/session").await, 403, "{origin:?}");
        let read = page.status("/me").await;
        assert_eq!(read, if origin.is_some() { 403 } else { 200 }, "a browser names no page where its own reads");
    }
    for name in ["localhost", "127.0.0.1", "[::1]"] {
        let page = on(&browser, Some(&format!("http://{name}:{port}")));
        assert_eq!(page.post("/keys", json!({})).await.status(), 201, "{name}");
    }
    for site in ["cross-site", "same-site"] {
        let told = browser.request(Method::POST, "/keys").header("sec-fetch-site", site).json(&json!({}));
        refused(told.send().await.unwrap(), 403, "forbidden").await;
        let fetched = async |mode: &str, dest: &str| {
            let read = on(&browser, None)
                .request(Method::GET, "/me")
                .header("sec-fetch-site", site)
                .header("sec-fetch-mode", mode);
            let read = read.header("sec-fetch-dest", dest).send().await.unwrap();
            read.status().as_u16()
        };
        assert_eq!(fetched("no-cors", "image").await, 403, "it is not even looked at");
        assert_eq!(fetched("navigate", "iframe").await, 403);
        assert_eq!(fetched("navigate", "document").await, 200, "somebody follows a link");
    }
    let twice = browser.request(Method::POST, "/keys").header("origin", "https://evil.example").json(&json!({}));
    refused(twice.send().await.unwrap(), 403, "forbidden").await;

    // A key is sent by no page, and needs none.
    let (_, token) = key(&browser, &["runs:read"]).await;
    let with_key = server.request_as(&token, Method::POST, "/keys").header("origin", "https://evil.example");
    assert_eq!(with_key.json(&json!({})).send().await.unwrap().status(), 201);
    // A key that is not good is not made good by a session.
    let both = browser.request(Method::GET, "/me").bearer_auth("pdv_nonsense").send().await.unwrap();
    assert_eq!(both.status(), 401);
    // What another host of the domain has set beside ours is not taken for ours.
    let tossed =
        browser.request(Method::GET, "/me").header("cookie", "polydev_session=pds_theirs").send().await.unwrap();
    assert_eq!(tossed.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_foreign_page_reads_an_answer_and_none_is_left_for_others() {
    let (_server, _standin, browser) = with_admin().await;
    let page = on(&browser, Some("https://evil.example"));
    for method in [Method::GET, Method::OPTIONS] {
        let asks = page.request(method, "/me").header("access-control-request-method", "GET");
        let answer = asks.header("access-control-request-headers", "authorization").send().await.unwrap();
        let told: Vec<_> = answer.headers().keys().filter(|name| name.as_str().starts_with("access-control")).collect();
        assert!(told.is_empty(), "{told:?}");
        assert_eq!(answer.headers()["cache-control"], "no-store");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_signs_somebody_in_to_an_account_that_is_not_theirs() {
    let (server, _standin) = empty(&[]).await;
    let token = token_of(&server);
    let mut browser = Browser::new(&server);
    for origin in FOREIGN.into_iter().flatten() {
        refused(on(&browser, Some(origin)).set_up(&token, "eve@example.com").await, 403, "forbidden").await;
    }
    assert_eq!(browser.set_up(&token, "ann@example.com").await.status(), 201);
    for origin in FOREIGN.into_iter().flatten() {
        refused(on(&browser, Some(origin)).sign_in("ann@example.com", PASSWORD).await, 403, "forbidden").await;
    }
    let mut program = on(&Browser::new(&server), None);
    assert_eq!(program.sign_in("ann@example.com", PASSWORD).await.status(), 201, "a program names no page");
    let form = browser.request(Method::POST, "/session").header("content-type", "text/plain");
    let form = form.body(json!({ "email": "ann@example.com", "password": PASSWORD }).to_string()).send().await.unwrap();
    assert_eq!(form.status(), 422, "what a form can send is not understood");
}

/// The status of a WebSocket's handshake.
async fn handshake(server: &Server, cookie: &str, origin: Option<&str>) -> u16 {
    let url = format!("{}/api/v1/runs/run_none/stream", server.url.replace("http://", "ws://"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("cookie", format!("polydev_session={cookie}").parse().unwrap());
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    match tokio_tungstenite::connect_async(request).await {
        Err(Error::Http(refused)) => refused.status().as_u16(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_comes_from_a_page_of_our_own() {
    let (server, _standin, browser) = with_admin().await;
    let cookie = browser.cookie.unwrap();
    for origin in FOREIGN {
        assert_eq!(handshake(&server, &cookie, origin).await, 403, "{origin:?}");
    }
    assert_eq!(handshake(&server, &cookie, Some(&server.url)).await, 404, "there is no such run, and that is told");
    assert_eq!(handshake(&server, "pds_nonsense", Some(&server.url)).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_the_cookie_is_for_https_and_the_address_the_proxys_word() {
    let (server, _standin) = empty(&[("POLYDEV__SERVER__PUBLIC_URL", "https://polydev.example")]).await;
    let link = std::fs::read_to_string(server.data_dir().join("setup-link")).unwrap();
    let token = link.trim_end().strip_prefix("https://polydev.example/setup?token=").unwrap();
    let body = json!({ "token": token, "email": "ann@example.com", "password": PASSWORD });
    let browser = on(&Browser::new(&server), Some("https://polydev.example"));
    let ask = |method: Method, path: &str| {
        let request = browser.request(method, path).header("host", "polydev.example");
        request.header("x-forwarded-for", "10.1.2.3, 192.0.2.7")
    };
    let made = ask(Method::POST, "/setup").json(&body).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let cookie = made.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("; Secure"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    let sessions = ask(Method::GET, "/sessions").header("cookie", cookie).send().await.unwrap();
    let sessions: serde_json::Value = sessions.json().await.unwrap();
    assert_eq!(sessions["items"][0]["address"], "192.0.2.7", "{sessions}");
    // The page of the address that is listened at is not the one that people use.
    let near = ask(Method::POST, "/keys").header("cookie", cookie).json(&json!({}));
    assert_eq!(near.send().await.unwrap().status(), 201);
    let near = on(&browser, Some(&server.url)).request(Method::POST, "/keys").header("cookie", cookie).json(&json!({}));
    assert_eq!(near.send().await.unwrap().status(), 403);
}
