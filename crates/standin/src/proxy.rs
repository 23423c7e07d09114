//! The way in: CONNECT, TLS as the host that was asked for, then HTTP/1.1 to that host's provider.

use crate::{
    Ledger, Provider,
    authority::Authority,
    control,
    received::Received,
    record::{Log, Recorded},
    reply::{self, Reply},
};
use axum::body::Body;
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
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

/// What all connections share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) authority: Arc<Authority>,
    pub(crate) ledger: Ledger,
    pub(crate) log: Log,
}

/// Serves until it is dropped; every connection ends with it.
pub(crate) async fn serve(listener: TcpListener, shared: Shared) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, shared.clone()));
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

async fn connection(stream: TcpStream, shared: Shared) {
    // Small pieces of a stream are to leave at once.
    let _ = stream.set_nodelay(true);
    let tunnel: Mutex<Option<(Provider, String, OnUpgrade)>> = Mutex::default();
    let open = service_fn(|mut request: Request<Incoming>| {
        let reply = control::answer(&request, &shared.ledger).unwrap_or_else(|| {
            let (status, asked) = connect(&request, &shared.log);
            if let Some((provider, host)) = asked {
                let upgrade = hyper::upgrade::on(&mut request);
                *tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some((provider, host, upgrade));
            }
            let mut reply = Reply::new(Body::empty());
            *reply.status_mut() = status;
            reply
        });
        async move { Ok::<_, Infallible>(reply) }
    });
    if let Err(e) = http1::Builder::new().serve_connection(TokioIo::new(stream), open).with_upgrades().await {
        tracing::debug!(error = %e, "a connection to the proxy ended");
    }
    let Some((provider, host, upgrade)) = tunnel.into_inner().unwrap_or_else(PoisonError::into_inner) else { return };
    if let Err(e) = inside(provider, &host, upgrade, &shared).await {
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
    shared: &Shared,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let acceptor = TlsAcceptor::from(shared.authority.server_config(host)?);
    let stream = acceptor.accept(TokioIo::new(upgrade.await?)).await?;
    let service =
        service_fn(|request| async move { Ok::<_, Infallible>(respond(provider, host, request, shared).await) });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?;
    Ok(())
}

async fn respond(provider: Provider, host: &str, request: Request<Incoming>, shared: &Shared) -> Reply {
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
            provider.answer(&received, &shared.ledger)
        }
        None => reply::json(400, &json!({"error": {"message": "the body could not be read"}})),
    };
    let mut record = received.record();
    record.status = reply.status().as_u16();
    shared.log.add(record);
    reply::due(reply).await
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
