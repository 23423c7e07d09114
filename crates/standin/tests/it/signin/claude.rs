//! `claude auth login` and `claude setup-token`.

use super::{Computer, start};
use polydev_standin::{Provider::Claude, SignInFault};
use serde_json::{Value, json};

const LOGIN: [&str; 3] = ["claude", "auth", "login"];
const FILE: &str = ".claude/.credentials.json";

/// What `claude auth status` says, and whether it ends well.
async fn status(computer: &Computer) -> (Value, bool) {
    let told = computer.run(&["claude", "auth", "status"]).await;
    (serde_json::from_slice(&told.stdout).unwrap(), told.status.success())
}

#[tokio::test]
async fn a_person_signs_in_at_the_page_that_the_tool_opens() {
    let Some((standin, browser, mut computer)) = start().await else { return };
    let tool = computer.start(&[], &LOGIN);
    let page = browser.open(&computer.opened().await).await;
    assert_eq!((page.status, page.heading()), (200, "Sign in to Claude Code as ada@example.test"));
    let done = browser.press(&page, "Authorize", &[]).await;
    assert_eq!((done.status, done.heading()), (200, "You are signed in to Claude Code"));
    assert_eq!(done.way[1].1.path(), "/callback");
    let ended = tool.finish().await;
    assert!(ended.status.success(), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stdout).contains("Login successful."));

    let ada = standin.account("ada");
    let login = &computer.json(FILE)["claudeAiOauth"];
    assert_eq!(computer.mode(FILE), 0o600);
    assert_eq!((&login["accountUuid"], &login["subscriptionType"]), (&json!(ada.id(Claude)), &json!("max")));
    // Field for field what the stand-in gives as the files of a login.
    let fields = |login: &Value| login.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let given: Value = serde_json::from_slice(&ada.login_files(Claude)[".credentials.json"]).unwrap();
    assert_eq!(fields(login), fields(&given["claudeAiOauth"]));
    let (told, good) = status(&computer).await;
    assert!(good && told["loggedIn"] == true && told["email"] == ada.email(), "{told}");
    let ran = computer.start(&[], &["claude", "-p", "What is 17*23?"]).end().await;
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "391", "{ran:?}");
}

#[tokio::test]
async fn the_first_run_in_a_terminal_signs_in() {
    let Some((standin, browser, mut computer)) = start().await else { return };
    let mut tool = computer.start_in_terminal(&[], "claude");
    tool.says("Choose the text style").await;
    tool.press_until("\r", "Select login method").await;
    tool.press_until("\r", "Paste code here").await;
    let page = browser.open(&computer.opened().await).await;
    let done = browser.press(&page, "Authorize", &[]).await;
    assert_eq!(done.heading(), "You are signed in to Claude Code");
    tool.says("Login successful").await;
    assert_eq!(computer.json(FILE)["claudeAiOauth"]["accountUuid"], standin.account("ada").id(Claude));
    // The tool is still there, and says the same of itself.
    assert_eq!(status(&computer).await.0["email"], "ada@example.test");
}

#[tokio::test]
async fn two_people_sign_in_at_once_and_each_gets_their_own() {
    let Some((standin, browser, mut one)) = start().await else { return };
    let Some(mut other) = Computer::of(&standin) else { return };
    let tools = (one.start(&[], &LOGIN), other.start(&[], &LOGIN));
    let pages = (browser.open(&one.opened().await).await, browser.open(&other.opened().await).await);
    browser.press(&pages.1, "Authorize", &[("account", "bob")]).await;
    browser.press(&pages.0, "Authorize", &[("account", "eve")]).await;
    assert!(tools.0.finish().await.status.success() && tools.1.finish().await.status.success());
    assert_eq!(status(&one).await.0["email"], "eve@example.test");
    assert_eq!(status(&other).await.0["email"], "bob@example.test");
}

#[tokio::test]
async fn a_code_is_pasted_from_the_printed_link_short_or_whole() {
    let Some((standin, browser, computer)) = start().await else { return };
    for whole in [false, true] {
        let full = if whole { "CLAUDE_CODE_FULL_SIGN_IN_LINK=1" } else { "A=b" };
        // Nothing opens a browser: so it is on a server.
        let mut tool = computer.start(&["BROWSER=/bin/false", full], &LOGIN);
        let said = tool.says("Paste code here").await;
        let link = said.lines().find(|line| line.starts_with("https://")).unwrap();
        assert_eq!(link.contains("client_id"), whole, "{link}");
        let page = browser.open(link).await;
        let code = browser.press(&page, "Authorize", &[("account", "bob")]).await;
        assert_eq!((code.status, code.heading()), (200, "Your code for Claude Code"));
        assert_eq!(code.address.host_str(), Some("platform.claude.com"));
        tool.type_in(&format!("{}\n", code.code())).await;
        let ended = tool.finish().await;
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(status(&computer).await.0["email"], "bob@example.test");
    }
    assert_eq!(standin.account("bob").logins(Claude), 2);
}

#[tokio::test]
async fn a_setup_token_is_printed_and_written_nowhere() {
    let Some((_standin, browser, mut computer)) = start().await else { return };
    let mut tool = computer.start_in_terminal(&[], "claude setup-token");
    let page = browser.open(&computer.opened().await).await;
    browser.press(&page, "Authorize", &[]).await;
    let said = tool.says("CLAUDE_CODE_OAUTH_TOKEN").await;
    let (_, token) = said.split_once("sk-ant-oat01-").unwrap_or_else(|| panic!("no token: {said}"));
    let token = token.split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c)).next().unwrap();
    let token = format!("CLAUDE_CODE_OAUTH_TOKEN=sk-ant-oat01-{token}");
    drop(tool);
    assert!(!computer.path(FILE).exists());
    let ran = computer.start(&[&token], &["claude", "-p", "What is 17*23?"]).end().await;
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "391", "{ran:?}");
}

/// Signs in with a fault, and tells what the tool says on either stream and the heading or text that the browser ends at.
async fn with_fault(fault: &str) -> Option<(Computer, std::process::Output, String)> {
    let (_standin, browser, mut computer) = start().await?;
    let tool = computer.start(&[], &LOGIN);
    let page = browser.open(&computer.opened().await).await;
    let done = browser.press(&page, "Authorize", &[("fault", fault)]).await;
    Some((computer, tool.finish().await, done.html))
}

#[tokio::test]
async fn who_denies_is_not_signed_in() {
    let Some((standin, browser, mut computer)) = start().await else { return };
    standin.account("eve").fault(Claude, Some(SignInFault::Denied));
    for (button, account) in [("Deny", "ada"), ("Authorize", "eve")] {
        let tool = computer.start(&[], &LOGIN);
        let page = browser.open(&format!("{}&account={account}", computer.opened().await)).await;
        let back = browser.press(&page, button, &[]).await;
        assert_eq!((back.status, back.address.path()), (400, "/callback"));
        let ended = tool.finish().await;
        assert!(String::from_utf8_lossy(&ended.stderr).contains("No authorization code received"), "{ended:?}");
        assert_eq!((ended.status.code(), computer.path(FILE).exists()), (Some(1), false));
    }
}

#[tokio::test]
async fn an_expired_code_signs_nobody_in() {
    let Some((computer, ended, shown)) = with_fault("expired-code").await else { return };
    assert!(shown.contains("Sign-in was canceled or failed"), "{shown}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("status code 400"), "{ended:?}");
    assert_eq!((ended.status.code(), computer.path(FILE).exists()), (Some(1), false));
}

#[tokio::test]
async fn without_a_refresh_token_the_tool_says_that_all_is_well_and_keeps_nothing() {
    let Some((computer, ended, _)) = with_fault("no-refresh-token").await else { return };
    assert!(String::from_utf8_lossy(&ended.stdout).contains("Login successful."), "{ended:?}");
    assert_eq!(computer.json(FILE), json!({}));
    let (told, good) = status(&computer).await;
    assert_eq!((&told["loggedIn"], good), (&json!(false), false));
}

#[tokio::test]
async fn a_provider_that_fails_after_the_tokens_leaves_a_login_without_a_plan() {
    let Some((computer, ended, _)) = with_fault("after-token").await else { return };
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(computer.json(FILE)["claudeAiOauth"]["subscriptionType"], Value::Null);
    let (told, _) = status(&computer).await;
    assert_eq!((&told["loggedIn"], &told["email"]), (&json!(true), &json!("ada@example.test")));
}

#[tokio::test]
async fn a_slow_provider_is_waited_for() {
    let Some((computer, ended, _)) = with_fault("slow-token-300").await else { return };
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(status(&computer).await.0["loggedIn"], true);
}

#[tokio::test]
async fn another_account_signs_in_over_the_first() {
    let Some((standin, browser, mut computer)) = start().await else { return };
    for fault in ["", "other-account"] {
        let tool = computer.start(&[], &LOGIN);
        let page = browser.open(&computer.opened().await).await;
        browser.press(&page, "Authorize", &[("fault", fault)]).await;
        assert!(tool.finish().await.status.success());
    }
    assert_eq!(status(&computer).await.0["email"], "ada-other@example.test");
    // The tool does not give the first one back: it lives on at the provider.
    assert!(!standin.requests().iter().any(|record| record.path.contains("revoke")));
    assert_eq!((standin.account("ada").logins(Claude), standin.account("ada-other").logins(Claude)), (1, 1));
}

#[tokio::test]
async fn a_browser_that_comes_back_twice_signs_in_once() {
    let Some((standin, browser, mut computer)) = start().await else { return };
    let tool = computer.start(&[], &LOGIN);
    let page = browser.open(&computer.opened().await).await;
    let twice = browser.press(&page, "Authorize", &[("fault", "twice")]).await;
    let image = twice.html.split_once("src=\"").unwrap().1.split_once('"').unwrap().0.replace("&amp;", "&");
    let (one, _other) = (browser.open(&image).await, standin.account("ada"));
    assert_eq!(one.heading(), "You are signed in to Claude Code");
    assert!(tool.finish().await.status.success());
    assert_eq!(standin.account("ada").logins(Claude), 1);
}
