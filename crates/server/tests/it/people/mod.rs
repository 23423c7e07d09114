//! People: who may use the server, what lets them in, and what they may do; by the rows, and over HTTP.

mod admins;
mod doors;
mod foreign;
mod headers;
mod limits;
mod origin;
mod proxies;
mod races;
mod rates;
mod rows;
mod secrets;
mod story;
mod theirs;

use crate::support::server::{Server, text};
use polydev_standin::{Options, Standin};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::{fs, net::IpAddr};

/// A password that is good enough.
const PASSWORD: &str = "correct horse battery";

/// A server that nobody may use yet, with these variables.
async fn empty(env: &'static [(&'static str, &'static str)]) -> (Server, Standin) {
    let standin = Standin::start(Options::default()).await.unwrap();
    blocking(move || (Server::empty(&standin, crate::support::server::NO_POOL, env), standin)).await
}

/// A server with an admin, who is signed in.
async fn with_admin() -> (Server, Standin, Browser) {
    let (server, standin) = empty(&[]).await;
    let mut browser = Browser::new(&server);
    let made = browser.set_up(&token_of(&server), "ann@example.com").await;
    assert_eq!(made.status(), 201, "{}", made.text().await.unwrap());
    (server, standin, browser)
}

/// Runs what blocks beside the stand-in, which needs this runtime.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// The token of a server's setup link.
fn token_of(server: &Server) -> String {
    let link = fs::read_to_string(server.data_dir().join("setup-link")).expect("there is a link");
    let start = format!("{}/setup?token=", server.url);
    link.trim_end().strip_prefix(&start).unwrap_or_else(|| panic!("{link} does not start with {start}")).to_owned()
}

/// Runs a command of the server to its end: what it prints.
fn said(server: &Server, args: &[&str]) -> String {
    let out = server.polydev(args);
    assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
    text(&out.stdout).trim().to_owned()
}

/// A person's browser, on a page of the server's own unless it says otherwise.
#[derive(Clone)]
struct Browser {
    client: reqwest::Client,
    url: String,
    /// Of its page.
    origin: Option<String>,
    /// The session cookie.
    cookie: Option<String>,
}

impl Browser {
    fn new(server: &Server) -> Self {
        Self::at(server, [127, 0, 0, 1].into())
    }

    /// Goes on at a server that was started again, at another port: its page is of there now.
    fn moved_to(&mut self, server: &Server) {
        self.url.clone_from(&server.url);
        self.origin = Some(server.url.clone());
    }

    /// One at another address of this machine.
    fn at(server: &Server, address: IpAddr) -> Self {
        let client = reqwest::Client::builder().no_proxy().local_address(address).user_agent("a browser").build();
        Self { client: client.unwrap(), url: server.url.clone(), origin: Some(server.url.clone()), cookie: None }
    }

    /// A request to a path under `/api/v1`.
    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.client.request(method, format!("{}/api/v1{path}", self.url));
        if let Some(origin) = &self.origin {
            request = request.header("origin", origin);
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", format!("other=1; polydev_session={cookie}"));
        }
        request
    }

    async fn get(&self, path: &str) -> Value {
        json_of(self.request(Method::GET, path).send().await.unwrap(), 200).await
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        self.request(Method::POST, path).json(&body).send().await.unwrap()
    }

    async fn delete(&self, path: &str) -> u16 {
        self.request(Method::DELETE, path).send().await.unwrap().status().as_u16()
    }

    /// The status of a GET.
    async fn status(&self, path: &str) -> u16 {
        self.request(Method::GET, path).send().await.unwrap().status().as_u16()
    }

    async fn set_up(&mut self, token: &str, email: &str) -> Response {
        let body = json!({ "token": token, "email": email, "password": PASSWORD });
        let response = self.post("/setup", body).await;
        self.keep_cookie(&response);
        response
    }

    async fn sign_in(&mut self, email: &str, password: &str) -> Response {
        let response = self.post("/session", json!({ "email": email, "password": password })).await;
        self.keep_cookie(&response);
        response
    }

    fn keep_cookie(&mut self, response: &Response) {
        if let Some(set) = response.headers().get("set-cookie") {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            self.cookie = pair.strip_prefix("polydev_session=").map(str::to_owned).filter(|cookie| !cookie.is_empty());
        }
    }
}

/// A key of whoever is signed in, with these scopes.
async fn key(browser: &Browser, scopes: &[&str]) -> (String, String) {
    let made = json_of(browser.post("/keys", json!({ "scopes": scopes })).await, 201).await;
    (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
}

/// A member, signed in: their id and their browser.
async fn member(server: &Server, admin: &Browser, email: &str) -> (String, Browser) {
    let made = json_of(admin.post("/users", json!({ "email": email })).await, 201).await;
    let mut browser = Browser::new(server);
    assert_eq!(browser.sign_in(email, made["password"].as_str().unwrap()).await.status(), 201);
    (made["id"].as_str().unwrap().to_owned(), browser)
}

/// The JSON of an answer with this status.
async fn json_of(response: Response, status: u16) -> Value {
    let (url, got) = (response.url().clone(), response.status());
    let body = response.text().await.unwrap();
    assert_eq!(got, status, "{url}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|_| panic!("{url}: {body}"))
}

/// Asserts that a request is refused so.
async fn refused(response: Response, status: u16, code: &str) -> Value {
    let error = json_of(response, status).await["error"].clone();
    assert_eq!(error["code"], code, "{error}");
    error
}
