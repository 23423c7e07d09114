//! Processes of this host: which one it is, and ending it.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

/// A process, told apart from a later one of the same number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// Clock ticks after the boot (field 22 of `/proc/<pid>/stat`).
    started: u64,
    boot: String,
}

impl Process {
    /// The process that has this number now, if one lives.
    pub(super) fn living(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything; the state is the field after it.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let dead = matches!(fields.next()?, "Z" | "X");
        let started = fields.nth(18)?.parse().ok()?;
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().to_owned();
        (!dead).then_some(Self { pid, started, boot })
    }

    pub(super) fn lives(&self) -> bool {
        Self::living(self.pid).as_ref() == Some(self)
    }
}

/// How long ago a process was started. `None`: there is none of this number.
pub(super) fn age(pid: i32) -> Option<Duration> {
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split(' ').next()?.parse().ok()?;
    let started = Process::living(pid)?.started as f64 / rustix::param::clock_ticks_per_second() as f64;
    Some(Duration::from_secs_f64((uptime - started).max(0.0)))
}

/// Kills processes and waits until they are gone. `still_it` is asked of each
/// number once it can no longer be given to another process.
pub(super) fn end(pids: &[i32], still_it: impl Fn(i32) -> bool, within: Duration) -> io::Result<()> {
    let deadline = Instant::now() + within;
    let mut dying = Vec::new();
    for pid in pids {
        match kill(*pid, &still_it) {
            Ok(process) => dying.extend(process),
            Err(Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for process in &dying {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        if poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&left))? == 0 {
            return Err(io::Error::other(format!("a process outlived SIGKILL by {} s", within.as_secs())));
        }
    }
    Ok(())
}

/// Gives way for a millisecond, between two looks at what the kernel does not tell of.
pub(super) fn wait_a_moment() {
    let moment = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    // Nothing is polled, so only the time ends it, or a signal.
    let _ended = poll(&mut [], Some(&moment));
}

fn kill(pid: i32, still_it: impl Fn(i32) -> bool) -> Result<Option<OwnedFd>, Errno> {
    let Some(number) = Pid::from_raw(pid) else { return Ok(None) };
    let process = pidfd_open(number, PidfdFlags::empty())?;
    if !still_it(pid) {
        return Ok(None);
    }
    pidfd_send_signal(&process, Signal::KILL)?;
    Ok(Some(process))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_an_age() {
        let mine = age(std::process::id().cast_signed()).unwrap();
        // The first process has been there before this one.
        assert!(age(1).is_none_or(|first| first >= mine), "{mine:?}");
        assert_eq!(age(i32::MAX), None);
    }

    #[test]
    fn a_process_is_not_taken_for_another_of_its_number() {
        let me = Process::living(std::process::id().cast_signed()).unwrap();
        assert!(me.lives());
        assert!(!Process { started: me.started + 1, ..me.clone() }.lives());
        assert!(!Process { boot: "another".into(), ..me }.lives());
    }
}
