//! WebSockets (RFC 6455): the handshake as an extractor, and what is said both ways.
//!
//! ```text
//!   hear ◄── tungstenite ◄───────────────────────────────┐
//!   say ───► tungstenite: framed, in a buffer of its own ─┤ wire ◄──► connection
//!   show ──► a frame's head, and the bytes where they lie ┘
//! ```
//! tungstenite has all that a stranger can send: masks, fragments, pings, closes. It copies what it sends, and keeps
//! room for the longest; what is shown does not go through it, but waits at the wire, where a frame that has begun is
//! ended before another begins (docs/adr/0027).

use super::error::ApiError;
use crate::domain::failure::Code;
use axum::{
    body::Body,
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, Request, StatusCode, header::SEC_WEBSOCKET_PROTOCOL, request::Parts},
    response::Response,
};
use bytes::{Buf, BufMut, Bytes, BytesMut, buf::Chain};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::server::create_response,
        protocol::{
            CloseFrame, Role,
            frame::{
                FrameHeader,
                coding::{Data, OpCode},
            },
        },
    },
};
use tokio_util::io::poll_write_buf;

pub(super) use tokio_tungstenite::tungstenite::{
    Error, Message,
    protocol::{WebSocketConfig, frame::coding::CloseCode},
};

/// How long the other side may take to answer a close with its own.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why a socket is closed, and in which words.
pub(super) type Close = (CloseCode, &'static str);

/// Somebody asked for a WebSocket as it must be asked for.
#[derive(Debug)]
pub(super) struct Handshake {
    answer: axum::http::Response<()>,
    /// The names of protocols that were offered.
    offered: Vec<HeaderValue>,
    upgrade: OnUpgrade,
}

impl<S: Sync> FromRequestParts<S> for Handshake {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let mut request = Request::new(());
        *request.method_mut() = parts.method.clone();
        *request.version_mut() = parts.version;
        *request.headers_mut() = parts.headers.clone();
        let answer = create_response(&request).ok();
        let upgrade = parts.extensions.remove::<OnUpgrade>();
        let (Some(answer), Some(upgrade)) = (answer, upgrade) else {
            let refusal = ApiError::new(Code::InvalidRequest, "this is not the handshake of a WebSocket");
            return Err(refusal.status(StatusCode::UPGRADE_REQUIRED));
        };
        Ok(Self { answer, offered: offered(&parts.headers), upgrade })
    }
}

fn offered(headers: &HeaderMap) -> Vec<HeaderValue> {
    let names =
        headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.filter_map(|name| HeaderValue::from_bytes(name.trim_ascii()).ok()).collect()
}

impl Handshake {
    /// Agrees on this protocol, if it was offered.
    pub(super) fn protocol(mut self, name: &'static str) -> Self {
        if self.offered.iter().any(|offered| offered == name) {
            self.answer.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
        }
        self
    }

    /// Agrees, and has the socket served when that has arrived.
    pub(super) fn open<F, Served>(self, config: WebSocketConfig, serve: F) -> Response
    where
        F: FnOnce(Socket) -> Served + Send + 'static,
        Served: Future<Output = ()> + Send + 'static,
    {
        tokio::spawn(async move {
            match self.upgrade.await {
                Ok(upgraded) => serve(Socket::new(upgraded, config).await).await,
                Err(error) => tracing::debug!(%error, "a connection ended before it was a WebSocket"),
            }
        });
        self.answer.map(|()| Body::empty())
    }
}

/// A WebSocket. One task at a time may say, show or hear, in as many of its futures as it likes.
pub(super) struct Socket(Mutex<WebSocketStream<Wire>>);

impl Socket {
    async fn new(upgraded: Upgraded, config: WebSocketConfig) -> Self {
        let wire = Wire { connection: TokioIo::new(upgraded), shown: None, is_over: false };
        Self(Mutex::new(WebSocketStream::from_raw_socket(wire, Role::Server, Some(config)).await))
    }

    fn lock(&self) -> MutexGuard<'_, WebSocketStream<Wire>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next message, `None` after the last. It is lost to nobody who stops to wait for it.
    pub(super) async fn hear(&self) -> Option<Result<Message, Error>> {
        let message = poll_fn(|cx| self.lock().poll_next_unpin(cx)).await;
        if matches!(message, Some(Ok(Message::Close(_))) | None) {
            self.lock().get_mut().is_over = true;
        }
        message
    }

    /// Says something, which may wait for [`Socket::flush`].
    pub(super) async fn feed(&self, message: Message) -> Result<(), Error> {
        poll_fn(|cx| self.lock().poll_ready_unpin(cx)).await?;
        self.lock().start_send_unpin(message)
    }

    /// Until all has been taken.
    pub(super) async fn flush(&self) -> Result<(), Error> {
        poll_fn(|cx| self.lock().poll_flush_unpin(cx)).await
    }

    /// Says something, and waits until it is taken.
    pub(super) async fn say(&self, message: Message) -> Result<(), Error> {
        self.feed(message).await?;
        self.flush().await
    }

    /// Says these bytes without copying them, and waits until they are taken.
    pub(super) async fn show(&self, bytes: Bytes) -> Result<(), Error> {
        // What has begun is ended first.
        self.flush().await?;
        self.lock().get_mut().show(bytes)?;
        Ok(poll_fn(|cx| self.lock().get_mut().poll_shown(cx)).await?)
    }

    /// Closes, and reads on until the other side has closed too, or does not in time: what it has sent meanwhile must
    /// be read, or the end may not reach it.
    pub(super) async fn close(&self, (code, reason): Close) {
        let farewell = async {
            self.say(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
            while let Some(Ok(_)) = self.hear().await {}
            Ok::<_, Error>(())
        };
        let _ = timeout(FAREWELL, farewell).await;
    }
}

/// The connection, and what is shown on it before anything else.
struct Wire {
    connection: TokioIo<Upgraded>,
    /// What is left of a frame: its head, and its bytes.
    shown: Option<Chain<Bytes, Bytes>>,
    /// The other side has closed: it expects no more.
    is_over: bool,
}

impl Wire {
    /// Has a frame sent by the next flush. What was before it must have been sent.
    fn show(&mut self, bytes: Bytes) -> Result<(), Error> {
        if self.is_over {
            return Err(Error::AlreadyClosed);
        }
        let head = FrameHeader { opcode: OpCode::Data(Data::Binary), ..FrameHeader::default() };
        let length = bytes.len() as u64;
        let mut written = BytesMut::with_capacity(head.len(length)).writer();
        head.format(length, &mut written)?;
        self.shown = Some(written.into_inner().freeze().chain(bytes));
        Ok(())
    }

    fn poll_shown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(shown) = &mut self.shown {
            if ready!(poll_write_buf(Pin::new(&mut self.connection), cx, shown))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            // What is sent is held no longer.
            self.shown.take_if(|shown| !shown.has_remaining());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_read(cx, room)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_shown(cx))?;
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_shown(cx))?;
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}
