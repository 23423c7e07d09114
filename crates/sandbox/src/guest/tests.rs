//! Agents that lie, stall and hang up.

use super::*;
use crate::testing::scripted;
use futures_util::FutureExt;
use polydev_proto::{Ack, Attached, Exit, FrameKind, JobEvent, encode_frame, encode_output};
use std::sync::Mutex;

/// An agent that answers the first message with these bytes. Where it is silent then, an answer that is too short is a
/// stall and no hang-up.
fn guest(answer: Vec<u8>, silent: bool) -> Guest {
    let held = Mutex::new(Vec::new());
    scripted(move || {
        let (host, mut agent) = tokio::io::duplex(1 << 20);
        agent.write_all(&answer).now_or_never().expect("there is room for it").unwrap();
        if silent {
            held.lock().unwrap().push(agent);
        } else {
            // The host may still write; what it writes is lost.
            let (mut read, mut write) = tokio::io::split(agent);
            write.shutdown().now_or_never().expect("nothing waits").unwrap();
            tokio::spawn(async move { tokio::io::copy(&mut read, &mut tokio::io::sink()).await });
        }
        Box::new(host)
    })
}

fn ok(answer: Answer) -> Vec<u8> {
    encode_message(&Reply::Ok(answer)).unwrap()
}

fn output(kind: FrameKind, offset: u64, bytes: &[u8]) -> Vec<u8> {
    [&encode_output(kind, offset, bytes.len())[..], bytes].concat()
}

#[tokio::test]
async fn answers_that_are_not_of_the_contract_are_errors() {
    for (answer, error) in [
        (vec![], "listing jobs: the sandbox hung up: early eof"),
        (vec![0xff; 4], "listing jobs: the agent sent a message of 4294967295 bytes, at most 65536 are allowed"),
        (ok(Answer::Done), "listing jobs: the agent sent `done`"),
    ] {
        assert_eq!(guest(answer, false).jobs().await.unwrap_err().to_string(), error);
    }
    let not_json = [&8u32.to_be_bytes()[..], b"{{{{{{{{"].concat();
    assert!(matches!(guest(not_json, false).jobs().await, Err(GuestError::Malformed { .. })));
}

#[tokio::test]
async fn the_agent_s_refusal_arrives_though_it_reads_no_further() {
    let refusal =
        AgentError { code: polydev_proto::ErrorCode::Io, message: "`/workspace/a`: no space left on device".into() };
    let answer = [ok(Answer::Done), encode_message(&Reply::Error(refusal.clone())).unwrap()].concat();
    match guest(answer, false).write_file("/workspace/a", 0o600, &vec![0; 4 << 20]).await {
        Err(GuestError::Agent { source, .. }) => assert_eq!(source, refusal),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_agent_is_given_up() {
    let error = guest(vec![0, 0], true).hello().await.unwrap_err();
    assert_eq!(error.to_string(), "saying hello: no answer of the agent within 10 s");
    let half = [ok(Answer::File { size: 10, total: 10 }), b"half".to_vec()].concat();
    let error = guest(half, true).read_file("/a", 100).await.unwrap_err();
    assert_eq!(error.to_string(), "reading a file: no answer of the agent within 60 s");
}

#[tokio::test]
async fn files_are_whole_and_no_larger_than_asked() {
    let file = |size, total, bytes: &[u8]| [ok(Answer::File { size, total }), bytes.to_vec()].concat();
    assert_eq!(guest(file(4, 4, b"abcdmore"), true).read_file("/a", 4).await.unwrap(), b"abcd");
    let large = guest(file(4, 5, b"abcd"), true).read_file("/a", 4).await.unwrap_err();
    assert_eq!(large.to_string(), "`/a` has 5 bytes, at most 4 are read");
    let huge = guest(file(1 << 62, 1 << 62, b""), true).read_file("/a", u64::MAX).await.unwrap_err();
    assert!(matches!(huge, GuestError::TooLarge { max: FILE_MAX, .. }), "{huge}");
    let short = guest(file(4, 4, b"abc"), false).read_file("/a", 4).await.unwrap_err();
    assert!(matches!(short, GuestError::Broken { .. }), "{short}");
    let part = guest(file(2, 4, b"ab"), true).read_file("/a", 4).await.unwrap_err();
    assert!(matches!(part, GuestError::Unexpected { .. }), "{part}");
}

#[tokio::test]
async fn output_comes_in_order_and_ends_with_the_exit() {
    let exit = Exit { code: Some(0), signal: None };
    let script = [
        ok(Answer::Attached(Attached { stdout: 5, stderr: 0 })),
        output(FrameKind::Stdout, 5, b"five"),
        output(FrameKind::Stderr, 7, b"a gap is what a ring dropped"),
        encode_frame(&JobEvent::Exit(exit)).unwrap(),
    ];
    let guest = guest(script.concat(), true);
    let mut attachment = guest.attach("job", 5, 0).await.unwrap();
    let bytes = |stream, offset, bytes: &'static [u8]| JobOutput::Bytes { stream, offset, bytes: bytes.into() };
    assert_eq!(attachment.next().await.unwrap(), Some(bytes(OutputStream::Stdout, 5, b"five")));
    let gap = bytes(OutputStream::Stderr, 7, b"a gap is what a ring dropped");
    assert_eq!(attachment.next().await.unwrap(), Some(gap));
    attachment.ack(9, 0).await.unwrap();
    assert_eq!(attachment.next().await.unwrap(), Some(JobOutput::Exit(exit)));
    assert_eq!(attachment.next().await.unwrap(), None);
}

#[tokio::test]
async fn output_that_comes_twice_or_is_cut_is_an_error() {
    let attached = ok(Answer::Attached(Attached { stdout: 0, stderr: 0 }));
    let twice = [attached.clone(), output(FrameKind::Stdout, 0, b"ab"), output(FrameKind::Stdout, 1, b"b")].concat();
    let mut attachment = guest(twice, true).attach("job", 0, 0).await.unwrap();
    attachment.next().await.unwrap();
    assert!(matches!(attachment.next().await, Err(GuestError::Unexpected { .. })));

    for cut in [attached.clone(), [&attached[..], &output(FrameKind::Stdout, 0, b"ab")[..9]].concat()] {
        let mut attachment = guest(cut, false).attach("job", 0, 0).await.unwrap();
        assert!(matches!(attachment.next().await, Err(GuestError::Broken { .. })));
    }

    let ack = encode_frame(&Ack { stdout: 0, stderr: 0 }).unwrap();
    let mut attachment = guest([attached, ack].concat(), true).attach("job", 0, 0).await.unwrap();
    assert!(matches!(attachment.next().await, Err(GuestError::Malformed { .. })));
}
