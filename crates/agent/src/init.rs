//! What is done once, before anything else: nothing of whoever started the agent may reach the jobs.

use crate::sys;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

/// No core dumps of what the jobs hold in memory, credentials among it. One byte and not none: a limit of 0 does not
/// stop the kernel from piping a core into a program of the host, as many hosts have it; a limit of 1 does
/// (`fs/coredump.c`).
const NO_CORE: Rlimit = Rlimit { current: Some(1), maximum: Some(1) };

/// Makes this process fit to be the first of a sandbox. Each step is a
/// hardening or a convenience of its own: one that the kernel refuses leaves
/// the others standing.
pub(crate) fn settle() {
    sys::close_inherited();
    sys::default_signals();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // The tools run as the same user: they must not read this process's memory or descriptors.
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let _ = rustix::process::setrlimit(Resource::Core, NO_CORE);
    // Orphans come to the first process by themselves, and to a subreaper when it is not the first.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}
