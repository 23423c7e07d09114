//! Bytes between a browser's WebSocket and a screen. What they mean, those two know.
//!
//! ```text
//!   browser                                    server                          screen
//!     ◄────────────── binary messages ───────  a piece at a time ◄────────────
//!     binary messages ───────────────────────► ──────────────────────────────►
//!     ◄────────────── ping, every 15 s          nothing heard for 45 s: nobody is there
//! ```
//! Who does not take what is sent is not sent more, and the screen waits; the same the other way round. So a
//! connection holds a piece of either way, whoever stands still.

use super::{
    socket::{Close, CloseCode, Message, Socket, WebSocketConfig},
    sse::PING,
};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::FutureExt;
use polydev_sandbox::Stream;
use std::{
    pin::pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    sync::Semaphore,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

/// How many bytes of the screen are sent at a time: what stands still takes it, of each connection.
const PIECE: usize = 32 * 1024;
/// The same where the browser keeps up: what a byte costs falls with it (docs/adr/0027).
const LARGE_PIECE: usize = 256 * 1024;
/// How many of these there are at a time, of all connections: 1 MiB.
pub(super) static LARGE_PIECES: Semaphore = Semaphore::const_new(4);
/// How many pieces may follow each other before it is looked whether a ping is due.
const RUN: usize = 16;
/// The room that waits for more of the screen: most of what it says is short.
const LITTLE: usize = 4 * 1024;
/// The most bytes of a message from a browser: noVNC sends 10 KiB at a time, of a clipboard.
const HEARD_MAX: usize = 64 * 1024;
/// How many bytes of them are read at a time.
const READ: usize = 4 * 1024;

/// How long a browser may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// It is asked so often whether it is there.
    pub(super) ping: Duration,
    /// To say something, be it the answer to a ping.
    pub(super) silence: Duration,
    /// To take a piece.
    pub(super) piece: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { ping: PING, silence: Duration::from_secs(45), piece: Duration::from_secs(60) }
    }
}

/// A socket that holds no more than a piece of either way.
pub(super) fn small() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(HEARD_MAX))
        .max_frame_size(Some(HEARD_MAX))
        .read_buffer_size(READ)
        // What is sent leaves at once, and is not gathered.
        .write_buffer_size(0)
        .max_write_buffer_size(HEARD_MAX)
}

/// Carries bytes both ways until either side has ended. `None`: the browser is gone.
///
/// A piece is large while there is one in `large`, and the browser keeps up.
pub(super) async fn carry(
    socket: &Socket,
    screen: &mut Stream,
    large: &Semaphore,
    patience: Patience,
) -> Option<Close> {
    let (mut from_screen, mut to_screen) = tokio::io::split(screen);
    let last = Mutex::new(Instant::now());
    tokio::select! {
        close = show(socket, &mut from_screen, large, &last, patience) => close,
        close = hear(socket, &mut to_screen, &last) => close,
    }
}

/// Sends the screen, a piece at a time. `None`: nobody takes it.
async fn show(
    socket: &Socket,
    screen: &mut ReadHalf<&mut Stream>,
    large: &Semaphore,
    last: &Mutex<Instant>,
    patience: Patience,
) -> Option<Close> {
    let mut pings = interval(patience.ping);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut keeps_up = true;
    loop {
        let mut room = BytesMut::with_capacity(LITTLE);
        tokio::select! {
            read = screen.read_buf(&mut room) => {
                if !matches!(read, Ok(1..)) {
                    return Some((CloseCode::Error, "the sandbox is gone"));
                }
                if room.len() < LITTLE {
                    keeps_up = take(socket, room.freeze(), patience).await?;
                    continue;
                }
                let large = if keeps_up { large.try_acquire().ok() } else { None };
                let most = if large.is_some() { LARGE_PIECE } else { PIECE };
                for _ in 0..RUN {
                    fill(&mut room, screen, most);
                    if room.is_empty() {
                        break;
                    }
                    keeps_up = take(socket, std::mem::take(&mut room).freeze(), patience).await?;
                    if !keeps_up {
                        break;
                    }
                }
            }
            _ = pings.tick() => {
                if last.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > patience.silence {
                    return None;
                }
                timeout(patience.piece, socket.say(Message::Ping(Bytes::new()))).await.ok()?.ok()?;
            }
        }
    }
}

/// Has the browser take a piece. Whether it did at once; `None`: not in time, or it is gone.
async fn take(socket: &Socket, piece: Bytes, patience: Patience) -> Option<bool> {
    let mut taken = pin!(socket.show(piece));
    match taken.as_mut().now_or_never() {
        Some(taken) => taken.ok().map(|()| true),
        None => timeout(patience.piece, taken).await.ok()?.ok().map(|()| false),
    }
}

/// Reads what is there already, up to so many bytes in all. An end, or an error, is met at the next reading.
fn fill(room: &mut BytesMut, screen: &mut ReadHalf<&mut Stream>, most: usize) {
    while room.len() < most {
        let left = most - room.len();
        room.reserve(left);
        let mut rest = (&mut *room).limit(left);
        if !matches!(screen.read_buf(&mut rest).now_or_never(), Some(Ok(1..))) {
            return;
        }
    }
}

/// Gives the screen what the browser sends, as fast as it takes it. `None`: it has left.
async fn hear(socket: &Socket, screen: &mut WriteHalf<&mut Stream>, last: &Mutex<Instant>) -> Option<Close> {
    loop {
        let message = socket.hear().await;
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        match message {
            None => return None,
            // The answer to a close is sent by the library, while what follows is read.
            Some(Ok(Message::Close(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Binary(bytes))) => {
                if screen.write_all(&bytes).await.is_err() {
                    return Some((CloseCode::Error, "the sandbox is gone"));
                }
            }
            Some(Ok(Message::Text(_))) => return Some((CloseCode::Unsupported, "only bytes are understood here")),
            Some(Err(_)) => return Some((CloseCode::Size, "a message is at most 65536 bytes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::socket::Handshake;
    use axum::{Router, routing::get};
    use futures_util::{SinkExt, StreamExt};
    use std::{
        net::SocketAddr,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };
    use tokio::{
        io::DuplexStream,
        net::{TcpListener, TcpSocket, TcpStream},
        sync::mpsc,
    };
    use tokio_tungstenite::{WebSocketStream, client_async, tungstenite};

    /// More than the buffers of the system hold for a connection, and far less than a test could push through.
    const MUCH: usize = 64 * 1024 * 1024;

    /// A place where screens are looked at: for each browser, the other end of its screen.
    struct Place {
        address: SocketAddr,
        screens: mpsc::UnboundedReceiver<DuplexStream>,
    }

    impl Place {
        async fn new(patience: Patience) -> Self {
            Self::with(1, patience).await
        }

        /// With so many large pieces.
        async fn with(large: usize, patience: Patience) -> Self {
            let large = Arc::new(Semaphore::new(large));
            let (tell, screens) = mpsc::unbounded_channel();
            let look = async move |handshake: Handshake| {
                handshake.open(small(), async move |socket| {
                    let (screen, other) = tokio::io::duplex(LARGE_PIECE);
                    let mut screen: Stream = Box::new(screen);
                    tell.send(other).unwrap();
                    if let Some(close) = carry(&socket, &mut screen, &large, patience).await {
                        socket.close(close).await;
                    }
                })
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(axum::serve(listener, Router::new().route("/", get(look))).into_future());
            Self { address, screens }
        }

        async fn look(&mut self) -> (WebSocketStream<TcpStream>, DuplexStream) {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(16 * 1024).unwrap();
            let stream = socket.connect(self.address).await.unwrap();
            let (browser, _) = client_async(format!("ws://{}/", self.address), stream).await.unwrap();
            (browser, self.screens.recv().await.unwrap())
        }
    }

    /// A screen that says as much as is taken of it: how many bytes that is.
    fn pushing(mut screen: DuplexStream) -> Arc<AtomicUsize> {
        let pushed = Arc::new(AtomicUsize::new(0));
        let count = pushed.clone();
        tokio::spawn(async move {
            while screen.write_all(&[7; PIECE]).await.is_ok() {
                count.fetch_add(PIECE, Ordering::Relaxed);
            }
        });
        pushed
    }

    /// Counts what is pushed, and lets others say something to each other until it has come to a halt.
    async fn until_it_halts(place: &mut Place, pushed: &AtomicUsize) {
        let (mut browser, mut screen) = place.look().await;
        loop {
            let before = pushed.load(Ordering::Relaxed);
            for _ in 0..200 {
                browser.send(tungstenite::Message::Binary(Bytes::from_static(&[7; 64]))).await.unwrap();
                let mut came = [0; 64];
                screen.read_exact(&mut came).await.unwrap();
                screen.write_all(&came).await.unwrap();
                while !browser.next().await.unwrap().unwrap().is_binary() {}
            }
            let now = pushed.load(Ordering::Relaxed);
            if now == before && now > 0 {
                return;
            }
            assert!(now < MUCH, "{now} bytes were taken for one who takes nothing");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_screen_waits_for_a_browser_that_does_not_read_and_goes_on_with_it() {
        let mut place = Place::new(Patience::default()).await;
        let (mut browser, screen) = place.look().await;
        let pushed = pushing(screen);
        until_it_halts(&mut place, &pushed).await;
        let (halted, mut read) = (pushed.load(Ordering::Relaxed), 0);
        while read < 2 * halted {
            let message = browser.next().await.unwrap().unwrap();
            read += if message.is_binary() { message.len() } else { 0 };
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_browser_waits_for_a_screen_that_does_not_read_and_goes_on_with_it() {
        let mut place = Place::new(Patience::default()).await;
        let (mut browser, mut screen) = place.look().await;
        let pushed = Arc::new(AtomicUsize::new(0));
        let count = pushed.clone();
        tokio::spawn(async move {
            let piece = || tungstenite::Message::Binary(Bytes::from_static(&[7; PIECE]));
            while browser.send(piece()).await.is_ok() {
                count.fetch_add(PIECE, Ordering::Relaxed);
            }
        });
        until_it_halts(&mut place, &pushed).await;
        let mut all = vec![0; 2 * pushed.load(Ordering::Relaxed)];
        screen.read_exact(&mut all).await.unwrap();
        assert!(all.iter().all(|byte| *byte == 7));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_browser_that_died_is_let_go_and_one_that_lives_is_not() {
        let (ping, silence) = (Duration::from_millis(20), Duration::from_millis(400));
        let mut place = Place::new(Patience { ping, silence, ..Patience::default() }).await;
        // Whose socket nobody reads: no ping is answered, and no close comes.
        let (_dead, mut screen) = place.look().await;
        let (mut living, mut other) = place.look().await;
        // An answer to a ping is sent when the next message is read.
        let lives = tokio::spawn(async move { while living.next().await.is_some_and(|message| message.is_ok()) {} });
        assert_eq!(screen.read(&mut [0]).await.unwrap(), 0, "its screen is free again");
        // For as long again.
        assert!(timeout(silence, other.read(&mut [0])).await.is_err(), "the other's is not");
        assert!(!lives.is_finished());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_said_waits_for_the_end_of_a_frame_that_has_begun() {
        let mut place = Place::new(Patience::default()).await;
        let (mut browser, screen) = place.look().await;
        let pushed = pushing(screen);
        until_it_halts(&mut place, &pushed).await;
        browser.send(tungstenite::Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
        browser.send(tungstenite::Message::text("words")).await.unwrap();
        let mut pong = None;
        loop {
            match browser.next().await.unwrap().unwrap() {
                tungstenite::Message::Binary(bytes) => assert!(bytes.iter().all(|byte| *byte == 7)),
                tungstenite::Message::Pong(said) => pong = Some(said),
                tungstenite::Message::Ping(_) => {}
                tungstenite::Message::Close(close) => {
                    assert_eq!(close.unwrap().code, CloseCode::Unsupported);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(pong.unwrap(), &b"there?"[..]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_piece_is_large_for_who_keeps_up_while_there_are_such() {
        let mut place = Place::with(1, Patience::default()).await;
        let (mut browser, mut screen) = place.look().await;
        let mut longest = async || {
            screen.write_all(&[7; LARGE_PIECE]).await.unwrap();
            let (mut read, mut longest) = (0, 0);
            while read < LARGE_PIECE {
                let message = browser.next().await.unwrap().unwrap();
                if message.is_binary() {
                    (read, longest) = (read + message.len(), longest.max(message.len()));
                }
            }
            longest
        };
        assert_eq!(longest().await, LARGE_PIECE);
        // Who takes nothing has the only one.
        let (deaf, mut other) = place.look().await;
        let pushed = Arc::new(AtomicUsize::new(0));
        let count = pushed.clone();
        let pushes = tokio::spawn(async move {
            while other.write_all(&[7; PIECE]).await.is_ok() {
                count.fetch_add(PIECE, Ordering::Relaxed);
            }
        });
        until_it_halts(&mut place, &pushed).await;
        assert_eq!(longest().await, PIECE);
        drop(deaf);
        pushes.await.unwrap();
        while longest().await == PIECE {}
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_browser_that_takes_nothing_is_let_go() {
        let piece = Duration::from_millis(200);
        let mut place = Place::new(Patience { piece, ..Patience::default() }).await;
        let (_deaf, mut screen) = place.look().await;
        while screen.write_all(&[7; PIECE]).await.is_ok() {}
    }
}
