//! The operator's own proxy between the gateway and the internet.

use super::{network::Network, policy::Host, stream::Prefixed};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    str::FromStr,
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_socks::tcp::Socks5Stream;

/// How long one of a name's addresses may take to answer.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);
/// RFC 1929: the longest user name or password that SOCKS5 can carry.
const SOCKS_LOGIN_MAX: usize = 255;

/// `egress.upstream_proxy`: `http://[user:pass@]host:port` or `socks5://…`,
/// where `port` may be a range such as `10001-10100`.
#[derive(Clone)]
pub struct UpstreamProxy {
    scheme: Scheme,
    login: Option<Login>,
    host: Host,
    ports: RangeInclusive<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Http,
    Socks5,
}

#[derive(Clone)]
struct Login {
    user: String,
    password: SecretString,
}

/// What is wrong with the text of an upstream proxy. No message repeats the
/// user name or the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUpstream {
    /// No scheme, or another one.
    #[error("an upstream proxy starts with `http://` or `socks5://`")]
    Scheme,
    /// Something after the port.
    #[error("an upstream proxy ends with its port: no path or query")]
    Path,
    /// No user name, or no `:` between it and the password.
    #[error("the part before `@` must be `user:password`, with a `:` in the user name written as %3A and a `%` as %25")]
    Login,
    /// A user name or password that SOCKS5 cannot carry.
    #[error("user name and password of a SOCKS5 proxy have 1 to {SOCKS_LOGIN_MAX} bytes each")]
    LoginLength,
    /// No port.
    #[error("the upstream proxy `{0}` has no port")]
    NoPort(String),
    /// A port that is not a number from 1 to 65535, or a range that runs backwards.
    #[error("`{0}` is not a port or a range of ports such as `10001-10100`")]
    Port(String),
    /// Neither a name nor an address.
    #[error("`{0}` is not the host of a proxy")]
    Host(String),
}

impl FromStr for UpstreamProxy {
    type Err = BadUpstream;

    fn from_str(text: &str) -> Result<Self, BadUpstream> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("socks5" | "socks5h", rest)) => (Scheme::Socks5, rest),
            Some(_) | None => return Err(BadUpstream::Scheme),
        };
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(parse_login(scheme, login)?), place),
            None => (None, rest),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        if place.contains(['/', '?', '#']) {
            return Err(BadUpstream::Path);
        }
        let (host, ports) = match place.rsplit_once(':') {
            Some((host, ports)) if !ports.ends_with(']') => (host, parse_ports(ports)?),
            Some(_) | None => return Err(BadUpstream::NoPort(place.to_owned())),
        };
        let host = host.parse().map_err(|_| BadUpstream::Host(host.to_owned()))?;
        Ok(Self { scheme, login, host, ports })
    }
}

fn parse_login(scheme: Scheme, text: &str) -> Result<Login, BadUpstream> {
    let (user, password) = text.split_once(':').ok_or(BadUpstream::Login)?;
    let decode = |part: &str| {
        let text = percent_decode_str(part).decode_utf8().map_err(|_| BadUpstream::Login)?;
        if text.chars().any(char::is_control) { Err(BadUpstream::Login) } else { Ok(text.into_owned()) }
    };
    let (user, password) = (decode(user)?, decode(password)?);
    // HTTP's basic authentication ends the user name at the first colon.
    if user.is_empty() || user.contains(':') {
        return Err(BadUpstream::Login);
    }
    let fits = |part: &str| (1..=SOCKS_LOGIN_MAX).contains(&part.len());
    if scheme == Scheme::Socks5 && !(fits(&user) && fits(&password)) {
        return Err(BadUpstream::LoginLength);
    }
    Ok(Login { user, password: password.into() })
}

fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, BadUpstream> {
    let bad = || BadUpstream::Port(text.to_owned());
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        Ok(_) | Err(_) => Err(bad()),
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let ports = port(first)?..=port(last)?;
    if ports.is_empty() { Err(bad()) } else { Ok(ports) }
}

impl fmt::Display for UpstreamProxy {
    /// The text without its user name and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Socks5 => "socks5",
        };
        let (first, last) = (self.ports.start(), self.ports.end());
        write!(f, "{scheme}://{}:{first}", self.host)?;
        if first == last { Ok(()) } else { write!(f, "-{last}") }
    }
}

impl fmt::Debug for UpstreamProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let login = if self.login.is_some() { ", with a login" } else { "" };
        write!(f, "UpstreamProxy({self}{login})")
    }
}

/// Why the upstream proxy did not connect. No message has the login.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Its own name has no address.
    #[error("the name of the upstream proxy cannot be resolved: {0}")]
    Resolve(io::Error),
    /// It cannot be reached.
    #[error("the upstream proxy cannot be reached: {0}")]
    Connect(io::Error),
    /// It answered, and not with a connection.
    #[error("the upstream proxy answered {0}")]
    Refused(StatusCode),
    /// It does not speak HTTP.
    #[error("the upstream proxy did not answer as an HTTP proxy: {0}")]
    Http(#[from] hyper::Error),
    /// It does not speak SOCKS5, or said no.
    #[error("the upstream proxy did not connect: {0}")]
    Socks(#[from] tokio_socks::Error),
}

impl UpstreamProxy {
    /// The port of a seat: each has its own, in turn; where there are more seats than ports, they go round.
    pub fn port_for(&self, seat: u64) -> u16 {
        let (first, last) = (*self.ports.start(), *self.ports.end());
        let offset = seat % (u64::from(last - first) + 1);
        first + u16::try_from(offset).expect("less than the number of ports")
    }

    /// Whether it has more ports than one.
    pub fn has_seats(&self) -> bool {
        self.ports.start() != self.ports.end()
    }

    /// Its address with its login and its last port, for a client of the host's own.
    pub fn url(&self) -> SecretString {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            // The name is handed on unresolved.
            Scheme::Socks5 => "socks5h",
        };
        let login = self.login.as_ref().map(|login| {
            let encoded = |text: &str| {
                url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
            };
            format!("{}:{}@", encoded(&login.user), encoded(login.password.expose_secret()))
        });
        format!("{scheme}://{}{}:{}", login.unwrap_or_default(), self.host, self.ports.end()).into()
    }

    /// Asks the proxy for a connection. The host is handed on unresolved; the
    /// proxy's own address is the operator's choice and not checked.
    pub(super) async fn connect(
        &self,
        network: &dyn Network,
        seat: u64,
        host: &Host,
        port: u16,
    ) -> Result<Prefixed<TcpStream>, UpstreamError> {
        let addresses = match &self.host {
            Host::Name(name) => network.resolve(name).await.map_err(UpstreamError::Resolve)?,
            Host::Address(address) => vec![*address],
        };
        let stream = connect_any(network, &addresses, self.port_for(seat)).await.map_err(UpstreamError::Connect)?;
        match self.scheme {
            Scheme::Http => self.http(stream, host, port).await,
            Scheme::Socks5 => self.socks5(stream, host, port).await,
        }
    }

    async fn http(&self, stream: TcpStream, host: &Host, port: u16) -> Result<Prefixed<TcpStream>, UpstreamError> {
        let target = format!("{host}:{port}");
        let mut request = Request::builder().method(Method::CONNECT).uri(&target).header(header::HOST, &target);
        if let Some(Login { user, password }) = &self.login {
            let login = BASE64_STANDARD.encode(format!("{user}:{}", password.expose_secret()));
            let mut value = HeaderValue::from_str(&format!("Basic {login}")).expect("base64 is ASCII");
            value.set_sensitive(true);
            request = request.header(header::PROXY_AUTHORIZATION, value);
        }
        let request = request.body(Empty::<Bytes>::new()).expect("a checked host and a port are a request target");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = connection.with_upgrades();
        let answer = async {
            let response = sender.send_request(request).await?;
            match response.status() {
                status if status.is_success() => Ok(hyper::upgrade::on(response).await?),
                status => Err(UpstreamError::Refused(status)),
            }
        };
        // The connection makes the answer's progress and ends with the upgrade;
        // the answer is then there, or is an error that says why.
        let (upgraded, _) = tokio::join!(answer, connection);
        let parts = upgraded?.downcast::<TokioIo<TcpStream>>().expect("the stream that was handed in");
        Ok(Prefixed::new(parts.read_buf, parts.io.into_inner()))
    }

    async fn socks5(&self, stream: TcpStream, host: &Host, port: u16) -> Result<Prefixed<TcpStream>, UpstreamError> {
        let target = match host {
            Host::Name(name) => tokio_socks::TargetAddr::Domain(name.into(), port),
            Host::Address(address) => tokio_socks::TargetAddr::Ip(SocketAddr::new(*address, port)),
        };
        let stream = match &self.login {
            Some(Login { user, password }) => {
                Socks5Stream::connect_with_password_and_socket(stream, target, user, password.expose_secret()).await?
            }
            None => Socks5Stream::connect_with_socket(stream, target).await?,
        };
        Ok(Prefixed::new(Bytes::new(), stream.into_inner()))
    }
}

/// Connects to the first address that answers, in order.
pub(super) async fn connect_any(network: &dyn Network, addresses: &[IpAddr], port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for &address in addresses {
        match tokio::time::timeout(ADDRESS_TIMEOUT, network.connect((address, port).into())).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}
