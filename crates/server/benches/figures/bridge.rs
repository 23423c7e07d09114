//! Bytes between a browser and a screen: through the server, through websockify, through nothing.
//!
//! ```text
//!   plain TCP    viewer ───────────────────────────────────────────────────────► source
//!   polydev      viewer ═ WebSocket ═ server ── unix ──────────────────────────► source
//!   websockify   viewer ═ WebSocket ═ websockify ── unix ──────────────────────► source
//!   whole path   viewer ═ WebSocket ═ server ── unix ── agent, sandbox ── unix ► source
//! ```
//! In turns, in one run. Viewers and sources are this program's (`ends.rs`); those of `polydev` have no sandbox
//! (`crowd.rs`), and in the last one a source takes the place of the screen of a real desktop.

use crate::{
    Bench,
    crowd::{Crowd, Place},
    desktop::guest_of,
    ends::{self, Viewer},
    proc::{Cpu, agent_of, forget_peak, own_mib, peak_mib, tree},
    server::Server,
    setting,
    table::{head, row},
    tally::{Tally, round},
    through,
};
use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::UnixListener,
    process::{Child, Command},
    time::{interval, timeout},
};

const MIB: usize = 1024 * 1024;
/// What each of many viewers takes.
const EACH: usize = 4 * MIB;
/// How long a desktop, or websockify, may take to be there.
const WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Where `scripts/setup bench` puts it.
const WEBSOCKIFY: &str = "target/tools/websockify/bin/websockify";
/// No desktop is made ahead, and the agent has as many processors as the others.
const CONFIG: &str = "[pool]\ncli = 0\ndesktop = 0\n";

/// A way to a source, and the processes that carry its bytes.
struct Way {
    name: &'static str,
    look: Box<dyn Fn() -> Result<Viewer> + Send + Sync>,
    carriers: Box<dyn Fn() -> Vec<u32> + Send + Sync>,
    figures: Figures,
}

/// What was measured of a way.
#[derive(Default)]
struct Figures {
    mb_per_s: Vec<f64>,
    /// Of what carries the bytes, seconds of a processor for 10⁹ bytes.
    carried: Vec<f64>,
    /// The same with both ends.
    all: Vec<f64>,
    /// Round trips, microseconds.
    trips: Vec<f64>,
}

impl Way {
    /// One download, and some round trips.
    fn measure(&mut self, bytes: usize, trips: usize) -> Result<()> {
        let mut viewer = (self.look)()?;
        // What is there from the first byte on is not counted.
        viewer.ask(MIB)?;
        viewer.take(MIB)?;
        let carriers = (self.carriers)();
        let took = || carriers.iter().map(|pid| Ok(Cpu::of(*pid)?.own)).sum::<Result<f64>>();
        let (carried, ends) = (took()?, Cpu::of(std::process::id())?.own);
        let began = Instant::now();
        viewer.ask(bytes)?;
        viewer.take(bytes)?;
        let seconds = began.elapsed().as_secs_f64();
        let (carried, ends) = (took()? - carried, Cpu::of(std::process::id())?.own - ends);
        self.figures.mb_per_s.push(bytes as f64 / 1e6 / seconds);
        self.figures.carried.push(carried / bytes as f64 * 1e9);
        self.figures.all.push((carried + ends) / bytes as f64 * 1e9);
        self.figures.trips.extend(viewer.trips(trips)?);
        Ok(())
    }
}

pub(crate) async fn measure(bench: &Bench) -> Result<Value> {
    let rounds = setting("POLYDEV_BENCH_ROUNDS", 10);
    let bytes = setting("POLYDEV_BENCH_MB", 3000) * 1_000_000;
    let trips = setting("POLYDEV_BENCH_TRIPS", 1000);
    let viewers = setting("POLYDEV_BENCH_VIEWERS", 200);
    let websockify = Arc::new(Websockify::start().await?);
    let crowd = Arc::new(Crowd::new(bench, viewers.max(1)).await?);
    let whole = Whole::new(bench).await?;

    let plain = plain().await?;
    let ways = vec![
        way("plain TCP", move || Viewer::plain(plain), Vec::new),
        through_server("polydev", &crowd.server, &crowd.places[0], None)?,
        way("websockify", websockify.look(), websockify.carriers()),
        through_server("whole path", &whole.server, &whole.place, Some(whole.agent))?,
    ];
    let ways = tokio::task::spawn_blocking(move || {
        let mut ways = ways;
        for _ in 0..rounds {
            for way in &mut ways {
                way.measure(bytes, trips).with_context(|| way.name)?;
            }
        }
        anyhow::Ok(ways)
    });
    let ways = ways.await??;
    whole.end().await?;
    let of_each = {
        let (crowd, websockify) = (crowd.clone(), websockify.clone());
        tokio::task::spawn_blocking(move || memory(&crowd, &websockify, viewers)).await??
    };
    Ok(report(&ways, &of_each, (rounds, bytes, viewers)))
}

fn way(
    name: &'static str,
    look: impl Fn() -> Result<Viewer> + Send + Sync + 'static,
    carriers: impl Fn() -> Vec<u32> + Send + Sync + 'static,
) -> Way {
    Way { name, look: Box::new(look), carriers: Box::new(carriers), figures: Figures::default() }
}

fn through_server(name: &'static str, server: &Server, place: &Place, agent: Option<u32>) -> Result<Way> {
    let (address, path, key) = (address(server)?, place.path(), place.key.clone());
    let carriers: Vec<u32> = [server.pid()].into_iter().chain(agent).collect();
    Ok(way(name, move || Viewer::framed(address, &path, &key), move || carriers.clone()))
}

fn address(server: &Server) -> Result<SocketAddr> {
    Ok(server.url.strip_prefix("http://").context("it speaks HTTP")?.parse()?)
}

/// A source that is asked directly.
async fn plain() -> Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.set_nodelay(true)?;
                ends::serve(stream).await
            });
        }
    });
    Ok(address)
}

/// A source behind this socket, which anybody may ask.
fn source(socket: &Path) -> Result<()> {
    let listener = UnixListener::bind(socket).with_context(|| format!("`{}`", socket.display()))?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666))?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(ends::serve(stream));
        }
    });
    Ok(())
}

/// websockify before a source.
struct Websockify {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Websockify {
    async fn start() -> Result<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(WEBSOCKIFY);
        ensure!(program.exists(), "there is no `{WEBSOCKIFY}`: `scripts/setup bench` puts it there");
        let dir = tempfile::tempdir()?;
        let socket = dir.path().join("screen");
        source(&socket)?;
        // It takes no port 0: one that is free now will be a moment later.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let child = Command::new(program)
            .arg(format!("--unix-target={}", socket.display()))
            .arg(address.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let mut look = interval(LOOK_EVERY);
        let listens = async {
            while TcpStream::connect(address).is_err() {
                look.tick().await;
            }
        };
        timeout(WITHIN, listens).await.context("websockify does not listen")?;
        Ok(Self { child, address, _dir: dir })
    }

    fn look(&self) -> impl Fn() -> Result<Viewer> + Send + Sync + 'static {
        let address = self.address;
        move || Viewer::framed(address, "/", "")
    }

    /// It makes a process for each viewer.
    fn carriers(&self) -> impl Fn() -> Vec<u32> + Send + Sync + 'static {
        let pid = self.child.id().unwrap_or_default();
        move || tree(pid)
    }
}

/// A real desktop whose screen is replaced by a source.
struct Whole {
    server: Arc<Server>,
    place: Place,
    agent: u32,
    screen: PathBuf,
}

impl Whole {
    async fn new(bench: &Bench) -> Result<Self> {
        let config = format!("{CONFIG}\n[sandbox.desktop]\ncpus = {}\n", bench.cores);
        let server = through::server(bench, config, &[]).await?;
        let asked = server.request(Method::POST, "/logins").json(&json!({ "provider": "claude" }));
        let login: Value = asked.send().await?.error_for_status()?.json().await?;
        let login = login["id"].as_str().context("a login has an id")?.to_owned();
        let sandbox = timeout(WITHIN, until_all_is_up(&server, &login)).await.context("no desktop")??;
        let agent = agent_of(&server, &sandbox)?;
        let screen = PathBuf::from(format!("/proc/{agent}/root/tmp/runtime/screen"));
        fs::remove_file(&screen).with_context(|| format!("`{}`", screen.display()))?;
        source(&screen)?;
        let place = Place { login, key: server.key.clone() };
        Ok(Self { server, place, agent, screen })
    }

    async fn end(self) -> Result<()> {
        let _ = fs::remove_file(&self.screen);
        let request = self.server.request(Method::DELETE, &format!("/logins/{}", self.place.login));
        request.send().await?.error_for_status()?;
        through::at_rest(&self.server, 0).await?;
        let left = through::stop(self.server).await?;
        ensure!(left.is_empty(), "sandboxes are left: {left:?}");
        Ok(())
    }
}

/// Waits until somebody may look, and Firefox takes no processor any more from what is measured: the sandbox.
async fn until_all_is_up(server: &Server, login: &str) -> Result<String> {
    let mut look = interval(LOOK_EVERY);
    let sandbox = loop {
        look.tick().await;
        let now = server.request(Method::GET, &format!("/logins/{login}")).send().await?;
        let now: Value = now.error_for_status()?.json().await?;
        match now["status"].as_str() {
            Some("ready") => break server.sandboxes().pop().context("a desktop has a sandbox")?,
            Some("requested" | "preparing") => {}
            other => bail!("the desktop is {other:?}: {now}"),
        }
    };
    let mut told = guest_of(server, &sandbox)?.ready().await?;
    while let Some(stage) = told.next().await? {
        if stage.name == "browser" && stage.done {
            return Ok(sandbox);
        }
    }
    bail!("the agent tells no more")
}

/// What a viewer costs in memory, KiB: with all of them there, and at most while they are served.
struct OfEach {
    polydev: f64,
    polydev_at_most: f64,
    websockify: f64,
}

/// So many viewers at a time: first all of them ask, so that every buffer is full, then they take.
fn memory(crowd: &Crowd, websockify: &Websockify, count: usize) -> Result<OfEach> {
    let served = |viewers: &mut [Viewer]| -> Result<()> {
        viewers.iter_mut().try_for_each(|viewer| viewer.ask(EACH))?;
        viewers.iter_mut().try_for_each(|viewer| viewer.take(EACH))
    };
    let many = |look: &dyn Fn(usize) -> Result<Viewer>| {
        let mut viewers = (0..count).map(look).collect::<Result<Vec<_>>>()?;
        served(&mut viewers)?;
        anyhow::Ok(viewers)
    };
    let each = |mib: f64| mib * 1024.0 / count as f64;
    let (server, address) = (crowd.server.pid(), address(&crowd.server)?);
    let look = |n: usize| Viewer::framed(address, &crowd.places[n].path(), &crowd.places[n].key);
    // The first of all finds what is there once.
    served(&mut [look(0)?])?;
    let before = own_mib(&[server]);
    forget_peak(server)?;
    let resident = peak_mib(server)?;
    let viewers = many(&look)?;
    let polydev = each(own_mib(&[server]) - before);
    let polydev_at_most = each(peak_mib(server)? - resident);
    drop(viewers);
    let (look, carriers) = (websockify.look(), websockify.carriers());
    served(&mut [look()?])?;
    let before = own_mib(&carriers());
    let viewers = many(&|_| look())?;
    let after = own_mib(&carriers());
    drop(viewers);
    Ok(OfEach { polydev, polydev_at_most, websockify: each(after - before) })
}

fn report(ways: &[Way], of_each: &OfEach, (rounds, bytes, viewers): (usize, usize, usize)) -> Value {
    let columns: Vec<&str> = ways.iter().map(|way| way.name).chain(["yardstick"]).collect();
    head(&format!("a screen's bytes, {rounds} times {} MB", bytes / 1_000_000), &columns);
    let told = |name: &str, cells: Vec<String>, yardstick: &str| {
        let cells: Vec<&str> = cells.iter().map(String::as_str).chain([yardstick]).collect();
        row(name, &cells);
    };
    let median = |figure: fn(&Figures) -> &Vec<f64>| {
        ways.iter().map(|way| Tally::of(figure(&way.figures).iter().copied()).median).collect::<Vec<f64>>()
    };
    let cells = |values: &[f64], digits: usize| values.iter().map(|value| format!("{value:.digits$}")).collect();
    let (speed, carried, all) = (median(|f| &f.mb_per_s), median(|f| &f.carried), median(|f| &f.all));
    told("MB a second", cells(&speed, 0), "");
    told("processor of what carries, s a GB", cells(&carried, 3), "");
    told("processor of the ends too, s a GB", cells(&all, 3), "");
    // Bytes for the same processor time, beside websockify's.
    let times = carried[2] / carried[1];
    told("  for a processor's second, × websockify", vec![String::new(), format!("×{times:.2}")], "");
    told("    yardstick", vec![String::new(), "≥ ×2".to_owned()], "");
    let tallies: Vec<Tally> = ways.iter().map(|way| Tally::of(way.figures.trips.iter().copied())).collect();
    told("a round trip, median (µs)", tallies.iter().map(|tally| format!("{:.0}", tally.median)).collect(), "");
    told("a round trip, 99 of 100 (µs)", tallies.iter().map(|tally| format!("{:.0}", tally.p99)).collect(), "");
    let OfEach { polydev, polydev_at_most, websockify } = of_each;
    let kib = |value: &f64| format!("{value:.0}");
    let name = format!("memory of a connection, {viewers} of them (KiB)");
    told(&name, vec![String::new(), kib(polydev), kib(websockify), String::new()], "≤ 64");
    told("  at most, while served", vec![String::new(), kib(polydev_at_most)], "");
    let mut figures = Map::from_iter([
        ("rounds".to_owned(), json!(rounds)),
        ("bytes".to_owned(), json!(bytes)),
        ("bytes_per_processor_second_times_websockify".to_owned(), json!(round(times))),
        (
            "memory_kib_per_connection".to_owned(),
            json!({
                "connections": viewers,
                "polydev": round(*polydev),
                "polydev_at_most": round(*polydev_at_most),
                "websockify": round(*websockify),
            }),
        ),
    ]);
    for (n, way) in ways.iter().enumerate() {
        let three = |value: f64| (value * 1e3).round() / 1e3;
        let own = json!({
            "mb_per_s": speed[n].round(),
            "cpu_s_per_gb": three(carried[n]),
            "cpu_s_per_gb_with_the_ends": three(all[n]),
            "round_trip_us": tallies[n].tail(),
        });
        figures.insert(way.name.replace(' ', "_").to_lowercase(), own);
    }
    figures.into()
}
