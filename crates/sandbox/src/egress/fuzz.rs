//! Whatever a sandbox asks of the gateway, it is led nowhere but where its policy allows, and is answered in plain words.

use super::{
    address::{OwnHost, plain, special},
    gateway::{Access, Gateway, GatewayConfig, Mask},
    ledger::Ledger,
    network::Network,
    policy::{Host, HostRule, Policy, check_addresses},
    sni::read_hello,
    stream::Prefixed,
};
use crate::{
    driver::Stream,
    fuzz::{Saying, run},
    testing::sandbox,
};
use async_trait::async_trait;
use bytes::Bytes;
use ipnet::IpNet;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, PoisonError},
};
use tokio::net::TcpStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// An address of the fuzzer's host, public as a server's may be.
const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 7));
/// The name of `server.public_url`: the gateway itself asks for its addresses.
const PUBLIC_NAME: &str = "polydev.example.com";
const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34));

/// A network that leads everywhere, and fails whoever would go where the policy does not allow.
#[derive(Debug)]
struct Trap;

#[async_trait]
impl Network for Trap {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        if name == PUBLIC_NAME {
            return Ok(vec![OWN]);
        }
        assert!(name == "api.example.com" || name.ends_with(".tools.example.com"), "`{name}` is looked up");
        Ok(match name.len() % 5 {
            0 => vec![PUBLIC, Ipv4Addr::LOCALHOST.into()],
            1 => vec![OWN],
            2 => vec![Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0x0a00, 1).into()],
            _ => vec![PUBLIC],
        })
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        assert_eq!(address, SocketAddr::new(PUBLIC, 443), "this is connected to");
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    fn own_addresses(&self) -> io::Result<Vec<IpNet>> {
        Ok(vec![OWN.into()])
    }
}

fn policy() -> Policy {
    let rules = |rules: &[&str]| rules.iter().map(|rule| rule.parse().expect("it is a rule")).collect();
    Policy {
        allow: rules(&["api.example.com", "*.tools.example.com", "93.184.216.34"]),
        deny: rules(&["bad.tools.example.com", "93.184.217.0/24"]),
        ports: vec![443],
    }
}

/// What a program in the sandbox sends to its proxy, from the first byte.
pub fn gateway(data: &[u8]) {
    let public_host = PUBLIC_NAME.parse().ok();
    let config = GatewayConfig { public_host, ..GatewayConfig::default() };
    let (person, mask) = ("usr_1".to_owned(), Mask::default());
    let access = Access { sandbox: sandbox(), person, seat: 0, policy: policy(), mask };
    let channel = Saying::new(data);
    let heard = channel.heard();
    let channel: Stream = Box::new(channel);
    let gateway = Gateway::over(config, Arc::new(Trap));
    let way_out = gateway.way_out(access, &Arc::new(Ledger::new()), &CancellationToken::new(), &TaskTracker::new());
    run(way_out.serve(Prefixed::new(Bytes::new(), channel)));
    let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(heard.is_empty() || heard.starts_with(b"HTTP/1."), "{:?}", heard.escape_ascii().to_string());
    let plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\r' | b'\n' | b'\t');
    assert!(heard.iter().all(plain), "{:?}", heard.escape_ascii().to_string());
}

/// The first byte says what was asked for, the others are what comes in place of a ClientHello.
pub fn hello(data: &[u8]) {
    let Some((which, said)) = data.split_first() else { return };
    let host = match which % 3 {
        0 => Host::Name("example.com".into()),
        1 => Host::Name("api.anthropic.com".into()),
        _ => Host::Address(PUBLIC),
    };
    let Ok(read) = run(read_hello(&mut Saying::new(said), &host)) else { return };
    assert!(said.starts_with(&read), "what goes on is what came");
    if let Host::Name(name) = &host {
        let named = |bytes: &[u8]| bytes.eq_ignore_ascii_case(name.as_bytes());
        assert!(read.windows(name.len()).any(named), "`{name}` is not in it");
    }
}

/// A host as a client names it, a rule as an operator writes it, and an address.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let own = OwnHost { addresses: vec![OWN.into()], public: PUBLIC_NAME.parse().ok() };
    if let Ok(host) = text.parse::<Host>() {
        let same = host.to_string().parse::<Host>();
        assert_eq!(same.as_ref(), Ok(&host), "`{text}`");
        if let Host::Name(name) = &host {
            assert!(name.parse::<IpAddr>().is_err(), "`{name}` is an address");
            assert!(!matches!(url::Host::parse(name), Ok(url::Host::Ipv4(_) | url::Host::Ipv6(_))), "`{name}`");
        }
        let everything = Policy { allow: vec![HostRule::AnyName, "0.0.0.0/0".parse().expect("a rule")], ..policy() };
        if everything.decide(&host, 443, &own).is_ok() {
            assert!(reaches_the_public(&host), "`{text}` leads to {host}");
        }
        assert!(everything.decide(&host, 22, &own).is_err());
    }
    if let Ok(rule) = text.parse::<HostRule>() {
        assert_eq!(rule.to_string().parse::<HostRule>(), Ok(rule), "`{text}`");
    }
    if let Some(bytes) = data.first_chunk::<16>() {
        let v6 = Ipv6Addr::from(*bytes);
        if check_addresses(&[v6.into()], &own, &[]).is_ok() {
            // As it is, or as the form of an IPv4 address, which is judged by itself.
            let plain = plain(v6.into());
            let is_global = |v6: Ipv6Addr| v6.segments()[0] & 0xe000 == 0x2000;
            assert!(
                matches!(plain, IpAddr::V6(v6) if is_global(v6)) || plain.is_ipv4() && special(plain).is_none(),
                "{v6}"
            );
        }
    }
}

fn reaches_the_public(host: &Host) -> bool {
    match host {
        Host::Name(name) => name.contains('.') && name != PUBLIC_NAME,
        Host::Address(address) => special(*address).is_none() && *address != OWN,
    }
}
