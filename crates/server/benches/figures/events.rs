//! One run that says much, alone, followed by many as it goes, and read by many afterwards.

use crate::{
    Bench, proc,
    readers::{self, Read},
    server::Server,
    setting,
    table::{head, row},
    tally::{Tally, round},
    through,
    yardstick::Yardstick,
};
use anyhow::{Context, Result};
use eventsource_stream::Eventsource;
use futures_util::{StreamExt, TryStreamExt};
use polydev_server::domain::event::Event;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

const PROVIDER: &str = "claude";

/// What it took a server to serve readers.
struct Served {
    read: Read,
    cpu: f64,
    /// By how much its resident set grew at most, MiB.
    grown: f64,
}

pub(crate) async fn measure(bench: &Bench) -> Result<Value> {
    let count = setting("POLYDEV_BENCH_EVENTS", 10_000);
    let readers = setting("POLYDEV_BENCH_READERS", 100);
    let prompt = format!("count to {count}");
    let config = format!("[pool]\ncli = 0\n\n[sandbox.cli]\ncpus = {}\n", bench.cores);
    let server = through::server(bench, config, &[PROVIDER]).await?;
    let root = bench.image.root()?;
    root.run(bench, PROVIDER, "What is 2+2?").await?;
    through::run(&server, PROVIDER, "What is 2+2?").await?;

    let bare = root.run(bench, PROVIDER, &prompt).await?;
    let (alone, alone_cpu, events) = alone(&server, &prompt).await?;
    through::at_rest(&server, 0).await?;

    let run = accept(&server, &prompt).await?;
    let follow = |run: &str| server.request(Method::GET, &format!("/runs/{run}/events"));
    let live = serve(server.pid(), async || readers::open((0..readers).map(|_| follow(&run))).await).await?;
    through::at_rest(&server, 0).await?;
    let replay = serve(server.pid(), async || readers::open((0..readers).map(|_| follow(&run))).await).await?;
    through::stop(server).await?;

    let yardstick = Yardstick::start(&events).await?;
    let client = Client::builder().no_proxy().build()?;
    let get = |path: &str| -> RequestBuilder { client.get(format!("{}{path}", yardstick.url)) };
    let bare_live = serve(yardstick.pid()?, async || {
        let open = readers::open((0..readers).map(|_| get("/live"))).await?;
        client.post(format!("{}/go", yardstick.url)).send().await?.error_for_status()?;
        Ok(open)
    });
    let bare_live = bare_live.await?;
    let bare_replay =
        serve(yardstick.pid()?, async || readers::open((0..readers).map(|_| get("/replay"))).await).await?;

    let written = events.len() as f64;
    let bare_written = (bare.end - bare.first) / 1e3;
    head(&format!("{} events of one run, {readers} readers", events.len()), &["bare", "polydev", "polydev/bare"]);
    pair("written without readers: a second", written / bare_written, written / alone);
    let per_100k = |cpu: f64, events: f64| cpu / events * 1e5;
    row("  server, s of a processor per 100,000", &["", &format!("{:.2}", per_100k(alone_cpu, written))]);
    for (name, bare, polydev) in [("live", &bare_live, &live), ("replay", &bare_replay, &replay)] {
        pair(&format!("{name}: delivered a second"), bare.a_second(), polydev.a_second());
        pair("  server, s of a processor per 100,000", bare.cpu_per_100k(), polydev.cpu_per_100k());
        pair("  server, grown by at most (MiB)", bare.grown, polydev.grown);
    }
    let (bare_delay, delay) = (bare_live.delay(), live.delay());
    pair("live: stored (sent) → read, median (ms)", bare_delay.median, delay.median);
    pair("live: stored (sent) → read, 99 of 100 (ms)", bare_delay.p99, delay.p99);
    Ok(json!({
        "provider": PROVIDER,
        "prompt": prompt,
        "events": events.len(),
        "readers": readers,
        "written_without_readers": {
            "bare_tool_per_second": round(written / bare_written),
            "polydev_per_second": round(written / alone),
            "server_cpu_s_per_100k": round(per_100k(alone_cpu, written)),
        },
        "live": { "bare_server": bare_live.json(true), "polydev": live.json(true) },
        "replay": { "bare_server": bare_replay.json(false), "polydev": replay.json(false) },
    }))
}

/// The run by itself: seconds from the first piece of the answer to its end, what they cost, its events.
async fn alone(server: &Server, prompt: &str) -> Result<(f64, f64, Vec<Event>)> {
    let cpu = proc::Cpu::of(server.pid())?;
    let asked =
        server.request(Method::POST, "/runs?wait=true").json(&json!({ "provider": PROVIDER, "prompt": prompt }));
    let run: Value = asked.send().await?.error_for_status()?.json().await?;
    let cpu = proc::Cpu::of(server.pid())?.since(cpu).own;
    let id = run["id"].as_str().context("a run has an id")?;
    anyhow::ensure!(run["status"] == "completed", "{run}");
    let stream = server.request(Method::GET, &format!("/runs/{id}/events")).send().await?.error_for_status()?;
    let frames: Vec<_> = stream.bytes_stream().eventsource().map(|frame| anyhow::Ok(frame?.data)).try_collect().await?;
    let events = frames.iter().map(|data| serde_json::from_str(data)).collect::<Result<Vec<Event>, _>>()?;
    let first = events.iter().find(|event| event.body.kind() == "text.delta").context("it answered nothing")?.at;
    let last = events.last().context("it has an end")?.at;
    Ok(((last - first) as f64 / 1e3, cpu, events))
}

/// A run that is accepted, and not waited for.
async fn accept(server: &Server, prompt: &str) -> Result<String> {
    let asked = server.request(Method::POST, "/runs").json(&json!({ "provider": PROVIDER, "prompt": prompt }));
    let run: Value = asked.send().await?.error_for_status()?.json().await?;
    Ok(run["id"].as_str().context("a run has an id")?.to_owned())
}

/// Opens streams of this process, reads them to their ends, and tells what that cost it.
async fn serve(pid: u32, open: impl AsyncFnOnce() -> Result<Vec<reqwest::Response>>) -> Result<Served> {
    let (cpu, before) = (proc::Cpu::of(pid)?, proc::resident_mib(pid)?);
    proc::forget_peak(pid)?;
    let read = readers::read(open().await?).await?;
    let cpu = proc::Cpu::of(pid)?.since(cpu).own;
    Ok(Served { read, cpu, grown: proc::peak_mib(pid)? - before })
}

impl Served {
    fn a_second(&self) -> f64 {
        self.read.events as f64 / self.read.seconds
    }

    fn cpu_per_100k(&self) -> f64 {
        self.cpu / self.read.events as f64 * 1e5
    }

    fn delay(&self) -> Tally {
        Tally::of(self.read.delays.iter().copied())
    }

    fn json(&self, live: bool) -> Value {
        let mut json = json!({
            "delivered_per_second": self.a_second().round(),
            "mib_per_second": round(self.read.bytes as f64 / self.read.seconds / 1024.0 / 1024.0),
            "server_cpu_s_per_100k": round(self.cpu_per_100k()),
            "server_grown_mib": round(self.grown),
        });
        if live {
            json["stored_to_read_ms"] = self.delay().tail();
        }
        json
    }
}

fn pair(name: &str, bare: f64, polydev: f64) {
    let ratio = if bare.abs() < 1e-9 { String::new() } else { format!("×{:.2}", polydev / bare) };
    row(name, &[&format!("{bare:.2}"), &format!("{polydev:.2}"), &ratio]);
}
