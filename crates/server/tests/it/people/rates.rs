//! Who asks too much waits, as long as they are told, and keeps nobody else out.

use super::{Browser, PASSWORD, blocking, doors::endpoints, empty, json_of, key, refused, said, token_of};
use crate::support::server::{Server, text};
use futures_util::{SinkExt, StreamExt, future::join_all};
use polydev_standin::Standin;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::{Error, Message, client::IntoClientRequest};

/// A server with these limits and an admin, who is signed in.
async fn limited(limits: &'static [(&'static str, &'static str)]) -> (Server, Standin, Browser) {
    let (server, standin) = empty(limits).await;
    let mut browser = Browser::new(&server);
    assert_eq!(browser.set_up(&token_of(&server), "ann@example.com").await.status(), 201);
    (server, standin, browser)
}

/// Asks until it is too much: how often it was answered otherwise, and what was said then.
async fn until_too_much(ask: impl AsyncFn() -> Response) -> (usize, Response) {
    for n in 0..10_000 {
        let response = ask().await;
        if response.status() == 429 {
            return (n, response);
        }
    }
    panic!("there is no limit");
}

fn retry_after(response: &Response) -> Duration {
    Duration::from_secs(response.headers()["retry-after"].to_str().unwrap().parse().unwrap())
}

fn field(response: &Response, name: &str) -> String {
    response.headers()[name].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_waits_as_long_as_it_is_told_and_others_go_on() {
    let (server, _standin, browser) = limited(&[("POLYDEV__LIMITS__KEY_PER_S", "1")]).await;
    let (_, busy) = key(&browser, &["runs:read"]).await;
    let (_, other) = key(&browser, &["runs:read"]).await;
    let ask = async |key: &str| server.request_as(key, Method::GET, "/runs").send().await.unwrap();
    let (answered, response) = until_too_much(async || ask(&busy).await).await;
    assert!(answered >= 10, "ten seconds' worth at once: {answered}");
    let (wait, told) = (retry_after(&response), Instant::now());
    assert_eq!(field(&response, "ratelimit-policy"), r#""key";q=10;w=10"#);
    assert_eq!(field(&response, "ratelimit"), format!(r#""key";r=0;t={}"#, wait.as_secs()));
    let error = refused(response, 429, "rate_limited").await;
    assert!(error["hint"].as_str().unwrap().contains("`limits.key_per_s`"), "{error}");
    assert!(error["retry_at"].is_string(), "{error}");
    assert_eq!(ask(&other).await.status(), 200, "another key");
    assert_eq!(browser.status("/me").await, 200, "and the session");
    sleep_until(told + wait).await;
    assert_eq!(ask(&busy).await.status(), 200, "what it was told is true");

    // A flood is one line of the record.
    join_all((0..200).map(|_| ask(&busy))).await;
    let audit = browser.get("/audit").await;
    let told: Vec<_> =
        audit["items"].as_array().unwrap().iter().filter(|it| it["action"] == "requests.limit").collect();
    assert_eq!(told.len(), 1, "{audit}");
    assert_eq!((&told[0]["detail"], &told[0]["code"]), (&json!("key"), &json!("rate_limited")), "{audit}");
    assert_eq!(told[0]["actor"]["kind"], "key", "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_keys_of_a_person_are_one_person() {
    let (server, _standin, browser) = limited(&[("POLYDEV__LIMITS__PERSON_PER_S", "2")]).await;
    let made = json_of(browser.post("/users", json!({ "email": "bob@example.com" })).await, 201).await;
    let (_, one) = key(&browser, &["runs:read"]).await;
    let (_, two) = key(&browser, &["runs:read"]).await;
    let ask = async |key: &str| server.request_as(key, Method::GET, "/runs").send().await.unwrap();
    let (_, response) = until_too_much(async || ask(&one).await).await;
    let error = refused(response, 429, "rate_limited").await;
    assert!(error["hint"].as_str().unwrap().contains("`limits.person_per_s`"), "{error}");
    let answers = join_all((0..20).map(|_| ask(&two))).await;
    assert!(answers.iter().any(|answer| answer.status() == 429), "another key of theirs");
    let mut bob = Browser::new(&server);
    assert_eq!(bob.sign_in("bob@example.com", made["password"].as_str().unwrap()).await.status(), 201);
    assert_eq!(bob.status("/me").await, 200, "another person at the same address");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_something_costs_more() {
    let (server, _standin, browser) = limited(&[("POLYDEV__LIMITS__CHANGES_PER_S", "1")]).await;
    let (_, key) = key(&browser, &["runs:read", "runs:write", "connections"]).await;
    for (method, path) in [
        (Method::POST, "/runs"),
        (Method::POST, "/connections/claude/verify"),
        (Method::POST, "/connections/claude/import"),
        (Method::DELETE, "/keys/key_none"),
    ] {
        let ask = async || server.request_as(&key, method.clone(), path).json(&json!([])).send().await.unwrap();
        let (_, response) = until_too_much(ask).await;
        assert_eq!(field(&response, "ratelimit-policy"), r#""changes";q=10;w=10"#, "{path}");
    }
    let looks = join_all((0..50).map(|_| server.request_as(&key, Method::GET, "/runs").send())).await;
    assert!(looks.into_iter().all(|look| look.unwrap().status() == 200), "it may look on");
    // Signing in, of whoever comes from one address.
    let nobody = Browser { origin: None, ..Browser::at(&server, [127, 0, 0, 9].into()) };
    let (answered, response) = until_too_much(async || nobody.post("/session", json!([])).await).await;
    assert!(answered >= 10, "{answered}");
    refused(response, 429, "rate_limited").await;
    assert_eq!(Browser::new(&server).sign_in("ann@example.com", PASSWORD).await.status(), 201, "from elsewhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_nothing_counts_by_address_wherever_they_ask() {
    let (server, _standin, browser) = limited(&[("POLYDEV__LIMITS__ADDRESS_PER_S", "1")]).await;
    let stranger = Browser::at(&server, [127, 0, 0, 9].into());
    let ask = async |method: &Method, path: &str| {
        stranger.client.request(method.clone(), format!("{}{path}", server.url)).send().await.unwrap()
    };
    let (answered, _) = until_too_much(async || ask(&Method::GET, "/no/such/page").await).await;
    assert!(answered >= 10, "{answered}");
    // A second may pass while all of these are asked: what is asked ten times is refused once at least.
    let doors = endpoints().into_iter().map(|(method, path, _)| (method, path));
    let more = ["/", "/docs/", "/docs/swagger-ui-bundle.js", "/api/v1/openapi.json", "/api/v1/none", "/metrics"];
    for (method, path) in doors.chain(more.map(|path| (Method::GET, path.to_owned()))) {
        let answers = join_all((0..5).map(|_| ask(&method, &path))).await;
        let limited = answers.iter().filter(|answer| answer.status() == 429).count();
        assert_eq!(limited > 0, path != "/healthz", "{method} {path}");
    }
    assert_eq!(browser.status("/me").await, 200, "who has shown a session");
    let elsewhere = Browser::at(&server, [127, 0, 0, 10].into());
    assert_eq!(elsewhere.status("/me").await, 401, "another address");
    let host = stranger.client.get(format!("{}/readyz", server.url)).header("host", "evil.example");
    assert_eq!(host.send().await.unwrap().status(), 421);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_proxy_everybody_has_their_own_address() {
    let (server, _standin) = empty(&[
        ("POLYDEV__LIMITS__ADDRESS_PER_S", "1"),
        ("POLYDEV__SERVER__PUBLIC_URL", "https://polydev.example"),
        ("POLYDEV__SERVER__TRUSTED_PROXIES", r#"["127.0.0.1"]"#),
    ])
    .await;
    let through = async |proxy: [u8; 4], of: &str| {
        let client = Browser::at(&server, proxy.into()).client;
        let ask = client.get(format!("{}/docs/", server.url)).header("host", "polydev.example");
        ask.header("x-forwarded-for", of).send().await.unwrap()
    };
    let proxy = [127, 0, 0, 1];
    until_too_much(async || through(proxy, "192.0.2.1").await).await;
    assert_eq!(through(proxy, "192.0.2.2").await.status(), 200);
    assert_eq!(through(proxy, "2001:db8:0:1::1").await.status(), 200);
    until_too_much(async || through(proxy, &format!("2001:db8:0:2::{:x}", rand())).await).await;
    assert_eq!(through(proxy, "2001:db8:0:3::1").await.status(), 200, "another line");
    // Who is no proxy is not believed.
    until_too_much(async || through([127, 0, 0, 2], &format!("192.0.2.{}", rand() % 200)).await).await;
}

/// A number that differs.
fn rand() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_guessed_slowly_and_good_ones_go_on() {
    let (server, _standin, browser) = limited(&[("POLYDEV__LIMITS__REFUSED_PER_MIN", "1")]).await;
    let (_, good) = key(&browser, &["runs:read"]).await;
    let cli = blocking(move || (said(&server, &["key", "create"]), server)).await;
    let (unused, server) = cli;
    let show = async |key: &str| server.request_as(key, Method::GET, "/runs").send().await.unwrap();
    let guess = async || show(&format!("pdv_guess{}", rand())).await;
    // The same wrong one is no new guess: a program that was forgotten keeps nobody out.
    for _ in 0..20 {
        assert_eq!(show("pdv_revoked").await.status(), 401);
    }
    let (answered, response) = until_too_much(guess).await;
    assert_eq!(answered, 1, "with the one before it");
    assert!(retry_after(&response) <= Duration::from_secs(60));
    let error = refused(response, 429, "rate_limited").await;
    assert!(error["hint"].as_str().unwrap().contains("`limits.refused_per_min`"), "{error}");
    for _ in 0..20 {
        assert_eq!(guess().await.status(), 429, "and nothing is looked up meanwhile");
    }
    assert_eq!(show(&unused).await.status(), 429, "a key that nobody has shown yet is a guess like any other");
    // Who was let in goes on; who signs in is let in, be it with the cookie of a session that is over.
    assert_eq!(show(&good).await.status(), 200);
    assert_eq!(browser.status("/me").await, 200);
    let mut again = Browser { cookie: Some("pds_over".into()), ..Browser::new(&server) };
    assert_eq!(again.status("/me").await, 429);
    assert_eq!(again.sign_in("ann@example.com", PASSWORD).await.status(), 201);
    assert_eq!(again.status("/me").await, 200);
    let (_, made) = key(&again, &["runs:read"]).await;
    assert_eq!(show(&made).await.status(), 200);
    // From elsewhere it may be looked up.
    let elsewhere = Browser::at(&server, [127, 0, 0, 9].into()).client;
    let there = elsewhere.get(format!("{}/api/v1/runs", server.url)).bearer_auth(&unused).send().await.unwrap();
    assert_eq!(there.status(), 200);
    assert_eq!(show(&unused).await.status(), 200, "and then it is known");
}

/// Opens the stream of what changes.
async fn open(server: &Server, from: [u8; 4], key: &str) -> Response {
    let client = Browser::at(server, from.into()).client;
    client.get(format!("{}/api/v1/events", server.url)).bearer_auth(key).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_and_an_address_have_so_many_streams_open() {
    let (server, _standin, browser) =
        limited(&[("POLYDEV__LIMITS__PERSON_STREAMS", "3"), ("POLYDEV__LIMITS__ADDRESS_STREAMS", "4")]).await;
    let made = json_of(browser.post("/users", json!({ "email": "bob@example.com" })).await, 201).await;
    let (_, ann) = key(&browser, &["runs:read", "runs:write"]).await;
    let mut bob = Browser::new(&server);
    assert_eq!(bob.sign_in("bob@example.com", made["password"].as_str().unwrap()).await.status(), 201);
    let (_, bob) = key(&bob, &["runs:read"]).await;
    let (here, there) = ([127, 0, 0, 1], [127, 0, 0, 2]);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let stream = open(&server, here, &ann).await;
        assert_eq!(stream.status(), 200);
        streams.push(stream);
    }
    let error = refused(open(&server, there, &ann).await, 429, "rate_limited").await;
    assert!(error["hint"].as_str().unwrap().contains("`limits.person_streams`"), "{error}");
    // What would be answered by a stream is not done without one.
    let run = server.request_as(&ann, Method::POST, "/runs").header("accept", "text/event-stream");
    let run = run.json(&json!({ "provider": "claude", "prompt": "hi" })).send().await.unwrap();
    refused(run, 429, "rate_limited").await;
    let runs = json_of(server.request_as(&ann, Method::GET, "/runs").send().await.unwrap(), 200).await;
    assert_eq!(runs["items"], json!([]));
    let last = open(&server, here, &bob).await;
    assert_eq!(last.status(), 200);
    let error = refused(open(&server, here, &bob).await, 429, "rate_limited").await;
    assert!(error["hint"].as_str().unwrap().contains("`limits.address_streams`"), "{error}");
    let elsewhere = open(&server, there, &bob).await;
    assert_eq!(elsewhere.status(), 200);
    // Who leaves makes room, as soon as the server has noticed.
    drop(streams);
    while open(&server, here, &ann).await.status() != 200 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_a_stream_too() {
    let standin = Standin::start(polydev_standin::Options::default()).await.unwrap();
    let (server, _standin) = blocking(move || {
        let mut server = Server::start_with(&standin, "");
        server.env.push(("POLYDEV__LIMITS__PERSON_STREAMS", "1".into()));
        server.stop();
        server.run();
        server.connect("claude");
        (server, standin)
    })
    .await;
    let body = json!({ "provider": "claude", "prompt": "stall" });
    let run = json_of(server.request(Method::POST, "/runs").json(&body).send().await.unwrap(), 202).await;
    let url = format!("{}/api/v1/runs/{}/stream", server.url.replace("http://", "ws://"), run["id"].as_str().unwrap());
    let connect = async || {
        let mut request = url.as_str().into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {}", server.key).parse().unwrap());
        tokio_tungstenite::connect_async(request).await
    };
    let (mut socket, _) = connect().await.unwrap();
    match connect().await {
        Err(Error::Http(refused)) => assert_eq!(refused.status(), 429),
        other => panic!("{other:?}"),
    }
    socket.send(Message::text(r#"{"type":"cancel"}"#)).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    while connect().await.is_err() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_waits_and_asks_again() {
    let (server, _standin, browser) =
        limited(&[("POLYDEV__LIMITS__KEY_PER_S", "1"), ("POLYDEV__LIMITS__CHANGES_PER_S", "1")]).await;
    let (_, token) = key(&browser, &["runs:read", "runs:write", "connections"]).await;
    let server = blocking(move || {
        let mut server = server;
        server.key = token;
        server
    })
    .await;
    until_too_much(async || server.request(Method::GET, "/runs").send().await.unwrap()).await;
    let (listed, server) = blocking(move || (server.polydev(&["--output", "json", "runs"]), server)).await;
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    assert!(serde_json::from_slice::<Value>(&listed.stdout).is_ok());
    // What must not be done twice is not sent again by itself.
    until_too_much(async || server.request(Method::POST, "/runs").json(&json!([])).send().await.unwrap()).await;
    let run = blocking(move || server.polydev(&["run", "claude", "hi"])).await;
    assert_eq!(run.status.code(), Some(1));
    let said = text(&run.stderr);
    assert!(said.contains("asks too often") && said.contains("Wait"), "{said}");
}
