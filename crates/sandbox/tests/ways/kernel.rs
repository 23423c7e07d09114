//! Through the kernel: namespaces, mounts, control groups, devices, what steers the host.

use crate::{
    Family,
    files::server_folder,
    house::{House, Inside, SETUID_PROBE, Said, Try, at, happens},
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

    let no_admin = |more: &[&str]| no_capability("no CAP_SYS_ADMIN", &[&["CAP_SYS_ADMIN"], more].concat());
    let grouped = [seccomp(), no_admin(&["CAP_DAC_OVERRIDE"]), own_users(), cgroup_namespace()];
    // A namespace of its own keeps nobody from the agent of a hierarchy that is there.
    let (released_by, also_shared) = (&grouped[..3], [ordinary_user().edits, cgroup_namespace().edits].concat());
    let changed = [seccomp(), no_admin(&[]), own_users(), ordinary_user()];
    let no_chroot = no_capability("no CAP_SYS_CHROOT", &["CAP_SYS_CHROOT", "CAP_SYS_PTRACE"]);
    let steered = [read_only_proc(), own_users(), ordinary_user()];
    let loop_control =
        json!({ "path": "/dev/loop-control", "type": "c", "major": 10, "minor": 237, "fileMode": 0o666 });
    let row = |way, args: &[&str], rules: &[Rule], leads: &str, shut| Try::new(way, args, rules, leads, shut);
    let ca = "/.polydev/ca.pem";
    let tries = vec![
        row(
            "out of the control group",
            &["join-root-group", kind, options],
            &grouped,
            "in / of",
            at("mount", libc::ENOSYS),
        )
        .with(ordinary_user().edits),
        row(
            "the release agent of a control group",
            &["release-agent", &format!("polydev-{me}"), &text(&agent)],
            released_by,
            "group",
            at("mount", libc::ENOSYS),
        )
        .with(also_shared),
        row(
            "what is masked, by unmounting",
            &["uncover", "/proc/interrupts", "/proc/interrupts"],
            &[seccomp(), no_admin(&[])],
            "CPU0",
            at("umount", libc::ENOSYS),
        ),
        row(
            "a file of the host, by a remount",
            &["remount", ca, &canary],
            &changed,
            "written",
            at("mount", libc::ENOSYS),
        ),
        row(
            "a file of the host, by a changed copy of its mount",
            &["clone-mount", ca, &canary],
            &changed,
            "written",
            at("open_tree", libc::ENOSYS),
        ),
        row(
            "a file of the host, by its number",
            &["by-handle", "/.polydev/agent", &file_handle(&database).unwrap()],
            &[seccomp(), no_capability("no CAP_DAC_READ_SEARCH", &["CAP_DAC_READ_SEARCH"]), own_users()],
            &canary,
            at("open_by_handle_at", libc::ENOSYS),
        ),
        row(
            "the namespaces of a process of the host",
            &["enter", &format!("/proc/{me}/ns/mnt"), &text(&database)],
            &[
                pid_namespace(),
                seccomp(),
                no_admin(&["CAP_SYS_CHROOT", "CAP_SYS_PTRACE"]),
                own_users(),
                ordinary_user(),
            ],
            &canary,
            at("open", libc::ENOENT),
        ),
        row(
            "the root of a process of the host",
            &["change-root", &format!("/proc/{me}/root"), &text(&database)],
            &[seccomp(), no_chroot, pid_namespace(), own_users(), ordinary_user()],
            &canary,
            at("chroot", libc::ENOSYS),
        ),
        row(
            "a device node of one's own",
            &["device", &major, &minor, IN_THE_IMAGE],
            &[no_capability("no CAP_MKNOD", &["CAP_MKNOD"]), own_users(), nodev(), devices_group()],
            IN_THE_IMAGE,
            at("mknod", libc::EPERM),
        ),
        row(
            "a device node that is there",
            &["open-to-write", "/dev/loop-control"],
            &[usual_devices(&loop_control), own_users(), devices_group()],
            "open",
            at("open", libc::ENOENT),
        ),
        row(
            "the host's core pattern",
            &["rewrite", "/proc/sys/kernel/core_pattern"],
            &steered,
            "written",
            at("open to write", libc::EACCES),
        ),
        row(
            "the host's interrupts",
            &["rewrite", "/proc/irq/default_smp_affinity"],
            &steered,
            "written",
            at("open to write", libc::EACCES),
        ),
        row("what tells of the host", &["read", "/proc/interrupts"], &[masks()], "CPU0", "read empty".into()),
        Try {
            program: SETUID_PROBE,
            ..row(
                "a program that runs as its owner, root",
                &["read", "/etc/shadow"],
                &[no_new_privileges(), nosuid(&setuid, SETUID_PROBE), own_users()],
                &canary,
                at("open", libc::EACCES),
            )
            .with([bind(&setuid, SETUID_PROBE, &["ro", "nosuid"]), bind(&database, "/etc/shadow", &["ro"])])
        },
    ];
    let look = async |way: &str, inside: &Inside, got: &str| match way {
        "the release agent of a control group" => {
            let ran = happens(|| released.exists()).await;
            // A hierarchy lasts as long as it has groups, for everybody on this host.
            assert_eq!(inside.probe(&["remove-folder", got]).await.to_string(), "got removed");
            assert!(ran, "the agent has not run, on the host");
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
