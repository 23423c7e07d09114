//! A login from its opening to its end.

use super::{
    WITHIN, ask, asks_about, blocking, counted, guest, id, import, is_ready, look, looking, open, ready,
    rfb::{Closed, Viewer, changed},
    said, sandbox, server, to_the_end, until,
};
use crate::support::{
    db, host,
    server::{Server, text},
};
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use polydev_sandbox::image::HOME;
use polydev_server::{
    domain::{
        login::{EventBody, StageName, StageState},
        time,
    },
    store::{Store, sqlite_url},
};
use polydev_standin::Provider;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

async fn gone(server: Server, sandbox: String) -> Server {
    blocking(move || {
        host::until(WITHIN, || server.sandboxes().is_empty() && host::leftovers(&sandbox).is_empty());
        server
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desktop_comes_up_is_looked_at_and_goes() {
    let (server, _standin) = server("").await;
    let mut changes = server.request(Method::GET, "/events").send().await.unwrap().bytes_stream().eventsource();
    let (status, login) = open(&server, "claude").await;
    assert_eq!((status, &login["status"]), (201, &json!("requested")), "{login}");
    let login_id = id(&login);
    assert_eq!(login["command"], "claude auth login");
    assert_eq!(login["page_url"], format!("{}/logins/{login_id}", server.url));
    let change: Value = serde_json::from_str(&changes.next().await.unwrap().unwrap().data).unwrap();
    assert_eq!(change, json!({ "type": "login", "id": login_id }));
    let (status, again) = open(&server, "claude").await;
    assert_eq!((status, &again["id"]), (200, &login["id"]), "one for a person and a provider");

    let events = until(&server, &login_id, is_ready).await;
    let done: Vec<StageName> = events
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::Stage { stage, .. } if stage.state == StageState::Done => Some(stage.name),
            _other => None,
        })
        .collect();
    assert_eq!(done, [StageName::Allocating, StageName::Starting, StageName::Desktop, StageName::Ready], "{events:?}");
    let (_, login) = ask(&server, Method::GET, &format!("/logins/{login_id}")).await;
    assert_eq!(login["status"], "ready");
    for stage in login["stages"].as_array().unwrap() {
        assert!(stage["took_ms"].as_i64().is_some_and(|took| took >= 0), "{login}");
    }

    let mut viewer = Viewer::new(look(looking(&server, &login_id)).await.unwrap()).await.unwrap();
    assert_eq!(viewer.size, (1920, 1080));
    let before = viewer.pixels().await.unwrap();
    assert!(before.chunks(4).any(|pixel| pixel != &before[..4]), "there is something on it");
    // A key that is pressed reaches the terminal.
    viewer.types("printf 'x%.0s' $(seq 2000)\n").await;
    let shown = async { while changed(&before, &viewer.pixels().await.unwrap()) < 2000 {} };
    timeout(WITHIN, shown).await.expect("what was typed is on the screen");
    let shell = said(&server, &mut viewer, ("echo $$", "before")).await;
    // Who leaves leaves it as it is.
    assert_eq!(viewer.close().await, Closed(Some(1000)));
    let mut viewer = Viewer::new(look(looking(&server, &login_id)).await.unwrap()).await.unwrap();
    assert_eq!(said(&server, &mut viewer, ("echo $$", "after")).await, shell, "the same desktop");

    let sandbox = sandbox(&server);
    let (_, of) = ask(&server, Method::GET, &format!("/sandboxes/{sandbox}")).await;
    assert_eq!((&of["login_id"], &of["run_id"]), (&login["id"], &Value::Null), "{of}");
    let open = [r#"polydev_logins{status="preparing"}"#, r#"polydev_logins{status="ready"}"#];
    let (server, counts) = counted(server, &open).await;
    assert_eq!(counts, [0.0, 1.0]);
    assert_eq!(ask(&server, Method::DELETE, &format!("/logins/{login_id}")).await.0, 204);
    assert_eq!(viewer.closed().await, Closed(Some(4002)));
    let events = to_the_end(&server, &login_id).await;
    assert!(matches!(events[events.len() - 1].body, EventBody::Cancelled), "{events:?}");
    assert_eq!(ask(&server, Method::DELETE, &format!("/logins/{login_id}")).await.0, 204, "it may be said twice");
    let past = server.request(Method::GET, &format!("/logins/{login_id}/events?after={}", events.len()));
    assert_eq!(past.send().await.unwrap().status(), 204);
    let server = gone(server, sandbox).await;
    assert_eq!(look(looking(&server, &login_id)).await.unwrap_err(), (410, "gone".to_owned()));
    let over = [
        r#"polydev_logins{status="ready"}"#,
        r#"polydev_logins_ended_total{provider="claude",status="cancelled"}"#,
        r#"polydev_login_ready_duration_seconds_count{provider="claude"}"#,
        r#"polydev_login_ready_duration_seconds_sum{provider="claude"}"#,
    ];
    let (server, counts) = counted(server, &over).await;
    assert_eq!(counts[..3], [0.0, 1.0, 1.0]);
    let took: i64 = login["stages"].as_array().unwrap().iter().map(|stage| stage["took_ms"].as_i64().unwrap()).sum();
    assert!((counts[3] - took as f64 / 1000.0).abs() < 0.1, "{counts:?} {login}");
    assert_eq!(blocking(move || server.stop_and_left()).await, (Some(0), vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_finds_the_same_desktop_on_both_databases() {
    for postgres in [false, true] {
        let database = if postgres { Some(db::postgres().await) } else { None };
        let config =
            database.as_ref().map(|database| format!("[store]\nurl = {:?}\n", database.url)).unwrap_or_default();
        let (server, _standin) = server(&config).await;
        let login_id = ready(&server, "codex").await;
        let (_, before) = ask(&server, Method::GET, &format!("/logins/{login_id}")).await;
        let mut viewer = Viewer::new(look(looking(&server, &login_id)).await.unwrap()).await.unwrap();
        let shell = said(&server, &mut viewer, ("echo $$", "before")).await;
        let sandbox = sandbox(&server);
        let mut server = blocking(move || {
            let mut server = server;
            server.kill();
            server.run();
            server
        })
        .await;
        assert_eq!(viewer.closed().await, Closed(None), "its server is gone");
        let (_, after) = ask(&server, Method::GET, &format!("/logins/{login_id}")).await;
        assert_eq!(after["stages"], before["stages"], "no stage is lost");
        assert_eq!((&after["status"], &after["expires_at"]), (&json!("ready"), &before["expires_at"]));
        let mut viewer = Viewer::new(look(looking(&server, &login_id)).await.unwrap()).await.unwrap();
        assert_eq!(said(&server, &mut viewer, ("echo $$", "after")).await, shell, "the same desktop");
        assert_eq!(server.sandboxes(), vec![sandbox.clone()]);
        assert!(server.log().contains("a login of an earlier server goes on"));

        // Stopped as an operator does, it destroys everything, and says so.
        server = blocking(move || {
            assert_eq!((server.stop(), server.sandboxes()), (Some(0), vec![]));
            server.run();
            server
        })
        .await;
        let closed = viewer.closed().await;
        assert!(matches!(closed, Closed(Some(4002 | 1001))), "{closed:?}");
        let (_, ended) = ask(&server, Method::GET, &format!("/logins/{login_id}")).await;
        assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("failed"), &json!("interrupted")), "{ended}");
        assert_eq!(open(&server, "codex").await.0, 201, "a new one may be opened");
        drop(server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_whose_sandbox_dies_says_so() {
    let (server, _standin) = server("").await;
    let login_id = ready(&server, "claude").await;
    let mut viewer = Viewer::new(look(looking(&server, &login_id)).await.unwrap()).await.unwrap();
    let sandbox = sandbox(&server);
    for process in host::processes_of(&sandbox) {
        let killed = std::process::Command::new("kill").args(["-KILL", &process]).output().unwrap();
        // One may have gone with another.
        let _ = text(&killed.stderr);
    }
    let events = to_the_end(&server, &login_id).await;
    let EventBody::Failed { error } = &events[events.len() - 1].body else { panic!("{events:?}") };
    assert!(error.message.starts_with("the desktop was lost"), "{error:?}");
    assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("Open another one")), "{error:?}");
    assert_eq!(viewer.closed().await, Closed(Some(1011)));
    let server = gone(server, sandbox).await;
    let failed = [
        r#"polydev_logins_ended_total{provider="claude",status="failed"}"#,
        r#"polydev_login_failures_total{provider="claude",code="tool_crashed"}"#,
    ];
    let (server, counts) = counted(server, &failed).await;
    assert_eq!(counts, [1.0, 1.0]);
    let (status, login) = open(&server, "claude").await;
    assert_eq!(status, 201, "{login}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_signs_in_for_ever() {
    let (server, _standin) = server("[login]\nttl_s = 30\n").await;
    let login_id = ready(&server, "gemini").await;
    let (status, extended) = ask(&server, Method::POST, &format!("/logins/{login_id}/extend")).await;
    assert_eq!(status, 200, "{extended}");
    let events = until(&server, &login_id, |event| matches!(event.body, EventBody::Extended { .. })).await;
    assert!(events.iter().any(|event| matches!(event.body, EventBody::Warning { .. })), "{events:?}");
    while ask(&server, Method::POST, &format!("/logins/{login_id}/extend")).await.0 == 200 {}
    let (status, refused) = ask(&server, Method::POST, &format!("/logins/{login_id}/extend")).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("conflict")), "{refused}");

    let extended = sandbox(&server);
    let login_id = ready(&server, "claude").await;
    let others = server.sandboxes().into_iter().filter(|one| *one != extended).collect::<Vec<_>>();
    assert_eq!(others.len(), 1, "{others:?}");
    let events = to_the_end(&server, &login_id).await;
    assert!(matches!(events[events.len() - 1].body, EventBody::Expired), "{events:?}");
    let server = blocking(move || {
        host::until(WITHIN, || !server.sandboxes().contains(&others[0]) && host::leftovers(&others[0]).is_empty());
        server
    })
    .await;
    let (status, refused) = ask(&server, Method::POST, &format!("/logins/{login_id}/extend")).await;
    assert_eq!((status, &refused["error"]["code"]), (410, &json!("gone")), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_while_the_server_is_down_is_kept() {
    let (server, standin) = server("").await;
    let (ada, bob) = (standin.account("ada"), standin.account("bob"));
    import(&server, "claude", &ada, Provider::Claude).await;
    // Somebody is at one desktop, and is asked something at the other.
    let (waits, asked) = tokio::join!(ready(&server, "codex"), ready(&server, "claude"));
    let (_, of) = ask(&server, Method::GET, &format!("/sandboxes?login_id={asked}")).await;
    let login_file = bob.login_files(Provider::Claude).remove(".credentials.json").unwrap();
    let at_it = guest(&server, of["items"][0]["id"].as_str().unwrap());
    at_it.write_file(&format!("{HOME}/.claude/.credentials.json"), 0o600, &login_file).await.unwrap();
    until(&server, &asked, asks_about(&bob)).await;
    let before = server.sandboxes();
    assert_eq!(before.len(), 2, "{before:?}");

    let url = sqlite_url(&server.data_dir().join("polydev.db"));
    let mut server = blocking(move || {
        let mut server = server;
        server.kill();
        server
    })
    .await;
    let store = Store::open(&url).await.unwrap();
    let pass = "UPDATE auth_sessions SET expires_at = started_at + 1 WHERE completed_at IS NULL";
    assert_eq!(sqlx::query(pass).execute(store.write()).await.unwrap().rows_affected(), 2);
    store.close().await;
    assert_eq!(server.sandboxes(), before, "they have outlived their server");
    server = blocking(move || {
        server.run();
        server
    })
    .await;

    for login in [&waits, &asked] {
        let events = timeout(WITHIN, to_the_end(&server, login)).await.expect("it ends");
        assert!(matches!(events[events.len() - 1].body, EventBody::Expired), "{events:?}");
        let warned = events.iter().any(|event| matches!(event.body, EventBody::Warning { .. }));
        assert!(!warned, "nobody is warned of what is past: {events:?}");
        let past = server.request(Method::GET, &format!("/logins/{login}/events?after={}", events.len()));
        assert_eq!(past.send().await.unwrap().status(), 204, "nothing comes after that");
        let (_, over) = ask(&server, Method::GET, &format!("/logins/{login}")).await;
        assert_eq!((&over["status"], &over["question"]), (&json!("expired"), &Value::Null), "{over}");
        assert_eq!(
            over["expires_at"],
            time::rfc3339(time::parse_rfc3339(over["started_at"].as_str().unwrap()).unwrap() + 1)
        );
    }
    let (_, connections) = ask(&server, Method::GET, "/connections").await;
    assert_eq!(connections["items"][0]["account"], json!(ada.email()), "what was asked about is not kept");
    let server = blocking(move || {
        host::until(WITHIN, || {
            server.sandboxes().is_empty() && before.iter().all(|sandbox| host::leftovers(sandbox).is_empty())
        });
        server
    })
    .await;
    let (status, again) = open(&server, "claude").await;
    assert_eq!(status, 201, "{again}");
    assert!(![waits, asked].contains(&id(&again)), "{again}");
}
