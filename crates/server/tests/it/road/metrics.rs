//! What is counted of runs, requests and the rest.

use super::{blocking, connected, events};
use reqwest::Method;
use serde_json::json;
use std::collections::BTreeMap;

/// Every sample by its name and labels.
fn samples(text: &str) -> BTreeMap<&str, f64> {
    assert!(text.ends_with("# EOF\n"), "{text}");
    let sample = |line: &'_ str| line.rsplit_once(' ').map(|(name, value)| (name.len(), value.parse::<f64>().unwrap()));
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (end, value) = sample(line).unwrap_or_else(|| panic!("{line}"));
            (&line[..end], value)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted_for_whoever_administers() {
    let (server, _standin) = connected("").await;
    let all = events(&server, json!({ "provider": "claude", "prompt": "What is 17*23?" })).await;
    let failing = json!({ "provider": "claude", "prompt": "[fault:401] hi" });
    let failed = server.request(Method::POST, "/runs?wait=true").json(&failing).send().await.unwrap();
    let failed: serde_json::Value = failed.json().await.unwrap();
    assert_eq!(failed["status"], "failed", "{failed}");
    assert_eq!(server.request(Method::GET, "/runs/run_none").send().await.unwrap().status(), 404);
    let waiting = server.request(Method::GET, "/events").send().await.unwrap();
    assert_eq!(waiting.status(), 200);

    let url = format!("{}/metrics", server.url);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let get = |key: String| client.get(&url).bearer_auth(key).send();
    assert_eq!(client.get(&url).send().await.unwrap().status(), 401);
    let (server, key) = blocking(move || {
        let key = server.whole_key("one@example.com");
        (server, key)
    })
    .await;
    assert_eq!(get(server.key.clone()).await.unwrap().status(), 403, "its key was not made to administer");
    let answer = get(key).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = answer.text().await.unwrap();
    let told = samples(&text);
    let is = |name: &str| *told.get(name).unwrap_or_else(|| panic!("{name} is not in\n{text}"));

    let code = failed["error"]["code"].as_str().unwrap();
    assert_eq!(is(r#"polydev_runs_ended_total{provider="claude",status="completed"}"#), 1.0);
    assert_eq!(is(r#"polydev_runs_ended_total{provider="claude",status="failed"}"#), 1.0);
    assert_eq!(is(&format!(r#"polydev_run_failures_total{{provider="claude",code="{code}"}}"#)), 1.0);
    assert_eq!(is(r#"polydev_run_duration_seconds_count{provider="claude",status="completed"}"#), 1.0);
    let seconds = is(r#"polydev_run_duration_seconds_sum{provider="claude",status="completed"}"#);
    assert!(seconds > 0.0 && seconds < 600.0, "{seconds}");
    assert!(is("polydev_run_events_total") >= (all.len() + 2) as f64);
    assert_eq!((is(r#"polydev_runs{status="queued"}"#), is(r#"polydev_runs{status="running"}"#)), (0.0, 0.0));
    // Two runs have looked for a warm sandbox, whatever they found.
    let claims = ["hit", "miss"]
        .map(|result| told.get(&*format!(r#"polydev_pool_claims_total{{kind="cli",result="{result}"}}"#)));
    assert_eq!(claims.into_iter().flatten().sum::<f64>(), 2.0, "{text}");
    assert_eq!(is(r#"polydev_http_requests_total{method="GET",route="/api/v1/runs/{id}",status="4xx"}"#), 1.0);
    assert_eq!(is(r#"polydev_http_requests_total{method="POST",route="/api/v1/runs",status="2xx"}"#), 2.0);
    assert_eq!(is(r#"polydev_http_request_duration_seconds_count{method="GET",route="/api/v1/events"}"#), 1.0);
    assert_eq!(is(r#"polydev_streams{of="changes"}"#), 1.0);
    let connections = ["active", "needs_reconnect"];
    let connections =
        connections.map(|it| told.get(&*format!(r#"polydev_connections{{provider="claude",status="{it}"}}"#)));
    assert_eq!(connections.into_iter().flatten().sum::<f64>(), 1.0, "{text}");
    assert!(is(r#"polydev_egress_connections_total{verdict="allowed"}"#) > 0.0);
    assert!(is(r#"polydev_egress_bytes_total{direction="down"}"#) > 100.0);
    assert_eq!(is(r#"polydev_findings{check="listeners",severity="error"}"#), 0.0);
    assert_eq!(is(&format!(r#"polydev_build_info{{version="{}"}}"#, env!("CARGO_PKG_VERSION"))), 1.0);
    assert!(is("process_resident_memory_bytes") > 1e6 && is("process_cpu_seconds_total") > 0.0);
    assert!(is("process_open_fds") > 3.0 && is("process_threads") > 1.0 && is("process_start_time_seconds") > 1e9);

    // Nothing that somebody asked for, or is called, is in it.
    let run = failed["id"].as_str().unwrap();
    for secret in ["one@example.com", run, "run_none", "sbx_", "usr_", "anthropic", "127.0.0.1"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    drop(waiting);
}
