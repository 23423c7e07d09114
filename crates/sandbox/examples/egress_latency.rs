//! What the gateway adds to a connection and to a round trip, beside direct TCP.
//!
//! `cargo run -p polydev-sandbox --example egress_latency [PAIRS]`
//!
//! Both roads end at one echo server on loopback and alternate. The gateway's
//! road is that of a sandbox without the agent: a unix socket, CONNECT, the
//! policy, a ClientHello that is read and compared (where `tls` is said), TCP.

use async_trait::async_trait;
use polydev_sandbox::{
    Stream,
    egress::{Access, DialError, Gateway, GatewayConfig, Mask, Network, Policy},
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::mpsc,
};

const HOST: &str = "echo.example.com";
const ROUND_TRIPS: u32 = 50;

/// One name, whose public address leads to the echo server.
#[derive(Debug)]
struct OneHost(SocketAddr);

#[async_trait]
impl Network for OneHost {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![Ipv4Addr::new(1, 1, 1, 1).into()])
    }

    async fn connect(&self, _: SocketAddr) -> io::Result<TcpStream> {
        direct(self.0).await
    }

    fn own_addresses(&self) -> io::Result<Vec<ipnet::IpNet>> {
        Ok(Vec::new())
    }
}

async fn direct(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Gives every byte back.
async fn echo(listener: TcpListener) -> io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let (mut read, mut write) = stream.split();
            tokio::io::copy(&mut read, &mut write).await
        });
    }
}

async fn there_and_back(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    let mut back = vec![0; bytes.len()];
    stream.write_all(bytes).await?;
    stream.read_exact(&mut back).await.map(drop)
}

/// The time of one round trip of 64 bytes, on average over [`ROUND_TRIPS`].
async fn round_trip(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<Duration> {
    let begun = Instant::now();
    for _ in 0..ROUND_TRIPS {
        there_and_back(stream, &[7; 64]).await?;
    }
    Ok(begun.elapsed() / ROUND_TRIPS)
}

async fn connect(stream: &mut UnixStream, port: u16) -> anyhow::Result<()> {
    stream.write_all(format!("CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        anyhow::ensure!(stream.read_buf(&mut answer).await? > 0, "the gateway closed");
    }
    anyhow::ensure!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    Ok(())
}

fn client_hello() -> anyhow::Result<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let mut client = rustls::ClientConnection::new(Arc::new(config), HOST.try_into()?)?;
    let mut hello = Vec::new();
    client.write_tls(&mut hello)?;
    Ok(hello)
}

#[expect(clippy::print_stdout, reason = "a program for people")]
fn tell(what: &str, mut direct: Vec<Duration>, mut gateway: Vec<Duration>) {
    direct.sort();
    gateway.sort();
    let at = |times: &[Duration], percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    for percent in [50, 95] {
        let (direct, gateway) = (at(&direct, percent), at(&gateway, percent));
        println!(
            "{what:<22} p{percent}  direct {direct:.3} ms  gateway {gateway:.3} ms  added {:+.3} ms",
            gateway - direct
        );
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let pairs: usize = std::env::args().nth(1).map_or(Ok(300), |pairs| pairs.parse())?;
    anyhow::ensure!(pairs > 0, "at least one pair");
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(echo(listener));

    let (tx, mut programs) = mpsc::unbounded_channel();
    let policy = Policy { allow: vec![HOST.parse()?], deny: Vec::new(), ports: vec![443, 80] };
    let (sandbox, mask) = ("sbx_aaaaaaaaaaaaaaaa".parse()?, Mask::default());
    let access = Access { sandbox, person: "usr_ada".to_owned(), seat: 0, policy, mask };
    let gateway = Gateway::over(GatewayConfig::default(), Arc::new(OneHost(address)));
    let _way_out = gateway.attach(access, move || {
        let tx = tx.clone();
        async move {
            let (host, agent) = UnixStream::pair()?;
            tx.send(agent).map_err(|_| DialError::Gone)?;
            Ok(Box::new(host) as Stream)
        }
    });

    for (port, first) in [(80, vec![7; 64]), (443, client_hello()?)] {
        let (mut direct_open, mut direct_trip, mut open, mut trip) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..pairs {
            let begun = Instant::now();
            let mut stream = direct(address).await?;
            there_and_back(&mut stream, &first).await?;
            direct_open.push(begun.elapsed());
            direct_trip.push(round_trip(&mut stream).await?);

            let mut stream = programs.recv().await.ok_or_else(|| anyhow::anyhow!("the gateway stopped"))?;
            let begun = Instant::now();
            connect(&mut stream, port).await?;
            there_and_back(&mut stream, &first).await?;
            open.push(begun.elapsed());
            trip.push(round_trip(&mut stream).await?);
        }
        let kind = if port == 443 { "tls" } else { "plain" };
        tell(&format!("{kind}: connect and first"), direct_open, open);
        tell(&format!("{kind}: round trip"), direct_trip, trip);
    }
    Ok(())
}
