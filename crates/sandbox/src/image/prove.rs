//! What is asked of a sandbox that is made from an image.

use super::{HOME, IDENTITY, Image, Kind, UID, USER, WORKSPACE, verify::Report};
use crate::{
    desktop,
    driver::{Cpus, Driver, DriverError, Limits, Priority, SandboxId, SandboxSpec},
    guest::{Guest, GuestError, JobOutput, OutputStream},
};
use polydev_proto::{Exec, Exit, Overflow, Ring, Stage};
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::io::AsyncReadExt;

/// How long a program may take to tell its version. A first start from a cold disk takes 2 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long the desktop may take to be up, Firefox too. It takes 3 s; 30 from a cold disk.
const DESKTOP_WITHIN: Duration = Duration::from_secs(180);
/// How much of a program's output is kept, in bytes.
const OUTPUT: u32 = 64 << 10;
/// As `sandbox.cli` has it by default.
const CLI: Limits = Limits { memory_mib: 1024, cpus: Cpus { milli: 1000 }, pids: 512, disk_mib: 512 };
/// As `sandbox.desktop` has it by default.
const DESKTOP: Limits = Limits { memory_mib: 1536, pids: 1024, ..CLI };
/// Debian 13 has about 150 authorities: with fewer than this the store was not made.
const AUTHORITIES_MIN: u32 = 50;

/// A letter of each of the scripts that most people write, one that is no text, and one that is a picture.
const LETTERS: &str = "0041 03b1 0416 0561 05d0 0627 0710 0780 07ca 0905 0995 0a05 0a85 0b05 0b85 0c05 0c85 0d05 0d85 0e01 \
                       0e81 0f40 1000 10d0 1100 1200 13a0 1401 1780 1820 1c5a 2d30 3042 30a2 3105 4e2d 9f8d a000 a4d0 \
                       a984 ac00 1e900 2192 221e 2603 1f600";

/// What two sandboxes must not share, or what tells of the machine that built.
const NOT_THERE: &[&str] = &[
    "/etc/machine-id",
    "/etc/ssh",
    "/var/lib/dbus/machine-id",
    "/var/lib/systemd/random-seed",
    "/etc/apt/sources.list",
];

/// Makes a sandbox, asks it, and ends it.
pub(super) async fn sandbox(image: &Image, driver: &Arc<dyn Driver>, report: &mut Report) {
    let id = sandbox_id(image);
    let spec = SandboxSpec {
        image: image.path.clone(),
        image_id: image.id.clone(),
        limits: match image.kind {
            Kind::Cli => CLI,
            Kind::Desktop => DESKTOP,
        },
        ca_file: None,
        priority: Priority::Normal,
    };
    // One that was killed in the middle of a proof has left its sandbox.
    let created = match driver.destroy(&id).await {
        Ok(()) => driver.create(&id, &spec).await,
        Err(error) => Err(error),
    };
    match created {
        Ok(()) => Prover { guest: Guest::new(driver.clone(), id.clone()), image, report, jobs: 0 }.ask().await,
        Err(error) => report.add("sandbox", false, error.to_string()),
    }
    let ended: Result<(), DriverError> = driver.destroy(&id).await;
    if let Err(error) = ended {
        report.add("end", false, error.to_string());
    }
}

/// The same image has the same sandbox, so that what is left of one proof is found by the next.
fn sandbox_id(image: &Image) -> SandboxId {
    let hash = Sha256::digest(format!("proof of {}", image.id));
    let name = data_encoding::BASE32_NOPAD.encode(&hash[..10]).to_lowercase();
    format!("sbx_{name}").parse().expect("10 bytes are 16 characters of `a-z2-7`")
}

/// What every program has.
fn environment() -> BTreeMap<String, String> {
    let env = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", HOME), ("LANG", "C.UTF-8")];
    BTreeMap::from(env.map(|(name, value)| (name.to_owned(), value.to_owned())))
}

struct Prover<'a> {
    guest: Guest,
    image: &'a Image,
    report: &'a mut Report,
    jobs: u32,
}

/// What a program printed and how it ended.
struct Said {
    stdout: String,
    stderr: String,
    exit: Exit,
}

impl Prover<'_> {
    async fn ask(mut self) {
        match self.guest.hello().await {
            Ok(hello) => self.report.add("agent", true, format!("version {}", hello.version)),
            // Nothing else can be asked.
            Err(error) => return self.report.add("agent", false, error.to_string()),
        }
        self.identity().await;
        self.check("user", &["id"], |said| said.starts_with(&format!("uid={UID}({USER}) gid={UID}({USER})"))).await;
        for (tool, version) in &self.image.tools {
            self.check(tool, &[tool, "--version"], |said| said.split_whitespace().any(|word| word == version)).await;
        }
        self.check("git", &["git", "--version"], |said| said.starts_with("git version ")).await;
        self.check("rg", &["rg", "--version"], |said| said.starts_with("ripgrep ")).await;
        self.check("workspace", &["stat", "-c", "%u %F", WORKSPACE, HOME], |said| {
            said.lines().all(|line| line == format!("{UID} directory"))
        })
        .await;
        self.check("authorities", &["grep", "-c", "BEGIN CERTIFICATE", "/etc/ssl/certs/ca-certificates.crt"], |said| {
            said.parse().is_ok_and(|count: u32| count >= AUTHORITIES_MIN)
        })
        .await;
        // What this user cannot look into it cannot run either; `find` complains of it and goes on.
        self.check("set-user-id", &["sh", "-c", "find / -xdev -type f -perm /6000 2>/dev/null; true"], str::is_empty)
            .await;
        let look = format!("for f in {}; do [ -e $f ] && echo $f; done; true", NOT_THERE.join(" "));
        self.check("left-overs", &["sh", "-c", &look], str::is_empty).await;
        match self.image.kind {
            Kind::Cli => {}
            Kind::Desktop => self.desktop().await,
        }
    }

    /// What only a desktop has, and then that it comes up.
    async fn desktop(&mut self) {
        self.check("firefox", &["firefox-esr", "--version"], |said| said.starts_with("Mozilla Firefox ")).await;
        let look = format!("for c in {LETTERS}; do [ \"$(fc-list \":charset=$c\")\" ] || echo $c; done");
        self.check("letters without a font", &["sh", "-c", &look], str::is_empty).await;
        // What was prepared when the image was built: without the cache every program looks at every font.
        self.check("fonts' cache", &["fc-cache", "--verbose", "--system-only"], |said| {
            said.contains("existing cache is valid") && !said.contains("caching, new")
        })
        .await;
        let prepared =
            ".mozilla/firefox/polydev/compatibility.ini .cache/mozilla/firefox/polydev/startupCache/scriptCache.bin";
        self.check("prepared", &["sh", "-c", &format!("cd; ls {prepared}")], |said| said.lines().count() == 2).await;
        match tokio::time::timeout(DESKTOP_WITHIN, self.come_up()).await {
            Ok(Ok(took)) => self.report.add("desktop", true, took),
            Ok(Err(why)) => self.report.add("desktop", false, why),
            Err(_elapsed) => self.report.add("desktop", false, format!("not up within {} s", DESKTOP_WITHIN.as_secs())),
        }
        match tokio::time::timeout(ANSWER_WITHIN, self.screen_says()).await {
            Ok(Ok(said)) => self.report.add("screen", said.starts_with("RFB "), said.trim()),
            Ok(Err(error)) => self.report.add("screen", false, error.to_string()),
            Err(_elapsed) => self.report.add("screen", false, "it says nothing"),
        }
    }

    /// Starts the desktop and waits until all of it is there. How long each part took, or what has failed.
    async fn come_up(&mut self) -> Result<String, String> {
        let started = desktop::start(&self.guest, desktop::SIZE, environment(), None).await;
        started.map_err(|error| error.to_string())?;
        let mut told = self.guest.ready().await.map_err(|error| error.to_string())?;
        let mut stages: BTreeMap<String, Stage> = BTreeMap::new();
        while let Some(stage) = told.next().await.map_err(|error| error.to_string())? {
            if let Some(why) = stage.failed {
                return Err(format!("{}: {why}", stage.name));
            }
            stages.insert(stage.name.clone(), stage);
            // The agent first tells all that there are.
            if stages.contains_key(Stage::READY) && stages.values().all(|stage| stage.done) {
                let took = |stage: &Stage| stage.took_ms.map(|ms| format!("{} {ms} ms", stage.name));
                return Ok(stages.values().filter_map(took).collect::<Vec<_>>().join(", "));
            }
        }
        Err("the agent tells nothing of it".to_owned())
    }

    async fn screen_says(&mut self) -> Result<String, GuestError> {
        let mut said = [0; 12];
        let asked = "looking at the screen";
        let read = self.guest.vnc().await?.read_exact(&mut said).await;
        read.map_err(|source| GuestError::Broken { asked, source })?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    /// The content id, as it is read from inside.
    async fn identity(&mut self) {
        match self.guest.read_file(IDENTITY, u64::from(OUTPUT)).await {
            Ok(bytes) => {
                let said: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let id = said["id"].as_str().unwrap_or_default();
                self.report.add("content id", id == self.image.id, id);
            }
            Err(error) => self.report.add("content id", false, error.to_string()),
        }
    }

    /// Runs a program that must end well and say what is expected.
    async fn check(&mut self, name: &str, argv: &[&str], expected: impl Fn(&str) -> bool) {
        let said = tokio::time::timeout(ANSWER_WITHIN, self.run(argv)).await;
        match said {
            Ok(Ok(Said { stdout, exit: Exit { code: Some(0), .. }, .. })) => {
                let passed = expected(stdout.trim());
                let saw = if stdout.trim().is_empty() { "nothing" } else { stdout.lines().next().unwrap_or_default() };
                self.report.add(name, passed, saw);
            }
            Ok(Ok(Said { stderr, exit, .. })) => {
                let how = exit.code.map_or_else(
                    || format!("ended by signal {}", exit.signal.unwrap_or_default()),
                    |code| format!("status {code}"),
                );
                self.report.add(name, false, format!("{how}: {}", stderr.trim()));
            }
            Ok(Err(error)) => self.report.add(name, false, error.to_string()),
            Err(_elapsed) => self.report.add(name, false, format!("no end within {} s", ANSWER_WITHIN.as_secs())),
        }
    }

    async fn run(&mut self, argv: &[&str]) -> Result<Said, GuestError> {
        self.jobs += 1;
        let job = format!("proof-{}", self.jobs);
        let ring = Ring { capacity: OUTPUT, overflow: Overflow::DropOldest };
        let exec = Exec {
            job: job.clone(),
            argv: argv.iter().map(|&arg| arg.to_owned()).collect(),
            env: environment(),
            cwd: WORKSPACE.to_owned(),
            stdin: false,
            pty: None,
            stdout: ring,
            stderr: ring,
        };
        self.guest.exec(exec).await?;
        let mut output = self.guest.attach(&job, 0, 0).await?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut exit = Exit { code: None, signal: None };
        while let Some(said) = output.next().await? {
            match said {
                JobOutput::Bytes { stream, bytes, .. } => {
                    let kept = match stream {
                        OutputStream::Stdout => &mut stdout,
                        OutputStream::Stderr => &mut stderr,
                    };
                    let room = (OUTPUT as usize).saturating_sub(kept.len());
                    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                JobOutput::Exit(how) => exit = how,
            }
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Said { stdout: text(stdout), stderr: text(stderr), exit })
    }
}
