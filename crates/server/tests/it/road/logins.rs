//! Logins: imported, lent, refreshed once, taken over, refused.

use super::{answer, blocking, events, sound, standin};
use crate::support::server::{Server, text};
use base64::{Engine, prelude::BASE64_STANDARD};
use polydev_server::domain::{
    event::{Event, EventBody},
    failure::Code,
    time,
};
use polydev_server::store::{Store, sqlite_url};
use polydev_standin::{Provider, Standin};
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

const ALL: [(&str, Provider); 3] =
    [("gemini", Provider::Gemini), ("claude", Provider::Claude), ("codex", Provider::Codex)];

async fn server(config: &'static str) -> (Server, Standin) {
    let standin = standin().await;
    blocking(move || (Server::start_with(&standin, config), standin)).await
}

async fn import(server: &Server, provider: &str, files: BTreeMap<String, Vec<u8>>) -> (u16, Value) {
    let files: BTreeMap<String, String> =
        files.into_iter().map(|(name, content)| (name, BASE64_STANDARD.encode(content))).collect();
    let path = format!("/connections/{provider}/import");
    let response = server.request(Method::POST, &path).json(&json!({ "files": files })).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn connection(server: &Server, provider: &str) -> Value {
    let all: Value = server.request(Method::GET, "/connections").send().await.unwrap().json().await.unwrap();
    let items = all["items"].as_array().unwrap();
    items.iter().find(|connection| connection["provider"] == provider).cloned().unwrap_or_default()
}

async fn run(server: &Server, provider: &str, prompt: &str) -> Vec<Event> {
    let all = events(server, json!({ "provider": provider, "prompt": prompt })).await;
    sound(&all);
    all
}

fn failed(events: &[Event]) -> Option<Code> {
    match &events[events.len() - 1].body {
        EventBody::Failed { error } => Some(error.code),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tool_answers_with_an_imported_login() {
    let (server, standin) = server("").await;
    let ada = standin.account("ada");
    for (name, provider) in ALL {
        let (status, connected) = import(&server, name, ada.login_files(provider)).await;
        assert_eq!(status, 200, "{name}: {connected}\n{}", server.log());
        assert_eq!(
            (&connected["status"], &connected["method"], &connected["account"]),
            (&json!("active"), &json!("import"), &json!(ada.email())),
            "{connected}"
        );
        let all = run(&server, name, "What is 17*23?").await;
        assert_eq!(answer(&all).trim(), "391", "{name}: {all:?}\n{}", server.log());
        // It was lent: nothing was refreshed, and nothing could be.
        assert_eq!((ada.refreshes(provider), ada.refresh_reuses(provider)), (0, 0), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_runs_at_the_moment_of_expiry_refresh_once() {
    let (server, standin) = server("[runs]\nmax_concurrent = 4\n").await;
    let ada = standin.account("ada");
    for (name, provider) in ALL {
        // The tools refresh what ends within five minutes.
        let (status, connected) = import(&server, name, ada.login_files_for(provider, Duration::from_secs(120))).await;
        assert_eq!(status, 200, "{name}: {connected}");
        let ten = (0..10).map(|n| {
            let server = &server;
            async move { (n, run(server, name, &format!("What is {n}+1?")).await) }
        });
        for (n, all) in futures_util::future::join_all(ten).await {
            assert_eq!(answer(&all).trim(), (n + 1).to_string(), "{name}: {all:?}\n{}", server.log());
        }
        assert_eq!((ada.refreshes(provider), ada.refresh_reuses(provider)), (1, 0), "{name}\n{}", server.log());
        assert_eq!(connection(&server, name).await["status"], "active");
        let all = run(&server, name, "What is 17*23?").await;
        assert_eq!(answer(&all).trim(), "391", "the login lives: {all:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_the_provider_revoked_needs_to_be_connected_again() {
    let (server, standin) = server("").await;
    let ada = standin.account("ada");
    for (name, provider) in ALL {
        for lives in [Duration::from_secs(120), Duration::from_secs(3600)] {
            let (status, connected) = import(&server, name, ada.login_files_for(provider, lives)).await;
            assert_eq!(status, 200, "{name}: {connected}");
            ada.revoke(provider);
            let all = run(&server, name, "What is 17*23?").await;
            assert_eq!(failed(&all), Some(Code::NeedsReconnect), "{name} {lives:?}: {all:?}\n{}", server.log());
            assert_eq!(connection(&server, name).await["status"], "needs_reconnect", "{name}");
            let refused =
                server.request(Method::POST, "/runs").json(&json!({ "provider": name, "prompt": "hi" })).send().await;
            assert_eq!(refused.unwrap().status(), 409, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_takes_the_tool_s_own_file_and_moves_it() {
    let (server, standin) = server("").await;
    let ada = standin.account("ada");
    let (fresh, token) = (ada.login_files(Provider::Claude), ada.setup_token());
    let dead = standin.account("dead");
    let revoked = dead.login_files(Provider::Claude);
    dead.revoke(Provider::Claude);
    let (server, standin) = blocking(move || {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".credentials.json");
        let place = home.path().to_str().unwrap();
        // A dead login is refused, and stays where it is.
        std::fs::write(&file, &revoked[".credentials.json"]).unwrap();
        let out = server.polydev(&["connect", "claude", "--from-file", place, "--move"]);
        assert_eq!(out.status.code(), Some(3), "{}", text(&out.stderr));
        assert!(file.exists());
        assert_eq!(
            server.polydev(&["connections", "--output", "json"]).stdout,
            b"{\n  \"items\": [],\n  \"next_cursor\": null\n}\n"
        );

        std::fs::write(&file, &fresh[".credentials.json"]).unwrap();
        let out = server.polydev(&["connect", "claude", "--from-file", place]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        assert!(text(&out.stdout).contains("as ada@example.test"), "{}", text(&out.stdout));
        assert!(text(&out.stderr).contains("two copies of a login"), "{}", text(&out.stderr));
        assert!(file.exists());
        let out = server.polydev(&["connect", "claude", "--from-file", file.to_str().unwrap(), "--move"]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        assert!(!file.exists() && home.path().join(".credentials.json.moved-to-polydev").exists());
        let out = server.polydev(&["connect", "claude", "--from-file", place]);
        assert_eq!(out.status.code(), Some(2), "there is nothing any more: {}", text(&out.stderr));

        // A setup token is a third way.
        let out = server.polydev_with(&["connect", "claude", "--setup-token-stdin"], &token);
        assert!(out.status.success(), "{}", text(&out.stderr));
        let out = server.polydev(&["run", "claude", "What is 17*23?"]);
        assert_eq!(text(&out.stdout), "391\n", "{}", text(&out.stderr));
        (server, standin)
    })
    .await;
    assert_eq!(connection(&server, "claude").await["method"], "setup_token");

    // Its last week is told of, and its end.
    let ends_in = async |ms: i64| {
        let at = time::now_ms() + ms;
        let ends = sqlx::query("UPDATE encrypted_credentials SET expires_at = $1").bind(at);
        ends.execute(database(&server).await.write()).await.unwrap();
        connection(&server, "claude").await
    };
    let hour = 60 * 60 * 1000;
    assert_eq!(ends_in(8 * 24 * hour).await["status"], "active");
    assert_eq!(ends_in(6 * 24 * hour).await["status"], "expiring");
    let all = run(&server, "claude", "What is 17*23?").await;
    assert_eq!(answer(&all).trim(), "391", "it is still good: {all:?}");
    let over = ends_in(-hour).await;
    assert_eq!((&over["status"], &over["error"]["code"]), (&json!("needs_reconnect"), &json!("needs_reconnect")));
    let body = json!({ "provider": "claude", "prompt": "hi" });
    assert_eq!(server.request(Method::POST, "/runs").json(&body).send().await.unwrap().status(), 409);

    // Forgotten here, it is still good where it is from; an ended one cannot be brought.
    let out = blocking(move || {
        let out = server.polydev(&["disconnect", "claude"]);
        let again = server.polydev(&["disconnect", "claude"]);
        (server, out, again)
    })
    .await;
    let (server, out, again) = out;
    assert!(out.status.success() && again.status.success());
    assert!(text(&out.stderr).contains("The setup token itself stays good until you end it at https://claude.ai/"));
    assert!(text(&again.stderr).contains("was not connected"), "{}", text(&again.stderr));
    let ended = standin.account("late").login_files_for(Provider::Gemini, Duration::ZERO);
    let (status, refused) = import(&server, "gemini", ended).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("needs_reconnect")), "{refused}");
    assert!(refused["error"]["hint"].as_str().unwrap().contains("import again"), "{refused}");
}

/// Whatever a run writes over its login: nothing of it is kept, it is on record, and the connection is to be made anew.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_hostile_run_leaves_is_not_kept() {
    let (server, standin) = server("").await;
    let (ada, eve) = (standin.account("ada"), standin.account("eve"));
    // What it gets by a refresh does not last either: the run has its login alone to its end.
    ada.let_live(Provider::Claude, Duration::from_secs(120));
    let others = String::from_utf8(eve.login_files(Provider::Claude)[".credentials.json"].clone()).unwrap();
    let forged = others.replace(&eve.id(Provider::Claude), &ada.id(Provider::Claude));
    let file = "$HOME/.claude/.credentials.json";
    let cases = [
        ("another's login", format!("printf %s '{others}' > {file}")),
        ("another's tokens under our account's name", format!("printf %s '{forged}' > {file}")),
        ("a hundred megabytes", format!("head -c 100000000 /dev/zero > {file}")),
        ("a link", format!("ln -sf /etc/passwd {file}")),
        ("half a file", format!("head -c 100 {file} > $HOME/half; cat $HOME/half > {file}")),
        ("nothing", format!("rm {file}")),
    ];
    let store = database(&server).await;
    for (at, (what, command)) in cases.into_iter().enumerate() {
        let login = ada.login_files_for(Provider::Claude, Duration::from_secs(120));
        let (status, connected) = import(&server, "claude", login).await;
        assert_eq!(status, 200, "{what}: {connected}");
        run(&server, "claude", &format!("use tool: {command}")).await;
        let left = connection(&server, "claude").await;
        assert_eq!(left["status"], "needs_reconnect", "{what}: {left}\n{}", server.log());
        assert_eq!(left["account"], json!(ada.email()), "{what}");
        let recorded: Vec<(Option<String>, Option<String>)> = sqlx::query_as(
            "SELECT outcome, detail FROM audit WHERE action = 'credential.write_back' ORDER BY created_at DESC",
        )
        .fetch_all(store.read())
        .await
        .unwrap();
        let failed = recorded.iter().filter(|(outcome, _)| outcome.as_deref() == Some("failed")).count();
        assert_eq!(failed, at + 1, "{what}: {recorded:?}\n{}", server.log());
        assert!(!format!("{recorded:?}").contains("sk-ant-o"), "no token is on record: {recorded:?}");
    }

    // Settings and hooks beside good tokens do not stay with them.
    let login = ada.login_files_for(Provider::Claude, Duration::from_secs(120));
    assert_eq!(import(&server, "claude", login).await.0, 200);
    let hooked = r#"node -e 'const f=process.env.HOME+"/.claude/.credentials.json",fs=require("fs"),c=JSON.parse(fs.readFileSync(f));c.hooks={canary:1};fs.writeFileSync(f,JSON.stringify(c))'"#;
    run(&server, "claude", &format!("use tool: {hooked}")).await;
    assert_eq!(connection(&server, "claude").await["status"], "active", "{}", server.log());
    let all = run(&server, "claude", "use tool: cat $HOME/.claude/.credentials.json").await;
    let shown = serde_json::to_string(&all).unwrap();
    assert!(shown.contains("claudeAiOauth") && !shown.contains("canary"), "{shown}");
}

/// The server dies after the tool has refreshed its login, and before what it left was read back.
#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_login_outlives_the_server() {
    killed_when_the_login_is_refreshed(Then::GoesOn).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refreshed_login_outlives_the_server_and_its_run() {
    killed_when_the_login_is_refreshed(Then::Cancelled).await;
}

/// The same as [`ten_runs_at_the_moment_of_expiry_refresh_once`], with the server killed between the refresh and the
/// write-back.
#[tokio::test(flavor = "multi_thread")]
async fn ten_runs_at_the_moment_of_expiry_outlive_the_server() {
    let (mut server, standin) = server("[runs]\nmax_concurrent = 4\n").await;
    let ada = standin.account("ada");
    for (name, provider) in ALL {
        assert_eq!(import(&server, name, ada.login_files_for(provider, Duration::from_secs(120))).await.0, 200);
        let mut runs = Vec::new();
        for n in 0..10 {
            let body = json!({ "provider": name, "prompt": format!("use tool: sleep 3; echo woken {n}") });
            let run = server.request(Method::POST, "/runs").json(&body).send().await.unwrap();
            let run: Value = run.json().await.unwrap();
            runs.push(format!("/runs/{}/events", run["id"].as_str().unwrap()));
        }
        // One has it alone. Its tool has its new tokens, which would be read back a second later.
        until_a_tool_is_called(&server, &runs[0]).await;
        assert_eq!(ada.refreshes(provider), 1, "{name}");
        server = blocking(move || {
            server.kill();
            server.run();
            server
        })
        .await;
        for (n, run) in runs.iter().enumerate() {
            let events = server.request(Method::GET, run).send().await.unwrap().text().await.unwrap();
            assert!(events.contains("run.completed"), "{name} {n}: {events}\n{}", server.log());
            assert!(events.contains(&format!("woken {n}")), "{name} {n}: {events}");
        }
        let all = run(&server, name, "What is 17*23?").await;
        assert_eq!(answer(&all).trim(), "391", "{name}, the login lives: {all:?}");
        assert_eq!((ada.refreshes(provider), ada.refresh_reuses(provider)), (1, 0), "{name}\n{}", server.log());
    }
}

/// What becomes of the run.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    GoesOn,
    Cancelled,
}

async fn killed_when_the_login_is_refreshed(then: Then) {
    let (server, standin) = server("").await;
    let ada = standin.account("ada");
    let login = ada.login_files_for(Provider::Claude, Duration::from_secs(120));
    assert_eq!(import(&server, "claude", login).await.0, 200);
    let body = json!({ "provider": "claude", "prompt": "use tool: sleep 4; echo woken" });
    let run: Value = server.request(Method::POST, "/runs").json(&body).send().await.unwrap().json().await.unwrap();
    let run = run["id"].as_str().unwrap();
    let path = format!("/runs/{run}");
    // The model has answered, so the tool has its new tokens; a second later they would be read back.
    until_a_tool_is_called(&server, &format!("{path}/events")).await;
    let mut server = blocking(move || {
        let mut server = server;
        server.kill();
        server
    })
    .await;
    if then == Then::Cancelled {
        // Written down by the server that was killed.
        assert!(database(&server).await.request_cancel(run, 1).await.unwrap());
    }
    let server = blocking(move || {
        server.run();
        server
    })
    .await;
    let events = server.request(Method::GET, &format!("{path}/events")).send().await.unwrap().text().await.unwrap();
    let end = if then == Then::Cancelled { "run.cancelled" } else { "run.completed" };
    assert!(events.contains(end), "{events}\n{}", server.log());
    assert!(server.log().contains("a login was refreshed"), "{}", server.log());
    assert_eq!(connection(&server, "claude").await["status"], "active");
    let all = self::run(&server, "claude", "What is 17*23?").await;
    assert_eq!(answer(&all).trim(), "391", "the login lives: {all:?}");
    assert_eq!((ada.refreshes(Provider::Claude), ada.refresh_reuses(Provider::Claude)), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lent_login_that_ended_says_nothing_of_the_login() {
    let (server, standin) = server("").await;
    let ada = standin.account("ada");
    assert_eq!(import(&server, "claude", ada.login_files(Provider::Claude)).await.0, 200);
    let body = json!({ "provider": "claude", "prompt": "use tool: sleep 2; echo woken" });
    let run: Value = server.request(Method::POST, "/runs").json(&body).send().await.unwrap().json().await.unwrap();
    let path = format!("/runs/{}/events", run["id"].as_str().unwrap());
    until_a_tool_is_called(&server, &path).await;
    // As after a night's sleep of the host: hours have passed between two words of one run.
    ada.expire(Provider::Claude);
    let slept = sqlx::query("UPDATE encrypted_credentials SET fresh_until = 1");
    slept.execute(database(&server).await.write()).await.unwrap();
    let events = server.request(Method::GET, &path).send().await.unwrap().text().await.unwrap();
    assert!(events.contains("run.failed") && events.contains(r#""code":"interrupted""#), "{events}");
    assert_eq!(connection(&server, "claude").await["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_new_is_kept_though_the_old_was_refused_and_half_a_file_is_waited_for() {
    let (server, standin) = server("").await;
    let ada = standin.account("ada");
    let login = ada.login_files_for(Provider::Claude, Duration::from_secs(120));
    assert_eq!(import(&server, "claude", login).await.0, 200);
    let file = "~/.claude/.credentials.json";
    let half = format!("use tool: sleep 3; cp {file} ~/k; printf '{{' > {file}; sleep 3; cp ~/k {file}; echo woken");
    let body = json!({ "provider": "claude", "prompt": half });
    let run: Value = server.request(Method::POST, "/runs").json(&body).send().await.unwrap().json().await.unwrap();
    let path = format!("/runs/{}/events", run["id"].as_str().unwrap());
    until_a_tool_is_called(&server, &path).await;
    // The tool has its new tokens, and somebody finds that the old ones are refused before they are read back.
    let refused = sqlx::query("UPDATE encrypted_credentials SET status = 'needs_reconnect'");
    refused.execute(database(&server).await.write()).await.unwrap();
    let events = server.request(Method::GET, &path).send().await.unwrap().text().await.unwrap();
    assert!(events.contains("run.completed") && events.contains("woken"), "{events}\n{}", server.log());
    assert_eq!(connection(&server, "claude").await["status"], "active", "{}", server.log());
    let all = self::run(&server, "claude", "What is 17*23?").await;
    assert_eq!(answer(&all).trim(), "391", "the login lives: {all:?}");
    assert_eq!((ada.refreshes(Provider::Claude), ada.refresh_reuses(Provider::Claude)), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_cancelled_while_its_login_is_refreshed_brings_the_new_one_back() {
    let (server, standin) = server("").await;
    let ada = standin.account("ada");
    for (name, provider) in ALL {
        let before = ada.refreshes(provider);
        assert_eq!(import(&server, name, ada.login_files_for(provider, Duration::from_secs(120))).await.0, 200);
        let body = json!({ "provider": name, "prompt": "count to 20" });
        let run: Value = server.request(Method::POST, "/runs").json(&body).send().await.unwrap().json().await.unwrap();
        let path = format!("/runs/{}", run["id"].as_str().unwrap());
        // The provider has used up the old one; the tool has hardly read its answer.
        let mut often = tokio::time::interval(Duration::from_millis(1));
        while ada.refreshes(provider) == before {
            often.tick().await;
        }
        let cancelled = server.request(Method::POST, &format!("{path}/cancel")).send().await.unwrap();
        assert!(cancelled.status() == 202, "{name}");
        let events = server.request(Method::GET, &format!("{path}/events")).send().await.unwrap().text().await.unwrap();
        assert!(events.contains("run.cancelled"), "{name}: {events}");
        assert_eq!(connection(&server, name).await["status"], "active", "{name}: {}", server.log());
        let all = self::run(&server, name, "What is 17*23?").await;
        assert_eq!(answer(&all).trim(), "391", "{name}, the login lives: {all:?}");
        assert_eq!((ada.refreshes(provider), ada.refresh_reuses(provider)), (before + 1, 0), "{name}");
    }
}

/// Follows the events at this path until a tool is called. By then the provider has answered, so a login that was to be
/// refreshed has been.
async fn until_a_tool_is_called(server: &Server, path: &str) {
    let mut stream = server.request(Method::GET, path).send().await.unwrap();
    let mut read = Vec::new();
    while !text(&read).contains("tool.call") {
        read.extend(stream.chunk().await.unwrap().expect("the run goes on"));
    }
}

/// The server's own database.
async fn database(server: &Server) -> Store {
    Store::open(&sqlite_url(&server.data_dir().join("polydev.db"))).await.unwrap()
}
