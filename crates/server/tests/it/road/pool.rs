//! Warm sandboxes: taken by runs, made anew, and gone with the server.

use super::{answer, blocking, connected, events, sound, standin};
use crate::support::{
    guest::shell,
    host,
    server::{Server, images, text},
};
use polydev_sandbox::{
    Driver, Guest, SandboxId,
    drivers::{DriverConfig, by_name},
    image::{HOME, WORKSPACE},
};
use polydev_server::domain::{
    event::{Event, EventBody},
    failure::Code,
};
use polydev_server::store::{Store, sqlite_url};
use polydev_standin::{Options, Standin};
use serde_json::{Value, json};
use sqlx::Row;
use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

const LONG: Duration = Duration::from_secs(30);

/// Waits for the server's `nth` warm sandbox, from 1.
fn warm(server: &Server, nth: usize) -> String {
    host::until(LONG, || server.made().len() >= nth);
    server.made()[nth - 1].clone()
}

/// The sandbox that a run was given.
fn sandbox_of(events: &[Event]) -> String {
    sound(events);
    let started = events.iter().find_map(|event| match &event.body {
        EventBody::Started { sandbox_id } => Some(sandbox_id.clone()),
        _ => None,
    });
    started.unwrap_or_else(|| panic!("it never started: {events:?}"))
}

/// What the tool's own tool printed.
fn printed(events: &[Event]) -> String {
    let output = events.iter().find_map(|event| match &event.body {
        EventBody::ToolResult { output, ok: true, .. } => Some(output.clone()),
        _ => None,
    });
    output.unwrap_or_else(|| panic!("no tool has answered: {events:?}"))
}

fn prompt(text: &str) -> Value {
    json!({ "provider": "claude", "prompt": text })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_takes_the_warm_sandbox_and_another_is_made() {
    let (server, _standin) = connected("").await;
    let first = warm(&server, 1);
    let weights = host::weights_of(&first);
    let all = events(&server, prompt("use tool: cut -d' ' -f19 /proc/self/stat")).await;
    assert_eq!(sandbox_of(&all), first);
    assert_eq!(printed(&all).trim(), "0", "a tool is as nice as any");
    assert!(weights.iter().all(|weight| ["1024", "100"].contains(&weight.as_str())), "{weights:?}");
    assert!(!weights.is_empty());

    let second = warm(&server, 2);
    let all = events(&server, prompt("What is 17*23?")).await;
    assert_eq!((sandbox_of(&all), answer(&all)), (second.clone(), "391".into()));
    let third = warm(&server, 3);
    host::until(LONG, || server.sandboxes() == [third.clone()]);
    assert_eq!([&first, &second].map(|id| host::leftovers(id)), [vec![], Vec::<String>::new()]);

    // SIGTERM takes what is parked along.
    assert_eq!(blocking(move || server.stop_and_left()).await, (Some(0), vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_are_kept_as_are_wanted() {
    let (server, _standin) = connected("[pool]\ncli = 3\n").await;
    let mut all = [warm(&server, 1), warm(&server, 2), warm(&server, 3)];
    all.sort();
    let mut kept = server.sandboxes();
    kept.sort();
    assert_eq!(kept, all);
    // Runs at a time get one each.
    let (a, b, c) = tokio::join!(
        events(&server, prompt("What is 1+1?")),
        events(&server, prompt("What is 2+2?")),
        events(&server, prompt("What is 3+3?"))
    );
    let mut given = [sandbox_of(&a), sandbox_of(&b), sandbox_of(&c)];
    given.sort();
    assert_eq!(given, all);
    warm(&server, 6);
    host::until(LONG, || server.sandboxes().len() == 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_certificates_make_a_warm_sandbox_useless() {
    // A certificate of the test's own, which it may change.
    let dir = tempfile::tempdir().unwrap();
    let standin = Standin::start(Options { dir: Some(dir.path().to_owned()), ..Options::default() }).await.unwrap();
    let ca = standin.ca_file().to_owned();
    let (server, _standin) = blocking(move || {
        let server = Server::start(&standin);
        server.connect("claude");
        (server, standin)
    })
    .await;
    let outdated = warm(&server, 1);
    let changed = fs::read_to_string(&ca).unwrap() + "# another\n";
    fs::write(&ca, changed).unwrap();
    let all = events(&server, prompt("use tool: tail -n 1 /.polydev/ca.pem")).await;
    assert_ne!(sandbox_of(&all), outdated);
    assert_eq!(printed(&all).trim(), "# another");
    host::until(LONG, || host::leftovers(&outdated).is_empty());
    let next = warm(&server, 2);
    let all = events(&server, prompt("use tool: tail -n 1 /.polydev/ca.pem")).await;
    assert_eq!((sandbox_of(&all), printed(&all).trim()), (next, "# another"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_image_nothing_is_parked_and_nothing_is_said() {
    let standin = standin().await;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_owned();
    let (server, _standin) = blocking(move || {
        let mut server = Server::start(&standin);
        server.connect("claude");
        server.stop();
        server.images = Some(place);
        server.run();
        (server, standin)
    })
    .await;
    let before = server.made().len();
    assert_eq!(server.sandboxes(), Vec::<String>::new());
    assert_eq!(server.logged(NO_WARM).len(), 0);
    // It is built, as it were.
    for entry in fs::read_dir(images()).unwrap().flatten().filter(|entry| !entry.path().is_dir()) {
        symlink(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let all = events(&server, prompt("What is 2+2?")).await;
    assert_eq!(answer(&all), "4");
    let parked = warm(&server, before + 1);
    // It is removed: what was made from it is of no use, and its space is wanted.
    fs::remove_file(folder.path().join("cli.json")).unwrap();
    host::until(LONG, || host::leftovers(&parked).is_empty());
    assert_eq!(server.made().len(), before + 1);
    assert_eq!(server.logged(NO_WARM).len(), 0);
}

const NO_WARM: &str = "no warm sandbox can be made; each is made when it is needed until one can";

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_used_is_told_of_once_and_not_tried_for_ever() {
    let standin = standin().await;
    let folder = tempfile::tempdir().unwrap();
    let record = fs::read(images().join("cli.json")).unwrap();
    let json: Value = serde_json::from_slice(&record).unwrap();
    let file = format!("cli-{}.ext4", &json["id"].as_str().unwrap()[..16]);
    // It begins as it should, and that is all.
    let begin = fs::read(images().join(&file).as_path()).map(|bytes| bytes[..4096].to_vec()).unwrap();
    fs::write(folder.path().join("cli.json"), record).unwrap();
    fs::write(folder.path().join(&file), begin).unwrap();
    let broken = fs::File::options().write(true).open(folder.path().join(&file)).unwrap();
    broken.set_len(json["size"].as_u64().unwrap()).unwrap();
    let place = folder.path().to_owned();
    let (server, _standin) = blocking(move || {
        let mut server = Server::start(&standin);
        server.connect("claude");
        server.stop();
        server.images = Some(place);
        server.run();
        (server, standin)
    })
    .await;
    host::until(LONG, || !server.logged(NO_WARM).is_empty());
    // Each of these pokes the reconciler, several times.
    let runs = 10;
    for _ in 0..runs {
        let all = events(&server, prompt("What is 2+2?")).await;
        let EventBody::Failed { error } = &all[all.len() - 1].body else { panic!("{all:?}") };
        assert_eq!(error.code, Code::ImageMissing);
    }
    assert_eq!(server.logged(NO_WARM).len(), 1, "{}", server.log());
    let store = Store::open(&sqlite_url(&server.data_dir().join("polydev.db"))).await.unwrap();
    let tries = sqlx::query("SELECT COUNT(*) AS n FROM sandboxes WHERE run_id IS NULL AND state = 'failed'");
    let tries: i64 = tries.fetch_one(store.read()).await.unwrap().try_get("n").unwrap();
    assert!((1..runs).contains(&tries), "{tries} tries");
    assert_eq!(server.sandboxes(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_sandbox_that_was_lost_is_nobody_s_trouble() {
    let (server, _standin) = connected("").await;
    for (nth, signal) in [(1, "-KILL"), (2, "-STOP")] {
        let lost = warm(&server, nth);
        let first = host::processes_of(&lost).first().cloned().expect("its first process is seen from here");
        assert!(Command::new("kill").args([signal, &first]).status().unwrap().success());
        let all = events(&server, prompt("What is 17*23?")).await;
        assert_eq!(answer(&all), "391", "{signal}");
        assert_ne!(sandbox_of(&all), lost, "{signal}");
        host::until(LONG, || host::leftovers(&lost).is_empty());
    }
    warm(&server, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_server_had_parked_goes_and_another_is_made() {
    let standin = standin().await;
    blocking(move || {
        let mut server = Server::start(&standin);
        server.connect("claude");
        let before = host::mounts();
        let left = warm(&server, 1);
        server.kill();
        assert!(!host::leftovers(&left).is_empty(), "there is something to clean up");
        server.run();
        host::until(LONG, || host::leftovers(&left).is_empty());
        let next = warm(&server, 2);
        host::until(LONG, || server.sandboxes() == [next.clone()]);
        assert_eq!(host::mounts(), before);
        let out = server.polydev(&["run", "claude", "What is 17*23?"]);
        assert_eq!(text(&out.stdout), "391\n", "{}", text(&out.stderr));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_log_nobody_reads_leaves_nothing_either() {
    let standin = standin().await;
    blocking(move || {
        let mut server = Server::start(&standin);
        server.stop();
        let mut serve = server.command(&["serve"]);
        let mut child = serve.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(log.any(|line| line.unwrap().contains("a warm sandbox is ready")));
        drop(log);
        assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert_eq!(server.sandboxes(), Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_sandbox_holds_nothing_of_anybody_and_has_no_way_out() {
    let (server, standin) = connected("").await;
    // Somebody has run something before, and may run more.
    let all = events(&server, prompt("What is 2+2?")).await;
    assert_eq!(answer(&all), "4");
    host::until(LONG, || server.made().iter().any(|id| server.sandboxes() == [id.clone()]));
    let id: SandboxId = server.sandboxes()[0].parse().unwrap();
    assert_ne!(id.to_string(), sandbox_of(&all));
    let asked = standin.requests().len();

    let config = DriverConfig { state_dir: server.data_dir().join("sandboxes"), oci_runtime: None };
    let driver: Arc<dyn Driver> = by_name("oci", &config).unwrap();
    let guest = Guest::new(driver, id);
    assert_eq!(guest.jobs().await.unwrap(), []);
    assert_eq!(guest.list(WORKSPACE, None).await.unwrap(), []);
    let proxy = guest.hello().await.unwrap().proxy;
    let look = format!(
        "find {HOME} -type f -newer /.polydev/ca.pem; grep -rl sk-ant- {HOME} /tmp /workspace /dev/shm 2>/dev/null; \
         exec 3<>/dev/tcp/{}; printf 'CONNECT api.anthropic.com:443 HTTP/1.1\\r\\n\\r\\n' >&3; \
         timeout 1 head -c 1 <&3; echo status $?",
        proxy.replace(':', "/")
    );
    // Nobody carries the connection: it is not even refused.
    assert_eq!(shell(&guest, "look", &look).await, "status 124\n");
    assert_eq!(standin.requests().len(), asked);
}
