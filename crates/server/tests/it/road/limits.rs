//! What a sandbox may use, and what a run is told that needs more.

use super::{connected, events, sound};
use polydev_server::domain::{
    event::{Event, EventBody, LogLevel},
    failure::{Code, Failure},
};
use serde_json::json;

fn failure(events: &[Event]) -> &Failure {
    match &events[events.len() - 1].body {
        EventBody::Failed { error } => error,
        other => panic!("it ended by {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tool_that_needs_more_memory_is_told_so() {
    let (server, _standin) = connected("[sandbox.cli]\nmemory_mib = 96\n").await;
    let all = events(&server, json!({ "provider": "claude", "prompt": "What is 17*23?" })).await;
    sound(&all);
    let error = failure(&all);
    assert_eq!(error.code, Code::OutOfMemory, "{error:?}\n{}", server.log());
    assert!(error.message.contains("96 MiB"), "{error:?}");
    assert!(error.hint.as_deref().unwrap().contains("sandbox.cli.memory_mib"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tool_started_may_need_more_memory_and_the_run_goes_on() {
    let (server, _standin) = connected("").await;
    let prompt = "use tool: tail /dev/zero | wc -c; echo went on";
    let all = events(&server, json!({ "provider": "claude", "prompt": prompt })).await;
    sound(&all);
    assert!(matches!(all[all.len() - 1].body, EventBody::Completed { .. }), "{all:?}");
    let told = |event: &&Event| matches!(&event.body, EventBody::Log { level: LogLevel::Warn, text } if text.contains("want of memory"));
    assert_eq!(all.iter().filter(told).count(), 1, "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_needs_more_disk_is_told_so() {
    let (server, _standin) = connected("[sandbox.cli]\ndisk_mib = 16\n").await;
    let file = |path: &str| json!({ "path": path, "content_base64": "QUJD".repeat(3 * 1024 * 1024) });
    let body = json!({ "provider": "claude", "prompt": "What is 17*23?", "files": [file("one"), file("two")] });
    let all = events(&server, body).await;
    sound(&all);
    let error = failure(&all);
    assert_eq!(error.code, Code::DiskFull, "{error:?}\n{}", server.log());
    assert!(error.message.contains("16 MiB"), "{error:?}");
    assert!(error.hint.as_deref().unwrap().contains("sandbox.cli.disk_mib"), "{error:?}");
}
