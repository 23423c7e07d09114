//! What every driver must do, asked of each one that works on this host.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails where it stands, and tells what it measured"
)]

#[path = "contract/asleep.rs"]
mod asleep;
mod common;

use common::{USER, job, run, sh, tiny_image};
use polydev_proto::Exit;
use polydev_sandbox::{
    Driver, DriverError, Phase, SandboxId, SandboxSpec, cmd,
    driver::{Cpus, Limits, Priority},
    drivers::{DriverConfig, by_name},
    guest::Guest,
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// A place for one driver's sandboxes, and what they are made from.
struct Host {
    dir: tempfile::TempDir,
    image: PathBuf,
    kind: &'static str,
    runtime: Option<PathBuf>,
}

impl Host {
    /// A driver over this place, as another process would make it.
    fn driver(&self) -> Arc<dyn Driver> {
        by_name(self.kind, &self.config()).unwrap()
    }

    fn config(&self) -> DriverConfig {
        DriverConfig { state_dir: self.dir.path().join("state"), oci_runtime: self.runtime.clone() }
    }

    fn spec(&self) -> SandboxSpec {
        SandboxSpec {
            image: self.image.clone(),
            image_id: "tiny".to_owned(),
            limits: Limits { memory_mib: 128, cpus: Cpus { milli: 1000 }, pids: 48, disk_mib: 16 },
            ca_file: None,
            priority: Priority::Normal,
        }
    }

    async fn sim() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { image: dir.path().join("none"), dir, kind: "sim", runtime: None }
    }

    /// A place for containers, or why this machine has none. A machine with a
    /// runtime and root has no excuse.
    async fn oci(runtime: &str) -> Option<Self> {
        let Some(program) = cmd::find(runtime) else {
            println!("skipped: `{runtime}` is not installed");
            return None;
        };
        if !rustix::process::geteuid().is_root() {
            println!("skipped: containers need root");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let image = tiny_image(dir.path(), &[]).await;
        let host = Self { dir, image, kind: "oci", runtime: Some(program) };
        let probe = host.driver().probe().await;
        assert!(probe.available, "{probe:?}");
        println!("{}", probe.reason);
        Some(host)
    }
}

impl Drop for Host {
    /// A test that failed leaves no sandboxes to the next one.
    fn drop(&mut self) {
        let driver = self.driver();
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

/// The name of a sandbox, which is this test process's alone: cgroups are shared with others.
fn id(n: char) -> SandboxId {
    let digits = format!("{:015}", std::process::id());
    let letters: String = digits.bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
    format!("sbx_{letters}{n}").parse().unwrap()
}

async fn phase(driver: &Arc<dyn Driver>, id: &SandboxId) -> Option<Phase> {
    driver.observe().await.unwrap().into_iter().find(|seen| seen.id == *id).map(|seen| seen.phase)
}

/// Waits for what the system does in its own time.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut often = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !holds().await {
            often.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Holds for every driver.
async fn contract(host: &Host) {
    let (driver, spec, a, b) = (host.driver(), host.spec(), id('a'), id('b'));
    assert_eq!(driver.kind(), host.kind);
    assert_eq!(driver.observe().await.unwrap(), []);
    assert!(matches!(driver.connect(&a).await, Err(DriverError::Gone(_))));
    driver.destroy(&a).await.unwrap();

    // The first one also pays for the image and the agent's file; the second shows the steady state.
    driver.create(&a, &spec).await.unwrap();
    let asked = Instant::now();
    driver.create(&b, &spec).await.unwrap();
    let created = asked.elapsed();
    let (guest_a, guest_b) = (Guest::new(driver.clone(), a.clone()), Guest::new(driver.clone(), b.clone()));
    let hello = guest_b.hello().await.unwrap();
    println!("{}: created in {created:?}, hello after {:?}", host.kind, asked.elapsed());
    assert_eq!(hello.version, polydev_proto::VERSION);
    assert!(matches!(driver.create(&a, &spec).await, Err(DriverError::Exists(_))));
    assert_eq!(phase(&driver, &a).await, Some(Phase::Running));
    assert!(!driver.out_of_memory(&a).await.unwrap());

    // Arguments and environment arrive as they were given.
    let script = r#"printf "<%s>" "$@"; echo; env"#;
    let mut exec = job(&["/bin/sh", "-c", script, "sh", "one", "", "t w o", ""]);
    exec.env.insert("EMPTY".to_owned(), String::new());
    let ran = run(&guest_a, exec).await;
    let (args, env) = ran.stdout.split_once('\n').unwrap();
    assert_eq!(args, "<one><><t w o><>");
    let mut env: Vec<&str> = env.lines().filter(|line| !line.starts_with("_=")).collect();
    env.retain(|line| !line.starts_with("PWD=") && !line.starts_with("OLDPWD=") && !line.starts_with("SHLVL="));
    env.retain(|line| !line.starts_with("POLYDEV_"));
    env.sort_unstable();
    assert_eq!(env, ["EMPTY=", "PATH=/bin:/usr/bin"]);

    let (total, free) = guest_a.disk().await.unwrap();
    assert!(0 < free && free <= total, "{free} of {total} bytes are free");

    // Files of one are not in the other.
    guest_a.write_file("/workspace/here", 0o600, b"bytes").await.unwrap();
    assert_eq!(guest_a.read_file("/workspace/here", 100).await.unwrap(), b"bytes");
    assert!(guest_b.read_file("/workspace/here", 100).await.is_err());

    // Another server finds what this one left, and everything works through it.
    let running = job(&["/bin/sh", "-c", "echo before; read line; echo $line; cat"]);
    let name = running.job.clone();
    guest_a.exec(polydev_proto::Exec { stdin: true, ..running }).await.unwrap();
    drop((guest_a, guest_b, driver));
    let another = host.driver();
    assert_eq!(phase(&another, &a).await, Some(Phase::Running));
    let adopted = Guest::new(another.clone(), a.clone());
    let mut stdin = adopted.stdin(&name).await.unwrap();
    assert_eq!(stdin.written(), 0);
    stdin.write(b"after\n").await.unwrap();
    stdin.end().await.unwrap();
    let mut attachment = adopted.attach(&name, 0, 0).await.unwrap();
    let mut text = Vec::new();
    let exit = loop {
        match attachment.next().await.unwrap().unwrap() {
            polydev_sandbox::guest::JobOutput::Bytes { bytes, .. } => text.extend(bytes),
            polydev_sandbox::guest::JobOutput::Exit(exit) => break exit,
        }
    };
    assert_eq!((text.as_slice(), exit), (&b"before\nafter\n"[..], Exit { code: Some(0), signal: None }));

    // A sandbox whose agent ends is seen as ended, and cannot be dialled. What it printed stays.
    assert!(!another.console(&a, 4096).await.unwrap().is_empty());
    another.destroy(&a).await.unwrap();
    another.destroy(&a).await.unwrap();
    assert_eq!(phase(&another, &a).await, None);
    assert!(matches!(another.connect(&a).await, Err(DriverError::Gone(_))));
    assert_eq!(another.console(&a, 4096).await.unwrap(), b"");

    // Jobs that hide from their parents end with their sandbox.
    sh(
        &Guest::new(another.clone(), b.clone()),
        "(/bin/sh -c 'while :; do sleep 600; done' </dev/null >/dev/null 2>&1 &)",
    )
    .await;
    let asked = Instant::now();
    another.destroy(&b).await.unwrap();
    println!("{}: destroyed in {:?}", host.kind, asked.elapsed());
    assert_eq!(another.observe().await.unwrap(), []);
}

/// No process, mount, loop device, cgroup or folder.
async fn nothing_left(host: &Host) {
    let place = host.dir.path().to_str().unwrap().to_owned();
    let image = host.image.to_str().unwrap().to_owned();
    eventually("the loop device is freed", async || loop_devices(&image) == 0).await;
    eventually("no process is left", async || processes_that_mention(&place).is_empty()).await;
    assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&place));
    for sandbox in ['a', 'b', 'c', 'd'] {
        let sandbox = id(sandbox);
        // The names are the same for every driver: while one is tried, containers may stand that are another's.
        assert!(host.kind == "sim" || groups(&sandbox).is_empty(), "{:?}", groups(&sandbox));
        for folder in ["", "runtime"] {
            assert!(!host.dir.path().join("state").join(host.kind).join(folder).join(sandbox.as_str()).exists());
        }
        let hidden = below_the_hidden_hierarchy().await;
        assert!(!hidden.contains(sandbox.as_str()), "{hidden}");
    }
}

/// What lies where a host with both versions of cgroups has the second one: crun makes folders there.
async fn below_the_hidden_hierarchy() -> String {
    let look = "umount --lazy /sys/fs/cgroup/unified && ls /sys/fs/cgroup/unified/polydev";
    let looked = cmd::run(cmd::Cmd::new("unshare").args(["--mount", "sh", "-c", look])).await;
    // A host with one version has nothing to look at.
    looked.map(|output| output.text()).unwrap_or_default()
}

fn loop_devices(image: &str) -> usize {
    let backing = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("loop/backing_file")).ok();
    fs::read_dir("/sys/block").unwrap().flatten().filter_map(backing).filter(|file| file.trim() == image).count()
}

fn processes_that_mention(text: &str) -> Vec<String> {
    let pids =
        fs::read_dir("/proc").unwrap().flatten().filter(|e| e.file_name().as_encoded_bytes()[0].is_ascii_digit());
    let said = pids.filter_map(|e| {
        let args = String::from_utf8_lossy(&fs::read(e.path().join("cmdline")).ok()?).into_owned();
        let mounts = fs::read_to_string(e.path().join("mountinfo")).unwrap_or_default();
        let mounted = mounts.lines().filter(|line| line.contains(text)).map(str::to_owned);
        Some(mounted.chain([args]).filter(|said| said.contains(text)).collect::<Vec<_>>())
    });
    said.flatten().collect()
}

/// Who the processes of a sandbox are on the host.
fn users_of(id: &SandboxId) -> Vec<u32> {
    let members = groups(id).into_iter().flat_map(|group| fs::read_to_string(group.join("cgroup.procs")));
    let pids: Vec<String> = members.flat_map(|pids| pids.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    pids.iter().map(|pid| fs::metadata(format!("/proc/{pid}")).unwrap().uid()).collect()
}

/// Whether this host has this limit: version 2 gives it to every group that has the controller, but to none at its root.
fn can_limit(file: &str) -> bool {
    let controller = file.split('.').next().unwrap();
    let v1 = Path::new("/sys/fs/cgroup").join(controller).join(file).exists();
    let v2 = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    v1 || v2.split_whitespace().any(|name| name == controller)
}

fn groups(id: &SandboxId) -> Vec<PathBuf> {
    let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    let mut candidates: Vec<PathBuf> = hierarchies.collect();
    candidates.push("/sys/fs/cgroup".into());
    candidates.into_iter().map(|dir| dir.join("polydev").join(id.as_str())).filter(|dir| dir.exists()).collect()
}

/// Holds for containers: what is inside cannot see or use what is outside.
async fn isolation(host: &Host) {
    let (driver, a) = (host.driver(), id('a'));
    let mounts_before = mounts_of_the_host();
    let ca = host.dir.path().join("ca.pem");
    fs::write(&ca, "-----BEGIN CERTIFICATE-----\nextra\n-----END CERTIFICATE-----\n").unwrap();
    driver.create(&a, &SandboxSpec { ca_file: Some(ca.clone()), ..host.spec() }).await.unwrap();
    assert_eq!(mounts_of_the_host(), mounts_before);
    let guest = Guest::new(driver.clone(), a.clone());

    let status = sh(&guest, "cat /proc/self/status").await;
    let field = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("{name}: {status}")).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    for (name, value) in [("Uid", USER), ("Gid", USER)] {
        assert_eq!(field(name), [value.to_string().as_str(); 4].join(" "));
    }
    assert_eq!(field("Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
    assert_eq!((field("NoNewPrivs").as_str(), field("Seccomp").as_str()), ("1", "2"));

    // Its users are nobody's on the host, nor another sandbox's. The image's root is its own.
    let b = id('b');
    driver.create(&b, &host.spec()).await.unwrap();
    let mut ranges = Vec::new();
    for guest in [&guest, &Guest::new(driver.clone(), b.clone())] {
        let map = sh(guest, "cat /proc/self/uid_map").await;
        assert_eq!(map, sh(guest, "cat /proc/self/gid_map").await);
        let map: Vec<u32> = map.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [0, first, 65_536] = map[..] else { panic!("{map:?}") };
        assert!((0x1000_0000..0x6FFF_0000).contains(&first), "{first}");
        let owned = sh(guest, "echo x >/workspace/mine; ls -dn / /bin/sh /workspace /workspace/mine").await;
        let owners: Vec<String> =
            owned.lines().map(|line| line.split_whitespace().skip(2).take(2).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(owners, ["0 0", "0 0", "10001 10001", "10001 10001"], "{owned}");
        ranges.push(first);
    }
    assert_ne!(ranges[0], ranges[1]);
    let agents = users_of(&a);
    assert!(!agents.is_empty() && agents.iter().all(|user| *user == ranges[0] + USER), "{agents:?} {ranges:?}");
    driver.destroy(&b).await.unwrap();

    let interfaces = sh(&guest, "cat /proc/net/dev").await;
    let interfaces: Vec<&str> =
        interfaces.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    assert_eq!(interfaces, ["lo"]);
    assert_eq!(sh(&guest, "cat /proc/sys/kernel/hostname").await, "polydev\n");
    // One byte: a core is neither written nor piped into a program of the host.
    let limits = sh(&guest, "cat /proc/self/limits").await;
    let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>(), ["1", "1", "bytes"]);

    // The agent's memory, environment and descriptors are not the tools' to read.
    for secret in ["environ", "mem", "fd/0", "maps"] {
        let ran = run(&guest, job(&["/bin/cat", &format!("/proc/1/{secret}")])).await;
        assert_ne!(ran.exit.code, Some(0), "/proc/1/{secret} can be read");
    }
    assert_eq!(
        sh(&guest, "cat /proc/keys /proc/timer_list /proc/interrupts; ls -A /sys/firmware; ls -A /proc/acpi").await,
        ""
    );
    for write in ["/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/sys/x", "/.polydev/agent", "/x", "/dev/x"] {
        let ran = run(&guest, job(&["/bin/sh", "-c", &format!("echo x >{write}")])).await;
        assert_ne!(ran.exit.code, Some(0), "{write} can be written");
    }
    // The console lies on the host's disk. The agent prints two lines; nothing beside it has a way there, and
    // it could itself write no more than the writable layer holds.
    let console = host.dir.path().join("state/oci").join(a.as_str()).join("console.log");
    let before = fs::read(&console).unwrap();
    assert!(before.len() < 200, "{}", String::from_utf8_lossy(&before));
    for descriptor in 0..16 {
        let to = format!("of=/proc/1/fd/{descriptor}");
        let flood = run(&guest, job(&["/bin/dd", "if=/dev/zero", &to, "bs=64k", "count=1024"])).await;
        assert_ne!(flood.exit.code, Some(0), "descriptor {descriptor} of the agent can be written");
    }
    let own = sh(&guest, "ls -l /proc/self/fd").await;
    assert!(own.contains("pipe:") && !own.contains("console"), "{own}");
    assert_eq!(fs::read(&console).unwrap(), before);
    let agent = sh(&guest, "cat /proc/1/limits").await;
    let largest = agent.lines().find_map(|line| line.strip_prefix("Max file size")).unwrap().split_whitespace();
    let (soft, hard) = (largest.clone().next(), largest.clone().nth(1));
    assert_eq!((soft, hard), (Some("17825792"), Some("17825792")), "17 MiB");
    assert_eq!(sh(&guest, "echo x >/workspace/y; echo z >~/y; cat /workspace/y").await, "x\n");

    let extra = fs::read_to_string(&ca).unwrap();
    assert_eq!(sh(&guest, "cat /etc/ssl/certs/ca-certificates.crt").await, format!("the image's own\n{extra}"));
    assert_eq!(sh(&guest, "cat /.polydev/ca.pem").await, extra);
    driver.destroy(&a).await.unwrap();

    // Bad certificates and bad images are told apart, and leave something that can be destroyed.
    fs::write(&ca, "not a certificate").unwrap();
    let error = driver.create(&a, &SandboxSpec { ca_file: Some(ca.clone()), ..host.spec() }).await.unwrap_err();
    assert!(error.to_string().contains("holds no PEM certificate"), "{error}");
    assert_eq!(phase(&driver, &a).await, Some(Phase::Partial));
    driver.destroy(&a).await.unwrap();
    for image in [host.dir.path().join("missing.ext4"), ca] {
        let error = driver.create(&a, &SandboxSpec { image, ..host.spec() }).await.unwrap_err();
        assert!(matches!(error, DriverError::Image { .. }), "{error}");
    }
    assert_eq!(phase(&driver, &a).await, None);
}

fn mounts_of_the_host() -> Vec<String> {
    // Other programs of this host may mount what they like meanwhile.
    let ours = |line: &&str| {
        line.contains("tiny.ext4") || line.contains("overlay") || line.contains("polydev") || line.contains("loop")
    };
    fs::read_to_string("/proc/self/mountinfo").unwrap().lines().filter(ours).map(str::to_owned).collect()
}

/// Holds for containers: no sandbox can use more than its share.
async fn limits(host: &Host) {
    let (driver, c, d) = (host.driver(), id('c'), id('d'));
    driver.create(&c, &host.spec()).await.unwrap();
    let guest = Guest::new(driver.clone(), c.clone());
    let most = |file: &str| groups(&c).iter().find_map(|dir| fs::read_to_string(dir.join(file)).ok());

    // What nobody meets on a quiet machine, as far as this one can limit it.
    // Each by either version of control groups.
    for limits in [
        [("memory.memsw.limit_in_bytes", "134217728"), ("memory.swap.max", "0")],
        [("memory.kmem.tcp.limit_in_bytes", "67108864"), ("memory.max", "134217728")],
        [("blkio.throttle.read_bps_device", " 268435456"), ("io.max", "rbps=268435456 wbps=max")],
        [("blkio.throttle.read_iops_device", " 8192"), ("io.max", "riops=8192")],
    ] {
        let found = limits.map(|(file, limit)| (most(file), limit));
        let can = limits.iter().any(|(file, _)| can_limit(file));
        assert_eq!(found.iter().any(|(found, _)| found.is_some()), can, "{limits:?}: {found:?}");
        for (found, limit) in found {
            assert!(found.iter().all(|found| found.contains(limit)), "{limits:?}: {found:?}");
        }
    }
    assert_eq!(sh(&guest, "cat /proc/self/oom_score_adj").await, "500\n", "it goes before the server does");
    assert_eq!(sh(&guest, "cat /proc/sys/net/ipv4/tcp_wmem").await, "4096\t16384\t262144\n");

    let full = run(&guest, job(&["/bin/dd", "if=/dev/zero", "of=/workspace/big", "bs=64k"])).await;
    assert!(full.stderr.contains("No space left on device"), "{full:?}");
    let size = guest.list("/workspace", None).await.unwrap()[0].size;
    assert!((15 << 20..=16 << 20).contains(&size), "{size}");
    sh(&guest, "echo >/workspace/big").await;

    // Files end before the memory that the kernel needs for them does.
    let small = "i=0; while true >/workspace/$i; do i=$((i+1)); done 2>/workspace/0; echo $i; cat /workspace/0";
    let many = run(&guest, job(&["/bin/sh", "-c", small])).await;
    let made: u64 = many.stdout.lines().next().unwrap().parse().unwrap();
    assert!((host.spec().limits.files() / 2..host.spec().limits.files()).contains(&made), "{many:?}");
    assert!(many.stdout.contains("No space left on device") || many.stderr.contains("No space left"), "{many:?}");
    assert_eq!(guest.disk().await.unwrap().1, 0, "there is no room for another");
    assert!(!driver.out_of_memory(&c).await.unwrap());
    let shm = "i=0; while true >/dev/shm/$i; do i=$((i+1)); done; echo $i";
    let made: u64 = run(&guest, job(&["/bin/sh", "-c", shm])).await.stdout.trim().parse().unwrap();
    assert!(made < 5000, "{made}");
    driver.destroy(&c).await.unwrap();
    driver.create(&c, &host.spec()).await.unwrap();
    let guest = Guest::new(driver.clone(), c.clone());

    assert!(!driver.out_of_processes(&c).await.unwrap());

    // A fork bomb finds an end; the agent answers all the while, and nothing is left of it.
    let bomb = job(&["/bin/sh", "-c", "f() { f | f & }; f; sleep 600"]);
    let name = bomb.job.clone();
    guest.exec(bomb).await.unwrap();
    eventually("the bomb meets the limit", async || {
        guest.hello().await.unwrap();
        driver.out_of_processes(&c).await.unwrap()
    })
    .await;
    assert!(most("pids.current").unwrap().trim().parse::<u32>().unwrap() <= 48);
    guest.signal(&name, 9, true).await.unwrap();

    // A job that takes too much memory is killed, and that is known.
    let greedy =
        run(&guest, job(&["/bin/sh", "-c", "head -c 400000000 /dev/zero | dd of=/dev/null bs=400M iflag=fullblock"]))
            .await;
    eventually("the want of memory is seen", async || driver.out_of_memory(&c).await.unwrap()).await;
    assert_ne!(greedy.exit, Exit { code: Some(0), signal: None });
    driver.destroy(&c).await.unwrap();

    // The end of the first process is the end of the sandbox.
    driver.create(&d, &host.spec()).await.unwrap();
    let pids = groups(&d).iter().find_map(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok()).unwrap();
    let first = rustix::process::Pid::from_raw(pids.lines().next().unwrap().parse().unwrap()).unwrap();
    rustix::process::kill_process(first, rustix::process::Signal::KILL).unwrap();
    eventually("the end is seen", async || phase(&driver, &d).await == Some(Phase::Ended { out_of_memory: false }))
        .await;
    // A program that starts elsewhere may hold the socket for a moment longer.
    eventually("nobody listens", async || matches!(driver.connect(&d).await, Err(DriverError::Gone(_)))).await;
    driver.destroy(&d).await.unwrap();
}

/// Holds for containers: what is made while nobody waits gives way, and is like every other afterwards.
async fn background(host: &Host) {
    let (driver, a, b) = (host.driver(), id('a'), id('b'));
    let spec = SandboxSpec { priority: Priority::Background, ..host.spec() };
    // The runtime, and before it a word on where it runs.
    let runtime = host.dir.path().join("runtime.sh");
    let (real, seen) = (host.runtime.as_ref().unwrap().display(), host.dir.path().join("seen"));
    let script = format!("#!/bin/sh\ncat /proc/self/cgroup >>{seen:?}\nexec {real} \"$@\"\n");
    fs::write(&runtime, script).unwrap();
    fs::set_permissions(&runtime, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let told = by_name("oci", &DriverConfig { oci_runtime: Some(runtime), ..host.config() }).unwrap();

    told.create(&a, &spec).await.unwrap();
    assert!(fs::read_to_string(&seen).unwrap().contains("/polydev/making\n"), "{}", fs::read_to_string(&seen).unwrap());
    fs::remove_file(&seen).unwrap();
    driver.create(&b, &host.spec()).await.unwrap();
    told.create(&id('c'), &host.spec()).await.unwrap();
    assert!(!fs::read_to_string(&seen).unwrap().contains("/polydev/making\n"), "somebody waits for this one");

    // Weight, niceness and groups are those of one that was made at once.
    for file in ["cpu.shares", "cpu.weight", "cpu.cfs_quota_us", "cpu.max", "memory.limit_in_bytes", "memory.max"] {
        let of = |id| groups(id).iter().find_map(|dir| fs::read_to_string(dir.join(file)).ok());
        assert_eq!(of(&a), of(&b), "{file}");
    }
    let inside = |id: &SandboxId| Guest::new(driver.clone(), id.clone());
    let look = "cat /proc/self/cgroup; set -- $(cat /proc/self/stat); echo nice ${19}";
    assert_eq!(sh(&inside(&a), look).await, sh(&inside(&b), look).await);
    let mine = rustix::process::getpriority_process(None).unwrap();
    assert!(sh(&inside(&a), look).await.ends_with(&format!("nice {mine}\n")), "this test's own, as it was started");
    for id in [a, b, id('c')] {
        driver.destroy(&id).await.unwrap();
    }
}

/// Holds for containers: what will be needed is in memory, and nothing is read twice.
async fn read_ahead(host: &Host) {
    let (driver, spec, stop) = (host.driver(), host.spec(), CancellationToken::new());
    let all = driver.read_ahead(&spec, u64::MAX, &stop).await.unwrap();
    assert!(all > 1 << 20, "{all} bytes of programs and libraries");
    assert_eq!(driver.read_ahead(&spec, u64::MAX, &stop).await.unwrap(), 0);

    // With the namespace its memory goes. What is read goes beyond the limit by a window at most.
    let another = host.driver();
    drop(driver);
    eventually("the loop device is freed", async || loop_devices(host.image.to_str().unwrap()) == 0).await;
    let some = another.read_ahead(&spec, 1, &stop).await.unwrap();
    assert_eq!(some, 1);
    stop.cancel();
    assert_eq!(another.read_ahead(&spec, u64::MAX, &stop).await.unwrap(), 0);
    let missing = SandboxSpec { image: host.dir.path().join("missing.ext4"), ..spec };
    assert!(another.read_ahead(&missing, 1, &stop).await.is_err());
}

async fn half_made(host: &Host) {
    let (driver, a) = (host.driver(), id('a'));
    driver.create(&a, &host.spec()).await.unwrap();
    // As a crash just before the last step leaves it: it runs, and nobody has written that down.
    fs::remove_file(host.dir.path().join("state/oci").join(a.as_str()).join("process.json")).unwrap();
    assert_eq!(phase(&driver, &a).await, Some(Phase::Partial));
    driver.destroy(&a).await.unwrap();
    // As a caller leaves it who asks and does not wait.
    let spec = host.spec();
    tokio::select! {
        biased;
        // On a busy machine it may be made before anybody looks.
        created = driver.create(&a, &spec) => created.unwrap(),
        () = std::future::ready(()) => {}
    }
    driver.destroy(&a).await.unwrap();
    assert_eq!((phase(&driver, &a).await, groups(&a)), (None, vec![]));
    // As a crash just after the first step leaves it.
    fs::create_dir(Path::new(host.dir.path()).join("state/oci").join(a.as_str())).unwrap();
    assert_eq!(phase(&driver, &a).await, Some(Phase::Partial));
    driver.destroy(&a).await.unwrap();
}

#[tokio::test]
async fn sim() {
    let host = Host::sim().await;
    contract(&host).await;
    asleep::asleep(&host).await;
    nothing_left(&host).await;
}

#[tokio::test]
async fn a_runtime_that_is_not_there_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let config = DriverConfig { state_dir: dir.path().into(), oci_runtime: Some("/no/such/krun".into()) };
    let probe = by_name("oci", &config).unwrap().probe().await;
    assert!(!probe.available);
    assert!(probe.reason.contains("`/no/such/krun`"), "{probe:?}");
    assert!(probe.hint.unwrap().contains("sandbox.oci.runtime"));
    assert!(by_name("docker", &config).is_none());
}

#[tokio::test]
async fn oci() {
    // One after the other: the names of the sandboxes are the same, and so are their groups'.
    for runtime in ["crun", "runc"] {
        if let Some(host) = Host::oci(runtime).await {
            // As services and careful operators have it: what they make is for nobody else.
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
            contract(&host).await;
            nothing_left(&host).await;
            isolation(&host).await;
            nothing_left(&host).await;
            limits(&host).await;
            nothing_left(&host).await;
            background(&host).await;
            nothing_left(&host).await;
            read_ahead(&host).await;
            nothing_left(&host).await;
            half_made(&host).await;
            nothing_left(&host).await;
            asleep::asleep(&host).await;
            nothing_left(&host).await;
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        }
    }
}
