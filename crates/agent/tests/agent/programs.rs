//! Programs: what they are given, how they end, how they fail to start.

use crate::support::{Agent, program, reply, rest, shell};
use polydev_proto::*;
use std::{fs, io::Write, net::Shutdown, os::unix::fs::PermissionsExt};

#[test]
fn output_and_status_come_back() {
    let agent = Agent::start();
    let ran = agent.run("j", "echo out; echo err >&2; exit 3");
    assert_eq!((ran.out(), &ran.stderr[..], ran.code, ran.signal), ("out\n", &b"err\n"[..], Some(3), None));
    let ran = agent.run("k", "kill -15 $$");
    assert_eq!((ran.code, ran.signal), (None, Some(15)));
    let job = agent.job("j");
    assert_eq!((job.exit.map(|e| e.code), job.written), (Some(Some(3)), Ack { stdout: 4, stderr: 4 }));
}

#[test]
fn arguments_arrive_as_they_are_and_the_last_may_be_empty() {
    let agent = Agent::start();
    let argv = ["printf", "<%s>", "a b", "--tools", "$HOME\n", "ü", ""];
    agent.exec(program("j", &argv));
    assert_eq!(agent.attach("j", 0, 0).finish().out(), "<a b><--tools><$HOME\n><ü><>");
}

#[test]
fn the_environment_is_exactly_what_was_given_and_the_mark() {
    let agent = Agent::start();
    let mut exec = program("j", &["env"]);
    exec.env.insert("EMPTY".to_owned(), String::new());
    agent.exec(exec);
    let ran = agent.attach("j", 0, 0).finish();
    let mut lines: Vec<_> = ran.out().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["EMPTY=", "PATH=/usr/bin:/bin", "POLYDEV_JOB=j"]);
}

#[test]
fn nothing_of_the_agent_reaches_a_program() {
    let agent = Agent::start();
    agent.exec(program("fds", &["ls", "/proc/self/fd"]));
    // The fourth is the folder that `ls` itself has open.
    assert_eq!(agent.attach("fds", 0, 0).finish().out(), "0\n1\n2\n3\n");
    agent.exec(program("signals", &["cat", "/proc/self/status"]));
    let status = agent.attach("signals", 0, 0).finish();
    for mask in ["SigBlk:\t", "SigIgn:\t", "SigCgt:\t"] {
        let line = status.out().lines().find_map(|line| line.strip_prefix(mask)).unwrap();
        assert_eq!(line, "0000000000000000", "{mask}");
    }
    assert_eq!(agent.run("limits", "ulimit -c; umask").out(), "0\n0022\n");
    let core = agent.run("core", "grep '^Max core file size' /proc/self/limits");
    assert_eq!(core.out().split_whitespace().skip(4).collect::<Vec<_>>(), ["1", "1", "bytes"]);
    agent.exec(program("session", &["cut", "-d", " ", "-f", "1,5,6", "/proc/self/stat"]));
    let session = agent.attach("session", 0, 0).finish();
    let pid = agent.job("session").started.pid;
    assert_eq!(session.out(), format!("{pid} {pid} {pid}\n"));
}

#[test]
fn the_working_folder_is_below_the_root() {
    let agent = Agent::start();
    fs::create_dir(agent.path("/workspace")).unwrap();
    agent.exec(Exec { cwd: "/workspace".to_owned(), ..program("j", &["pwd", "-P"]) });
    let pwd = agent.attach("j", 0, 0).finish();
    assert_eq!(pwd.out().trim_end(), agent.path("/workspace").canonicalize().unwrap().to_str().unwrap());
}

#[test]
fn a_program_is_looked_up_in_the_path_it_is_given() {
    let agent = Agent::start();
    let tool = agent.path("/tool");
    fs::write(&tool, "#!/bin/sh\necho mine\n").unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let mut exec = program("j", &["tool"]);
    exec.env.insert("PATH".to_owned(), agent.path("/").to_str().unwrap().to_owned());
    agent.exec(exec);
    assert_eq!(agent.attach("j", 0, 0).finish().out(), "mine\n");
}

#[test]
fn what_cannot_be_started_is_told_at_once_in_the_system_s_words() {
    let agent = Agent::start();
    fs::write(agent.path("/data"), "no program").unwrap();
    let data = agent.path("/data");
    let cases = [
        (program("missing", &["no-such-program"]), "No such file"),
        (program("denied", &[data.to_str().unwrap()]), "Permission denied"),
        (Exec { cwd: "/nowhere".to_owned(), ..shell("cwd", "true") }, "`/nowhere`"),
    ];
    for (exec, words) in cases {
        let refused = agent.refused(Channel::Exec(exec));
        assert_eq!(refused.code, ErrorCode::Spawn);
        assert!(refused.message.contains(words), "{refused}");
    }
    assert_eq!(agent.ask(Channel::Jobs), Ok(Answer::Jobs(Vec::new())));
}

#[test]
fn standard_input_arrives_whole_and_ends() {
    let agent = Agent::start();
    agent.exec(Exec { stdin: true, ..program("j", &["sha256sum"]) });
    let bytes: Vec<u8> = (0..5_000_000_u32).map(|n| (n * 7 / 3) as u8).collect();
    agent.feed("j", &bytes);
    fs::write(agent.path("/same"), &bytes).unwrap();
    agent.exec(Exec { cwd: "/".to_owned(), ..shell("k", "sha256sum < same") });
    assert_eq!(agent.attach("j", 0, 0).finish().stdout, agent.attach("k", 0, 0).finish().stdout);
}

#[test]
fn standard_input_is_there_only_if_asked_for_and_ends_once() {
    let agent = Agent::start();
    agent.exec(program("none", &["cat"]));
    // Without one it is empty: `cat` ends by itself.
    assert_eq!(agent.attach("none", 0, 0).finish().code, Some(0));
    assert_eq!(agent.refused(stdin("none")).code, ErrorCode::Invalid);

    agent.exec(Exec { stdin: true, ..program("cat", &["cat"]) });
    agent.feed("cat", b"through");
    assert_eq!(agent.refused(stdin("cat")).code, ErrorCode::Invalid);
    assert_eq!(agent.attach("cat", 0, 0).finish().out(), "through");
}

#[test]
fn a_host_that_is_gone_has_not_ended_the_input() {
    let agent = Agent::start();
    agent.exec(Exec { stdin: true, ..program("cat", &["cat"]) });
    let (_, mut first) = agent.input("cat");
    first.write_all(b"half a ").unwrap();
    drop(first);
    // What it had sent arrives all the same.
    assert_eq!(agent.attach("cat", 0, 0).stdout(7), b"half a ");
    let (written, mut second) = agent.input("cat");
    assert_eq!(written, 7);

    // And one that still holds it is followed by its successor, which goes on where it was.
    let (written, mut third) = agent.input("cat");
    assert_eq!((written, rest(&mut second)), (7, vec![]));
    third.write_all(b"prompt").unwrap();
    third.shutdown(Shutdown::Write).unwrap();
    assert_eq!(reply(&mut third), Ok(Answer::Done));
    assert_eq!(agent.attach("cat", 0, 0).finish().out(), "half a prompt");
}

fn stdin(job: &str) -> Channel {
    Channel::Stdin { job: job.to_owned() }
}

#[test]
fn a_channel_to_a_job_that_ended_is_closed() {
    let agent = Agent::start();
    agent.exec(Exec { stdin: true, ..program("j", &["sleep", "1000"]) });
    let (_, mut stdin) = agent.input("j");
    agent.signal("j", 9, true);
    assert_eq!(rest(&mut stdin), b"");
}
