//! Into parts of the kernel that a sandbox has no need of. Where such a part is shut, there is nothing to be found in it.

use crate::{
    Family,
    edit::Edit,
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
    let unfiltered = [no_seccomp()];
    // To the hypervisor, past every network namespace. A kernel without these has packet sockets at least.
    let vsock = rustix::net::socket(AddressFamily::VSOCK, SocketType::DGRAM, None).is_ok();
    let family = if vsock { AddressFamily::VSOCK } else { AddressFamily::PACKET }.as_raw().to_string();
    let root = is_root_of_the_host(&["CAP_BPF", "CAP_NET_RAW", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_SYSLOG"]);
    let row = |way, args: &[&str], without: &[Edit], leads: &str, shut| Try::new(way, args, without, leads, shut);
    let absent = |step| at(step, libc::ENOSYS);
    let all = "ffffffff";
    let mut tries = vec![
        row("users of users, by unshare", &["new-users"], &unfiltered, all, absent("unshare")),
        row("users of users, by clone", &["clone-with-new-users"], &unfiltered, all, absent("clone")),
        row("users of users, by clone3", &["clone3"], &unfiltered, all, absent("clone3")),
        row("io_uring", &["io_uring"], &unfiltered, "a descriptor", absent("io_uring_setup")),
        row("bpf", &["bpf"], &root, "a descriptor", absent("bpf")),
        row("perf", &["perf"], &root, "a descriptor", absent("perf_event_open")),
        row("userfaultfd", &["userfaultfd"], &unfiltered, "a descriptor", absent("userfaultfd")),
        row("what the kernel says of the host", &["kernel-log"], &root, "some", absent("syslog")),
        // AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT.
        row("the kernel's word of devices", &["socket", "16", "3", "15"], &unfiltered, "a socket", absent("socket")),
        row("sockets of other families", &["socket", &family, "2", "0"], &root, "a socket", absent("socket")),
    ];
    if cfg!(target_arch = "x86_64") {
        tries.push(row("system calls of 32 bits", &["32-bits"], &unfiltered, "a number", SIGSYS.to_owned()));
    }
    house.prove(Family::Surface, tries).await;
}
