//! The way out: each connection of a program is one channel of the host.

use crate::support::{Agent, rest, until};
use polydev_proto::{Answer, Channel, STREAMS_MAX};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

fn connect(agent: &Agent) -> TcpStream {
    let stream = TcpStream::connect(agent.hello().proxy).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

fn all(mut stream: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_megabyte_each_way_and_each_way_ends_by_itself() {
    let agent = Agent::start();
    let mut host = agent.done(Channel::Egress);
    let program = connect(&agent);
    let up: Vec<u8> = (0..1_000_000_u32).map(|n| (n / 3) as u8).collect();
    let down: Vec<u8> = (0..1_000_000_u32).map(|n| (n / 5) as u8).collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            (&program).write_all(&up).unwrap();
            program.shutdown(Shutdown::Write).unwrap();
        });
        assert!(rest(&mut host) == up);
    });
    // The program has ended its half; the other half still works.
    thread::scope(|scope| {
        scope.spawn(|| {
            host.write_all(&down).unwrap();
            host.shutdown(Shutdown::Write).unwrap();
        });
        assert!(all(&program) == down);
    });
}

#[test]
fn the_host_may_end_its_half_first() {
    let agent = Agent::start();
    let mut host = agent.done(Channel::Egress);
    let mut program = connect(&agent);
    program.write_all(b"hi").unwrap();
    host.read_exact(&mut [0; 2]).unwrap();
    host.write_all(b"bye").unwrap();
    host.shutdown(Shutdown::Write).unwrap();
    assert_eq!(all(&program), b"bye");
    program.write_all(b"more").unwrap();
    drop(program);
    assert_eq!(rest(&mut host), b"more");
}

#[test]
fn connections_wait_for_channels_and_are_served_in_turn() {
    let agent = Agent::start();
    let programs: Vec<_> = (0..5_u8)
        .map(|n| {
            let mut program = connect(&agent);
            program.write_all(&[n]).unwrap();
            program
        })
        .collect();
    for n in 0..5_u8 {
        let mut host = agent.done(Channel::Egress);
        let mut byte = [9];
        host.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [n]);
    }
    drop(programs);
}

#[test]
fn channels_wait_for_connections_and_are_used_in_turn() {
    let agent = Agent::start();
    let mut hosts: Vec<_> = (0..5).map(|_| agent.done(Channel::Egress)).collect();
    for (n, host) in hosts.iter_mut().enumerate() {
        connect(&agent).write_all(&[n as u8]).unwrap();
        assert_eq!(rest(host), [n as u8]);
    }
}

#[test]
fn a_channel_that_the_host_closed_gets_no_connection() {
    let agent = Agent::start();
    for _ in 0..20 {
        drop(agent.done(Channel::Egress));
        let mut host = agent.done(Channel::Egress);
        connect(&agent).write_all(b"x").unwrap();
        assert_eq!(rest(&mut host), b"x");
    }
    // Closed channels give their places back.
    for _ in 0..STREAMS_MAX {
        drop(agent.done(Channel::Egress));
    }
    until("every place is free again", || agent.ask(Channel::Egress) == Ok(Answer::Done));
}

#[test]
fn a_program_that_gave_up_takes_no_channel() {
    let agent = Agent::start();
    drop(connect(&agent));
    let mut program = connect(&agent);
    program.write_all(b"second").unwrap();
    program.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut agent.done(Channel::Egress)), b"second");
}

#[test]
fn when_one_side_is_gone_so_is_the_other() {
    let agent = Agent::start();
    let host = agent.done(Channel::Egress);
    let program = connect(&agent);
    (&program).write_all(b"x").unwrap();
    (&host).read_exact(&mut [0]).unwrap();
    drop(host);
    assert_eq!(all(&program), b"");
    // Nobody is there to read: writing comes to an error, not to a standstill.
    until("the connection is closed", || (&program).write_all(&[0; 4096]).is_err());
}

#[test]
fn more_connections_than_channels_wait_without_harm() {
    let agent = Agent::start();
    let programs: Vec<_> = (0..STREAMS_MAX + 20).map(|_| connect(&agent)).collect();
    for mut program in &programs {
        program.write_all(b"x").unwrap();
        program.shutdown(Shutdown::Write).unwrap();
    }
    for _ in &programs {
        let mut host = agent.done(Channel::Egress);
        host.shutdown(Shutdown::Write).err();
        drop(rest(&mut host));
    }
}
