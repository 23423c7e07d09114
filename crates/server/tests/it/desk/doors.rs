//! Nobody but its owner gets at a desktop, and each who tries is on record.

use super::{
    anonymous, ask, blocking, id, is_ready, look, looking, open, ready,
    rfb::{Closed, Viewer},
    server,
};
use crate::support::server::{Server, text};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, http::Request};

/// With this header.
fn with(mut request: Request<()>, name: &'static str, value: &str) -> Request<()> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

/// Signs in: the session cookie.
async fn signed_in(server: &Server, email: &str, password: &str) -> String {
    let request = reqwest::Client::new().post(format!("{}/api/v1/session", server.url)).header("origin", &server.url);
    let answer = request.json(&json!({ "email": email, "password": password })).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let set = answer.headers()["set-cookie"].to_str().unwrap();
    set.strip_prefix("polydev_session=").unwrap().split(';').next().unwrap().to_owned()
}

/// The record of attempts to look, newest first, as an admin reads it: outcome and code.
async fn tried(server: &Server, admin: &str) -> Vec<(String, String)> {
    let response = server.request_as(admin, Method::GET, "/audit?limit=200").send().await.unwrap();
    let record: Value = response.json().await.unwrap();
    let of = record["items"].as_array().unwrap().iter().filter(|entry| entry["action"] == "login.desktop");
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    of.map(|entry| (word(&entry["outcome"]), word(&entry["code"]))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_its_owner_gets_in_and_each_who_tries_is_on_record() {
    let (server, _standin) = server("").await;
    let (server, admin, other, narrow, password) = blocking(move || {
        let said = |args: &[&str]| text(&server.polydev(args).stdout).trim().to_owned();
        let password = said(&["user", "password", "one@example.com"]);
        let narrow = said(&["key", "create", "--user", "one@example.com", "--scope", "runs:read"]);
        let (admin, other) = (server.whole_key("one@example.com"), server.person("two@example.com"));
        (server, admin, other, narrow, password)
    })
    .await;
    let login_id = id(&open(&server, "claude").await.1);
    let not_ready = look(looking(&server, &login_id)).await.unwrap_err();
    assert_eq!(not_ready, (409, "not_ready".to_owned()));
    super::until(&server, &login_id, is_ready).await;

    let bearer = |key: &str| with(anonymous(&server, &login_id, ""), "authorization", &format!("Bearer {key}"));
    let ticket = async |status| {
        let (got, ticket) = ask(&server, Method::POST, &format!("/logins/{login_id}/tickets")).await;
        assert_eq!(got, status, "{ticket}");
        ticket["ticket"].as_str().unwrap_or_default().to_owned()
    };
    let used = ticket(201).await;
    let by_ticket = |ticket: &str| anonymous(&server, &login_id, &format!("?ticket={ticket}"));
    let viewer = Viewer::new(look(by_ticket(&used)).await.unwrap()).await.unwrap();
    assert_eq!(viewer.close().await, Closed(Some(1000)));
    let of_another = ticket(201).await;
    let elsewhere = anonymous(&server, "lgn_aaaaaaaaaaaaaaaa", &format!("?ticket={of_another}"));
    let cookie = signed_in(&server, "one@example.com", &password).await;
    let by_cookie =
        |cookie: &str| with(anonymous(&server, &login_id, ""), "cookie", &format!("polydev_session={cookie}"));
    let of_ours = with(by_cookie(&cookie), "origin", &server.url);
    let viewer = Viewer::new(look(of_ours).await.unwrap()).await.unwrap();
    assert_eq!(viewer.close().await, Closed(Some(1000)));
    let session = "0".repeat(40);
    for (who, request, refusal) in [
        ("nobody", anonymous(&server, &login_id, ""), (401, "unauthenticated")),
        ("a key that is none", bearer("pdv_nonsense"), (401, "unauthenticated")),
        ("no session", with(by_cookie(&session), "origin", &server.url), (401, "unauthenticated")),
        ("no page", by_cookie(&cookie), (403, "forbidden")),
        ("a foreign page", with(by_cookie(&cookie), "origin", "https://evil.example"), (403, "forbidden")),
        ("a used ticket", by_ticket(&used), (401, "unauthenticated")),
        ("a ticket of another login", elsewhere, (401, "unauthenticated")),
        ("that ticket, now lost", by_ticket(&of_another), (401, "unauthenticated")),
        ("a key for something else", bearer(&narrow), (403, "forbidden")),
        ("another person", bearer(&other), (404, "not_found")),
        (
            "no login",
            with(anonymous(&server, "lgn_aaaaaaaaaaaaaaaa", ""), "authorization", &format!("Bearer {}", server.key)),
            (404, "not_found"),
        ),
    ] {
        let before = tried(&server, &admin).await;
        assert_eq!(look(request).await.unwrap_err(), (refusal.0, refusal.1.to_owned()), "{who}");
        let after = tried(&server, &admin).await;
        assert_eq!(after.len(), before.len() + 1, "{who}");
        assert_eq!(after[0], ("failed".to_owned(), refusal.1.to_owned()), "{who}");
    }
    for (method, path) in [
        (Method::GET, ""),
        (Method::GET, "/events"),
        (Method::POST, "/extend"),
        (Method::POST, "/tickets"),
        (Method::DELETE, ""),
    ] {
        let request = server.request_as(&other, method.clone(), &format!("/logins/{login_id}{path}"));
        assert_eq!(request.send().await.unwrap().status(), 404, "{method} {path}");
    }
    // A plain request is no handshake.
    let plain = server.request(Method::GET, &format!("/logins/{login_id}/desktop")).send().await.unwrap();
    assert_eq!(plain.status(), 426);

    // One looks at a time, and may be taken over from.
    let mut first = Viewer::new(look(looking(&server, &login_id)).await.unwrap()).await.unwrap();
    assert_eq!(look(looking(&server, &login_id)).await.unwrap_err(), (409, "conflict".to_owned()));
    let take = with(anonymous(&server, &login_id, "?take=true"), "authorization", &format!("Bearer {}", server.key));
    let mut second = Viewer::new(look(take).await.unwrap()).await.unwrap();
    assert_eq!(first.closed().await, Closed(Some(4001)));
    second.says(Message::Text("hello".into())).await;
    assert_eq!(second.closed().await, Closed(Some(1003)));
    let mut third = Viewer::new(look(looking(&server, &login_id)).await.unwrap()).await.unwrap();
    third.says(Message::Binary(vec![6; 65_537].into())).await;
    assert!(matches!(third.closed().await, Closed(Some(1009) | None)));
    // A key that is revoked sees no more.
    let mut fourth = Viewer::new(look(looking(&server, &login_id)).await.unwrap()).await.unwrap();
    let keys: Value = ask(&server, Method::GET, "/keys").await.1;
    // The oldest is the one that looks.
    let own = keys["items"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    let revoked = server.request_as(&admin, Method::DELETE, &format!("/keys/{own}")).send().await.unwrap();
    assert_eq!(revoked.status(), 204);
    assert_eq!(fourth.closed().await, Closed(Some(1008)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_has_switched_off_or_has_no_room_for_is_refused() {
    let (server, _standin) = server("[login]\nmax_concurrent = 1\n[providers.codex]\nlogin = \"off\"\n").await;
    let (status, refused) = open(&server, "codex").await;
    assert_eq!((status, &refused["error"]["code"]), (403, &json!("login_disabled")), "{refused}");
    assert_eq!(open(&server, "nobody").await.0, 404);
    let first = id(&open(&server, "claude").await.1);
    let request = server.request(Method::POST, "/logins").json(&json!({ "provider": "gemini" }));
    let full = request.send().await.unwrap();
    assert_eq!((full.status().as_u16(), &full.headers()["retry-after"]), (429, &"30".parse().unwrap()));
    assert_eq!(full.json::<Value>().await.unwrap()["error"]["code"], "queue_full");
    // The names of before.
    let earlier = async |path: &str, body: Value| {
        let url = format!("{}{path}", server.url);
        let response = reqwest::Client::new().post(url).bearer_auth(&server.key).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let me = ask(&server, Method::GET, "/me").await.1["id"].clone();
    for (path, body) in [
        ("/api/auth/start", json!({ "userId": me, "provider": "claude_code" })),
        ("/api/auth/start", json!({ "provider": "claude" })),
        ("/api/vm/auth", json!({ "provider": "claude_code", "webrtcOffer": { "sdp": "…" } })),
    ] {
        let (status, login) = earlier(path, body).await;
        assert_eq!((status, &login["id"], &login["sessionId"]), (200, &json!(first), &json!(first)), "{login}");
    }
    assert_eq!(earlier("/api/auth/start", json!({ "userId": "usr_other", "provider": "claude" })).await.0, 403);
    assert_eq!(ask(&server, Method::DELETE, &format!("/logins/{first}")).await.0, 204);
    super::to_the_end(&server, &first).await;
    let second = ready(&server, "gemini").await;
    let (_, list) = ask(&server, Method::GET, "/logins").await;
    let ids: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|login| &login["id"]).collect();
    assert_eq!(ids, [&json!(second), &json!(first)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shows_where_to_sign_in() {
    let (server, _standin) = server("").await;
    blocking(move || {
        let out = server.polydev(&["connect", "claude"]);
        assert_eq!((out.status.code(), text(&out.stdout)), (Some(0), format!("{}/connect/claude\n", server.url)));
        let out = server.polydev(&["connect", "codex", "--output", "json"]);
        let said: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(said, json!({ "page_url": format!("{}/connect/codex", server.url) }));
        let out = server.polydev(&["connect", "nobody"]);
        assert_eq!(out.status.code(), Some(1));
        assert!(text(&out.stderr).contains("There are claude, codex, gemini"), "{}", text(&out.stderr));
    })
    .await;
}
