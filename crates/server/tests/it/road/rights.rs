//! The server has the rights of root that its drivers and its checks name, and no others.

use super::{blocking, connected, standin};
use crate::support::{
    host,
    server::{NO_POOL, Server, text},
};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt,
    process::{Command, Stdio},
    time::Duration,
};

/// Numbers of `linux/capability.h`.
pub(super) const NAMED: [(&str, u32); 11] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_FOWNER", 3),
    ("CAP_KILL", 5),
    ("CAP_SETGID", 6),
    ("CAP_SETUID", 7),
    ("CAP_NET_ADMIN", 12),
    ("CAP_SYS_CHROOT", 18),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_SYS_NICE", 23),
];
const CAP_NET_BIND_SERVICE: u32 = 10;

fn named() -> u64 {
    NAMED.iter().map(|(_, number)| 1 << number).sum()
}

/// The sets of every thread of a process, by name.
fn sets(pid: u32) -> Vec<BTreeMap<String, u64>> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|thread| thread.unwrap().path());
    let sets = threads.filter_map(|thread| {
        // A thread may have ended by now.
        let status = fs::read_to_string(thread.join("status")).ok()?;
        let line = |line: &str| {
            let (name, value) = line.split_once(":\t")?;
            let is_set = name.starts_with("Cap") || name == "NoNewPrivs";
            Some((name.to_owned(), is_set.then(|| u64::from_str_radix(value, 16).ok())??))
        };
        Some(status.lines().filter_map(line).collect::<BTreeMap<_, _>>())
    });
    sets.collect()
}

fn of(server: &Server) -> Vec<u64> {
    let mut masks = Vec::new();
    for sets in sets(server.pid()) {
        assert_eq!((sets["CapInh"], sets["CapAmb"], sets["NoNewPrivs"]), (0, 0, 1), "{sets:x?}");
        masks.extend(["CapPrm", "CapEff", "CapBnd"].map(|name| sets[name]));
    }
    masks.dedup();
    masks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_has_the_rights_that_are_named_and_its_runs_go_on() {
    let (server, _standin) = connected(NO_POOL).await;
    blocking(move || {
        assert_eq!(of(&server), [named()], "of all its threads; {:x?}", sets(server.pid()));
        let out = server.polydev(&["run", "claude", "What is 17*23?"]);
        assert_eq!(text(&out.stdout).trim(), "391", "{}", text(&out.stderr));
        assert_eq!(of(&server), [named()], "also after it made a sandbox");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_is_to_listen_at_a_port_of_root_s_may() {
    let standin = standin().await;
    blocking(move || {
        // An address of loopback that nobody else is likely to have.
        let listen = [("POLYDEV__SERVER__LISTEN", "127.31.41.59:86")];
        let server = Server::empty(&standin, NO_POOL, &listen);
        assert!(server.url.ends_with(":86"), "{}", server.url);
        assert_eq!(of(&server), [named() | 1 << CAP_NET_BIND_SERVICE]);
    })
    .await;
}

/// What the kernel shows of a process is its group's where the process can be dumped, and else root's.
#[test]
fn it_cannot_be_dumped() {
    const GROUP: u32 = 12_345;
    let is_of_group = |program: &str, args: &[&str], group: u32| {
        let mut of_group = Command::new("setpriv");
        of_group.args([&format!("--regid={GROUP}"), "--clear-groups", program]).args(args);
        // It waits for input that does not come.
        let mut waiting = of_group.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let process = format!("/proc/{}", waiting.id());
        host::until(Duration::from_secs(20), || {
            let is_it = fs::read_to_string(format!("{process}/comm")).is_ok_and(|name| program.ends_with(name.trim()));
            is_it && fs::metadata(format!("{process}/environ")).is_ok_and(|about| about.gid() == group)
        });
        waiting.kill().unwrap();
        waiting.wait().unwrap();
    };
    is_of_group("cat", &[], GROUP);
    is_of_group(env!("CARGO_BIN_EXE_polydev"), &["connect", "claude", "--api-key-stdin"], 0);
}

/// The page that tells operators has them all.
#[test]
fn the_rights_are_written_down() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = fs::read_to_string(root.join("docs/operating.md")).unwrap();
    for (name, _) in NAMED {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}
