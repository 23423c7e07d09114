//! Real sandboxes, with and without a rule, and the probe in them.

use crate::{
    Family, WAYS, assert_complete,
    common::{self, job},
    edit::{Edit, RUNTIME, Weakened},
    rules::Rule,
};
use polydev_sandbox::{
    Driver, DriverError, SandboxId, SandboxSpec, cmd,
    driver::{Cpus, Limits, Priority},
    drivers::{DriverConfig, by_name},
    guest::Guest,
};
use std::{
    collections::BTreeSet,
    fmt, fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Where the probe is, inside.
const PROBE: &str = "/bin/probe";
/// The same program, as one that runs as its owner, root.
pub(crate) const SETUID_PROBE: &str = "/bin/probe-of-root";

/// A host with sandboxes.
pub(crate) struct House {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) image: PathBuf,
    runtime: PathBuf,
    /// Whether each rule is tried alone too. One runtime is enough for that: what then holds is the kernel.
    tries_alone: bool,
    /// What a way that is open leads to.
    pub(crate) canary: String,
    /// The certificates that every sandbox is given beside those of its image.
    pub(crate) ca: PathBuf,
}

/// A sandbox of it.
pub(crate) struct Inside {
    driver: Arc<dyn Driver>,
    pub(crate) guest: Guest,
}

/// What the probe said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    Got(String),
    Refused(String),
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Got(what) => write!(f, "got {what:.100}"),
            Self::Refused(why) => write!(f, "refused {why}"),
        }
    }
}

/// A way, tried.
pub(crate) struct Try {
    /// Its name in the table.
    pub(crate) way: &'static str,
    /// Which program tries it, and what it is told to do.
    pub(crate) program: &'static str,
    pub(crate) args: Vec<String>,
    /// The rules that shut it.
    pub(crate) rules: Vec<Rule>,
    /// What is there beside them, when it is open: nothing of it opens the way, and without it the way is none.
    pub(crate) scenery: Vec<Edit>,
    /// What is seen there, among other things, when it is open.
    pub(crate) leads: String,
    /// The step at which it ends, and why, when it is shut.
    pub(crate) shut: String,
}

impl Try {
    pub(crate) fn new(way: &'static str, args: &[&str], rules: &[Rule], leads: &str, shut: String) -> Self {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let (rules, leads) = (rules.to_vec(), leads.to_owned());
        Self { way, program: PROBE, args, rules, scenery: Vec::new(), leads, shut }
    }

    /// With something beside the rules.
    pub(crate) fn with(self, scenery: impl Into<Vec<Edit>>) -> Self {
        Self { scenery: scenery.into(), ..self }
    }

    /// All that changes where only this rule stays, if one does.
    fn edits(&self, stays: Option<&Rule>) -> Vec<Edit> {
        let gone = self.rules.iter().filter(|rule| Some(*rule) != stays);
        self.scenery.iter().chain(gone.flat_map(|rule| &rule.edits)).cloned().collect()
    }
}

/// The step at which a way ends, and the number of the system's error.
pub(crate) fn at(step: &str, why: i32) -> String {
    format!("{step} {why}")
}

impl House {
    /// One for each runtime of this machine.
    pub(crate) async fn all() -> Vec<Self> {
        let mut houses = Vec::new();
        for runtime in runtimes() {
            let tries_alone = houses.is_empty();
            houses.push(Self::new(runtime, tries_alone).await);
        }
        houses
    }

    /// One, for what does not depend on the runtime.
    pub(crate) async fn one() -> Option<Self> {
        match runtimes().into_iter().next() {
            Some(runtime) => Some(Self::new(runtime, true).await),
            None => None,
        }
    }

    async fn new(runtime: PathBuf, tries_alone: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Who takes a rule away may be nobody of the host, and comes by here.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let probe = Path::new(env!("CARGO_BIN_EXE_polydev-probe"));
        let name = |path: &'static str| path.rsplit('/').next().unwrap();
        let programs = [(probe, name(PROBE), 0o755), (probe, name(SETUID_PROBE), 0o4755)];
        let image = common::tiny_image(dir.path(), &programs).await;
        let canary = format!("canary-{}-{}", std::process::id(), next());
        let ca = dir.path().join("ca.pem");
        fs::write(&ca, "-----BEGIN CERTIFICATE-----\nextra\n-----END CERTIFICATE-----\n").unwrap();
        let house = Self { dir, image, runtime, tries_alone, canary, ca };
        let probed = house.driver(&[]).probe().await;
        assert!(probed.available, "{probed:?}");
        house
    }

    /// The driver as it is, or over a runtime that takes rules away.
    fn driver(&self, without: &[Edit]) -> Arc<dyn Driver> {
        let runtime = if without.is_empty() { self.runtime.clone() } else { self.weak_runtime(without) };
        let config = DriverConfig { state_dir: self.dir.path().join("state"), oci_runtime: Some(runtime) };
        by_name("oci", &config).unwrap()
    }

    /// The probe, under a name that says which runtime it becomes after which edits. A link, and no script: a program
    /// that was just written cannot be started while another thread's child still has it open.
    fn weak_runtime(&self, without: &[Edit]) -> PathBuf {
        let runtime = self.dir.path().join(format!("{RUNTIME}{}", next()));
        let weakened = Weakened { program: self.runtime.clone(), edits: without.to_vec() };
        fs::write(runtime.with_extension("json"), serde_json::to_vec(&weakened).unwrap()).unwrap();
        symlink(env!("CARGO_BIN_EXE_polydev-probe"), &runtime).unwrap();
        runtime
    }

    /// What sandboxes are made from here.
    pub(crate) fn spec(&self) -> SandboxSpec {
        SandboxSpec {
            image: self.image.clone(),
            image_id: "tiny".to_owned(),
            limits: Limits { memory_mib: 256, cpus: Cpus { milli: 2000 }, pids: 64, disk_mib: 32 },
            ca_file: Some(self.ca.clone()),
            priority: Priority::Normal,
        }
    }

    /// A sandbox, as every run has it but for what is taken away.
    pub(crate) async fn sandbox(&self, without: &[Edit]) -> Inside {
        self.sandbox_of(&self.spec(), without).await
    }

    /// The same, from something else.
    pub(crate) async fn sandbox_of(&self, spec: &SandboxSpec, without: &[Edit]) -> Inside {
        self.try_sandbox(spec, without).await.unwrap_or_else(|error| panic!("{without:?}: {error}"))
    }

    /// The same, where it may be that it cannot be made.
    pub(crate) async fn try_sandbox(&self, spec: &SandboxSpec, without: &[Edit]) -> Result<Inside, DriverError> {
        let (driver, id) = (self.driver(without), id());
        driver.create(&id, spec).await?;
        let guest = Guest::new(driver.clone(), id);
        guest.hello().await.unwrap();
        Ok(Inside { driver, guest })
    }

    /// The folder that the driver keeps for a sandbox.
    pub(crate) fn folder(&self, inside: &Inside) -> PathBuf {
        self.dir.path().join("state/oci").join(inside.guest.id().as_str())
    }

    /// The host's number of a sandbox's first process.
    pub(crate) fn first_process(&self, inside: &Inside) -> i32 {
        fs::read_to_string(self.folder(inside).join("pid")).unwrap().trim().parse().unwrap()
    }

    /// Tries all ways of a family: open, without every rule; shut, by each of its rules alone; and shut as the product
    /// has it.
    pub(crate) async fn prove(&self, family: Family, tries: Vec<Try>) {
        self.prove_and(family, tries, async |_, _, _| {}).await;
    }

    /// The same, and has `look` see what an open way has done on the host.
    pub(crate) async fn prove_and(&self, family: Family, tries: Vec<Try>, look: impl AsyncFn(&str, &Inside, &str)) {
        let mut wrong = Vec::new();
        let mut sandboxes = Sandboxes { house: self, made: Vec::new() };
        for one in &tries {
            let names: Vec<&str> = one.rules.iter().map(|rule| rule.name).collect();
            assert_eq!(rules_of(one.way), names, "`{}`: the table, and what is taken away", one.way);
            let args: Vec<&str> = one.args.iter().map(String::as_str).collect();

            let open = sandboxes.get(one.edits(None)).await.unwrap_or_else(|error| panic!("{}: {error}", one.way));
            let said = open.run(one.program, &args).await;
            if let Said::Got(what) = &said {
                look(one.way, open, what).await;
            }
            for rule in one.rules.iter().filter(|_| self.tries_alone && one.rules.len() > 1) {
                let alone = match sandboxes.get(one.edits(Some(rule))).await {
                    Ok(inside) => inside.run(one.program, &args).await,
                    // A sandbox that cannot be made has no way out either.
                    Err(error) => Said::Refused(format!("{error:.60}")),
                };
                println!("{}: with {} alone: {alone}", one.way, rule.name);
                if leads_to(&alone, &one.leads) {
                    wrong.push(format!("{}: {} alone does not shut it: {alone}", one.way, rule.name));
                }
            }
            let strong = sandboxes.get(Vec::new()).await.unwrap_or_else(|error| panic!("{error}"));
            let shut = strong.run(one.program, &args).await;
            wrong.extend(judge(one.way, &said, &shut, &one.leads, &one.shut));
        }
        for (_, inside) in sandboxes.made {
            if let Ok(inside) = inside {
                inside.end().await;
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert_complete(family, &tries.iter().map(|one| one.way).collect::<BTreeSet<_>>());
    }
}

/// One sandbox for each set of changes, made when it is first asked for.
struct Sandboxes<'a> {
    house: &'a House,
    made: Vec<(Vec<Edit>, Result<Inside, DriverError>)>,
}

impl Sandboxes<'_> {
    async fn get(&mut self, edits: Vec<Edit>) -> Result<&Inside, &DriverError> {
        let at = match self.made.iter().position(|(made, _)| *made == edits) {
            Some(at) => at,
            None => {
                let inside = self.house.try_sandbox(&self.house.spec(), &edits).await;
                self.made.push((edits, inside));
                self.made.len() - 1
            }
        };
        self.made[at].1.as_ref()
    }
}

fn rules_of(way: &str) -> &'static [&'static str] {
    WAYS.iter().find(|listed| listed.name == way).unwrap_or_else(|| panic!("`{way}` is not in the table")).rules
}

fn leads_to(said: &Said, where_to: &str) -> bool {
    matches!(said, Said::Got(what) if what.contains(where_to))
}

/// What is wrong with what was seen, if anything.
pub(crate) fn judge(way: &str, open: &Said, shut: &Said, leads: &str, refused: &str) -> Option<String> {
    println!("{way}: without {}: {open}; with: {shut}", rules_of(way).join(", "));
    let is_shut = matches!(shut, Said::Refused(why) if why == refused);
    (!leads_to(open, leads) || !is_shut)
        .then(|| format!("{way}: open: {open}, not got {leads}; shut: {shut}, not refused {refused}"))
}

impl Inside {
    /// Has the probe try something.
    pub(crate) async fn probe(&self, args: &[&str]) -> Said {
        self.run(PROBE, args).await
    }

    /// Has a program try something that answers as the probe does.
    pub(crate) async fn run(&self, program: &str, args: &[&str]) -> Said {
        let ran = common::run(&self.guest, job(&[&[program], args].concat())).await;
        // A probe that becomes two has its child speak first.
        match ran.stdout.lines().next().and_then(|line| line.split_once(' ')) {
            Some(("got", what)) => Said::Got(what.to_owned()),
            Some(("refused", why)) => Said::Refused(why.to_owned()),
            Some(_) | None => panic!("{args:?}: {ran:?}"),
        }
    }

    /// Destroys it.
    pub(crate) async fn end(self) {
        self.driver.destroy(self.guest.id()).await.unwrap();
    }
}

impl Drop for House {
    /// A test that failed leaves no sandboxes to the next one.
    fn drop(&mut self) {
        let driver = self.driver(&[]);
        let destroy_all = async {
            for sandbox in driver.observe().await.unwrap_or_default() {
                let _ = driver.destroy(&sandbox.id).await;
            }
        };
        // Within the test's runtime no other may be entered on the same thread.
        std::thread::scope(|scope| {
            scope.spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(destroy_all));
        });
    }
}

/// Waits for what the system does in its own time. False, if it does not.
pub(crate) async fn happens(mut holds: impl FnMut() -> bool) -> bool {
    let mut often = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !holds() {
            often.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok()
}

/// What makes containers here. A machine with a runtime and root has no excuse.
fn runtimes() -> Vec<PathBuf> {
    let installed: Vec<PathBuf> = ["crun", "runc"].into_iter().filter_map(cmd::find).collect();
    if installed.is_empty() {
        println!("skipped: neither `crun` nor `runc` is installed");
    } else if !rustix::process::geteuid().is_root() {
        println!("skipped: containers need root");
        return Vec::new();
    }
    installed
}

/// A number that nobody else in this process has.
fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The name of a sandbox, which is this test process's alone: cgroups are shared with others.
fn id() -> SandboxId {
    let digits = format!("{:013}{:03}", std::process::id(), next());
    let letters: String = digits.bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
    format!("sbx_{letters}").parse().unwrap()
}
