//! A network of the tests' own, a sandbox's end of the channels, targets on loopback.

use async_trait::async_trait;
use ipnet::IpNet;
use polydev_sandbox::{
    Stream,
    egress::{Access, Attached, DialError, Gateway, GatewayConfig, HostRule, Mask, Network, Policy},
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, UnixStream},
    sync::mpsc,
};

/// An address of the public internet, which leads to whatever a test puts there.
pub(crate) const PUBLIC: &str = "93.184.216.34";

/// Names and addresses as a test says; everything asked of it is kept.
#[derive(Debug, Default)]
pub(crate) struct FakeNetwork {
    answers: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    doors: Mutex<HashMap<SocketAddr, SocketAddr>>,
    never: Mutex<HashSet<String>>,
    pub(crate) own: Mutex<Vec<IpNet>>,
    pub(crate) resolved: Mutex<Vec<String>>,
    pub(crate) connected: Mutex<Vec<SocketAddr>>,
}

impl FakeNetwork {
    /// One more answer for a name; the last one is given again and again.
    pub(crate) fn answer(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        self.answers.lock().unwrap().entry(name.to_owned()).or_default().push_back(addresses);
    }

    /// A name whose look-up has no end.
    pub(crate) fn never(&self, name: &str) {
        self.never.lock().unwrap().insert(name.to_owned());
    }

    /// What stands behind an address.
    pub(crate) fn door(&self, address: &str, port: u16, target: SocketAddr) {
        self.doors.lock().unwrap().insert((address.parse::<IpAddr>().unwrap(), port).into(), target);
    }

    /// A name with a public address, behind which `target` stands on 443 and 80.
    pub(crate) fn host(&self, name: &str, target: SocketAddr) {
        self.answer(name, &[PUBLIC]);
        self.door(PUBLIC, 443, target);
        self.door(PUBLIC, 80, target);
    }
}

#[async_trait]
impl Network for FakeNetwork {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.resolved.lock().unwrap().push(name.to_owned());
        let is_never = self.never.lock().unwrap().contains(name);
        if is_never {
            std::future::pending::<()>().await;
        }
        let mut answers = self.answers.lock().unwrap();
        let queue = answers.get_mut(name).ok_or_else(|| io::Error::other("no such name"))?;
        let answer = if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() };
        Ok(answer.unwrap())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.connected.lock().unwrap().push(address);
        let door = self.doors.lock().unwrap().get(&address).copied();
        TcpStream::connect(door.unwrap_or(address)).await
    }

    fn own_addresses(&self) -> io::Result<Vec<IpNet>> {
        Ok(self.own.lock().unwrap().clone())
    }
}

/// The agent's end: programs take the channels that the gateway has dialled.
pub(crate) struct Sandbox {
    pub(crate) way_out: Attached,
    pub(crate) channels: tokio::sync::Mutex<mpsc::UnboundedReceiver<UnixStream>>,
    pub(crate) dialled: Arc<AtomicUsize>,
}

pub(crate) fn policy(allow: &[&str], deny: &[&str], ports: &[u16]) -> Policy {
    let rules = |rules: &[&str]| rules.iter().map(|r| r.parse::<HostRule>().unwrap()).collect();
    Policy { allow: rules(allow), deny: rules(deny), ports: ports.to_vec() }
}

pub(crate) fn access(policy: Policy) -> Access {
    access_of("usr_ada", policy)
}

pub(crate) fn access_of(person: &str, policy: Policy) -> Access {
    let sandbox = "sbx_aaaaaaaaaaaaaaaa".parse().unwrap();
    Access { sandbox, person: person.to_owned(), seat: 3, policy, mask: Mask::default() }
}

impl Sandbox {
    pub(crate) fn start(config: GatewayConfig, network: &Arc<FakeNetwork>, policy: Policy) -> Self {
        Self::of(&Gateway::over(config, Arc::clone(network) as _), access(policy))
    }

    /// One of several at a gateway.
    pub(crate) fn of(gateway: &Gateway, access: Access) -> Self {
        let (tx, rx) = mpsc::unbounded_channel();
        let dialled = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&dialled);
        let way_out = gateway.attach(access, move || {
            let (tx, count) = (tx.clone(), Arc::clone(&count));
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                let (host, agent) = UnixStream::pair()?;
                tx.send(agent).map_err(|_| DialError::Gone)?;
                Ok(Box::new(host) as Stream)
            }
        });
        Self { way_out, channels: tokio::sync::Mutex::new(rx), dialled }
    }

    /// A program connects to the loopback proxy.
    pub(crate) async fn program(&self) -> UnixStream {
        self.channels.lock().await.recv().await.unwrap()
    }

    /// A program sends a CONNECT and reads the answer.
    pub(crate) async fn connect(&self, target: &str) -> (UnixStream, Answer) {
        let mut program = self.program().await;
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        program.write_all(request.as_bytes()).await.unwrap();
        let answer = Answer::read(&mut program).await;
        (program, answer)
    }
}

/// The head of an HTTP answer, and the body that its length announces.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Self {
        let head = read_head(stream).await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Self { status, head, body: String::new() };
        if let Some(len) = answer.header("content-length") {
            let mut body = vec![0; len.parse().unwrap()];
            stream.read_exact(&mut body).await.unwrap();
            answer.body = String::from_utf8(body).unwrap();
        }
        answer
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The refusal's code, having looked at the rest of it.
    pub(crate) fn denied(&self) -> &str {
        assert_eq!(self.status, 403, "{self:?}");
        assert_eq!(self.body.lines().count(), 1, "{self:?}");
        self.header("x-polydev-denied").unwrap()
    }
}

/// Reads up to and including an empty line, and not a byte more.
pub(crate) async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A server that gives every byte back and closes when the other side has.
pub(crate) async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    address
}

/// An address that refuses connections for as long as the socket lives: taken, and not listened on.
pub(crate) fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Sends `bytes` and reads as many back.
pub(crate) async fn round_trip(stream: &mut UnixStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).await.unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).await.unwrap();
    back
}

/// A real ClientHello; an address instead of a name sends none.
pub(crate) fn client_hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

/// What is left to read: empty when the other side has closed, cleanly or not.
pub(crate) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
    let _ = closed.expect("the other side closes");
    rest
}
