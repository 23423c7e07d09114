//! Signals to a job and to everything that it left behind.
//!
//! Every process of a sandbox descends from the agent: an orphan comes to it
//! as the first process or as the subreaper. Among those, a job's tree is its
//! process, those of its session, those with its mark in their environment,
//! and the descendants of all these.

use crate::{
    agent::Agent,
    job::{Job, MARK},
    reap,
    refuse::refuse,
};
use polydev_proto::{AgentError, ErrorCode};
use rustix::process::{Pid, Signal, getpid, kill_process};
use std::{collections::BTreeMap, fs, io::Read, time::Duration};
use tokio::time::{Instant, timeout};

/// How long a tree may take to die: a process in an uninterruptible call, or one that forks faster than it is killed.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// After how long the tree is looked at again when nothing was reaped.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How often in a row nothing must be found. /proc is read process by process: one whose parent ends meanwhile may be
/// overlooked once.
const LOOKS_WITHOUT: u32 = 2;

/// The most that is read of a process's environment.
const ENVIRON_MAX: u64 = 256 * 1024;

/// Sends a signal and tells how many processes got it. SIGKILL to a tree
/// returns when the tree is gone.
pub(crate) async fn signal(agent: &Agent, wanted: &polydev_proto::Signal) -> Result<u32, AgentError> {
    let job = agent.jobs.get(&wanted.job)?;
    let signal = Signal::from_named_raw(wanted.signal)
        .ok_or_else(|| refuse(ErrorCode::Invalid, format!("there is no signal {}", wanted.signal)))?;
    if wanted.tree {
        return Ok(send(agent, signal, |sandbox| of_job(sandbox, &job)).await);
    }
    Ok(match job.exit.get() {
        None => u32::from(kill(job.started.pid, signal)),
        Some(_) => 0,
    })
}

/// Kills every process of the sandbox.
pub(crate) async fn end_everything(agent: &Agent) {
    send(agent, Signal::KILL, Table::clone).await;
}

async fn send(agent: &Agent, signal: Signal, members: impl Fn(&Table) -> Table) -> u32 {
    let mut got = Table::new();
    let deadline = Instant::now() + KILL_WAIT;
    let mut looks_without = 0;
    loop {
        let sandbox = descendants(&table());
        let mut found = members(&sandbox);
        // One that is ending has lost its environment already, and the mark with it.
        found.extend(sandbox.iter().filter(|(pid, p)| got.get(*pid).is_some_and(|known| known.born == p.born)));
        found.retain(|_, p| !p.dead);
        looks_without = if found.is_empty() { looks_without + 1 } else { 0 };
        got.extend(found.iter().filter(|(pid, _)| kill(**pid, signal)));
        if signal != Signal::KILL || looks_without == LOOKS_WITHOUT || Instant::now() >= deadline {
            // Whoever looks at the sandbox next shall not find the dead.
            while reap::collect(agent) > 0 {}
            return got.len() as u32;
        }
        if !found.is_empty() {
            // The dead come to the agent to be reaped, and what they forked before they died shows itself.
            let _ = timeout(LOOK_AGAIN, agent.reaped.notified()).await;
        }
    }
}

fn kill(pid: i32, signal: Signal) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

/// A process as /proc shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    parent: i32,
    session: i32,
    /// When it was started, in the kernel's ticks: with its number, which process it is.
    born: u64,
    /// It has ended and waits to be reaped.
    dead: bool,
}

type Table = BTreeMap<i32, Process>;

fn of_job(sandbox: &Table, job: &Job) -> Table {
    let mark = format!("{MARK}={}", job.name);
    tree(sandbox, job.started.pid, job.exit.get().is_some(), |pid| has_mark(pid, mark.as_bytes()))
}

/// The part of `sandbox` that is a job's tree. The number of a process that
/// was reaped may be another's by now, and so may the session's.
fn tree(sandbox: &Table, leader: i32, reaped: bool, marked: impl Fn(i32) -> bool) -> Table {
    let reused = reaped && sandbox.contains_key(&leader);
    let belongs = |pid: i32, p: &Process| !reused && (pid == leader || p.session == leader) || marked(pid);
    let mut found: Table = sandbox.iter().filter(|(pid, p)| belongs(**pid, p)).map(|(k, v)| (*k, *v)).collect();
    close(sandbox, &mut found);
    found
}

/// All that descends from this process.
fn descendants(table: &Table) -> Table {
    let me = getpid().as_raw_nonzero().get();
    let mut found: Table = table.iter().filter(|(_, p)| p.parent == me).map(|(k, v)| (*k, *v)).collect();
    close(table, &mut found);
    found
}

/// Adds to `found` every descendant that `table` has of it.
fn close(table: &Table, found: &mut Table) {
    loop {
        let more: Vec<_> = table
            .iter()
            .filter(|(pid, p)| found.contains_key(&p.parent) && !found.contains_key(*pid))
            .map(|(pid, p)| (*pid, *p))
            .collect();
        if more.is_empty() {
            return;
        }
        found.extend(more);
    }
}

fn table() -> Table {
    let Ok(entries) = fs::read_dir("/proc") else { return Table::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect()
}

/// The fields of /proc/pid/stat (proc(5)) that matter. The name of the program
/// is in brackets and may have anything in it, brackets too.
fn parse(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<i32>().ok();
    // A process whose first thread has ended while others run looks dead but is not.
    let dead = matches!(*fields.first()?, "Z" | "X") && number(17)? <= 1;
    let born = fields.get(19)?.parse().ok()?;
    Some(Process { parent: number(1)?, session: number(3)?, born, dead })
}

fn has_mark(pid: i32, mark: &[u8]) -> bool {
    let Ok(file) = fs::File::open(format!("/proc/{pid}/environ")) else { return false };
    let mut environ = Vec::new();
    // What could be read before an error is looked at all the same.
    let _ = file.take(ENVIRON_MAX).read_to_end(&mut environ);
    environ.split(|byte| *byte == 0).any(|variable| variable == mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(parent: i32, session: i32) -> Process {
        Process { parent, session, born: 99, dead: false }
    }

    #[test]
    fn a_name_with_brackets_and_spaces_is_no_trouble() {
        let stat = "7 (a) b (c) S 3 7 5 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 99";
        assert_eq!(parse(stat), Some(process(3, 5)));
        assert_eq!(parse("7 (x"), None);
        assert_eq!(parse("7 (x) S 1"), None);
    }

    #[test]
    fn a_zombie_with_living_threads_is_alive() {
        let stat = |threads| format!("7 (a) Z 3 7 5 0 -1 0 1 0 0 0 0 0 0 0 20 0 {threads} 0 99");
        assert!(parse(&stat(1)).unwrap().dead);
        assert!(!parse(&stat(2)).unwrap().dead);
    }

    #[test]
    fn a_tree_has_session_mark_and_descendants() {
        let sandbox = Table::from([
            (10, process(1, 10)),  // the leader
            (11, process(10, 11)), // its child in a session of its own
            (12, process(1, 10)),  // an orphan of its session
            (13, process(1, 13)),  // an orphan with its mark
            (14, process(13, 14)), // and its child
            (20, process(1, 20)),  // another job
        ]);
        let found = tree(&sandbox, 10, false, |pid| pid == 13);
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [10, 11, 12, 13, 14]);
    }

    #[test]
    fn a_number_that_was_given_again_is_another_s() {
        let sandbox = Table::from([(10, process(1, 10)), (12, process(10, 10)), (13, process(1, 9))]);
        let found = tree(&sandbox, 10, true, |pid| pid == 13);
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [13]);
    }
}
