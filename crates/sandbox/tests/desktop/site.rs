//! The other end of the sandbox's way out: one site with a certificate of an authority of its own, and a list of all
//! that was asked for.

use anyhow::{Context, Result};
use polydev_sandbox::{Guest, Stream};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio_rustls::TlsAcceptor;

/// How many connections it takes at a time.
const CONNECTIONS: usize = 8;

pub(crate) const NAME: &str = "signin.example.com";

/// A page that is blue all over.
const PAGE: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<body style=\"background:#0000c0\">";

pub(crate) struct Site {
    /// The authority's certificate, behind another one.
    pub(crate) pem: String,
    /// What was asked of the proxy, without the version.
    pub(crate) asked: Arc<Mutex<BTreeSet<String>>>,
    tls: TlsAcceptor,
}

impl Site {
    pub(crate) fn new() -> Result<Self> {
        let authority = |name: &str| -> Result<_> {
            let mut params = CertificateParams::new(Vec::new())?;
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let key = KeyPair::generate()?;
            let pem = params.self_signed(&key)?.pem();
            Ok((pem, Issuer::new(params, key)))
        };
        let (another, _) = authority("Another authority")?;
        let (own, issuer) = authority("An authority of a test")?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([NAME.to_owned()])?.signed_by(&key, &issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        let pem = format!("# two authorities\n{another}\nand\n{own}");
        Ok(Self { pem, asked: Arc::default(), tls: TlsAcceptor::from(Arc::new(config)) })
    }

    /// Answers whatever comes out of this sandbox, until it ends.
    pub(crate) fn serve(&self, guest: &Guest) {
        for _ in 0..CONNECTIONS {
            let (guest, asked, tls) = (guest.clone(), self.asked.clone(), self.tls.clone());
            tokio::spawn(async move {
                while let Ok(stream) = guest.egress().await {
                    // One that gives up is its own business.
                    let _ = answer(stream, &asked, &tls).await;
                }
            });
        }
    }
}

async fn answer(stream: Stream, asked: &Mutex<BTreeSet<String>>, tls: &TlsAcceptor) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let head = head(&mut stream).await?;
    let first = head.lines().next().context("no request")?;
    let what = first.trim_end_matches(" HTTP/1.1").to_owned();
    asked.lock().unwrap().insert(what.clone());
    if what != format!("CONNECT {NAME}:443") {
        return Ok(stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await?);
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let mut page = BufReader::new(tls.accept(stream).await?);
    self::head(&mut page).await?;
    page.write_all(PAGE.as_bytes()).await?;
    Ok(page.shutdown().await?)
}

/// Reads to the end of a request's head.
async fn head(stream: &mut BufReader<impl AsyncRead + AsyncWrite + Unpin>) -> Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await? > 0 {}
    Ok(head)
}
