//! Signing in with a browser elsewhere: by the code that codex shows, and by the one that claude's page shows.

use super::{ask, blocking, is_gone_and_answers, ready, server, to_the_end, until};
use crate::support::server::Server;
use polydev_server::domain::login::{Event, EventBody, LinkPage};
use polydev_standin::{Provider, SignInFault, Standin};
use reqwest::{Method, redirect};
use serde_json::{Value, json};
use std::cell::Cell;
use url::Url;

async fn post(server: &Server, path: &str, body: Value) -> (u16, Value) {
    let response = server.request(Method::POST, path).json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or_default())
}

/// Asks for a page, and waits until the login has it; `nth` of all that were shown in it.
async fn shown(server: &Server, login: &str, nth: usize) -> LinkPage {
    let (status, asked) = post(server, &format!("/logins/{login}/link"), json!(null)).await;
    assert_eq!((status, &asked["link"]), (200, &Value::Null), "{asked}");
    let (pages, ends) = (Cell::new(0), Cell::new(0));
    let is_it = |event: &Event| {
        pages.set(pages.get() + usize::from(matches!(event.body, EventBody::LinkShown { .. })));
        ends.set(ends.get() + usize::from(matches!(event.body, EventBody::LinkOver { .. })));
        pages.get() == nth || ends.get() == nth
    };
    let all = until(server, login, is_it).await;
    let EventBody::LinkShown { link } = &all[all.len() - 1].body else { panic!("{all:?}") };
    link.clone()
}

/// Why nobody has signed in by the last page.
async fn over(server: &Server, login: &str, nth: usize) -> String {
    let left = Cell::new(nth);
    let is_last = |event: &Event| {
        left.set(left.get() - usize::from(matches!(event.body, EventBody::LinkOver { .. })));
        left.get() == 0
    };
    let all = until(server, login, is_last).await;
    let EventBody::LinkOver { error: Some(error) } = &all[all.len() - 1].body else { panic!("{all:?}") };
    assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("another page")), "{error:?}");
    error.message.clone()
}

/// A browser anywhere, at claude's page: the code that it shows to somebody who agrees.
async fn code_of(standin: &Standin, page: &str, account: &str) -> String {
    let ca = reqwest::Certificate::from_pem(standin.ca_pem().as_bytes()).unwrap();
    let proxy = reqwest::Proxy::all(standin.proxy_url()).unwrap();
    let browser = reqwest::Client::builder().proxy(proxy).add_root_certificate(ca).redirect(redirect::Policy::none());
    let form = format!("decision=authorize&account={account}");
    let agree = browser.build().unwrap().post(page).header("content-type", "application/x-www-form-urlencoded");
    let agreed = agree.body(form).send().await.unwrap();
    let back = Url::parse(agreed.headers()["location"].to_str().unwrap()).unwrap();
    assert_eq!(back.host_str(), Some("platform.claude.com"), "{back}");
    let of = |name: &str| back.query_pairs().find(|(of, _)| of == name).unwrap().1.into_owned();
    format!("{}#{}", of("code"), of("state"))
}

/// Sees to it that the login ends connected as this account, that nothing is left of its sandbox, and that it answers.
async fn answers(server: Server, login: &str, name: &str, email: &str) {
    let all = to_the_end(&server, login).await;
    let EventBody::Connected { connection } = &all[all.len() - 1].body else { panic!("{all:?}\n{}", server.log()) };
    assert_eq!(connection.account.as_deref(), Some(email));
    let (_, ended) = ask(&server, Method::GET, &format!("/logins/{login}")).await;
    assert_eq!((&ended["status"], &ended["link"]), (&json!("connected"), &Value::Null), "{ended}");
    is_gone_and_answers(server, name).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codex_signs_in_by_the_code_that_it_shows() {
    let (server, standin) = server("").await;
    let bob = standin.account("bob");
    let (_, login) = super::open(&server, "codex").await;
    let login = super::id(&login);
    let (status, early) = post(&server, &format!("/logins/{login}/link"), json!(null)).await;
    assert_eq!((status, &early["error"]["code"]), (409, &json!("not_ready")), "{early}");
    until(&server, &login, super::is_ready).await;

    let page = shown(&server, &login, 1).await;
    assert_eq!(page.verification_uri, "https://auth.openai.com/codex/device");
    let code = page.user_code.unwrap();
    let path = format!("/logins/{login}");
    let link = json!({ "verification_uri": page.verification_uri, "user_code": code });
    assert_eq!(ask(&server, Method::GET, &path).await.1["link"], link);
    let (_, again) = post(&server, &format!("{path}/link"), json!(null)).await;
    assert_eq!(again["link"], link, "it is still good");
    let (status, refused) = post(&server, &format!("{path}/code"), json!({ "code": "a#b" })).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("conflict")), "there is none to paste: {refused}");

    assert!(bob.approve_device(&code));
    answers(server, &login, "codex", &bob.email()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claude_signs_in_by_the_code_that_its_page_shows() {
    let (server, standin) = server("").await;
    let bob = standin.account("bob");
    let login = ready(&server, "claude").await;
    let path = format!("/logins/{login}");
    let code = async |code: &str| post(&server, &format!("{path}/code"), json!({ "code": code })).await;
    let (status, refused) = code("a#b").await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("conflict")), "nothing was asked for: {refused}");

    // Half of a code, and one that the provider does not take: the page says so, and another one is asked for.
    bob.fault(Provider::Claude, Some(SignInFault::ExpiredCode));
    let page = shown(&server, &login, 1).await;
    assert!(page.verification_uri.starts_with("https://claude.com/cai/oauth/authorize?"), "{page:?}");
    assert_eq!(page.user_code, None);
    let (status, refused) = code("half").await;
    assert_eq!((status, &refused["error"]["code"]), (422, &json!("invalid_request")), "{refused}");
    let expired = code_of(&standin, &page.verification_uri, "bob").await;
    assert_eq!(code(&expired).await.0, 200);
    let why = over(&server, &login, 1).await;
    assert!(why.contains("`claude auth login`: Couldn't log in: That code wasn't accepted"), "{why}");
    assert_eq!(ask(&server, Method::GET, &path).await.1["link"], Value::Null);

    bob.fault(Provider::Claude, None);
    let page = shown(&server, &login, 2).await;
    let good = code_of(&standin, &page.verification_uri, "bob").await;
    // A server that is killed meanwhile finds the tool, and what it shows.
    let server = blocking(move || {
        let mut server = server;
        server.kill();
        server.run();
        server
    })
    .await;
    let link = json!({ "verification_uri": page.verification_uri, "user_code": null });
    assert_eq!(ask(&server, Method::GET, &path).await.1["link"], link);
    let code = async |code: &str| post(&server, &format!("{path}/code"), json!({ "code": code })).await;
    let (status, given) = code(&format!(" {good}\n")).await;
    assert_eq!((status, &given["status"]), (200, &json!("ready")), "{given}");
    let (_, record) = ask(&server, Method::GET, "/audit").await;
    let all = record["items"].as_array().unwrap();
    for action in ["login.link", "login.code"] {
        assert!(all.iter().any(|entry| entry["action"] == action && entry["target"] == json!(login)), "{action}");
    }
    assert!(!server.log().contains(&good), "a code is no word for a log");
    answers(server, &login, "claude", &bob.email()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_needs_a_terminal_for_it_offers_no_page() {
    let (server, _standin) = server("").await;
    let login = ready(&server, "gemini").await;
    let (status, refused) = post(&server, &format!("/logins/{login}/link"), json!(null)).await;
    assert_eq!((status, &refused["error"]["code"]), (422, &json!("unsupported")), "{refused}");
}
