//! The gateway: attaches to a sandbox, answers its requests, carries the bytes.

use super::{
    address::OwnHost,
    ledger::{Activity, Connection, Entry, HostUsage, Ledger, Verdict},
    network::{Network, SystemNetwork},
    policy::{Denial, Host, Policy, check_addresses},
    sni::{BadHello, UNRECOGNIZED_NAME, read_hello},
    stream::{Counted, Prefixed},
    upstream::{UpstreamError, UpstreamProxy, connect_any},
};
use crate::{
    driver::{DriverError, SandboxId, Stream},
    guest::GuestError,
};
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
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Channels of a sandbox that wait for a program to connect.
const WAITING: usize = 4;
/// Channels of a sandbox at most; the rest of [`STREAMS_MAX`] is for jobs and files.
const CHANNELS: usize = STREAMS_MAX - 16;
/// The most bytes of a request's head.
const HEAD_MAX: usize = 64 * 1024;
/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the name's look-up and the connection may take together.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one of a name's addresses may take to answer.
pub(super) const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);
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

/// What every sandbox's way out has in common.
#[derive(Debug, Clone, Default)]
pub struct GatewayConfig {
    /// `egress.upstream_proxy`.
    pub upstream: Option<UpstreamProxy>,
    /// The host of `server.public_url`: no sandbox reaches it.
    pub public_host: Option<Host>,
}

/// Lets sandboxes out.
#[derive(Debug, Clone)]
pub struct Gateway {
    config: Arc<GatewayConfig>,
    network: Arc<dyn Network>,
}

/// Who goes out, and where to.
#[derive(Debug, Clone)]
pub struct Access {
    /// The sandbox, for the server's own log.
    pub sandbox: SandboxId,
    /// Whose it is: a key that stays the same. It chooses the upstream proxy's port.
    pub person: String,
    /// What may be reached.
    pub policy: Policy,
}

/// Why a channel to a sandbox could not be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The sandbox has ended: the gateway stops.
    #[error("the sandbox is gone")]
    Gone,
    /// Anything else: the gateway tries again.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<GuestError> for DialError {
    fn from(error: GuestError) -> Self {
        match error {
            GuestError::Driver(DriverError::Gone(_)) => Self::Gone,
            GuestError::Driver(
                DriverError::Exists(_)
                | DriverError::Image { .. }
                | DriverError::Unavailable { .. }
                | DriverError::Step { .. },
            )
            | GuestError::Agent { .. }
            | GuestError::Timeout { .. }
            | GuestError::Request { .. }
            | GuestError::Malformed { .. }
            | GuestError::Unexpected { .. }
            | GuestError::TooLarge { .. }
            | GuestError::Broken { .. } => Self::Io(io::Error::other(error)),
        }
    }
}

impl Gateway {
    /// A gateway over the host's own network.
    pub fn new(config: GatewayConfig) -> Self {
        Self::over(config, Arc::new(SystemNetwork::default()))
    }

    /// A gateway over another network.
    pub fn over(config: GatewayConfig, network: Arc<dyn Network>) -> Self {
        Self { config: Arc::new(config), network }
    }

    /// Gives a sandbox its way out. `dial` opens an egress channel to its agent,
    /// as [`crate::guest::Guest::egress`] does. It ends, with every
    /// connection, when the handle is dropped or `dial` says that the sandbox is gone.
    pub fn attach<D, F>(&self, access: Access, dial: D) -> Attached
    where
        D: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Stream, DialError>> + Send + 'static,
    {
        let ledger = Arc::new(Ledger::new());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let way_out = Arc::new(WayOut {
            gateway: self.clone(),
            access,
            ledger: Arc::clone(&ledger),
            stop: stop.clone(),
            tasks: tasks.clone(),
            channels: Arc::new(Semaphore::new(CHANNELS)),
        });
        let dial = Arc::new(dial);
        for _ in 0..WAITING {
            let (way_out, dial, stop) = (Arc::clone(&way_out), Arc::clone(&dial), stop.clone());
            tasks.spawn(async move { stop.run_until_cancelled(way_out.keep_one_waiting(&*dial)).await });
        }
        tasks.close();
        Attached { ledger, stop, tasks }
    }
}

/// A sandbox's way out. Dropping it closes every connection.
#[derive(Debug)]
pub struct Attached {
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Attached {
    /// When a byte last went either way, or else when it was attached.
    pub fn last_activity(&self) -> Instant {
        self.ledger.activity().last()
    }

    /// The last 500 connections, oldest first.
    pub fn log(&self) -> Vec<Connection> {
        self.ledger.log()
    }

    /// What went to and came from each host, by name.
    pub fn hosts(&self) -> Vec<HostUsage> {
        self.ledger.hosts()
    }

    /// What it has seen and will see, to be read after it is closed too.
    pub fn traffic(&self) -> Traffic {
        Traffic(Arc::clone(&self.ledger))
    }

    /// Closes every connection and waits until it is so; the log stays.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// What a sandbox's way out has seen. Cheap to clone; it keeps nothing open.
#[derive(Debug, Clone)]
pub struct Traffic(Arc<Ledger>);

impl Traffic {
    /// When a byte last went either way, or else when it was attached.
    pub fn last_activity(&self) -> Instant {
        self.0.activity().last()
    }

    /// The last 500 connections, oldest first.
    pub fn log(&self) -> Vec<Connection> {
        self.0.log()
    }

    /// What went to and came from each host, by name.
    pub fn hosts(&self) -> Vec<HostUsage> {
        self.0.hosts()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// One sandbox's way out, as its tasks see it.
struct WayOut {
    gateway: Gateway,
    access: Access,
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
    /// Dials a channel, waits for its first bytes, leaves it to a task of its
    /// own, and begins again.
    async fn keep_one_waiting<D, F>(self: Arc<Self>, dial: &D)
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
            if pause == REDIAL.0 {
                tracing::warn!(%sandbox, %error, "no egress channel to the sandbox: trying again");
            } else {
                tracing::debug!(%sandbox, %error, "still no egress channel to the sandbox");
            }
            wait(pause).await;
            pause = (pause * 2).min(REDIAL.1);
        }
    }

    /// Answers the one request of a channel and carries what follows it.
    async fn serve(&self, channel: Prefixed<Stream>) {
        self.ledger.activity().touch();
        let opened = Mutex::new(None);
        let service = service_fn(|request| async {
            let (response, connection) = self.answer(request).await;
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

    async fn answer(&self, mut request: Request<Incoming>) -> (Response<Full<Bytes>>, Option<Opened>) {
        if request.method() != Method::CONNECT {
            let words = "only CONNECT is served here: use this proxy for https";
            let mut response = refusal(StatusCode::METHOD_NOT_ALLOWED, words);
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("CONNECT"));
            return (response, None);
        }
        let named = request.uri().authority().map_or("", |authority| authority.as_str());
        let (shown, port, result) = match parse_target(named) {
            Some((host, port)) => (host.to_string(), port, self.open(&host, port).await.map(|target| (host, target))),
            None => (printable(named), 0, Err(NotOpened::Denied(Denial::BadTarget))),
        };
        match result {
            Ok((host, target)) => {
                let entry = self.ledger.enter(&shown, port, Verdict::Allowed, None);
                let client = hyper::upgrade::on(&mut request);
                (Response::new(Full::default()), Some(Opened { client, target, host, port, entry }))
            }
            Err(NotOpened::Denied(denial)) => {
                let (sandbox, code) = (&self.access.sandbox, denial.code());
                tracing::info!(%sandbox, host = shown, port, code, "egress denied");
                self.ledger.enter(&shown, port, Verdict::Denied, Some(code));
                let mut response = refusal(StatusCode::FORBIDDEN, &denial.words(&shown, port));
                response.headers_mut().insert(DENIED_HEADER, HeaderValue::from_static(code));
                (response, None)
            }
            Err(NotOpened::Failed { status, code, words }) => {
                let sandbox = &self.access.sandbox;
                tracing::info!(%sandbox, host = shown, port, code, error = words, "egress did not connect");
                self.ledger.enter(&shown, port, Verdict::Failed, Some(code));
                (refusal(status, &format!("`{shown}:{port}` cannot be reached: {words}")), None)
            }
        }
    }

    /// Decides, then connects: to the addresses that were checked and to no
    /// others, or through the upstream proxy.
    async fn open(&self, host: &Host, port: u16) -> Result<Prefixed<TcpStream>, NotOpened> {
        let (network, config) = (&*self.gateway.network, &self.gateway.config);
        let own = OwnHost {
            addresses: network.own_addresses().map_err(|error| failed("own_addresses", error))?,
            public: config.public_host.clone(),
        };
        let policy = &self.access.policy;
        policy.decide(host, port, &own).map_err(NotOpened::Denied)?;
        let connect = async {
            if let Some(upstream) = &config.upstream {
                let connected = upstream.connect(network, &self.access.person, host, port).await;
                return connected.map_err(|error: UpstreamError| failed("upstream", error));
            }
            let addresses = match host {
                Host::Name(name) => network.resolve(name).await.map_err(|error| failed("resolve", error))?,
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
                    let (sandbox, code) = (&self.access.sandbox, denial.code());
                    tracing::info!(%sandbox, %host, port, code, "egress denied");
                    entry.deny(code);
                    // Best effort: the connection is closed either way.
                    let _ = client.inner.write_all(&UNRECOGNIZED_NAME).await;
                    let _ = client.inner.shutdown().await;
                    return;
                }
            }
        }
        let copied = tokio::select! {
            copied = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut target, COPY_BUFFER, COPY_BUFFER) => copied,
            () = idle(&activity) => Err(io::ErrorKind::TimedOut.into()),
        };
        if let Err(error) = copied {
            tracing::debug!(sandbox = %self.access.sandbox, %host, port, %error, "a connection was cut");
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
