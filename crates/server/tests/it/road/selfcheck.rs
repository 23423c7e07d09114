//! The server looks after itself: what it finds on its host, and whom it tells.

use super::{blocking, connected, standin};
use crate::support::{
    host,
    server::{NO_POOL, Server, text},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

/// What `polydev doctor` finds by this check.
fn found(server: &Server, check: &str) -> Vec<Value> {
    let out = server.polydev(&["doctor", "--output", "json"]);
    let report: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", text(&out.stderr)));
    let checks = report["checks"].as_array().unwrap();
    assert!(checks.iter().any(|it| it["name"] == check), "{report}");
    checks.iter().filter(|it| it["name"] == check && it["ok"] == false).cloned().collect()
}

/// The same by the words of its finding.
fn says(server: &Server, check: &str, words: &str) -> Option<Value> {
    found(server, check).into_iter().find(|it| it["finding"].as_str().unwrap().contains(words))
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_in_the_open_is_told_by_doctor_status_log_and_record() {
    let standin = standin().await;
    let (server, words) = blocking(move || {
        let open = [("POLYDEV__SERVER__LISTEN", "0.0.0.0:0"), ("POLYDEV__SERVER__INSECURE", "true")];
        let mut server = Server::empty(&standin, NO_POOL, &open);
        let port = server.url.rsplit_once(':').unwrap().1.to_owned();
        server.url = format!("http://127.0.0.1:{port}");
        server.key = server.person("one@example.com");
        server.key = server.whole_key("one@example.com");
        let words = format!("`0.0.0.0:{port}` is this server, and can be reached from other machines");

        let told = says(&server, "listeners", &words).expect("doctor tells");
        assert_eq!((&told["ok"], &told["severity"]), (&json!(false), &json!("error")));
        assert!(told["hint"].as_str().unwrap().contains("a proxy that speaks TLS"), "{told}");

        // The server looks by itself when it starts.
        let status = || text(&server.polydev(&["status"]).stderr).contains(&format!("error: {words}"));
        host::until(Duration::from_secs(30), status);
        (server, words)
    })
    .await;
    let get = |path: &'static str| server.request(Method::GET, path).send();
    let status: Value = get("/status").await.unwrap().json().await.unwrap();
    let mine = |it: &&Value| it["finding"].as_str().is_some_and(|text| text.contains(&words));
    assert!(status["checks"].as_array().unwrap().iter().find(mine).is_some(), "{status}");
    let entry = loop {
        let audit: Value = get("/audit?limit=200").await.unwrap().json().await.unwrap();
        let entries = audit["items"].as_array().unwrap().clone();
        if let Some(entry) = entries.into_iter().find(|it| it["detail"].as_str().is_some_and(|it| it.contains(&words)))
            && !entry["outcome"].is_null()
        {
            break entry;
        }
    };
    assert_eq!(
        [&entry["action"], &entry["target"], &entry["actor"]["kind"], &entry["outcome"]],
        ["finding.appeared", "listeners", "server", "ok"]
    );
    let log = server.log();
    let logged: Vec<&str> = log.lines().filter(|line| line.contains(&words)).collect();
    assert_eq!(logged.len(), 1, "{log}");
    assert!(logged[0].contains(r#""level":"WARN""#) && logged[0].contains(r#""severity":"error""#), "{logged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_server_finds_nothing_until_somebody_opens_what_is_secret() {
    let (server, _standin) = connected(NO_POOL).await;
    blocking(move || {
        // The folder that the tests keep it in is closed, and would hide what is in it.
        let (data, top) = (server.data_dir(), server.data_dir().join(".."));
        set_mode(&top, 0o755);
        set_mode(&data, 0o755);
        assert_eq!((found(&server, "listeners"), found(&server, "secrets")), (vec![], vec![]), "{}", server.log());

        // The database is not tried: whoever opens it closes it to others, doctor too.
        fs::create_dir_all(data.join("sandboxes")).unwrap();
        fs::write(data.join("setup-link"), "").unwrap();
        set_mode(&data.join("setup-link"), 0o600);
        for (name, mode, words) in [
            ("master.key", 0o644, "may read"),
            ("setup-link", 0o604, "may read"),
            ("sandboxes", 0o707, "may change or replace"),
        ] {
            let path = data.join(name);
            let mode_before = fs::metadata(&path).unwrap().permissions().mode();
            set_mode(&path, mode);
            let told = says(&server, "secrets", &format!("others on this host {words} `{}`", path.display()));
            assert_eq!(told.unwrap_or_else(|| panic!("{name}"))["severity"], "error", "{name}");
            set_mode(&path, mode_before);
        }
        // One's own configuration has a password in it, of the proxy.
        assert_eq!(found(&server, "secrets"), [] as [Value; 0]);
        let config = top.join("polydev.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&config, text.replace("http://127", "http://somebody:secret@127")).unwrap();
        set_mode(&config, 0o644);
        assert!(says(&server, "secrets", "polydev.toml`, a file with a password").is_some(), "{text}");
        set_mode(&config, 0o640);
        assert_eq!(found(&server, "secrets"), [] as [Value; 0]);

        set_mode(&data, 0o777);
        assert!(says(&server, "secrets", "the data directory").is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_no_server_looks_after_is_told_until_its_server_is_back() {
    let (mut server, _standin) = connected(NO_POOL).await;
    // It needs nothing of the network meanwhile, and so outlives its server.
    let body = json!({ "provider": "claude", "prompt": "use tool: echo begun; sleep 100" });
    let run: Value = server.request(Method::POST, "/runs").json(&body).send().await.unwrap().json().await.unwrap();
    let other_standin = standin().await;
    blocking(move || {
        let running = |server: &Server| text(&server.polydev(&["runs"]).stdout).contains("running");
        let name = |pid: &String| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let sleeps = |id: &String| host::processes_of(id).iter().any(|pid| name(pid).trim() == "sleep");
        host::until(Duration::from_secs(30), || server.sandboxes().iter().any(sleeps));
        let [id] = server.sandboxes().try_into().expect("one sandbox");
        let other = Server::empty(&other_standin, NO_POOL, &[]);
        let told = || says(&other, "sandboxes", &format!("sandbox `{id}`"));
        assert_eq!(told(), None, "its server looks after it");

        server.kill();
        let finding = told().expect("nobody looks after it");
        let words = format!("made in `{}/sandboxes/oci`", server.data_dir().canonicalize().unwrap().display());
        assert!(finding["finding"].as_str().unwrap().contains(&words), "{finding} does not say {words}");
        assert_eq!(finding["severity"], "warning");

        server.run();
        host::until(Duration::from_secs(30), || running(&server));
        assert_eq!(told(), None, "its server has taken it over");
        let cancelled = server.polydev(&["cancel", run["id"].as_str().unwrap()]);
        assert!(cancelled.status.success(), "{}", text(&cancelled.stderr));
    })
    .await;
}
