//! Each bad input has an error of its own, and nothing is lost.

use super::{blocking, standin};
use crate::support::server::{Server, text};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_wrong_is_told_what_is() {
    let standin = standin().await;
    let (server, _standin) = blocking(move || {
        let server = Server::start(&standin);
        server.connect("claude");
        (server, standin)
    })
    .await;
    let cases = [
        (json!({ "provider": "hal", "prompt": "hi" }), 404, "not_found", "`hal`"),
        (json!({ "provider": "codex", "prompt": "hi" }), 409, "not_connected", "Codex"),
        (json!({ "provider": "claude", "prompt": " \n" }), 422, "invalid_request", "`prompt`"),
        (json!({ "provider": "claude", "prompt": "x".repeat(1024 * 1024 + 1) }), 422, "invalid_request", "1048577"),
        (json!({ "provider": "claude", "prompt": "hi", "colour": "red" }), 422, "invalid_request", "colour"),
        (json!({ "provider": "claude", "prompt": 7 }), 422, "invalid_request", "`prompt`"),
        (json!({ "provider": "claude", "prompt": "a\u{0}b" }), 422, "invalid_request", "NUL"),
        (json!({ "provider": "claude", "prompt": "hi", "tools": "some" }), 422, "invalid_request", "`tools`"),
        (json!({ "provider": "claude", "prompt": "hi", "timeout_s": 0 }), 422, "invalid_request", "`timeout_s`"),
        (json!({ "provider": "claude", "prompt": "hi", "model": "--help" }), 422, "invalid_request", "`model`"),
        (json!({ "provider": "claude", "prompt": "hi", "metadata": [1] }), 422, "invalid_request", "`metadata`"),
        (json!({ "provider": "claude", "prompt": "hi", "conversation": "new" }), 501, "not_yet", "conversation"),
        (
            json!({ "provider": "claude", "prompt": "hi", "files": [{ "path": "../x", "content_base64": "" }] }),
            422,
            "invalid_request",
            "`files[0].path`",
        ),
        (
            json!({ "provider": "claude", "prompt": "hi", "files": [{ "path": "x", "content_base64": "*" }] }),
            422,
            "invalid_request",
            "`files[0].content_base64`",
        ),
        (json!("hi"), 422, "invalid_request", "expected struct"),
    ];
    for (body, status, code, named) in cases {
        let shown = body.to_string().chars().take(80).collect::<String>();
        let response = server.request(Method::POST, "/runs").json(&body).send().await.unwrap();
        assert_eq!(response.status(), status, "{shown}");
        let request_id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
        let error = response.json::<Value>().await.unwrap()["error"].clone();
        assert_eq!(error["code"], code, "{shown}: {error}");
        assert!(error["message"].as_str().unwrap().contains(named), "{shown}: {error}");
        assert_eq!(error["request_id"], request_id, "{shown}");
    }
    let plain = server.request(Method::POST, "/runs").body("{}").send().await.unwrap();
    assert_eq!(plain.status(), 422);
    let huge = server
        .request(Method::POST, "/runs")
        .header("content-type", "application/json")
        .body(vec![b' '; 33 * 1024 * 1024])
        .send()
        .await
        .unwrap();
    assert_eq!(huge.status(), StatusCode::PAYLOAD_TOO_LARGE);
    for (path, status, code) in [
        ("/runs?limit=0", 400, "bad_limit"),
        ("/runs?limit=x", 400, "bad_limit"),
        ("/runs?cursor=%21", 400, "bad_cursor"),
        ("/runs/run_nothing", 404, "not_found"),
        ("/nothing", 404, "not_found"),
        ("/providers/hal/models", 404, "not_found"),
    ] {
        let response = server.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], code, "{path}");
    }
    let foreign = server.request(Method::GET, "/me").header("host", "evil.example").send().await.unwrap();
    assert_eq!(foreign.status(), 421);
    for key in ["", "pdv_nonsense"] {
        let response = reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .get(format!("{}/api/v1/me", server.url))
            .bearer_auth(key)
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 401);
        assert!(response.headers().contains_key("www-authenticate"));
    }
    let list: Value = server.request(Method::GET, "/runs").send().await.unwrap().json().await.unwrap();
    assert_eq!(list["items"], json!([]), "none of it became a run");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_one_is_refused_and_nothing_is_kept() {
    let standin = standin().await;
    blocking(move || {
        let server = Server::start(&standin);
        for (key, status, named) in [
            ("sk-ant-standin-a\nsecond-line\n", 1, "line break"),
            ("sk-ant-standin-revoked\n", 3, "refuse"),
            ("sk-proj-abc\n", 1, "OpenAI"),
            ("\n", 2, "no API key"),
        ] {
            let out = server.polydev_with(&["connect", "claude", "--api-key-stdin"], key);
            assert_eq!(out.status.code(), Some(status), "{key:?}: {}", text(&out.stderr));
            assert!(text(&out.stderr).to_lowercase().contains(&named.to_lowercase()), "{key:?}: {}", text(&out.stderr));
            assert!(!text(&out.stderr).contains("standin"), "the key is not repeated: {}", text(&out.stderr));
        }
        let out = server.polydev(&["connections", "--output", "json"]);
        assert_eq!(serde_json::from_slice::<Value>(&out.stdout).unwrap()["items"], json!([]));
        for (args, status) in [
            (&["run", "claude", "hi"][..], 3),
            (&["connect", "hal", "--api-key-stdin"], 2),
            (&["run", "claude", ""], 1),
            (&["run"], 2),
            (&["run", "claude", "hi", "--timeout", "soon"], 2),
            (&["nonsense"], 2),
            (&["--output", "stream-json", "status"], 2),
        ] {
            let out = server.polydev(args);
            assert_eq!(out.status.code(), Some(status), "{args:?}: {}", text(&out.stderr));
            assert!(!out.stderr.is_empty(), "{args:?}");
        }
        let mut elsewhere = server.command(&["status"]);
        let out = elsewhere.env("POLYDEV_URL", "http://127.0.0.1:9").output().unwrap();
        assert_eq!(out.status.code(), Some(4), "{}", text(&out.stderr));
        let out = server.command(&["status"]).env("POLYDEV_API_KEY", "pdv_nonsense").output().unwrap();
        assert_eq!(out.status.code(), Some(5), "{}", text(&out.stderr));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_start_says_why() {
    let standin = standin().await;
    blocking(move || {
        let mut server = Server::start(&standin);
        let port = server.url.rsplit(':').next().unwrap().to_owned();
        let out = server.polydev(&[
            "--data-dir",
            server.data_dir().with_extension("two").to_str().unwrap(),
            "serve",
            "--listen",
            &format!("127.0.0.1:{port}"),
        ]);
        assert_eq!(out.status.code(), Some(1));
        assert!(
            text(&out.stderr).contains("cannot be listened at") && text(&out.stderr).contains("hint: "),
            "{}",
            text(&out.stderr)
        );

        server.stop();
        let key = server.data_dir().join("master.key");
        let refused = |named: &str| {
            let out = server.polydev(&["serve"]);
            assert_eq!(out.status.code(), Some(1), "{named}");
            assert!(text(&out.stderr).contains(named), "{named}: {}", text(&out.stderr));
        };
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        refused("chmod 600");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();

        let out = server
            .command(&["serve"])
            .env("POLYDEV__SANDBOX__COLOUR", "red")
            .env("POLYDEV__RUNS__TIMEOUT_S", "soon")
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(2));
        let said = text(&out.stderr);
        assert!(said.contains("sandbox.colour") && said.contains("runs.timeout_s"), "all problems at once: {said}");

        let out = server.command(&["serve", "--listen", "0.0.0.0:0"]).output().unwrap();
        assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
        assert!(text(&out.stderr).contains("insecure"), "{}", text(&out.stderr));

        let out =
            server.command(&["serve"]).env("POLYDEV__SANDBOX__OCI__RUNTIME", "/nonexistent/crun").output().unwrap();
        assert_eq!(out.status.code(), Some(1));
        assert!(text(&out.stderr).contains("/nonexistent/crun"), "{}", text(&out.stderr));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_image_a_run_is_refused_with_what_to_do() {
    let standin = standin().await;
    let (server, _standin, _empty) = blocking(move || {
        let mut server = Server::start(&standin);
        server.connect("claude");
        server.stop();
        let empty = tempfile::tempdir().unwrap();
        server.images = Some(empty.path().to_owned());
        server.run();
        (server, standin, empty)
    })
    .await;
    let response = server
        .request(Method::POST, "/runs")
        .json(&json!({ "provider": "claude", "prompt": "hi" }))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 503);
    let error = response.json::<Value>().await.unwrap()["error"].clone();
    assert_eq!(error["code"], "image_missing");
    assert!(error["hint"].as_str().unwrap().contains("polydev image build"), "{error}");
}
