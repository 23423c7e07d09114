//! What the gateway asks of the host's network.

use super::address::{parse_fib_trie, parse_if_inet6};
use async_trait::async_trait;
use std::{
    collections::HashSet,
    fmt, io,
    net::{IpAddr, SocketAddr},
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

    /// Every address of this host's interfaces.
    fn own_addresses(&self) -> io::Result<HashSet<IpAddr>>;
}

/// How long the list of this host's addresses is believed.
const OWN_FRESH: Duration = Duration::from_secs(5);

/// The host's resolver and sockets.
#[derive(Debug, Default)]
pub struct SystemNetwork {
    own: Mutex<Option<(Instant, HashSet<IpAddr>)>>,
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

    fn own_addresses(&self) -> io::Result<HashSet<IpAddr>> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read_at, addresses)) = &*own
            && read_at.elapsed() < OWN_FRESH
        {
            return Ok(addresses.clone());
        }
        let mut addresses = parse_fib_trie(&read_table("/proc/net/fib_trie")?);
        addresses.extend(parse_if_inet6(&read_table("/proc/net/if_inet6")?));
        *own = Some((Instant::now(), addresses.clone()));
        Ok(addresses)
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

    #[tokio::test]
    async fn this_host_knows_itself() {
        let network = SystemNetwork::default();
        let loopback: IpAddr = [127, 0, 0, 1].into();
        assert!(network.own_addresses().unwrap().contains(&loopback));
        let localhost = network.resolve("localhost").await.unwrap();
        assert!(localhost.iter().all(IpAddr::is_loopback) && !localhost.is_empty(), "{localhost:?}");
    }
}
