//! Runs in one sandbox, while another does its worst, and while that is frozen.

use crate::{
    Bench,
    offenders::{OFFENDERS, Offender},
    proc,
    server::{Server, good_key},
    setting,
    table::{head, row},
    tally::{Tally, round},
    through,
};
use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::Method;
use serde_json::{Map, Value, json};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

const PROVIDER: &str = "claude";
/// A fixed piece of work for the neighbour, beside what the tool does itself.
const PROMPT: &str = "use tool: head -c 200000000 /dev/zero | sha256sum";
/// How many pairs are taken of an offender before it is started anew: its tool would end it in time.
const PAIRS_AT_A_TIME: usize = 5;
/// Beside any of them, a run may be slower by a fifth.
const MOST: f64 = 1.2;
/// How often an offender may end by itself.
const ENDED_MOST: usize = 5;
/// How long an offender may take to meet what bounds it.
const AT_WORK_WITHIN: Duration = Duration::from_secs(60);

/// An offender that is at work.
struct AtWork {
    run: String,
    sandbox: String,
}

/// What was seen beside an offender.
#[derive(Default)]
struct Seen {
    alone: Vec<f64>,
    beside: Vec<f64>,
    /// What the server took of the processors meanwhile, in processors.
    server: Vec<f64>,
}

pub(crate) async fn measure(bench: &Bench) -> Result<Value> {
    let pairs = setting("POLYDEV_BENCH_NEIGHBOURS", 10);
    let config = "[runs]\nmax_concurrent = 4\n\n[pool]\ncli = 0\n".to_owned();
    let server = through::server(bench, config, &[PROVIDER]).await?;
    let other = {
        let server = server.clone();
        tokio::task::spawn_blocking(move || server.person("offender@example.com")).await?
    };
    connect(&server, &other).await?;
    through::run(&server, PROVIDER, PROMPT).await?;
    head(
        &format!("beside another sandbox, {pairs} pairs"),
        &["alone (ms)", "beside", "slower", "server cpu", "≤ ×1.20"],
    );
    let mut figures = Map::from_iter([
        ("provider".into(), json!(PROVIDER)),
        ("prompt".into(), json!(PROMPT)),
        ("unit".into(), json!("ms")),
    ]);
    for offender in &OFFENDERS {
        let (mut seen, mut ended) = (Seen::default(), 0);
        while seen.beside.len() < pairs {
            let at_work = start(&server, &other, offender).await?;
            for _ in 0..PAIRS_AT_A_TIME.min(pairs - seen.beside.len()) {
                // Each goes first in turn: what slows the machine down meanwhile slows both.
                let alone_first = seen.beside.len() % 2 == 0;
                let pair = pair(&server, &at_work, alone_first).await?;
                // Its tool may be the first whom it meets: then it is over, and what was measured is of nothing.
                if !goes_on(&server, &other, &at_work).await? {
                    ended += 1;
                    ensure!(ended < ENDED_MOST, "`{}` ends again and again", offender.name);
                    break;
                }
                seen.add(&pair);
            }
            stop(&server, &other, &at_work).await?;
        }
        figures.insert(offender.name.into(), report(offender.name, &seen));
    }
    let left = through::stop(server).await?;
    ensure!(left.is_empty(), "something is left of sandboxes: {left:#?}");
    Ok(figures.into())
}

/// A run alone and one beside the offender.
#[derive(Default)]
struct Pair {
    alone: f64,
    beside: f64,
    server: f64,
}

async fn pair(server: &Server, at_work: &AtWork, alone_first: bool) -> Result<Pair> {
    let mut pair = Pair::default();
    for alone in [alone_first, !alone_first] {
        freeze(&at_work.sandbox, alone).await?;
        let (cpu, begun) = (proc::Cpu::of(server.pid())?, Instant::now());
        let took = through::run(server, PROVIDER, PROMPT).await?.took.end;
        if alone {
            pair.alone = took;
        } else {
            pair.beside = took;
            pair.server = proc::Cpu::of(server.pid())?.since(cpu).own / begun.elapsed().as_secs_f64();
        }
    }
    Ok(pair)
}

impl Seen {
    fn add(&mut self, pair: &Pair) {
        self.alone.push(pair.alone);
        self.beside.push(pair.beside);
        self.server.push(pair.server);
    }
}

fn report(name: &str, seen: &Seen) -> Value {
    let of = |series: &[f64]| Tally::of(series.iter().copied());
    let (alone, beside, server) = (of(&seen.alone), of(&seen.beside), of(&seen.server));
    let slower = Tally::of(seen.alone.iter().zip(&seen.beside).map(|(alone, beside)| beside / alone));
    let holds = if slower.median <= MOST { "yes" } else { "no" };
    let whole = |value: f64| format!("{value:.0}");
    let cells =
        [whole(alone.median), whole(beside.median), format!("×{:.2}", slower.median), format!("{:.2}", server.median)];
    row(name, &[&cells[0], &cells[1], &cells[2], &cells[3], holds]);
    json!({
        "alone": alone.json(),
        "beside": beside.json(),
        "slower": { "median": round(slower.median), "p95": round(slower.p95) },
        "server_processors": round(server.median),
    })
}

async fn connect(server: &Server, key: &str) -> Result<()> {
    let body = json!({ "api_key": good_key(PROVIDER) });
    let put = server.request_as(key, Method::PUT, &format!("/connections/{PROVIDER}")).json(&body);
    put.send().await?.error_for_status()?;
    Ok(())
}

async fn get(server: &Server, key: &str, path: &str) -> Result<Value> {
    Ok(server.request_as(key, Method::GET, path).send().await?.error_for_status()?.json().await?)
}

/// Starts an offender, and waits until it has met what bounds it.
async fn start(server: &Server, key: &str, offender: &Offender) -> Result<AtWork> {
    let script = json!({ "path": "offend.sh", "content_base64": BASE64_STANDARD.encode(offender.script) });
    let body = json!({ "provider": PROVIDER, "prompt": "use tool: bash offend.sh", "files": [script] });
    let run = server.request_as(key, Method::POST, "/runs").json(&body).send().await?.error_for_status()?;
    let run: Value = run.json().await?;
    let run = run["id"].as_str().context("a run has an id")?.to_owned();
    let at_work = async {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        loop {
            look.tick().await;
            let list = get(server, key, "/sandboxes?limit=1").await?;
            if let (Some(sandbox), true) = (list["items"][0]["id"].as_str(), list["items"][0]["run_id"] == *run)
                && (offender.is_at_work)(sandbox)
            {
                return anyhow::Ok(sandbox.to_owned());
            }
        }
    };
    let at_work = tokio::time::timeout(AT_WORK_WITHIN, at_work).await;
    let sandbox = at_work.with_context(|| format!("`{}` did not come to work", offender.name))??;
    Ok(AtWork { run, sandbox })
}

/// Whether an offender still does its worst.
async fn goes_on(server: &Server, key: &str, at_work: &AtWork) -> Result<bool> {
    Ok(get(server, key, &format!("/runs/{}", at_work.run)).await?["status"] == "running")
}

/// Ends it, and waits until nothing is left of it.
async fn stop(server: &Server, key: &str, at_work: &AtWork) -> Result<()> {
    freeze(&at_work.sandbox, false).await?;
    let cancel = server.request_as(key, Method::POST, &format!("/runs/{}/cancel", at_work.run)).send().await?;
    let status = cancel.status();
    ensure!(status == 202 || status == 409, "an offender cannot be cancelled: {status}");
    through::at_rest(server, 0).await
}

/// Stops all of a sandbox where it is, or lets it go on.
async fn freeze(sandbox: &str, frozen: bool) -> Result<()> {
    let v1 = Path::new("/sys/fs/cgroup/freezer/polydev").join(sandbox).join("freezer.state");
    let v2 = Path::new("/sys/fs/cgroup/polydev").join(sandbox).join("cgroup.freeze");
    let (file, word) = match (v1.exists(), frozen) {
        (true, true) => (v1, "FROZEN"),
        (true, false) => (v1, "THAWED"),
        (false, true) => (v2, "1"),
        (false, false) => (v2, "0"),
    };
    let mut look = tokio::time::interval(Duration::from_millis(1));
    if !file.exists() {
        // It has ended.
        return Ok(());
    }
    // Version 1 may have to be told again where processes come and go.
    for _ in 0..10_000 {
        fs::write(&file, word)?;
        if fs::read_to_string(&file)?.trim() == word {
            return Ok(());
        }
        look.tick().await;
    }
    anyhow::bail!("`{sandbox}` does not freeze or thaw")
}
