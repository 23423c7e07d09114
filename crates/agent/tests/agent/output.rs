//! Output: nothing is lost, nothing is held beyond its ring, and every byte keeps its offset.

use crate::support::{Agent, Attachment, Came, program, shell, until};
use polydev_proto::*;

const SMALL: Ring = Ring { capacity: 64 * 1024, overflow: Overflow::Block };

/// What `seq 1 2000000 | head -c len` prints.
fn counted(len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    for n in 1.. {
        if bytes.len() >= len {
            break;
        }
        bytes.extend(format!("{n}\n").as_bytes());
    }
    bytes.truncate(len);
    bytes
}

#[test]
fn ten_megabytes_go_through_a_small_ring_byte_for_byte() {
    let agent = Agent::start();
    agent.exec(Exec { stdout: SMALL, ..shell("j", "seq 1 2000000 | head -c 10000000") });
    // Without an acknowledgement the job stands still when the ring is full.
    let mut attachment = agent.attach("j", 0, 0);
    let mut bytes = attachment.stdout(64 * 1024);
    assert_eq!(bytes.len(), 64 * 1024);
    assert_eq!(agent.job("j").written.stdout, 64 * 1024);
    assert_eq!(agent.job("j").exit, None);
    // Another host goes on where the first one stopped.
    bytes.extend(agent.attach("j", 64 * 1024, 0).finish().stdout);
    assert!(bytes == counted(10_000_000));
}

#[test]
fn a_job_that_ended_is_read_out_though_a_child_holds_its_pipe() {
    let agent = Agent::start();
    // More than the ring holds, all of it written before the job's process ends.
    let tiny = Ring { capacity: 4096, overflow: Overflow::Block };
    agent.exec(Exec { stdout: tiny, ..shell("j", "sleep 1000 & seq 1 2000000 | head -c 60000") });
    until("the job has ended", || agent.job("j").exit.is_some());
    let ran = agent.attach("j", 0, 0).finish();
    assert_eq!((ran.code, ran.stdout.len()), (Some(0), 60000));
    assert!(ran.stdout == counted(60000));
}

#[test]
fn a_child_that_never_stops_writing_does_not_keep_a_job_open() {
    let agent = Agent::start();
    let ran = agent.run("j", "yes & echo done >&2");
    assert_eq!((ran.code, &ran.stderr[..]), (Some(0), &b"done\n"[..]));
}

#[test]
fn a_ring_that_drops_holds_the_tail() {
    let agent = Agent::start();
    let tail = Ring { capacity: 1000, overflow: Overflow::DropOldest };
    agent.exec(Exec { stdout: tail, ..shell("j", "seq 1 2000000 | head -c 1000000") });
    until("the job has ended", || agent.job("j").exit.is_some());
    until("all was read", || agent.job("j").written.stdout == 1_000_000);
    let attachment = agent.attach("j", 5, 0);
    assert_eq!(attachment.from.stdout, 999_000);
    assert!(attachment.finish().stdout == counted(1_000_000)[999_000..]);
}

#[test]
fn output_can_be_thrown_away() {
    let agent = Agent::start();
    let nothing = Ring { capacity: 0, overflow: Overflow::DropOldest };
    agent.exec(Exec { stdout: nothing, ..shell("j", "seq 1 200000; echo end >&2") });
    let ran = agent.attach("j", 0, 0).finish();
    assert_eq!((ran.stdout.len(), &ran.stderr[..], ran.code), (0, &b"end\n"[..], Some(0)));
}

#[test]
fn an_attachment_begins_where_it_is_asked_to() {
    let agent = Agent::start();
    agent.exec(shell("j", "printf 0123456789; printf ab >&2"));
    until("the job has ended", || agent.job("j").written == Ack { stdout: 10, stderr: 2 });
    let ran = agent.attach("j", 4, 1).finish();
    assert_eq!((ran.out(), &ran.stderr[..]), ("456789", &b"b"[..]));

    let refused = |stdout, stderr| {
        let refused = agent.refused(Channel::Attach(Attach { job: "j".to_owned(), stdout, stderr }));
        assert!(refused.message.contains("`j`"), "{refused}");
        refused.code
    };
    assert_eq!(refused(11, 2), ErrorCode::BadOffset, "not yet written");
    assert_eq!(refused(10, 3), ErrorCode::BadOffset, "not yet written");
    assert_eq!(refused(3, 2), ErrorCode::BadOffset, "forgotten");
    assert_eq!(refused(10, 0), ErrorCode::BadOffset, "forgotten");
    let ran = agent.attach("j", 10, 2).finish();
    assert_eq!((ran.out(), ran.code), ("", Some(0)));
}

#[test]
fn a_second_attachment_takes_over() {
    let agent = Agent::start();
    agent.exec(Exec { stdin: true, ..program("j", &["cat"]) });
    let mut first = agent.attach("j", 0, 0);
    let second = agent.attach("j", 0, 0);
    assert!(matches!(first.next(), Came::Closed));
    agent.feed("j", b"for the second");
    assert_eq!(second.finish().out(), "for the second");
}

#[test]
fn an_acknowledgement_of_what_was_not_written_ends_the_attachment() {
    let agent = Agent::start();
    agent.exec(program("j", &["sleep", "1000"]));
    let ends = |mut attachment: Attachment| assert!(matches!(attachment.next(), Came::Closed));
    let mut attachment = agent.attach("j", 0, 0);
    attachment.ack(1, 0);
    ends(attachment);
    let mut attachment = agent.attach("j", 0, 0);
    std::io::Write::write_all(&mut attachment.stream, &encode_output(FrameKind::Stdout, 0, 0)).unwrap();
    ends(attachment);
    let mut attachment = agent.attach("j", 0, 0);
    std::io::Write::write_all(&mut attachment.stream, b"\x00\xff\xff\xff\xff").unwrap();
    ends(attachment);
    assert_eq!(agent.job("j").exit, None);
}
