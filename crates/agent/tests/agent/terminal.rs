//! Jobs in a terminal.

use crate::support::{Agent, BLOCK, program, shell};
use polydev_proto::*;
use std::{io::Write, net::Shutdown};

fn in_terminal(exec: Exec) -> Exec {
    Exec { pty: Some(TerminalSize { cols: 100, rows: 30 }), stdin: true, ..exec }
}

#[test]
fn a_terminal_has_a_size_that_changes_and_outlives_who_types() {
    let agent = Agent::start();
    let script =
        "test -t 0 && test -t 1 && test -t 2 && stty -echo && stty size; read x; stty size; read y; echo $x-$y";
    agent.exec(in_terminal(shell("j", script)));
    let mut attachment = agent.attach("j", 0, 0);
    assert_eq!(attachment.stdout(8), b"30 100\r\n");
    agent.ask(Channel::Resize { job: "j".to_owned(), size: TerminalSize { cols: 40, rows: 10 } }).unwrap();
    let typed = |line: &[u8]| {
        let (_, mut stdin) = agent.input("j");
        stdin.write_all(line).unwrap();
        stdin.shutdown(Shutdown::Write).unwrap();
        assert_eq!(crate::support::reply(&mut stdin), Ok(Answer::Done));
    };
    typed(b"one\n");
    typed(b"two\n");
    let ran = agent.attach("j", 8, 0).finish();
    assert_eq!((ran.out(), ran.code, ran.stderr.len()), ("10 40\r\none-two\r\n", Some(0), 0));
}

#[test]
fn ctrl_c_interrupts() {
    let agent = Agent::start();
    agent.exec(in_terminal(program("j", &["sleep", "1000"])));
    agent.input("j").1.write_all(b"\x03").unwrap();
    assert_eq!(agent.attach("j", 0, 0).finish().signal, Some(2));
}

#[test]
fn what_a_terminal_still_holds_at_the_end_is_not_lost() {
    let agent = Agent::start();
    let stdout = Ring { capacity: 256 * 1024, ..BLOCK };
    agent.exec(in_terminal(Exec { stdout, ..shell("j", "sleep 1000 & seq 1 20000") }));
    let ran = agent.attach("j", 0, 0).finish();
    let lines: Vec<_> = ran.out().lines().collect();
    assert_eq!((lines.len(), lines.last().copied(), ran.code), (20000, Some("20000"), Some(0)));
}

#[test]
fn a_job_without_a_terminal_has_no_size() {
    let agent = Agent::start();
    agent.exec(program("j", &["sleep", "1000"]));
    let refused = agent.refused(Channel::Resize { job: "j".to_owned(), size: TerminalSize { cols: 1, rows: 1 } });
    assert_eq!(refused.code, ErrorCode::Invalid);
}
