//! One sandbox's way out: its channels, what they ask for, the bytes.

use super::{
    gateway::{Access, Common, DialError},
    ledger::{Activity, Entry, Ledger, Verdict},
    policy::{Denial, Host, check_addresses},
    share::{Place, Share},
    sni::{BadHello, UNRECOGNIZED_NAME, read_hello},
    stream::{Counted, Prefixed},
    upstream::connect_any,
};
use crate::driver::Stream;
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::{TokioIo, TokioTimer};
use polydev_proto::STREAMS_MAX;
use std::{
    convert::Infallible,
    future::Future,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Channels of a sandbox at most; the rest of [`STREAMS_MAX`] is for jobs and files.
const CHANNELS: usize = STREAMS_MAX - 16;
/// The most bytes of a request's head.
const HEAD_MAX: usize = 64 * 1024;
/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the name's look-up and the connection may take together.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the ClientHello may take. A browser may open a connection ahead of its use.
const HELLO_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may carry nothing: longer than a model thinks in silence.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// How long a connection may live.
const LIFE_MAX: Duration = Duration::from_secs(6 * 60 * 60);
/// Bytes in flight per connection and direction.
const COPY_BUFFER: usize = 16 * 1024;
/// Between attempts to dial a sandbox that does not answer: doubled from the first to the last.
const REDIAL: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// The port on which TLS is demanded.
const TLS_PORT: u16 = 443;
/// The longest host of a malformed request that is kept.
const SHOWN_MAX: usize = 100;
/// Tells a program why its request was refused.
const DENIED_HEADER: &str = "x-polydev-denied";
/// After how many seconds one may try again who had too many connections.
const RETRY_AFTER: &str = "1";

/// One sandbox's way out, as its tasks see it.
pub(super) struct WayOut {
    common: Arc<Common>,
    access: Access,
    share: Share,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    tasks: TaskTracker,
    channels: Arc<Semaphore>,
}

/// A connection that may now carry bytes.
struct Opened {
    client: OnUpgrade,
    target: Prefixed<TcpStream>,
    host: Host,
    port: u16,
    entry: Arc<Entry>,
}

/// Why a connection was not opened.
enum NotOpened {
    Denied(Denial),
    Failed { status: StatusCode, code: &'static str, words: String },
}

impl WayOut {
    pub(super) fn new(
        common: Arc<Common>,
        access: Access,
        share: Share,
        ledger: Arc<Ledger>,
        stop: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        Self { common, access, share, ledger, stop, tasks, channels: Arc::new(Semaphore::new(CHANNELS)) }
    }

    /// Dials a channel, waits for its first bytes, leaves it to a task of its
    /// own, and begins again.
    pub(super) async fn keep_one_waiting<D, F>(self: Arc<Self>, dial: &D)
    where
        D: Fn() -> F,
        F: Future<Output = Result<Stream, DialError>>,
    {
        let sandbox = &self.access.sandbox;
        let mut pause = REDIAL.0;
        loop {
            let Ok(permit) = Arc::clone(&self.channels).acquire_owned().await else { return };
            let error = match first_bytes(dial()).await {
                Ok(channel) => {
                    pause = REDIAL.0;
                    let way_out = Arc::clone(&self);
                    self.tasks.spawn(async move {
                        let stop = way_out.stop.clone();
                        let life = tokio::time::timeout(LIFE_MAX, way_out.serve(channel));
                        stop.run_until_cancelled(life).await;
                        drop(permit);
                    });
                    continue;
                }
                Err(DialError::Gone) => {
                    tracing::debug!(%sandbox, "the sandbox is gone, its way out is closed");
                    return self.stop.cancel();
                }
                Err(DialError::Io(error)) => error,
            };
            drop(permit);
            // A program that says nothing makes it end like this, as often as it likes.
            if pause == REDIAL.0 && error.kind() != io::ErrorKind::UnexpectedEof {
                tracing::warn!(%sandbox, %error, "no egress channel to the sandbox: trying again");
            } else {
                tracing::debug!(%sandbox, %error, "still no egress channel to the sandbox");
            }
            wait(pause).await;
            pause = (pause * 2).min(REDIAL.1);
        }
    }

    /// Answers the one request of a channel and carries what follows it.
    pub(super) async fn serve(&self, channel: Prefixed<Stream>) {
        self.ledger.activity().touch();
        let place = self.share.open().await;
        let opened = Mutex::new(None);
        let service = service_fn(|request| async {
            let (response, connection) = self.answer(request, &place).await;
            *opened.lock().unwrap_or_else(PoisonError::into_inner) = connection;
            Ok::<_, Infallible>(response)
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_MAX)
            .max_header_size(HEAD_MAX)
            .serve_connection(TokioIo::new(channel), service)
            .with_upgrades()
            .await;
        if let Err(error) = served {
            tracing::debug!(sandbox = %self.access.sandbox, %error, "a request of the sandbox was not answered");
        }
        let opened = opened.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(Opened { client, target, host, port, entry }) = opened
            && let Ok(client) = client.await
        {
            let parts = client.downcast::<TokioIo<Prefixed<Stream>>>().expect("the stream that was handed in");
            let client = parts.io.into_inner().unread(parts.read_buf);
            self.carry(client, target, &host, port, entry).await;
        }
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        place: &Result<Place, Denial>,
    ) -> (Response<Full<Bytes>>, Option<Opened>) {
        if request.method() != Method::CONNECT {
            let words = "only CONNECT is served here: use this proxy for https";
            let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, words);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("CONNECT"));
            return (response, None);
        }
        let named = request.uri().authority().map_or("", |authority| authority.as_str());
        let (shown, port, result) = match (parse_target(named), place) {
            (Some((host, port)), Ok(_place)) => {
                (host.to_string(), port, self.open(&host, port).await.map(|target| (host, target)))
            }
            (Some((host, port)), Err(denial)) => (host.to_string(), port, Err(NotOpened::Denied(*denial))),
            // Of a secret that is cut, nobody could tell that it is one.
            (None, _) => (printable(&self.access.mask.shown(named)), 0, Err(NotOpened::Denied(Denial::BadTarget))),
        };
        let shown = self.access.mask.shown(&shown);
        match result {
            Ok((host, target)) => {
                let entry = self.ledger.enter(&shown, port, Verdict::Allowed, None);
                let client = hyper::upgrade::on(&mut request);
                (Response::new(Full::default()), Some(Opened { client, target, host, port, entry }))
            }
            Err(NotOpened::Denied(denial)) => {
                let code = denial.code();
                let entry = self.ledger.enter(&shown, port, Verdict::Denied, Some(code));
                self.log_denied(&entry, &shown, port, code);
                let status = match denial {
                    Denial::TooManyConnections => StatusCode::TOO_MANY_REQUESTS,
                    Denial::BadTarget
                    | Denial::OwnHost
                    | Denial::LocalName
                    | Denial::DenyRule
                    | Denial::Port
                    | Denial::NotAllowed
                    | Denial::Literal
                    | Denial::Address(_)
                    | Denial::NotTls
                    | Denial::NoServerName
                    | Denial::OtherServerName => StatusCode::FORBIDDEN,
                };
                let mut response = refusal(status, &denial.words(&shown, port));
                response.headers_mut().insert(DENIED_HEADER, HeaderValue::from_static(code));
                if status == StatusCode::TOO_MANY_REQUESTS {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
                }
                (response, None)
            }
            Err(NotOpened::Failed { status, code, words }) => {
                let entry = self.ledger.enter(&shown, port, Verdict::Failed, Some(code));
                if let Some(times) = entry.is_worth_a_word() {
                    let sandbox = &self.access.sandbox;
                    tracing::info!(%sandbox, host = shown, port, code, times, error = words, "egress did not connect");
                }
                (refusal(status, &format!("`{shown}:{port}` cannot be reached: {words}")), None)
            }
        }
    }

    fn log_denied(&self, entry: &Entry, shown: &str, port: u16, code: &str) {
        if let Some(times) = entry.is_worth_a_word() {
            tracing::info!(sandbox = %self.access.sandbox, host = shown, port, code, times, "egress denied");
        }
    }

    /// Decides, then connects: to the addresses that were checked and to no
    /// others, or through the upstream proxy.
    async fn open(&self, host: &Host, port: u16) -> Result<Prefixed<TcpStream>, NotOpened> {
        let (network, upstream, policy) = (&*self.common.network, &self.common.upstream, &self.access.policy);
        // Behind a proxy there may be no resolver at all, and names are not looked at.
        let has_addresses = upstream.is_none() || matches!(host, Host::Address(_));
        let own = self.common.own.now(network, has_addresses).await;
        let own = own.map_err(|error| failed("own_addresses", error))?;
        policy.decide(host, port, &own).map_err(NotOpened::Denied)?;
        let connect = async {
            if let Some(upstream) = upstream {
                let connected = upstream.connect(network, self.access.seat, host, port).await;
                return connected.map_err(|error| failed("upstream", error));
            }
            let addresses = match host {
                Host::Name(name) => self.resolve(name).await.map_err(|error| failed("resolve", error))?,
                Host::Address(address) => vec![*address],
            };
            check_addresses(&addresses, &own, &policy.deny).map_err(NotOpened::Denied)?;
            let stream = connect_any(network, &addresses, port).await.map_err(|error| failed("connect", error))?;
            Ok(Prefixed::new(Bytes::new(), stream))
        };
        tokio::time::timeout(OPEN_TIMEOUT, connect).await.unwrap_or_else(|_| {
            let words = format!("no connection within {} s", OPEN_TIMEOUT.as_secs());
            Err(NotOpened::Failed { status: StatusCode::GATEWAY_TIMEOUT, code: "timeout", words })
        })
    }

    /// The addresses of a name. Whoever gives up waiting does not end the look-up, which has a thread of its own.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let lookup = self.share.lookup().await;
        let (network, name) = (Arc::clone(&self.common.network), name.to_owned());
        let answer = tokio::spawn(async move {
            let answer = network.resolve(&name).await;
            drop(lookup);
            answer
        });
        answer.await?
    }

    /// Carries bytes both ways until both sides have closed, nothing moves any
    /// more, or the TLS greeting is not for the host that was asked for.
    async fn carry(
        &self,
        client: Prefixed<Stream>,
        mut target: Prefixed<TcpStream>,
        host: &Host,
        port: u16,
        entry: Arc<Entry>,
    ) {
        let activity = Arc::new(Activity::new());
        let mut client = Counted {
            inner: client,
            entry: Arc::clone(&entry),
            ledger: Arc::clone(&self.ledger),
            activity: activity.clone(),
        };
        if port == TLS_PORT {
            let hello = tokio::time::timeout(HELLO_TIMEOUT, read_hello(&mut client, host)).await;
            match hello.unwrap_or(Err(BadHello::Closed)) {
                Ok(hello) => {
                    if target.write_all(&hello).await.is_err() {
                        return;
                    }
                }
                Err(BadHello::Closed) => return,
                Err(BadHello::Denied(denial)) => {
                    let code = denial.code();
                    entry.deny(code);
                    self.log_denied(&entry, &self.access.mask.shown(&host.to_string()), port, code);
                    // Best effort: the connection is closed either way.
                    let _ = client.inner.write_all(&UNRECOGNIZED_NAME).await;
                    let _ = client.inner.shutdown().await;
                    return;
                }
            }
        }
        let (mut client, mut target) = (tokio::io::split(client), tokio::io::split(target));
        let both = async {
            let up = self.copy(&mut client.0, &mut target.1);
            let down = self.copy(&mut target.0, &mut client.1);
            tokio::try_join!(up, down)
        };
        let copied = tokio::select! {
            copied = both => copied.map(drop),
            () = idle(&activity) => Err(io::ErrorKind::TimedOut.into()),
        };
        if let Err(error) = copied {
            tracing::debug!(sandbox = %self.access.sandbox, port, %error, "a connection was cut");
        }
    }

    /// Copies one way to the end, no faster than the sandbox's share of its person's pace, and passes the end on.
    async fn copy(&self, from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let mut buffer = vec![0; COPY_BUFFER];
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return to.shutdown().await;
            }
            self.share.carry(read).await;
            to.write_all(&buffer[..read]).await?;
        }
    }
}

/// Dials a channel and waits, for as long as it takes, until a program has sent something.
async fn first_bytes(dialled: impl Future<Output = Result<Stream, DialError>>) -> Result<Prefixed<Stream>, DialError> {
    let mut stream = dialled.await?;
    let mut first = BytesMut::with_capacity(1024);
    if stream.read_buf(&mut first).await? == 0 {
        return Err(DialError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(Prefixed::new(first.freeze(), stream))
}

/// Between two attempts to dial.
#[expect(clippy::disallowed_methods, reason = "nothing tells that the agent listens again: try, ever more seldom")]
async fn wait(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// Waits until nothing has moved for [`IDLE_TIMEOUT`].
async fn idle(activity: &Activity) {
    loop {
        let last = activity.last();
        tokio::time::sleep_until((last + IDLE_TIMEOUT).into()).await;
        if activity.last() == last {
            return;
        }
    }
}

fn parse_target(authority: &str) -> Option<(Host, u16)> {
    let (host, port) = authority.rsplit_once(':')?;
    let port = if port.bytes().all(|b| b.is_ascii_digit()) { port.parse().ok()? } else { return None };
    Some((host.parse().ok()?, port))
}

/// What a hostile client wrote, fit for a log and an answer.
fn printable(text: &str) -> String {
    text.chars().take(SHOWN_MAX).map(|c| if c.is_ascii_graphic() && c != '`' { c } else { '?' }).collect()
}

fn failed(code: &'static str, error: impl std::error::Error) -> NotOpened {
    NotOpened::Failed { status: StatusCode::BAD_GATEWAY, code, words: error.to_string() }
}

fn refusal(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("polydev: {words}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
