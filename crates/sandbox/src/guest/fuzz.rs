//! Whatever an agent answers, the host's side of every channel comes to an end, and believes no more than it asked for.

use super::{Guest, JobOutput, OutputStream};
use crate::{
    fuzz::{Saying, run},
    testing::scripted,
};
use polydev_proto::{Exec, Overflow, Ring, TerminalSize, WatchRule};
use std::collections::BTreeMap;

/// The most bytes that are asked for of a file.
const FILE_MAX: u64 = 1000;

/// The first byte says what is asked, the others are the agent's answer.
pub fn agent(data: &[u8]) {
    let Some((what, said)) = data.split_first() else { return };
    let said = said.to_vec();
    let guest = scripted(move || Box::new(Saying::new(&said)));
    run(ask(*what, &guest));
}

async fn ask(what: u8, guest: &Guest) {
    match what {
        b'h' => drop(guest.hello().await),
        b'j' => drop(guest.jobs().await),
        b'd' => drop(guest.disk().await),
        b'l' => drop(guest.list("/workspace", None).await),
        b's' => drop(guest.signal("run", 15, true).await),
        b'z' => drop(guest.resize("run", TerminalSize { cols: 80, rows: 24 }).await),
        b'e' => drop(guest.exec(job()).await),
        b'w' => drop(guest.write_file("/workspace/f", 0o600, b"content").await),
        b'r' => {
            if let Ok(bytes) = guest.read_file("/workspace/f", FILE_MAX).await {
                assert!(bytes.len() as u64 <= FILE_MAX);
            }
        }
        b'i' => {
            if let Ok(mut input) = guest.stdin("run").await {
                drop(input.write(b"words").await);
                drop(input.end().await);
            }
        }
        b'g' => {
            if let Ok(mut stages) = guest.ready().await {
                while let Ok(Some(_)) = stages.next().await {}
            }
        }
        b'f' => {
            let rule = WatchRule { rule: "r".into(), path: "/f".into(), quiet_ms: 1, require: Vec::new() };
            if let Ok(mut seen) = guest.watch(vec![rule]).await {
                while let Ok(Some(_)) = seen.next().await {}
            }
        }
        _anything_else => attach(guest).await,
    }
}

fn job() -> Exec {
    let ring = Ring { capacity: 1, overflow: Overflow::Block };
    Exec {
        job: "run".into(),
        argv: vec!["true".into()],
        env: BTreeMap::new(),
        cwd: "/".into(),
        stdin: true,
        pty: None,
        stdout: ring,
        stderr: ring,
    }
}

/// No byte of output comes twice, and none after the end.
async fn attach(guest: &Guest) {
    let Ok(mut output) = guest.attach("run", 7, 9).await else { return };
    let from = output.started_at().clone();
    let mut next = [from.stdout, from.stderr];
    while let Ok(Some(said)) = output.next().await {
        match said {
            JobOutput::Bytes { stream, offset, bytes } => {
                let next = match stream {
                    OutputStream::Stdout => &mut next[0],
                    OutputStream::Stderr => &mut next[1],
                };
                assert!(offset >= *next && !bytes.is_empty());
                *next = offset.saturating_add(bytes.len() as u64);
                drop(output.ack(offset, 0).await);
            }
            JobOutput::Exit(_) => assert!(matches!(output.next().await, Ok(None))),
        }
    }
}
