//! Many runs, eight at a time, with all that can go wrong at a provider: each ends as it must, and nothing stays.

use super::{blocking, over, standin};
use crate::support::{
    chance::{chance, shuffle},
    host,
    outside::Outside,
    server::{Server, images},
};
use futures_util::{StreamExt, stream};
use polydev_server::domain::failure::Code;
use proptest::{prelude::RngExt, test_runner::TestRng};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::time::interval;

/// How many runs there are at a time.
const AT_A_TIME: usize = 8;
/// After how much silence a run has stalled, seconds. Eight tools that start at once on two busy cores say nothing
/// for 20 s.
const STALL_S: u32 = 60;
/// How much more memory the server may have at the end than when it was warm.
const GROWTH_KIB: u64 = 10 * 1024;
/// How long it may take until all is at rest.
const REST: Duration = Duration::from_secs(60);

/// How a run has to end.
#[derive(Debug, Clone, Copy)]
enum Right {
    /// With this answer.
    Says(&'static str),
    /// With this code.
    Fails(Code),
    /// Cancelled, as it is asked to be, some time before it would end.
    Cancelled,
}

/// A kind of run, and what is right for it.
#[derive(Debug, Clone, Copy)]
struct Case {
    provider: &'static str,
    prompt: &'static str,
    timeout_s: Option<i64>,
    right: Right,
}

use Right::{Cancelled, Fails, Says};

const COUNTED: &str = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20";
const PLAIN: (&str, Right) = ("What is 17*23?", Says("391"));
const LONG: (&str, Right) = ("count to 20", Says(COUNTED));
const SLOW: (&str, Right) = ("[fault:slow 50] count to 20", Says(COUNTED));
const TOOL: (&str, Right) = ("use tool: echo hammer", Says("done: hammer"));
const CUT: (&str, Right) = ("[fault:cut] count to 20", Fails(Code::ProviderUnavailable));
const STALL: (&str, Right) = ("[fault:stall] count to 20", Fails(Code::Stalled));
const LIMITED: (&str, Right) = ("[fault:429] count to 20", Fails(Code::RateLimited));
const BROKEN: (&str, Right) = ("[fault:500] count to 20", Fails(Code::ProviderUnavailable));
const BUSY: (&str, Right) = ("[fault:529] count to 20", Fails(Code::ProviderUnavailable));
/// With `timeout_s` of 3.
const LATE: (&str, Right) = ("[fault:stall] count to 20 ", Fails(Code::Timeout));
/// Is told to stop within the 3 s after it was accepted, and would take more than 10.
const STOPPED: (&str, Right) = ("[fault:slow 500] count to 20", Cancelled);

/// What there is of each kind: among 300, and how many of these may be among a few that are to be quick.
const MIX: [(&str, usize, usize, (&str, Right)); 33] = [
    ("claude", 30, 10, PLAIN),
    ("claude", 15, 10, LONG),
    ("claude", 17, 10, SLOW),
    ("claude", 12, 10, TOOL),
    ("claude", 8, 8, CUT),
    ("claude", 4, 0, STALL),
    ("claude", 4, 0, LIMITED),
    ("claude", 8, 8, BROKEN),
    ("claude", 6, 6, BUSY),
    ("claude", 6, 2, LATE),
    ("claude", 15, 8, STOPPED),
    ("codex", 25, 10, PLAIN),
    ("codex", 10, 10, LONG),
    ("codex", 17, 10, SLOW),
    ("codex", 8, 8, TOOL),
    ("codex", 6, 6, CUT),
    ("codex", 3, 0, STALL),
    // These two take half a minute each: the tool's own patience cannot be set.
    ("codex", 2, 0, LIMITED),
    ("codex", 2, 0, BROKEN),
    ("codex", 3, 1, BUSY),
    ("codex", 6, 2, LATE),
    ("codex", 12, 8, STOPPED),
    ("gemini", 20, 8, PLAIN),
    ("gemini", 10, 8, LONG),
    ("gemini", 11, 8, SLOW),
    ("gemini", 6, 6, TOOL),
    ("gemini", 6, 6, CUT),
    ("gemini", 3, 0, STALL),
    ("gemini", 4, 1, LIMITED),
    ("gemini", 4, 1, BROKEN),
    ("gemini", 4, 1, BUSY),
    ("gemini", 5, 2, LATE),
    ("gemini", 8, 8, STOPPED),
];

fn cases(count: impl Fn(usize, usize) -> usize) -> Vec<Case> {
    let case = |&(provider, all, quick, (prompt, right)): &(&'static str, usize, usize, (&'static str, Right))| {
        let timeout_s = matches!(right, Fails(Code::Timeout)).then_some(3);
        vec![Case { provider, prompt, timeout_s, right }; count(all, quick)]
    };
    MIX.iter().flat_map(case).collect()
}

/// Runs it, and tells what is wrong with its end.
async fn run(server: &Server, case: Case, moment: Duration) -> Result<(), String> {
    let body = json!({ "provider": case.provider, "prompt": case.prompt, "timeout_s": case.timeout_s });
    let response = server.request(Method::POST, "/runs").json(&body).send().await.unwrap();
    assert_eq!(response.status(), 202);
    let accepted: Value = response.json().await.unwrap();
    let id = accepted["id"].as_str().unwrap();
    if let Cancelled = case.right {
        tokio::time::sleep(moment).await;
        let status = server.request(Method::POST, &format!("/runs/{id}/cancel")).send().await.unwrap().status();
        assert_eq!(status, 202, "of {case:?}");
    }
    let (run, _) = over(server, id).await;
    let fine = match case.right {
        Says(text) => run["status"] == "completed" && run["text"].as_str().map(str::trim) == Some(text),
        Fails(code) => run["status"] == "failed" && run["error"]["code"] == json!(code),
        Cancelled => run["status"] == "cancelled",
    };
    if fine { Ok(()) } else { Err(format!("{case:?} ended so: {run}")) }
}

/// Runs them all; what is wrong with their ends.
async fn run_all(server: &Server, cases: &[Case], chance: &mut TestRng) -> Vec<String> {
    let moments = cases.iter().map(|_| Duration::from_millis(chance.random_range(0..3000))).collect::<Vec<_>>();
    let runs = stream::iter(cases.iter().zip(moments)).map(|(case, moment)| run(server, *case, moment));
    let ends: Vec<_> = runs.buffer_unordered(AT_A_TIME).collect().await;
    ends.into_iter().filter_map(Result::err).collect()
}

/// Waits until nothing is under way, and tells what the server has then.
async fn rest(server: &Server, outside: &mut Outside) -> host::Weight {
    let (deadline, mut often) = (Instant::now() + REST, interval(Duration::from_millis(10)));
    while !outside.at_rest().await {
        often.tick().await;
        assert!(Instant::now() < deadline, "it does not come to rest:\n{}", server.log());
    }
    assert_eq!(outside.untrue(Some(server.pid())).await, Vec::<String>::new(), "{}", server.log());
    host::weight(server.pid())
}

/// Gives the server an image of its own, so that a loop device under it is this server's.
fn own_image(server: &mut Server) -> PathBuf {
    let dir = server.data_dir().join("own images");
    fs::create_dir(&dir).unwrap();
    let newest = images().join("cli.json").canonicalize().unwrap();
    let (name, image) = (newest.file_name().unwrap(), newest.with_extension("ext4"));
    fs::copy(&newest, dir.join(name)).unwrap();
    symlink(name, dir.join("cli.json")).unwrap();
    let own = dir.join(image.file_name().unwrap());
    fs::copy(image, &own).unwrap();
    server.images = Some(dir);
    own
}

/// Runs these, the first `warm_up` of them until the server is what it will stay.
async fn soak(mut cases: Vec<Case>, most: usize, warm_up: usize) {
    let mut chance = chance();
    shuffle(&mut cases, &mut chance);
    cases.truncate(most);
    let standin = standin().await;
    let (server, _standin, before, image) = blocking(move || {
        let mut server =
            Server::start_with(&standin, &format!("[runs]\nmax_concurrent = {AT_A_TIME}\nstall_s = {STALL_S}\n"));
        server.stop();
        let image = own_image(&mut server);
        server.run();
        for provider in ["claude", "codex", "gemini"] {
            server.connect(provider);
        }
        (server, standin, host::mounts(), image)
    })
    .await;
    let mut outside = Outside::of(&server).await;
    let (first, then) = cases.split_at(warm_up);
    let started = Instant::now();
    let mut wrong = run_all(&server, first, &mut chance).await;
    let warm = rest(&server, &mut outside).await;
    wrong.extend(run_all(&server, then, &mut chance).await);
    let end = rest(&server, &mut outside).await;
    eprintln!("{} runs in {:?}: {warm:?} after {warm_up}, {end:?} at the end", cases.len(), started.elapsed());
    assert!(
        wrong.is_empty(),
        "{} ends are not right, among them\n{}",
        wrong.len(),
        wrong[..wrong.len().min(10)].join("\n")
    );
    assert!(end.rss_kib < warm.rss_kib + GROWTH_KIB, "memory grew from {warm:?} to {end:?}");

    // Threads that wait for work leave when none comes; what is open when all is at rest does not grow.
    let server = blocking(move || {
        let mut server = server;
        host::until(REST, || {
            let now = host::weight(server.pid());
            now.files <= warm.files + 8 && now.threads <= warm.threads + 4
        });
        assert_eq!(host::mounts(), before, "the host's own mounts are untouched");
        assert_eq!(server.stop(), Some(0));
        server
    })
    .await;
    assert_eq!(outside.untrue(None).await, Vec::<String>::new());
    assert_eq!(host::loop_devices_on(&image), Vec::<PathBuf>::new());
    let dir = server.data_dir().join("sandboxes/oci");
    let left = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = left.filter(|name| !name.starts_with("agent-")).collect();
    let empty = |name: &String| fs::read_dir(dir.join(name)).is_ok_and(|mut entries| entries.next().is_none());
    assert!(left.iter().all(empty), "the driver's folder is as it was: {left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_runs_at_a_bad_provider_end_as_they_must_and_leave_nothing() {
    soak(cases(|_, quick| quick), 20, 8).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: `make soak`"]
async fn three_hundred_runs_at_a_bad_provider_end_as_they_must_and_leave_nothing() {
    let cases = cases(|all, _| all);
    assert_eq!(cases.len(), 300);
    soak(cases, 300, 50).await;
}
