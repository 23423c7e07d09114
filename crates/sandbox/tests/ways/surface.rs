//! Into parts of the kernel that a sandbox has no need of. Where such a part is shut, there is nothing to be found in it.

use crate::{
    Family,
    house::{House, Try, at},
    rules::*,
};
use rustix::net::{AddressFamily, SocketType};

/// Signal 31: what the filter sends to a call of another architecture.
const SIGSYS: &str = "gate signal 31";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_the_kernel() {
    for house in House::all().await {
        of(house).await;
    }
}

async fn of(house: House) {
    // Where the kernel asks for more: what it asks for differs between hosts.
    let capable = no_capability("", &["CAP_BPF", "CAP_NET_RAW", "CAP_PERFMON", "CAP_SYSLOG"]);
    let capable = [own_users().edits, capable.edits].concat();
    // To the hypervisor, past every network namespace. A kernel without these has packet sockets at least.
    let vsock = rustix::net::socket(AddressFamily::VSOCK, SocketType::DGRAM, None).is_ok();
    let family = if vsock { AddressFamily::VSOCK } else { AddressFamily::PACKET }.as_raw().to_string();
    // A kernel without MPTCP has raw sockets of any protocol.
    let mptcp = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, Some(rustix::net::ipproto::MPTCP)).is_ok();
    let protocol = if mptcp { ["socket", "2", "1", "262"] } else { ["socket", "2", "3", "255"] };
    let row = |way, step, args: &[&str], leads: &str| Try::new(way, args, &[seccomp()], leads, at(step, libc::ENOSYS));
    let all = "ffffffff";
    let mut tries = vec![
        row("users of users, by unshare", "unshare", &["new-users"], all),
        row("users of users, by clone", "clone", &["clone-with-new-users"], all),
        row("users of users, by clone3", "clone3", &["clone3"], all),
        row("io_uring", "io_uring_setup", &["io_uring"], "a descriptor"),
        row("bpf", "bpf", &["bpf"], "a descriptor").with(capable.clone()),
        row("perf", "perf_event_open", &["perf"], "a descriptor").with(capable.clone()),
        row("userfaultfd", "userfaultfd", &["userfaultfd"], "a descriptor"),
        row("what the kernel says of the host", "syslog", &["kernel-log"], "some").with(capable.clone()),
        // AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT.
        row("the kernel's word of devices", "socket", &["socket", "16", "3", "15"], "a socket"),
        row("sockets of other families", "socket", &["socket", &family, "2", "0"], "a socket").with(capable.clone()),
        row("sockets of other families, in pairs", "socketpair", &["pair", &family, "2", "0"], "made")
            .with(capable.clone()),
        row("other protocols of the internet", "socket", &protocol, "a socket").with(capable),
        row("the host's number of requests to disks", "io_setup", &["aio"], "a context"),
    ];
    if cfg!(target_arch = "x86_64") {
        let shut = SIGSYS.to_owned();
        tries.push(Try { shut, ..row("system calls of 32 bits", "gate", &["32-bits"], "a number") });
    }
    house.prove(Family::Surface, tries).await;
}
