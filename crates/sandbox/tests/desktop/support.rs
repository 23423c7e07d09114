//! A sandbox with a desktop.

use crate::{
    rfb::Viewer,
    x::{self, X},
};
use anyhow::{Context, Result, anyhow, bail};
use polydev_sandbox::{
    CONSOLE_TAIL, Driver, Guest, Priority, SandboxId, SandboxSpec, desktop,
    driver::{Cpus, Limits},
    drivers::{self, DriverConfig},
    image::{HOME, ImageStore, Kind},
    proto::{Exec, Overflow, Ring, ScreenSize, Stage, WatchRule},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    sync::{OnceCell, Semaphore, SemaphorePermit, watch},
    time::timeout,
};

/// How long any part of a desktop may take before the test has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// The stages of a desktop.
pub(crate) const PARTS: [&str; 8] =
    ["screen", "bus", "window_manager", "terminal", "background", "panel", "browser", "ready"];

/// Where the screenshots are kept.
pub(crate) static SHOTS: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
    fs::create_dir_all(&dir).unwrap();
    dir
});

/// A sandbox with a desktop, ended with this.
pub(crate) struct Desk {
    pub(crate) guest: Guest,
    driver: Arc<dyn Driver>,
    stages: watch::Receiver<BTreeMap<String, Stage>>,
    x: OnceCell<X>,
    _dir: tempfile::TempDir,
    _turn: SemaphorePermit<'static>,
}

/// Two at a time: each takes a processor and a gigabyte.
static TURNS: Semaphore = Semaphore::const_new(2);

/// What a test wants.
pub(crate) struct Wanted<'a> {
    pub(crate) size: ScreenSize,
    /// A program that is there before the desktop.
    pub(crate) beside: &'a [&'a str],
    pub(crate) ca_file: Option<&'a Path>,
}

impl Default for Wanted<'_> {
    fn default() -> Self {
        Self { size: desktop::SIZE, beside: &[], ca_file: None }
    }
}

impl Desk {
    /// What the sandbox has printed.
    pub(crate) async fn console(&self) -> Result<String> {
        Ok(String::from_utf8(self.driver.console(self.guest.id(), CONSOLE_TAIL).await?)?)
    }

    /// Makes a sandbox and starts its desktop. `None`, and why, where no sandboxes can be made.
    pub(crate) async fn start(wanted: Wanted<'_>) -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: sandboxes are made by root");
            return Ok(None);
        }
        let turn = TURNS.acquire().await?;
        // Made here if `make image` has not made it.
        let image =
            ImageStore::open(images_dir()).build(Kind::Desktop, None, &mut |told| println!("{told:?}")).await?.image;
        let dir = tempfile::tempdir()?;
        let config = DriverConfig { state_dir: dir.path().into(), oci_runtime: None };
        let driver = drivers::auto(&config).await.map_err(|unfit| anyhow!("no driver works here: {unfit:?}"))?;
        let spec = SandboxSpec {
            image: image.path,
            image_id: image.id,
            limits: Limits { memory_mib: 1536, cpus: Cpus { milli: 1000 }, pids: 1024, disk_mib: 512 },
            ca_file: wanted.ca_file.map(Path::to_owned),
            priority: Priority::Normal,
        };
        let id = sandbox_id();
        driver.create(&id, &spec).await?;
        let (sender, stages) = watch::channel(BTreeMap::new());
        let desk =
            Self { guest: Guest::new(driver.clone(), id), driver, stages, x: OnceCell::new(), _dir: dir, _turn: turn };
        if !wanted.beside.is_empty() {
            desk.run_on("beside", wanted.beside).await?;
        }
        let began = Instant::now();
        desktop::start(&desk.guest, wanted.size, env(), wanted.ca_file).await?;
        let mut told = desk.guest.ready().await?;
        tokio::spawn(async move {
            while let Ok(Some(stage)) = told.next().await {
                if stage.done || stage.failed.is_some() {
                    println!("{:4} ms  {stage:?}", began.elapsed().as_millis());
                }
                sender.send_modify(|stages| drop(stages.insert(stage.name.clone(), stage)));
            }
        });
        Ok(Some(desk))
    }

    /// Starts a program that goes on.
    pub(crate) async fn run_on(&self, job: &str, argv: &[&str]) -> Result<()> {
        let ring = Ring { capacity: 4096, overflow: Overflow::DropOldest };
        let exec = Exec {
            job: job.to_owned(),
            argv: argv.iter().map(|arg| (*arg).to_owned()).collect(),
            env: env(),
            cwd: HOME.to_owned(),
            stdin: false,
            pty: None,
            stdout: ring,
            stderr: ring,
        };
        self.guest.exec(exec).await?;
        Ok(())
    }

    /// What the agent last told of a stage.
    pub(crate) fn stage(&self, name: &str) -> Stage {
        self.stages.borrow()[name].clone()
    }

    pub(crate) fn stage_is_done(&self, name: &str) -> bool {
        self.stages.borrow().get(name).is_some_and(|stage| stage.done)
    }

    pub(crate) async fn until_stage(&self, name: &str, is: impl Fn(&Stage) -> bool) -> Result<()> {
        let mut stages = self.stages.clone();
        let waited = timeout(PATIENCE, stages.wait_for(|all| all.get(name).is_some_and(&is))).await;
        match waited {
            Ok(told) => drop(told.with_context(|| format!("the agent tells no more of `{name}`"))?),
            Err(_) => bail!("`{name}` is not so: {:?}", self.stages.borrow()),
        }
        Ok(())
    }

    /// Waits until a stage is done. One that has failed will never be.
    pub(crate) async fn until_done(&self, name: &str) -> Result<()> {
        self.until_stage(name, |stage| stage.done || stage.failed.is_some()).await?;
        let stage = self.stage(name);
        if stage.done { Ok(()) } else { bail!("{stage:?}") }
    }

    /// Waits until X tells that it is so.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&x::Desktop) -> Result<bool>) -> Result<x::Desktop> {
        let x = self.x.get_or_try_init(|| X::connect(&self.guest)).await?;
        let mut often = tokio::time::interval(Duration::from_millis(100));
        let deadline = Instant::now() + PATIENCE;
        loop {
            often.tick().await;
            let told = x.look().await;
            match told.and_then(|told| Ok((is(&told)?, told))) {
                Ok((true, told)) => return Ok(told),
                Ok((false, _)) | Err(_) if Instant::now() < deadline => {}
                Ok((false, told)) => bail!("never: {what}: {told:#?}"),
                Err(error) => return Err(error.context(format!("never: {what}"))),
            }
        }
    }

    /// Waits for a file, and reads it.
    pub(crate) async fn file(&self, path: &str) -> Result<String> {
        let rule = WatchRule { rule: path.to_owned(), path: path.to_owned(), require: Vec::new(), quiet_ms: 50 };
        let mut watch = self.guest.watch(vec![rule]).await?;
        timeout(PATIENCE, watch.next()).await.with_context(|| format!("never: `{path}`"))??;
        Ok(String::from_utf8(self.guest.read_file(path, 1 << 20).await?)?)
    }

    pub(crate) async fn viewer(&self) -> Result<Viewer> {
        timeout(PATIENCE, Viewer::connect(self.guest.vnc().await?)).await?
    }

    pub(crate) async fn end(self) -> Result<()> {
        Ok(self.driver.destroy(self.guest.id()).await?)
    }
}

impl Drop for Desk {
    /// A test that failed leaves no sandbox to the next one.
    fn drop(&mut self) {
        let (driver, id) = (self.driver.clone(), self.guest.id().clone());
        // Within the test's runtime no other may be entered on the same thread.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _ = tokio::runtime::Runtime::new().unwrap().block_on(driver.destroy(&id));
            });
        });
    }
}

fn env() -> BTreeMap<String, String> {
    let env = [("HOME", HOME), ("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LANG", "C.UTF-8")];
    env.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// A name that is this process's alone: cgroups are shared with others.
fn sandbox_id() -> SandboxId {
    static COUNT: Mutex<u32> = Mutex::new(0);
    let mut count = COUNT.lock().unwrap();
    *count += 1;
    let digits = format!("{:010}{:06}", std::process::id(), *count);
    let letters: String = digits.bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
    format!("sbx_{letters}").parse().unwrap()
}

/// Where `make` keeps images, or the folder that the server would be told.
#[expect(clippy::disallowed_methods, reason = "`make` tells where images are as it tells the server")]
fn images_dir() -> PathBuf {
    let ours = || Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("images");
    std::env::var_os("POLYDEV__IMAGE__DIR").map_or_else(ours, PathBuf::from)
}
