//! What this process takes of its host: `/proc/self` (`man 5 proc`).

use rustix::{
    param::clock_ticks_per_second,
    process::{Resource, getrlimit},
};
use std::fs;

/// What this process takes. What the system does not tell is nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Process {
    /// Processor time, seconds.
    pub cpu_seconds: f64,
    /// Memory that is in use.
    pub memory_bytes: u64,
    /// Open files.
    pub open_files: usize,
    /// The most that are allowed.
    pub open_files_max: u64,
    /// Threads.
    pub threads: u64,
    /// When it was started, Unix milliseconds.
    pub started_at_ms: i64,
}

impl Process {
    /// This process, now. It knows when it was started.
    pub fn look(started_at_ms: i64) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        Self {
            cpu_seconds: cpu_ticks(&stat).unwrap_or_default() as f64 / clock_ticks_per_second() as f64,
            memory_bytes: number("VmRSS:").unwrap_or_default() * 1024,
            open_files: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            open_files_max: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            threads: number("Threads:").unwrap_or_default(),
            started_at_ms,
        }
    }
}

/// Fields 14 and 15 of `/proc/<pid>/stat`, behind the name in parentheses, which may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_something_of_everything() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 0 0 20 0 4 0 100 0 0";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks(""), None);
        let me = Process::look(1000);
        assert!(me.memory_bytes > 1_000_000 && me.open_files > 2 && me.threads > 0, "{me:?}");
        assert!(me.open_files_max >= me.open_files as u64 && me.started_at_ms == 1000);
    }
}
