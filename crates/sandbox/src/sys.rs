//! Everything of this crate that the compiler cannot check.

#![expect(unsafe_code, reason = "what runs between fork and exec, and what a thread shares with its process")]

use rustix::{process::Signal, thread::UnshareFlags};
use std::fs::File;

/// Has the kernel kill `command` when the thread that started it ends.
pub(crate) fn die_with_parent_thread(command: &mut tokio::process::Command) {
    let parent = rustix::process::getpid();
    let set = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // A parent that ended before the call above is not told of any more.
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
    };
    // SAFETY: the closure makes two system calls, allocates nothing and takes no lock.
    unsafe { command.pre_exec(set) };
}

/// Starts `command` in a session of its own, out of reach of the terminal's signals.
pub(crate) fn lead_a_session(command: &mut tokio::process::Command) {
    let lead = || rustix::process::setsid().map(drop).map_err(Into::into);
    // SAFETY: the closure makes one system call, allocates nothing and takes no lock.
    unsafe { command.pre_exec(lead) };
}

/// Has `command` join a control group, by its open `cgroup.procs`, before it becomes its program.
/// What cannot join runs where it is.
pub(crate) fn join_group(command: &mut tokio::process::Command, group: File) {
    let join = move || {
        let _not_joined = rustix::io::write(&group, b"0");
        Ok(())
    };
    // SAFETY: the closure makes one system call, allocates nothing and takes no lock.
    unsafe { command.pre_exec(join) };
}

/// Gives the calling thread a mount namespace of its own: a copy of the one it is in.
/// Also a working folder and root of its own, which the kernel asks for.
pub(crate) fn own_mount_namespace() -> rustix::io::Result<()> {
    // SAFETY: file descriptors stay shared with the process; only the working
    // folder, the root and the mounts become this thread's own, and the thread
    // is one that the caller made for this.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS | UnshareFlags::NEWNS) }
}

/// Gives the calling thread a working folder and root of its own, so that it may enter a mount namespace.
pub(crate) fn own_working_folder() -> rustix::io::Result<()> {
    // SAFETY: as above; nothing but the working folder, the root and the umask is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }
}
