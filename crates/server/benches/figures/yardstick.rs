//! The least that can serve a stream of events: axum and memory, in a process of its own.
//!
//! ```text
//!   GET /replay           all of a recorded run's events, at once
//!   GET /live, POST /go   the same at their recorded pace, each with the time at which it is sent
//! ```

use anyhow::{Context, Result};
use axum::{
    Router,
    extract::State,
    response::sse::{self, Sse},
    routing::{get, post},
    serve::ListenerExt,
};
use futures_util::{Stream, StreamExt, stream};
use polydev_server::domain::event::Event;
use std::{
    convert::Infallible,
    fs,
    io::Write,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::broadcast,
    time::Instant,
};

/// What asks this program to be it.
pub(crate) const WORD: &str = "yardstick";

/// One that runs.
pub(crate) struct Yardstick {
    child: Child,
    pub(crate) url: String,
    _file: tempfile::NamedTempFile,
}

impl Yardstick {
    /// Starts one that serves these events.
    pub(crate) async fn start(events: &[Event]) -> Result<Self> {
        let mut file = tempfile::NamedTempFile::new()?;
        for event in events {
            writeln!(file, "{}", serde_json::to_string(event)?)?;
        }
        let mut child = Command::new(std::env::current_exe()?)
            .arg(WORD)
            .arg(file.path())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("piped")?).lines();
        let url = lines.next_line().await?.context("it says where it listens")?;
        Ok(Self { child, url, _file: file })
    }

    pub(crate) fn pid(&self) -> Result<u32> {
        self.child.id().context("it runs")
    }
}

#[derive(Clone)]
struct Served {
    events: Arc<Vec<Event>>,
    frames: Arc<Vec<Frame>>,
    live: Arc<Mutex<Option<broadcast::Sender<Frame>>>>,
}

/// An event, ready to be sent.
#[derive(Clone)]
struct Frame {
    id: String,
    kind: &'static str,
    data: Arc<str>,
}

impl Frame {
    fn of(event: &Event) -> Self {
        let data = serde_json::to_string(event).expect("an event has string keys").into();
        Self { id: event.seq.to_string(), kind: event.body.kind(), data }
    }

    fn sse(&self) -> Result<sse::Event, Infallible> {
        Ok(sse::Event::default().id(&self.id).event(self.kind).data(&*self.data))
    }
}

/// Serves the events of a file until it is ended.
pub(crate) async fn serve(file: &Path) -> Result<()> {
    let events = fs::read_to_string(file)?.lines().map(serde_json::from_str).collect::<Result<Vec<Event>, _>>()?;
    let frames = events.iter().map(Frame::of).collect();
    // Room for all: nobody is left behind.
    let live = Arc::new(Mutex::new(Some(broadcast::Sender::new(events.len() + 1))));
    let served = Served { events: Arc::new(events), frames: Arc::new(frames), live };
    let router = Router::new()
        .route("/replay", get(replay))
        .route("/live", get(follow))
        .route("/go", post(go))
        .with_state(served);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    Ok(axum::serve(listener.tap_io(|stream| drop(stream.set_nodelay(true))), router).await?)
}

async fn replay(State(served): State<Served>) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    Sse::new(stream::iter(0..served.frames.len()).map(move |at| served.frames[at].sse()))
}

async fn follow(State(served): State<Served>) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let live = served.live.lock().unwrap_or_else(PoisonError::into_inner);
    let receiver = live.as_ref().map(broadcast::Sender::subscribe);
    Sse::new(stream::unfold(receiver, |receiver| async {
        let mut receiver = receiver?;
        let frame = receiver.recv().await.ok()?;
        Some((frame.sse(), Some(receiver)))
    }))
}

async fn go(State(served): State<Served>) {
    let sender = served.live.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (Some(sender), Some(began)) = (sender, served.events.first().map(|event| event.at)) else { return };
    tokio::spawn(async move {
        let started = Instant::now();
        for event in served.events.iter() {
            tokio::time::sleep_until(started + Duration::from_millis((event.at - began).max(0) as u64)).await;
            let now = Event { at: jiff::Timestamp::now().as_millisecond(), ..event.clone() };
            // Nobody listens any more: then nobody misses it.
            let _ = sender.send(Frame::of(&now));
        }
    });
}
