//! Signing in: with everything that can go wrong at the provider, and then for good.

use super::{
    ask, counted,
    hands::{signs_in, sits_down, types},
    is_gone_and_answers, ready, server, to_the_end, until,
};
use polydev_server::domain::{
    connections,
    failure::{Code, Failure},
    login::{Event, EventBody},
};
use polydev_standin::{Provider, SignInFault};
use reqwest::Method;
use serde_json::json;
use std::cell::Cell;

#[tokio::test(flavor = "multi_thread")]
async fn claude_signs_in_and_answers_and_nothing_is_kept_of_what_is_no_login() {
    signs_in_with_all_faults("claude", Provider::Claude, Some("claude auth status")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codex_signs_in_and_answers_and_nothing_is_kept_of_what_is_no_login() {
    signs_in_with_all_faults("codex", Provider::Codex, Some("codex login status")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gemini_signs_in_and_answers_and_nothing_is_kept_of_what_is_no_login() {
    signs_in_with_all_faults("gemini", Provider::Gemini, None).await;
}

/// The kinds of what a login told from this event on, and the failures among them.
fn told(events: &[Event], from: usize) -> (Vec<&'static str>, Vec<&Failure>) {
    let events = &events[from..];
    let failures = events.iter().filter_map(|event| match &event.body {
        EventBody::NotProven { error } => Some(error),
        _other => None,
    });
    (events.iter().map(|event| event.body.kind()).collect(), failures.collect())
}

async fn signs_in_with_all_faults(name: &str, provider: Provider, status: Option<&str>) {
    let (server, standin) = server("").await;
    let ada = standin.account("ada");
    let login = ready(&server, name).await;
    let told_before = until(&server, &login, super::is_ready).await.len();
    let not_proven = async |times: usize| {
        let left = Cell::new(times);
        let is_last = |event: &Event| {
            left.set(left.get() - usize::from(matches!(event.body, EventBody::NotProven { .. })));
            left.get() == 0
        };
        until(&server, &login, is_last).await
    };

    // Refused by the provider, or too late: the tool says so, and leaves nothing. The third time it says that all is
    // well, and leaves what would be over within hours.
    sits_down(&server, &login, provider).await;
    let faults = [SignInFault::ExpiredCode, SignInFault::Denied, SignInFault::NoRefreshToken];
    // Gemini CLI takes two seconds of the processor each time.
    let faults = &faults[usize::from(provider == Provider::Gemini)..];
    let all: Vec<String> = faults.iter().map(|fault| signs_in(provider, "ada", Some(*fault))).collect();
    let all = all.concat().replace('\n', "; ");
    types(&server, &login, &format!("{all}\n")).await;
    let all = not_proven(1).await;
    let (kinds, failures) = told(&all, told_before);
    assert_eq!(kinds, ["login.verifying", "login.not_proven"], "{all:?}");
    assert_eq!(failures[0].code, Code::NotConnected, "{failures:?}");
    assert!(failures[0].message.contains("a token is missing"), "{failures:?}");
    assert!(failures[0].hint.as_ref().is_some_and(|hint| hint.contains("Sign in again: type `")), "{failures:?}");
    assert_eq!(ask(&server, Method::GET, &format!("/logins/{login}")).await.1["status"], "ready");

    // The tool has all it needs, and says so; whose it is, nobody says.
    types(&server, &login, &signs_in(provider, "ada", Some(SignInFault::AfterToken))).await;
    let all = not_proven(2).await;
    let (kinds, failures) = told(&all, told_before + 2);
    let checked = status.map(|_| "login.checked");
    let expected: Vec<&str> = ["login.verifying"].into_iter().chain(checked).chain(["login.not_proven"]).collect();
    assert_eq!(kinds, expected, "{all:?}");
    assert_eq!(failures[0].code, Code::ProviderUnavailable, "{failures:?}");
    assert!(failures[0].message.contains("not known as whom"), "{failures:?}");
    let connections = ask(&server, Method::GET, "/connections").await.1;
    assert_eq!(connections["items"], json!([]), "nothing was kept");

    // A browser that comes back twice signs in once.
    let before = ada.logins(provider);
    types(&server, &login, &signs_in(provider, "ada", Some(SignInFault::Twice))).await;
    let all = to_the_end(&server, &login).await;
    // On a busy machine what nobody said may have been asked again meanwhile.
    let (kinds, _) = told(&all, all.len() - expected.len());
    assert_eq!(kinds[..kinds.len() - 1], expected[..expected.len() - 1], "{all:?}");
    assert_eq!(kinds[kinds.len() - 1], "login.connected", "{all:?}\n{}", server.log());
    // Gemini CLI redeems both codes.
    assert!(ada.logins(provider) > before, "it is a new one");
    let checks = all.iter().filter_map(|event| match &event.body {
        EventBody::Checked { command, exit_code, said } => Some((command.as_str(), *exit_code, said.as_str())),
        _other => None,
    });
    for (command, exit_code, said) in checks {
        assert_eq!((Some(command), exit_code), (status, Some(0)), "{said}");
        assert!(!said.is_empty());
    }
    let EventBody::Connected { connection } = &all[all.len() - 1].body else { panic!("{all:?}") };
    assert_eq!((connection.status, &connection.account), (connections::Status::Active, &Some(ada.email())));
    let (_, connections) = ask(&server, Method::GET, "/connections").await;
    let connected = &connections["items"][0];
    assert_eq!((&connected["method"], &connected["account"]), (&json!("login"), &json!(ada.email())), "{connected}");
    let (_, record) = ask(&server, Method::GET, "/audit").await;
    let kept = record["items"].as_array().unwrap().iter().find(|entry| entry["action"] == "connection.login").unwrap();
    assert_eq!((&kept["outcome"], &kept["target"], &kept["detail"]), (&json!("ok"), &json!(name), &json!(login)));

    // Nothing is left of the desktop, and what was signed in with answers.
    let server = is_gone_and_answers(server, name).await;
    let connected = format!(r#"polydev_logins_ended_total{{provider="{name}",status="connected"}}"#);
    assert_eq!(counted(server, &[&connected]).await.1, [1.0]);
    assert_eq!((ada.refreshes(provider), ada.refresh_reuses(provider)), (0, 0), "the login is whole, and one");
}
