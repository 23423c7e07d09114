//! The bare tool: the image's tree on this host, the same files, arguments and stand-in, and no sandbox.

use crate::{
    Bench,
    server::{good_key, images},
    tally::Tally,
};
use anyhow::{Context, Result, ensure};
use polydev_server::{
    domain::event::EventBody,
    providers::{self, Credential, Dialogue, Invocation, Outcome, Prompt, Step, Tools},
};
use polydev_standin::Standin;
use secrecy::ExposeSecret;
use std::{
    collections::VecDeque,
    fs,
    os::unix::fs::{OpenOptionsExt, chown},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Split},
    process::{Child, ChildStdin, ChildStdout},
};

const UID: u32 = 10001;

/// Milliseconds from the start: to the first piece of the answer, to the tool's last word.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    pub(crate) first: f64,
    pub(crate) end: f64,
}

/// The image, mounted for as many roots as are wanted.
pub(crate) struct Image {
    dir: PathBuf,
    ca: Vec<u8>,
}

impl Image {
    /// That of this kind, `cli` or `desktop`.
    pub(crate) fn mount(kind: &str, standin: &Standin) -> Result<Self> {
        let current = fs::read(images().join(format!("{kind}.json")));
        let current = current.with_context(|| format!("there is no image `{kind}`: `make image` makes it"))?;
        let current: serde_json::Value = serde_json::from_slice(&current)?;
        let id = current["id"].as_str().context("an image has an id")?;
        let image = Self { dir: tempfile::tempdir()?.keep(), ca: fs::read(standin.ca_file())? };
        let file = images().join(format!("{kind}-{}.ext4", &id[..16])).display().to_string();
        mount(&["-o", "ro,loop", &file, &image.dir.display().to_string()])?;
        Ok(image)
    }

    /// A root over it, writable in memory as in a sandbox. The tool sees this host's processes and network.
    pub(crate) fn root(&self) -> Result<Root> {
        let mut root = Root { dir: tempfile::tempdir()?.keep(), harness_ms: 0.0 };
        for name in ["layer", "root"] {
            fs::create_dir(root.dir.join(name))?;
        }
        let path = |name: &str| root.dir.join(name).display().to_string();
        mount(&["-t", "tmpfs", "none", &path("layer")])?;
        fs::create_dir(root.dir.join("layer/upper"))?;
        fs::create_dir(root.dir.join("layer/work"))?;
        let (lower, upper, work) = (self.dir.display(), path("layer/upper"), path("layer/work"));
        let layers = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        mount(&["-t", "overlay", "-o", &layers, "none", &path("root")])?;
        mount(&["--bind", "/dev", &path("root/dev")])?;
        mount(&["-t", "proc", "none", &path("root/proc")])?;
        fs::write(root.dir.join("root/.polydev/ca.pem"), &self.ca)?;
        let bundle = root.dir.join("root/etc/ssl/certs/ca-certificates.crt");
        let all = [fs::read(&bundle)?, self.ca.clone()].concat();
        fs::write(&bundle, all)?;
        let costs = (0..20).map(|_| {
            let started = Instant::now();
            let done = root.command(&["true".into()]).status();
            done.map(|_| started.elapsed().as_secs_f64() * 1e3)
        });
        root.harness_ms = Tally::of(costs.collect::<Result<Vec<_>, _>>()?).median;
        Ok(root)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.dir).status();
        let _ = fs::remove_dir(&self.dir);
    }
}

/// A root for one tool at a time.
pub(crate) struct Root {
    dir: PathBuf,
    /// What changing the root and the user costs, in milliseconds: taken off the tool's own times.
    pub(crate) harness_ms: f64,
}

impl Root {
    /// The bare tool, in a fresh home, straight to the stand-in, to its end.
    pub(crate) async fn run(&self, bench: &Bench, provider: &str, prompt: &str) -> Result<Took> {
        let mut tool = self.start(bench, provider, prompt)?;
        let mut first = None;
        loop {
            match tool.next().await? {
                Heard::Event(EventBody::Text { .. }) => {
                    first.get_or_insert_with(|| tool.started.elapsed());
                }
                Heard::Event(_) => {}
                Heard::End(outcome) => {
                    let end = tool.started.elapsed();
                    tool.child.kill().await?;
                    let first = first.with_context(|| format!("the bare tool answered nothing: {outcome:?}"))?;
                    let own = |took: Duration| took.as_secs_f64() * 1e3 - self.harness_ms;
                    return Ok(Took { first: own(first), end: own(end) });
                }
            }
        }
    }

    /// The bare tool, started.
    pub(crate) fn start(&self, bench: &Bench, provider: &str, prompt: &str) -> Result<Tool> {
        let provider = providers::by_name(provider).context("a known provider")?;
        let prompt = Prompt { text: prompt.into(), model: None, system: None, tools: Tools::All };
        let credential = Credential::ApiKey(good_key(provider.about().name).to_owned().into());
        let invocation = provider.invoke(&credential, &prompt).map_err(|failure| anyhow::anyhow!(failure.message))?;
        self.fresh_home(&invocation)?;
        let proxy = bench.standin.proxy_url();
        let started = Instant::now();
        let mut command = tokio::process::Command::from(self.command(&invocation.argv));
        command
            .envs(invocation.env.iter().map(|(name, value)| (*name, value.as_str())))
            .envs(["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"].map(|name| (name, &proxy)))
            .stdin(if invocation.interactive || invocation.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let stdin = child.stdin.take();
        let lines = BufReader::new(child.stdout.take().context("piped")?).split(b'\n');
        let mut dialogue = provider.dialogue(&prompt);
        let steps = dialogue.begin().into();
        let interactive = invocation.interactive;
        Ok(Tool { started, child, stdin, to_say: invocation.stdin, interactive, lines, dialogue, steps })
    }

    /// Where it is on this host.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Starts a program of the image as its user, with what every tool gets in a sandbox.
    pub(crate) fn command(&self, argv: &[String]) -> Command {
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

impl Drop for Root {
    fn drop(&mut self) {
        for name in ["root/proc", "root/dev", "root", "layer"] {
            let _ = Command::new("umount").arg("--lazy").arg(self.dir.join(name)).status();
        }
        // Folder by folder, and only empty ones: what could not be unmounted is this host's.
        for name in ["root", "layer", ""] {
            let _ = fs::remove_dir(self.dir.join(name));
        }
    }
}

/// A bare tool that runs.
pub(crate) struct Tool {
    started: Instant,
    child: Child,
    stdin: Option<ChildStdin>,
    to_say: Option<String>,
    interactive: bool,
    lines: Split<BufReader<ChildStdout>>,
    dialogue: Box<dyn Dialogue>,
    steps: VecDeque<Step>,
}

/// What is heard of it.
pub(crate) enum Heard {
    Event(EventBody),
    End(Outcome),
}

impl Tool {
    /// Its process.
    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("it runs")
    }

    pub(crate) async fn next(&mut self) -> Result<Heard> {
        if let Some(text) = self.to_say.take() {
            let stdin = self.stdin.as_mut().context("it reads its input")?;
            stdin.write_all(text.as_bytes()).await?;
        }
        if !self.interactive {
            self.stdin = None;
        }
        loop {
            match self.steps.pop_front() {
                Some(Step::Emit(event)) => return Ok(Heard::Event(event)),
                Some(Step::End(outcome)) => return Ok(Heard::End(outcome)),
                Some(Step::Send(line)) => {
                    let stdin = self.stdin.as_mut().context("it reads its input")?;
                    stdin.write_all(format!("{line}\n").as_bytes()).await?;
                }
                None => {
                    let line = self.lines.next_segment().await?.context("the bare tool ended without a result")?;
                    self.steps = self.dialogue.line(&line).into();
                }
            }
        }
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
