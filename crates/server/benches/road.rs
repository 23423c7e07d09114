//! The bare tool on this host against the same prompt through Polydev: the
//! same binary, arguments, files and stand-in, alternating in one run.
//!
//! `make bench` runs it as root. It prints a table, and keeps the figures as
//! JSON in `bench/road.json`. `POLYDEV_BENCH_PAIRS` sets how many pairs.

#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads its settings, starts programs and reads the clock itself"
)]
#![expect(clippy::print_stdout, reason = "it prints its table")]

#[path = "../tests/it/support/server.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "the tests use the rest of it, and it is theirs"
)]
mod server;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use polydev_server::{
    domain::event::{Event, EventBody},
    providers::{self, Credential, Invocation, Prompt, Step, Tools},
};
use polydev_standin::{Options, Standin};
use secrecy::ExposeSecret;
use serde_json::json;
use server::{Server, good_key, images};
use std::{
    fs,
    os::unix::fs::{OpenOptionsExt, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

const PROMPT: &str = "count to 20";
const UID: u32 = 10001;

/// Milliseconds from the start: to the first piece of the answer, to the tool's last word.
#[derive(Debug, Clone, Copy)]
struct Took {
    first: f64,
    end: f64,
}

/// The same through Polydev, and from accepting the run to its tool's start.
#[derive(Debug, Clone, Copy)]
struct Through {
    took: Took,
    spawned: f64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let pairs: usize = std::env::var("POLYDEV_BENCH_PAIRS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let standin = Arc::new(Standin::start(Options::default()).await?);
    let root = BareRoot::new(&standin)?;
    let cores = std::thread::available_parallelism()?.get();

    // The same processors for both: what Polydev adds. Then its default limit: what people get.
    let same = series(&root, &standin, cores, pairs, "as many processors as the bare tool").await?;
    let default = series(&root, &standin, 1, pairs.div_ceil(3), "the default limit, one processor").await?;

    let result = json!({
        "at": jiff::Timestamp::now().to_string(),
        "cores": cores,
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().split('-').next(),
        "pairs": pairs,
        "prompt": PROMPT,
        "unit": "ms",
        "harness_ms_taken_off_the_bare_tool": root.harness_ms,
        "runs_cold": same,
        "runs_cold_with_one_processor": default,
    });
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/road.json");
    fs::write(&file, serde_json::to_string_pretty(&result)? + "\n")?;
    Ok(())
}

/// Pairs of runs of every provider, the sandboxes limited to `cpus`.
async fn series(
    root: &BareRoot,
    standin: &Arc<Standin>,
    cpus: usize,
    pairs: usize,
    title: &str,
) -> Result<serde_json::Value> {
    let config = format!("[pool]\ncli = 0\n\n[sandbox.cli]\ncpus = {cpus}\n");
    let for_server = standin.clone();
    let server = tokio::task::spawn_blocking(move || {
        let server = Server::start_with(&for_server, &config);
        for provider in ["claude", "codex", "gemini"] {
            server.connect(provider);
        }
        server
    })
    .await?;
    let idle_mib = resident_mib(server.pid())?;
    println!(
        "\n{:<44}{:>10}{:>10}{:>10}{:>12}",
        format!("{title} ({pairs} pairs)"),
        "bare",
        "polydev",
        "p95",
        "yardstick"
    );
    let mut figures = serde_json::Map::new();
    for provider in ["claude", "codex", "gemini"] {
        // Once each, so that both find the tool in the page cache.
        bare(provider, root, standin).await?;
        through(provider, &server).await?;
        let (mut bares, mut throughs) = (Vec::new(), Vec::new());
        for pair in 0..pairs {
            // Each goes first as often as the other.
            if pair % 2 == 0 {
                bares.push(bare(provider, root, standin).await?);
                throughs.push(through(provider, &server).await?);
            } else {
                throughs.push(through(provider, &server).await?);
                bares.push(bare(provider, root, standin).await?);
            }
        }
        figures.insert(provider.into(), report(provider, &bares, &throughs));
    }
    let after_mib = resident_mib(server.pid())?;
    println!("{:<44}{:>10}{:>10.1}{:>10}{:>12}", "server, idle (MiB resident)", "", idle_mib, "", "≤ 40");
    println!("{:<44}{:>10}{:>10.1}", "server, after these runs (MiB resident)", "", after_mib);
    figures.insert("server_idle_mib".into(), json!(idle_mib));
    figures.insert("server_after_mib".into(), json!(after_mib));
    tokio::task::spawn_blocking(move || drop(server)).await?;
    Ok(figures.into())
}

/// Prints a provider's rows, and gives them as JSON.
fn report(provider: &str, bares: &[Took], throughs: &[Through]) -> serde_json::Value {
    let spawned = Figures::of(throughs.iter().map(|t| t.spawned));
    println!(
        "{:<44}{:>10}{:>10.1}{:>10.1}{:>12}",
        format!("{provider}: accepted → spawned"),
        "",
        spawned.median,
        spawned.p95,
        "≤ 50, 100"
    );
    let mut rows = serde_json::Map::new();
    rows.insert("accepted_to_spawned".into(), spawned.json());
    for (name, bare, through, most) in [
        (
            "first event",
            bares.iter().map(|t| t.first).collect::<Vec<_>>(),
            throughs.iter().map(|t| t.took.first).collect::<Vec<_>>(),
            "≤ +50",
        ),
        ("whole run", bares.iter().map(|t| t.end).collect(), throughs.iter().map(|t| t.took.end).collect(), "≤ ×1.10"),
    ] {
        let added = Figures::of(bare.iter().zip(&through).map(|(bare, through)| through - bare));
        let (bare, through) = (Figures::of(bare.into_iter()), Figures::of(through.into_iter()));
        let ratio = through.median / bare.median;
        println!(
            "{:<44}{:>10.1}{:>10.1}{:>10.1}",
            format!("{provider}: {name}"),
            bare.median,
            through.median,
            through.p95
        );
        println!(
            "{:<44}{:>10}{:>10}{:>10}{:>12}",
            format!("  added, paired (medians ×{ratio:.2})"),
            "",
            format!("{:+.1}", added.mean),
            format!("±{:.1}", added.error),
            most
        );
        let row =
            json!({ "bare": bare.json(), "polydev": through.json(), "added": added.json(), "ratio_of_medians": ratio });
        rows.insert(name.replace(' ', "_"), row);
    }
    rows.into()
}

/// What is told of a series.
struct Figures {
    median: f64,
    p95: f64,
    mean: f64,
    /// The standard error of the mean.
    error: f64,
    count: usize,
}

impl Figures {
    fn of(series: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = series.collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let at = |share: f64| sorted[((count - 1) as f64 * share).round() as usize];
        let mean = sorted.iter().sum::<f64>() / count as f64;
        let variance = sorted.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count.max(2) - 1) as f64;
        Self { median: at(0.5), p95: at(0.95), mean, error: (variance / count as f64).sqrt(), count }
    }

    fn json(&self) -> serde_json::Value {
        let round = |value: f64| (value * 100.0).round() / 100.0;
        json!({ "median": round(self.median), "p95": round(self.p95), "mean": round(self.mean), "error": round(self.error), "count": self.count })
    }
}

/// The bare tool, in a fresh home, straight to the stand-in.
async fn bare(provider: &str, root: &BareRoot, standin: &Standin) -> Result<Took> {
    let provider = providers::by_name(provider).context("a known provider")?;
    let prompt = Prompt { text: PROMPT.into(), model: None, system: None, tools: Tools::All };
    let credential = Credential::ApiKey(good_key(provider.about().name).to_owned().into());
    let invocation = provider.invoke(&credential, &prompt).map_err(|failure| anyhow::anyhow!(failure.message))?;
    root.fresh_home(&invocation)?;
    let started = Instant::now();
    let mut command = tokio::process::Command::from(root.command(&invocation.argv));
    command
        .envs(invocation.env.iter().map(|(name, value)| (*name, value.as_str())))
        .envs(["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"].map(|name| (name, standin.proxy_url())))
        .stdin(if invocation.interactive || invocation.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take();
    if let (Some(stdin), Some(text)) = (&mut stdin, &invocation.stdin) {
        stdin.write_all(text.as_bytes()).await?;
    }
    if !invocation.interactive {
        stdin = None;
    }
    let mut dialogue = provider.dialogue(&prompt);
    let mut lines = BufReader::new(child.stdout.take().context("piped")?).split(b'\n');
    let mut steps = dialogue.begin();
    let mut first = None;
    loop {
        for step in steps {
            match step {
                Step::Emit(EventBody::Text { .. }) => {
                    first.get_or_insert_with(|| started.elapsed());
                }
                Step::Emit(_) => {}
                Step::Send(line) => {
                    let stdin = stdin.as_mut().context("it reads its input")?;
                    stdin.write_all(format!("{line}\n").as_bytes()).await?;
                }
                Step::End(outcome) => {
                    let end = started.elapsed();
                    child.kill().await?;
                    let first = first.with_context(|| format!("the bare tool answered nothing: {outcome:?}"))?;
                    let own = |took: std::time::Duration| took.as_secs_f64() * 1e3 - root.harness_ms;
                    return Ok(Took { first: own(first), end: own(end) });
                }
            }
        }
        let line = lines.next_segment().await?.context("the bare tool ended without a result")?;
        steps = dialogue.line(&line);
    }
}

/// The same prompt through Polydev, in a fresh sandbox.
async fn through(provider: &str, server: &Server) -> Result<Through> {
    use eventsource_stream::Eventsource;
    let started = Instant::now();
    let response = server
        .request(reqwest::Method::POST, "/runs")
        .header("accept", "text/event-stream")
        .json(&json!({ "provider": provider, "prompt": PROMPT }))
        .send()
        .await?
        .error_for_status()?;
    let mut stream = response.bytes_stream().eventsource();
    let (mut queued, mut spawned, mut first) = (None, None, None);
    while let Some(frame) = stream.next().await {
        let event: Event = serde_json::from_str(&frame?.data)?;
        match event.body {
            EventBody::Queued { .. } => queued = Some(event.at),
            EventBody::Started { .. } => spawned = Some(event.at),
            EventBody::Text { .. } => {
                first.get_or_insert_with(|| started.elapsed());
            }
            EventBody::Completed { .. } => {
                let end = started.elapsed().as_secs_f64() * 1e3;
                let first = first.context("it answered nothing")?.as_secs_f64() * 1e3;
                let spawned = (spawned.context("it never started")? - queued.context("it was never queued")?) as f64;
                return Ok(Through { took: Took { first, end }, spawned });
            }
            EventBody::Failed { error } => anyhow::bail!("{provider}: {}", error.message),
            EventBody::Cancelled
            | EventBody::Reasoning { .. }
            | EventBody::ToolCall { .. }
            | EventBody::ToolResult { .. }
            | EventBody::Usage(_)
            | EventBody::Log { .. } => {}
        }
    }
    anyhow::bail!("{provider}: the stream ended early")
}

fn resident_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("a process has a resident set")?;
    let kib: f64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib / 1024.0)
}

/// The image's tree on this host, writable in memory as in a sandbox, and no sandbox: the tool
/// sees this host's processes and network.
struct BareRoot {
    dir: PathBuf,
    /// What changing the root and the user costs, in milliseconds: taken off the tool's own times.
    harness_ms: f64,
}

impl BareRoot {
    fn new(standin: &Standin) -> Result<Self> {
        let current: serde_json::Value = serde_json::from_slice(&fs::read(images().join("cli.json"))?)?;
        let id = current["id"].as_str().context("an image has an id")?;
        let mut root = Self { dir: tempfile::tempdir()?.keep(), harness_ms: 0.0 };
        for name in ["image", "layer", "root"] {
            fs::create_dir(root.dir.join(name))?;
        }
        let path = |name: &str| root.dir.join(name).display().to_string();
        let image = images().join(format!("cli-{}.ext4", &id[..16])).display().to_string();
        mount(&["-o", "ro,loop", &image, &path("image")])?;
        mount(&["-t", "tmpfs", "none", &path("layer")])?;
        fs::create_dir(root.dir.join("layer/upper"))?;
        fs::create_dir(root.dir.join("layer/work"))?;
        let layers =
            format!("lowerdir={},upperdir={},workdir={}", path("image"), path("layer/upper"), path("layer/work"));
        mount(&["-t", "overlay", "-o", &layers, "none", &path("root")])?;
        mount(&["--bind", "/dev", &path("root/dev")])?;
        mount(&["-t", "proc", "none", &path("root/proc")])?;
        let ca = fs::read(standin.ca_file())?;
        fs::write(root.dir.join("root/.polydev/ca.pem"), &ca)?;
        let bundle = root.dir.join("root/etc/ssl/certs/ca-certificates.crt");
        let all = [fs::read(&bundle)?, ca].concat();
        fs::write(&bundle, all)?;
        let costs = (0..20).map(|_| {
            let started = Instant::now();
            let done = root.command(&["true".into()]).status();
            done.map(|_| started.elapsed().as_secs_f64() * 1e3)
        });
        let costs = costs.collect::<Result<Vec<_>, _>>()?;
        root.harness_ms = Figures::of(costs.into_iter()).median;
        Ok(root)
    }

    /// Starts a program of the image as its user, with what every tool gets in a sandbox.
    fn command(&self, argv: &[String]) -> Command {
        let mut command = Command::new("chroot");
        command
            .arg("--userspec=10001:10001")
            .arg(self.dir.join("root"))
            .args(["env", "--chdir=/workspace"])
            .args(argv)
            .env_clear()
            .envs([
                ("HOME", "/home/polydev"),
                ("USER", "polydev"),
                ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin"),
                ("LANG", "C.UTF-8"),
                ("TERM", "dumb"),
                ("NODE_EXTRA_CA_CERTS", "/.polydev/ca.pem"),
                ("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
                ("CODEX_CA_CERTIFICATE", "/etc/ssl/certs/ca-certificates.crt"),
            ]);
        command
    }

    /// The tool's home as a fresh sandbox has it.
    fn fresh_home(&self, invocation: &Invocation) -> Result<()> {
        let home = self.dir.join("root/home/polydev");
        let _ = fs::remove_dir_all(&home);
        fs::create_dir(&home)?;
        chown(&home, Some(UID), Some(UID))?;
        for file in &invocation.files {
            let path = home.join(file.path);
            for folder in path.ancestors().skip(1).take_while(|folder| *folder != home) {
                fs::create_dir_all(folder)?;
                chown(folder, Some(UID), Some(UID))?;
            }
            let mut open =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(file.mode).open(&path)?;
            std::io::Write::write_all(&mut open, file.content.expose_secret().as_bytes())?;
            chown(&path, Some(UID), Some(UID))?;
        }
        Ok(())
    }
}

fn mount(args: &[&str]) -> Result<()> {
    ensure!(
        Command::new("mount").args(args).status()?.success(),
        "`mount {}` does not work; run it as root",
        args.join(" ")
    );
    Ok(())
}

impl Drop for BareRoot {
    fn drop(&mut self) {
        for name in ["root/proc", "root/dev", "root", "layer", "image"] {
            let _ = Command::new("umount").arg("--lazy").arg(self.dir.join(name)).status();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}
