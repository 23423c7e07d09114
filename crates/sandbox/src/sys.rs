//! Everything of this crate that the compiler cannot check.

#![expect(unsafe_code, reason = "what runs between fork and exec, and what a thread shares with its process")]

use rustix::{
    fs::{Mode, OFlags},
    process::{Signal, Uid},
    thread::UnshareFlags,
};
use std::{
    ffi::CStr,
    fs::File,
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

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

/// Starts `command` in a user namespace of its own that this user owns, as nobody until its ids are mapped, with these
/// files of `/proc/sys` as they are to be in it. What of them cannot be written stays as it is.
pub(crate) fn own_user_namespace(
    command: &mut tokio::process::Command,
    owner: Uid,
    settings: Vec<(&'static CStr, String)>,
) {
    let unshare = move || {
        // Whose rights these are is the owner. They stay in effect, as not every host lets others make namespaces.
        let rights = rustix::thread::capabilities(None)?;
        rustix::thread::set_thread_res_uid(None, owner, None)?;
        rustix::thread::set_capabilities(None, rights)?;
        // SAFETY: the process has one thread.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }?;
        for (file, value) in &settings {
            let opened = rustix::fs::open(*file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
            let _stays = opened.and_then(|file| rustix::io::write(file, value.as_bytes()));
        }
        Ok(())
    };
    // SAFETY: the closure makes a few system calls in a process of one thread, allocates nothing and takes no lock.
    unsafe { command.pre_exec(unshare) };
}

/// Maps the owners of the files of a mount that is nowhere yet by a user namespace (`man 2 mount_setattr`).
pub(crate) fn map_ids(mount: BorrowedFd<'_>, users: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: users.as_raw_fd() as u64,
    };
    // SAFETY: the path is an empty string that ends in a zero, and `attributes` is read within the size that is told.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives the calling thread a mount namespace of its own: a copy of the one it is in.
/// Also a working folder and root of its own, which the kernel asks for.
pub(crate) fn own_mount_namespace() -> rustix::io::Result<()> {
    // SAFETY: file descriptors stay shared with the process; only the working
    // folder, the root and the mounts become this thread's own, and the thread
    // is one that the caller made for this.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS | UnshareFlags::NEWNS) }
}

/// Gives the calling thread a working folder, root and umask of its own, so that it may enter a mount namespace.
pub(crate) fn own_working_folder() -> rustix::io::Result<()> {
    // SAFETY: as above; nothing but the working folder, the root and the umask is unshared.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }
}
