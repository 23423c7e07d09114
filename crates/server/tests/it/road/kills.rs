//! A server that is killed anywhere: nothing is left, nothing is lost, nothing is false.

use super::{blocking, over, standin};
use crate::support::{
    chance::{chance, shuffle},
    outside::{Look, Outside},
    server::Server,
};
use polydev_server::domain::event::EventBody;
use proptest::{prelude::RngExt, test_runner::TestRng};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::{task::JoinHandle, time::interval};

/// How long it may take until a point is reached, and until all is at rest again.
const WITHIN: Duration = Duration::from_secs(60);

/// A moment in a run's life, as it is seen from outside.
type Point = (&'static str, fn(&Look) -> bool);

/// Where a server is killed, in the order in which they come.
const POINTS: [Point; 24] = [
    // Create.
    ("a run is accepted", |look| !look.runs.is_empty()),
    ("a second one is", |look| look.runs.len() > 1),
    ("a run waits no more", |look| look.runs.iter().any(|status| status == "running")),
    ("a sandbox has a row", |look| !look.sandboxes.is_empty()),
    ("a sandbox has a folder", |look| !look.folders.is_empty()),
    ("a socket is made", |look| look.files.contains("agent.sock")),
    ("a layer is made", |look| look.files.contains("layer")),
    ("a bundle is written", |look| look.files.contains("config.json")),
    // Start.
    ("the runtime notes a container", |look| !look.noted.is_empty()),
    ("a control group is made", |look| !look.groups.is_empty()),
    ("the runtime names a first process", |look| look.files.contains("pid")),
    ("a first process is written down", |look| look.files.contains("process.json")),
    ("a sandbox's row says `ready`", |look| look.sandboxes.iter().any(|state| state == "ready")),
    // Run.
    ("a tool is started", |look| look.events.contains("run.started")),
    ("a tool speaks", |look| look.events.contains("text.delta")),
    ("a tool uses tools", |look| look.events.contains("tool.call")),
    ("a run is to be cancelled", |look| look.cancelled),
    ("an end is stored", |look| look.runs.iter().any(|status| status == "completed")),
    // Destroy.
    ("a control group is gone", |look| look.gone.2),
    ("what the runtime noted is gone", |look| look.gone.1),
    ("a folder is gone", |look| look.gone.0),
    ("a sandbox's row says `gone`", |look| look.sandboxes.iter().any(|state| state == "gone")),
    ("a run is cancelled", |look| look.runs.iter().any(|status| status == "cancelled")),
    ("all is over", |look| {
        look.runs.len() == RUNS && look.runs.iter().all(|status| status != "queued" && status != "running")
    }),
];

/// How many runs there are in each round; three of them at a time.
const RUNS: usize = 5;

/// Asks for a run; its id, if the server lived to answer.
fn ask(server: &Server, provider: &str, prompt: String) -> JoinHandle<Option<String>> {
    let request = server.request(Method::POST, "/runs").json(&json!({ "provider": provider, "prompt": prompt }));
    tokio::spawn(async move {
        let response = request.send().await.ok()?;
        assert_eq!(response.status(), 202);
        Some(response.json::<Value>().await.ok()?["id"].as_str()?.to_owned())
    })
}

/// Asks for a run that never ends by itself, and to cancel it when it has said something.
fn ask_and_cancel(server: &Server) -> JoinHandle<Option<String>> {
    let run = ask(server, "claude", "[fault:stall] count to 4".to_owned());
    let (url, key) = (server.url.clone(), server.key.clone());
    tokio::spawn(async move {
        let id = run.await.unwrap()?;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let run = format!("{url}/api/v1/runs/{id}");
        // To its first piece, or to the server's end.
        if let Ok(mut events) = client.get(format!("{run}/events")).bearer_auth(&key).send().await {
            let mut said = String::new();
            while let Ok(Some(bytes)) = events.chunk().await {
                said.push_str(&String::from_utf8_lossy(&bytes));
                if said.contains("text.delta") {
                    break;
                }
            }
        }
        // A dead server does not hear it; another one is asked once more.
        let _ = client.post(format!("{run}/cancel")).bearer_auth(&key).send().await;
        Some(id)
    })
}

/// Kills the server at this point and some milliseconds, perhaps again while it comes back, and looks around.
async fn round(mut server: Server, outside: &mut Outside, point: Point, chance: &mut TestRng) -> Server {
    let after = Duration::from_millis(chance.random_range(0..30));
    let again = chance.random_bool(0.4).then(|| Duration::from_millis(chance.random_range(0..100)));
    let provider = ["claude", "codex", "gemini"][chance.random_range(0..3)];
    eprintln!(
        "killed {after:?} after {}{}, {provider}",
        point.0,
        again.map_or(String::new(), |at| format!(", and {at:?} after its start"))
    );
    outside.forget().await;
    let asked = [
        ask(&server, "claude", "use tool: sleep 1; echo woken".to_owned()),
        ask(&server, provider, "[fault:slow 20] count to 40".to_owned()),
        ask(&server, "claude", "echo one".to_owned()),
        ask(&server, provider, "What is 6*7?".to_owned()),
    ];
    let stalls = ask_and_cancel(&server);
    let deadline = Instant::now() + WITHIN;
    let mut often = interval(Duration::from_millis(1));
    while !point.1(&outside.look().await) {
        often.tick().await;
        assert!(Instant::now() < deadline, "`{}` does not come:\n{}", point.0, server.log());
    }
    tokio::time::sleep(after).await;
    server = blocking(move || {
        server.kill();
        server.run();
        server
    })
    .await;
    if let Some(after) = again {
        tokio::time::sleep(after).await;
        server = blocking(move || {
            server.kill();
            server.run();
            server
        })
        .await;
    }

    let mut runs = Vec::new();
    for run in asked {
        runs.extend(run.await.unwrap());
    }
    let stalls = stalls.await.unwrap();
    if let Some(id) = &stalls {
        let cancelled = server.request(Method::POST, &format!("/runs/{id}/cancel")).send().await.unwrap().status();
        assert!(cancelled == 202 || cancelled == 409, "{cancelled}");
    }
    let (deadline, mut often) = (Instant::now() + WITHIN, interval(Duration::from_millis(10)));
    while !outside.at_rest().await {
        often.tick().await;
        assert!(Instant::now() < deadline, "it does not come to rest: {:?}\n{}", outside.look().await, server.log());
    }
    // What was accepted is there, and over; what it was meant to say is said, or the crash is to blame.
    for id in &runs {
        let (run, events) = over(&server, id).await;
        let fine = match run["status"].as_str() {
            Some("completed") => true,
            // What had not begun can begin anew: only what a tool may have done already cannot.
            Some("failed") => {
                let begun = events.iter().any(|event| matches!(event.body, EventBody::Started { .. }));
                begun && run["error"]["code"] == "interrupted"
            }
            _ => false,
        };
        assert!(fine, "{run}\n{events:?}");
    }
    if let Some(id) = stalls {
        let (run, _) = over(&server, &id).await;
        assert!(run["status"] == "cancelled" || run["error"]["code"] == "interrupted", "{run}");
    }
    assert_eq!(outside.untrue(Some(server.pid())).await, Vec::<String>::new(), "{}", server.log());
    server
}

async fn kill_at(rounds: usize) {
    let mut chance = chance();
    let standin = standin().await;
    let (mut server, _standin) = blocking(move || {
        let server = Server::start_with(&standin, "[runs]\nmax_concurrent = 3\n");
        for provider in ["claude", "codex", "gemini"] {
            server.connect(provider);
        }
        (server, standin)
    })
    .await;
    let mut outside = Outside::of(&server).await;
    let mut points = POINTS;
    shuffle(&mut points, &mut chance);
    for point in points.into_iter().cycle().take(rounds) {
        server = round(server, &mut outside, point, &mut chance).await;
    }
    let mut server = blocking(move || {
        let out = server.polydev(&["run", "claude", "What is 17*23?"]);
        assert_eq!(out.stdout, b"391\n", "it works on:\n{}", server.log());
        assert_eq!(server.stop(), Some(0));
        server
    })
    .await;
    assert_eq!(outside.untrue(None).await, Vec::<String>::new());
    assert_eq!(server.sandboxes(), Vec::<String>::new());
    server = blocking(move || server).await;
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_anywhere_leaves_nothing_and_loses_nothing() {
    kill_at(5).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make soak`"]
async fn a_server_killed_at_every_point_leaves_nothing_and_loses_nothing() {
    kill_at(POINTS.len()).await;
}
