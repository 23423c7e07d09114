//! A client that trusts the stand-in's authority and reaches hosts through its proxy.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use polydev_standin::Standin;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{io, net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) struct Client {
    proxy: SocketAddr,
    tls: TlsConnector,
}

/// An answer, as far as it came.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    /// The pieces in which it came.
    pub(crate) pieces: Vec<String>,
    pub(crate) text: String,
    /// Whether it ended as an answer does.
    pub(crate) whole: bool,
}

impl Answered {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

impl Client {
    pub(crate) fn of(standin: &Standin) -> Self {
        Self::trusting(standin.address(), standin.ca_pem())
    }

    pub(crate) fn trusting(proxy: SocketAddr, pem: &str) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { proxy, tls: TlsConnector::from(Arc::new(config)) }
    }

    /// What the proxy says to a CONNECT, and the connection.
    pub(crate) async fn connect(&self, host: &str) -> (String, TcpStream) {
        let mut stream = TcpStream::connect(self.proxy).await.unwrap();
        stream.write_all(format!("CONNECT {host}:443 HTTP/1.1\r\nhost: {host}:443\r\n\r\n").as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        (head.lines().next().unwrap_or_default().to_owned(), stream)
    }

    /// TLS with a host.
    pub(crate) async fn tls(&self, host: &str) -> io::Result<TlsStream<TcpStream>> {
        let (status, stream) = self.connect(host).await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        self.tls.connect(ServerName::try_from(host.to_owned()).unwrap(), stream).await
    }

    /// Sends a request and returns its answer before the body.
    pub(crate) async fn open(&self, request: Request<Full<Bytes>>) -> http::Response<Incoming> {
        let host = request.uri().host().unwrap().to_owned();
        // What is on this computer is reached without the proxy, and without TLS.
        let mut sender = match request.uri().scheme_str() {
            Some("http") => {
                connected(TcpStream::connect(request.uri().authority().unwrap().as_str()).await.unwrap()).await
            }
            _ => connected(self.tls(&host).await.unwrap()).await,
        };
        let (mut parts, body) = request.into_parts();
        parts.headers.insert("host", host.parse().unwrap());
        parts.uri = parts.uri.path_and_query().unwrap().as_str().parse().unwrap();
        sender.send_request(Request::from_parts(parts, body)).await.unwrap()
    }

    /// Asks the proxy itself, as a script does, for JSON.
    pub(crate) async fn plain(&self, method: &str, path: &str) -> serde_json::Value {
        let mut sender = connected(TcpStream::connect(self.proxy).await.unwrap()).await;
        let answered =
            read(sender.send_request(request(method, path, &[("host", "standin")], String::new())).await.unwrap())
                .await;
        assert_eq!(answered.status, 200, "{}", answered.text);
        answered.json()
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answered {
        read(self.open(request).await).await
    }

    pub(crate) async fn get(&self, url: &str, headers: &[(&str, &str)]) -> Answered {
        self.send(request("GET", url, headers, String::new())).await
    }

    pub(crate) async fn post(&self, url: &str, headers: &[(&str, &str)], body: serde_json::Value) -> Answered {
        self.send(request("POST", url, headers, body.to_string())).await
    }
}

/// HTTP over a stream.
async fn connected<S>(stream: S) -> SendRequest<Full<Bytes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(crate) fn request(method: &str, url: &str, headers: &[(&str, &str)], body: String) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::from(body)).unwrap()
}

pub(crate) async fn read(response: http::Response<Incoming>) -> Answered {
    let status = response.status();
    assert_ne!(status, StatusCode::SWITCHING_PROTOCOLS);
    let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    let (mut pieces, mut whole, mut body) = (Vec::new(), true, response.into_body());
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => pieces.extend(frame.into_data().map(|data| String::from_utf8(data.to_vec()).unwrap())),
            Err(_) => whole = false,
        }
    }
    let text = pieces.concat();
    Answered { status: status.as_u16(), retry_after, pieces, text, whole }
}
