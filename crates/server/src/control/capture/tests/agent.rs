//! An agent with one file, that answers as it is told.

use polydev_sandbox::{
    Guest,
    proto::{
        AgentError, Answer, Attached, Channel, ErrorCode, Exit, FrameKind, Hello, JobEvent, Open, Reply, Started,
        VERSION, WatchEvent, decode_message, encode_frame, encode_message, encode_output,
    },
    testing,
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    sync::watch,
};

/// What a command says.
const SAID: &[u8] = b"{\"loggedIn\": true}";

/// The agent.
#[derive(Debug, Default)]
pub(super) struct Agent {
    state: Mutex<State>,
    written: watch::Sender<usize>,
    read: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    /// What is in the file, if it is there.
    file: Option<Vec<u8>>,
    /// How many reads are to be hung up on.
    hangs_up: usize,
    /// How the next commands end: their exit statuses, or none for a signal. Others exit with 0.
    exits: VecDeque<Option<i32>>,
    started: usize,
    acknowledged: usize,
}

impl Agent {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The way to it.
    pub(super) fn guest(self: &Arc<Self>) -> Guest {
        let own = self.clone();
        testing::scripted(move || {
            let (host, agent) = tokio::io::duplex(64 * 1024);
            let own = own.clone();
            // A host that has gone meanwhile is no fault.
            tokio::spawn(async move { own.serve(agent).await });
            Box::new(host)
        })
    }

    /// Writes the file.
    pub(super) fn write(&self, content: Vec<u8>) {
        self.state().file = Some(content);
        self.written.send_modify(|times| *times += 1);
    }

    /// Hangs up on so many that want to read it.
    pub(super) fn hangs_up(&self, times: usize) {
        self.state().hangs_up = times;
    }

    /// How the next commands end.
    pub(super) fn exits<const N: usize>(&self, exits: [Option<i32>; N]) {
        self.state().exits = exits.into();
    }

    /// How often the file was to be read.
    pub(super) fn reads(&self) -> usize {
        *self.read.borrow()
    }

    /// Waits until it was to be read so often.
    pub(super) async fn was_read(&self, times: usize) {
        self.read.subscribe().wait_for(|read| *read >= times).await.unwrap();
    }

    /// How many jobs were started, and how many were acknowledged to their end.
    pub(super) fn jobs(&self) -> (usize, usize) {
        let state = self.state();
        (state.started, state.acknowledged)
    }

    /// Serves one channel to its end, which is the host's to say.
    async fn serve(&self, mut stream: DuplexStream) -> std::io::Result<()> {
        let open: Open = message(&mut stream).await?;
        let started = |pid| Started { pid, started_at: 0 };
        match open.channel {
            Channel::Hello => {
                let proxy = "127.0.0.1:1".to_owned();
                answer(&mut stream, Answer::Hello(Hello { version: VERSION, agent: "0".into(), started_at: 0, proxy }))
                    .await?;
            }
            Channel::Watch { .. } => {
                answer(&mut stream, Answer::Done).await?;
                let mut written = self.written.subscribe();
                while written.wait_for(|times| *times > 0).await.is_ok() {
                    written.mark_unchanged();
                    let event = WatchEvent { rule: "finished".into(), size: 1 };
                    stream.write_all(&encode_frame(&event).unwrap()).await?;
                    if written.changed().await.is_err() {
                        break;
                    }
                }
            }
            Channel::Read(_) => {
                let (is_broken, file) = {
                    let mut state = self.state();
                    let is_broken = state.hangs_up > 0;
                    state.hangs_up = state.hangs_up.saturating_sub(1);
                    (is_broken, state.file.clone())
                };
                match file {
                    _ if is_broken => {}
                    Some(file) => {
                        let size = file.len() as u64;
                        answer(&mut stream, Answer::File { size, total: size }).await?;
                        stream.write_all(&file).await?;
                    }
                    None => {
                        let error = AgentError { code: ErrorCode::NotFound, message: "it is not there".into() };
                        stream.write_all(&encode_message(&Reply::Error(error)).unwrap()).await?;
                    }
                }
                self.read.send_modify(|times| *times += 1);
            }
            Channel::Exec(_) => {
                self.state().started += 1;
                answer(&mut stream, Answer::Started(started(1))).await?;
            }
            Channel::Attach(_) => {
                answer(&mut stream, Answer::Attached(Attached { stdout: 0, stderr: 0 })).await?;
                stream.write_all(&encode_output(FrameKind::Stdout, 0, SAID.len())).await?;
                stream.write_all(SAID).await?;
                let code = self.state().exits.pop_front().unwrap_or(Some(0));
                let signal = if code.is_none() { Some(9) } else { None };
                stream.write_all(&encode_frame(&JobEvent::Exit(Exit { code, signal })).unwrap()).await?;
                let mut said = Vec::new();
                stream.read_to_end(&mut said).await?;
                let all = format!("\"stdout\":{}", SAID.len());
                self.state().acknowledged += usize::from(String::from_utf8_lossy(&said).contains(&all));
                return Ok(());
            }
            Channel::Ready | Channel::Egress => {
                answer(&mut stream, Answer::Done).await?;
                stream.read_to_end(&mut Vec::new()).await?;
            }
            other => panic!("{other:?}"),
        }
        Ok(())
    }
}

async fn answer(stream: &mut DuplexStream, answer: Answer) -> std::io::Result<()> {
    stream.write_all(&encode_message(&Reply::Ok(answer)).unwrap()).await
}

async fn message(stream: &mut DuplexStream) -> std::io::Result<Open> {
    let mut bytes = Vec::new();
    loop {
        if let Some((open, _)) = decode_message(&bytes).unwrap() {
            return Ok(open);
        }
        bytes.push(stream.read_u8().await?);
    }
}
