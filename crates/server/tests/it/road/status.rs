//! What a server tells of itself, and of its disk.

use super::{blocking, connected};
use crate::support::{
    host,
    server::{Server, text},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_is_told_of_all_and_a_member_of_their_own() {
    let (server, _standin) = connected("[runs]\nmax_concurrent = 1\n[pool]\ncli = 0\n").await;
    for _ in 0..3 {
        let body = json!({ "provider": "claude", "prompt": "[fault:stall] count to 10" });
        assert_eq!(server.request(Method::POST, "/runs").json(&body).send().await.unwrap().status(), 202);
    }
    blocking(move || {
        let status = |server: &Server| -> Value {
            let out = server.polydev(&["status", "--output", "json"]);
            assert!(out.status.success(), "{}", text(&out.stderr));
            serde_json::from_slice(&out.stdout).unwrap()
        };
        host::until(Duration::from_secs(20), || status(&server)["server"]["sandboxes"] == 1);
        // An administrator's key that was not made to administer tells what a member's does.
        let plain = status(&server)["server"].clone();
        assert_eq!(plain["runs"], json!({ "queued": 2, "running": 1 }));
        assert_eq!([&plain["everybody"], &plain["disk"], &plain["vault"]], [&Value::Null; 3], "{plain}");
        let mut server = server;
        server.key = server.whole_key("one@example.com");
        let all = status(&server);
        let seen = &all["server"];
        assert_eq!((&seen["version"], &seen["driver"]), (&json!(env!("CARGO_PKG_VERSION")), &json!("oci")));
        assert_eq!(seen["runs"], json!({ "queued": 2, "running": 1 }));
        assert_eq!(seen["everybody"], json!({ "runs": { "queued": 2, "running": 1 }, "sandboxes": 1 }));
        assert_eq!((&all["me"]["role"], &all["connections"][0]["provider"]), (&json!("admin"), &json!("claude")));
        let size = |name: &str| seen["disk"][name].as_u64().unwrap_or_else(|| panic!("{name}: {all}"));
        assert!(size("images_bytes") > 100_000_000 && size("database_bytes") > 10_000, "{all}");
        // The images lie elsewhere.
        assert!(size("data_bytes") > size("database_bytes") && size("data_bytes") < size("images_bytes"), "{all}");
        assert!(size("free_bytes") > 0 && size("free_bytes") < size("total_bytes"), "{all}");

        let said = text(&server.polydev(&["status"]).stdout);
        for words in ["ready", "one@example.com (admin)", "claude: active", "1 running, 2 queued", "GiB free; data "] {
            assert!(said.contains(words), "{words}: {said}");
        }

        server.key = server.person("two@example.com");
        let own = status(&server)["server"].clone();
        assert_eq!((&own["runs"], &own["sandboxes"]), (&json!({ "queued": 0, "running": 0 }), &json!(0)));
        assert_eq!((&own["everybody"], &own["disk"]), (&Value::Null, &Value::Null), "{own}");
        assert!(!text(&server.polydev(&["status"]).stdout).contains("disk"));

        // A key that may not see connections is told the rest.
        let key = server.polydev(&["key", "create", "--user", "two@example.com", "--scope", "runs:read"]);
        server.key = text(&key.stdout).trim().to_owned();
        assert_eq!(status(&server)["connections"], Value::Null);
    })
    .await;
}

/// A server whose data directory is a small disk of its own, in a mount namespace that ends with it.
struct Cramped {
    child: Child,
    url: String,
    warned: bool,
}

impl Cramped {
    fn start(dir: &Path, config: &Path) -> Self {
        let script = "mount -t tmpfs -o size=256m tmpfs \"$0\" && exec \"$@\"";
        let mut child = Command::new("unshare")
            .args(["--mount", "sh", "-c", script])
            .arg(dir)
            .args([env!("CARGO_BIN_EXE_polydev"), "serve"])
            .env("POLYDEV_CONFIG", config)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut url, mut warned) = (String::new(), false);
        for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line}"));
            warned |= line["message"].as_str().unwrap().contains("the disk is nearly full");
            url = line["url"].as_str().map_or(url, |url| url.trim_end_matches('/').to_owned());
            if warned && !url.is_empty() {
                break;
            }
        }
        Self { child, url, warned }
    }
}

impl Drop for Cramped {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_nearly_full_is_warned_of() {
    blocking(move || {
        let dir = tempfile::tempdir().unwrap();
        let (data, config) = (dir.path().join("data"), dir.path().join("polydev.toml"));
        fs::create_dir(&data).unwrap();
        let database = format!("sqlite:{}", dir.path().join("polydev.db").display());
        let lines = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\ndata_dir = {data:?}\ndrain_s = 0\n[log]\nformat = \"json\"\n\
             [store]\nurl = {database:?}\n[sandbox]\ndriver = \"sim\"\n[pool]\ncli = 0\n"
        );
        fs::write(&config, lines).unwrap();
        let server = Cramped::start(&data, &config);
        assert!(server.warned, "the log warns");
        let polydev = |args: &[&str], key: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_polydev"));
            command.args(args).env("POLYDEV_CONFIG", &config).env("POLYDEV_URL", &server.url);
            command.env("POLYDEV_API_KEY", key).output().unwrap()
        };
        assert!(polydev(&["user", "create", "one@example.com"], "").status.success());
        let key = text(&polydev(&["key", "create", "--scope", "admin"], "").stdout).trim().to_owned();
        let out = polydev(&["status"], &key);
        assert!(text(&out.stdout).contains("of 256.0 MiB free"), "{}", text(&out.stdout));
        assert!(text(&out.stderr).contains("warning: the disk is nearly full"), "{}", text(&out.stderr));
        let out = polydev(&["status", "--output", "json"], &key);
        let status: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(status["server"]["disk"]["nearly_full"], true);
    })
    .await;
}
