//! One prompt at a time: the same binary, arguments, files and stand-in, bare and through Polydev, alternating.

use crate::{
    Bench,
    bare::{Root, Took},
    proc, setting,
    table::{head, one, row},
    tally::{Tally, round},
    through::{self, Through},
};
use anyhow::Result;
use serde_json::{Map, Value, json};

const PROVIDERS: &[&str] = &["claude", "codex", "gemini"];
const PROMPT: &str = "count to 20";

/// Runs of one kind, and what they are to hold.
struct Series {
    title: &'static str,
    cpus: usize,
    /// How many sandboxes are made ahead.
    parked: usize,
    pairs: usize,
    yardstick: Yardstick,
}

struct Yardstick {
    /// Accepted to spawned, milliseconds: the median, and 95 of 100.
    spawned: (f64, f64),
    /// The first event, milliseconds after the bare tool's.
    first: f64,
    /// The whole run, times the bare tool's.
    whole: f64,
}

const COLD: Yardstick = Yardstick { spawned: (50.0, 100.0), first: 50.0, whole: 1.10 };
const WARM: Yardstick = Yardstick { spawned: (5.0, 15.0), first: 10.0, whole: 1.05 };

pub(crate) async fn measure(bench: &Bench) -> Result<Value> {
    let pairs = setting("POLYDEV_BENCH_PAIRS", 30);
    let root = bench.image.root()?;
    let mut figures = Map::from_iter([
        ("pairs".into(), json!(pairs)),
        ("prompt".into(), json!(PROMPT)),
        ("unit".into(), json!("ms")),
        ("harness_ms_taken_off_the_bare_tool".into(), json!(round(root.harness_ms))),
    ]);
    // The same processors for both: what Polydev adds. Then its default limit: what people get.
    let (cores, third) = (bench.cores, pairs.div_ceil(3));
    for (name, series) in [
        ("runs_cold", Series { title: "cold, all processors", cpus: cores, parked: 0, pairs, yardstick: COLD }),
        ("runs_warm", Series { title: "warm, all processors", cpus: cores, parked: 1, pairs, yardstick: WARM }),
        (
            "runs_warm_with_one_processor",
            Series { title: "warm, one processor", cpus: 1, parked: 1, pairs: third, yardstick: WARM },
        ),
    ] {
        figures.insert(name.into(), series.run(bench, &root).await?);
    }
    Ok(figures.into())
}

impl Series {
    /// Pairs of runs of every provider, each in quiet: nothing is left of the run before, and the pool is full.
    async fn run(&self, bench: &Bench, root: &Root) -> Result<Value> {
        let Self { title, cpus, parked, pairs, .. } = *self;
        let config = format!("[pool]\ncli = {parked}\n\n[sandbox.cli]\ncpus = {cpus}\n");
        let server = through::server(bench, config, PROVIDERS).await?;
        let idle_mib = proc::resident_mib(server.pid())?;
        head(&format!("{title} ({pairs} pairs, ms)"), &["bare", "polydev", "p95", "yardstick"]);
        let mut figures = Map::new();
        for provider in PROVIDERS {
            // Once each, so that both find the tool in the page cache.
            root.run(bench, provider, PROMPT).await?;
            through::run(&server, provider, PROMPT).await?;
            let (mut bares, mut throughs) = (Vec::new(), Vec::new());
            for pair in 0..pairs {
                for turn in 0..2 {
                    through::at_rest(&server, parked).await?;
                    // Each goes first as often as the other.
                    if pair % 2 == turn {
                        bares.push(root.run(bench, provider, PROMPT).await?);
                    } else {
                        throughs.push(through::run(&server, provider, PROMPT).await?);
                    }
                }
            }
            figures.insert((*provider).into(), self.report(provider, &bares, &throughs));
        }
        through::at_rest(&server, parked).await?;
        let after_mib = proc::resident_mib(server.pid())?;
        row("server, idle (MiB resident)", &["", &one(idle_mib), "", "≤ 40"]);
        row("server, after these runs (MiB resident)", &["", &one(after_mib)]);
        figures.insert("server_idle_mib".into(), json!(round(idle_mib)));
        figures.insert("server_after_mib".into(), json!(round(after_mib)));
        through::stop(server).await?;
        Ok(figures.into())
    }

    /// Prints a provider's rows, and gives them as JSON.
    fn report(&self, provider: &str, bares: &[Took], throughs: &[Through]) -> Value {
        let Yardstick { spawned: (median, p95), first, whole } = self.yardstick;
        let warm = throughs.iter().filter(|through| through.warm).count();
        let spawned = Tally::of(throughs.iter().map(|through| through.spawned));
        let seen = Tally::of(throughs.iter().map(|through| through.seen));
        let yardstick = format!("≤ {median}, {p95}");
        row(
            &format!("{provider}: accepted → spawned (mean {:.1})", spawned.mean),
            &["", &one(spawned.median), &one(spawned.p95), &yardstick],
        );
        row("  request sent → start read", &["", &one(seen.median), &one(seen.p95)]);
        let mut rows = Map::from_iter([
            ("warm".into(), json!(warm)),
            ("accepted_to_spawned".into(), spawned.json()),
            ("request_to_spawned_read".into(), seen.json()),
        ]);
        if self.parked > 0 {
            row("  found a sandbox that was made ahead", &["", &warm.to_string(), "", &format!("= {}", self.pairs)]);
        }
        let of = |figure: fn(&Took) -> f64| {
            let bare: Vec<f64> = bares.iter().map(figure).collect();
            (bare, throughs.iter().map(|through| figure(&through.took)).collect::<Vec<f64>>())
        };
        for (name, (bare, through), yardstick) in [
            ("first event", of(|took| took.first), format!("≤ +{first}")),
            ("whole run", of(|took| took.end), format!("≤ ×{whole:.2}")),
        ] {
            let added = Tally::of(bare.iter().zip(&through).map(|(bare, through)| through - bare));
            let (bare, through) = (Tally::of(bare), Tally::of(through));
            let ratio = through.median / bare.median;
            row(&format!("{provider}: {name}"), &[&one(bare.median), &one(through.median), &one(through.p95)]);
            row(
                &format!("  added, paired (medians ×{ratio:.2})"),
                &["", &format!("{:+.1}", added.mean), &format!("±{:.1}", added.error), &yardstick],
            );
            let row = json!({
                "bare": bare.json(),
                "polydev": through.json(),
                "added": added.json(),
                "ratio_of_medians": round(ratio),
            });
            rows.insert(name.replace(' ', "_"), row);
        }
        rows.into()
    }
}
