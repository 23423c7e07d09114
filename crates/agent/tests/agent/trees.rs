//! Signals to trees of processes, and the orphans that they leave.

use crate::support::{Agent, program, shell, until};
use polydev_proto::*;

#[test]
fn a_killed_tree_leaves_nothing_behind() {
    let agent = Agent::start();
    // A child; a daemon of two forks with a session of its own; an orphan that closed its output; one that ignores
    // what can be ignored.
    let script = "sleep 1000 &
        setsid sh -c 'setsid sh -c \"echo daemon; sleep 1000\" & exit' &
        (sleep 1000 >/dev/null 2>&1 &)
        (trap '' HUP INT TERM; echo stubborn; sleep 1000) &
        wait";
    agent.exec(shell("tree", script));
    agent.exec(program("other", &["sleep", "1000"]));
    let mut lines = String::new();
    let mut attachment = agent.attach("tree", 0, 0);
    while !(lines.contains("daemon") && lines.contains("stubborn")) {
        lines.push_str(std::str::from_utf8(&attachment.stdout(1)).unwrap());
    }
    assert!(agent.signal("tree", 15, true) >= 5);
    assert!(agent.job("other").exit.is_none());
    agent.signal("tree", 9, true);
    assert_eq!(agent.processes(), [(agent.job("other").started.pid, 'S')]);
    assert_eq!(agent.signal("tree", 9, true), 0, "nobody is there any more");
}

#[test]
fn a_tree_outlives_its_leader_and_is_still_found() {
    let agent = Agent::start();
    assert_eq!(agent.run("j", "setsid sleep 1000 >/dev/null 2>&1 & sleep 1000 >/dev/null 2>&1 &").code, Some(0));
    assert_eq!(agent.signal("j", 15, false), 0, "the job's own process has ended");
    assert_eq!(agent.signal("j", 9, true), 2);
    assert_eq!(agent.processes(), []);
}

#[test]
fn a_signal_without_tree_is_the_leader_s_alone() {
    let agent = Agent::start();
    agent.exec(shell("j", "trap 'echo caught; exit 7' USR1; sleep 1000 & echo ready; wait"));
    agent.attach("j", 0, 0).stdout(6);
    assert_eq!(agent.signal("j", 10, false), 1);
    let ran = agent.attach("j", 6, 0).finish();
    assert_eq!((ran.out(), ran.code), ("caught\n", Some(7)));
    assert_eq!(agent.processes().len(), 1, "the child was spared");
}

#[test]
fn a_number_that_is_no_signal_is_refused() {
    let agent = Agent::start();
    agent.exec(program("j", &["sleep", "1000"]));
    for signal in [0, -9, 65, 4711] {
        let refused = agent.refused(Channel::Signal(Signal { job: "j".to_owned(), signal, tree: true }));
        assert_eq!(refused.code, ErrorCode::Invalid, "{signal}");
    }
}

#[test]
fn a_flood_of_orphans_is_reaped_and_no_status_is_mixed_up() {
    let agent = Agent::start();
    let script = |status: usize| {
        format!("i=0; while [ $i -lt 300 ]; do (exit 99 & exit 98) & i=$((i+1)); done; wait; exit {status}")
    };
    for n in 1..=4 {
        agent.exec(shell(&n.to_string(), &script(n)));
    }
    for n in 1..=4 {
        assert_eq!(agent.attach(&n.to_string(), 0, 0).finish().code, Some(n));
    }
    until("no process is left, dead or alive", || agent.processes().is_empty());
}

#[test]
fn an_agent_that_is_asked_to_end_takes_everything_with_it() {
    let mut agent = Agent::start();
    agent.exec(shell("j", "setsid sleep 1000 & echo; wait"));
    agent.attach("j", 0, 0).stdout(1);
    let pids: Vec<_> = agent.processes().iter().map(|(pid, _)| *pid).collect();
    assert!(pids.len() >= 2, "{pids:?}");
    assert!(agent.end().success());
    for pid in pids {
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "{pid} is left");
    }
}
