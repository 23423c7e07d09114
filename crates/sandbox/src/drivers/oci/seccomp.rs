//! The system calls that a sandbox may make: an allow-list of our own. Every group has its reason, and so has
//! everything that is left out.
//!
//! What is left out is answered as a system call that this kernel does not have, so that programs fall back to what
//! they did before it existed. So is what is newer than this list. A call by the gate of another architecture (32 bits,
//! x32) ends its process: a filter that knows one architecture's numbers cannot judge another's.

#[cfg(test)]
mod tests;

use serde_json::{Value, json};

/// System calls that are treated alike.
struct Group {
    /// Why.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by people, and by the test that every group has one"))]
    why: &'static str,
    calls: &'static [&'static str],
}

/// `CLONE_NEW*` of `linux/sched.h`: time, mount, cgroup, uts, ipc, user, pid, net.
const CLONE_NEW: u64 = 0x7e02_0080;

const ENOSYS: u32 = 38;

/// Talk within the sandbox. Nothing of other families is there, and some of them, like `AF_VSOCK`, know no namespaces.
/// Asking for one has the kernel load its code, which `socketpair` does as `socket` does.
const AF_UNIX: u64 = 1;

/// `AF_INET`, `AF_INET6`.
const INTERNET: [u64; 2] = [2, 10];

/// Types of these, `SOCK_STREAM`, `SOCK_DGRAM` and `SOCK_RAW`, each with its protocols: TCP, UDP and ICMP. The last
/// needs a capability, which programs expect to be told. Others (SCTP, MPTCP, DCCP, L2TP, ...) are code that nobody asks
/// for but who looks for holes in it.
const PROTOCOLS: [(u64, &[u64]); 3] = [(1, &[0, 6]), (2, &[0, 1, 17, 58]), (3, &[1, 6, 17, 58])];

/// What of a socket's type is its type (`linux/net.h`); the rest are flags.
const SOCK_TYPE_MASK: u64 = 0xf;

/// `AF_NETLINK` with `NETLINK_ROUTE`: lists of interfaces. The other protocols lead to packet filters, security modules
/// and devices.
const NETLINK: [u64; 2] = [16, 0];

/// `personality`: Linux as usual, 32 bits of address space, two flags that old programs set, and asking. Not those that
/// switch off randomised addresses or make readable memory executable.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// What every process may do.
#[rustfmt::skip]
const ALLOWED: &[Group] = &[
    Group {
        why: "What every program does with files. Permissions, the read-only image and the size of the layer \
              hold here; a sandbox has no capability to get around them.",
        calls: &[
            "access", "chdir", "chmod", "chown", "close", "close_range", "copy_file_range", "creat", "dup",
            "dup2", "dup3", "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod",
            "fchmodat", "fchmodat2", "fchown", "fchownat", "fcntl", "fdatasync", "fgetxattr", "flistxattr",
            "flock", "fremovexattr", "fsetxattr", "fstat", "fstatfs", "fsync", "ftruncate", "futimesat",
            "getcwd", "getdents", "getdents64", "getxattr", "lchown", "lgetxattr", "link", "linkat",
            "listxattr", "llistxattr", "lremovexattr", "lseek", "lsetxattr", "lstat", "mkdir", "mkdirat",
            "newfstatat", "open", "openat", "openat2", "pread64", "preadv", "preadv2", "pwrite64",
            "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "removexattr",
            "rename", "renameat", "renameat2", "rmdir", "sendfile", "setxattr", "stat", "statfs", "statx",
            "symlink", "symlinkat", "sync", "sync_file_range", "syncfs", "truncate", "umask", "unlink",
            "unlinkat", "utime", "utimensat", "utimes", "write", "writev",
        ],
    },
    Group {
        why: "Pipes with names, and sockets: a device needs CAP_MKNOD, and an open one the control group's \
              leave.",
        calls: &["mknod", "mknodat"],
    },
    Group {
        why: "Terminals, mostly. What a device understands by it depends on the device, and there are none but \
              the usual.",
        calls: &["ioctl"],
    },
    Group {
        why: "Copying without a copy; `cat`, Rust and git do it. The kernel has had holes here, and mends \
              them.",
        calls: &["splice", "tee", "vmsplice"],
    },
    Group {
        why: "Waiting for files to change, as builds and editors do.",
        calls: &["inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch"],
    },
    Group {
        why: "Memory of one's own. It counts in the sandbox's limit, locked or not.",
        calls: &[
            "brk", "madvise", "membarrier", "memfd_create", "mincore", "mlock", "mlock2", "mlockall",
            "mmap", "mprotect", "mremap", "mseal", "msync", "munlock", "munlockall", "munmap", "pkey_alloc",
            "pkey_free", "pkey_mprotect", "remap_file_pages",
        ],
    },
    Group {
        why: "Starting and ending processes and threads; their number is limited.",
        calls: &[
            "arch_prctl", "execve", "execveat", "exit", "exit_group", "fork", "get_robust_list", "getcpu",
            "kill", "pause", "pidfd_open", "pidfd_send_signal", "prctl", "process_mrelease",
            "restart_syscall", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo",
            "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo", "set_robust_list",
            "set_tid_address", "sigaltstack", "tgkill", "tkill", "vfork", "wait4", "waitid",
        ],
    },
    Group {
        why: "Who one is. Changing it needs what nobody has, but programs ask, and expect an answer that says \
              no.",
        calls: &[
            "capget", "capset", "getegid", "geteuid", "getgid", "getgroups", "getpgid", "getpgrp", "getpid",
            "getppid", "getresgid", "getresuid", "getsid", "gettid", "getuid", "setfsgid", "setfsuid",
            "setgid", "setgroups", "setpgid", "setregid", "setresgid", "setresuid", "setreuid", "setsid",
            "setuid",
        ],
    },
    Group {
        why: "How much one may use and has used, and in which order. Only less can be asked for.",
        calls: &[
            "getpriority", "getrlimit", "getrusage", "ioprio_get", "ioprio_set", "prlimit64",
            "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr",
            "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_setaffinity",
            "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "setpriority",
            "setrlimit", "sysinfo", "times", "uname",
        ],
    },
    Group {
        why: "Debuggers: people have their programs looked into. All processes of a sandbox are one person's; \
              the agent cannot be dumped and so not be traced, and nothing outside is seen.",
        calls: &["process_vm_readv", "process_vm_writev", "ptrace"],
    },
    Group {
        why: "Walls that a tool builds for itself, as codex does for the commands that it runs. They only take \
              away.",
        calls: &["landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "seccomp"],
    },
    Group {
        why: "Time, and waiting for it.",
        calls: &[
            "alarm", "clock_getres", "clock_gettime", "clock_nanosleep", "getitimer", "gettimeofday",
            "nanosleep", "setitimer", "time", "timer_create", "timer_delete", "timer_getoverrun",
            "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime", "timerfd_settime",
        ],
    },
    Group {
        why: "Waiting for many things at once, and for each other.",
        calls: &[
            "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait",
            "eventfd", "eventfd2", "futex", "futex_waitv", "poll", "ppoll", "pselect6", "select",
            "signalfd", "signalfd4",
        ],
    },
    Group {
        why: "Random bytes.",
        calls: &["getrandom"],
    },
    Group {
        why: "Talking, within the sandbox: its network has nobody else in it.",
        calls: &[
            "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen",
            "pipe", "pipe2", "recvfrom", "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto",
            "setsockopt", "shutdown",
        ],
    },
    Group {
        why: "Talking as System V and POSIX have it; PostgreSQL wants it. The namespace is the sandbox's own.",
        calls: &[
            "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink",
            "msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop", "shmat",
            "shmctl", "shmdt", "shmget",
        ],
    },
];

/// The `linux.seccomp` of a container's specification.
pub(super) fn profile() -> Value {
    let names: Vec<&str> = ALLOWED.iter().flat_map(|group| group.calls).copied().collect();
    let mut calls =
        vec![json!({ "names": names, "action": "SCMP_ACT_ALLOW" }), when("clone", &[masked(0, CLONE_NEW, 0)])];
    let equal = |index: u32, value: u64| json!({ "index": index, "value": value, "op": "SCMP_CMP_EQ" });
    calls.extend(["socket", "socketpair"].map(|call| when(call, &[equal(0, AF_UNIX)])));
    for family in INTERNET {
        for (kind, protocols) in PROTOCOLS {
            let of = |protocol| [equal(0, family), masked(1, SOCK_TYPE_MASK, kind), equal(2, protocol)];
            calls.extend(protocols.iter().map(|protocol| when("socket", &of(*protocol))));
        }
    }
    calls.push(when("socket", &[equal(0, NETLINK[0]), equal(2, NETLINK[1])]));
    calls.extend(PERSONALITIES.map(|persona| when("personality", &[equal(0, persona)])));
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "SCMP_ARCH_AARCH64",
        _x86_64 => "SCMP_ARCH_X86_64",
    };
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "architectures": [architecture],
        "syscalls": calls,
    })
}

/// An argument whose bits under this mask are these.
fn masked(index: u32, mask: u64, bits: u64) -> Value {
    json!({ "index": index, "value": mask, "valueTwo": bits, "op": "SCMP_CMP_MASKED_EQ" })
}

/// A call that is allowed where all of this holds of its arguments.
fn when(name: &str, arguments: &[Value]) -> Value {
    json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": arguments })
}
