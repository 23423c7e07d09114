//! Each bad input has an error of its own, and nothing is lost.

use super::{blocking, connected, standin};
use crate::support::server::{Server, text};
use polydev_server::store::{Store, sqlite_url};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, process::Command};

/// A run with empty files at these paths.
fn files(paths: impl IntoIterator<Item = impl AsRef<str>>) -> Value {
    let file = |path: &dyn AsRef<str>| json!({ "path": path.as_ref(), "content_base64": "" });
    let files: Vec<Value> = paths.into_iter().map(|path| file(&path)).collect();
    json!({ "provider": "claude", "prompt": "hi", "files": files })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_wrong_is_told_what_is() {
    let (server, _standin) = connected("").await;
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
        (files(["a", "a/b"]), 422, "invalid_request", "`files[1].path` lies in `a`"),
        (files(["a", "a"]), 422, "invalid_request", "twice"),
        (files([&"x".repeat(256)]), 422, "invalid_request", "`files[0].path`"),
        (files((0..1001).map(|n| n.to_string())), 422, "invalid_request", "`files` has 1001"),
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
    assert_eq!(huge.headers()["connection"], "close", "the rest of it lies on this connection");
    for depth in [120, 200, 100_000] {
        let deep = format!(
            r#"{{"provider":"hal","prompt":"hi","metadata":{{"x":{}{}}}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        );
        let deep = server.request(Method::POST, "/runs").header("content-type", "application/json").body(deep);
        assert_eq!(deep.send().await.unwrap().status(), if depth > 127 { 422 } else { 404 }, "{depth}");
    }
    let many = (0..1000).map(|n| format!("p{n}=1&")).collect::<String>();
    let long = "x".repeat(9000);
    for (path, status, code) in [
        (format!("/runs?{many}").as_str(), 422, "invalid_request"),
        (&format!("/runs?limit=1&{}", "limit=1&".repeat(100)), 422, "invalid_request"),
        (&format!("/runs?cursor={long}"), 414, "invalid_request"),
        (&format!("/{long}"), 414, "invalid_request"),
        ("/runs?limit=0", 400, "bad_limit"),
        ("/runs?limit=x", 400, "bad_limit"),
        ("/runs?cursor=%21", 400, "bad_cursor"),
        ("/runs/run_nothing", 404, "not_found"),
        ("/runs/%00", 404, "not_found"),
        ("/runs/%ff/events", 404, "not_found"),
        ("/runs?cursor=MSAA", 400, "bad_cursor"),
        ("/nothing", 404, "not_found"),
        ("/providers/hal/models", 404, "not_found"),
    ] {
        let response = server.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], code, "{path}");
    }
    let large = server.request(Method::GET, "/runs").header("x", "x".repeat(40_000)).send().await.unwrap();
    assert_eq!(large.status(), 431);
    assert_eq!(large.json::<Value>().await.unwrap()["error"]["code"], "invalid_request");
    let many = (0..200).fold(server.request(Method::GET, "/runs"), |request, n| request.header("x", n));
    assert_eq!(many.send().await.unwrap().status(), 431);
    let open = reqwest::Client::builder().no_proxy().build().unwrap();
    for (path, status) in [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/health", 200),
        ("/docs/", 200),
        ("/api/v1/openapi.json", 401),
        ("/api/v1/runs", 401),
    ] {
        let response = open.get(format!("{}{path}", server.url)).send().await.unwrap();
        assert_eq!(response.status(), status, "{path} without a key");
    }
    let document: Value = server.request(Method::GET, "/openapi.json").send().await.unwrap().json().await.unwrap();
    assert!(document["paths"]["/api/v1/runs"]["post"].is_object());
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

        let out = server.polydev(&["serve", "--listen", "127.0.0.1:0"]);
        assert_eq!(out.status.code(), Some(1));
        assert!(text(&out.stderr).contains("another server works in"), "{}", text(&out.stderr));
        assert!(server.polydev(&["status"]).status.success(), "the first one is not disturbed");

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

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_image_is_refused_with_what_to_do() {
    let standin = standin().await;
    let (server, _standin, images) = blocking(move || {
        let images = tempfile::tempdir().unwrap();
        // A record that is right, and a file that was cut off.
        let record = fs::read(crate::support::server::images().join("cli.json")).unwrap();
        let id = serde_json::from_slice::<Value>(&record).unwrap()["id"].as_str().unwrap().to_owned();
        fs::write(images.path().join("cli.json"), &record).unwrap();
        fs::write(images.path().join(format!("cli-{}.ext4", &id[..16])), "cut").unwrap();
        let mut server = Server::start(&standin);
        server.connect("claude");
        server.stop();
        server.images = Some(images.path().to_owned());
        server.run();
        (server, standin, images)
    })
    .await;
    let body = json!({ "provider": "claude", "prompt": "hi" });
    let said = async || {
        let response = server.request(Method::POST, "/runs").json(&body).send().await.unwrap();
        assert_eq!(response.status(), 503);
        let error = response.json::<Value>().await.unwrap()["error"].clone();
        assert_eq!(error["code"], "image_missing", "{error}");
        assert!(error["hint"].as_str().unwrap().contains("polydev image build"), "{error}");
        error["message"].as_str().unwrap().to_owned()
    };
    let message = said().await;
    assert!(message.contains("3 bytes of"), "{message}");

    // The right length, and nothing but holes.
    let record: Value = serde_json::from_slice(&fs::read(images.path().join("cli.json")).unwrap()).unwrap();
    let file = images.path().join(format!("cli-{}.ext4", &record["id"].as_str().unwrap()[..16]));
    fs::File::options().write(true).open(file).unwrap().set_len(record["size"].as_u64().unwrap()).unwrap();
    let message = said().await;
    assert!(message.contains("does not begin as it should"), "{message}");
    let ready = reqwest::get(format!("{}/readyz", server.url)).await.unwrap();
    assert_eq!(ready.status(), 503, "and the server says that it is not ready");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_that_cannot_be_used_is_refused() {
    let standin = standin().await;
    blocking(move || {
        let mut server = Server::start(&standin);
        server.connect("claude");
        server.stop();
        let refused = |named: &[&str]| {
            let out = server.polydev(&["serve"]);
            assert_eq!(out.status.code(), Some(1), "{named:?}");
            for named in named {
                assert!(text(&out.stderr).contains(named), "{named}: {}", text(&out.stderr));
            }
        };
        let (key, aside) = (server.data_dir().join("master.key"), server.data_dir().join("aside"));
        fs::rename(&key, &aside).unwrap();
        refused(&["master.key"]);
        assert!(!key.exists(), "no other key is made over what is sealed");
        fs::rename(&aside, &key).unwrap();

        let url = sqlite_url(&server.data_dir().join("polydev.db"));
        let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                     VALUES (9999, 'from the future', TRUE, X'00', 0)";
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let store = Store::open(&url).await.unwrap();
            sqlx::query(newer).execute(store.write()).await.unwrap();
            store.close().await;
        });
        refused(&["is of version 9999", "start the newer polydev again"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_lacks_what_sandboxes_need_is_told() {
    let standin = standin().await;
    blocking(move || {
        let mut server = Server::start(&standin);
        server.stop();
        for args in [&["serve"][..], &["doctor"]] {
            // Its own view of the files: in it, what the runtimes are called by cannot be run.
            let hide = "for name in crun runc; do for dir in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin; do \
                        if [ -e $dir/$name ]; then mount --bind /dev/null $dir/$name; fi; done; done; exec timeout 30 \"$@\"";
            let polydev = server.command(args);
            let mut hidden = Command::new("unshare");
            hidden.args(["--mount", "sh", "-ec", hide, "sh"]).arg(polydev.get_program()).args(polydev.get_args());
            hidden.env_clear().envs(polydev.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let out = hidden.output().unwrap();
            assert_eq!(out.status.code(), Some(1), "{args:?}");
            let said = text(&out.stdout) + &text(&out.stderr);
            assert!(said.contains("crun") && said.contains("apt install crun"), "{args:?}: {said}");
        }

        // Somebody who is not root, and can neither read this build nor write our folders.
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let polydev = place.path().join("polydev");
        fs::copy(env!("CARGO_BIN_EXE_polydev"), &polydev).unwrap();
        for args in [&["serve", "--listen", "127.0.0.1:0"][..], &["doctor"]] {
            let out = Command::new("timeout")
                .args(["30", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"])
                .arg(&polydev)
                .args(args)
                .env_clear()
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .env("HOME", place.path())
                .output()
                .unwrap();
            assert_eq!(out.status.code(), Some(1), "{args:?}: {}", text(&out.stderr));
            let said = text(&out.stdout) + &text(&out.stderr);
            assert!(said.contains("root"), "{args:?}: {said}");
        }
    })
    .await;
}
