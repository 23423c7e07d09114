//! The connections of the HTTP server: accepted, timed, and let go.
//!
//! ```text
//!   accept ─► a place among so many ─► not too many of its address ─► head within so long ─► handlers ─► answer,
//!                └ none: who comes               └ else it is cut                                     read on
//!                  waits in the system's queue                                                        within so long
//! ```

use crate::domain::rates::{Crowd, net};
use axum::{Router, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::{
    net::sockopt,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use std::{net::IpAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::MissedTickBehavior,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;
use tower_http::timeout::TimeoutBody;

/// How many connections are served at a time, where there are descriptors for more: each follower of a run is one, and
/// a request's head may take [`HEAD_MAX`] bytes of each.
const CONNECTIONS: usize = 4096;
/// The most bytes of a request's head.
const HEAD_MAX: usize = 64 * 1024;

/// How often is tried to accept a connection while none can be.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// To send the head of a request, from its connection or its last answer on.
    pub head: Duration,
    /// To send more of a request's body.
    pub body: Duration,
    /// To take what it was sent: by then some of it must have arrived.
    pub answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { head: Duration::from_secs(60), body: Duration::from_secs(30), answer: Duration::from_secs(60) }
    }
}

/// How many connections there may be.
#[expect(missing_debug_implementations, reason = "it has a function")]
pub struct Room {
    /// In all.
    pub places: usize,
    /// Of one address; 0 is any number.
    pub of_address: u32,
    /// Which addresses are many people's: this machine's, and those of proxies.
    pub is_shared: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
}

/// A connection's place among those that are served. A WebSocket keeps it when its request is answered.
pub type Place = Arc<OwnedSemaphorePermit>;

/// Allows this process as many open files as it may have, and tells for how many connections there is room beside
/// what runs and the database need.
pub fn places() -> usize {
    let open_files = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: open_files.maximum, ..open_files };
    let current = if setrlimit(Resource::Nofile, raised).is_ok() { raised.current } else { open_files.current };
    usize::try_from(current.unwrap_or(u64::MAX) / 2).unwrap_or(usize::MAX).min(CONNECTIONS)
}

/// Serves as many connections at a time as there is room for, until `closing`, and then until the requests that are under way are answered.
pub async fn serve(listener: TcpListener, router: Router, room: Room, patience: Patience, closing: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(patience.head).max_buf_size(HEAD_MAX);
    let (places, open) = (Arc::new(Semaphore::new(room.places)), TaskTracker::new());
    let crowd = Crowd::default();
    let mut pause = tokio::time::interval(PAUSE);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = async {
            let place = places.clone().acquire_owned().await.expect("it is never closed");
            (Place::new(place), listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = closing.cancelled() => break,
            accepted = accepted => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Without descriptors none can be accepted until another ends: asked often, it is asked in vain.
                tracing::warn!(%error, "a connection could not be accepted");
                pause.tick().await;
                continue;
            }
        };
        let address = peer.ip().to_canonical();
        let most = if (room.is_shared)(address) { 0 } else { room.of_address };
        let Some(seat) = crowd.enter(net(address), most) else {
            tracing::debug!(%peer, "a connection was cut: its address has too many");
            continue;
        };
        if let Err(error) = prepare(&stream, patience) {
            tracing::debug!(%error, "a connection was cut");
            continue;
        }
        let (router, its_own) = (router.clone(), place.clone());
        let service = tower::service_fn(move |mut request: axum::http::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(its_own.clone());
            let timed = |body| axum::body::Body::new(TimeoutBody::new(patience.body, body));
            router.clone().oneshot(request.map(timed))
        });
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let (mut connection, closing) = (Box::pin(connection.with_upgrades()), closing.clone());
        open.spawn(async move {
            let _places = (place, seat);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                () = closing.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "a connection broke");
            }
        });
    }
    drop(listener);
    open.close();
    open.wait().await;
}

fn prepare(stream: &TcpStream, patience: Patience) -> std::io::Result<()> {
    // Small pieces of a stream leave at once: otherwise each may wait 40 ms for the client to have heard the last.
    stream.set_nodelay(true)?;
    // The system cuts who takes nothing of what was sent, and does not say that it is gone (`man 7 tcp`).
    let millis = u32::try_from(patience.answer.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(stream, millis)?;
    if stream.local_addr()?.ip() == stream.peer_addr()?.ip() {
        // Within one machine nothing is lost and no queue builds up. A congestion control that paces (`bbr`) sets a
        // timer for every piece all the same, which took two fifths of the processor's time (docs/adr/0027). This one
        // every system has, and lets anybody use (`man 7 tcp`); without it the connection is as good.
        let _as_it_was = sockopt::set_tcp_congestion(stream, "reno");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{
        body::Body,
        routing::{get, post},
    };
    use futures_util::stream;
    use std::{convert::Infallible, net::SocketAddr};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_connection_within_the_machine_is_not_paced() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(listener.accept(), TcpStream::connect(listener.local_addr().unwrap()));
        let ((near, _), _far) = (near.unwrap(), far.unwrap());
        prepare(&near, Patience::default()).unwrap();
        assert_eq!(sockopt::tcp_congestion(&near).unwrap(), "reno");
        assert!(near.nodelay().unwrap());
    }

    async fn served(patience: Patience) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let endless = stream::repeat_with(|| Ok::<_, Infallible>(vec![b'x'; 64 * 1024]));
        let router = Router::new()
            .route("/body", post(async |body: axum::body::Bytes| body.len().to_string()))
            .route("/", get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()))
            .route("/endless", get(async || Body::from_stream(endless)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, closing) = (listener.local_addr().unwrap(), CancellationToken::new());
        (address, closing.clone(), tokio::spawn(serve(listener, router, room(), patience, closing)))
    }

    /// Room for three of an address, but for 127.0.0.1.
    fn room() -> Room {
        let is_shared = Box::new(|address: IpAddr| address == IpAddr::from([127, 0, 0, 1]));
        Room { places: 16, of_address: 3, is_shared }
    }

    #[tokio::test]
    async fn an_address_does_not_take_all_places() {
        let (address, ..) = served(Patience::default()).await;
        let connect = async |from: [u8; 4]| {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((from, 0).into()).unwrap();
            socket.connect(address).await.unwrap()
        };
        let ask = async |client: &mut TcpStream| {
            client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
            let mut answer = [0; 15];
            client.read_exact(&mut answer).await.map(|_| answer)
        };
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(connect([127, 0, 0, 2]).await);
        }
        for client in &mut open {
            assert_eq!(&ask(client).await.unwrap(), b"HTTP/1.1 200 OK");
        }
        assert!(ask(&mut connect([127, 0, 0, 2]).await).await.is_err(), "the fourth is cut");
        for other in [[127, 0, 0, 3], [127, 0, 0, 1], [127, 0, 0, 1], [127, 0, 0, 1], [127, 0, 0, 1]] {
            let mut other = connect(other).await;
            assert_eq!(&ask(&mut other).await.unwrap(), b"HTTP/1.1 200 OK");
            open.push(other);
        }
        // Who goes makes room.
        drop(open.swap_remove(0));
        while ask(&mut connect([127, 0, 0, 2]).await).await.is_err() {}
    }

    #[tokio::test]
    async fn who_sends_no_head_or_takes_no_answer_is_let_go() {
        let quick = Duration::from_millis(200);
        let (address, closing, server) = served(Patience { head: quick, body: quick, answer: quick }).await;
        // Half a body.
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"POST /body HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        // Half a head, none at all, and no second one.
        let whole = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        for (sent, answered) in [(&whole[..20], false), ("", false), (whole, true)] {
            let mut client = TcpStream::connect(address).await.unwrap();
            client.write_all(sent.as_bytes()).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer.contains("200 OK"), answered, "{sent:?}: {answer}");
        }
        // A whole one is answered, and knows who asks.
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with(&client.local_addr().unwrap().to_string()), "{answer}");
        // Who reads nothing keeps no place for ever.
        let mut deaf = TcpStream::connect(address).await.unwrap();
        deaf.write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        closing.cancel();
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused() {
        let (address, ..) = served(Patience::default()).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx: ").await.unwrap();
        let (mut answers, mut asks) = client.split();
        let flood = async { while asks.write_all(&[b'x'; 4096]).await.is_ok() {} };
        let mut answer = [0; 16];
        let answered = async { answers.read_exact(&mut answer).await.map(drop) };
        let (_, answered) = tokio::join!(flood, answered);
        assert!(answered.is_err() || answer.starts_with(b"HTTP/1.1 431"), "{:?}", String::from_utf8_lossy(&answer));
    }
}
