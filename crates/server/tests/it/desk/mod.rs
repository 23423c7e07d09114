//! Desktops to sign in at: the real server, real sandboxes of the real image, and a viewer's own bytes.

mod chance;
mod doors;
mod faults;
mod hands;
mod instead;
mod life;
mod links;
mod reconnect;
mod rfb;
mod warm;

use crate::{
    road::{answer, events},
    support::{
        host,
        server::{NO_POOL, Server},
    },
};
use base64::{Engine, prelude::BASE64_STANDARD};
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use polydev_sandbox::{
    Guest,
    drivers::{self, DriverConfig},
    proto::WatchRule,
};
use polydev_server::domain::login::{Event, EventBody, StageName, StageState};
use polydev_standin::{Account, Options, Provider, Standin};
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error, client::IntoClientRequest, http::Request},
};

/// How long a desktop may take to come, to go, or to do something.
const WITHIN: Duration = Duration::from_secs(60);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A server with these lines in its configuration, and the stand-in behind it.
async fn server(config: &str) -> (Server, Standin) {
    let standin = Standin::start(Options::default()).await.unwrap();
    let config = format!("{NO_POOL}{config}");
    blocking(move || {
        let images = crate::support::server::images();
        assert!(images.join("desktop.json").exists(), "no desktop image in {}", images.display());
        (Server::start_with(&standin, &config), standin)
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// The answer to a request with the server's key.
async fn ask(server: &Server, method: Method, path: &str) -> (u16, Value) {
    let response = server.request(method, path).send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
}

/// The answer to a body that is sent with the server's key.
async fn post(server: &Server, path: &str, body: Value) -> (u16, Value) {
    let response = server.request(Method::POST, path).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

/// Connects a provider by the files of an account that has signed in elsewhere.
async fn import(server: &Server, name: &str, account: &Account, provider: Provider) {
    let files = account.login_files(provider).into_iter();
    let files: BTreeMap<String, String> =
        files.map(|(name, content)| (name, BASE64_STANDARD.encode(content))).collect();
    let (status, connected) = post(server, &format!("/connections/{name}/import"), json!({ "files": files })).await;
    assert_eq!(status, 200, "{connected}");
}

/// Opens a login: the status, and the login or the error.
async fn open(server: &Server, provider: &str) -> (u16, Value) {
    let request = server.request(Method::POST, "/logins").json(&json!({ "provider": provider }));
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// A login's id.
fn id(login: &Value) -> String {
    login["id"].as_str().unwrap_or_else(|| panic!("{login}")).to_owned()
}

/// A login whose desktop is ready: its id.
async fn ready(server: &Server, provider: &str) -> String {
    let (status, login) = open(server, provider).await;
    assert_eq!(status, 201, "{login}");
    let id = id(&login);
    until(server, &id, is_ready).await;
    id
}

/// Whether an event says that the desktop is ready.
fn is_ready(event: &Event) -> bool {
    let EventBody::Stage { stage, .. } = &event.body else { return false };
    (stage.name, stage.state) == (StageName::Ready, StageState::Done)
}

/// Whether an event asks about this account.
fn asks_about(account: &Account) -> impl Fn(&Event) -> bool {
    let email = account.email();
    move |event| matches!(&event.body, EventBody::OtherAccount { account, .. } if *account == email)
}

/// A login's events up to one that is such, or to the last.
async fn until(server: &Server, id: &str, is_such: impl Fn(&Event) -> bool) -> Vec<Event> {
    until_after(server, id, 0, is_such).await
}

/// The same from the event after this number on.
async fn until_after(server: &Server, id: &str, after: i64, is_such: impl Fn(&Event) -> bool) -> Vec<Event> {
    let response = server.request(Method::GET, &format!("/logins/{id}/events?after={after}")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut frames = response.bytes_stream().eventsource();
    let mut events = Vec::new();
    while let Some(frame) = frames.next().await {
        let frame = frame.unwrap();
        let event: Event = serde_json::from_str(&frame.data).unwrap();
        assert_eq!((frame.id, frame.event.as_str()), (event.seq.to_string(), event.body.kind()));
        let done = is_such(&event);
        events.push(event);
        if done {
            return events;
        }
    }
    assert!(events.last().is_some_and(|event| event.body.is_last()), "{events:?}");
    events
}

/// All events of a login that is over, or soon will be.
async fn to_the_end(server: &Server, id: &str) -> Vec<Event> {
    let events = until(server, id, |event| event.body.is_last()).await;
    let seqs: Vec<i64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=events.len() as i64).collect::<Vec<_>>(), "numbered from 1 without holes");
    assert_eq!(events.iter().filter(|event| event.body.is_last()).count(), 1);
    events
}

/// Its only sandbox.
fn sandbox(server: &Server) -> String {
    let all = server.sandboxes();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].clone()
}

/// Nothing is left of any desktop, and what was signed in with answers.
async fn is_gone_and_answers(server: Server, provider: &str) -> Server {
    let server = blocking(move || {
        host::until(WITHIN, || server.sandboxes().is_empty());
        server
    })
    .await;
    let all = events(&server, json!({ "provider": provider, "prompt": "What is 17*23?" })).await;
    assert_eq!(answer(&all).trim(), "391", "{all:?}\n{}", server.log());
    server
}

/// What the server has counted, of this name and these labels.
async fn counted(server: Server, names: &[&str]) -> (Server, Vec<f64>) {
    let (server, key) = blocking(move || {
        let key = server.whole_key("one@example.com");
        (server, key)
    })
    .await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("{}/metrics", server.url)).bearer_auth(key).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let of = |name: &&str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
    };
    let counts = names.iter().map(of).collect();
    (server, counts)
}

/// The agent of a server's sandbox, without the server.
fn guest(server: &Server, sandbox: &str) -> Guest {
    let config = DriverConfig { state_dir: server.data_dir().join("sandboxes"), oci_runtime: None };
    Guest::new(drivers::by_name("oci", &config).unwrap(), sandbox.parse().unwrap())
}

/// What a command that is typed at a screen says, by way of a file of this name in its sandbox.
async fn said(server: &Server, viewer: &mut rfb::Viewer, (command, name): (&str, &str)) -> String {
    let guest = guest(server, &sandbox(server));
    let path = format!("/workspace/{name}");
    let rule = WatchRule { rule: name.to_owned(), path: path.clone(), require: Vec::new(), quiet_ms: 50 };
    let mut watch = guest.watch(vec![rule]).await.unwrap();
    // It is there at once and whole.
    viewer.types(&format!("{command} >{path}.new && mv {path}.new {path}\n")).await;
    timeout(WITHIN, watch.next()).await.unwrap().unwrap();
    String::from_utf8(guest.read_file(&path, 4096).await.unwrap()).unwrap()
}

/// A request for a login's screen, as a key's owner sends it.
fn looking(server: &Server, id: &str) -> Request<()> {
    let mut request = anonymous(server, id, "");
    let bearer = format!("Bearer {}", server.key).parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    request
}

/// The same of somebody who shows nothing but this query.
fn anonymous(server: &Server, id: &str, query: &str) -> Request<()> {
    let url = format!("{}/api/v1/logins/{id}/desktop{query}", server.url.replace("http://", "ws://"));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "binary".parse().unwrap());
    request
}

/// A viewer's socket, or the status and code that refuse it.
async fn look(request: Request<()>) -> Result<Socket, (u16, String)> {
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, answer)) => {
            assert_eq!(answer.headers()["sec-websocket-protocol"], "binary");
            Ok(socket)
        }
        Err(Error::Http(refused)) => {
            let body = refused.body().as_deref().unwrap_or_default();
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            Err((refused.status().as_u16(), body["error"]["code"].as_str().unwrap_or_default().to_owned()))
        }
        Err(error) => panic!("{error}"),
    }
}
