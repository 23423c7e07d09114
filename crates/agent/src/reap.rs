//! Reaping: every process that ends in the sandbox is collected here and nowhere else.

use crate::agent::Agent;
use polydev_proto::Exit;
use rustix::process::{WaitOptions, WaitStatus, wait};
use std::rc::Rc;
use tokio::signal::unix::Signal;

/// How many are collected before the other tasks get their turn.
const BATCH: usize = 128;

/// Collects every child, job or orphan, until the agent ends.
///
/// One SIGCHLD may stand for many deaths, so each is followed by collecting
/// until nothing is left. A job's process cannot be missed: it is started and
/// written down in one turn of this thread, and collected in another.
pub(crate) async fn run(agent: Rc<Agent>, mut deaths: Signal) {
    loop {
        while collect(&agent) == BATCH {
            tokio::task::yield_now().await;
        }
        if deaths.recv().await.is_none() {
            return;
        }
    }
}

/// Collects those that are dead now, at most a batch. Tells how many there were.
pub(crate) fn collect(agent: &Agent) -> usize {
    let dead = std::iter::from_fn(|| wait(WaitOptions::NOHANG).ok().flatten());
    let ended = dead.take(BATCH).map(|(pid, status)| agent.jobs.ended(pid.as_raw_nonzero().get(), exit(status)));
    let count = ended.count();
    if count > 0 {
        agent.reaped.notify_waiters();
    }
    count
}

fn exit(status: WaitStatus) -> Exit {
    Exit { code: status.exit_status(), signal: status.terminating_signal() }
}
