//! Through the kernel: namespaces, mounts, control groups, devices, what steers the host.

use crate::{
    Family,
    edit::Edit,
    files::server_folder,
    house::{House, Inside, SETUID_PROBE, Said, Try, at, eventually},
    rules::*,
    sys::file_handle,
};
use serde_json::json;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

/// What the image has in `/etc/hosts`, to be found on the raw device.
const IN_THE_IMAGE: &str = "127.0.0.1 localhost polydev";

/// How the hierarchy is mounted that counts processes: its kind, and its options.
fn hierarchy() -> (&'static str, &'static str) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let v1 = |line: &str| {
        let mut fields = line.split(' ').skip(2);
        fields.next() == Some("cgroup") && fields.next().is_some_and(|options| options.split(',').any(|o| o == "pids"))
    };
    if mounts.lines().any(v1) { ("cgroup", "pids") } else { ("cgroup2", "") }
}

/// The numbers of the loop device that has a file.
fn device_of(file: &Path) -> (String, String) {
    let has = |entry: &fs::DirEntry| {
        let backing = fs::read_to_string(entry.path().join("loop/backing_file")).unwrap_or_default();
        Path::new(backing.trim()) == file
    };
    let device = fs::read_dir("/sys/block").unwrap().flatten().find(has).unwrap();
    let numbers = fs::read_to_string(device.path().join("dev")).unwrap();
    let (major, minor) = numbers.trim().split_once(':').unwrap();
    (major.to_owned(), minor.to_owned())
}

/// What Docker, containerd and Podman hide of a host.
const HIDDEN: &[&str] = &[
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
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// Every device that a program may need.
const DEVICES: &str = "console core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";

/// Of what is hidden, nothing is there that the host has; and no device but the usual.
async fn what_is_hidden(inside: &Inside) {
    for path in HIDDEN.iter().filter(|path| Path::new(path).exists()) {
        let how = if Path::new(path).is_dir() { "list" } else { "read" };
        assert_eq!(inside.probe(&[how, path]).await.to_string(), "refused read empty", "{path}");
    }
    let Said::Got(devices) = inside.probe(&["list", "/dev"]).await else { panic!("no devices at all") };
    let unusual: Vec<&str> =
        devices.split(' ').filter(|name| !DEVICES.split(' ').any(|usual| usual == *name)).collect();
    assert!(unusual.is_empty(), "{unusual:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mounts_groups_and_devices() {
    for house in House::all().await {
        of(house).await;
    }
}

async fn of(house: House) {
    let canary = house.canary.clone();
    let server = server_folder(&house);
    let database = server.join("polydev.db");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let me = std::process::id();
    let (kind, options) = hierarchy();
    let released = house.dir.path().join("released");
    let agent = house.dir.path().join("agent-of-release");
    fs::write(&agent, format!("#!/bin/sh\necho {canary} >'{}'\n", released.display())).unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    // The loop device is there from the first sandbox on.
    let first = house.sandbox(&[]).await;
    let (major, minor) = device_of(&house.image);
    // As root of the host owns it, and as a mount of the host's may let it run.
    let setuid = house.dir.path().join("setuid");
    fs::copy(env!("CARGO_BIN_EXE_polydev-probe"), &setuid).unwrap();
    fs::set_permissions(&setuid, fs::Permissions::from_mode(0o4755)).unwrap();

    let admin = is_root_of_the_host(&["CAP_SYS_ADMIN"]);
    let grouped = [vec![shares("cgroup")], is_root_of_the_host(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"])].concat();
    let seen = |capabilities: &[&str]| [vec![shares("pid")], is_root_of_the_host(capabilities)].concat();
    let open_dev = [vec![every_device()], devices_in_shm(), is_root_of_the_host(&["CAP_MKNOD"])].concat();
    let given = json!({ "path": "/dev/loop-control", "type": "c", "major": 10, "minor": 237, "fileMode": 0o666 });
    let given = [vec![every_device(), Edit::Set("/linux/devices".into(), json!([given])), is_root()], shares_users()];
    let gains = [
        vec![new_privileges()],
        shares_users(),
        vec![sees(&setuid, SETUID_PROBE, &["ro", "suid"]), sees(&database, "/etc/shadow", &["ro"])],
    ];
    let row = |way, args: &[&str], without: &[Edit], leads: &str, shut| Try::new(way, args, without, leads, shut);
    let ca = "/.polydev/ca.pem";
    let tries = vec![
        row(
            "out of the control group",
            &["join-root-group", kind, options],
            &grouped,
            "in / of",
            at("mount", libc::ENOSYS),
        ),
        row(
            "the release agent of a control group",
            &["release-agent", &format!("polydev-{me}"), &text(&agent)],
            &grouped,
            "group",
            at("mount", libc::ENOSYS),
        ),
        row(
            "what is masked, by unmounting",
            &["uncover", "/proc/interrupts", "/proc/interrupts"],
            &[vec![no_seccomp()], has(&["CAP_SYS_ADMIN"])].concat(),
            "CPU0",
            at("umount", libc::ENOSYS),
        ),
        row(
            "a file of the host, by a remount",
            &["remount", ca, &canary],
            &admin,
            "written",
            at("mount", libc::ENOSYS),
        ),
        row(
            "a file of the host, by a changed copy of its mount",
            &["clone-mount", ca, &canary],
            &admin,
            "written",
            at("open_tree", libc::ENOSYS),
        ),
        row(
            "a file of the host, by its number",
            &["by-handle", "/.polydev/agent", &file_handle(&database).unwrap()],
            &is_root_of_the_host(&["CAP_DAC_READ_SEARCH"]),
            &canary,
            at("open_by_handle_at", libc::ENOSYS),
        ),
        row(
            "the namespaces of a process of the host",
            &["enter", &format!("/proc/{me}/ns/mnt"), &text(&database)],
            &seen(&["CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE"]),
            &canary,
            at("open", libc::ENOENT),
        ),
        row(
            "the root of a process of the host",
            &["change-root", &format!("/proc/{me}/root"), &text(&database)],
            &seen(&["CAP_SYS_CHROOT", "CAP_SYS_PTRACE"]),
            &canary,
            at("chroot", libc::ENOSYS),
        ),
        row(
            "a device node of one's own",
            &["device", &major, &minor, IN_THE_IMAGE],
            &open_dev,
            IN_THE_IMAGE,
            at("mknod", libc::EPERM),
        ),
        row(
            "a device node that is there",
            &["open-to-write", "/dev/loop-control"],
            &given.concat(),
            "open",
            at("open", libc::ENOENT),
        ),
        row(
            "the host's core pattern",
            &["rewrite", "/proc/sys/kernel/core_pattern"],
            &[shares_users(), vec![is_root(), writable_proc()]].concat(),
            "written",
            at("open to write", libc::EACCES),
        ),
        row(
            "the host's interrupts",
            &["rewrite", "/proc/irq/default_smp_affinity"],
            &[shares_users(), vec![is_root(), writable_proc()]].concat(),
            "written",
            at("open to write", libc::EACCES),
        ),
        row("what tells of the host", &["read", "/proc/interrupts"], &[unmasked()], "CPU0", "read empty".into()),
        Try {
            program: SETUID_PROBE,
            ..row(
                "a program that runs as its owner, root",
                &["read", "/etc/shadow"],
                &gains.concat(),
                &canary,
                at("open", libc::EACCES),
            )
        },
    ];
    let look = async |way: &str, inside: &Inside, got: &str| match way {
        "the release agent of a control group" => {
            eventually("the agent has run, on the host", || released.exists()).await;
            // A hierarchy lasts as long as it has groups.
            assert_eq!(inside.probe(&["remove-folder", got]).await.to_string(), "got removed");
        }
        "a file of the host, by a remount" | "a file of the host, by a changed copy of its mount" => {
            let certificates = fs::read_to_string(house.folder(inside).join("ca.pem")).unwrap();
            assert!(certificates.ends_with(&format!("{canary}\n")), "{certificates}");
        }
        _ => {}
    };
    house.prove_and(Family::Kernel, tries, look).await;
    what_is_hidden(&first).await;
    first.end().await;
}
