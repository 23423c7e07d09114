//! A page of another origin, in a real browser of somebody who is signed in, does nothing and learns nothing.
//!
//! `foreign.mjs` drives Chromium. Each attack is tried at a server without protection too, where it must work, and what
//! a page of our own does is tried from one.

use super::{Browser, blocking, json_of, key, with_admin};
use crate::support::server::good_key;
use serde_json::{Value, json};
use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

/// What the browser found, of this on its standard input.
fn tried(victim: &Value) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let web = root.join("web");
    assert!(web.join("node_modules/playwright-core").exists(), "playwright-core is missing: run `make build` first");
    // Where Debian's node is too old, scripts/setup has put another one there.
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", root.join("target/tools/node/bin").display());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/people/foreign.mjs");
    let mut node = Command::new("node")
        .arg(script)
        .arg(&web)
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    node.stdin.take().unwrap().write_all(victim.to_string().as_bytes()).unwrap();
    let out = node.wait_with_output().unwrap();
    assert!(out.status.success(), "{}", out.status);
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Those of these attacks that worked.
fn worked(attacks: &Value) -> Vec<&str> {
    let attacks = attacks.as_object().unwrap().iter();
    attacks
        .filter(|(_, worked)| worked.as_bool().unwrap_or_else(|| panic!("{worked}")))
        .map(|(name, _)| name.as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_does_nothing_and_learns_nothing() {
    let (server, _standin, browser) = with_admin().await;
    let (_, key_of_all) = key(&browser, &["runs:read", "runs:write", "connections"]).await;
    let (own, _) = key(&browser, &["runs:read"]).await;
    let (spare, _) = key(&browser, &["runs:read"]).await;
    let put =
        browser.request(reqwest::Method::PUT, "/connections/claude").json(&json!({ "api_key": good_key("claude") }));
    json_of(put.send().await.unwrap(), 200).await;
    let run = json_of(browser.post("/runs", json!({ "provider": "claude", "prompt": "hi" })).await, 202).await;
    let victim = json!({
        "base": server.url,
        "key": key_of_all,
        "cookie": browser.cookie,
        "run": run["id"],
        "spares": [own, spare],
    });
    let (report, server) = blocking(move || (tried(&victim), server)).await;
    println!("{report:#}");

    let all = report["own"].as_object().unwrap().len();
    assert_eq!(worked(&report["own"]).len(), all, "the control, from a page of our own: {}", report["own"]);
    assert_eq!(report["cookie_of_scripts"], "", "no script sees the session");
    for from in ["cross_site", "same_site", "rebound"] {
        let at = |server: &str| &report["attacks"][format!("{from}/{server}")];
        let all = at("naive").as_object().unwrap().len();
        assert_eq!(worked(at("naive")).len(), all, "the control, {from}, without protection: {}", at("naive"));
        assert_eq!(worked(at("polydev")), [""; 0], "{from}");
        assert_eq!(at("polydev").as_object().unwrap().len(), all);
    }
    // Whose session it was still has it, and has made nothing but what is known.
    let me = Browser { url: server.url.clone(), ..browser };
    assert_eq!(me.get("/me").await["email"], "ann@example.com");
    let keys = me.get("/keys").await;
    let names: Vec<_> = keys["items"].as_array().unwrap().iter().filter_map(|key| key["name"].as_str()).collect();
    assert_eq!(names, ["own post_as_json"]);
}
