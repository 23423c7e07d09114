//! Parts of the kernel that a sandbox has no need of: each call here leads into code with a long record of holes, or
//! tells of the host.

use crate::{
    At, Refused, Tried,
    sys::{self, Arg, Arg::Int},
};
use std::{io, os::fd::OwnedFd};

pub(crate) fn try_one(args: &[&str]) -> Option<Tried> {
    Some(match args {
        ["new-users"] => {
            sys::call(libc::SYS_unshare, [Int(libc::CLONE_NEWUSER.into())]).at("unshare").and_then(|_| capabilities())
        }
        ["clone-with-new-users"] => clone_with_new_users(),
        ["clone3"] => clone3(),
        ["io_uring"] => io_uring(),
        ["bpf"] => bpf(),
        ["perf"] => perf(),
        ["userfaultfd"] => descriptor("userfaultfd", sys::open(libc::SYS_userfaultfd, [Int(1)])),
        ["pair", family, kind, protocol] => pair(family.parse().ok()?, kind.parse().ok()?, protocol.parse().ok()?),
        ["aio"] => aio(),
        ["take-one", what] => take(what, 1),
        ["take-all", what] => take_all(what),
        ["kernel-log"] => kernel_log(),
        #[cfg(target_arch = "x86_64")]
        ["32-bits"] => thirty_two_bits(),
        ["kill", pid] => kill(pid.parse().ok()?),
        _ => return None,
    })
}

fn descriptor<T>(step: &'static str, opened: io::Result<T>) -> Tried {
    opened.at(step).map(|_| "a descriptor".to_owned())
}

fn capabilities() -> Tried {
    let status = std::fs::read_to_string("/proc/self/status").at("read")?;
    let line = status.lines().find(|line| line.starts_with("CapEff:"));
    Ok(line.unwrap_or_default().split_whitespace().collect())
}

/// As `fork` does it, with a flag more.
fn clone_with_new_users() -> Tried {
    let flags = i64::from(libc::CLONE_NEWUSER | libc::SIGCHLD);
    // The order of the last two differs between machines, and both are nothing.
    match sys::call(libc::SYS_clone, [Int(flags), Int(0), Int(0), Int(0), Int(0)]).at("clone")? {
        0 => capabilities(),
        child => {
            sys::wait_for(child as i32).at("wait")?;
            Err(Refused { at: "parent", why: "the child tells".to_owned() })
        }
    }
}

/// `struct clone_args` of its first version: flags, five that are nothing, the signal, two that are nothing.
fn clone3() -> Tried {
    let mut words = [0_u64; 8];
    words[0] = libc::CLONE_NEWUSER as u64;
    words[4] = libc::SIGCHLD as u64;
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    match sys::call(libc::SYS_clone3, [Arg::In(&bytes), Int(bytes.len() as i64)]).at("clone3")? {
        0 => capabilities(),
        child => {
            sys::wait_for(child as i32).at("wait")?;
            Err(Refused { at: "parent", why: "the child tells".to_owned() })
        }
    }
}

fn io_uring() -> Tried {
    let mut params = [0; 120];
    descriptor("io_uring_setup", sys::open(libc::SYS_io_uring_setup, [Int(1), Arg::Out(&mut params)]))
}

/// An array of one number.
fn bpf() -> Tried {
    let attributes: Vec<u8> = [2_u32, 4, 4, 1].iter().flat_map(|word| word.to_ne_bytes()).collect();
    descriptor("bpf", sys::open(libc::SYS_bpf, [Int(0), Arg::In(&attributes), Int(attributes.len() as i64)]))
}

/// The count of this process's own page faults.
fn perf() -> Tried {
    const SIZE: usize = 64;
    let mut attributes = [0; SIZE];
    attributes[0] = 1;
    attributes[4] = SIZE as u8;
    attributes[8] = 2;
    let opened = sys::open(libc::SYS_perf_event_open, [Arg::In(&attributes), Int(0), Int(-1), Int(-1), Int(0)]);
    descriptor("perf_event_open", opened)
}

/// Two sockets of a family that mostly has no pairs. The kernel makes one before it finds that out.
fn pair(family: i64, kind: i64, protocol: i64) -> Tried {
    let mut pair = [0; 8];
    let made = sys::call(libc::SYS_socketpair, [Int(family), Int(kind), Int(protocol), Arg::Out(&mut pair)]);
    match made {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok("made, and no pair".to_owned()),
        made => made.at("socketpair").map(|_| "made".to_owned()),
    }
}

/// Room for some requests, of which the host has so many.
fn aio() -> Tried {
    let mut context = [0; 8];
    sys::call(libc::SYS_io_setup, [Int(8), Arg::Out(&mut context)]).at("io_setup").map(|_| "a context".to_owned())
}

/// One more of something.
fn one_of(what: &str) -> io::Result<OwnedFd> {
    match what {
        "inotify" => sys::open(libc::SYS_inotify_init1, [Int(libc::IN_CLOEXEC.into())]),
        "terminals" => std::fs::OpenOptions::new().read(true).write(true).open("/dev/ptmx").map(Into::into),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// So many of something, and how many that were.
fn take(what: &str, most: usize) -> Tried {
    let taken: Vec<OwnedFd> = (0..most).map(|_| one_of(what)).collect::<io::Result<_>>().at("take")?;
    Ok(taken.len().to_string())
}

/// Takes of something until there is no more, says how many it has, and keeps them.
fn take_all(what: &str) -> Tried {
    let taken: Vec<OwnedFd> = std::iter::from_fn(|| one_of(what).ok()).collect();
    println!("{}", taken.len());
    loop {
        std::thread::park();
    }
}

/// What the kernel has said, of all that the host does.
fn kernel_log() -> Tried {
    const READ_ALL: i64 = 3;
    let mut bytes = vec![0; 64 * 1024];
    let size = Int(bytes.len() as i64);
    let read = sys::call(libc::SYS_syslog, [Int(READ_ALL), Arg::Out(&mut bytes), size]).at("syslog")?;
    Ok(format!("the kernel's words: {}", if read > 0 { "some" } else { "none" }))
}

/// The gate of 32-bit programs, whose calls have other numbers than a filter for 64 bits knows.
#[cfg(target_arch = "x86_64")]
fn thirty_two_bits() -> Tried {
    let status = sys::in_a_child(|| i32::from(sys::getpid_of_32_bits() <= 0)).at("fork")?;
    if libc::WIFSIGNALED(status) {
        return Err(Refused { at: "gate", why: format!("signal {}", libc::WTERMSIG(status)) });
    }
    match libc::WEXITSTATUS(status) {
        0 => Ok("a number".to_owned()),
        _no_number => Err(Refused { at: "gate", why: "no number".to_owned() }),
    }
}

/// Asks whether a signal could be sent.
fn kill(pid: i64) -> Tried {
    sys::call(libc::SYS_kill, [Int(pid), Int(0)]).at("kill").map(|_| "could be ended".to_owned())
}
