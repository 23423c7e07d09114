//! Which `Host` and which `Origin` a request may name. A foreign host is a web page whose name was
//! pointed at this server (DNS rebinding); a foreign origin is a web page that uses somebody's cookie.

use super::{
    App,
    error::{ApiError, ApiResult},
};
use crate::domain::failure::Code;
use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use url::Url;

/// What `Host` and `Origin` may say.
#[derive(Debug)]
pub struct Hosts {
    allowed: Vec<(String, Option<u16>)>,
    origins: Vec<String>,
    secure: bool,
    proxies: Proxies,
}

/// Which peers are proxies, and are believed where a request comes from.
#[derive(Debug)]
enum Proxies {
    /// None: people reach this server itself.
    None,
    /// Those on this machine.
    Near,
    /// These.
    Named(Vec<IpNet>),
}

/// These are one when `public_url` is one of them.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

impl Hosts {
    /// The host of `public_url`, and the address that is listened at.
    pub fn new(public_url: &Url, listen: SocketAddr) -> Self {
        let host = public_url.host_str().unwrap_or_default().to_ascii_lowercase();
        let port = public_url.port();
        let mut allowed = vec![(host.clone(), port)];
        let loopback = |host: &str| LOOPBACK.contains(&host);
        if loopback(&host) {
            allowed.extend(LOOPBACK.iter().map(|host| ((*host).to_owned(), port)));
        }
        let own = |host: &str| match port {
            Some(port) => format!("{}://{host}:{port}", public_url.scheme()),
            None => format!("{}://{host}", public_url.scheme()),
        };
        let origins = if loopback(&host) { LOOPBACK.map(own).to_vec() } else { vec![own(&host)] };
        // Where people reach this server by another address than its own there is a proxy before it.
        let behind_proxy = !loopback(&host) && host.trim_matches(['[', ']']) != listen.ip().to_string();
        let proxies = if behind_proxy { Proxies::Near } else { Proxies::None };
        // A client on the same machine, behind no proxy.
        if !listen.ip().is_unspecified() {
            let ip = match listen {
                SocketAddr::V4(address) => address.ip().to_string(),
                SocketAddr::V6(address) => format!("[{}]", address.ip()),
            };
            if loopback(&ip) {
                allowed.extend(LOOPBACK.iter().map(|host| ((*host).to_owned(), Some(listen.port()))));
            } else {
                allowed.push((ip, Some(listen.port())));
            }
        }
        Self { allowed, origins, secure: public_url.scheme() == "https", proxies }
    }

    /// The same behind these proxies, if they were named.
    #[must_use]
    pub fn behind(self, proxies: Option<Vec<IpNet>>) -> Self {
        Self { proxies: proxies.map_or(self.proxies, Proxies::Named), ..self }
    }

    /// Whether people reach this server by https.
    pub fn secure(&self) -> bool {
        self.secure
    }

    /// Whether this peer is a proxy before this server, which tells where requests come from.
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        match &self.proxies {
            Proxies::None => false,
            Proxies::Near => peer.is_loopback(),
            Proxies::Named(nets) => nets.iter().any(|net| net.contains(&peer)),
        }
    }

    /// Whether this `Origin` is our own.
    pub fn is_own_origin(&self, origin: &str) -> bool {
        self.origins.iter().any(|own| own.eq_ignore_ascii_case(origin))
    }

    pub(super) fn allows(&self, authority: &str) -> bool {
        let Ok(authority) = authority.parse::<Authority>() else { return false };
        let (host, port) = (authority.host(), authority.port());
        // Nothing else: neither a user before it, nor a port that is none.
        if authority.as_str().len() != host.len() + port.as_ref().map_or(0, |port| 1 + port.as_str().len()) {
            return false;
        }
        let default = |port: &u16| !matches!(port, 80 | 443);
        let port = port.map(|port| port.as_u16()).filter(default);
        self.allowed.iter().any(|(name, allowed)| name.eq_ignore_ascii_case(host) && allowed.filter(default) == port)
    }
}

/// Refuses a request of a foreign page: one that names another `Origin`, or that names none where one is `required`;
/// and one of which the browser itself says that it is.
pub(super) fn own_page(hosts: &Hosts, headers: &HeaderMap, required: bool) -> ApiResult<()> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let own = match (origins.next(), origins.next()) {
        (Some(origin), None) => origin.to_str().is_ok_and(|origin| hosts.is_own_origin(origin)),
        (None, _) => !required,
        (Some(_), Some(_)) => false,
    };
    if own && !is_foreign(headers) {
        return Ok(());
    }
    Err(ApiError::new(Code::Forbidden, "the `Origin` of the request is missing, or not this server's")
        .hint("Set `server.public_url` to the address that people use. With an API key no `Origin` is needed."))
}

/// Whether the browser says that a page of another origin asks, be it of the same site. It says so where it speaks
/// https, or with this machine; others do not say it at all.
fn is_foreign(headers: &HeaderMap) -> bool {
    let said = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    said.is_some_and(|site| site != b"same-origin" && site != b"none")
}

/// Whether the browser says that somebody goes there, in a window and not in a frame.
pub(super) fn is_link(headers: &HeaderMap) -> bool {
    let says = |name, value: &str| headers.get(name).is_some_and(|said| said == value);
    says("sec-fetch-mode", "navigate") && says("sec-fetch-dest", "document")
}

/// A request that no foreign page makes: for what is open to everybody, and lets somebody in.
#[derive(Debug)]
pub(super) struct OwnPage;

impl FromRequestParts<App> for OwnPage {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        own_page(&app.hosts, &parts.headers, false).map(|()| Self)
    }
}

/// Refuses a request whose `Host` is not this server's.
pub(super) async fn check(State(app): State<App>, request: Request, next: Next) -> Response {
    let named = request
        .headers()
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .or_else(|| request.uri().authority().map(|a| a.as_str()));
    if named.is_some_and(|authority| app.hosts.allows(authority)) {
        return next.run(request).await;
    }
    ApiError::new(Code::InvalidRequest, "the request names a host that is not this server's")
        .hint("Set `server.public_url` to the address that people use.")
        .status(StatusCode::MISDIRECTED_REQUEST)
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::Hosts;

    #[test]
    fn only_our_own_names() {
        let hosts = Hosts::new(&"http://127.0.0.1:4000".parse().unwrap(), "127.0.0.1:4000".parse().unwrap());
        for good in ["127.0.0.1:4000", "localhost:4000", "LOCALHOST:4000", "[::1]:4000"] {
            assert!(hosts.allows(good), "{good}");
        }
        for bad in [
            "evil.example",
            "127.0.0.1",
            "127.0.0.1:4001",
            "evil.example:4000",
            "",
            "localhost:4000@evil.example",
            "localhost.:4000",
            "x://localhost:4000",
            "somebody@localhost:4000",
            "localhost:99999",
        ] {
            assert!(!hosts.allows(bad), "{bad}");
        }
        let hosts = Hosts::new(&"https://polydev.example".parse().unwrap(), "0.0.0.0:4000".parse().unwrap());
        assert!(hosts.allows("polydev.example") && hosts.allows("polydev.example:443"));
        assert!(!hosts.allows("localhost:4000") && !hosts.allows("0.0.0.0:4000"));
    }

    #[test]
    fn only_our_own_origin() {
        let of = |url: &str, listen: &str| Hosts::new(&url.parse().unwrap(), listen.parse().unwrap());
        let local = of("http://127.0.0.1:4000", "127.0.0.1:4000");
        for good in ["http://127.0.0.1:4000", "http://localhost:4000", "http://[::1]:4000", "HTTP://LOCALHOST:4000"] {
            assert!(local.is_own_origin(good), "{good}");
        }
        for bad in ["", "null", "http://localhost", "https://localhost:4000", "http://localhost:4001", "localhost:4000"]
        {
            assert!(!local.is_own_origin(bad), "{bad}");
        }
        let (near, far_off) = ("127.0.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        assert!(!local.secure() && !local.is_proxy(near));

        let far = of("https://Polydev.example", "127.0.0.1:4000");
        assert!(far.is_own_origin("https://polydev.example") && far.secure() && far.is_proxy(near));
        assert!(!far.is_proxy(far_off));
        for bad in [
            "http://polydev.example",
            "https://polydev.example:4000",
            "http://127.0.0.1:4000",
            "https://a.polydev.example",
        ] {
            assert!(!far.is_own_origin(bad), "{bad}");
        }
        let far = far.behind(Some(vec!["192.0.2.0/24".parse().unwrap()]));
        assert!(far.is_proxy(far_off) && !far.is_proxy(near));
        assert!(!of("http://192.0.2.1:4000", "192.0.2.1:4000").is_proxy(near));
        assert!(!of("http://[2001:db8::1]:4000", "[2001:db8::1]:4000").is_proxy(near));
    }
}
