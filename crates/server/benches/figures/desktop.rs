//! A desktop from the click on *Connect*: when VNC answers, the terminal is in front, Firefox is there.
//!
//! ```text
//!   POST /logins ─► sandbox ─► agent ─► X: VNC answers ─► window manager ─► terminal in front ─► ready
//!                                                                                └─► Firefox is mapped
//! ```
//! Each in a sandbox made for it, when nothing is left of the one before. Beside it the X server alone. Then the same of
//! one that was made ahead: `warm.rs`.

use crate::{
    Bench,
    bare::Image,
    proc::{Cpu, Group, agent_of},
    server::Server,
    setting,
    table::{head, one, row},
    tally::{Tally, round},
    through, warm,
};
use anyhow::{Context, Result, bail, ensure};
use eventsource_stream::Eventsource;
use futures_util::StreamExt;
use polydev_sandbox::{
    Guest, desktop,
    drivers::{self, DriverConfig},
    proto::Stage,
};
use polydev_server::domain::login::{Event, EventBody, StageName, StageState};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    io,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::UnixStream,
    time::{interval, timeout},
};

/// How long a desktop may take to come up.
const WITHIN: Duration = Duration::from_secs(120);
/// How often it is looked whether there is a sandbox, an agent, a socket.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// The first bytes of a screen that answers (RFC 6143, 7.1.1).
pub(crate) const VERSION: &[u8; 12] = b"RFB 003.008\n";
/// No desktop is made ahead.
const COLD: &str = "[pool]\ncli = 0\ndesktop = 0\n";

/// One desktop's times since the click, in milliseconds, and what it took.
struct Came {
    /// By the name of the agent's stage.
    stages: BTreeMap<String, f64>,
    vnc: f64,
    /// When its page reads that a key pressed now reaches the terminal.
    ready: f64,
    at_ready: Took,
    at_firefox: Took,
}

/// What a sandbox has taken of this machine so far.
#[derive(Debug, Clone, Copy)]
struct Took {
    cpu_s: f64,
    mib: f64,
}

impl Took {
    fn of(group: &Group) -> Result<Self> {
        Ok(Self { cpu_s: group.cpu_s()?, mib: group.mib()? })
    }
}

/// The X server alone: milliseconds until VNC answers, seconds of a processor.
#[derive(Debug, Clone, Copy)]
struct Bare {
    vnc: f64,
    cpu_s: f64,
}

/// A row: its name, the key of its figures, what it should be at most, and of each desktop its figure.
type Row = (&'static str, &'static str, &'static str, fn(&Came) -> f64);

const ROWS: [Row; 9] = [
    ("click → VNC answers", "vnc_ms", "≤ 300", |came| came.vnc),
    ("click → window manager", "window_manager_ms", "", |came| came.stages["window_manager"]),
    ("click → terminal in front, focused", "terminal_ms", "≤ 800", |came| came.stages["terminal"]),
    ("click → ready, as its page reads it", "ready_ms", "", |came| came.ready),
    ("click → Firefox mapped", "firefox_ms", "≤ 2500", |came| came.stages["browser"]),
    ("processor until ready (s)", "cpu_s_until_ready", "", |came| came.at_ready.cpu_s),
    ("processor until Firefox is mapped (s)", "cpu_s_until_firefox", "", |came| came.at_firefox.cpu_s),
    ("memory when ready (MiB)", "mib_when_ready", "", |came| came.at_ready.mib),
    ("memory when Firefox is mapped (MiB)", "mib_when_firefox_is_mapped", "", |came| came.at_firefox.mib),
];

pub(crate) async fn measure(bench: &Bench) -> Result<Value> {
    let times = setting("POLYDEV_BENCH_DESKTOPS", 10);
    let image = Image::mount("desktop", &bench.standin)?;
    let server = through::server(bench, COLD.to_owned(), &[]).await?;
    let (mut bares, mut all) = (Vec::new(), Vec::new());
    // The first of each reads the image into the page cache, and is not counted.
    for time in 0..=times {
        let (bare, came) = (bare(&image).await?, click(&server).await?);
        if time > 0 {
            bares.push(bare);
            all.push(came);
        }
    }
    let left = through::stop(server).await?;
    ensure!(left.is_empty(), "sandboxes are left: {left:?}");

    head(&format!("a desktop, cold, {times} times (ms)"), &["bare X", "median", "p95", "yardstick"]);
    let bare_vnc = Tally::of(bares.iter().map(|bare| bare.vnc));
    let mut figures = Map::from_iter([
        ("desktops".to_owned(), json!(times)),
        ("bare_x_vnc_ms".to_owned(), bare_vnc.json()),
        ("bare_x_cpu_s".to_owned(), json!(round(Tally::of(bares.iter().map(|bare| bare.cpu_s)).median))),
    ]);
    for (name, key, yardstick, figure) in ROWS {
        let tally = Tally::of(all.iter().map(figure));
        let cell = |value: f64| if value < 10.0 { format!("{value:.2}") } else { one(value) };
        let bare = if key == "vnc_ms" { one(bare_vnc.median) } else { String::new() };
        row(name, &[&bare, &cell(tally.median), &cell(tally.p95), yardstick]);
        figures.insert(key.to_owned(), tally.json());
    }
    let stages = all.first().into_iter().flat_map(|came| came.stages.keys());
    let stages = stages.map(|name| {
        let times = all.iter().filter_map(|came| came.stages.get(name).copied());
        (name.clone(), json!(round(Tally::of(times).median)))
    });
    figures.insert("stages_ms".to_owned(), Value::from_iter(stages));
    figures.insert("warm".to_owned(), warm::measure(bench, times).await?);
    Ok(figures.into())
}

/// One click, to Firefox; then all of it ends.
async fn click(server: &Server) -> Result<Came> {
    through::at_rest(server, 0).await?;
    let clicked = Instant::now();
    let asked = server.request(Method::POST, "/logins").json(&json!({ "provider": "claude" }));
    let login: Value = asked.send().await?.error_for_status()?.json().await?;
    let id = login["id"].as_str().context("a login has an id")?;
    let came = timeout(WITHIN, async { tokio::try_join!(page(server, id, clicked), sandbox(server, clicked)) }).await;
    let came = came.with_context(|| format!("no desktop within {} s", WITHIN.as_secs())).and_then(|came| came);
    let (ready, came) = came.with_context(|| format!("the server's log:\n{}", server.log()))?;
    server.request(Method::DELETE, &format!("/logins/{id}")).send().await?.error_for_status()?;
    through::at_rest(server, 0).await?;
    Ok(Came { ready, ..came })
}

/// When the login's page reads that it is ready.
pub(crate) async fn page(server: &Server, id: &str, clicked: Instant) -> Result<f64> {
    let stream = server.request(Method::GET, &format!("/logins/{id}/events")).send().await?.error_for_status()?;
    let mut frames = stream.bytes_stream().eventsource();
    while let Some(frame) = frames.next().await {
        let event: Event = serde_json::from_str(&frame?.data)?;
        match event.body {
            EventBody::Stage { stage, .. } if (stage.name, stage.state) == (StageName::Ready, StageState::Done) => {
                return Ok(since(clicked));
            }
            EventBody::Failed { error } => bail!("the login failed: {}", error.message),
            _other => {}
        }
    }
    bail!("the events end before it is ready")
}

/// How the desktop comes up, as its agent tells it.
async fn sandbox(server: &Server, clicked: Instant) -> Result<Came> {
    let mut look = interval(LOOK_EVERY);
    let sandbox = loop {
        look.tick().await;
        if let Some(sandbox) = server.sandboxes().pop() {
            break sandbox;
        }
    };
    let guest = guest_of(server, &sandbox)?;
    let mut stages = BTreeMap::new();
    let (mut vnc, mut group, mut at_ready, mut at_firefox) = (None, None, None, None);
    loop {
        // Before there is an agent it refuses; before that has been asked for a desktop it has little to tell.
        look.tick().await;
        let Ok(mut told) = guest.ready().await else { continue };
        while let Some(stage) = told.next().await? {
            if let Some(why) = stage.failed {
                bail!("`{}` has failed: {why}", stage.name);
            }
            if !stage.done || stage.name == "agent" || stages.contains_key(&stage.name) {
                continue;
            }
            stages.insert(stage.name.clone(), since(clicked));
            let group = match &mut group {
                Some(group) => group,
                none => none.insert(Group::of(agent_of(server, &sandbox)?)?),
            };
            match stage.name.as_str() {
                "screen" => {
                    let mut version = [0; VERSION.len()];
                    guest.vnc().await?.read_exact(&mut version).await?;
                    vnc = Some(since(clicked));
                    ensure!(&version == VERSION, "the screen speaks something else");
                }
                Stage::READY => at_ready = Some(Took::of(group)?),
                "browser" => at_firefox = Some(Took::of(group)?),
                _ => {}
            }
            if let (Some(vnc), Some(at_ready), Some(at_firefox)) = (vnc, at_ready, at_firefox) {
                return Ok(Came { stages, vnc, ready: 0.0, at_ready, at_firefox });
            }
        }
    }
}

/// The agent of a server's sandbox.
pub(crate) fn guest_of(server: &Server, sandbox: &str) -> Result<Guest> {
    let config = DriverConfig { state_dir: server.data_dir().join("sandboxes"), oci_runtime: None };
    let driver = drivers::by_name("oci", &config).context("there is this driver")?;
    Ok(Guest::new(driver, sandbox.parse()?))
}

/// The X server of the same image with the same arguments, alone, until VNC answers.
async fn bare(image: &Image) -> Result<Bare> {
    let root = image.root()?;
    let more = ["-displayfd", "1", "-geometry", "1920x1080", "-rfbunixpath", "/tmp/screen"];
    let argv: Vec<String> = desktop::SCREEN.iter().chain(&more).map(|word| (*word).to_owned()).collect();
    let started = Instant::now();
    let mut command = tokio::process::Command::from(root.command(&argv));
    let mut x = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
    let mut number = String::new();
    let mut said = BufReader::new(x.stdout.take().context("piped")?);
    timeout(WITHIN, said.read_line(&mut number)).await.context("the bare X server says nothing")??;
    ensure!(!number.is_empty(), "the bare X server has ended");
    let mut version = [0; VERSION.len()];
    UnixStream::connect(root.path().join("tmp/screen")).await?.read_exact(&mut version).await?;
    let vnc = since(started) - root.harness_ms;
    let cpu_s = Cpu::of(x.id().context("it runs")?)?.own;
    x.kill().await?;
    ensure!(&version == VERSION, io::Error::other("the bare screen speaks something else"));
    Ok(Bare { vnc, cpu_s })
}

pub(crate) fn since(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}
