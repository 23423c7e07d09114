//! The ways from a real run to the server itself; all others are tried in `crates/sandbox/tests/ways`.

use super::{blocking, events, standin};
use crate::support::server::{NO_POOL, Server};
use polydev_sandbox::cmd;
use polydev_server::domain::event::EventBody;
use polydev_standin::Standin;
use serde_json::json;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// Asks the server at URL how it is, itself and by way of the gateway, and reads its database.
const TRY: &str = r#"
import { readFileSync } from "node:fs";
import { request } from "node:http";
const [url, database] = process.argv.slice(2);
const says = [];
try { says.push("api " + (await fetch(url + "/healthz")).status); } catch (e) { says.push("api " + e.cause.code); }
const proxy = new URL(process.env.HTTPS_PROXY);
const asked = request({ host: proxy.hostname, port: proxy.port, method: "CONNECT", path: new URL(url).host });
says.push("gateway " + await new Promise((done) => {
    asked.on("connect", (answer) => done(answer.headers["x-polydev-denied"] ?? answer.statusCode));
    asked.on("error", (e) => done(e.code)).end();
}));
try { says.push("database " + readFileSync(database).length); } catch (e) { says.push("database " + e.code); }
console.log(says.join(", "));
process.exit(0);
"#;

/// What a run finds of its server, with this in the server's configuration.
async fn found(standin: Standin, config: String) -> String {
    let (server, _standin) = blocking(move || {
        let server = Server::start_with(&standin, &config);
        server.connect("claude");
        (server, standin)
    })
    .await;
    let database = server.data_dir().join("polydev.db");
    assert!(database.exists(), "{}", database.display());
    let prompt = format!("use tool: node try.mjs {} {}", server.url, database.display());
    let script = data_encoding::BASE64.encode(TRY.as_bytes());
    let files = json!([{ "path": "try.mjs", "content_base64": script }]);
    let all = events(&server, json!({ "provider": "claude", "prompt": prompt, "files": files })).await;
    let output = all.iter().find_map(|event| match &event.body {
        EventBody::ToolResult { output, .. } => Some(output.trim().to_owned()),
        _ => None,
    });
    blocking(move || drop(server)).await;
    output.unwrap_or_else(|| panic!("no tool has answered: {all:?}"))
}

/// A runtime that puts containers into the host's network.
fn without_a_network_of_its_own(dir: &Path, runtime: &Path) -> String {
    let script = dir.join("runtime.sh");
    let text = format!(
        r#"#!/bin/sh
previous=
for arg; do
    if [ "$previous" = --bundle ]; then
        sed -i -e 's/{{"type":"network"}},//' -e 's/"sysctl":{{[^}}]*}},//' \
            -e 's#"args":\["/.polydev/agent"\]#"args":["/.polydev/agent","--proxy","127.0.0.1:0"]#' "$arg/config.json"
    fi
    previous=$arg
done
exec '{}' "$@"
"#,
        runtime.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    format!("{NO_POOL}[sandbox.oci]\nruntime = {script:?}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_does_not_reach_its_server() {
    let dir = tempfile::tempdir().unwrap();
    if let Some(crun) = cmd::find("crun") {
        let open = without_a_network_of_its_own(dir.path(), &crun);
        let found = found(standin().await, open).await;
        assert_eq!(found, "api 200, gateway loopback_address, database ENOENT");
    }
    let found = found(standin().await, NO_POOL.to_owned()).await;
    assert_eq!(found, "api ECONNREFUSED, gateway loopback_address, database ENOENT");
}
