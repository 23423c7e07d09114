//! Many who follow a stream of events at a time.

use anyhow::{Context, Result, ensure};
use reqwest::{RequestBuilder, Response};
use std::time::Instant;

/// What readers got, all together.
pub(crate) struct Read {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
    /// From the first piece of the answer that reached anyone to the last event that reached anyone.
    pub(crate) seconds: f64,
    /// From the time in an event to its reading, milliseconds: of each piece of the answer, at each reader.
    pub(crate) delays: Vec<f64>,
}

/// Sends all these requests, and waits until each is answered.
pub(crate) async fn open(requests: impl IntoIterator<Item = RequestBuilder>) -> Result<Vec<Response>> {
    let open = async |request: RequestBuilder| anyhow::Ok(request.send().await?.error_for_status()?);
    futures_util::future::try_join_all(requests.into_iter().map(open)).await
}

/// Reads all these streams to their ends. Each must hold every event up to the last one, in order.
pub(crate) async fn read(responses: Vec<Response>) -> Result<Read> {
    let tasks: Vec<_> = responses.into_iter().map(|response| tokio::spawn(follow(response))).collect();
    let mut all = Read { events: 0, bytes: 0, seconds: 0.0, delays: Vec::new() };
    let (mut first, mut last, mut seqs) = (None, None, Vec::new());
    for task in tasks {
        let mut reader = task.await??;
        all.events += reader.seq;
        all.bytes += reader.bytes;
        all.delays.append(&mut reader.delays);
        first = first.into_iter().chain(reader.first).min();
        last = last.into_iter().chain(reader.last).max();
        seqs.push(reader.seq);
    }
    seqs.dedup();
    ensure!(seqs.len() == 1, "readers got different numbers of events: {seqs:?}");
    all.seconds = (last.context("an end")? - first.context("a beginning")?).as_secs_f64();
    Ok(all)
}

/// What one reader got.
#[derive(Default)]
struct Reader {
    rest: String,
    seq: usize,
    bytes: usize,
    first: Option<Instant>,
    last: Option<Instant>,
    delays: Vec<f64>,
}

async fn follow(mut response: Response) -> Result<Reader> {
    let mut reader = Reader::default();
    while let Some(bytes) = response.chunk().await? {
        let (now, at) = (Instant::now(), jiff::Timestamp::now().as_microsecond() as f64 / 1e3);
        reader.bytes += bytes.len();
        reader.rest.push_str(std::str::from_utf8(&bytes).context("the pieces are whole")?);
        let text = std::mem::take(&mut reader.rest);
        let mut rest = text.as_str();
        while let Some((frame, after)) = rest.split_once("\n\n") {
            rest = after;
            reader.frame(frame, now, at)?;
        }
        reader.rest.push_str(rest);
    }
    Ok(reader)
}

impl Reader {
    fn frame(&mut self, frame: &str, now: Instant, at: f64) -> Result<()> {
        let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::trim_start);
        // What to do after a cut, and signs of life, have no number.
        let Some(id) = field("id:") else { return Ok(()) };
        self.seq += 1;
        ensure!(id.parse() == Ok(self.seq), "event {id} comes where {} should", self.seq);
        self.last = Some(now);
        if field("event:") == Some("text.delta") {
            self.first.get_or_insert(now);
            let (_, after) = frame.split_once("\"at\":").context("an event has its time")?;
            let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            self.delays.push(at - after[..digits].parse::<f64>()?);
        }
        Ok(())
    }
}
