//! Answers over HTTP: JSON, and event streams that go wrong on request.

use crate::answer::Fault;
use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;
use std::{io, time::Duration};

/// How long a cut waits: a tool that gets the last chunks and the end at once
/// throws the chunks away, and a cut in mid-answer is what was asked for.
const BEFORE_CUT: Duration = Duration::from_millis(200);

/// What every provider's file returns.
pub(crate) type Reply = Response<Body>;

/// A JSON answer.
pub(crate) fn json(status: u16, body: &Value) -> Reply {
    let mut reply = Response::new(Body::from(body.to_string()));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// Adds a header to an answer.
pub(crate) fn with_header(mut reply: Reply, name: &'static str, value: &'static str) -> Reply {
    reply.headers_mut().insert(name, HeaderValue::from_static(value));
    reply
}

/// How much later an answer is to come.
#[derive(Debug, Clone, Copy)]
struct Late(Duration);

/// An answer that is to come later, where a time is given.
pub(crate) fn late(mut reply: Reply, time: Option<Duration>) -> Reply {
    if let Some(time) = time {
        reply.extensions_mut().insert(Late(time));
    }
    reply
}

/// Waits until an answer is to come.
#[expect(clippy::disallowed_methods, reason = "the pause is what was asked for")]
pub(crate) async fn due(reply: Reply) -> Reply {
    if let Some(Late(time)) = reply.extensions().get() {
        tokio::time::sleep(*time).await;
    }
    reply
}

/// An answer in pieces: each is flushed by itself.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Before the first chunk.
    pub(crate) head: Vec<String>,
    /// One per chunk of the answer.
    pub(crate) chunks: Vec<String>,
    /// After the last chunk.
    pub(crate) tail: Vec<String>,
}

enum Beat {
    Send(Bytes),
    Wait(Duration),
    Silence,
    Cut,
}

impl Script {
    /// Plays it as an event stream, with what is to go wrong on the way.
    pub(crate) fn play(self, fault: Option<Fault>) -> Reply {
        let mut reply = self.perform(fault);
        let headers = reply.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        reply
    }

    fn perform(self, fault: Option<Fault>) -> Reply {
        let half = self.chunks.len().div_ceil(2);
        let mut beats: Vec<Beat> = self.head.into_iter().map(send).collect();
        let chunks = self.chunks.into_iter().map(send);
        match fault {
            Some(Fault::Slow(pause)) => beats.extend(chunks.flat_map(|chunk| [Beat::Wait(pause), chunk])),
            Some(Fault::Stall) => {
                beats.extend(chunks.take(half));
                beats.push(Beat::Silence);
            }
            Some(Fault::Cut) => {
                beats.extend(chunks.take(half));
                beats.extend([Beat::Wait(BEFORE_CUT), Beat::Cut]);
            }
            // The others are answered with a status, before any stream.
            None
            | Some(
                Fault::BadRequest | Fault::Unauthorized | Fault::RateLimited | Fault::Internal | Fault::Overloaded,
            ) => {
                beats.extend(chunks);
            }
        }
        beats.extend(self.tail.into_iter().map(send));
        Response::new(Body::from_stream(stream::iter(beats).filter_map(play)))
    }
}

fn send(text: String) -> Beat {
    Beat::Send(Bytes::from(text))
}

#[expect(clippy::disallowed_methods, reason = "the pause is what was asked for")]
async fn play(beat: Beat) -> Option<io::Result<Bytes>> {
    match beat {
        Beat::Send(bytes) => {
            // The server flushes when a body has nothing ready: so every piece goes out by itself.
            tokio::task::yield_now().await;
            Some(Ok(bytes))
        }
        Beat::Wait(pause) => {
            tokio::time::sleep(pause).await;
            None
        }
        Beat::Silence => std::future::pending().await,
        Beat::Cut => {
            tokio::task::yield_now().await;
            Some(Err(io::Error::other("cut on request")))
        }
    }
}

/// A JSON answer that is sent whole, or goes wrong as a stream would.
pub(crate) fn whole(body: &Value, fault: Option<Fault>) -> Reply {
    let text = body.to_string();
    // Inside its first key, which is ASCII: half of an answer is no JSON.
    let (start, end) = text.split_at(2.min(text.len()));
    let script = Script { chunks: vec![start.to_owned(), end.to_owned()], ..Script::default() };
    let mut reply = script.perform(fault);
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply
}

/// An event of an event stream without a name.
pub(crate) fn data(data: &Value) -> String {
    format!("data: {data}\r\n\r\n")
}

/// An event of an event stream, with its name.
pub(crate) fn event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

/// What a key lets its owner do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is accepted.
    Good,
    /// It contains `limited`: too many requests.
    Limited,
    /// It contains `revoked`, or was never given out.
    Refused,
}

/// How a key stands that must begin with `prefix`.
pub(crate) fn standing(key: &str, prefix: &str) -> Standing {
    if !key.starts_with(prefix) || key.contains("revoked") {
        Standing::Refused
    } else if key.contains("limited") {
        Standing::Limited
    } else {
        Standing::Good
    }
}
