//! 1, 8 and 32 runs at a time, and as many bare tools.

use crate::{
    Bench,
    bare::{Root, Took},
    host, proc,
    server::Server,
    setting,
    table::{head, one, row},
    tally::{Tally, round},
    through,
};
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

const PROVIDER: &str = "claude";
const PROMPT: &str = "What is 2+2?";
const LEVELS: [usize; 3] = [1, 8, 32];
/// As by default.
const PARKED: usize = 1;

/// What came of runs at a time.
#[derive(Default)]
struct Batch {
    took: Vec<Took>,
    seconds: f64,
    sandboxes: BTreeSet<String>,
    warm: usize,
    cpu: proc::Cpu,
    /// From the last answer until nothing was left of any run, milliseconds.
    gone: Vec<f64>,
}

pub(crate) async fn measure(bench: &Bench) -> Result<Value> {
    let least = setting("POLYDEV_BENCH_RUNS", 48);
    let levels: Vec<usize> =
        LEVELS.into_iter().filter(|level| *level <= setting("POLYDEV_BENCH_AT_A_TIME", 32)).collect();
    let most = *levels.last().context("`POLYDEV_BENCH_AT_A_TIME` is at least 1")?;
    let config =
        format!("[runs]\nmax_concurrent = {most}\n\n[pool]\ncli = {PARKED}\n\n[sandbox.cli]\ncpus = {}\n", bench.cores);
    let roots = (0..most).map(|_| bench.image.root()).collect::<Result<Vec<_>>>()?;
    let server = through::server(bench, config, &[PROVIDER]).await?;
    roots[0].run(bench, PROVIDER, PROMPT).await?;
    let mut sandboxes = BTreeSet::from([through::run(&server, PROVIDER, PROMPT).await?.sandbox]);
    head("claude, at a time", &["bare", "polydev", "p95 bare", "p95", "polydev/bare"]);
    let mut figures = Map::from_iter([
        ("provider".into(), json!(PROVIDER)),
        ("prompt".into(), json!(PROMPT)),
        ("unit".into(), json!("ms")),
    ]);
    for level in levels {
        let half = least.max(2 * level).div_ceil(2);
        let (mut bare, mut polydev) = (Batch::default(), Batch::default());
        // Each goes first once: what slows the machine down meanwhile slows both.
        bare.add(bares(bench, &roots[..level], half).await?);
        polydev.add(throughs(&server, level, half).await?);
        polydev.add(throughs(&server, level, half).await?);
        bare.add(bares(bench, &roots[..level], half).await?);
        figures.insert(format!("runs_{level}_at_a_time"), report(level, &bare, &polydev));
        sandboxes.append(&mut polydev.sandboxes);
    }
    sandboxes.extend(server.sandboxes());
    let mut left = through::stop(server).await?;
    left.extend(sandboxes.iter().flat_map(|sandbox| host::leftovers(sandbox)));
    row("left of all their sandboxes", &["", &left.len().to_string(), "", "", "= 0"]);
    ensure!(left.is_empty(), "something is left of sandboxes: {left:#?}");
    figures.insert("left_of_all_sandboxes".into(), json!(left.len()));
    figures.insert("sandboxes".into(), json!(sandboxes.len()));
    Ok(figures.into())
}

/// So many bare tools, one after the other in each of these roots.
async fn bares(bench: &Bench, roots: &[Root], count: usize) -> Result<Batch> {
    let (taken, started) = (AtomicUsize::new(0), Instant::now());
    let worker = async |root: &Root| {
        let mut took = Vec::new();
        while taken.fetch_add(1, Ordering::Relaxed) < count {
            took.push(root.run(bench, PROVIDER, PROMPT).await?);
        }
        anyhow::Ok(took)
    };
    let took = futures_util::future::try_join_all(roots.iter().map(worker)).await?.concat();
    Ok(Batch { took, seconds: started.elapsed().as_secs_f64(), ..Batch::default() })
}

/// So many runs through Polydev, this many at a time.
async fn throughs(server: &Arc<Server>, level: usize, count: usize) -> Result<Batch> {
    through::at_rest(server, PARKED).await?;
    let (taken, started, cpu) = (AtomicUsize::new(0), Instant::now(), proc::Cpu::of(server.pid())?);
    let worker = async |_| {
        let mut runs = Vec::new();
        while taken.fetch_add(1, Ordering::Relaxed) < count {
            runs.push(through::run(server, PROVIDER, PROMPT).await?);
        }
        anyhow::Ok(runs)
    };
    let runs = futures_util::future::try_join_all((0..level).map(worker)).await?.concat();
    let (seconds, ended) = (started.elapsed().as_secs_f64(), Instant::now());
    through::at_rest(server, PARKED).await.context("after runs at a time")?;
    Ok(Batch {
        took: runs.iter().map(|run| run.took).collect(),
        seconds,
        warm: runs.iter().filter(|run| run.warm).count(),
        sandboxes: runs.into_iter().map(|run| run.sandbox).collect(),
        cpu: proc::Cpu::of(server.pid())?.since(cpu),
        gone: vec![ended.elapsed().as_secs_f64() * 1e3],
    })
}

impl Batch {
    fn add(&mut self, mut other: Self) {
        self.took.append(&mut other.took);
        self.seconds += other.seconds;
        self.sandboxes.append(&mut other.sandboxes);
        self.warm += other.warm;
        self.cpu.own += other.cpu.own;
        self.cpu.children += other.cpu.children;
        self.gone.append(&mut other.gone);
    }

    fn a_second(&self) -> f64 {
        self.took.len() as f64 / self.seconds
    }

    fn whole(&self) -> Tally {
        Tally::of(self.took.iter().map(|took| took.end))
    }
}

fn report(level: usize, bare: &Batch, polydev: &Batch) -> Value {
    let (whole_bare, whole) = (bare.whole(), polydev.whole());
    let (a_second_bare, a_second) = (bare.a_second(), polydev.a_second());
    let runs = polydev.took.len() as f64;
    let (own, children) = (polydev.cpu.own * 1e3 / runs, polydev.cpu.children * 1e3 / runs);
    let times = |polydev: f64, bare: f64| format!("×{:.2}", polydev / bare);
    row(
        &format!("{level}: runs a second"),
        &[&one(a_second_bare), &one(a_second), "", "", &times(a_second, a_second_bare)],
    );
    row(
        &format!("{level}: whole run (ms)"),
        &[
            &one(whole_bare.median),
            &one(whole.median),
            &one(whole_bare.p95),
            &one(whole.p95),
            &times(whole.median, whole_bare.median),
        ],
    );
    row("  server, own processor time a run (ms)", &["", &one(own)]);
    row("  what it starts (the runtime; ms)", &["", &one(children)]);
    json!({
        "bare": { "runs_per_second": round(a_second_bare), "whole_run": whole_bare.json() },
        "polydev": { "runs_per_second": round(a_second), "whole_run": whole.json(), "warm": polydev.warm },
        "server_cpu_ms_per_run": round(own),
        "runtime_cpu_ms_per_run": round(children),
        "last_answer_until_nothing_is_left_ms": polydev.gone.iter().map(|ms| ms.round()).collect::<Vec<_>>(),
    })
}
