//! Nobody but its owner gets at a desktop, and each who tries is on record.

use super::{
    anonymous, ask, blocking, id, look, looking, open, ready,
    rfb::{Closed, Viewer},
    sandbox, server, to_the_end,
};
use crate::support::{
    db,
    server::{Server, text},
};
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

/// A request with this session cookie, from this page.
fn by_cookie(request: Request<()>, session: &str, page: &str) -> Request<()> {
    with(with(request, "cookie", &format!("polydev_session={session}")), "origin", page)
}

fn by_key(request: Request<()>, key: &str) -> Request<()> {
    with(request, "authorization", &format!("Bearer {key}"))
}

/// One's ticket for a login.
async fn ticket(server: &Server, login: &str) -> String {
    let (status, ticket) = ask(server, Method::POST, &format!("/logins/{login}/tickets")).await;
    assert_eq!(status, 201, "{ticket}");
    ticket["ticket"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_its_owner_gets_in_and_each_who_tries_is_on_record_on_both_databases() {
    for postgres in [false, true] {
        let database = if postgres { Some(db::postgres().await) } else { None };
        let store = database.as_ref().map(|database| format!("[store]\nurl = {:?}\n", database.url));
        // Refused before the upgrade: whether the desktop is there already makes no difference, so nobody waits for it.
        refusals(&store.unwrap_or_default()).await;
    }
}

async fn refusals(config: &str) {
    const NO_LOGIN: &str = "lgn_aaaaaaaaaaaaaaaa";
    let (server, _standin) = server(config).await;
    let (server, admin, other, narrow, passwords) = blocking(move || {
        let said = |args: &[&str]| text(&server.polydev(args).stdout).trim().to_owned();
        let (admin, other) = (server.whole_key("one@example.com"), server.person("two@example.com"));
        let passwords = ["one@example.com", "two@example.com"].map(|email| said(&["user", "password", email]));
        let narrow = said(&["key", "create", "--user", "one@example.com", "--scope", "runs:read"]);
        (server, admin, other, narrow, passwords)
    })
    .await;
    let own_session = signed_in(&server, "one@example.com", &passwords[0]).await;
    let other_session = signed_in(&server, "two@example.com", &passwords[1]).await;
    let login = id(&open(&server, "claude").await.1);
    let at = |query: &str| anonymous(&server, &login, query);
    let elsewhere = |query: &str| anonymous(&server, NO_LOGIN, query);
    let (page, foreign) = (server.url.as_str(), "https://evil.example");
    let by_ticket = |ticket: &str| format!("?ticket={ticket}");
    let (nobody, forbidden, none) = ((401, "unauthenticated"), (403, "forbidden"), (404, "not_found"));
    let refused = async |who: &str, request: Request<()>, (status, code): (u16, &str)| {
        let before = tried(&server, &admin).await;
        assert_eq!(look(request).await.unwrap_err(), (status, code.to_owned()), "{who}");
        let after = tried(&server, &admin).await;
        assert_eq!(after.len(), before.len() + 1, "{who}");
        assert_eq!(after[0], ("failed".to_owned(), code.to_owned()), "{who}");
    };
    refused("its owner, too early", looking(&server, &login), (409, "not_ready")).await;
    let (used, misused) = (ticket(&server, &login).await, ticket(&server, &login).await);
    let short = signed_in(&server, "one@example.com", &passwords[0]).await;
    let by_session = async |method: Method, path: &str| {
        let request = reqwest::Client::new().request(method, format!("{page}/api/v1{path}")).header("origin", page);
        request.header("cookie", format!("polydev_session={short}")).send().await.unwrap()
    };
    let outlived = by_session(Method::POST, &format!("/logins/{login}/tickets")).await.json::<Value>().await.unwrap();
    let outlived = outlived["ticket"].as_str().unwrap().to_owned();
    assert_eq!(by_session(Method::DELETE, "/session").await.status(), 204);
    // It is used up, whether there was something to see or not.
    drop(look(at(&by_ticket(&used))).await);
    for (who, request, refusal) in [
        ("a used ticket", at(&by_ticket(&used)), nobody),
        ("a ticket of another login", elsewhere(&by_ticket(&misused)), nobody),
        ("that ticket, now lost", at(&by_ticket(&misused)), nobody),
        ("a ticket that is none", at(&by_ticket("tkt_nonsense")), nobody),
        ("a ticket of a session that is over", at(&by_ticket(&outlived)), nobody),
        ("nobody", at(""), nobody),
        ("a key that is none", by_key(at(""), "pdv_nonsense"), nobody),
        ("a session that is none", by_cookie(at(""), &"0".repeat(40), page), nobody),
        ("a foreign page", by_cookie(at(""), &own_session, foreign), forbidden),
        ("no page", with(at(""), "cookie", &format!("polydev_session={own_session}")), forbidden),
        ("a key for something else", by_key(at(""), &narrow), forbidden),
        ("another's key", by_key(at(""), &other), none),
        ("another's cookie", by_cookie(at(""), &other_session, page), none),
        ("another who would take over", by_key(at("?take=true"), &other), none),
        ("an administrator at what is not there", by_key(elsewhere(""), &admin), none),
    ] {
        refused(who, request, refusal).await;
    }
    for (method, path) in [
        (Method::GET, ""),
        (Method::GET, "/events"),
        (Method::POST, "/extend"),
        (Method::POST, "/tickets"),
        (Method::DELETE, ""),
    ] {
        let request = server.request_as(&other, method.clone(), &format!("/logins/{login}{path}"));
        assert_eq!(request.send().await.unwrap().status(), 404, "{method} {path}");
    }
    // What is over is over for its owner too, however they come.
    let late = ticket(&server, &login).await;
    assert_eq!(ask(&server, Method::DELETE, &format!("/logins/{login}")).await.0, 204);
    to_the_end(&server, &login).await;
    let over = (410, "gone");
    refused("its owner, too late", looking(&server, &login), over).await;
    refused("its owner by cookie, too late", by_cookie(at(""), &own_session, page), over).await;
    refused("its owner by ticket, too late", at(&by_ticket(&late)), over).await;
    refused("another's key, too late", by_key(at(""), &other), none).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_looks_at_a_time_and_by_what_they_may() {
    let (server, _standin) = server("").await;
    let (server, admin, narrow, password) = blocking(move || {
        let said = |args: &[&str]| text(&server.polydev(args).stdout).trim().to_owned();
        let password = said(&["user", "password", "one@example.com"]);
        let narrow = said(&["key", "create", "--user", "one@example.com", "--scope", "runs:write"]);
        let admin = server.whole_key("one@example.com");
        (server, admin, narrow, password)
    })
    .await;
    let login = ready(&server, "claude").await;
    let ticket = ticket(&server, &login).await;
    let session = signed_in(&server, "one@example.com", &password).await;
    for request in [
        anonymous(&server, &login, &format!("?ticket={ticket}")),
        by_cookie(anonymous(&server, &login, ""), &session, &server.url),
    ] {
        let viewer = Viewer::new(look(request).await.unwrap()).await.unwrap();
        assert_eq!(viewer.close().await, Closed(Some(1000)));
    }
    // A plain request is no handshake.
    let plain = server.request(Method::GET, &format!("/logins/{login}/desktop")).send().await.unwrap();
    assert_eq!(plain.status(), 426);

    // Whoever looks may be taken over from, also when they take nothing of what they asked for.
    let mut first = Viewer::new(look(looking(&server, &login)).await.unwrap()).await.unwrap();
    assert_eq!(look(looking(&server, &login)).await.unwrap_err(), (409, "conflict".to_owned()));
    let take = || by_key(anonymous(&server, &login, "?take=true"), &server.key);
    let mut second = Viewer::new(look(take()).await.unwrap()).await.unwrap();
    assert_eq!(first.closed().await, Closed(Some(4001)));
    second.asks_for_everything().await;
    let mut third = Viewer::new(look(take()).await.unwrap()).await.unwrap();
    third.pixels().await.unwrap();
    // It may hear why, if it listens in time.
    assert!(matches!(second.closed().await, Closed(Some(4001) | None)));
    third.says(Message::Text("hello".into())).await;
    assert_eq!(third.closed().await, Closed(Some(1003)));
    let mut fourth = Viewer::new(look(looking(&server, &login)).await.unwrap()).await.unwrap();
    fourth.says(Message::Binary(vec![6; 65_537].into())).await;
    assert!(matches!(fourth.closed().await, Closed(Some(1009) | None)));
    // A key that is revoked sees no more.
    let mut fifth = Viewer::new(look(looking(&server, &login)).await.unwrap()).await.unwrap();
    let keys: Value = ask(&server, Method::GET, "/keys").await.1;
    // Who may end runs alone ends no login by way of its sandbox, and who may is on record.
    let of = format!("/sandboxes/{}", sandbox(&server));
    let refused = server.request_as(&narrow, Method::DELETE, &of).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    assert_eq!(ask(&server, Method::GET, &format!("/logins/{login}")).await.1["status"], "ready");
    // The oldest is the one that looks.
    let own = keys["items"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    let revoked = server.request_as(&admin, Method::DELETE, &format!("/keys/{own}")).send().await.unwrap();
    assert_eq!(revoked.status(), 204);
    assert_eq!(fifth.closed().await, Closed(Some(1008)));
    let ended = server.request_as(&admin, Method::DELETE, &of).send().await.unwrap();
    assert_eq!(ended.status(), 204);
    let recorded = server.request_as(&admin, Method::GET, "/audit").send().await.unwrap();
    let recorded: Value = recorded.json().await.unwrap();
    let mut recorded = recorded["items"].as_array().unwrap().iter();
    assert!(recorded.any(|entry| entry["action"] == "login.cancel" && entry["target"] == login), "{recorded:?}");
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
    to_the_end(&server, &first).await;
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
