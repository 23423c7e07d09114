//! The internet as a test has it, and gateways into it: as the server has them, or without a rule.

use crate::{
    egress::{FakeNetwork, PUBLIC, access, policy},
    house::Inside,
    network::singer,
};
use async_trait::async_trait;
use ipnet::IpNet;
use polydev_sandbox::{
    Stream,
    egress::{Attached, Gateway, GatewayConfig, HostRule, Network},
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The name of the server's public URL, what it leads to, and an address of the host itself.
pub(crate) const SERVER: &str = "polydev.example.com";
const SERVER_OUTSIDE: &str = "93.184.216.40";
const SERVER_ADDRESS: &str = "8.8.4.4";

/// What a gateway lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Without {
    /// Every rule: it connects to whatever it is asked for, as the system's resolver reads it.
    AllRules,
    /// What the public URL is.
    PublicUrl,
    /// What this host's addresses are.
    OwnAddresses,
    /// That the port is not open.
    Port,
    /// That the name is not one of few.
    Names,
    /// That the name is denied.
    Deny,
    /// That it connects to the address that it looked at.
    Pinning,
}

/// What stands behind the addresses.
pub(crate) struct Places {
    singer: SocketAddr,
    public: SocketAddr,
    greeted: SocketAddr,
    page: SocketAddr,
    redirects: SocketAddr,
}

/// What a server does with a connection.
#[derive(Debug, Clone)]
enum Speaks {
    /// It says this after it was greeted.
    AfterAGreeting(String),
    /// It answers a request with this.
    Page(String),
    /// It sends whoever asks for `/NEXT` to `http://NEXT/`.
    Redirects,
}

impl Speaks {
    async fn to(self, mut stream: TcpStream) -> io::Result<()> {
        let text = match self {
            Self::AfterAGreeting(text) => {
                let _greeting = stream.read(&mut [0; 4096]).await?;
                text
            }
            Self::Page(text) => {
                head_of(&mut stream).await?;
                format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{text}")
            }
            Self::Redirects => {
                let head = head_of(&mut stream).await?;
                let next = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
                format!("HTTP/1.1 302 Found\r\nlocation: http://{next}/\r\nconnection: close\r\n\r\n")
            }
        };
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await?;
        // What is left unread would cut off what was said.
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
    }

    async fn serve(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(self.clone().to(stream));
            }
        });
        at
    }
}

impl Places {
    pub(crate) async fn new(canary: &str) -> Self {
        Self {
            singer: singer([127, 0, 0, 1], canary).await,
            public: singer([127, 0, 0, 1], "public").await,
            greeted: Speaks::AfterAGreeting(canary.to_owned()).serve().await,
            page: Speaks::Page(canary.to_owned()).serve().await,
            redirects: Speaks::Redirects.serve().await,
        }
    }

    /// The internet and what is nearer, as of now.
    pub(crate) fn network(&self) -> Arc<FakeNetwork> {
        let network = FakeNetwork::default();
        for (name, address) in [
            ("api.example.com", PUBLIC),
            ("x.other.example.com", PUBLIC),
            ("denied.example.com", PUBLIC),
            (SERVER, SERVER_OUTSIDE),
            ("alias.example.org", SERVER_OUTSIDE),
            ("redirect.example.org", "1.1.1.1"),
            ("inner.example.org", "10.0.0.5"),
            ("looks-public.example.org", "::ffff:169.254.169.254"),
            ("host.example.org", SERVER_ADDRESS),
            ("metadata.google.internal", "169.254.169.254"),
            ("localhost", "127.0.0.1"),
            ("printer.local", "192.168.1.1"),
            ("intranet", "10.0.0.5"),
        ] {
            network.answer(name, &[address]);
        }
        // One that is public when it is looked at, and private when it is connected to.
        network.answer("rebind.example.org", &["1.0.0.1"]);
        network.answer("rebind.example.org", &["10.0.0.5"]);
        for address in NEAR.iter().chain(&[SERVER_ADDRESS, SERVER_OUTSIDE, PUBLIC]) {
            network.door(address, 80, self.singer);
        }
        network.door(PUBLIC, 443, self.greeted);
        network.door(PUBLIC, 22, self.singer);
        network.door("1.1.1.1", 80, self.redirects);
        network.door("1.0.0.1", 80, self.public);
        for address in ["169.254.169.254", "10.0.0.5", "127.0.0.1"] {
            network.door(address, 4000, self.page);
        }
        network.own.lock().unwrap().push(SERVER_ADDRESS.parse::<IpAddr>().unwrap().into());
        Arc::new(network)
    }
}

/// The widest that can be allowed.
pub(crate) const WIDEST: &[&str] = &["*", "0.0.0.0/0", "::/0"];

/// Very little.
pub(crate) const FEW: &[&str] = &["other.example.com"];

/// Addresses that are no sandbox's to reach.
const NEAR: &[&str] = &[
    "127.0.0.1",
    "::1",
    "0.0.0.0",
    "10.0.0.5",
    "172.16.3.4",
    "192.168.1.1",
    "100.64.3.2",
    "fd00::1",
    "169.254.1.1",
    "fe80::1",
    "169.254.169.254",
    "100.100.100.200",
    "168.63.129.16",
    "fd00:ec2::254",
    "::ffff:10.0.0.5",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a00:5",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:5",
    "::a00:5",
    "2002:a00:5::1",
    "2001:0:a00:5::1",
];

/// Asks a name again when it is connected to.
#[derive(Debug)]
struct Forgetful {
    network: Arc<FakeNetwork>,
    asked: Mutex<String>,
}

#[async_trait]
impl Network for Forgetful {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        *self.asked.lock().unwrap() = name.to_owned();
        self.network.resolve(name).await
    }

    async fn connect(&self, looked_at: SocketAddr) -> io::Result<TcpStream> {
        let name = self.asked.lock().unwrap().clone();
        let address = self.network.resolve(&name).await?[0];
        self.network.connect((address, looked_at.port()).into()).await
    }

    fn own_addresses(&self) -> io::Result<Vec<IpNet>> {
        self.network.own_addresses()
    }
}

/// Up to and including an empty line, and not a byte more.
async fn head_of(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    String::from_utf8(head).map_err(io::Error::other)
}

/// A proxy as many are: it connects to whatever it is asked for.
async fn open_proxy(network: &FakeNetwork, mut program: Stream) -> io::Result<()> {
    let head = head_of(&mut program).await?;
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (host, port) = target.rsplit_once(':').ok_or(io::ErrorKind::InvalidInput)?;
    let port = port.parse().map_err(io::Error::other)?;
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    let address = match (host.parse(), network.resolve(&host).await) {
        (Ok(address), _) => address,
        (Err(_), Ok(addresses)) => addresses[0],
        // The system's resolver reads numbers in all their spellings.
        (Err(_), Err(_)) => tokio::net::lookup_host((host, 0)).await?.next().ok_or(io::ErrorKind::NotFound)?.ip(),
    };
    let mut target = network.connect((address, port).into()).await?;
    program.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    tokio::io::copy_bidirectional(&mut program, &mut target).await.map(drop)
}

/// What a sandbox's proxy leads to, for as long as it lives.
#[expect(dead_code, reason = "what is in it works by being there")]
pub(crate) enum WayOut {
    Gateway(Attached),
    Open(JoinSet<()>),
}

/// Gives a sandbox its way out, to the names and networks of `allow`.
pub(crate) fn way_out(inside: &Inside, network: Arc<FakeNetwork>, allow: &[&str], without: Option<Without>) -> WayOut {
    let guest = inside.guest.clone();
    if without == Some(Without::AllRules) {
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok(stream) = guest.egress().await {
                // One after the other is enough for a program that tries.
                let _ = open_proxy(&network, stream).await;
            }
        });
        return WayOut::Open(tasks);
    }
    let mut allowed = policy(allow, &["denied.example.com"], &[80, 443, 4000]);
    let mut config = GatewayConfig { public_host: Some(SERVER.parse().unwrap()), ..GatewayConfig::default() };
    let mut over: Arc<dyn Network> = network.clone();
    match without {
        Some(Without::PublicUrl) => config.public_host = None,
        Some(Without::OwnAddresses) => network.own.lock().unwrap().clear(),
        Some(Without::Port) => allowed.ports.push(22),
        Some(Without::Names) => allowed.allow.push(HostRule::AnyName),
        Some(Without::Deny) => allowed.deny.clear(),
        Some(Without::Pinning) => over = Arc::new(Forgetful { network, asked: Mutex::default() }),
        Some(Without::AllRules) | None => {}
    }
    WayOut::Gateway(Gateway::over(config, over).attach(access(allowed), move || {
        let guest = guest.clone();
        async move { Ok(guest.egress().await?) }
    }))
}
