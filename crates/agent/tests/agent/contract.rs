//! What every channel begins with, and what is refused.

use crate::support::{Agent, BLOCK, program, reply, rest, shell, until};
use polydev_proto::*;
use std::{io::Write, net::Shutdown};

#[test]
fn hello_and_ready() {
    let agent = Agent::start();
    let hello = agent.hello();
    assert_eq!((hello.version, hello.agent.as_str()), (VERSION, env!("CARGO_PKG_VERSION")));
    assert!(hello.started_at > 1_700_000_000_000);
    assert!(hello.proxy.starts_with("127.0.0.1:") && !hello.proxy.ends_with(":0"));

    let mut ready = agent.done(Channel::Ready);
    let frames = rest(&mut ready);
    let (frame, taken) = decode_frame(&frames).unwrap().unwrap();
    assert_eq!(taken, frames.len());
    let stage: Stage = serde_json::from_slice(frame.data).unwrap();
    assert_eq!(stage, Stage { name: "agent".to_owned(), done: true, ..Stage::default() });
}

#[test]
fn another_version_is_refused_whatever_it_asks() {
    let agent = Agent::start();
    for json in [r#"{"version":2,"channel":"hello"}"#, r#"{"version":9,"channel":{"telepathy":{}}}"#] {
        let mut stream = agent.dial();
        stream.write_all(&(json.len() as u32).to_be_bytes()).unwrap();
        stream.write_all(json.as_bytes()).unwrap();
        assert_eq!(reply(&mut stream).unwrap_err().code, ErrorCode::Version);
        assert_eq!(rest(&mut stream), b"");
    }
}

#[test]
fn a_header_that_is_not_of_the_contract_is_refused() {
    let agent = Agent::start();
    for header in [&b"not json"[..], b"", b"{}", br#"{"version":1}"#, br#"{"version":1,"channel":{"telepathy":{}}}"#] {
        let mut stream = agent.dial();
        stream.write_all(&(header.len() as u32).to_be_bytes()).unwrap();
        stream.write_all(header).unwrap();
        assert_eq!(reply(&mut stream).unwrap_err().code, ErrorCode::Invalid, "{header:?}");
    }
}

#[test]
fn an_oversized_header_is_refused_before_it_comes() {
    let agent = Agent::start();
    let mut stream = agent.dial();
    stream.write_all(&(HEADER_MAX as u32 + 1).to_be_bytes()).unwrap();
    assert_eq!(reply(&mut stream).unwrap_err().code, ErrorCode::TooLarge);
    // One that ends in the middle of its header is no trouble to the others.
    let mut stream = agent.dial();
    stream.write_all(&[0, 0, 0, 9, b'{']).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut stream), b"");
    agent.hello();
}

#[test]
fn the_sixty_fifth_channel_is_refused() {
    let agent = Agent::start();
    let mut channels: Vec<_> = (0..STREAMS_MAX).map(|_| agent.done(Channel::Watch { rules: Vec::new() })).collect();
    let refused = agent.refused(Channel::Hello);
    assert_eq!(refused.code, ErrorCode::TooLarge);
    assert!(refused.message.contains("64"), "{refused}");
    channels.pop();
    until("a channel's place is free again", || agent.ask(Channel::Hello).is_ok());
}

#[test]
fn silent_connections_do_not_keep_channels_out() {
    let agent = Agent::start();
    let _silent: Vec<_> = (0..STREAMS_MAX).map(|_| agent.dial()).collect();
    agent.hello();
}

#[test]
fn jobs_that_make_no_sense_are_refused() {
    let agent = Agent::start();
    let good = || shell("j", "true");
    let with = |change: &dyn Fn(&mut Exec)| {
        let mut exec = good();
        change(&mut exec);
        agent.refused(Channel::Exec(exec)).code
    };
    assert_eq!(with(&|e| e.argv.clear()), ErrorCode::Invalid);
    assert_eq!(with(&|e| e.argv[0].clear()), ErrorCode::Invalid);
    assert_eq!(with(&|e| e.argv.push("a\0b".to_owned())), ErrorCode::Invalid);
    assert_eq!(with(&|e| e.job.clear()), ErrorCode::Invalid);
    assert_eq!(with(&|e| e.job = "j".repeat(200)), ErrorCode::Invalid);
    assert_eq!(with(&|e| drop(e.env.insert("A=B".to_owned(), String::new()))), ErrorCode::Invalid);
    assert_eq!(with(&|e| e.cwd = "relative".to_owned()), ErrorCode::Invalid);
    assert_eq!(with(&|e| e.cwd = "/..".to_owned()), ErrorCode::Invalid);
    assert_eq!(with(&|e| e.stdout.capacity = 0), ErrorCode::Invalid);
    assert_eq!(with(&|e| e.stdout.capacity = BUFFERED_MAX as u32), ErrorCode::TooLarge);

    agent.run("j", "true");
    assert_eq!(agent.refused(Channel::Exec(good())).code, ErrorCode::Exists);
}

#[test]
fn what_is_asked_of_unknown_jobs_is_refused() {
    let agent = Agent::start();
    let job = || "nobody".to_owned();
    let asked = [
        Channel::Attach(Attach { job: job(), stdout: 0, stderr: 0 }),
        Channel::Stdin { job: job() },
        Channel::Signal(Signal { job: job(), signal: 15, tree: true }),
        Channel::Resize { job: job(), size: TerminalSize { cols: 1, rows: 1 } },
    ];
    for channel in asked {
        let refused = agent.refused(channel);
        assert_eq!(refused.code, ErrorCode::NotFound);
        assert!(refused.message.contains("`nobody`"), "{refused}");
    }
}

#[test]
fn rings_together_are_bounded() {
    let agent = Agent::start();
    let large = |name| Exec {
        stdout: Ring { capacity: BUFFERED_MAX as u32 / 2, ..BLOCK },
        stderr: Ring { capacity: 0, overflow: Overflow::DropOldest },
        ..program(name, &["sleep", "1000"])
    };
    agent.exec(large("first"));
    agent.exec(large("second"));
    assert_eq!(agent.refused(Channel::Exec(large("third"))).code, ErrorCode::TooLarge);
    agent.signal("first", 9, true);
    // What an ended job has reserved and not used is free again.
    until("the first is drained", || agent.ask(Channel::Exec(large("third"))).is_ok());
}

#[test]
fn the_oldest_acknowledged_job_makes_room() {
    let agent = Agent::start();
    agent.exec(program("unacknowledged", &["echo", "kept"]));
    for n in 1..64 {
        agent.run(&format!("job-{n}"), "echo out");
    }
    // The last acknowledgement and the next job come on different channels.
    until("a job makes room", || agent.ask(Channel::Exec(shell("one more", "true"))).is_ok());
    assert_eq!(agent.refused(Channel::Stdin { job: "job-1".to_owned() }).code, ErrorCode::NotFound);
    assert_eq!(agent.attach("unacknowledged", 0, 0).finish().out(), "kept\n");
}

#[test]
fn a_full_list_of_running_jobs_takes_no_more() {
    let agent = Agent::start();
    let idle = |n: usize| Exec {
        stdout: Ring { capacity: 1, ..BLOCK },
        stderr: Ring { capacity: 1, ..BLOCK },
        ..program(&n.to_string(), &["sleep", "1000"])
    };
    for n in 0..64 {
        agent.exec(idle(n));
    }
    assert_eq!(agent.refused(Channel::Exec(idle(64))).code, ErrorCode::TooLarge);
}
