//! Everything has a reason, also what is left out.

use super::*;
use std::collections::BTreeMap;

/// The last call that was looked at: `rseq_slice_yield` of Linux 7.0. What is newer is left out until somebody looks.
const LAST: u32 = 471;

/// What a sandbox cannot do.
#[rustfmt::skip]
const LEFT_OUT: &[Group] = &[
    Group {
        why: "Looked at by their arguments, below.",
        calls: &["clone", "personality", "socket", "socketpair"],
    },
    Group {
        why: "Its flags lie behind a pointer that no filter can follow. Libraries then use `clone`, whose \
              flags are looked at.",
        calls: &["clone3"],
    },
    Group {
        why: "They make or enter namespaces: whoever has users of their own has every capability over them, \
              and with it most of the kernel's code to try.",
        calls: &["setns", "unshare"],
    },
    Group {
        why: "They mount, or tell of mounts.",
        calls: &[
            "fsconfig", "fsmount", "fsopen", "fspick", "listmount", "mount", "mount_setattr", "move_mount",
            "open_tree", "open_tree_attr", "pivot_root", "statmount", "umount2",
        ],
    },
    Group {
        why: "Another root, which needs a capability, and has let people out before.",
        calls: &["chroot"],
    },
    Group {
        why: "Files by their number, past every folder that is shut: the way out of the first containers.",
        calls: &["name_to_handle_at", "open_by_handle_at"],
    },
    Group {
        why: "Keyrings know users, and not containers.",
        calls: &["add_key", "keyctl", "request_key"],
    },
    Group {
        why: "A descriptor of another process: the agent's is not to be had.",
        calls: &["pidfd_getfd"],
    },
    Group {
        why: "Programs in the kernel, and counters of it.",
        calls: &["bpf", "perf_event_open", "uprobe", "uretprobe"],
    },
    Group {
        why: "Faults that a program answers itself hold the kernel up where it is weakest.",
        calls: &["userfaultfd"],
    },
    Group {
        why: "A second way to most other calls, past every filter, with a long record of holes.",
        calls: &["io_uring_enter", "io_uring_register", "io_uring_setup"],
    },
    Group {
        why: "Reading and writing while one goes on, as databases do, which do without too: how much of it \
              there may be is one number for the whole host (`fs.aio-max-nr`), and a sandbox could have it all.",
        calls: &["io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit"],
    },
    Group {
        why: "They change the host: its clock, name, modules, kernel, swap, accounting, ports, quotas. All \
              need capabilities.",
        calls: &[
            "_sysctl", "acct", "adjtimex", "clock_adjtime", "clock_settime", "create_module",
            "delete_module", "finit_module", "init_module", "ioperm", "iopl", "kexec_file_load",
            "kexec_load", "lsm_set_self_attr", "quotactl", "quotactl_fd", "reboot", "setdomainname",
            "sethostname", "settimeofday", "swapoff", "swapon", "vhangup",
        ],
    },
    Group {
        why: "They tell of the host, or of the kernel's inside.",
        calls: &[
            "get_kernel_syms", "kcmp", "listns", "lookup_dcookie", "lsm_get_self_attr", "lsm_list_modules",
            "query_module", "syslog",
        ],
    },
    Group {
        why: "Where memory lies is the host's to say.",
        calls: &[
            "get_mempolicy", "mbind", "migrate_pages", "move_pages", "set_mempolicy",
            "set_mempolicy_home_node",
        ],
    },
    Group {
        why: "Watching whole filesystems.",
        calls: &["fanotify_init", "fanotify_mark"],
    },
    Group {
        why: "Segments of 16-bit programs; a hole more than once.",
        calls: &["modify_ldt"],
    },
    Group {
        why: "Memory that not even the kernel reads, and advice about another's: nothing asks for them.",
        calls: &["memfd_secret", "process_madvise"],
    },
    Group {
        why: "Shadow stacks are the C library's to make, and it does without.",
        calls: &["map_shadow_stack"],
    },
    Group {
        why: "Gone, or never there.",
        calls: &[
            "afs_syscall", "epoll_ctl_old", "epoll_wait_old", "get_thread_area", "getpmsg", "nfsservctl",
            "putpmsg", "security", "set_thread_area", "sysfs", "tuxcall", "uselib", "ustat", "vserver",
        ],
    },
    Group {
        why: "Newer than what programs rely on.",
        calls: &[
            "cachestat", "file_getattr", "file_setattr", "futex_requeue", "futex_wait", "futex_wake",
            "getxattrat", "listxattrat", "removexattrat", "rseq_slice_yield", "setxattrat",
        ],
    },
];

#[test]
fn every_call_is_in_one_group_and_every_group_has_a_reason() {
    let mut reasons: BTreeMap<&str, &str> = BTreeMap::new();
    for group in ALLOWED.iter().chain(LEFT_OUT) {
        assert!(group.why.len() > 10 && group.why.ends_with('.'), "{}", group.why);
        for call in group.calls {
            assert_eq!(reasons.insert(call, group.why), None, "`{call}` is there twice");
        }
    }
    // Every call of this kernel's headers, which whoever compiles C has.
    let Some(header) = header() else { return };
    let known = header.lines().filter_map(|line| line.strip_prefix("#define __NR_")?.split_once(' '));
    let known: Vec<(&str, u32)> =
        known.filter_map(|(name, number)| Some((name, number.trim().parse().ok()?))).collect();
    assert!(known.len() > 300, "{known:?}");
    for (name, number) in known {
        assert!(
            number > LAST || reasons.contains_key(name),
            "`{name}` ({number}) is in no group: allow it, or say why not"
        );
    }
}

fn header() -> Option<String> {
    let places = ["/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"];
    places.iter().find_map(|place| std::fs::read_to_string(place).ok())
}

#[test]
fn what_is_left_out_is_not_allowed() {
    let profile = profile();
    let rules = profile["syscalls"].as_array().unwrap();
    let named =
        |call: &str| rules.iter().filter(|rule| rule["names"].as_array().unwrap().iter().any(|n| n == call)).count();
    let (looked_at, refused) = LEFT_OUT.split_first().unwrap();
    for call in refused.iter().flat_map(|group| group.calls) {
        assert_eq!(named(call), 0, "`{call}` is allowed");
    }
    for call in looked_at.calls {
        let rules: Vec<_> = rules.iter().filter(|rule| rule["names"][0] == *call).collect();
        assert!(!rules.is_empty() && rules.iter().all(|rule| rule["args"][0].is_object()), "`{call}` is not looked at");
    }
    for call in ALLOWED.iter().flat_map(|group| group.calls) {
        assert_eq!(named(call), 1, "`{call}`");
    }
}

/// Whether a call with these arguments is allowed.
fn allows(call: &str, arguments: [u64; 3]) -> bool {
    let profile = profile();
    let rules = profile["syscalls"].as_array().unwrap();
    rules.iter().filter(|rule| rule["names"].as_array().unwrap().iter().any(|name| name == call)).any(|rule| {
        rule["args"].as_array().is_none_or(|of| {
            of.iter().all(|of| {
                let (value, two) = (of["value"].as_u64().unwrap(), of["valueTwo"].as_u64());
                let argument = arguments[usize::try_from(of["index"].as_u64().unwrap()).unwrap()];
                match of["op"].as_str().unwrap() {
                    "SCMP_CMP_EQ" => argument == value,
                    "SCMP_CMP_MASKED_EQ" => argument & value == two.unwrap(),
                    other => panic!("{other}"),
                }
            })
        })
    })
}

#[test]
fn sockets_are_of_the_families_types_and_protocols_that_programs_use() {
    const FLAGS: u64 = 0o2_004_000;
    for family in [2, 10] {
        for (kind, protocol) in [(1, 0), (1 | FLAGS, 6), (2, 0), (2 | FLAGS, 17), (2, 1), (2, 58), (3, 1), (3, 17)] {
            assert!(allows("socket", [family, kind, protocol]), "{family} {kind} {protocol}");
        }
        // SCTP as a stream and as what its type stands for, MPTCP, DCCP, UDP-Lite, L2TP, whatever there is.
        for (kind, protocol) in [(1, 132), (5, 0), (1, 262), (6, 0), (2, 136), (2, 115), (3, 255), (3, 0)] {
            assert!(!allows("socket", [family, kind | FLAGS, protocol]), "{family} {kind} {protocol}");
        }
        assert!(!allows("socketpair", [family, 1, 0]), "{family}");
    }
    assert!(allows("socket", [1, 5, 0]) && allows("socketpair", [1, 1 | FLAGS, 0]));
    // AF_TIPC has pairs, AF_VSOCK a way to the hypervisor.
    for family in [17, 30, 38, 40] {
        assert!(!allows("socket", [family, 2, 0]) && !allows("socketpair", [family, 2, 0]), "{family}");
    }
}
