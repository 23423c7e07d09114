//! `image build|verify|list|prune DIR`: images without the rest of Polydev.
//! `verify` starts a sandbox, if this host can, below `DIR/.proof`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is a command")]

use anyhow::{Context, bail};
use polydev_sandbox::{
    drivers::{self, DriverConfig},
    image::{ImageStore, Kind, Progress},
};
use std::process::ExitCode;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [command, dir] = args.as_slice() else { bail!("usage: image build|verify|list|prune DIR") };
    let store = ImageStore::open(dir);
    let mut progress = |progress: Progress| match progress {
        Progress::Waiting => eprintln!("another build is at work in `{dir}`: waiting for it"),
        Progress::Started(stage) => eprintln!("{stage} …"),
        Progress::Line(stage, line) => eprintln!("{stage}: {line}"),
        Progress::Finished(stage, took) => eprintln!("{stage} done in {:.1} s", took.as_secs_f64()),
    };
    let config = DriverConfig { state_dir: store.dir().join(".proof"), oci_runtime: None };
    let driver = drivers::auto(&config).await.inspect_err(|unfit| eprintln!("no sandboxes here: {unfit:?}")).ok();
    match command.as_str() {
        "build" => {
            let built = tokio::select! {
                built = store.build(Kind::Cli, driver.as_ref(), &mut progress) => built,
                _ = tokio::signal::ctrl_c() => bail!("interrupted; nothing has changed"),
            };
            let built = built.map_err(|error| {
                let hint = error.hint();
                anyhow::Error::from(error).context(hint.unwrap_or_default())
            })?;
            println!("{}", serde_json::to_string_pretty(&built)?);
        }
        "verify" => {
            let report = store.verify(Kind::Cli, driver.as_ref(), &mut progress).await?;
            for check in &report.checks {
                println!("{check}");
            }
            if !report.passed() {
                return Ok(ExitCode::FAILURE);
            }
        }
        "list" => println!("{}", serde_json::to_string_pretty(&store.list().context("list")?)?),
        "prune" => println!("{}", serde_json::to_string_pretty(&store.prune(&mut progress).await?)?),
        other => bail!("`{other}` is not build, verify, list or prune"),
    }
    Ok(ExitCode::SUCCESS)
}
