//! Gemini CLI's own sign-in: its first run in a terminal, a prompt without a login, and a code that is pasted.

use super::{Browser, Computer, Page, start};
use polydev_standin::Provider::Gemini;
use serde_json::{Value, json};
use std::process::Output;

const FILE: &str = ".gemini/oauth_creds.json";

/// Signing in is chosen already, and the folder is trusted.
const SETTINGS: &str = r#"{"security": {"auth": {"selectedType": "oauth-personal"}, "folderTrust": {"enabled": false}},
    "privacy": {"usageStatisticsEnabled": false}}"#;

const PROMPT: [&str; 7] = ["gemini", "-m", "gemini-2.5-flash", "-o", "stream-json", "-p", "What is 17*23?"];

/// Asks without a login and agrees that a browser is opened; tells how the tool ended and where the browser did.
async fn sign_in(browser: &Browser, computer: &mut Computer, button: &str, fault: &str) -> (Output, Page) {
    computer.write(".gemini/settings.json", SETTINGS);
    let mut tool = computer.start(&["GEMINI_CLI_NO_RELAUNCH=true"], &PROMPT);
    tool.says("Do you want to continue?").await;
    tool.type_in("y\n").await;
    let page = browser.open(&computer.opened().await).await;
    assert_eq!((page.status, page.heading()), (200, "Sign in to Gemini CLI as ada@example.test"));
    let done = browser.press(&page, button, &[("fault", fault)]).await;
    (tool.end().await, done)
}

fn text(ended: &Output) -> String {
    String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr)
}

/// What the tool wrote, as the stand-in would have given it.
fn is_signed_in(computer: &Computer, email: &str) {
    let login = computer.json(FILE);
    let names = ["access_token", "expiry_date", "id_token", "refresh_token", "scope", "token_type"];
    assert_eq!(login.as_object().unwrap().keys().collect::<Vec<_>>(), names);
    assert_eq!(computer.mode(FILE), 0o600);
    assert_eq!(computer.json(".gemini/google_accounts.json"), json!({"active": email, "old": []}));
}

#[tokio::test]
async fn a_prompt_without_a_login_signs_in_first_and_is_answered() {
    let Some((standin, browser, mut computer)) = start().await else { return };
    let (ended, done) = sign_in(&browser, &mut computer, "Authorize", "").await;
    assert_eq!((done.status, done.heading()), (200, "You are signed in to Gemini CLI"));
    assert!(ended.status.success() && text(&ended).contains("\"content\":\"391\""), "{ended:?}");
    is_signed_in(&computer, "ada@example.test");
    assert_eq!(standin.account("ada").logins(Gemini), 1);
}

#[tokio::test]
async fn the_first_run_in_a_terminal_signs_in() {
    let Some((standin, browser, mut computer)) = start().await else { return };
    let mut tool = computer.start_in_terminal(&[], "gemini -m gemini-2.5-flash");
    tool.says("Do you trust the files in this folder?").await;
    tool.press_until("\r", "How would you like to authenticate").await;
    tool.press_until("\r", "Do you want to continue?").await;
    tool.press_until("\r", "Waiting for authentication").await;
    let page = browser.open(&computer.opened().await).await;
    let done = browser.press(&page, "Authorize", &[]).await;
    assert_eq!(done.heading(), "You are signed in to Gemini CLI");
    tool.says("You've successfully signed in with Google").await;
    // It starts itself again, and is ready.
    tool.press_until("r", "Signed in with Google").await;
    is_signed_in(&computer, "ada@example.test");
    assert_eq!(standin.account("ada").logins(Gemini), 1);
}

#[tokio::test]
async fn a_code_is_pasted_where_there_is_no_browser() {
    let Some((_standin, browser, computer)) = start().await else { return };
    computer.write(".gemini/settings.json", SETTINGS);
    let mut tool = computer.start_in_terminal(&["NO_BROWSER=true"], "gemini -m gemini-2.5-flash");
    let said = tool.says("Enter the authorization code").await;
    let link = said.split_whitespace().find(|word| word.starts_with("https://accounts.google.com/")).unwrap();
    // Here the tool proves itself by PKCE.
    assert!(link.contains("code_challenge_method=S256"), "{link}");
    let page = browser.open(link).await;
    let code = browser.press(&page, "Authorize", &[("account", "bob")]).await;
    assert_eq!((code.heading(), code.address.path()), ("Your code for Gemini CLI", "/authcode"));
    tool.type_in(&format!("{}\r", code.code())).await;
    tool.says("Signed in with Google").await;
    is_signed_in(&computer, "bob@example.test");
}

#[tokio::test]
async fn who_denies_or_may_not_is_not_signed_in() {
    let Some((_standin, browser, mut computer)) = start().await else { return };
    for (button, fault, why) in [
        ("Deny", "", "Google OAuth error: access_denied. The person has denied the request."),
        ("Authorize", "denied", "Google OAuth error: access_denied. This account may not use the application."),
        ("Authorize", "expired-code", "Failed to exchange authorization code for tokens: invalid_grant"),
    ] {
        let (ended, done) = sign_in(&browser, &mut computer, button, fault).await;
        assert_eq!(done.heading(), "You are not signed in to Gemini CLI");
        assert!(text(&ended).contains(why), "{ended:?}");
        assert_eq!((ended.status.code(), computer.path(FILE).exists()), (Some(41), false));
    }
}

#[tokio::test]
async fn without_a_refresh_token_it_goes_on_all_the_same() {
    let Some((_standin, browser, mut computer)) = start().await else { return };
    let (ended, _) = sign_in(&browser, &mut computer, "Authorize", "no-refresh-token").await;
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(computer.json(FILE)["refresh_token"], Value::Null);
}

#[tokio::test]
async fn a_provider_that_fails_after_the_tokens_leaves_a_login_without_an_address() {
    let Some((_standin, browser, mut computer)) = start().await else { return };
    let (ended, done) = sign_in(&browser, &mut computer, "Authorize", "after-token").await;
    assert_eq!(done.heading(), "You are signed in to Gemini CLI");
    assert!(!ended.status.success(), "{ended:?}");
    assert!(computer.json(FILE)["refresh_token"].is_string());
    assert!(!computer.path(".gemini/google_accounts.json").exists());
}
