//! The way in: CONNECT, TLS as the host that was asked for, then HTTP/1.1 to that host's provider.

use crate::{
    authority::Authority,
    claude, codex, gemini,
    record::{Log, Recorded},
    reply::{self, Reply},
};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::{
    convert::Infallible,
    io::Read,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// The largest body that is read, in bytes, compressed or not: well above what
/// the tools send (about 100 kB).
const MAX_REQUEST: usize = 32 * 1024 * 1024;

/// Whom the stand-in plays.
#[derive(Debug, Clone, Copy)]
enum Provider {
    Claude,
    Codex,
    Gemini,
}

impl Provider {
    fn by_host(host: &str) -> Option<Self> {
        [(claude::HOSTS, Self::Claude), (codex::HOSTS, Self::Codex), (gemini::HOSTS, Self::Gemini)]
            .into_iter()
            .find(|(hosts, _)| hosts.contains(&host))
            .map(|(_, provider)| provider)
    }

    fn answer(self, request: &Received) -> Reply {
        match self {
            Self::Claude => claude::answer(request),
            Self::Codex => codex::answer(request),
            Self::Gemini => gemini::answer(request),
        }
    }
}

/// A request, read whole.
pub(crate) struct Received {
    pub(crate) host: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The token of `Authorization: Bearer`.
    pub(crate) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// A parameter of the query, as it was sent.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The key or token that came with it.
    fn secret(&self) -> Option<&str> {
        self.header("x-api-key")
            .or_else(|| self.header("x-goog-api-key"))
            .or_else(|| self.bearer())
            .or_else(|| self.parameter("key"))
    }

    fn record(&self) -> Recorded {
        let query: Vec<&str> =
            self.query.split('&').map(|pair| if pair.starts_with("key=") { "key=…" } else { pair }).collect();
        let mark = if self.query.is_empty() { "" } else { "?" };
        let path = format!("{}{mark}{}", self.path, query.join("&"));
        Recorded::new(&self.host, self.method.as_str(), &path, self.secret(), &self.headers, &self.body)
    }
}

/// Serves until it is dropped; every connection ends with it.
pub(crate) async fn serve(listener: TcpListener, authority: Arc<Authority>, log: Log) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, authority.clone(), log.clone()));
                }
                Err(e) => {
                    // Out of file descriptors, say: the next ended connection frees one.
                    tracing::warn!(error = %e, "a connection could not be accepted");
                    connections.join_next().await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, authority: Arc<Authority>, log: Log) {
    // Small pieces of a stream are to leave at once.
    let _ = stream.set_nodelay(true);
    let tunnel: Mutex<Option<(Provider, String, OnUpgrade)>> = Mutex::default();
    let open = service_fn(|mut request: Request<Incoming>| {
        let (status, asked) = connect(&request, &log);
        if let Some((provider, host)) = asked {
            let upgrade = hyper::upgrade::on(&mut request);
            *tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some((provider, host, upgrade));
        }
        async move {
            let mut reply = Reply::new(Body::empty());
            *reply.status_mut() = status;
            Ok::<_, Infallible>(reply)
        }
    });
    if let Err(e) = http1::Builder::new().serve_connection(TokioIo::new(stream), open).with_upgrades().await {
        tracing::debug!(error = %e, "a connection to the proxy ended");
    }
    let Some((provider, host, upgrade)) = tunnel.into_inner().unwrap_or_else(PoisonError::into_inner) else { return };
    if let Err(e) = inside(provider, &host, upgrade, &authority, &log).await {
        tracing::debug!(host, error = %e, "a tunnel ended");
    }
}

/// The status of a request to the proxy itself, and what to play if it is a CONNECT to a host known here.
fn connect(request: &Request<Incoming>, log: &Log) -> (StatusCode, Option<(Provider, String)>) {
    let uri = request.uri();
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    let port = uri.port_u16().map(|port| port.to_string()).unwrap_or_default();
    let provider = Provider::by_host(&host);
    let (status, asked) = match (request.method() == Method::CONNECT, provider) {
        (true, Some(provider)) => (StatusCode::OK, Some((provider, host.clone()))),
        (true, None) => (StatusCode::BAD_GATEWAY, None),
        (false, _) => (StatusCode::METHOD_NOT_ALLOWED, None),
    };
    let mut record = Recorded::new(&host, request.method().as_str(), &port, None, request.headers(), &[]);
    record.status = status.as_u16();
    log.add(record);
    (status, asked)
}

async fn inside(
    provider: Provider,
    host: &str,
    upgrade: OnUpgrade,
    authority: &Authority,
    log: &Log,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let acceptor = TlsAcceptor::from(authority.server_config(host)?);
    let stream = acceptor.accept(TokioIo::new(upgrade.await?)).await?;
    let service = service_fn(|request| async move { Ok::<_, Infallible>(respond(provider, host, request, log).await) });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
    Ok(())
}

async fn respond(provider: Provider, host: &str, request: Request<Incoming>, log: &Log) -> Reply {
    let (parts, body) = request.into_parts();
    let mut received = Received {
        host: host.to_owned(),
        method: parts.method,
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: Bytes::new(),
    };
    let read = Limited::new(body, MAX_REQUEST).collect().await.map(|body| body.to_bytes());
    let reply = match read.ok().and_then(|body| decompress(&received, body)) {
        Some(body) => {
            received.body = body;
            provider.answer(&received)
        }
        None => reply::json(400, &json!({"error": {"message": "the body could not be read"}})),
    };
    let mut record = received.record();
    record.status = reply.status().as_u16();
    log.add(record);
    reply
}

fn decompress(request: &Received, body: Bytes) -> Option<Bytes> {
    if request.header(header::CONTENT_ENCODING.as_str()) != Some("zstd") {
        return Some(body);
    }
    let mut plain = Vec::new();
    let decoder = zstd::stream::read::Decoder::new(&body[..]).ok()?;
    decoder.take(MAX_REQUEST as u64).read_to_end(&mut plain).ok()?;
    Some(plain.into())
}
