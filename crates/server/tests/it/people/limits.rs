//! Guessing passwords is slow, and keeps nobody out.

use super::{Browser, PASSWORD, empty, json_of, refused, token_of, with_admin};
use crate::support::server::deeds;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_waits_and_the_right_password_works_from_elsewhere() {
    let (server, _standin, browser) = with_admin().await;
    let at = |last: u8| Browser::at(&server, [127, 0, 0, last].into());
    let mut attacker = at(9);
    for n in 0..5 {
        let error =
            refused(attacker.sign_in("ann@example.com", &format!("guess {n}")).await, 401, "unauthenticated").await;
        assert_eq!(error["message"], "the email or the password is wrong");
    }
    for password in ["guess 5", PASSWORD] {
        let response = attacker.sign_in("ANN@example.com", password).await;
        let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=900).contains(&wait), "{wait}");
        let error = refused(response, 429, "rate_limited").await;
        assert!(error["retry_at"].is_string(), "{error}");
    }
    assert_eq!(at(10).sign_in("ann@example.com", PASSWORD).await.status(), 201);
    assert_eq!(browser.status("/me").await, 200, "who is signed in stays so");

    // An email that nobody has is treated no differently.
    let mut other = at(11);
    for _ in 0..5 {
        let error = refused(other.sign_in("nobody@example.com", PASSWORD).await, 401, "unauthenticated").await;
        assert_eq!(error["message"], "the email or the password is wrong");
    }
    refused(other.sign_in("nobody@example.com", PASSWORD).await, 429, "rate_limited").await;

    // The current password cannot be guessed by a session that was stolen either.
    let mut thief = at(12);
    thief.cookie = browser.cookie.clone();
    for n in 0..5 {
        let body = json!({ "current_password": format!("guess {n}"), "new_password": "a new password" });
        refused(thief.post("/me/password", body).await, 403, "forbidden").await;
    }
    let body = json!({ "current_password": PASSWORD, "new_password": "a new password" });
    refused(thief.post("/me/password", body).await, 429, "rate_limited").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_guesses_at_once_are_five() {
    let (server, _standin, _browser) = with_admin().await;
    let attacker = Browser::at(&server, [127, 0, 0, 9].into());
    let guesses = (0..100).map(|n| {
        let mut attacker = attacker.clone();
        async move { attacker.sign_in("ann@example.com", &format!("guess {n}")).await.status().as_u16() }
    });
    let statuses = futures_util::future::join_all(guesses).await;
    let tried = statuses.iter().filter(|status| **status == 401).count();
    assert!((5..=7).contains(&tried), "{tried} were tried: five, and what a second or two allows");
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_anybody_may_send_is_small() {
    let (server, _standin, _browser) = with_admin().await;
    let browser = Browser::new(&server);
    for path in ["/session", "/setup"] {
        let body = json!({ "email": "x".repeat(20_000), "password": "", "token": "" });
        let refused = browser.post(path, body).await;
        assert_eq!(refused.status(), 413, "{path}");
    }
    // Of what fits, a password that nobody could have is wrong, and an email that none is too.
    let long = browser.post("/session", json!({ "email": "ann@example.com", "password": "x".repeat(10_000) })).await;
    json_of(long, 401).await;
    let odd = browser.post("/session", json!({ "email": "a\u{0}b", "password": "\u{0}" })).await;
    json_of(odd, 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_have_the_link_writes_nothing_and_waits() {
    let (server, _standin) = empty(&[]).await;
    let token = token_of(&server);
    let mut browser = Browser::at(&server, [127, 0, 0, 9].into());
    for _ in 0..20 {
        refused(browser.set_up("guess", "eve@example.com").await, 403, "forbidden").await;
    }
    let response = browser.set_up("guess", "eve@example.com").await;
    assert!(response.headers().contains_key("retry-after"));
    refused(response, 429, "rate_limited").await;
    assert_eq!(browser.set_up(&token, "ann@example.com").await.status(), 201, "who has it need not wait");
    for token in [&token, "guess"] {
        refused(Browser::new(&server).set_up(token, "eve@example.com").await, 410, "gone").await;
    }
    let entries: Vec<_> = deeds(&browser.get("/audit").await).iter().map(|entry| entry["action"].clone()).collect();
    assert_eq!(entries, ["setup"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_no_room_leaves_no_trace() {
    let (server, _standin, browser) = with_admin().await;
    let attempts = (0..400_u16).map(|n| {
        let mut attacker = Browser::at(&server, [127, 0, 1, (n / 10) as u8].into());
        async move { attacker.sign_in(&format!("{n}@example.com"), PASSWORD).await.status().as_u16() }
    });
    let statuses = futures_util::future::join_all(attempts).await;
    let tried = statuses.iter().filter(|status| **status == 401).count();
    assert!(tried < 400 && statuses.iter().all(|status| matches!(status, 401 | 429)), "{statuses:?}");
    let (mut recorded, mut cursor) = (0, String::new());
    loop {
        let page = browser.get(&format!("/audit?limit=200{cursor}")).await;
        recorded += page["items"].as_array().unwrap().iter().filter(|entry| entry["code"].is_string()).count();
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(recorded, tried);
}
