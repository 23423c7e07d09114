//! Memory of sandboxes, idle and at work, and of the server.

use crate::{
    Bench,
    bare::Heard,
    proc::{Group, agent_of, own_mib, resident_mib, tree},
    server::Server,
    setting,
    table::{head, row},
    tally::{Tally, round},
    through,
};
use anyhow::{Context, Result};
use futures_util::StreamExt;
use polydev_server::domain::event::EventBody;
use reqwest::Method;
use serde_json::{Value, json};

const PROVIDER: &str = "claude";
/// Half of it is said; then the tool waits, until it is cancelled.
const PROMPT: &str = "count to 20 [fault:stall]";

/// A sandbox's memory, MiB.
struct Footprint {
    /// Of its control group: processes, files in memory, page cache, kernel.
    whole: f64,
    /// What the agent has written in its memory.
    agent: f64,
    /// The same with its code, which all agents share.
    agent_resident: f64,
    /// What the tool has written in its memory.
    tool: f64,
}

pub(crate) async fn measure(bench: &Bench) -> Result<Value> {
    let count = setting("POLYDEV_BENCH_SANDBOXES", 8);
    head(&format!("memory, medians of {count} (MiB)"), &["bare", "polydev", "yardstick"]);
    let bare = bare(bench).await?;
    let parked = parked(bench, count).await?;

    let config = format!("[runs]\nmax_concurrent = {count}\n\n[pool]\ncli = 0\n");
    let server = through::server(bench, config, &[PROVIDER]).await?;
    through::at_rest(&server, 0).await?;
    let idle = resident_mib(server.pid())?;
    // The first run touches the server's code, and reads the tool into the page cache: that is nobody's.
    through::run(&server, PROVIDER, "What is 2+2?").await?;
    through::at_rest(&server, 0).await?;
    let before = resident_mib(server.pid())?;
    let (mut runs, mut streams) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let mut events = Box::pin(through::begin(&server, PROVIDER, PROMPT).await?);
        loop {
            match events.next().await.context("it stalls, and does not end")??.body {
                EventBody::Queued { run_id } => runs.push(run_id),
                EventBody::Text { .. } => break,
                EventBody::Failed { error } => anyhow::bail!("{}", error.message),
                EventBody::Started { .. }
                | EventBody::Reasoning { .. }
                | EventBody::ToolCall { .. }
                | EventBody::ToolResult { .. }
                | EventBody::Usage(_)
                | EventBody::Log { .. }
                | EventBody::Completed { .. }
                | EventBody::Cancelled => {}
            }
        }
        streams.push(events);
    }
    let running = footprints(&server)?;
    let with_runs = resident_mib(server.pid())?;
    for run in &runs {
        server.request(Method::POST, &format!("/runs/{run}/cancel")).send().await?.error_for_status()?;
    }
    for mut events in streams {
        while let Some(event) = events.next().await {
            event?;
        }
    }
    through::at_rest(&server, 0).await?;
    let after = resident_mib(server.pid())?;
    through::stop(server).await?;

    let per_run = (with_runs - before) / count as f64;
    let tell = |name: &str, bare: &str, value: f64, yardstick: &str| {
        row(name, &[bare, &format!("{value:.2}"), yardstick]);
    };
    tell("parked sandbox, all that is counted", "", median(&parked, |f| f.whole), "");
    tell("parked sandbox, its agent alone", "", median(&parked, |f| f.agent), "");
    tell("running sandbox, all that is counted", "", median(&running, |f| f.whole), "");
    tell("running sandbox, its agent alone", "", median(&running, |f| f.agent), "");
    tell("running sandbox, the tool alone", &format!("{bare:.1}"), median(&running, |f| f.tool), "as bare");
    tell("running sandbox, without the tool", "", median(&running, |f| f.whole - f.tool), "");
    tell("server, idle (resident)", "", idle, "≤ 40");
    tell("server, after the first run", "", before, "≤ 40");
    tell("server, more for each running run", "", per_run, "");
    tell("server, when they have ended", "", after, "");
    Ok(json!({
        "unit": "MiB",
        "count": count,
        "bare_tool": round(bare),
        "parked_sandbox": json_of(&parked),
        "running_sandbox": json_of(&running),
        "server": {
            "idle": round(idle),
            "after_the_first_run": round(before),
            "more_per_running_run": round(per_run),
            "when_they_have_ended": round(after),
        },
    }))
}

/// What the bare tool has written in its memory at the same place.
async fn bare(bench: &Bench) -> Result<f64> {
    let root = bench.image.root()?;
    let mut tool = root.start(bench, PROVIDER, PROMPT)?;
    loop {
        match tool.next().await? {
            Heard::Event(EventBody::Text { .. }) => return Ok(own_mib(&tree(tool.pid()?))),
            Heard::Event(_) => {}
            Heard::End(outcome) => anyhow::bail!("the bare tool ended: {outcome:?}"),
        }
    }
}

/// Sandboxes that were made ahead.
async fn parked(bench: &Bench, count: usize) -> Result<Vec<Footprint>> {
    let server = through::server(bench, format!("[pool]\ncli = {count}\n"), &[PROVIDER]).await?;
    through::at_rest(&server, count).await?;
    let footprints = footprints(&server)?;
    through::stop(server).await?;
    Ok(footprints)
}

/// Of every sandbox that stands.
fn footprints(server: &Server) -> Result<Vec<Footprint>> {
    let of = |sandbox: String| {
        let agent = agent_of(server, &sandbox)?;
        let group = Group::of(agent)?;
        let others: Vec<u32> = group.pids()?.into_iter().filter(|pid| *pid != agent).collect();
        Ok(Footprint {
            whole: group.mib()?,
            agent: own_mib(&[agent]),
            agent_resident: resident_mib(agent)?,
            tool: own_mib(&others),
        })
    };
    server.sandboxes().into_iter().map(of).collect()
}

fn median(footprints: &[Footprint], figure: fn(&Footprint) -> f64) -> f64 {
    Tally::of(footprints.iter().map(figure)).median
}

fn json_of(footprints: &[Footprint]) -> Value {
    json!({
        "whole": round(median(footprints, |f| f.whole)),
        "agent": round(median(footprints, |f| f.agent)),
        "agent_resident": round(median(footprints, |f| f.agent_resident)),
        "tool": round(median(footprints, |f| f.tool)),
        "whole_without_the_tool": round(median(footprints, |f| f.whole - f.tool)),
    })
}
