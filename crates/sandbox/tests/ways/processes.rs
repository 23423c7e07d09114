//! Through other processes: the host's, another sandbox's, and the agent.

use crate::{
    Family,
    common::job,
    house::{House, Inside, Try, at},
    rules::*,
    sys::{Key, SharedMemory},
};
use polydev_sandbox::cmd::{self, Cmd};
use std::{ffi::CString, fs, slice, time::Duration};

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
    let seen = [pid_namespace(), own_users()];
    let neighbour = house.sandbox(&seen.each_ref().map(|rule| rule.edits.clone()).concat()).await;
    let mut secret = job(&["/bin/sleep", "600"]);
    secret.env.insert("SECRET".to_owned(), canary.clone());
    let secret = neighbour.guest.exec(secret).await.unwrap().pid;

    let row = |way, args: &[&str], rules: &[Rule], leads: &str, shut| Try::new(way, args, rules, leads, shut);
    let no_ptrace = no_capability("no CAP_SYS_PTRACE", &["CAP_SYS_PTRACE"]);
    let me = std::process::id().to_string();
    let tries = vec![
        row("processes of the host", &["find-process", &canary], &seen, &canary, "look none".into()),
        row(
            "signals to the host's processes",
            &["kill", &me],
            &[pid_namespace(), own_users(), no_capability("no CAP_KILL", &["CAP_KILL"])],
            "could",
            at("kill", libc::ESRCH),
        ),
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
            &[seccomp(), own_users(), ordinary_user()],
            &canary,
            at("keyctl", libc::ENOSYS),
        ),
        row(
            "the list of the kernel's keys",
            &["read", "/proc/keys"],
            &[masks(), own_users(), ordinary_user()],
            &canary,
            "read empty".into(),
        ),
        row(
            "shared memory of the host",
            &["shared-memory", &memory.key.to_string()],
            &[ipc_namespace()],
            &canary,
            at("shmget", libc::ENOENT),
        ),
        row("the agent's memory", &["trace", "1"], slice::from_ref(&no_ptrace), "ELF", at("ptrace", libc::EPERM)),
        row(
            "the agent's memory map",
            &["read", "/proc/1/maps"],
            &[agent_not_dumpable()],
            "agent",
            at("open", libc::EACCES),
        ),
        row(
            "the agent's socket",
            &["take-descriptor", "1", "0"],
            &[seccomp(), no_ptrace.clone()],
            "listens: true",
            at("pidfd_getfd", libc::ENOSYS),
        ),
        row(
            "the console on the host's disk",
            &["write", "/proc/1/fd/1", &canary],
            &[agent_not_dumpable()],
            "written",
            at("open", libc::EACCES),
        )
        // The file is its user's by crun, and the host's root's by runc.
        .with([own_users().edits, ordinary_user().edits].concat()),
        row(
            "cores, which the host keeps or has a program for",
            &["core"],
            &[core_limit(), core_limit_of_the_agent()],
            "a core",
            "core none".into(),
        ),
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
