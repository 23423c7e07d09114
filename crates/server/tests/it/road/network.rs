//! What a run's sandbox reaches is shown to its owner: as it does, after a crash of the server, and afterwards.

use super::{blocking, connected, sandboxes::get, standin};
use crate::support::{
    host,
    server::{Server, text},
};
use polydev_server::{
    domain::sandbox::{Host, Network},
    store::{Store, sqlite_url},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpListener,
    time::Duration,
};

/// A command that asks the way out of its sandbox for a connection, and prints what it is told.
pub(super) fn connect(target: &str) -> String {
    format!(
        "exec 3<>/dev/tcp/127.0.0.1/${{HTTPS_PROXY##*:}}; printf 'CONNECT %s HTTP/1.1\\r\\n\\r\\n' \"{target}\" >&3; \
         timeout 20 head -n 1 <&3"
    )
}

fn of<'a>(network: &'a Value, host: &str) -> &'a Value {
    let hosts = network["hosts"].as_array().unwrap();
    hosts.iter().find(|seen| seen["host"].as_str().unwrap().ends_with(host)).unwrap_or(&Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_reaches_is_shown_at_once_and_kept() {
    let (mut server, _standin) = connected("").await;
    let prompt = format!("use tool: {}; sleep 100", connect("evil.example.com:443"));
    let body = json!({ "provider": "claude", "prompt": prompt });
    let run: Value = server.request(Method::POST, "/runs").json(&body).send().await.unwrap().json().await.unwrap();
    let run = run["id"].as_str().unwrap().to_owned();
    let path = format!("/runs/{run}/network");
    let mut seen = get(&server, &path).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while of(&seen, "evil.example.com").is_null() {
        assert!(std::time::Instant::now() < deadline, "{seen}\n{}", server.log());
        seen = get(&server, &path).await;
    }
    let evil = of(&seen, "evil.example.com");
    assert_eq!((&evil["connections"], &evil["denied"]), (&json!(0), &json!(1)), "{seen}");
    assert_eq!(evil["reason"], "not_allowed");
    let provider = of(&seen, "anthropic.com");
    assert!(provider["bytes_up"].as_u64() > Some(0) && provider["bytes_down"].as_u64() > Some(0), "{seen}");
    let last = seen["connections"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["port"], &last["verdict"]), (&json!(443), &json!("denied")), "{seen}");

    let (mut server, shown) = {
        let run = run.clone();
        blocking(move || {
            let shown = text(&server.polydev(&["logs", &run, "--network"]).stdout);
            server.kill();
            (server, shown)
        })
        .await
    };
    let line = shown.lines().find(|line| line.contains("evil.example.com")).unwrap_or_else(|| panic!("{shown}"));
    assert!(line.contains("not_allowed"), "{shown}");

    // What the killed server had kept.
    let store = Store::open(&sqlite_url(&server.data_dir().join("polydev.db"))).await.unwrap();
    let sandbox = store.run(&run).await.unwrap().unwrap().sandbox_id.unwrap();
    let earlier = Host {
        host: "earlier.example.com".into(),
        connections: 7,
        denied: 0,
        failed: 0,
        reason: None,
        bytes_up: 8,
        bytes_down: 9,
    };
    store.keep_network(&sandbox, &Network { hosts: vec![earlier], connections: vec![] }).await.unwrap();
    store.close().await;
    server = blocking(move || {
        server.run();
        server
    })
    .await;
    assert_eq!(server.request(Method::POST, &format!("/runs/{run}/cancel")).send().await.unwrap().status(), 202);
    let server = {
        let run = run.clone();
        blocking(move || {
            host::until(Duration::from_secs(30), || {
                let runs: Value =
                    serde_json::from_slice(&server.polydev(&["runs", "--output", "json"]).stdout).unwrap();
                runs["items"][0]["id"] == *run && !runs["items"][0]["finished_at"].is_null()
            });
            server
        })
        .await
    };
    let kept = get(&server, &path).await;
    assert_eq!(of(&kept, "earlier.example.com")["connections"], 7, "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lets_us_through_the_upstream_proxy_is_told_nowhere() {
    const CANARY: &str = "canary-of-the-proxy";
    let standin = standin().await;
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = proxy.local_addr().unwrap();
    // One that lets nobody through, and repeats what it was told.
    std::thread::spawn(move || {
        for stream in proxy.incoming() {
            let (mut stream, mut asked) = (stream.unwrap(), [0; 4096]);
            let read = stream.read(&mut asked).unwrap_or(0);
            let said = format!("HTTP/1.1 407 {CANARY}\r\nx-asked: {CANARY}\r\ncontent-length: {read}\r\n\r\n");
            let _ = stream.write_all(&[said.as_bytes(), &asked[..read]].concat());
        }
    });
    blocking(move || {
        for scheme in ["http", "socks5"] {
            let url = format!("{scheme}://ada:{CANARY}@{address}").leak();
            let mut server = Server::empty(&standin, "", &[("POLYDEV__EGRESS__UPSTREAM_PROXY", url)]);
            server.key = server.person("one@example.com");
            let out = server.polydev_with(&["connect", "claude", "--api-key-stdin"], "sk-ant-standin-test\n");
            assert!(!out.status.success());
            let doctor = server.polydev(&["doctor"]);
            for said in [text(&out.stderr), text(&doctor.stdout), text(&doctor.stderr), server.log()] {
                assert!(!said.contains(CANARY), "{scheme}: {said}");
                assert!(!said.contains("YWRhOmNhbmFye"), "{scheme}: {said}");
            }
            assert_eq!(server.stop(), Some(0));
            assert!(!server.log().contains(CANARY));
        }
    })
    .await;
}
