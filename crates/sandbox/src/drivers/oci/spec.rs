//! The container's specification (OCI runtime-spec 1.0), as `config.json` of its bundle.

use super::{cgroup::Able, mounts::in_stage, seccomp, users::Users};
use crate::driver::{SandboxId, SandboxSpec};
use serde_json::{Value, json};
use std::path::Path;

/// The image's user `polydev`, who runs the agent and every job; its group has the same number.
pub(super) use crate::image::UID as USER;

/// The sandbox's user namespace in the stage.
pub(super) const USERS: &str = "users";

/// The host name inside, which the image's `/etc/hosts` knows: a desktop that cannot look up its own name waits.
const HOSTNAME: &str = "polydev";

/// Files and sockets that a process may have open, where the host allows as many.
const OPEN_FILES: u64 = 65_536;

/// Terminals. All sandboxes of a host share some 3000 (`kernel.pty.max` less `kernel.pty.reserve`).
const TERMINALS: u32 = 64;

/// `/dev/shm`, counted in the memory limit as it is used.
const SHM_MIB: u64 = 64;

/// Files in it.
const SHM_FILES: u64 = 4096;

/// What one TCP socket may hold each way, in bytes: least, at first, most (`tcp_rmem` and `tcp_wmem` of tcp(7)). All of
/// them are on loopback. The kernel's most is 6 MiB, and what all sockets of a host may hold together is some gigabytes.
const SOCKET_BUFFERS: &str = "4096 16384 262144";

/// When the host itself has no memory left, a sandbox's processes go before the server and all else (proc(5),
/// `oom_score_adj`).
const OUT_OF_MEMORY_FIRST: i32 = 500;

/// What may be read from the image's disk in a second: bytes, and requests. What is in memory does not count.
const READ_BYTES: u64 = 256 * 1024 * 1024;
const READ_REQUESTS: u64 = 8192;

/// No core dumps: bytes. A limit of 0 does not stop the kernel from piping a core into a program of the host, as many
/// hosts have it; a limit of 1 does (`fs/coredump.c`).
const NO_CORE: u64 = 1;

/// The period in which processor time is dealt out, in microseconds: the kernel's own.
const CPU_PERIOD: u64 = 100_000;

/// What tells of this host, or steers it: all that Docker, containerd and Podman hide.
const MASKED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What a container is made of, beside what the caller asked for.
#[derive(Debug)]
pub(super) struct Parts {
    /// Whether there are extra CA certificates in the stage.
    pub(super) has_ca: bool,
    /// Its users.
    pub(super) users: Users,
    /// The path of its control groups.
    pub(super) cgroups: String,
    /// What this host can limit.
    pub(super) able: Able,
    /// The device that the image is read from, by its two numbers.
    pub(super) image_device: (u32, u32),
    /// How many open files this host allows at most.
    pub(super) open_files: u64,
    /// What tells how hot the host's processors were, one folder each.
    pub(super) thermal: Vec<String>,
    /// Its weight while it is made, when not the usual one: `cpu.shares` of cgroup version 1.
    pub(super) cpu_shares: Option<u64>,
}

/// Writes the specification of one sandbox.
pub(super) fn container(id: &SandboxId, spec: &SandboxSpec, parts: &Parts) -> Value {
    let memory = spec.limits.memory_mib * 1024 * 1024;
    // A little more than fits, so that a full layer is "no space left" and no signal.
    let largest_file = (spec.limits.disk_mib + 1) * 1024 * 1024;
    let files = OPEN_FILES.min(parts.open_files);
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=1m", "nr_inodes=1024"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5", &format!("max={TERMINALS}")],
        ),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &format!("size={SHM_MIB}m"), &format!("nr_inodes={SHM_FILES}")],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        bind("/.polydev/agent", &in_stage("agent"), &["bind", "ro", "nosuid", "nodev"]),
    ];
    if parts.has_ca {
        let options = ["bind", "ro", "nosuid", "nodev", "noexec"];
        mounts.push(bind("/.polydev/ca.pem", &in_stage("ca.pem"), &options));
    }
    let mut namespaces = vec![json!({ "type": "user", "path": in_stage(USERS) })];
    namespaces.extend(["pid", "ipc", "uts", "mount", "network", "cgroup"].map(|kind| json!({ "type": kind })));
    let mut memory_limit = json!({ "limit": memory });
    match parts.able.swap {
        // The sum of both, so that nothing is ever swapped out.
        true => memory_limit["swap"] = memory.into(),
        // Version 1 alone lacks it, where the kernel was told so, and has this instead.
        false => memory_limit["swappiness"] = 0.into(),
    }
    let quota = u64::from(spec.limits.cpus.milli) * CPU_PERIOD / 1000;
    let mut cpu = json!({ "period": CPU_PERIOD, "quota": quota });
    if let Some(shares) = parts.cpu_shares {
        cpu["shares"] = shares.into();
    }
    let mut resources = json!({
        "memory": memory_limit,
        "pids": { "limit": spec.limits.pids },
        "cpu": cpu,
        "devices": [{ "allow": false, "access": "rwm" }],
    });
    if parts.able.reads {
        let (major, minor) = parts.image_device;
        let at_most = |rate: u64| json!([{ "major": major, "minor": minor, "rate": rate }]);
        resources["blockIO"] =
            json!({ "throttleReadBpsDevice": at_most(READ_BYTES), "throttleReadIOPSDevice": at_most(READ_REQUESTS) });
    }
    let masked: Vec<&str> = MASKED.iter().copied().chain(parts.thermal.iter().map(String::as_str)).collect();
    json!({
        "ociVersion": "1.0.0",
        "hostname": HOSTNAME,
        "root": { "path": in_stage("root"), "readonly": false },
        "process": {
            "terminal": false,
            "user": { "uid": USER, "gid": USER },
            "args": ["/.polydev/agent"],
            "env": [],
            "cwd": "/",
            "noNewPrivileges": true,
            "oomScoreAdj": OUT_OF_MEMORY_FIRST,
            "capabilities": { "bounding": [], "effective": [], "inheritable": [], "permitted": [], "ambient": [] },
            "rlimits": [
                { "type": "RLIMIT_NOFILE", "soft": files, "hard": files },
                { "type": "RLIMIT_CORE", "soft": NO_CORE, "hard": NO_CORE },
                // No file needs to be larger than the writable layer, and the
                // console's log, which lies on the host, may not be.
                { "type": "RLIMIT_FSIZE", "soft": largest_file, "hard": largest_file },
            ],
        },
        "mounts": mounts,
        "linux": {
            "cgroupsPath": parts.cgroups,
            "namespaces": namespaces,
            "sysctl": { "net.ipv4.tcp_rmem": SOCKET_BUFFERS, "net.ipv4.tcp_wmem": SOCKET_BUFFERS },
            "uidMappings": parts.users.mapping(),
            "gidMappings": parts.users.mapping(),
            "resources": resources,
            "maskedPaths": masked,
            "readonlyPaths": READ_ONLY,
            "seccomp": seccomp::profile(),
        },
        "annotations": { "dev.polydev.sandbox": id.as_str(), "dev.polydev.image": spec.image_id },
    })
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

fn bind(destination: &str, source: &Path, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": "bind", "source": source, "options": options })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{Cpus, Limits, Priority};

    fn written() -> Value {
        let spec = SandboxSpec {
            image: "/images/cli.ext4".into(),
            image_id: "cli-1".into(),
            limits: Limits { memory_mib: 256, cpus: Cpus { milli: 1500 }, pids: 64, disk_mib: 32 },
            ca_file: None,
            priority: Priority::Background,
        };
        let parts = Parts {
            has_ca: true,
            users: Users::from(100_000),
            cgroups: "/polydev/x".into(),
            able: Able { swap: true, reads: true },
            image_device: (7, 3),
            open_files: 20_000,
            thermal: vec!["/sys/devices/system/cpu/cpu0/thermal_throttle".into()],
            cpu_shares: Some(64),
        };
        container(&"sbx_aaaaaaaaaaaaaaaa".parse().unwrap(), &spec, &parts)
    }

    /// A key that is misspelt is ignored by every runtime: the typed reader shows what is understood.
    #[test]
    fn every_key_is_one_of_the_specification() {
        let ours = written();
        let understood: oci_spec::runtime::Spec = serde_json::from_value(ours.clone()).unwrap();
        let understood = serde_json::to_value(understood).unwrap();
        assert_subset("", &ours, &understood);
    }

    fn assert_subset(at: &str, ours: &Value, theirs: &Value) {
        match (ours, theirs) {
            (Value::Object(a), Value::Object(b)) => {
                for (key, value) in a {
                    let other = b.get(key).unwrap_or_else(|| panic!("{at}/{key} is not understood"));
                    assert_subset(&format!("{at}/{key}"), value, other);
                }
            }
            (Value::Array(a), Value::Array(b)) if at.contains("/capabilities/") || a.len() == b.len() => {
                // Capabilities are a set, whose order is lost.
                a.iter().zip(b).enumerate().for_each(|(i, (a, b))| assert_subset(&format!("{at}/{i}"), a, b));
            }
            (a, b) => assert_eq!(a, b, "{at}"),
        }
    }

    #[test]
    fn limits_are_as_asked_and_no_more_than_the_host_allows() {
        let spec = written();
        let resources = &spec["linux"]["resources"];
        let memory = json!({ "limit": 268_435_456, "swap": 268_435_456 });
        assert_eq!(resources["memory"], memory);
        let device = json!({ "major": 7, "minor": 3, "rate": 268_435_456 });
        assert_eq!(resources["blockIO"]["throttleReadBpsDevice"], json!([device]));
        assert_eq!(resources["cpu"], json!({ "period": 100_000, "quota": 150_000, "shares": 64 }));
        assert_eq!(spec["process"]["rlimits"][0], json!({ "type": "RLIMIT_NOFILE", "soft": 20_000, "hard": 20_000 }));
    }
}
