//! The system calls that a sandbox may make: an allow-list.
//!
//! Left out are those that need a capability (a sandbox has none), those that
//! make or enter namespaces and mounts, the kernel's keyrings, and those with a
//! long record of holes: bpf, io_uring, perf, userfaultfd. What is left out is
//! answered as a system call that this kernel does not have, so that programs
//! fall back to what they did before it existed.

use serde_json::{Value, json};

/// `CLONE_NEW*` of `linux/sched.h`: time, mount, cgroup, uts, ipc, user, pid, net.
const CLONE_NEW: u64 = 0x7e02_0080;

const ENOSYS: u32 = 38;

/// `AF_UNIX`, `AF_INET`, `AF_INET6`, and `AF_NETLINK` for lists of interfaces.
const SOCKET_FAMILIES: [u64; 4] = [1, 2, 10, 16];

/// `personality`: Linux as usual, 32 bits of address space, two flags that old programs set, and asking.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

#[rustfmt::skip]
const FILES: &[&str] = &[
    "access", "chdir", "chmod", "chown", "close", "close_range", "copy_file_range", "creat", "dup", "dup2", "dup3",
    "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod", "fchmodat", "fchmodat2", "fchown",
    "fchownat", "fcntl", "fdatasync", "fgetxattr", "flistxattr", "flock", "fremovexattr", "fsetxattr", "fstat",
    "fstatfs", "fsync", "ftruncate", "futimesat", "getcwd", "getdents", "getdents64", "getxattr",
    "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch", "ioctl", "lchown", "lgetxattr", "link",
    "linkat", "listxattr", "llistxattr", "lremovexattr", "lseek", "lsetxattr", "lstat", "mkdir", "mkdirat", "mknod",
    "mknodat", "newfstatat", "open", "openat", "openat2", "pread64", "preadv", "preadv2", "pwrite64", "pwritev",
    "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "removexattr", "rename", "renameat",
    "renameat2", "rmdir", "sendfile", "setxattr", "splice", "stat", "statfs", "statx", "symlink", "symlinkat", "sync",
    "sync_file_range", "syncfs", "tee", "truncate", "umask", "unlink", "unlinkat", "utime", "utimensat", "utimes",
    "vmsplice", "write", "writev",
];

#[rustfmt::skip]
const MEMORY: &[&str] = &[
    "brk", "madvise", "membarrier", "memfd_create", "mincore", "mlock", "mlock2", "mlockall", "mmap", "mprotect",
    "mremap", "mseal", "msync", "munlock", "munlockall", "munmap", "pkey_alloc", "pkey_free", "pkey_mprotect",
    "remap_file_pages",
];

#[rustfmt::skip]
const PROCESSES: &[&str] = &[
    "arch_prctl", "capget", "capset", "execve", "execveat", "exit", "exit_group", "fork", "get_robust_list",
    "getcpu", "getegid", "geteuid", "getgid", "getgroups", "getpgid", "getpgrp", "getpid", "getppid", "getpriority",
    "getresgid", "getresuid", "getrlimit", "getrusage", "getsid", "gettid", "getuid", "ioprio_get", "ioprio_set",
    "kill", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "pause", "pidfd_open",
    "pidfd_send_signal", "prctl", "prlimit64", "process_mrelease", "process_vm_readv", "process_vm_writev", "ptrace",
    "restart_syscall", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn",
    "rt_sigsuspend", "rt_sigtimedwait", "rt_tgsigqueueinfo", "sched_get_priority_max", "sched_get_priority_min",
    "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval",
    "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp",
    "set_robust_list", "set_tid_address", "setfsgid", "setfsuid", "setgid", "setgroups", "setpgid", "setpriority",
    "setregid", "setresgid", "setresuid", "setreuid", "setrlimit", "setsid", "setuid", "sigaltstack", "sysinfo",
    "tgkill", "time", "times", "tkill", "uname", "vfork", "wait4", "waitid",
];

#[rustfmt::skip]
const WAITING: &[&str] = &[
    "alarm", "clock_getres", "clock_gettime", "clock_nanosleep", "epoll_create", "epoll_create1", "epoll_ctl",
    "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2", "futex", "futex_waitv", "getitimer",
    "getrandom", "gettimeofday", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_setup", "io_submit",
    "nanosleep", "poll", "ppoll", "pselect6", "select", "setitimer", "signalfd", "signalfd4", "timer_create",
    "timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime", "timerfd_create", "timerfd_gettime",
    "timerfd_settime",
];

#[rustfmt::skip]
const TALKING: &[&str] = &[
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "mq_getsetattr",
    "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend", "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd",
    "pipe", "pipe2", "recvfrom", "recvmmsg", "recvmsg", "semctl", "semget", "semop", "semtimedop", "sendmmsg",
    "sendmsg", "sendto", "setsockopt", "shmat", "shmctl", "shmdt", "shmget", "shutdown", "socketpair",
];

/// The `linux.seccomp` of a container's specification.
pub(super) fn profile() -> Value {
    let names: Vec<&str> = [FILES, MEMORY, PROCESSES, WAITING, TALKING].concat();
    let mut calls = vec![
        json!({ "names": names, "action": "SCMP_ACT_ALLOW" }),
        // `clone3` hides its flags behind a pointer that no filter can follow: with
        // it left out, libraries use `clone`, whose flags are looked at here.
        when("clone", json!({ "index": 0, "value": CLONE_NEW, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" })),
    ];
    let equal = |value| json!({ "index": 0, "value": value, "op": "SCMP_CMP_EQ" });
    calls.extend(SOCKET_FAMILIES.map(|family| when("socket", equal(family))));
    calls.extend(PERSONALITIES.map(|persona| when("personality", equal(persona))));
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

fn when(name: &str, argument: Value) -> Value {
    json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": [argument] })
}
