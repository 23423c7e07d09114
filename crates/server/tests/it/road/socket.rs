//! A run's events over the WebSocket: the same as over SSE.

use super::{blocking, connected, events};
use crate::support::server::{Server, text};
use futures_util::{SinkExt, StreamExt};
use polydev_server::domain::event::{Event, EventBody};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A socket at a path under `/api/v1`, with this key; or the answer that refuses it.
async fn open_with(server: &Server, path: &str, key: &str) -> Result<Socket, (u16, Value)> {
    let url = format!("{}/api/v1{path}", server.url.replace("http://", "ws://"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(refused)) => {
            let body = refused.body().as_deref().unwrap_or_default();
            Err((refused.status().as_u16(), serde_json::from_slice(body).unwrap()))
        }
        Err(error) => panic!("{path}: {error}"),
    }
}

async fn open(server: &Server, path: &str) -> Socket {
    open_with(server, path, &server.key).await.unwrap_or_else(|refused| panic!("{path}: {refused:?}"))
}

/// The messages up to the close, and its code.
async fn to_the_end(socket: &mut Socket) -> (Vec<String>, u16) {
    let mut said = Vec::new();
    loop {
        match socket.next().await.expect("it closes before it ends").unwrap() {
            Message::Text(text) => said.push(text.to_string()),
            Message::Ping(_) => {}
            Message::Close(close) => return (said, close.expect("it says why").code.into()),
            other => panic!("{other:?}"),
        }
    }
}

/// Reads until an event is of this type.
async fn until(socket: &mut Socket, kind: &str) -> String {
    loop {
        if let Message::Text(text) = socket.next().await.expect("it goes on").unwrap() {
            let event: Value = serde_json::from_str(&text).unwrap();
            if event["type"] == kind {
                return text.to_string();
            }
        }
    }
}

/// Starts a run: its id.
async fn start(server: &Server, prompt: &str) -> String {
    let body = json!({ "provider": "claude", "prompt": prompt });
    let response = server.request(Method::POST, "/runs").json(&body).send().await.unwrap();
    assert_eq!(response.status(), 202);
    response.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

/// A key of the server's person with these scopes.
async fn key(server: Server, scopes: &'static [&'static str]) -> (Server, String) {
    blocking(move || {
        let mut args = vec!["key", "create", "--user", "one@example.com"];
        args.extend(scopes.iter().flat_map(|scope| ["--scope", scope]));
        let out = server.polydev(&args);
        assert!(out.status.success(), "{}", text(&out.stderr));
        (server, text(&out.stdout).trim().to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_says_what_sse_says_and_goes_on_where_it_broke() {
    let (server, _standin) = connected("").await;
    let run = start(&server, "[fault:slow 20] count to 20").await;
    let path = format!("/runs/{run}/stream");
    let mut broken = open(&server, &path).await;
    let mut said = Vec::new();
    while said.len() < 5 {
        if let Message::Text(text) = broken.next().await.unwrap().unwrap() {
            said.push(text.to_string());
        }
    }
    drop(broken);
    let (rest, code) = to_the_end(&mut open(&server, &format!("{path}?after=5")).await).await;
    assert_eq!(code, 1000);
    said.extend(rest);

    let sse = server.request(Method::GET, &format!("/runs/{run}/events")).send().await.unwrap().text().await.unwrap();
    let data: Vec<&str> = sse.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(said, data);
    let all: Vec<Event> = said.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    super::sound(&all);
    let past = to_the_end(&mut open(&server, &format!("{path}?after={}", all.len())).await).await;
    assert_eq!(past, (vec![], 1000), "there is nothing after the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_cancelled_over_its_socket() {
    let (server, _standin) = connected("").await;
    let run = start(&server, "[fault:stall] count to 10").await;
    let mut socket = open(&server, &format!("/runs/{run}/stream")).await;
    until(&mut socket, "text.delta").await;
    socket.send(Message::text(r#"{"type":"cancel"}"#)).await.unwrap();
    let (said, code) = to_the_end(&mut socket).await;
    let last: Event = serde_json::from_str(said.last().unwrap()).unwrap();
    assert_eq!((&last.body, code), (&EventBody::Cancelled, 1000));
    let shown = server.request(Method::GET, &format!("/runs/{run}")).send().await.unwrap();
    assert_eq!(shown.json::<Value>().await.unwrap()["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_opened_is_refused_before_the_upgrade() {
    let (server, _standin) = connected("").await;
    let run = start(&server, "What is 2+2?").await;
    let path = format!("/runs/{run}/stream");
    let (server, blind) = key(server, &["connections"]).await;
    let server = blocking(move || {
        server.person("two@example.com");
        server
    })
    .await;
    let (server, other) = blocking(move || {
        let out = server.polydev(&["key", "create", "--user", "two@example.com"]);
        (server, text(&out.stdout).trim().to_owned())
    })
    .await;
    let own = server.key.clone();
    for (path, key, status, code) in [
        (path.clone(), "pdv_nonsense", 401, "unauthenticated"),
        (path.clone(), &blind, 403, "forbidden"),
        (path.clone(), &other, 404, "not_found"),
        ("/runs/run_nothing/stream".into(), &own, 404, "not_found"),
        (format!("{path}?after=-1"), &own, 422, "invalid_request"),
        (format!("{path}?after=x"), &own, 422, "invalid_request"),
        (format!("{path}?before=1"), &own, 422, "invalid_request"),
    ] {
        let (refused, body) = open_with(&server, &path, key).await.unwrap_err();
        assert_eq!((refused, &body["error"]["code"]), (status, &json!(code)), "{path}: {body}");
    }
    let plain = server.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(plain.status(), 426);
    assert_eq!(plain.headers()["upgrade"], "websocket");
    assert_eq!(plain.json::<Value>().await.unwrap()["error"]["code"], "invalid_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_understands_one_thing_and_the_run_does_not_mind() {
    let (server, _standin) = connected("").await;
    let run = start(&server, "[fault:stall] count to 10").await;
    let path = format!("/runs/{run}/stream");
    let (server, reader) = key(server, &["runs:read"]).await;
    let long = format!(r#"{{"type":"cancel","why":"{}"}}"#, "x".repeat(5000));
    for (message, key, code) in [
        (Message::text(r#"{"type":"stop"}"#), &server.key, 1008),
        (Message::text(r#"{"type":"cancel","now":true}"#), &server.key, 1008),
        (Message::text("cancel"), &server.key, 1008),
        (Message::text(r#"{"type":"cancel"}"#), &reader, 1008),
        (Message::binary(&br#"{"type":"cancel"}"#[..]), &server.key, 1003),
        (Message::text(long), &server.key, 1009),
    ] {
        let mut socket = open_with(&server, &path, key).await.unwrap();
        until(&mut socket, "text.delta").await;
        let shown = format!("{message:?}").chars().take(60).collect::<String>();
        socket.send(message).await.unwrap();
        assert_eq!(to_the_end(&mut socket).await.1, code, "{shown}");
    }
    let shown = server.request(Method::GET, &format!("/runs/{run}")).send().await.unwrap();
    assert_eq!(shown.json::<Value>().await.unwrap()["status"], "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_does_not_hold_the_run() {
    let (server, _standin) = connected("").await;
    let long = "words that nobody reads ".repeat(40_000);
    let run = start(&server, &format!("echo {long}")).await;
    let path = format!("/runs/{run}/stream");
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(open(&server, &path).await);
    }
    let all = events_of(&server, &run).await;
    super::sound(&all);
    assert_eq!(super::answer(&all).trim(), long.trim());
    // And finds everything when it comes round to it.
    let (said, code) = to_the_end(&mut idle.pop().unwrap()).await;
    assert_eq!((said.len(), code), (all.len(), 1000));
}

/// A run's events over SSE.
async fn events_of(server: &Server, run: &str) -> Vec<Event> {
    let sse = server.request(Method::GET, &format!("/runs/{run}/events")).send().await.unwrap().text().await.unwrap();
    sse.lines().filter_map(|line| line.strip_prefix("data: ")).map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_lets_who_waits_go() {
    let (server, _standin) = connected("[runs]\nmax_concurrent = 1\n").await;
    let first = start(&server, "[fault:stall] count to 10").await;
    let waits = start(&server, "What is 2+2?").await;
    let mut running = open(&server, &format!("/runs/{first}/stream")).await;
    let mut waiting = open(&server, &format!("/runs/{waits}/stream")).await;
    until(&mut running, "text.delta").await;
    until(&mut waiting, "run.queued").await;
    let feed = server.request(Method::GET, "/events").send().await.unwrap();
    let unread = server.request(Method::POST, "/runs?wait=true");
    let unread = unread.json(&json!({ "provider": "claude", "prompt": "What is 2+3?" })).send();
    let (stopped, (said, code), (_, away), unread, feed) = tokio::join!(
        blocking(move || {
            let mut server = server;
            let status = server.stop();
            (server, status)
        }),
        to_the_end(&mut running),
        to_the_end(&mut waiting),
        unread,
        feed.text(),
    );
    assert_eq!(stopped.1, Some(0));
    let last: Event = serde_json::from_str(said.last().unwrap()).unwrap();
    assert!(matches!(last.body, EventBody::Failed { .. }), "{last:?}");
    assert_eq!((code, away), (1000, 1001), "one has ended, the other has not");
    // It came in time to wait, or too late.
    assert!(matches!(unread.unwrap().status().as_u16(), 202 | 503));
    assert!(feed.unwrap().starts_with("retry: 1000"), "the feed ends, and is not cut");
    drop(stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn sse_and_sockets_agree_while_a_run_goes_on() {
    let (server, _standin) = connected("").await;
    let all = events(&server, json!({ "provider": "claude", "prompt": "count to 300" })).await;
    let EventBody::Queued { run_id } = &all[0].body else { unreachable!() };
    let (said, _) = to_the_end(&mut open(&server, &format!("/runs/{run_id}/stream")).await).await;
    let said: Vec<Event> = said.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    assert_eq!(said, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_stream_says_that_it_lives() {
    let (server, _standin) = connected("").await;
    let run = start(&server, "[fault:stall] count to 10").await;
    let mut socket = open(&server, &format!("/runs/{run}/stream")).await;
    let over_sse = async |path: String| {
        let response = server.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut said = String::new();
        let mut stream = response.bytes_stream();
        while !said.contains("\n: ping\n") {
            said += &text(&stream.next().await.expect("it goes on").unwrap());
        }
        said
    };
    let over_socket = async { while !matches!(socket.next().await.expect("it goes on").unwrap(), Message::Ping(_)) {} };
    let (events, changes, ()) =
        tokio::join!(over_sse(format!("/runs/{run}/events")), over_sse("/events".into()), over_socket);
    for said in [events, changes] {
        assert!(said.starts_with("retry: 1000\n\n"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_ends_what_it_follows() {
    let (server, _standin) = connected("").await;
    let (server, reader) = key(server, &["runs:read"]).await;
    let run = start(&server, "[fault:stall] echo one two").await;
    let mut socket = open_with(&server, &format!("/runs/{run}/stream"), &reader).await.unwrap();
    until(&mut socket, "text.delta").await;
    let events = server.request_as(&reader, Method::GET, &format!("/runs/{run}/events")).send().await.unwrap();
    let keys: Value = server.request_as(&reader, Method::GET, "/keys").send().await.unwrap().json().await.unwrap();
    let id = keys["items"][0]["id"].as_str().unwrap();
    let revoked = server.request(Method::DELETE, &format!("/keys/{id}")).send().await.unwrap();
    assert_eq!(revoked.status(), 204);
    let (_, code) = to_the_end(&mut socket).await;
    assert_eq!(code, 1008);
    let events = events.text().await.unwrap();
    assert!(!events.contains("run.cancelled") && !events.contains("run.failed"), "the run goes on: {events}");
    let refused = open_with(&server, &format!("/runs/{run}/stream"), &reader).await.unwrap_err();
    assert_eq!(refused.0, 401);
}
