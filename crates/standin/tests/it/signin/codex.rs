//! `codex login`, and `codex login --device-auth` for who has no browser there.

use super::{Browser, Computer, Page, start};
use polydev_standin::{Provider::Codex, Standin};
use serde_json::{Value, json};
use std::{fs::File, process::Output};

const LOGIN: [&str; 2] = ["codex", "login"];
const DEVICE: [&str; 3] = ["codex", "login", "--device-auth"];
const FILE: &str = ".codex/auth.json";

/// The tool listens on one port, always the same, and ends whatever other `codex login` has it: one at a time.
fn only_one() -> File {
    let file = File::create(std::env::temp_dir().join("polydev-standin-codex-login.lock")).unwrap();
    file.lock().unwrap();
    file
}

/// What `codex login status` says, and whether it ends well.
async fn status(computer: &Computer) -> (String, bool) {
    let told = computer.run(&["codex", "login", "status"]).await;
    (String::from_utf8_lossy(&told.stderr).trim().to_owned(), told.status.success())
}

fn errors(ended: &Output) -> String {
    String::from_utf8_lossy(&ended.stderr).into_owned()
}

/// Signs in by browser, and tells how the tool ended and where the browser did.
async fn sign_in(browser: &Browser, computer: &mut Computer, button: &str, fault: &str) -> (Output, Page) {
    let tool = computer.start(&[], &LOGIN);
    let page = browser.open(&computer.opened().await).await;
    assert_eq!((page.status, page.heading()), (200, "Sign in to Codex as ada@example.test"));
    let done = browser.press(&page, button, &[("fault", fault)]).await;
    (tool.finish().await, done)
}

/// Asks for an answer with the login that is there.
async fn ask(computer: &Computer) -> Output {
    let argv = ["codex", "exec", "--skip-git-repo-check", "--json", "-c", "analytics.enabled=false", "What is 17*23?"];
    computer.run(&argv).await
}

#[tokio::test]
async fn a_person_signs_in_at_the_page_that_the_tool_opens() {
    let Some((standin, browser, mut computer)) = start().await else { return };
    let _one = only_one();
    let (ended, done) = sign_in(&browser, &mut computer, "Authorize", "").await;
    assert!(ended.status.success() && errors(&ended).contains("Successfully logged in"), "{ended:?}");
    // The last page is the tool's own.
    assert_eq!((done.status, done.address.path()), (200, "/success"));

    let ada = standin.account("ada");
    let file = computer.json(FILE);
    assert_eq!((&file["auth_mode"], computer.mode(FILE)), (&json!("chatgpt"), 0o600));
    assert_eq!(file["tokens"]["account_id"], ada.id(Codex));
    // Field for field what the stand-in gives as the files of a login.
    let fields = |of: &Value| of.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let given: Value = serde_json::from_slice(&ada.login_files(Codex)["auth.json"]).unwrap();
    assert_eq!((fields(&file), fields(&file["tokens"])), (fields(&given), fields(&given["tokens"])));
    assert_eq!(status(&computer).await, ("Logged in using ChatGPT".to_owned(), true));
    let answered = ask(&computer).await;
    assert!(String::from_utf8_lossy(&answered.stdout).contains("391"), "{answered:?}");
}

#[tokio::test]
async fn who_denies_or_may_not_is_told_why() {
    let Some((_standin, browser, mut computer)) = start().await else { return };
    let _one = only_one();
    for (button, fault, why) in [
        ("Deny", "", "Sign-in failed: The person has denied the request."),
        ("Authorize", "denied", "Sign-in failed: This account may not use the application."),
        ("Authorize", "expired-code", "token endpoint returned status 400 Bad Request: Invalid authorization code."),
    ] {
        let (ended, done) = sign_in(&browser, &mut computer, button, fault).await;
        assert!(done.html.contains("Codex Sign-in Error"), "{done:?}");
        assert!(errors(&ended).contains(why), "{ended:?}");
        assert_eq!((ended.status.code(), computer.path(FILE).exists()), (Some(1), false));
        assert_eq!(status(&computer).await, ("Not logged in".to_owned(), false));
    }
}

#[tokio::test]
async fn without_a_refresh_token_the_tool_says_that_all_is_well() {
    let Some((_standin, browser, mut computer)) = start().await else { return };
    let _one = only_one();
    let (ended, _) = sign_in(&browser, &mut computer, "Authorize", "no-refresh-token").await;
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(computer.json(FILE)["tokens"]["refresh_token"], "");
    assert_eq!(status(&computer).await, ("Logged in using ChatGPT".to_owned(), true));
}

#[tokio::test]
async fn a_provider_that_fails_after_the_tokens_leaves_a_login_that_gets_no_answer() {
    let Some((_standin, browser, mut computer)) = start().await else { return };
    let _one = only_one();
    let (ended, _) = sign_in(&browser, &mut computer, "Authorize", "after-token").await;
    assert!(ended.status.success(), "{ended:?}");
    // It was to be exchanged for one.
    assert_eq!(computer.json(FILE)["OPENAI_API_KEY"], Value::Null);
    assert_eq!(status(&computer).await, ("Logged in using ChatGPT".to_owned(), true));
    assert!(!ask(&computer).await.status.success());
}

/// Begins to sign in on a device, and tells the code that the tool shows. The rest is played by `then`.
async fn on_device<T>(then: impl AsyncFnOnce(&Standin, &Browser, String) -> T) -> Option<(Computer, Output, T)> {
    let (standin, browser, computer) = start().await?;
    let mut tool = computer.start(&[], &DEVICE);
    let said = tool.says("cancel.").await;
    assert!(said.contains("https://auth.openai.com/codex/device"), "{said}");
    let code = said.split(|c: char| !c.is_ascii_uppercase() && c != '-').find(|word| word.len() == 10).unwrap();
    let done = then(&standin, &browser, code.to_owned()).await;
    Some((computer, tool.finish().await, done))
}

/// The page on which the code is entered, with it.
async fn enter(browser: &Browser, code: &str) -> Page {
    let page = browser.open("https://auth.openai.com/codex/device").await;
    assert_eq!(page.heading(), "Enter the code that Codex shows");
    browser.press(&page, "Continue", &[("user_code", code)]).await
}

#[tokio::test]
async fn a_code_from_a_device_is_entered_in_a_browser() {
    let done = on_device(async |_, browser, code| {
        assert_eq!(enter(browser, "BBBB-BBBBB").await.status, 404);
        // As people write it.
        let page = enter(browser, &code.to_lowercase().replace('-', "")).await;
        assert_eq!(page.heading(), "Sign in to Codex as ada@example.test");
        let page = browser.press(&page, "Use it", &[("account", "bob")]).await;
        let done = browser.press(&page, "Authorize", &[]).await;
        assert_eq!(done.heading(), "You are signed in to Codex");
        // It is used up.
        assert_eq!(enter(browser, &code).await.status, 404);
    });
    let Some((computer, ended, ())) = done.await else { return };
    assert!(ended.status.success() && errors(&ended).contains("Successfully logged in"), "{ended:?}");
    let file = computer.json(FILE);
    assert_eq!((&file["auth_mode"], &file["OPENAI_API_KEY"]), (&json!("chatgpt"), &Value::Null));
    assert_eq!(status(&computer).await, ("Logged in using ChatGPT".to_owned(), true));
}

#[tokio::test]
async fn a_device_is_told_that_its_person_refused_or_came_too_late() {
    for (button, fault) in [("Deny", ""), ("Authorize", "expired-code")] {
        let done = on_device(async |_, browser, code| {
            let page = enter(browser, &code).await;
            browser.press(&page, button, &[("fault", fault)]).await.heading().to_owned()
        });
        let Some((computer, ended, heading)) = done.await else { return };
        assert!(heading.contains("not signed in") || heading.contains("expired"), "{heading}");
        assert!(errors(&ended).contains("device auth failed with status 400"), "{ended:?}");
        assert_eq!((ended.status.code(), computer.path(FILE).exists()), (Some(1), false));
    }
}

#[tokio::test]
async fn the_app_server_signs_in_by_device_code_too() {
    let Some((standin, browser, computer)) = start().await else { return };
    let mut tool = computer.start(&[], &["codex", "app-server"]);
    let about = json!({"clientInfo": {"name": "test", "title": "test", "version": "1"}});
    for call in [
        json!({"id": 1, "method": "initialize", "params": about}),
        json!({"method": "initialized"}),
        json!({"id": 2, "method": "account/login/start", "params": {"type": "chatgptDeviceCode"}}),
    ] {
        tool.type_in(&format!("{call}\n")).await;
    }
    let told: Value = serde_json::from_str(&tool.line("\"id\":2").await).unwrap();
    let told = &told["result"];
    assert_eq!(told["verificationUrl"], "https://auth.openai.com/codex/device", "{told}");
    let page = enter(&browser, told["userCode"].as_str().unwrap()).await;
    browser.press(&page, "Authorize", &[]).await;
    let done: Value = serde_json::from_str(&tool.line("account/login/completed").await).unwrap();
    assert_eq!((&done["params"]["success"], &done["params"]["loginId"]), (&json!(true), &told["loginId"]), "{done}");
    assert_eq!(computer.json(FILE)["tokens"]["account_id"], standin.account("ada").id(Codex));
}
