//! The ways out of a sandbox. Each is tried by the same program twice: with the rule that shuts it taken away, where
//! it must lead to a canary that the test has put outside; and with every rule in place, where it must end at the step
//! and for the reason that are written here. So no test passes because its try was wrong.
//!
//! ```text
//!   WAYS         every way, and the rules that shut it
//!   network.rs   past the gateway: what a network of its own keeps away
//!   gateway.rs   through the gateway: addresses, names and their spellings
//!   processes.rs the host's processes, another sandbox's, and the agent
//!   kernel.rs    namespaces, mounts, control groups, devices, what steers the host
//!   surface.rs   parts of the kernel that a sandbox has no need of
//!   shares.rs    what the kernel has so much of for all
//!   files.rs     files of the host, and those that the host reads because a sandbox made them
//!   wire.rs      what a hostile agent says
//!   probe/       the program that tries, from inside
//!   edit.rs      how a rule is taken away
//!   world.rs     the internet as a test has it
//!   house.rs     the real driver, runtime and agent, and a tiny image with the probe in it
//! ```

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails where it stands, and tells what it saw")]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "of what the contract of drivers uses, this needs a part")]
mod common;
mod edit;
#[path = "../egress/support.rs"]
#[expect(dead_code, reason = "of what the gateway's own tests use, this needs a part")]
mod egress;
mod files;
mod gateway;
mod house;
mod kernel;
mod network;
mod processes;
mod rules;
mod shares;
mod surface;
mod sys;
mod wire;
mod world;

use std::collections::BTreeSet;

/// A way out, and what shuts it. Where there is more than one rule, each of them does it alone; that is tried too.
pub(crate) struct Way {
    pub(crate) family: Family,
    pub(crate) name: &'static str,
    pub(crate) rules: &'static [&'static str],
}

/// Which file tries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Network,
    Gateway,
    Processes,
    Kernel,
    Surface,
    Files,
    Reading,
    Wire,
}

const fn way(family: Family, name: &'static str, rules: &'static [&'static str]) -> Way {
    Way { family, name, rules }
}

/// Every way that is tried.
#[rustfmt::skip]
pub(crate) const WAYS: &[Way] = &[
    way(Family::Network, "the host's loopback", &["a network namespace"]),
    way(Family::Network, "the host's loopback by IPv6", &["a network namespace"]),
    way(Family::Network, "the host's addresses", &["a network namespace"]),
    way(Family::Network, "UDP", &["a network namespace"]),
    way(Family::Network, "abstract unix sockets of the host", &["a network namespace"]),
    way(Family::Network, "another sandbox's ports", &["a network namespace"]),
    way(Family::Network, "raw sockets", &["a network namespace", "users of its own", "no CAP_NET_RAW"]),
    way(Family::Network, "packet sockets", &["a network namespace", "users of its own", "no CAP_NET_RAW", "seccomp"]),

    way(Family::Gateway, "loopback, through the gateway", &["special addresses and local names are refused"]),
    way(Family::Gateway, "the server's API, through the gateway", &["special addresses and local names are refused"]),
    way(Family::Gateway, "the public URL", &["the host of `public_url` is refused"]),
    way(Family::Gateway, "the host's public address", &["the host's own addresses are refused"]),
    way(Family::Gateway, "private ranges", &["special addresses are refused"]),
    way(Family::Gateway, "IPv6 addresses that are near", &["special addresses are refused"]),
    way(Family::Gateway, "link-local addresses", &["special addresses are refused"]),
    way(Family::Gateway, "metadata of clouds", &["special addresses and local names are refused"]),
    way(Family::Gateway, "v4-mapped spellings", &["an address is judged by what it carries"]),
    way(Family::Gateway, "NAT64 spellings", &["an address is judged by what it carries"]),
    way(Family::Gateway, "other IPv6 spellings of IPv4", &["addresses of old transitions are refused"]),
    way(Family::Gateway, "decimal spellings", &["numbers are read as the system reads them"]),
    way(Family::Gateway, "octal, hexadecimal and short spellings", &["numbers are read as the system reads them"]),
    way(Family::Gateway, "names that lead to something near", &["every address of a name is looked at"]),
    way(Family::Gateway, "DNS rebinding", &["a name is resolved once, and the address that was looked at is connected to"]),
    way(Family::Gateway, "pages that lead to something near", &["every connection is judged by itself"]),
    way(Family::Gateway, "a greeting for another server", &["the name in the ClientHello is the one asked for"]),
    way(Family::Gateway, "what is not TLS, where TLS is spoken", &["on port 443 a ClientHello comes first"]),
    way(Family::Gateway, "other ports", &["ports are allowed one by one"]),
    way(Family::Gateway, "names that are not allowed", &["names are allowed one by one"]),
    way(Family::Gateway, "names that are denied", &["denied names are refused, whatever is allowed"]),

    way(Family::Processes, "processes of the host", &["a pid namespace", "users of its own"]),
    way(Family::Processes, "signals to the host's processes", &["a pid namespace", "users of its own", "no CAP_KILL"]),
    way(Family::Processes, "another sandbox's processes", &["a pid namespace", "users of its own"]),
    way(Family::Processes, "the kernel's keyrings", &["seccomp", "users of its own", "an ordinary user"]),
    way(Family::Processes, "the list of the kernel's keys", &["`/proc` and `/sys` are masked", "users of its own", "an ordinary user"]),
    way(Family::Processes, "shared memory of the host", &["an ipc namespace"]),
    way(Family::Processes, "the agent's memory", &["no CAP_SYS_PTRACE"]),
    way(Family::Processes, "the agent's memory map", &["the agent cannot be dumped"]),
    way(Family::Processes, "the agent's socket", &["seccomp", "no CAP_SYS_PTRACE"]),
    way(Family::Processes, "the console on the host's disk", &["the agent cannot be dumped"]),
    way(Family::Processes, "cores, which the host keeps or has a program for", &["RLIMIT_CORE by the runtime", "RLIMIT_CORE by the agent"]),

    way(Family::Kernel, "out of the control group", &["seccomp", "no CAP_SYS_ADMIN", "users of its own", "a cgroup namespace"]),
    way(Family::Kernel, "the release agent of a control group", &["seccomp", "no CAP_SYS_ADMIN", "users of its own"]),
    way(Family::Kernel, "what is masked, by unmounting", &["seccomp", "no CAP_SYS_ADMIN"]),
    way(Family::Kernel, "a file of the host, by a remount", &["seccomp", "no CAP_SYS_ADMIN", "users of its own", "an ordinary user"]),
    way(Family::Kernel, "a file of the host, by a changed copy of its mount", &["seccomp", "no CAP_SYS_ADMIN", "users of its own", "an ordinary user"]),
    way(Family::Kernel, "a file of the host, by its number", &["seccomp", "no CAP_DAC_READ_SEARCH", "users of its own"]),
    way(Family::Kernel, "the namespaces of a process of the host", &["a pid namespace", "seccomp", "no CAP_SYS_ADMIN", "users of its own", "an ordinary user"]),
    way(Family::Kernel, "the root of a process of the host", &["seccomp", "no CAP_SYS_CHROOT", "a pid namespace", "users of its own", "an ordinary user"]),
    way(Family::Kernel, "a device node of one's own", &["no CAP_MKNOD", "users of its own", "nodev on every mount", "the devices control group"]),
    way(Family::Kernel, "a device node that is there", &["no devices but the usual", "users of its own", "the devices control group"]),
    way(Family::Kernel, "the host's core pattern", &["what steers the host is read-only", "users of its own", "an ordinary user"]),
    way(Family::Kernel, "the host's interrupts", &["what steers the host is read-only", "users of its own", "an ordinary user"]),
    way(Family::Kernel, "what tells of the host", &["`/proc` and `/sys` are masked"]),
    way(Family::Kernel, "a program that runs as its owner, root", &["no_new_privs", "nosuid on every mount", "users of its own"]),

    way(Family::Surface, "users of users, by unshare", &["seccomp"]),
    way(Family::Surface, "users of users, by clone", &["seccomp"]),
    way(Family::Surface, "users of users, by clone3", &["seccomp"]),
    way(Family::Surface, "io_uring", &["seccomp"]),
    way(Family::Surface, "bpf", &["seccomp"]),
    way(Family::Surface, "perf", &["seccomp"]),
    way(Family::Surface, "userfaultfd", &["seccomp"]),
    way(Family::Surface, "what the kernel says of the host", &["seccomp"]),
    way(Family::Surface, "the kernel's word of devices", &["seccomp"]),
    way(Family::Surface, "sockets of other families", &["seccomp"]),
    way(Family::Surface, "sockets of other families, in pairs", &["seccomp"]),
    way(Family::Surface, "other protocols of the internet", &["seccomp"]),
    way(Family::Surface, "the host's number of requests to disks", &["seccomp"]),
    #[cfg(target_arch = "x86_64")]
    way(Family::Surface, "system calls of 32 bits", &["seccomp"]),

    way(Family::Files, "the server's database", &["the root is the image", "users of its own", "an ordinary user"]),
    way(Family::Files, "another sandbox's agent, by its socket", &["the root is the image", "users of its own", "an ordinary user"]),
    way(Family::Files, "another sandbox's files", &["a pid namespace", "users of its own", "no CAP_SYS_PTRACE"]),

    way(Family::Reading, "links among files that the host reads", &["the host opens no path of a guest"]),
    way(Family::Reading, "folders that are links, among those", &["the host opens no path of a guest"]),
    way(Family::Reading, "files without an end, among those", &["the agent reads regular files"]),
    way(Family::Reading, "files that are too large, among those", &["a file is read up to what is wanted"]),
    way(Family::Reading, "links in an image, where the driver writes", &["links are resolved within the root"]),

    way(Family::Wire, "a message that is too long", &["a header has 64 KiB at most"]),
    way(Family::Wire, "a file without an end", &["a file is read up to what is wanted"]),
    way(Family::Wire, "more of a file than was announced", &["a file is read up to what was announced"]),
    way(Family::Wire, "a frame that is too long", &["a frame has 64 KiB at most"]),
    way(Family::Wire, "output without an end", &["output is read as it is used"]),
    way(Family::Wire, "silence", &["an answer has 10 seconds"]),
    way(Family::Wire, "an answer that takes its time for each byte", &["an answer has 10 seconds, all of it"]),
];

/// A family has tried all that the table says of it, and nothing else.
pub(crate) fn assert_complete(family: Family, tried: &BTreeSet<&'static str>) {
    let listed: BTreeSet<&str> = WAYS.iter().filter(|way| way.family == family).map(|way| way.name).collect();
    assert_eq!(&listed, tried, "the table and what was tried");
}

#[test]
fn every_way_has_a_name_and_a_rule() {
    let names: BTreeSet<&str> = WAYS.iter().map(|way| way.name).collect();
    assert_eq!(names.len(), WAYS.len(), "a name is there twice");
    assert!(WAYS.iter().all(|way| !way.rules.is_empty()));
}
