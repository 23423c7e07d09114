//! The contract, frozen. A changed snapshot is a changed contract: either an
//! older agent may ignore the change, or [`polydev_proto::VERSION`] is raised.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use polydev_proto::*;
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use std::{collections::BTreeMap, fmt::Debug};

fn text(s: &str) -> String {
    s.to_owned()
}

fn channels() -> Vec<Channel> {
    let ring = |capacity, overflow| Ring { capacity, overflow };
    let exec = Exec {
        job: text("run"),
        argv: vec![text("tool"), text("--tools"), text("")],
        env: BTreeMap::from([(text("HOME"), text("/home/user")), (text("PATH"), text("/usr/bin"))]),
        cwd: text("/workspace"),
        stdin: true,
        pty: None,
        stdout: ring(65536, Overflow::Block),
        stderr: ring(4096, Overflow::DropOldest),
    };
    let size = TerminalSize { cols: 80, rows: 24 };
    vec![
        Channel::Hello,
        Channel::Ready,
        Channel::Exec(exec.clone()),
        Channel::Exec(Exec { pty: Some(size), stdin: false, ..exec }),
        Channel::Jobs,
        Channel::Attach(Attach { job: text("run"), stdout: 7, stderr: 0 }),
        Channel::Stdin { job: text("run") },
        Channel::Signal(Signal { job: text("run"), signal: 9, tree: true }),
        Channel::Resize { job: text("run"), size },
        Channel::Write(WriteFile { path: text("/home/user/f"), mode: 0o600, size: 3 }),
        Channel::Read(ReadFile { path: text("/home/user/f"), offset: 1, max: 100 }),
        Channel::List { path: text("/home/user"), after: None },
        Channel::List { path: text("/home/user"), after: Some(text("b.txt")) },
        Channel::Disk,
        Channel::Watch {
            rules: vec![WatchRule {
                rule: text("signed in"),
                path: text("/home/user/credentials.json"),
                require: vec![
                    Predicate { pointer: text("/token"), is: Expected::Present },
                    Predicate { pointer: text("/kind"), is: Expected::Equal(json!("login")) },
                ],
                quiet_ms: 300,
            }],
        },
        Channel::Egress,
        Channel::Desktop(Box::new(Desktop {
            size: ScreenSize { width: 1920, height: 1080 },
            env: BTreeMap::from([(text("HOME"), text("/home/user"))]),
            cwd: text("/workspace"),
            runtime_dir: text("/tmp/runtime"),
            screen: vec![text("Xtigervnc"), text("-SecurityTypes"), text("None")],
            bus: vec![text("dbus-daemon")],
            window_manager: vec![text("xfwm4")],
            terminal: vec![text("xfce4-terminal"), text("-x")],
            shell: vec![text("bash")],
            panel: vec![text("xfce4-panel")],
            background: vec![text("xfdesktop")],
            browser: vec![text("firefox")],
            open: vec![text("firefox"), text("--new-tab")],
            takes_pages: Some(WatchRule {
                rule: text("takes_pages"),
                path: text("/home/user/checkpoints.json"),
                require: vec![Predicate { pointer: text("/restored"), is: Expected::Equal(true.into()) }],
                quiet_ms: 0,
            }),
        })),
        Channel::Greet { text: text("Type this.\n") },
        Channel::Vnc,
    ]
}

fn replies() -> Vec<Reply> {
    let started = Started { pid: 17, started_at: 1_767_225_600_000 };
    let job = Job {
        job: text("run"),
        started: started.clone(),
        exit: Some(Exit { code: None, signal: Some(9) }),
        written: Ack { stdout: 9, stderr: 2 },
    };
    let entry = |name, kind, size| Entry { name: text(name), kind, size, modified_at: 1_767_225_600_000 };
    let answers = [
        Answer::Done,
        Answer::Hello(Hello {
            version: VERSION,
            agent: text("0.1.0"),
            started_at: 1_767_225_600_000,
            proxy: text("127.0.0.1:3128"),
        }),
        Answer::Started(started),
        Answer::Jobs(vec![job.clone(), Job { exit: None, ..job }]),
        Answer::Attached(Attached { stdout: 7, stderr: 0 }),
        Answer::Input { written: 12 },
        Answer::Disk { total: 1000, free: 10 },
        Answer::Signalled { processes: 3 },
        Answer::File { size: 99, total: 100 },
        Answer::Entries(vec![
            entry("a", EntryKind::File, 3),
            entry("b", EntryKind::Folder, 0),
            entry("c", EntryKind::Link, 0),
            entry("d", EntryKind::Other, 0),
        ]),
    ];
    let codes = [
        ErrorCode::Version,
        ErrorCode::Invalid,
        ErrorCode::NotFound,
        ErrorCode::Exists,
        ErrorCode::BadOffset,
        ErrorCode::NotAFile,
        ErrorCode::TooLarge,
        ErrorCode::Io,
        ErrorCode::Spawn,
    ];
    let errors = codes.map(|code| Reply::Error(AgentError { code, message: text("what happened, to what") }));
    answers.into_iter().map(Reply::Ok).chain(errors).collect()
}

/// One JSON text a line, each read back to what it was made from.
fn lines<T: Serialize + DeserializeOwned + PartialEq + Debug>(messages: &[T]) -> String {
    let line = |message: &T| {
        let line = serde_json::to_string(message).unwrap();
        assert_eq!(&serde_json::from_str::<T>(&line).unwrap(), message);
        line
    };
    messages.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn stage(name: &str, done: bool) -> Stage {
    Stage { name: text(name), done, ..Stage::default() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn version_and_limits() {
    let limits = json!({
        "version": VERSION,
        "header_max": HEADER_MAX,
        "frame_max": FRAME_MAX,
        "offset_len": OFFSET_LEN,
        "streams_max": STREAMS_MAX,
        "buffered_max": BUFFERED_MAX,
        "file_max": FILE_MAX,
        "greeting_max": GREETING_MAX,
        "proxy_port": PROXY_PORT,
    });
    insta::assert_json_snapshot!(limits);
}

#[test]
fn what_a_host_asks() {
    let opens: Vec<_> = channels().into_iter().map(|channel| Open { version: VERSION, channel }).collect();
    insta::assert_snapshot!(lines(&opens));
}

#[test]
fn what_an_agent_answers() {
    insta::assert_snapshot!(lines(&replies()));
}

#[test]
fn what_goes_in_frames() {
    let frames = [
        lines(&[Ack { stdout: 9, stderr: 2 }]),
        lines(&[
            JobEvent::Exit(Exit { code: Some(0), signal: None }),
            JobEvent::Exit(Exit { code: None, signal: Some(15) }),
        ]),
        lines(&[
            stage("agent", true),
            Stage { waiting_for: Some(text("a window manager")), ..stage("desktop", false) },
            Stage { started_at: Some(1_767_225_600_000), took_ms: Some(103), ..stage("screen", true) },
            Stage { failed: Some(text("it ended with status 1")), ..stage("screen", false) },
        ]),
        lines(&[WatchEvent { rule: text("signed in"), size: 471 }]),
    ];
    insta::assert_snapshot!(frames.join("\n"));
}

#[test]
fn the_bytes() {
    let hello = encode_message(&Open { version: VERSION, channel: Channel::Hello }).unwrap();
    let ack = encode_frame(&Ack { stdout: 1, stderr: 2 }).unwrap();
    let output = |kind, offset, data: &[u8]| [&encode_output(kind, offset, data.len())[..], data].concat();
    let bytes = [
        format!("message  {}", hex(&hello)),
        format!("json     {}", hex(&ack)),
        format!("stdout   {}", hex(&output(FrameKind::Stdout, 258, b"out"))),
        format!("stderr   {}", hex(&output(FrameKind::Stderr, u64::MAX, b""))),
    ];
    insta::assert_snapshot!(bytes.join("\n"));
}

/// What an older host leaves out, and what a newer one adds.
#[test]
fn fields_may_be_missing_or_unknown() {
    let exec = json!({
        "job": "run", "argv": ["true"], "env": {}, "cwd": "/", "added_later": 1,
        "stdout": {"capacity": 1, "overflow": "block"}, "stderr": {"capacity": 1, "overflow": "block"},
    });
    let exec: Exec = serde_json::from_value(exec).unwrap();
    assert!(!exec.stdin && exec.pty.is_none());
    let read: ReadFile = serde_json::from_value(json!({"path": "/f", "max": 1})).unwrap();
    assert_eq!(read.offset, 0);
    let rule: WatchRule = serde_json::from_value(json!({"rule": "r", "path": "/f", "quiet_ms": 1})).unwrap();
    assert!(rule.require.is_empty());
}

#[test]
fn lengths_beyond_the_limits_are_refused_before_their_bytes_come() {
    let head = |len: usize| (len as u32).to_be_bytes();
    let message = decode_message::<Open>(&head(HEADER_MAX + 1));
    assert!(matches!(message, Err(Malformed::TooLong { max: HEADER_MAX, .. })));
    assert!(matches!(decode_message::<Open>(&head(HEADER_MAX)), Ok(None)));
    let frame = |kind: u8, len| [&[kind][..], &head(len)].concat();
    assert!(matches!(decode_frame(&frame(1, FRAME_MAX + 1)), Err(Malformed::TooLong { max: FRAME_MAX, .. })));
    assert!(matches!(decode_frame(&frame(1, FRAME_MAX)), Ok(None)));
    assert!(matches!(decode_frame(&frame(3, 0)), Err(Malformed::UnknownKind(3))));
    assert!(matches!(decode_frame(&[2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0]), Err(Malformed::NoOffset)));
    let long = Channel::List { path: "x".repeat(HEADER_MAX), after: None };
    assert!(matches!(encode_message(&long), Err(Malformed::TooLong { .. })));
    let long = Stage { name: "x".repeat(FRAME_MAX), done: true, ..Stage::default() };
    assert!(matches!(encode_frame(&long), Err(Malformed::TooLong { .. })));
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_message::<Open>(&bytes);
        let _ = decode_message::<Reply>(&bytes);
        let _ = decode_frame(&bytes);
    }

    /// Garbage that gets past the length, which random bytes hardly ever do.
    #[test]
    fn decoding_framed_garbage_never_panics(kind in 0..4_u8, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let framed = [&(body.len() as u32).to_be_bytes()[..], &body].concat();
        let _ = decode_message::<Open>(&framed);
        if let Ok(Some((frame, taken))) = decode_frame(&[&[kind][..], &framed].concat()) {
            prop_assert_eq!(taken, 5 + body.len());
            prop_assert!(body.ends_with(frame.data));
        }
    }

    /// Whatever is cut off anywhere needs more bytes, and what follows is left alone.
    #[test]
    fn messages_round_trip(
        channel in prop::sample::select(channels()),
        cut in any::<prop::sample::Index>(),
        behind in any::<Vec<u8>>(),
    ) {
        let open = Open { version: VERSION, channel };
        let bytes = encode_message(&open).unwrap();
        prop_assert!(matches!(decode_message::<Open>(&bytes[..cut.index(bytes.len())]), Ok(None)));
        let (decoded, taken) = decode_message::<Open>(&[&bytes[..], &behind].concat()).unwrap().unwrap();
        prop_assert_eq!((decoded, taken), (open, bytes.len()));
    }

    #[test]
    fn output_round_trips(
        stderr in any::<bool>(),
        offset in any::<u64>(),
        data in prop::collection::vec(any::<u8>(), 0..300),
        cut in any::<prop::sample::Index>(),
        behind in any::<Vec<u8>>(),
    ) {
        let kind = if stderr { FrameKind::Stderr } else { FrameKind::Stdout };
        let bytes = [&encode_output(kind, offset, data.len())[..], &data].concat();
        prop_assert!(matches!(decode_frame(&bytes[..cut.index(bytes.len())]), Ok(None)));
        let whole = [&bytes[..], &behind].concat();
        let (frame, taken) = decode_frame(&whole).unwrap().unwrap();
        prop_assert_eq!((frame, taken), (Frame { kind, offset, data: &data }, bytes.len()));
    }

    #[test]
    fn json_frames_round_trip(stdout in any::<u64>(), stderr in any::<u64>(), cut in any::<prop::sample::Index>()) {
        let ack = Ack { stdout, stderr };
        let bytes = encode_frame(&ack).unwrap();
        prop_assert!(matches!(decode_frame(&bytes[..cut.index(bytes.len())]), Ok(None)));
        let (frame, taken) = decode_frame(&bytes).unwrap().unwrap();
        prop_assert_eq!((frame.kind, taken), (FrameKind::Json, bytes.len()));
        prop_assert_eq!(serde_json::from_slice::<Ack>(frame.data).unwrap(), ack);
    }
}
