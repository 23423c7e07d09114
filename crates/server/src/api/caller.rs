//! Where a request comes from.

use super::{
    App,
    error::{ApiError, ApiResult, RequestId},
};
use crate::domain::{
    audit::{Actor, By},
    people::{Principal, TokenKind},
};
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, header, request::Parts},
};
use std::net::{IpAddr, SocketAddr};

/// The most characters of a `User-Agent` that are kept.
const AGENT_MAX: usize = 200;

/// Where a request comes from.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The address: of the peer, or as the proxy before us tells; see [`forwarded`].
    pub address: IpAddr,
    /// The program, as it calls itself.
    pub agent: Option<String>,
    /// The request.
    pub request_id: String,
}

impl Caller {
    /// A person who has shown a key or a session.
    pub fn actor(&self, who: &Principal) -> Actor {
        let by = match who.token {
            TokenKind::Key => By::Key,
            TokenKind::Session => By::Session,
        };
        Actor { by, user_id: Some(who.user_id.clone()), token_id: Some(who.token_id.clone()), ..self.anonymous() }
    }

    /// Whoever it is.
    pub fn anonymous(&self) -> Actor {
        Actor {
            by: By::Anonymous,
            user_id: None,
            token_id: None,
            address: Some(self.address.to_string()),
            request_id: Some(self.request_id.clone()),
        }
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let fault = |what: &str| ApiError::fault(format!("a request without {what}"));
        let ConnectInfo(peer) =
            parts.extensions.get::<ConnectInfo<SocketAddr>>().copied().ok_or_else(|| fault("an address"))?;
        let RequestId(request_id) = parts.extensions.get::<RequestId>().cloned().ok_or_else(|| fault("an id"))?;
        let peer = peer.ip().to_canonical();
        let address = app.hosts.is_proxy(peer).then(|| forwarded(&parts.headers)).flatten().unwrap_or(peer);
        let agent = parts.headers.get(header::USER_AGENT).map(|agent| {
            String::from_utf8_lossy(agent.as_bytes()).chars().filter(|c| !c.is_control()).take(AGENT_MAX).collect()
        });
        Ok(Self { address, agent, request_id })
    }
}

/// The address that the proxy before us has seen. It is believed of the proxies that the operator has named; where none
/// is, only from this machine, and only where there must be one, because `public_url` is not on loopback. A proxy appends what it sees: what stands before that, the client wrote.
pub(super) fn forwarded(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?.rsplit(',').next()?.trim();
    let address = last.parse::<IpAddr>().or_else(|_| last.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::forwarded;
    use axum::http::HeaderMap;

    #[test]
    fn only_what_the_proxy_itself_wrote_is_believed() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            forwarded(&headers).map(|address| address.to_string())
        };
        let some = |address: &str| Some(address.to_owned());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["192.0.2.1"]), some("192.0.2.1"));
        assert_eq!(of(&["10.0.0.1, 192.0.2.1"]), some("192.0.2.1"));
        assert_eq!(of(&["10.0.0.1", "192.0.2.1:1234"]), some("192.0.2.1"));
        assert_eq!(of(&["::ffff:192.0.2.1"]), some("192.0.2.1"));
        assert_eq!(of(&["2001:db8::1"]), some("2001:db8::1"));
        assert_eq!(of(&["192.0.2.1, unknown"]), None);
    }
}
