//! The pages themselves: what they take, what they refuse, and what they show.

use super::browser::{Browser, Page};
use crate::client::{Answered, Client};
use polydev_standin::{Provider::Claude, SignInFault, Standin};
use serde_json::json;
use std::time::Duration;

const VERIFIER: &str = "verifier-verifier-verifier-verifier-verifier";
const REDIRECT: &str = "http://localhost:9/callback";

/// The parameters of an authorize page, as claude sends them, some of them changed.
fn address(changed: &[(&str, &str)]) -> String {
    let challenge = data_encoding::BASE64URL_NOPAD.encode(&<sha2::Sha256 as sha2::Digest>::digest(VERIFIER));
    let mut parameters = vec![
        ("code", "true"),
        ("client_id", "9d1c250a-e61b-44d9-88ed-5944d1962f5e"),
        ("response_type", "code"),
        ("redirect_uri", REDIRECT),
        ("scope", "user:profile user:inference"),
        ("code_challenge", challenge.as_str()),
        ("code_challenge_method", "S256"),
        ("state", "s/1"),
    ];
    for (name, value) in changed {
        parameters.retain(|(known, _)| known != name);
        parameters.push((name, value));
    }
    parameters.retain(|(_, value)| !value.is_empty());
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    format!("https://claude.com/cai/oauth/authorize?{query}")
}

async fn start() -> (Standin, Client, Browser) {
    let (standin, client) = crate::start().await;
    let browser = Browser::of(&standin);
    (standin, client, browser)
}

/// Where a decision leads, without going there: no tool listens.
async fn decide(client: &Client, address: &str, form: &str) -> url::Url {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer = client.open(crate::client::request("POST", address, &headers, form.to_owned())).await;
    assert_eq!(answer.status(), 303);
    answer.headers()["location"].to_str().unwrap().parse().unwrap()
}

fn parameter(address: &url::Url, name: &str) -> String {
    address.query_pairs().find(|(of, _)| of == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// Redeems a code as claude does, some of it changed.
async fn redeem(client: &Client, code: &str, changed: &[(&str, &str)]) -> Answered {
    let mut body = json!({
        "grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER,
        "client_id": "9d1c250a-e61b-44d9-88ed-5944d1962f5e", "state": "s/1",
    });
    for (name, value) in changed {
        body[*name] = json!(value);
    }
    client.post("https://platform.claude.com/v1/oauth/token", &[], body).await
}

#[tokio::test]
async fn a_page_is_used_by_keyboard_and_without_scripts() {
    let (_standin, _, browser) = start().await;
    let page = browser.open(&address(&[])).await;
    assert_eq!(page.status, 200);
    // One heading; Enter authorizes, Tab leads to the rest; every field has a label.
    for (part, times) in [("<h1>", 1), ("<button", 3), ("autofocus>Authorize<", 1), ("<label", 2), ("<script", 0)] {
        assert_eq!(page.html.matches(part).count(), times, "{part}");
    }
    assert!(!page.html.contains(" on"), "an event handler");
}

#[tokio::test]
async fn nobody_is_sent_where_no_tool_listens() {
    let (_standin, _, browser) = start().await;
    for (name, value) in [
        ("redirect_uri", "https://example.com/callback"),
        ("redirect_uri", "http://example.com/callback"),
        ("redirect_uri", "http://localhost.example.com:9/callback"),
        ("redirect_uri", "http://localhost:9/elsewhere"),
        ("redirect_uri", "http://user@localhost:9/callback"),
        ("redirect_uri", "javascript:alert(1)"),
        ("redirect_uri", ""),
        ("client_id", "another"),
        ("client_id", ""),
        ("response_type", "token"),
        ("state", ""),
        ("code_challenge", ""),
        ("code_challenge", "short"),
        ("code_challenge_method", "plain"),
        ("code_challenge_method", ""),
        ("account", "<script>"),
        ("fault", "none"),
    ] {
        let page = browser.open(&address(&[(name, value)])).await;
        let button = page.html.contains("<button");
        assert_eq!((page.status, page.way.len(), button), (400, 0, false), "{name}={value}: {}", page.html);
        assert!(!page.html.contains("<script>"), "{}", page.html);
    }
}

#[tokio::test]
async fn a_code_is_for_who_asked_for_it_and_works_once() {
    let (standin, client, _) = start().await;
    let code = async || {
        let back = decide(&client, &address(&[]), "decision=authorize").await;
        assert_eq!(parameter(&back, "state"), "s/1");
        parameter(&back, "code")
    };
    for (name, value) in [
        ("code_verifier", "another"),
        ("code_verifier", ""),
        ("redirect_uri", "http://localhost:10/callback"),
        ("client_id", "another"),
        ("state", "another"),
    ] {
        let code = code().await;
        assert_eq!(redeem(&client, &code, &[(name, value)]).await.status, 400, "{name}={value}");
        assert_eq!(redeem(&client, &code, &[]).await.status, 400, "it was used up");
    }
    assert_eq!(standin.account("ada").logins(Claude), 0);
    let code = code().await;
    let tokens = redeem(&client, &code, &[]).await.json();
    assert_eq!(tokens["account"]["email_address"], "ada@example.test");
    let again = redeem(&client, &code, &[]).await;
    assert_eq!((again.status, &again.json()["error"]), (400, &json!("invalid_grant")));
    assert_eq!(standin.account("ada").logins(Claude), 1);
    let told = serde_json::to_string(&standin.requests()).unwrap();
    assert!(!told.contains(&code) && !told.contains(VERIFIER), "a record tells a credential");
}

#[tokio::test]
async fn a_page_offers_everybody_who_is_known() {
    let (standin, client, browser) = start().await;
    let heading = |page: &Page| page.heading().strip_prefix("Sign in to Claude Code as ").unwrap().to_owned();
    assert_eq!(heading(&browser.open(&address(&[])).await), "ada@example.test");
    let bob = standin.account("bob");
    bob.put_first(Claude);
    client.plain("POST", "/accounts/carol/claude/login").await;
    let page = browser.open(&address(&[])).await;
    assert_eq!(heading(&page), "bob@example.test");
    let page = browser.follow(&page, "carol@example.test").await;
    assert_eq!(heading(&page), "carol@example.test");
    let page = browser.press(&page, "Use it", &[("account", "dora+denied")]).await;
    assert_eq!(heading(&page), "dora+denied@example.test");
    assert!(page.html.contains("<option value=\"denied\" selected>"));
    let page = browser.open(&address(&[("login_hint", "eve@example.test")])).await;
    assert_eq!(heading(&page), "eve@example.test");
    let form = "decision=authorize&account=carol&fault=";
    let code = parameter(&decide(&client, &address(&[]), form).await, "code");
    assert_eq!(redeem(&client, &code, &[]).await.json()["account"]["email_address"], "carol@example.test");
}

#[tokio::test]
async fn what_goes_wrong_is_asked_for_in_four_ways() {
    let (standin, client, _) = start().await;
    let denied = async |more: &[(&str, &str)], form: &str| {
        parameter(&decide(&client, &address(more), form).await, "error") == "access_denied"
    };
    assert!(!denied(&[], "decision=authorize").await);
    assert!(denied(&[("account", "ada+denied")], "decision=authorize").await);
    assert!(denied(&[("fault", "denied")], "decision=authorize").await);
    assert!(denied(&[], "decision=authorize&fault=denied").await);
    client.plain("POST", "/accounts/ada/claude/fault?is=denied").await;
    assert!(denied(&[], "decision=authorize").await);
    // What the page says counts more.
    assert!(!denied(&[], "decision=authorize&fault=").await);
    client.plain("POST", "/accounts/ada/claude/fault").await;
    assert!(!denied(&[], "decision=authorize").await);
    standin.account("ada").fault(Claude, Some(SignInFault::NoRefreshToken));
    let code = parameter(&decide(&client, &address(&[]), "decision=authorize").await, "code");
    assert_eq!(redeem(&client, &code, &[]).await.json().get("refresh_token"), None);
}

#[tokio::test]
async fn a_slow_page_comes_in_the_end() {
    let (standin, _, browser) = start().await;
    let long = Duration::from_secs(600);
    standin.account("ada").fault(Claude, Some(SignInFault::SlowPage(long)));
    let (slow, quick) = (address(&[]), address(&[("fault", "slow-page-1")]));
    let page = tokio::select! {
        page = browser.open(&slow) => panic!("it was not slow: {page:?}"),
        page = browser.open(&quick) => page,
    };
    assert!(page.html.contains("<option value=\"slow-page-1\" selected>"));
}
