//! A desktop that was made ahead, from the click on *Connect* to where nothing is left of it.
//!
//! ```text
//!   parked ─ POST /logins ─► VNC answers ─► ready, as its page reads it ─► what is typed then has been done
//!   the login's file is whole ─► connected, as its page reads it ─► nothing is left of the sandbox
//! ```
//! Each when the next one is parked and nothing is left of the one before.

use crate::{
    Bench,
    desktop::{VERSION, guest_of, page, since},
    host,
    proc::{Group, agent_of, own_mib},
    server::Server,
    table::{head, one, row},
    tally::Tally,
    through,
};
use anyhow::{Context, Result, bail, ensure};
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use polydev_sandbox::{Guest, Stream, image::HOME, proto::WatchRule};
use polydev_server::domain::login::{Event, EventBody};
use polydev_standin::{Provider, Standin};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{interval, timeout},
};

/// How long all of one may take.
const WITHIN: Duration = Duration::from_secs(120);
/// How often it is looked whether something is left.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// One desktop is made ahead, and nothing else.
const CONFIG: &str = "[pool]\ncli = 0\n";
const ONE: (&str, &str) = ("POLYDEV__POOL__DESKTOP", "1");

/// One desktop's times in milliseconds, and what it took while it was parked.
struct Came {
    vnc: f64,
    ready: f64,
    typed: f64,
    captured: f64,
    gone: f64,
    mib: f64,
    own_mib: f64,
}

/// A row: its name, the key of its figures, what it should be at most, and of each desktop its figure.
type Row = (&'static str, &'static str, &'static str, fn(&Came) -> f64);

const ROWS: [Row; 7] = [
    ("click → VNC answers", "vnc_ms", "≤ 100", |came| came.vnc),
    ("click → ready, as its page reads it", "ready_ms", "≤ 200", |came| came.ready),
    ("click → a line that is typed then was run", "typed_ms", "", |came| came.typed),
    ("signed in → connected, as its page reads it", "capture_ms", "", |came| came.captured),
    ("connected → nothing is left", "teardown_ms", "", |came| came.gone),
    ("memory while parked (MiB)", "parked_mib", "", |came| came.mib),
    ("… of it written, and shared with nobody (MiB)", "parked_own_mib", "", |came| came.own_mib),
];

/// So many of them, one after the other.
pub(crate) async fn measure(bench: &Bench, times: usize) -> Result<Value> {
    let standin = bench.standin.clone();
    let started = tokio::task::spawn_blocking(move || {
        let mut server = Server::empty(&standin, CONFIG, &[ONE]);
        server.key = server.person("one@example.com");
        Arc::new(server)
    });
    let server = started.await?;
    let mut all = Vec::new();
    // The first one reads what it needs into the page cache, and is not counted.
    for time in 0..=times {
        let came = timeout(WITHIN, click(&server, &bench.standin)).await.context("it has no end")?;
        let came = came.with_context(|| format!("the server's log:\n{}", server.log()))?;
        if time > 0 {
            all.push(came);
        }
    }
    let left = through::stop(server).await?;
    ensure!(left.is_empty(), "sandboxes are left: {left:?}");
    head(&format!("a desktop that was made ahead, {times} times (ms)"), &["median", "p95", "yardstick"]);
    let mut figures = Map::new();
    for (name, key, yardstick, figure) in ROWS {
        let tally = Tally::of(all.iter().map(figure));
        row(name, &[&one(tally.median), &one(tally.p95), yardstick]);
        figures.insert(key.to_owned(), tally.json());
    }
    Ok(figures.into())
}

/// One click, to where nothing is left of it.
async fn click(server: &Server, standin: &Standin) -> Result<Came> {
    through::at_rest(server, 1).await?;
    let sandbox = server.sandboxes().pop().context("one is parked")?;
    let guest = guest_of(server, &sandbox)?;
    let group = Group::of(agent_of(server, &sandbox)?)?;
    let (mib, own_mib) = (group.mib()?, own_mib(&group.pids()?));

    let clicked = Instant::now();
    let asked = async {
        let asked = server.request(Method::POST, "/logins").json(&json!({ "provider": "claude" }));
        let login: Value = asked.send().await?.error_for_status()?.json().await?;
        let id = login["id"].as_str().context("a login has an id")?.to_owned();
        let ready = page(server, &id, clicked).await?;
        Ok((id, ready))
    };
    // Dialled while it sleeps: it answers when it wakes.
    let answered = async {
        let mut version = [0; VERSION.len()];
        guest.vnc().await?.read_exact(&mut version).await?;
        ensure!(&version == VERSION, "the screen speaks something else");
        Ok(since(clicked))
    };
    let ((login, ready), vnc) = tokio::try_join!(asked, answered)?;
    let typed = typed(&guest, clicked).await?;

    let file = standin.account("ada").login_files(Provider::Claude).remove(".credentials.json").context("its file")?;
    let signed_in = Instant::now();
    guest.write_file(&format!("{HOME}/.claude/.credentials.json"), 0o600, &file).await?;
    connected(server, &login).await?;
    let (captured, connected) = (since(signed_in), Instant::now());
    let mut look = interval(LOOK_EVERY);
    while server.sandboxes().contains(&sandbox) || !host::leftovers(&sandbox).is_empty() {
        look.tick().await;
    }
    Ok(Came { vnc, ready, typed, captured, gone: since(connected), mib, own_mib })
}

/// Types a line at the screen: when it has been run.
async fn typed(guest: &Guest, clicked: Instant) -> Result<f64> {
    let path = format!("{HOME}/typed");
    let rule = WatchRule { rule: "typed".to_owned(), path, require: Vec::new(), quiet_ms: 0 };
    let mut watch = guest.watch(vec![rule]).await?;
    let mut screen = guest.vnc().await?;
    let read = async |screen: &mut Stream, count: usize| -> Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        screen.read_exact(&mut bytes).await?;
        Ok(bytes)
    };
    // RFC 6143, 7.1 to 7.3: its version, no security, others may look too, its size and its name.
    read(&mut screen, VERSION.len()).await?;
    screen.write_all(VERSION).await?;
    read(&mut screen, 2).await?;
    screen.write_all(&[1]).await?;
    read(&mut screen, 4).await?;
    screen.write_all(&[1]).await?;
    let head = read(&mut screen, 24).await?;
    read(&mut screen, u32::from_be_bytes([head[20], head[21], head[22], head[23]]) as usize).await?;
    for key in b">typed\n" {
        let key = if *key == b'\n' { 0xff0d } else { u32::from(*key) };
        for down in [1, 0] {
            screen.write_all(&[&[4, down, 0, 0], key.to_be_bytes().as_slice()].concat()).await?;
        }
    }
    watch.next().await?.context("its agent has nothing more to say")?;
    Ok(since(clicked))
}

/// Waits until a login's page reads that it is connected.
async fn connected(server: &Server, login: &str) -> Result<()> {
    let stream = server.request(Method::GET, &format!("/logins/{login}/events")).send().await?.error_for_status()?;
    let mut frames = stream.bytes_stream().eventsource();
    while let Some(frame) = frames.next().await {
        let event: Event = serde_json::from_str(&frame?.data)?;
        if let EventBody::Connected { .. } = event.body {
            return Ok(());
        }
        ensure!(!event.body.is_last(), "it ended otherwise: {event:?}");
    }
    bail!("the events end before it is connected")
}
