//! Agents that lie about their files.

use super::*;
use crate::{
    domain::run::Wish,
    store::{
        people::{UserRow, insert_user},
        sqlite_url,
    },
};
use polydev_sandbox::{
    proto::{Answer, Channel, Open, ReadFile, Reply, decode_message, encode_message},
    testing::scripted,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the run was let in with.
const SECRET: &str = "sk-ant-api03-abc";

/// An agent that answers as the function says: with a header, and with bytes after it.
fn liar(lie: fn(Channel) -> (Answer, Vec<u8>)) -> Guest {
    scripted(move || {
        let (host, mut agent) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            let len = agent.read_u32().await.unwrap();
            let mut message = len.to_be_bytes().to_vec();
            message.resize(4 + len as usize, 0);
            agent.read_exact(&mut message[4..]).await.unwrap();
            let (Open { channel, .. }, _) = decode_message(&message).unwrap().unwrap();
            let (answer, bytes) = lie(channel);
            // A host that has heard enough hangs up.
            let _ = agent.write_all(&encode_message(&Reply::Ok(answer)).unwrap()).await;
            let _ = agent.write_all(&bytes).await;
        });
        Box::new(host)
    })
}

fn entry(name: impl Into<String>, kind: EntryKind) -> Entry {
    Entry { name: name.into(), kind, size: 1, modified_at: 0 }
}

fn file(bytes: usize) -> (Answer, Vec<u8>) {
    (Answer::File { size: bytes as u64, total: bytes as u64 }, vec![b'x'; bytes])
}

/// Walks what such an agent tells: the paths that were stored, and what is told of the rest.
async fn walk(lie: fn(Channel) -> (Answer, Vec<u8>)) -> (Vec<String>, String) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&sqlite_url(&dir.path().join("polydev.db"))).await.unwrap();
    let user = UserRow {
        id: "usr_1".into(),
        email: "one@example.com".into(),
        role: "member".into(),
        password_hash: String::new(),
        created_at: 0,
        disabled_at: None,
    };
    insert_user(&store, &user).await.unwrap();
    let wish = Wish { provider: "claude".into(), prompt: "hi".into(), ..Wish::default() };
    store.insert_run("run_1", "usr_1", &wish, 60, 1, 0).await.unwrap();
    let guest = liar(lie);
    let secrets = Redactor::new([SECRET]);
    let mut walk = Walk::new(&store, &guest, "run_1", &secrets);
    let end = walk.go().await;
    let told = walk.left_out.told(end.err()).unwrap_or_default();
    let stored = store.outputs_of("run_1", None, 2 * FILES_MAX as i64).await.unwrap();
    (stored.into_iter().map(|file| file.path).collect(), told)
}

#[tokio::test]
async fn a_folder_without_end_has_one() {
    let (stored, told) = walk(|asked| match asked {
        Channel::List { after, .. } => {
            let last: usize = after.map_or(0, |after| after.parse().unwrap());
            let page = (last + 1..=last + 100).map(|n| entry(format!("{n:09}"), EntryKind::File)).collect();
            (Answer::Entries(page), Vec::new())
        }
        _ => file(1),
    })
    .await;
    assert_eq!((stored.len(), stored[FILES_MAX - 1].as_str()), (FILES_MAX, "000001000"));
    assert_eq!(
        told,
        "left out of the run's files: beyond 1000 files (9000): `000001001`, `000001002`, `000001003`, …; \
         whatever was not looked at yet: there are more than 10000 files and folders"
    );
}

#[tokio::test]
async fn folders_in_folders_without_end_have_one() {
    let deep = |asked| match asked {
        Channel::List { after: None, .. } => (Answer::Entries(vec![entry("d", EntryKind::Folder)]), Vec::new()),
        _ => (Answer::Entries(Vec::new()), Vec::new()),
    };
    let (stored, told) = walk(deep).await;
    assert!(stored.is_empty() && told.contains("folders that lie in 32 others (1): `d/d/"), "{told}");
    let wide = |asked| match asked {
        Channel::List { after: None, .. } => {
            (Answer::Entries((10..99).map(|n| entry(n.to_string(), EntryKind::Folder)).collect()), Vec::new())
        }
        _ => (Answer::Entries(Vec::new()), Vec::new()),
    };
    let (stored, told) = walk(wide).await;
    assert!(stored.is_empty() && told.ends_with("there are more than 10000 files and folders"), "{told}");
}

#[tokio::test]
async fn a_page_that_comes_again_is_the_last() {
    let (stored, told) = walk(|asked| match asked {
        Channel::List { .. } => (Answer::Entries(vec![entry("a", EntryKind::File)]), Vec::new()),
        _ => file(1),
    })
    .await;
    assert_eq!(stored, ["a"]);
    assert_eq!(told, "left out of the run's files: the rest of folders that were not told whole (1): `.`");
}

#[tokio::test]
async fn no_name_climbs() {
    let (stored, told) = walk(|asked| match asked {
        Channel::List { path, after: None } if path == "/workspace" => {
            let names = ["", ".", "..", "../up", "/etc/passwd", "a/b", "a\0", "back\\slash", "\u{fffd}", "..."];
            let both = |name: &&str| [entry(*name, EntryKind::File), entry(*name, EntryKind::Folder)];
            (Answer::Entries(names.iter().flat_map(both).collect()), Vec::new())
        }
        Channel::List { path, .. } if !["/workspace", "/workspace/..."].contains(&path.as_str()) => {
            (Answer::Done, Vec::new())
        }
        Channel::List { .. } => (Answer::Entries(Vec::new()), Vec::new()),
        _ => file(1),
    })
    .await;
    assert_eq!(stored, ["..."], "a name like any other");
    assert_eq!(
        told, "left out of the run's files: names that are too long or not plain text (18): ``, ``, `.`, …",
        "and nothing else was asked for"
    );
}

#[tokio::test]
async fn no_name_tells_a_secret() {
    let (stored, told) = walk(|asked| match asked {
        Channel::List { path, after: None } if path == "/workspace" => {
            let [key, files] = [format!("key-{SECRET}"), SECRET.to_owned()];
            let plain = entry("key-sk-ant", EntryKind::File);
            (Answer::Entries(vec![entry(key, EntryKind::File), plain, entry(files, EntryKind::Folder)]), Vec::new())
        }
        Channel::List { path, .. } if path != "/workspace" => (Answer::Done, Vec::new()),
        Channel::List { .. } => (Answer::Entries(Vec::new()), Vec::new()),
        _ => file(1),
    })
    .await;
    assert_eq!(stored, ["key-sk-ant"]);
    assert_eq!(
        told,
        "left out of the run's files: names with the run's credential in them (2): `key-[redacted]`, `[redacted]`"
    );
}

#[tokio::test]
async fn a_size_that_is_a_lie_buys_nothing() {
    let (stored, told) = walk(|asked| match asked {
        Channel::List { after: None, .. } => {
            (Answer::Entries((10..19).map(|n| entry(n.to_string(), EntryKind::File)).collect()), Vec::new())
        }
        Channel::Read(ReadFile { path, .. }) if path.ends_with("/18") => file(FILE_MAX + 1),
        // Fewer bytes come than were said.
        Channel::Read(ReadFile { path, .. }) if path.ends_with("/10") => {
            (Answer::File { size: 100, total: 100 }, vec![b'x'; 99])
        }
        Channel::Read(_) => file(FILE_MAX),
        _ => (Answer::Entries(Vec::new()), Vec::new()),
    })
    .await;
    assert_eq!(stored, ["11", "12", "13", "14", "15", "16"]);
    assert_eq!(
        told,
        "left out of the run's files: larger than 10 MiB (1): `18`; beyond 64 MiB in all (1): `17`; \
         unreadable (1): `10`"
    );
}

#[tokio::test]
async fn an_answer_to_another_question_ends_the_walk() {
    let (stored, told) = walk(|asked| match asked {
        Channel::List { after: None, .. } => (Answer::Entries(vec![entry("a", EntryKind::File)]), Vec::new()),
        _ => (Answer::Done, Vec::new()),
    })
    .await;
    assert!(stored.is_empty());
    assert_eq!(told, "left out of the run's files: whatever was not looked at yet: the sandbox did not tell");
}

#[test]
fn what_was_left_out_is_told_in_one_sentence() {
    let mut left_out = LeftOut::default();
    assert_eq!(left_out.told(None), None);
    left_out.add(Reason::Link, "up");
    left_out.add(Reason::Name, "a\u{1b}[2J");
    for n in 0..500 {
        left_out.add(Reason::Many, &format!("{n}"));
    }
    assert_eq!(
        left_out.told(Some(Cut::Time)).unwrap(),
        "left out of the run's files: beyond 1000 files (500): `0`, `1`, `2`, …; \
         names that are too long or not plain text (1): `a\\u{1b}[2J`; links (1): `up`; \
         whatever was not looked at yet: it took longer than 20 s"
    );
}
