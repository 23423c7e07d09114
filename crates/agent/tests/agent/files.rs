//! Files: written whole or not at all, read with care, listed.

use crate::support::{Agent, reply, rest};
use polydev_proto::*;
use std::{
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::unix::{
        ffi::OsStringExt,
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
};

fn write(path: &str, mode: u32, size: u64) -> Channel {
    Channel::Write(WriteFile { path: path.to_owned(), mode, size })
}

fn read(path: &str, offset: u64, max: u64) -> Channel {
    Channel::Read(ReadFile { path: path.to_owned(), offset, max })
}

fn list(path: &str) -> Channel {
    Channel::List { path: path.to_owned(), after: None }
}

fn put(agent: &Agent, path: &str, mode: u32, bytes: &[u8]) -> Result<Answer, AgentError> {
    let mut stream = agent.done(write(path, mode, bytes.len() as u64));
    stream.write_all(bytes).unwrap();
    reply(&mut stream)
}

fn names(agent: &Agent, path: &str) -> Vec<String> {
    fs::read_dir(agent.path(path)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_file_is_written_with_its_mode_and_its_folders() {
    let agent = Agent::start();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 11) as u8).collect();
    assert_eq!(put(&agent, "/home/user/deep/f", 0o640, &bytes), Ok(Answer::Done));
    assert!(fs::read(agent.path("/home/user/deep/f")).unwrap() == bytes);
    let mode = |path| fs::metadata(agent.path(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("/home/user/deep/f"), mode("/home/user/deep"), mode("/home")), (0o640, 0o700, 0o700));
    assert_eq!(put(&agent, "/home/user/deep/f", 0o666, b""), Ok(Answer::Done));
    assert_eq!((mode("/home/user/deep/f"), names(&agent, "/home/user/deep").len()), (0o666, 1));
    assert_eq!(fs::read(agent.path("/home/user/deep/f")).unwrap(), b"");
}

#[test]
fn a_file_that_does_not_come_whole_is_not_there() {
    let agent = Agent::start();
    fs::write(agent.path("/f"), "old").unwrap();
    let mut stream = agent.done(write("/f", 0o600, 100));
    stream.write_all(b"half").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut stream), b"");
    assert_eq!((fs::read_to_string(agent.path("/f")).unwrap().as_str(), names(&agent, "/").len()), ("old", 1));
}

#[test]
fn a_link_is_replaced_not_followed() {
    let agent = Agent::start();
    fs::write(agent.path("/target"), "target").unwrap();
    symlink("target", agent.path("/link")).unwrap();
    assert_eq!(put(&agent, "/link", 0o600, b"new"), Ok(Answer::Done));
    assert_eq!(fs::read_to_string(agent.path("/target")).unwrap(), "target");
    assert!(fs::symlink_metadata(agent.path("/link")).unwrap().is_file());
}

#[test]
fn what_cannot_be_written_is_refused() {
    let agent = Agent::start();
    fs::create_dir(agent.path("/folder")).unwrap();
    fs::write(agent.path("/file"), "").unwrap();
    assert_eq!(agent.refused(write("/f", 0o600, FILE_MAX + 1)).code, ErrorCode::TooLarge);
    assert_eq!(agent.refused(write("/f", 0o10600, 1)).code, ErrorCode::Invalid);
    assert_eq!(agent.refused(write("f", 0o600, 1)).code, ErrorCode::Invalid);
    assert_eq!(agent.refused(write("/a/../f", 0o600, 1)).code, ErrorCode::Invalid);
    assert_eq!(agent.refused(write("/", 0o600, 1)).code, ErrorCode::NotAFile);
    assert_eq!(agent.refused(write("/file/f", 0o600, 1)).code, ErrorCode::Io);
    // Found out only when all has come: the host gets to read why.
    let refused = put(&agent, "/folder", 0o600, &vec![7; 1_000_000]).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotAFile);
    assert!(refused.message.contains("`/folder`"), "{refused}");
    assert_eq!(names(&agent, "/").len(), 2);
}

#[test]
fn a_file_is_read_in_whole_or_in_part() {
    let agent = Agent::start();
    let bytes: Vec<u8> = (0..2_000_000_u32).map(|n| (n / 7) as u8).collect();
    fs::write(agent.path("/f"), &bytes).unwrap();
    let got = |offset, max| {
        let (answer, mut stream) = agent.open(read("/f", offset, max));
        match answer {
            Ok(Answer::File { size, total: 2_000_000 }) => {
                let bytes = rest(&mut stream);
                assert_eq!(bytes.len() as u64, size);
                bytes
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(got(0, u64::MAX) == bytes);
    assert!(got(1_999_990, 100) == bytes[1_999_990..]);
    assert!(got(5, 10) == bytes[5..15]);
    assert!(got(2_000_000, 10).is_empty());
    assert_eq!(agent.refused(read("/f", 2_000_001, 10)).code, ErrorCode::BadOffset);
}

#[test]
fn only_regular_files_are_read() {
    let agent = Agent::start();
    fs::write(agent.path("/file"), "").unwrap();
    fs::create_dir(agent.path("/folder")).unwrap();
    symlink("file", agent.path("/link")).unwrap();
    symlink("/dev/zero", agent.path("/device")).unwrap();
    let _socket = UnixListener::bind(agent.path("/socket")).unwrap();
    assert_eq!(agent.run("j", "mkfifo fifo").code, Some(0));
    for path in ["/folder", "/link", "/device", "/fifo", "/socket", "/"] {
        assert_eq!(agent.refused(read(path, 0, 1)).code, ErrorCode::NotAFile, "{path}");
    }
    for path in ["/missing", "/missing/f", "/file/f"] {
        assert_eq!(agent.refused(read(path, 0, 1)).code, ErrorCode::NotFound, "{path}");
    }
}

#[test]
fn a_transfer_that_nobody_reads_holds_up_no_other() {
    let agent = Agent::start();
    fs::write(agent.path("/f"), vec![1; 8_000_000]).unwrap();
    let (answer, mut slow) = agent.open(read("/f", 0, u64::MAX));
    assert!(answer.is_ok());
    let mut begun = agent.done(write("/g", 0o600, 1_000_000));
    begun.write_all(&[2; 1000]).unwrap();
    agent.hello();
    assert_eq!(put(&agent, "/h", 0o600, b"h"), Ok(Answer::Done));
    slow.read_exact(&mut vec![0; 8_000_000]).unwrap();
}

#[test]
fn a_folder_is_listed_by_name() {
    let agent = Agent::start();
    fs::write(agent.path("/b"), "12345").unwrap();
    fs::create_dir(agent.path("/a")).unwrap();
    symlink("nowhere", agent.path("/c")).unwrap();
    let _socket = UnixListener::bind(agent.path("/d")).unwrap();
    let Ok(Answer::Entries(entries)) = agent.ask(list("/")) else { panic!("entries are told") };
    let told: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.kind, e.size)).collect();
    let kinds = [EntryKind::Folder, EntryKind::File, EntryKind::Link, EntryKind::Other];
    assert_eq!(told, [("a", kinds[0], 0), ("b", kinds[1], 5), ("c", kinds[2], 0), ("d", kinds[3], 0)]);
    assert!(entries.iter().all(|e| e.modified_at > 1_700_000_000_000));
    assert_eq!(agent.refused(list("/missing")).code, ErrorCode::NotFound);
    assert_eq!(agent.refused(list("/b")).code, ErrorCode::NotFound);
}

#[test]
fn a_large_folder_is_told_page_by_page() {
    let agent = Agent::start();
    let page = |after: Option<&str>| {
        let path = "/folder".to_owned();
        match agent.ask(Channel::List { path, after: after.map(str::to_owned) }) {
            Ok(Answer::Entries(entries)) => entries.into_iter().map(|e| e.name).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        }
    };
    fs::create_dir(agent.path("/folder")).unwrap();
    let mut names: Vec<OsString> = (0..1200).map(|n| format!("{n:04}").into()).collect();
    // Names that JSON makes six times as long: fewer fit.
    names.extend((0..100).map(|n| format!(" {n:03}{}", "\u{1}".repeat(200)).into()));
    // One that is not UTF-8, and is told in place of others: it must not be told for ever.
    names.push(OsString::from_vec(b"\xffname".to_vec()));
    for name in &names {
        fs::write(agent.path("/folder").join(name), "").unwrap();
    }
    let mut told = page(None);
    assert!(told.len() < 1000, "{}", told.len());
    loop {
        let more = page(told.last().map(String::as_str));
        if more.is_empty() {
            break;
        }
        told.extend(more);
    }
    let mut made: Vec<_> = names.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    made.sort();
    assert_eq!(told, made, "each once, by name");
    assert_eq!(page(Some("1198")), ["1199", "\u{fffd}name"], "a name that is gone, or never was, is a place too");
    assert!(page(Some("\u{ffff}")).is_empty());
}
