//! The calls that have no safe way, each with the reason why it is sound here.
#![expect(unsafe_code, reason = "system calls without a safe wrapper; nothing else in this crate is unsafe")]

use std::{io, os::fd::OwnedFd, os::unix::process::CommandExt, process::Command};
use tokio::io::unix::AsyncFd;

/// The highest signal number of Linux.
const SIGNAL_MAX: i32 = 64;

/// Hands a descriptor to the runtime, which tells when it can be read and written.
pub(crate) fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open until it is dropped and always names the same description.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// Every signal back to what it does by default, and none blocked, so that
/// nothing of whoever started the agent reaches the jobs. SIGPIPE stays
/// ignored here; `Command` gives it back to what it starts.
pub(crate) fn default_signals() {
    // All zero is the default action in the kernel's own form, which unlike libc's also reaches the signals
    // that libc keeps to itself. There is nothing of them yet to disturb: this is the only thread.
    let default = [0_u64; 4];
    for signal in (1..=SIGNAL_MAX).filter(|s| *s != libc::SIGPIPE) {
        // SAFETY: no handler is installed, and `default` is as long as the kernel's `sigaction`, whose mask has
        // 8 bytes. The numbers that may not be changed are refused, which is harmless.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null_mut::<u64>(), 8_usize)
        };
    }
    // SAFETY: the set is a plain value that `sigemptyset` fills before it is read.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut());
    }
}

/// Closes every descriptor beyond the standard three. Called first in `main`, before anything is opened.
pub(crate) fn close_inherited() {
    // SAFETY: nothing in this process owns a descriptor beyond 2 yet. A kernel without the call (before 5.9) refuses.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}

/// Makes what `command` starts the leader of a session of its own, and, with
/// `terminal`, its standard input the session's terminal.
pub(crate) fn new_session(command: &mut Command, terminal: bool) {
    let lead = move || {
        rustix::process::setsid()?;
        if terminal {
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(lead) };
}
