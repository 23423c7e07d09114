//! Desktops that were made ahead: they sleep, and are anybody's until somebody signs in.

use super::{
    WITHIN, ask, blocking,
    hands::{authorizes_in_firefox, types},
    id, look, looking, open, ready,
    rfb::Viewer,
    to_the_end,
};
use crate::support::{
    guest::shell,
    host,
    server::{NO_POOL, Server},
};
use polydev_sandbox::{
    Driver, Guest,
    drivers::{DriverConfig, by_name},
};
use polydev_server::domain::login::EventBody;
use polydev_standin::{Options, Standin};
use reqwest::Method;
use std::{fs, sync::Arc, time::Duration};

/// How long a desktop may take that nobody waits for: it gives way to all that other tests run.
const MADE_WITHIN: Duration = Duration::from_secs(300);

/// A server that makes one ahead, and its stand-in, whose files are the test's own.
async fn server() -> (Server, Standin, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let standin = Standin::start(Options { dir: Some(dir.path().to_owned()), ..Options::default() }).await.unwrap();
    blocking(move || {
        let env = [("POLYDEV__POOL__DESKTOP", "1"), ("POLYDEV__EGRESS__DENY", r#"["denied.example"]"#)];
        let mut server = Server::empty(&standin, NO_POOL, &env);
        server.key = server.person("one@example.com");
        (server, standin, dir)
    })
    .await
}

/// Waits for the server's `nth` warm desktop, from 1.
async fn warm(server: Server, nth: usize) -> (Server, String) {
    blocking(move || {
        host::until(MADE_WITHIN, || server.made().len() >= nth);
        let made = server.made()[nth - 1].clone();
        (server, made)
    })
    .await
}

fn driver(server: &Server) -> Arc<dyn Driver> {
    let config = DriverConfig { state_dir: server.data_dir().join("sandboxes"), oci_runtime: None };
    by_name("oci", &config).unwrap()
}

/// Whether the kernel has stopped a sandbox where it is.
fn sleeps(sandbox: &str) -> bool {
    let v1 = host::in_groups(sandbox, "freezer.state").iter().any(|state| state == "FROZEN\n");
    v1 || host::in_groups(sandbox, "cgroup.events").iter().any(|events| events.contains("frozen 1"))
}

/// The first line of what the way out says to a wish for a host.
fn reach(proxy: &str, host: &str) -> String {
    format!(
        "exec 3<>/dev/tcp/{}; printf 'CONNECT {host}:443 HTTP/1.1\\r\\nHost: {host}:443\\r\\n\\r\\n' >&3; \
         timeout 1 head -n 1 <&3; echo status $?",
        proxy.replace(':', "/")
    )
}

/// What a terminal that is opened begins with.
const GREETING: &str =
    r#"node -e "const s=require('net').connect('/tmp/runtime/polydev',()=>s.write('greet\n'));s.pipe(process.stdout)""#;

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_in_has_the_desktop_that_sleeps_and_all_that_is_theirs() {
    let (server, standin, _dir) = server().await;
    let (server, first) = warm(server, 1).await;
    assert!(sleeps(&first), "{:?}", host::in_groups(&first, "freezer.state"));
    let weights = || host::weights_of(&first);
    assert!(weights().iter().all(|weight| ["64", "6"].contains(&weight.as_str())) && !weights().is_empty());
    let asked = standin.requests().len();

    // Woken by somebody else it is nobody's, and nobody carries what it would send.
    let guest = Guest::new(driver(&server), first.parse().unwrap());
    driver(&server).thaw(guest.id()).await.unwrap();
    let proxy = guest.hello().await.unwrap().proxy;
    assert_eq!(shell(&guest, "alone", &reach(&proxy, "api.anthropic.com")).await, "status 124\n");
    driver(&server).freeze(guest.id()).await.unwrap();
    assert_eq!(standin.requests().len(), asked);

    let login = ready(&server, "claude").await;
    assert!(!sleeps(&first));
    let (_, of) = ask(&server, Method::GET, &format!("/sandboxes/{first}")).await;
    assert_eq!((&of["login_id"], &of["state"]), (&login.as_str().into(), &"ready".into()), "{of}");
    let (_, stages) = ask(&server, Method::GET, &format!("/logins/{login}")).await;
    for stage in stages["stages"].as_array().unwrap() {
        // It was up before anybody asked: that is no part of its time.
        assert!(stage["took_ms"].as_i64().is_some_and(|took| took < 60_000), "{stages}");
        assert!(stage["started_at"].as_str() >= stages["started_at"].as_str(), "{stages}");
    }
    assert!(weights().iter().all(|weight| ["1024", "100"].contains(&weight.as_str())), "{:?}", weights());
    assert!(shell(&guest, "greeting", GREETING).await.contains("\n    claude auth login\n"));
    for (n, (host, answer)) in [("denied.example", "403"), ("api.anthropic.com", "200")].into_iter().enumerate() {
        let said = shell(&guest, &format!("reach-{n}"), &reach(&proxy, host)).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {answer} ")), "{host}: {said}");
    }
    // The tool finds its browser, and that trusts the operator's authority.
    types(&server, &login, "claude auth login\n").await;
    authorizes_in_firefox(&server, &login, &standin).await;
    let events = to_the_end(&server, &login).await;
    assert!(matches!(events[events.len() - 1].body, EventBody::Connected { .. }), "{events:?}");

    // Another is made meanwhile, until there are other authorities to trust.
    let (server, second) = warm(server, 2).await;
    let ca = standin.ca_file();
    fs::write(ca, fs::read_to_string(ca).unwrap() + "# another\n").unwrap();
    let login = id(&open(&server, "gemini").await.1);
    let outdated = second.clone();
    let server = blocking(move || {
        host::until(WITHIN, || host::leftovers(&first).is_empty() && host::leftovers(&outdated).is_empty());
        server
    })
    .await;
    let (_, of) = ask(&server, Method::GET, &format!("/sandboxes/{second}")).await;
    assert!(of["login_id"].is_null(), "{of}");
    assert_eq!(ask(&server, Method::DELETE, &format!("/logins/{login}")).await.0, 204);
    assert_eq!(blocking(move || server.stop_and_left()).await, (Some(0), vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sleeps_goes_with_its_server_and_is_never_waited_for() {
    let (server, _standin, _dir) = server().await;
    // A server that is killed has frozen it for ever, if nobody looks after it.
    let (mut server, left) = warm(server, 1).await;
    let server = blocking(move || {
        server.kill();
        assert!(sleeps(&left));
        server.run();
        host::until(WITHIN, || host::leftovers(&left).is_empty());
        server
    })
    .await;

    // One that does not wake is nobody's trouble.
    let (server, lost) = warm(server, 2).await;
    let first = host::processes_of(&lost).first().cloned().expect("its first process is seen from here");
    assert!(std::process::Command::new("kill").args(["-STOP", &first]).status().unwrap().success());
    let login = ready(&server, "codex").await;
    drop(Viewer::new(look(looking(&server, &login)).await.unwrap()).await.unwrap());
    assert_eq!(server.logged("a warm desktop did not wake; the login gets one that is made for it").len(), 1);
    let left = blocking(move || {
        host::until(WITHIN, || host::leftovers(&lost).is_empty());
        // SIGTERM takes along what is parked, or being made.
        server.stop_and_left()
    });
    assert_eq!(left.await, (Some(0), vec![]));
}
