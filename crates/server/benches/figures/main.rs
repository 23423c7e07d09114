//! Polydev's figures, each beside its yardstick in the same run. `make bench` runs it as root.
//!
//! ```text
//!   road    one prompt at a time: cold, warm, as it comes    beside the bare tool
//!   load    1, 8 and 32 runs at a time                       beside as many bare tools
//!   events  one run that says much, and many who follow it   beside a bare server of events
//!   memory  of sandboxes, of the server                      beside the bare tool
//!   egress  connections, round trips, downloads              beside plain TCP
//!   web     what the dashboard loads, and how soon it is     beside a page with nothing in it
//!   desktop from a click to VNC, terminal, Firefox           beside the bare X server
//!   bridge  bytes between a browser and a screen             beside plain TCP and websockify
//!   neighbours  runs beside sandboxes that do their worst    beside the same while those are frozen
//! ```
//! Words after `--` choose parts; without them all are measured. Each prints a table and keeps its
//! figures in `bench/`. `bench/README.md` says how to read them, and which variables make it shorter.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads its settings, starts programs and reads the clock itself"
)]
#![expect(clippy::print_stdout, reason = "it prints its tables")]

mod bare;
mod bridge;
mod crowd;
mod desktop;
mod egress;
mod ends;
mod events;
#[path = "../../tests/it/support/host.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "the tests use the rest of it, and it is theirs")]
mod host;
mod load;
mod memory;
mod neighbours;
#[path = "../../tests/it/support/offenders.rs"]
mod offenders;
mod proc;
mod readers;
mod road;
#[path = "../../tests/it/support/server.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "the tests use the rest of it, and it is theirs"
)]
mod server;
mod table;
mod tally;
mod through;
mod warm;
mod web;
mod yardstick;

use anyhow::{Context, Result, bail};
use polydev_standin::{Options, Standin};
use serde_json::{Value, json};
use std::{fs, path::Path, sync::Arc};

/// Every part.
const PARTS: [&str; 9] = ["road", "load", "events", "memory", "egress", "neighbours", "web", "desktop", "bridge"];

/// What every part needs.
struct Bench {
    standin: Arc<Standin>,
    image: bare::Image,
    cores: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    // `cargo bench` adds a word of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [yardstick::WORD, file] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return yardstick::serve(Path::new(file)).await;
    }
    let standin = Arc::new(Standin::start(Options::default()).await?);
    let image = bare::Image::mount("cli", &standin)?;
    let bench = Bench { standin, image, cores: std::thread::available_parallelism()?.get() };
    let all = PARTS.map(str::to_owned).to_vec();
    for part in if words.is_empty() { all } else { words } {
        let figures = match part.as_str() {
            "road" => road::measure(&bench).await?,
            "load" => load::measure(&bench).await?,
            "events" => events::measure(&bench).await?,
            "memory" => memory::measure(&bench).await?,
            "egress" => egress::measure(&bench).await?,
            "neighbours" => neighbours::measure(&bench).await?,
            "web" => web::measure(&bench).await?,
            "desktop" => desktop::measure(&bench).await?,
            "bridge" => bridge::measure(&bench).await?,
            other => bail!("there is no part `{other}`: {}", PARTS.join(", ")),
        };
        keep(&part, &bench, figures)?;
    }
    Ok(())
}

/// A number from the environment.
fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Writes a part's figures to `bench/`, with what they were taken on.
fn keep(part: &str, bench: &Bench, figures: Value) -> Result<()> {
    let mut all = json!({
        "at": jiff::Timestamp::now().to_string(),
        "cores": bench.cores,
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().split('-').next(),
        "load_average_at_the_end": fs::read_to_string("/proc/loadavg")?.split(' ').next(),
    });
    let own = figures.as_object().context("a part's figures have names")?.clone();
    all.as_object_mut().context("it is an object")?.extend(own);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../bench/{part}.json"));
    fs::write(&file, serde_json::to_string_pretty(&all)? + "\n")?;
    Ok(())
}
