//! Ways through the network: past the gateway, and through it.

use crate::{At, Refused, Tried, sys};
use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddr, UnixStream},
    },
    time::Duration,
};

/// How long a canary may take to sing.
const WITHIN: Duration = Duration::from_secs(5);

/// How long one listens to others before it is said that they are not heard.
const LISTEN: Duration = Duration::from_secs(2);

/// The most that is read of anything.
const READ_MAX: u64 = 64 * 1024;

/// The most times that a client follows to another place.
const REDIRECTS_MAX: usize = 5;

pub(crate) fn try_one(args: &[&str]) -> Option<Tried> {
    Some(match args {
        ["tcp", to] => tcp(to),
        ["udp", to] => udp(to),
        ["abstract", name] => unix(UnixAddr::from_abstract_name(name)),
        ["unix", path] => unix(UnixAddr::from_pathname(path)),
        ["raw", family, kind, protocol, word] => raw(number(family)?, number(kind)?, number(protocol)?, word),
        ["socket", family, kind, protocol] => {
            open_socket(number(family)?, number(kind)?, number(protocol)?).map(|_| "a socket".to_owned())
        }
        ["connect", proxy, target] => connect(proxy, target).and_then(|stream| sing(stream, &[])),
        ["connect", proxy, target, hello] => {
            let hello: Vec<u8> = unhex(hello)?;
            connect(proxy, target).and_then(|stream| sing(stream, &hello))
        }
        ["twice", proxy, target] => twice(proxy, target),
        ["fetch", proxy, url] => fetch(proxy, url),
        ["sing", port, canary] => sing_for_ever(number(port)?.try_into().ok()?, canary),
        _ => return None,
    })
}

fn number(text: &str) -> Option<i32> {
    text.parse().ok()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

fn dial(to: &str) -> Result<TcpStream, Refused> {
    let address: SocketAddr = to.parse().map_err(|_| Refused { at: "address", why: to.to_owned() })?;
    let stream = TcpStream::connect_timeout(&address, WITHIN).at("connect")?;
    stream.set_read_timeout(Some(WITHIN)).at("connect")?;
    Ok(stream)
}

fn read_all(from: impl Read) -> Result<Vec<u8>, Refused> {
    let mut bytes = Vec::new();
    from.take(READ_MAX).read_to_end(&mut bytes).at("read")?;
    Ok(bytes)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn tcp(to: &str) -> Tried {
    Ok(text(&read_all(dial(to)?)?))
}

fn udp(to: &str) -> Tried {
    let address: SocketAddr = to.parse().map_err(|_| Refused { at: "address", why: to.to_owned() })?;
    let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).at("bind")?;
    socket.set_read_timeout(Some(WITHIN)).at("bind")?;
    socket.connect(address).at("connect")?;
    socket.send(b"?").at("send")?;
    let mut bytes = [0; 256];
    let read = socket.recv(&mut bytes).at("receive")?;
    Ok(text(&bytes[..read]))
}

fn unix(address: io::Result<UnixAddr>) -> Tried {
    let stream = UnixStream::connect_addr(&address.at("address")?).at("connect")?;
    stream.set_read_timeout(Some(WITHIN)).at("connect")?;
    // An agent answers that this is no message; a canary may have sung and gone.
    let _ = (&stream).write_all(&[0, 0, 0, 2, b'{', b'}']);
    let mut bytes = [0; 1024];
    let read = (&stream).read(&mut bytes).at("read")?;
    Ok(text(&bytes[..read]))
}

fn open_socket(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd, Refused> {
    use sys::Arg::Int;
    let kind = kind | libc::SOCK_CLOEXEC;
    sys::open(libc::SYS_socket, [Int(family.into()), Int(kind.into()), Int(protocol.into())]).at("socket")
}

/// Listens to what others send, until one of them sends this word.
fn raw(family: i32, kind: i32, protocol: i32, word: &str) -> Tried {
    let socket = open_socket(family, kind, protocol)?;
    rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, Some(LISTEN))
        .map_err(io::Error::from)
        .at("socket")?;
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let (read, _) = rustix::net::recv(&socket, &mut bytes, rustix::net::RecvFlags::empty())
            .map_err(io::Error::from)
            .at("receive")?;
        if text(&bytes[..read]).contains(word) {
            return Ok(word.to_owned());
        }
    }
}

/// Asks the sandbox's proxy for a connection.
fn connect(proxy: &str, target: &str) -> Result<TcpStream, Refused> {
    let mut stream = dial(proxy)?;
    write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").at("ask")?;
    let head = read_head(&mut stream)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status == "200" {
        return Ok(stream);
    }
    let denied = header(&head, "x-polydev-denied");
    Err(Refused { at: "gateway", why: denied.unwrap_or(status).to_owned() })
}

fn read_head(stream: &mut TcpStream) -> Result<String, Refused> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).at("answer")?;
        head.push(byte[0]);
    }
    Ok(text(&head))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// Says what is to be said first and reads to the end. An alert of TLS is a refusal.
fn sing(mut stream: TcpStream, hello: &[u8]) -> Tried {
    stream.write_all(hello).at("greet")?;
    let bytes = read_all(stream)?;
    match bytes[..] {
        [21, 3, _, 0, 2, level, alert] => Err(Refused { at: "alert", why: format!("{level}:{alert}") }),
        _ => Ok(text(&bytes)),
    }
}

/// Says a canary to whoever connects, for as long as this sandbox lives.
fn sing_for_ever(port: u16, canary: &str) -> Tried {
    let listener = TcpListener::bind(("127.0.0.1", port)).at("bind")?;
    loop {
        let (mut stream, _) = listener.accept().at("accept")?;
        stream.write_all(canary.as_bytes()).at("write")?;
    }
}

/// The same name two times, if the first leads to what is public.
fn twice(proxy: &str, target: &str) -> Tried {
    let first = sing(connect(proxy, target)?, &[])?;
    if first != "public" {
        return Ok(first);
    }
    match connect(proxy, target) {
        Ok(stream) => sing(stream, &[]),
        Err(Refused { at, why }) => Err(Refused { at, why: format!("{why} after public") }),
    }
}

/// Fetches a page as a client does that follows wherever it is sent.
fn fetch(proxy: &str, url: &str) -> Tried {
    let mut url = url.to_owned();
    for _ in 0..REDIRECTS_MAX {
        let rest = url.strip_prefix("http://").ok_or_else(|| Refused { at: "url", why: url.clone() })?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let target = if host.ends_with(']') || !host.contains(':') { format!("{host}:80") } else { host.to_owned() };
        let mut stream = connect(proxy, &target)?;
        write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").at("ask")?;
        let head = read_head(&mut stream)?;
        match header(&head, "location") {
            Some(next) => url = next.to_owned(),
            None => return Ok(text(&read_all(stream)?)),
        }
    }
    Err(Refused { at: "url", why: "too many places".to_owned() })
}
