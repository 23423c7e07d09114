//! What the web app's first page loads, and how soon it can be worked with.

use crate::{
    Bench,
    server::{NO_POOL, Server},
    table::{head, one, row},
    tally::Tally,
};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Stdio};
use tokio::process::Command;

/// What is told of each load.
const TIMES: [&str; 3] = ["first_paint_ms", "interactive_ms", "blocking_ms"];

pub(crate) async fn measure(bench: &Bench) -> Result<Value> {
    let standin = bench.standin.clone();
    let server = tokio::task::spawn_blocking(move || Server::empty(&standin, NO_POOL, &[])).await?;
    let link = fs::read_to_string(server.data_dir().join("setup-link")).context("nobody uses it yet")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/web");
    let out = Command::new(script)
        .arg("figures")
        .env("POLYDEV_SETUP_LINK", link.trim_end())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await?;
    ensure!(out.status.success(), "the browser could not measure");
    let told: Value = serde_json::from_slice(&out.stdout).context("it prints JSON")?;

    head("web, medians, on a processor slowed four times (ms)", &["empty page", "cold", "warm"]);
    let series = |loads: &str, name: &str| {
        let loads = told[loads].as_array().into_iter().flatten();
        Tally::of(loads.filter_map(|load| load[name].as_f64()))
    };
    for name in TIMES {
        let cells = ["empty", "cold", "warm"].map(|loads| one(series(loads, name).median));
        row(name, &cells.each_ref().map(String::as_str));
    }
    let all = |loads: &str| Value::from_iter(TIMES.map(|name| (name, series(loads, name).json())));
    let first = &told["cold"][0];
    println!("first load: {} bytes in {} answers", first["bytes"], first["requests"]);
    Ok(json!({
        "cpu_slowed": 4,
        "first_load": { "bytes": first["bytes"], "answers": first["requests"] },
        "sizes": told["sizes"],
        "empty_page": all("empty"),
        "cold": all("cold"),
        "warm": all("warm"),
    }))
}
