//! What the gateway asks of the host's network.

use super::address::{parse_fib_trie, parse_if_inet6, parse_ipv6_route};
use async_trait::async_trait;
use ipnet::IpNet;
use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv, socket_with},
};
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// Names, connections, and which addresses are this host's.
#[async_trait]
pub trait Network: Send + Sync + fmt::Debug {
    /// The addresses of a name. Asked once per connection.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;

    /// Opens a TCP connection.
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream>;

    /// Every address of this host's interfaces, and every network that it takes for its own.
    fn own_addresses(&self) -> io::Result<Vec<IpNet>>;
}

/// How long the list of this host's addresses is believed while the kernel tells of no change. It tells of addresses,
/// and not of routes.
const OWN_FRESH: Duration = Duration::from_secs(5);
/// `RTMGRP_IPV4_IFADDR` and `RTMGRP_IPV6_IFADDR` of linux/rtnetlink.h: what tells of addresses that come and go.
const ADDRESS_CHANGES: u32 = 0x10 | 0x100;

/// The host's resolver and sockets.
#[derive(Debug, Default)]
pub struct SystemNetwork {
    own: Mutex<Own>,
}

/// This host's own addresses, as they were read last.
#[derive(Debug, Default)]
struct Own {
    /// Told by the kernel; none where that cannot be had.
    changes: Option<OwnedFd>,
    read: Option<(Instant, Vec<IpNet>)>,
}

impl Own {
    fn now(&mut self) -> io::Result<Vec<IpNet>> {
        if self.read.is_none() {
            self.changes = changes().map_err(|error| tracing::warn!(%error, "changes of addresses are not told")).ok();
        }
        // Asked before it is read: what changes from here on is told the next time.
        let is_changed = self.changes.as_ref().is_some_and(is_changed);
        if let Some((_, addresses)) = self.read.as_ref().filter(|(at, _)| !is_changed && at.elapsed() < OWN_FRESH) {
            return Ok(addresses.clone());
        }
        let mut addresses = parse_fib_trie(&read_table("/proc/net/fib_trie")?);
        addresses.extend(parse_if_inet6(&read_table("/proc/net/if_inet6")?));
        addresses.extend(parse_ipv6_route(&read_table("/proc/net/ipv6_route")?));
        addresses.sort();
        addresses.dedup();
        self.read = Some((Instant::now(), addresses.clone()));
        Ok(addresses)
    }
}

/// A socket on which the kernel tells of addresses that come and go.
fn changes() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    // No protocol is `NETLINK_ROUTE`.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &SocketAddrNetlink::new(0, ADDRESS_CHANGES))?;
    Ok(socket)
}

/// Whether anything was told since it was asked last; it may be more than there was room for.
fn is_changed(socket: &OwnedFd) -> bool {
    let mut message = [0; 4096];
    let mut is_changed = false;
    loop {
        match recv(socket, &mut message, RecvFlags::TRUNC) {
            Err(Errno::AGAIN) => return is_changed,
            Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => is_changed = true,
            // As if it told of a change each time.
            Err(_) => return true,
        }
    }
}

#[async_trait]
impl Network for SystemNetwork {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    fn own_addresses(&self) -> io::Result<Vec<IpNet>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).now()
    }
}

/// Reads a table of the kernel: these never wait for a disk. A host without
/// IPv4 or IPv6 lacks the file.
fn read_table(path: &str) -> io::Result<String> {
    match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::{self, Cmd};

    #[tokio::test]
    async fn this_host_knows_itself() {
        let network = SystemNetwork::default();
        let loopback: IpAddr = [127, 0, 0, 1].into();
        assert!(network.own_addresses().unwrap().contains(&loopback.into()));
        let localhost = network.resolve("localhost").await.unwrap();
        assert!(localhost.iter().all(IpAddr::is_loopback) && !localhost.is_empty(), "{localhost:?}");
    }

    /// Started by the test below, in a network of its own.
    #[test]
    #[ignore = "it needs a network that nobody else has"]
    fn in_a_network_of_its_own() {
        let (network, later) = (SystemNetwork::default(), |what: &str| {
            cmd::run_blocking(Cmd::new("ip").args(what.split(' '))).unwrap();
        });
        let has = |net: &str| network.own_addresses().unwrap().contains(&net.parse().unwrap());
        later("link set lo up");
        assert!(has("127.0.0.1/32") && !has("198.51.100.7/32"));
        for (change, net) in [
            ("addr add 198.51.100.7/32 dev lo", "198.51.100.7/32"),
            ("addr add 2001:db8::7/128 dev lo", "2001:db8::7/128"),
        ] {
            later(change);
            assert!(has(net), "{net} is known at once");
            later(&change.replace(" add ", " del "));
            assert!(!has(net), "and so is its end");
        }
        later("route add local 203.0.113.0/24 dev lo");
        later("route add local 2001:db8:1::/48 dev lo");
        let anew = SystemNetwork::default().own_addresses().unwrap();
        for net in ["203.0.113.0/24", "2001:db8:1::/48"] {
            assert!(anew.contains(&net.parse().unwrap()), "the kernel answers for all of {net}: {anew:?}");
        }
    }

    #[test]
    fn a_new_address_of_this_host_is_known_at_once() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: a network of its own needs root");
            return;
        }
        let this = std::env::current_exe().unwrap();
        let inner = "egress::network::tests::in_a_network_of_its_own";
        let test = Cmd::new("unshare").arg("--net").arg(this).args(["--exact", inner, "--ignored", "--nocapture"]);
        let said = cmd::run_blocking(test).unwrap().text();
        assert!(said.contains("1 passed"), "{said}");
    }
}
