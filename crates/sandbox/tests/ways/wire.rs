//! What a hostile agent says. Beside each: a host that lacks the bound, and what it then has of it.

use crate::{
    Family, assert_complete,
    house::{Said, judge},
};
use polydev_sandbox::{
    guest::{Guest, GuestError},
    proto::{
        Answer, Attached, FRAME_MAX, FrameKind, HEADER_MAX, Job, OFFSET_LEN, Reply, Started, encode_message,
        encode_output,
    },
    testing::scripted,
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};

/// What the system holds of a stream that nobody reads, here: bytes.
const IN_FLIGHT: usize = 64 * 1024;

/// Longer than any host waits for an answer. The clock is the test's own.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// Between two bytes of an agent that takes its time: less than a host waits for any.
const SLOWLY: Duration = Duration::from_secs(5);

/// What an agent does with each channel.
#[derive(Debug, Clone)]
enum Hostile {
    /// It says this, and keeps the channel open.
    Says(Vec<u8>),
    /// It says this first, and then the other for ever. How much of that was taken is counted.
    Floods(Vec<u8>, Vec<u8>, Arc<AtomicUsize>),
    /// It says this byte by byte.
    Trickles(Vec<u8>),
}

impl Hostile {
    async fn speak(self, mut to: WriteHalf<DuplexStream>) -> std::io::Result<()> {
        match self {
            Self::Says(bytes) => to.write_all(&bytes).await?,
            Self::Floods(first, again, taken) => {
                to.write_all(&first).await?;
                loop {
                    to.write_all(&again).await?;
                    taken.fetch_add(again.len(), Ordering::SeqCst);
                }
            }
            Self::Trickles(bytes) => {
                let mut pace = tokio::time::interval(SLOWLY);
                for byte in bytes {
                    pace.tick().await;
                    to.write_u8(byte).await?;
                }
            }
        }
        std::future::pending().await
    }

    /// The host's end of a channel.
    fn dial(&self) -> DuplexStream {
        let (host, agent) = duplex(IN_FLIGHT);
        let (mut from, to): (ReadHalf<DuplexStream>, _) = split(agent);
        tokio::spawn(self.clone().speak(to));
        tokio::spawn(async move { tokio::io::copy(&mut from, &mut tokio::io::sink()).await });
        host
    }
}

fn guest(hostile: &Hostile) -> Guest {
    let hostile = hostile.clone();
    scripted(move || Box::new(hostile.dial()))
}

fn said<T>(result: Result<T, GuestError>, got: impl FnOnce(T) -> String) -> Said {
    match result {
        Ok(value) => Said::Got(got(value)),
        Err(error) => Said::Refused(error.to_string()),
    }
}

/// A host that takes whatever length is announced.
async fn any_message(mut stream: DuplexStream) -> Said {
    let len = stream.read_u32().await.unwrap();
    let mut body = vec![0; len as usize];
    stream.read_exact(&mut body).await.unwrap();
    match serde_json::from_slice(&body) {
        Ok(Reply::Ok(Answer::Jobs(jobs))) => Said::Got(format!("{} jobs", jobs.len())),
        other => panic!("{other:?}"),
    }
}

/// A host that reads whatever comes, up to this many bytes, which are the test's own end.
async fn any_bytes(mut stream: DuplexStream, enough: usize) -> Said {
    let mut bytes = Vec::new();
    (&mut stream).take(enough as u64).read_to_end(&mut bytes).await.unwrap();
    Said::Got(format!("{} bytes", bytes.len()))
}

/// A host that gives up only when nothing at all comes for a while, or never; until the end of a long day.
async fn patient(mut stream: DuplexStream, idle: Option<Duration>) -> Said {
    let read = async {
        let mut bytes = 0;
        loop {
            let byte = stream.read_u8();
            match idle {
                Some(idle) => match tokio::time::timeout(idle, byte).await {
                    Ok(byte) => drop(byte.unwrap()),
                    Err(_) => return bytes,
                },
                None => drop(byte.await.unwrap()),
            }
            bytes += 1;
        }
    };
    match tokio::time::timeout(LONG, read).await {
        Ok(bytes) => Said::Refused(format!("idle after {bytes} bytes")),
        Err(_) => Said::Got("waits for ever".to_owned()),
    }
}

fn too_many_jobs() -> Vec<u8> {
    let started = Started { pid: 1, started_at: 0 };
    let written = polydev_sandbox::proto::Ack { stdout: 0, stderr: 0 };
    let job = Job { job: "x".repeat(128), started, exit: None, written };
    let body = serde_json::to_vec(&Reply::Ok(Answer::Jobs(vec![job; 1000]))).unwrap();
    assert!(body.len() > HEADER_MAX);
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

#[tokio::test(start_paused = true)]
async fn of_a_hostile_agent() {
    let mut wrong = Vec::new();
    let mut tried = BTreeSet::new();
    let mut look = |way, open: Said, shut: Said, leads: &str, refused: &str| {
        wrong.extend(judge(way, &open, &shut, leads, refused));
        tried.insert(way);
    };

    let message = too_many_jobs();
    let len = message.len() - 4;
    let refused = format!("listing jobs: the agent sent a message of {len} bytes, at most {HEADER_MAX} are allowed");
    let hostile = Hostile::Says(message);
    let shut = said(guest(&hostile).jobs().await, |jobs| format!("{} jobs", jobs.len()));
    look("a message that is too long", any_message(hostile.dial()).await, shut, "1000 jobs", &refused);

    let taken = Arc::new(AtomicUsize::new(0));
    let large = encode_message(&Reply::Ok(Answer::File { size: 1 << 40, total: 1 << 40 })).unwrap();
    let hostile = Hostile::Floods(large, vec![b'x'; 4096], taken);
    let enough = 8 * FRAME_MAX;
    let shut = said(guest(&hostile).read_file("/a", 1 << 20).await, |bytes| format!("{} bytes", bytes.len()));
    let refused = format!("`/a` has {} bytes, at most {} are read", 1_u64 << 40, 1 << 20);
    let leads = format!("{enough} bytes");
    look("a file without an end", any_bytes(hostile.dial(), enough).await, shut, &leads, &refused);

    // The announced ones come, and a flood behind them.
    let taken = Arc::new(AtomicUsize::new(0));
    let four = encode_message(&Reply::Ok(Answer::File { size: 4, total: 4 })).unwrap();
    let hostile = Hostile::Floods(four, vec![b'x'; 4096], taken.clone());
    let read = guest(&hostile).read_file("/a", 1 << 20).await.unwrap();
    let shut = Said::Refused(format!("after {} bytes", read.len()));
    let open = any_bytes(hostile.dial(), enough).await;
    look("more of a file than was announced", open, shut, &leads, "after 4 bytes");

    let attached = encode_message(&Reply::Ok(Answer::Attached(Attached { stdout: 0, stderr: 0 }))).unwrap();
    let mut frame = encode_output(FrameKind::Stdout, 0, FRAME_MAX).to_vec();
    frame.resize(frame.len() + FRAME_MAX, b'x');
    let hostile = Hostile::Says([attached.clone(), frame.clone()].concat());
    let next = guest(&hostile).attach("job", 0, 0).await.unwrap().next().await;
    let shut = said(next, |output| format!("{output:?}"));
    let len = FRAME_MAX + OFFSET_LEN;
    let refused =
        format!("attaching to a job: the agent sent a message of {len} bytes, at most {FRAME_MAX} are allowed");
    let open = any_bytes(hostile.dial(), attached.len() + frame.len()).await;
    look("a frame that is too long", open, shut, &format!("{} bytes", attached.len() + frame.len()), &refused);

    // Output comes as fast as it is taken: what nobody has asked for stays where it is.
    let taken = Arc::new(AtomicUsize::new(0));
    let mut line = encode_output(FrameKind::Stdout, 0, 1024).to_vec();
    line.resize(line.len() + 1024, b'x');
    let hostile = Hostile::Floods(attached, line, taken.clone());
    let mut attachment = guest(&hostile).attach("job", 0, 0).await.unwrap();
    attachment.next().await.unwrap();
    settle().await;
    let held = taken.swap(0, Ordering::SeqCst);
    let shut = if held <= 2 * IN_FLIGHT { "at what is in flight".to_owned() } else { format!("at {held} bytes") };
    drop(attachment);
    let open = any_bytes(hostile.dial(), enough).await;
    look("output without an end", open, Said::Refused(shut), &leads, "at what is in flight");

    let hostile = Hostile::Says(vec![0, 0]);
    let shut = said(guest(&hostile).hello().await, |hello| hello.agent);
    let refused = "saying hello: no answer of the agent within 10 s";
    look("silence", patient(hostile.dial(), None).await, shut, "waits for ever", refused);

    // A message as long as one may be: at this pace it lasts for more than three days.
    let hostile = Hostile::Trickles([&(HEADER_MAX as u32).to_be_bytes()[..], &vec![b' '; HEADER_MAX]].concat());
    let shut = said(guest(&hostile).hello().await, |hello| hello.agent);
    let open = patient(hostile.dial(), Some(2 * SLOWLY)).await;
    look("an answer that takes its time for each byte", open, shut, "waits for ever", refused);

    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_complete(Family::Wire, &tried);
}

/// Lets every task do what it can without more time.
async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}
