//! The way out of a real sandbox, beside plain TCP: a connection, a round trip, a download.
//!
//! ```text
//!   direct    this program ─► echo
//!   gateway   this program, in the sandbox's network ─► agent ─► channel ─► gateway ─► echo
//! ```
//! Both are asked by threads that do nothing else, in turns.

use crate::{
    Bench,
    server::images,
    setting,
    table::{head, row},
    tally::Tally,
};
use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use ipnet::IpNet;
use polydev_sandbox::{
    Driver, Guest, Priority, SandboxSpec,
    driver::{Cpus, Limits},
    drivers::{self, DriverConfig},
    egress::{self, Access, Gateway, GatewayConfig, Mask, Network, Policy},
    image::{ImageStore, Kind},
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use std::{
    fs,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    num::NonZeroU64,
    os::fd::AsFd,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::Instant,
};

const HOST: &str = "echo.example.com";
/// Gives every byte back.
const ECHO: u16 = 80;
/// Sends [`DOWNLOAD`] bytes.
const SOURCE: u16 = 81;
const ROUND_TRIPS: u32 = 50;
const DOWNLOAD: usize = 64 * 1024 * 1024;
const MIB: f64 = 1024.0 * 1024.0;

/// One name, whose public address leads to servers of this program's.
#[derive(Debug)]
struct OneHost {
    echo: SocketAddr,
    source: SocketAddr,
}

#[async_trait]
impl Network for OneHost {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![Ipv4Addr::new(1, 1, 1, 1).into()])
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<tokio::net::TcpStream> {
        let to = if address.port() == ECHO { self.echo } else { self.source };
        let stream = tokio::net::TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn own_addresses(&self) -> io::Result<Vec<IpNet>> {
        Ok(Vec::new())
    }
}

/// What one asks, and how long it took.
#[derive(Debug, Clone, Copy)]
enum Ask {
    /// A connection and the first byte back; then a round trip, on average.
    Echo,
    /// A download.
    Source,
}

type Times = Result<[f64; 2]>;

/// A thread that asks, one thing at a time.
struct Place {
    asks: mpsc::Sender<Ask>,
    times: mpsc::Receiver<Times>,
}

impl Place {
    fn new(connect: impl Fn(u16) -> io::Result<TcpStream> + Send + 'static) -> Self {
        let (asks, asked) = mpsc::channel();
        let (tell, times) = mpsc::channel();
        thread::spawn(move || {
            while let Ok(ask) = asked.recv() {
                if tell.send(measured(ask, &connect)).is_err() {
                    return;
                }
            }
        });
        Self { asks, times }
    }

    fn ask(&self, ask: Ask) -> Times {
        self.asks.send(ask).context("the thread lives")?;
        self.times.recv().context("the thread lives")?
    }
}

fn measured(ask: Ask, connect: &dyn Fn(u16) -> io::Result<TcpStream>) -> Times {
    let begun = Instant::now();
    match ask {
        Ask::Echo => {
            let mut stream = connect(ECHO)?;
            there_and_back(&mut stream)?;
            let opened = begun.elapsed();
            let begun = Instant::now();
            for _ in 0..ROUND_TRIPS {
                there_and_back(&mut stream)?;
            }
            Ok([opened, begun.elapsed() / ROUND_TRIPS].map(|took| took.as_secs_f64() * 1e3))
        }
        Ask::Source => {
            let mut stream = connect(SOURCE)?;
            let (mut buffer, mut read) = (vec![0; 64 * 1024], 0);
            loop {
                let more = stream.read(&mut buffer)?;
                if more == 0 {
                    break;
                }
                read += more;
            }
            ensure!(read == DOWNLOAD, "{read} bytes came");
            Ok([DOWNLOAD as f64 / MIB / begun.elapsed().as_secs_f64(), 0.0])
        }
    }
}

fn there_and_back(stream: &mut TcpStream) -> io::Result<()> {
    let mut back = [0; 64];
    stream.write_all(&[7; 64])?;
    stream.read_exact(&mut back)
}

fn direct(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Asks the proxy of a sandbox, in whose network the thread is.
fn through(proxy: SocketAddr, port: u16) -> io::Result<TcpStream> {
    let mut stream = direct(proxy)?;
    stream.write_all(format!("CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    let is_open = answer.starts_with(b"HTTP/1.1 200");
    if is_open { Ok(stream) } else { Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned())) }
}

/// Serves each connection on a thread of its own, until this program ends.
fn serve(answer: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            // Whoever has what it wanted goes.
            thread::spawn(move || stream.set_nodelay(true).and_then(|()| answer(stream)));
        }
    });
    Ok(address)
}

/// A sandbox with nothing in it.
struct Inside {
    driver: Arc<dyn Driver>,
    guest: Guest,
    proxy: SocketAddr,
    network: fs::File,
    _state: tempfile::TempDir,
}

impl Inside {
    async fn new(bench: &Bench) -> Result<Self> {
        let state = tempfile::tempdir()?;
        let config = DriverConfig { state_dir: state.path().join("state"), oci_runtime: None };
        let driver = drivers::by_name("oci", &config).context("there is this driver")?;
        let image = ImageStore::open(images()).current(Kind::Cli)?;
        let limits =
            Limits { memory_mib: 1024, cpus: Cpus { milli: bench.cores as u32 * 1000 }, pids: 512, disk_mib: 512 };
        let (image, image_id) = (image.path, image.id);
        let spec = SandboxSpec { image, image_id, limits, ca_file: None, priority: Priority::Normal };
        let id = polydev_server::domain::id::new("sbx").parse()?;
        driver.create(&id, &spec).await?;
        let guest = Guest::new(driver.clone(), id);
        let proxy = guest.hello().await?.proxy.parse()?;
        let pid = fs::read_to_string(state.path().join("state/oci").join(guest.id().as_str()).join("pid"))?;
        let network = fs::File::open(PathBuf::from("/proc").join(pid.trim()).join("ns/net"))?;
        Ok(Self { driver, guest, proxy, network, _state: state })
    }

    /// A place in its network, with a way out under these limits.
    fn place(&self, network: OneHost, limits: egress::Limits) -> Result<(Place, egress::Attached)> {
        let gateway = Gateway::over(GatewayConfig { limits, ..GatewayConfig::default() }, Arc::new(network));
        let access = Access {
            sandbox: self.guest.id().clone(),
            person: "usr_bench".to_owned(),
            seat: 0,
            policy: Policy { allow: vec![HOST.parse()?], deny: Vec::new(), ports: vec![ECHO, SOURCE] },
            mask: Mask::default(),
        };
        let guest = self.guest.clone();
        let way_out = gateway.attach(access, move || {
            let guest = guest.clone();
            async move { Ok(guest.egress().await?) }
        });
        let (proxy, network) = (self.proxy, self.network.try_clone()?);
        let place = Place::new(move |port| {
            // Once would do; the thread begins with the first.
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
            through(proxy, port)
        });
        Ok((place, way_out))
    }
}

/// The limits, as if they were met and never are.
fn generous() -> egress::Limits {
    let much = NonZeroU64::new(1 << 40);
    egress::Limits { connections: much, connections_per_s: much, bytes_per_s: much }
}

pub(crate) async fn measure(bench: &Bench) -> Result<Value> {
    let pairs = setting("POLYDEV_BENCH_CONNECTIONS", 500);
    let echo = serve(|mut stream| io::copy(&mut stream.try_clone()?, &mut stream).map(drop))?;
    let source = serve(|mut stream| stream.write_all(&vec![7; DOWNLOAD]))?;
    let inside = Inside::new(bench).await?;
    let (gateway, _way_out) = inside.place(OneHost { echo, source }, generous())?;
    let plain = Place::new(move |port| direct(if port == ECHO { echo } else { source }));
    let asked = tokio::task::spawn_blocking(move || {
        let mut series = Series::default();
        // The first of each pays for what is there from then on.
        for place in [&plain, &gateway] {
            place.ask(Ask::Echo)?;
        }
        for n in 0..pairs {
            let (by_itself, through) = (plain.ask(Ask::Echo)?, gateway.ask(Ask::Echo)?);
            series.opened.push((by_itself[0], through[0]));
            series.trip.push((by_itself[1], through[1]));
            if n % DOWNLOAD_EVERY == 0 {
                series.download.push((plain.ask(Ask::Source)?[0], gateway.ask(Ask::Source)?[0]));
            }
        }
        anyhow::Ok(series)
    });
    let series = asked.await?;
    inside.driver.destroy(inside.guest.id()).await?;
    let Series { opened, trip, download } = series?;
    head(&format!("the way out, {pairs} connections"), &["direct", "gateway", "added", "yardstick"]);
    let opened = told("a connection and its first answer (ms)", &opened, "+1.000");
    let trip = told("a round trip (ms)", &trip, "+0.100");
    let download = told("a download (MiB/s)", &download, "");
    Ok(json!({
        "connections": pairs,
        "connection_ms": opened,
        "round_trip_ms": trip,
        "download_mib_per_second": download,
    }))
}

/// How many connections there are for a download.
const DOWNLOAD_EVERY: usize = 50;

/// Pairs: by itself, and through the gateway.
#[derive(Default)]
struct Series {
    opened: Vec<(f64, f64)>,
    trip: Vec<(f64, f64)>,
    download: Vec<(f64, f64)>,
}

/// Prints what a series says, and gives it to be kept.
fn told(name: &str, pairs: &[(f64, f64)], yardstick: &str) -> Value {
    let direct = Tally::of(pairs.iter().map(|pair| pair.0));
    let gateway = Tally::of(pairs.iter().map(|pair| pair.1));
    let added = Tally::of(pairs.iter().map(|pair| pair.1 - pair.0));
    let three = |value: f64| (value * 1e3).round() / 1e3;
    let cell = |value: f64| format!("{value:.3}");
    row(name, &[&cell(direct.median), &cell(gateway.median), &format!("{:+.3}", added.median), yardstick]);
    let kept = |tally: &Tally| json!({ "median": three(tally.median), "p95": three(tally.p95) });
    json!({ "direct": kept(&direct), "gateway": kept(&gateway), "added": kept(&added) })
}
