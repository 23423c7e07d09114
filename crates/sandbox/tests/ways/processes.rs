//! Through other processes: the host's, another sandbox's, and the agent.

use crate::{
    Family,
    common::job,
    edit::Edit,
    house::{House, Inside, Try, at},
    rules::*,
    sys::{Key, SharedMemory},
};
use polydev_sandbox::cmd::{self, Cmd};
use std::{ffi::CString, fs, time::Duration};

/// How long the host's process with a canary among its arguments may run: longer than any test.
const LONG: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_processes() {
    for house in House::all().await {
        of(house).await;
    }
}

async fn of(house: House) {
    let canary = house.canary.clone();
    let program = Cmd::new("sh").args(["-c", "sleep 600; true", &canary]).timeout(LONG);
    let program = tokio::spawn(cmd::run(program));
    let key = Key::new(&format!("polydev-{canary}"), &canary).unwrap();
    let text = CString::new(canary.as_str()).unwrap();
    let memory = SharedMemory::new(std::process::id().cast_signed(), &text).unwrap();
    // A neighbour whose processes can be seen has its secret where a program has it.
    let seen = [vec![shares("pid")], shares_users()].concat();
    let neighbour = house.sandbox(&seen).await;
    let mut secret = job(&["/bin/sleep", "600"]);
    secret.env.insert("SECRET".to_owned(), canary.clone());
    let secret = neighbour.guest.exec(secret).await.unwrap().pid;

    let row = |way, args: &[&str], without: &[Edit], leads: &str, shut| Try::new(way, args, without, leads, shut);
    let host = |capabilities: &[&str]| [vec![shares("pid")], is_root_of_the_host(capabilities)].concat();
    let me = std::process::id().to_string();
    let tries = vec![
        row("processes of the host", &["find-process", &canary], &seen, &canary, "look none".into()),
        row("signals to the host's processes", &["kill", &me], &host(&["CAP_KILL"]), "could", at("kill", libc::ESRCH)),
        row(
            "another sandbox's processes",
            &["read", &format!("/proc/{secret}/environ")],
            &seen,
            &canary,
            at("open", libc::ENOENT),
        ),
        row(
            "the kernel's keyrings",
            &["key", &key.0.to_string()],
            &is_root_of_the_host(&[]),
            &canary,
            at("keyctl", libc::ENOSYS),
        ),
        row(
            "the list of the kernel's keys",
            &["read", "/proc/keys"],
            &[shares_users(), vec![is_root(), unmasked()]].concat(),
            &canary,
            "read empty".into(),
        ),
        row(
            "shared memory of the host",
            &["shared-memory", &memory.key.to_string()],
            &[shares("ipc")],
            &canary,
            at("shmget", libc::ENOENT),
        ),
        row("the agent's memory", &["trace", "1"], &has(&["CAP_SYS_PTRACE"]), "ELF", at("ptrace", libc::EPERM)),
        row("the agent's memory map", &["read", "/proc/1/maps"], &dumpable(), "agent", at("open", libc::EACCES)),
        row(
            "the agent's socket",
            &["take-descriptor", "1", "0"],
            &[vec![no_seccomp()], has(&["CAP_SYS_PTRACE"])].concat(),
            "listens: true",
            at("pidfd_getfd", libc::ENOSYS),
        ),
        row(
            "the console on the host's disk",
            &["write", "/proc/1/fd/1", &canary],
            &[shares_users(), vec![is_root()], dumpable()].concat(),
            "written",
            at("open", libc::EACCES),
        ),
        row("cores, which the host keeps or has a program for", &["core"], &cores(), "a core", "core none".into()),
    ];
    let look = async |way: &str, inside: &Inside, _: &str| {
        if way == "the console on the host's disk" {
            let console = fs::read_to_string(house.folder(inside).join("console.log")).unwrap();
            assert!(console.contains(&canary), "{console}");
        }
    };
    house.prove_and(Family::Processes, tries, look).await;
    neighbour.end().await;
    program.abort();
}
