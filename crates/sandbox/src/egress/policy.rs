//! What a sandbox may reach: a pure decision over names, addresses and ports.

use super::address::{OwnHost, Special, holds, special};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr, str::FromStr};

/// The longest name that DNS knows.
const NAME_MAX: usize = 253;
/// The longest part of a name that DNS knows.
const LABEL_MAX: usize = 63;
/// Names that never mean a host of the internet: RFC 6761, 6762, 8375, and ICANN's `internal`.
const LOCAL_SUFFIXES: &[&str] = &["localhost", "local", "internal", "home.arpa"];

/// A host as a client names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name: lower case, without a trailing dot.
    Name(String),
    /// An address, whatever its spelling was.
    Address(IpAddr),
}

impl FromStr for Host {
    type Err = Denial;

    /// Reads a name, or an address in any spelling that a resolver would take
    /// for one (decimal, octal, hexadecimal, shortened, bracketed IPv6).
    fn from_str(text: &str) -> Result<Self, Denial> {
        if let Some(rest) = text.strip_prefix('[') {
            let inner = rest.strip_suffix(']').ok_or(Denial::BadTarget)?;
            return inner.parse().map(|v6| Self::Address(IpAddr::V6(v6))).map_err(|_| Denial::BadTarget);
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let label_ok = |label: &str| {
            (1..=LABEL_MAX).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if name.len() > NAME_MAX || !name.split('.').all(label_ok) {
            return Err(Denial::BadTarget);
        }
        if !ends_in_a_number(&name) {
            return Ok(Self::Name(name));
        }
        match url::Host::parse(&name) {
            Ok(url::Host::Ipv4(v4)) => Ok(Self::Address(IpAddr::V4(v4))),
            Ok(url::Host::Domain(_) | url::Host::Ipv6(_)) | Err(_) => Err(Denial::BadTarget),
        }
    }
}

/// WHATWG's rule for "this is meant as an IPv4 address": the last part is a
/// decimal, octal or hexadecimal number.
fn ends_in_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    let hex = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    hex || last.bytes().all(|b| b.is_ascii_digit())
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(v4)) => write!(f, "{v4}"),
            Self::Address(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
        }
    }
}

/// An entry of `egress.allow` or `egress.deny`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostRule {
    /// `*`: every name, no address.
    AnyName,
    /// Exactly this name.
    Name(String),
    /// `*.name`: every name below it, not itself.
    Below(String),
    /// The addresses of a network; a single address is a network of one.
    Net(IpNet),
}

/// Text that is not a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host rule: use a name, `*.name`, `*`, an address, or a network such as `203.0.113.0/24`")]
pub struct BadRule(String);

impl FromStr for HostRule {
    type Err = BadRule;

    fn from_str(text: &str) -> Result<Self, BadRule> {
        let bad = || BadRule(text.to_owned());
        if text == "*" {
            return Ok(Self::AnyName);
        }
        if text.contains('/') {
            return text.parse::<IpNet>().map(|net| Self::Net(net.trunc())).map_err(|_| bad());
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Net(address.into()));
        }
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        match name.parse::<Host>() {
            Ok(Host::Name(name)) if below => Ok(Self::Below(name)),
            Ok(Host::Name(name)) => Ok(Self::Name(name)),
            Ok(Host::Address(_)) | Err(_) => Err(bad()),
        }
    }
}

impl TryFrom<String> for HostRule {
    type Error = BadRule;

    fn try_from(text: String) -> Result<Self, BadRule> {
        text.parse()
    }
}

impl From<HostRule> for String {
    fn from(rule: HostRule) -> Self {
        rule.to_string()
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AnyName => f.write_str("*"),
            Self::Name(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Net(net) => write!(f, "{net}"),
        }
    }
}

impl HostRule {
    fn matches(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::AnyName, Host::Name(_)) => true,
            (Self::Name(rule), Host::Name(name)) => rule == name,
            (Self::Below(rule), Host::Name(name)) => {
                name.strip_suffix(rule.as_str()).is_some_and(|front| front.ends_with('.'))
            }
            (Self::Net(net), Host::Address(address)) => holds(net, *address),
            (Self::AnyName | Self::Name(_) | Self::Below(_), Host::Address(_)) | (Self::Net(_), Host::Name(_)) => false,
        }
    }
}

/// What a sandbox may reach. `deny` goes before `allow`; what is in neither is refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// What may be reached. A network allows addresses that are written out,
    /// and only public ones.
    pub allow: Vec<HostRule>,
    /// What may not. A network also refuses names that resolve into it.
    pub deny: Vec<HostRule>,
    /// The ports that may be reached.
    pub ports: Vec<u16>,
}

impl Policy {
    /// Whether a connection may be tried. Without an upstream proxy, the
    /// addresses of a name still go through [`check_addresses`].
    pub fn decide(&self, host: &Host, port: u16, own: &OwnHost) -> Result<(), Denial> {
        if own.public.as_ref() == Some(host) {
            return Err(Denial::OwnHost);
        }
        match host {
            Host::Name(name) if is_local(name) => return Err(Denial::LocalName),
            Host::Name(_) => {}
            Host::Address(address) => check_addresses(&[*address], own, &self.deny)?,
        }
        if self.deny.iter().any(|rule| rule.matches(host)) {
            return Err(Denial::DenyRule);
        }
        if !self.ports.contains(&port) {
            return Err(Denial::Port);
        }
        match (self.allow.iter().any(|rule| rule.matches(host)), host) {
            (true, _) => Ok(()),
            (false, Host::Name(_)) => Err(Denial::NotAllowed),
            (false, Host::Address(_)) => Err(Denial::Literal),
        }
    }
}

/// Whether a name can only mean something nearby: one word, or a local suffix.
fn is_local(name: &str) -> bool {
    !name.contains('.')
        || LOCAL_SUFFIXES.iter().any(|suffix| name.strip_suffix(suffix).is_some_and(|front| front.ends_with('.')))
        || LOCAL_SUFFIXES.contains(&name)
}

/// Whether every address of a name may be connected to: one bad address
/// refuses them all, for an honest name has none.
pub fn check_addresses(addresses: &[IpAddr], own: &OwnHost, deny: &[HostRule]) -> Result<(), Denial> {
    for &address in addresses {
        if let Some(special) = special(address) {
            return Err(Denial::Address(special));
        }
        if own.has(address) {
            return Err(Denial::Address(Special::Own));
        }
        if deny.iter().any(|rule| rule.matches(&Host::Address(address))) {
            return Err(Denial::DenyRule);
        }
    }
    Ok(())
}

/// Why a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Denial {
    /// No host and port, or a host that is neither a name nor an address.
    BadTarget,
    /// The host of this server's public URL.
    OwnHost,
    /// A name of the local network.
    LocalName,
    /// In `egress.deny`.
    DenyRule,
    /// A port that is not allowed.
    Port,
    /// A name that is not allowed.
    NotAllowed,
    /// A public address that is not allowed.
    Literal,
    /// An address that is not one of the public internet.
    Address(Special),
    /// What came on port 443 is not TLS.
    NotTls,
    /// The ClientHello names no server.
    NoServerName,
    /// The ClientHello names another server.
    OtherServerName,
    /// The person's sandboxes have as many connections as they may, or begin more than they may.
    TooManyConnections,
}

impl Denial {
    /// For programs: the value of the `x-polydev-denied` header.
    pub fn code(self) -> &'static str {
        match self {
            Self::BadTarget => "bad_target",
            Self::OwnHost => "own_host",
            Self::LocalName => "local_name",
            Self::DenyRule => "deny_rule",
            Self::Port => "port",
            Self::NotAllowed => "not_allowed",
            Self::Literal => "literal_address",
            Self::Address(special) => special.code(),
            Self::NotTls => "not_tls",
            Self::NoServerName => "no_server_name",
            Self::OtherServerName => "other_server_name",
            Self::TooManyConnections => "too_many_connections",
        }
    }

    /// For people, in one line. `host` must be printable.
    pub fn words(self, host: &str, port: u16) -> String {
        match self {
            Self::BadTarget => format!("`{host}` was refused: it is not a host and a port"),
            Self::OwnHost => format!("`{host}` was refused: it is the host of this Polydev server"),
            Self::LocalName => format!("`{host}` was refused: it is a name of the local network"),
            Self::DenyRule => format!("`{host}` was refused: `egress.deny` lists it"),
            Self::Port => format!("`{host}:{port}` was refused: port {port} is not open to this sandbox"),
            Self::NotAllowed => format!("`{host}` was refused: `egress.allow` does not list it"),
            Self::Literal => format!("`{host}` was refused: no network in `egress.allow` holds this address"),
            Self::Address(special) => format!("`{host}` was refused: it is {}", special.words()),
            Self::NotTls => format!("`{host}` was closed: what was sent to port {port} is not TLS"),
            Self::NoServerName => format!("`{host}` was closed: the TLS greeting names no server"),
            Self::OtherServerName => format!("`{host}` was closed: the TLS greeting names another server"),
            Self::TooManyConnections => format!(
                "`{host}` was refused: this person's sandboxes have as many connections as `egress.max_connections` \
                 allows, or begin more than `egress.connections_per_s`; try again when some have ended"
            ),
        }
    }
}
