//! Past the gateway: a sandbox that shares a network reaches what is there.

use crate::{
    Family,
    common::job,
    house::{House, Try, at},
    rules::*,
};
use polydev_sandbox::egress::{Network, SystemNetwork};
use std::{
    net::{IpAddr, SocketAddr},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddr, UnixListener as StdUnixListener},
    },
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, UdpSocket, UnixListener},
};

/// The port that a job of another sandbox listens on.
const NEIGHBOUR_PORT: &str = "4999";

/// Says a canary to whoever connects.
pub(crate) async fn singer(address: impl Into<IpAddr>, canary: &str) -> SocketAddr {
    singer_of(TcpListener::bind((address.into(), 0)).await.unwrap(), canary)
}

fn singer_of(listener: TcpListener, canary: &str) -> SocketAddr {
    let (at, canary) = (listener.local_addr().unwrap(), canary.to_owned());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(canary.as_bytes()).await;
        }
    });
    at
}

/// Says a canary to whoever sends a datagram, and to nobody in particular again and again.
async fn datagrams(canary: &str) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (at, canary) = (socket.local_addr().unwrap(), canary.to_owned());
    tokio::spawn(async move {
        let mut often = tokio::time::interval(Duration::from_millis(20));
        let mut bytes = [0; 16];
        loop {
            tokio::select! {
                _ = often.tick() => drop(socket.send_to(canary.as_bytes(), at).await),
                Ok((_, from)) = socket.recv_from(&mut bytes) => {
                    if from != at {
                        let _ = socket.send_to(canary.as_bytes(), from).await;
                    }
                }
            }
        }
    });
    at
}

async fn abstract_singer(canary: &str) -> String {
    let name = format!("polydev-{canary}");
    let listener = StdUnixListener::bind_addr(&UnixAddr::from_abstract_name(&name).unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (listener, canary) = (UnixListener::from_std(listener).unwrap(), canary.to_owned());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(canary.as_bytes()).await;
        }
    });
    name
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_the_gateway() {
    for house in House::all().await {
        of(house).await;
    }
}

async fn of(house: House) {
    let canary = house.canary.as_str();
    let loopback = singer([127, 0, 0, 1], canary).await;
    let loopback6 = match TcpListener::bind("[::1]:0").await {
        Ok(listener) => singer_of(listener, canary).to_string(),
        // A host without IPv6 is reached by the address that carries its other one.
        Err(_) => format!("[::ffff:127.0.0.1]:{}", loopback.port()),
    };
    // A host that has no other address has its loopback tried again.
    let own = SystemNetwork::default().own_addresses().unwrap();
    let mut own = own.into_iter().map(|net| net.addr());
    let outer = own.find(|address| address.is_ipv4() && !address.is_loopback());
    let outer = singer(outer.unwrap_or([127, 0, 0, 1].into()), canary).await;
    let (datagrams, name) = (datagrams(canary).await.to_string(), abstract_singer(canary).await);
    let neighbour = house.sandbox(&[]).await;
    neighbour.guest.exec(job(&["/bin/probe", "sing", NEIGHBOUR_PORT, canary])).await.unwrap();
    let pid = house.first_process(&neighbour);

    let shared = [network_namespace()];
    let heard = [network_namespace(), own_users(), no_capability("no CAP_NET_RAW", &["CAP_NET_RAW"])];
    let packets = [&heard[..], &[seccomp()]].concat();
    let row = |way, args: &[&str], rules: &[Rule], shut| Try::new(way, args, rules, canary, shut);
    let unreachable = if outer.ip().is_loopback() { libc::ECONNREFUSED } else { libc::ENETUNREACH };
    let outer = outer.to_string();
    // All protocols, in the order of bytes that the kernel wants.
    let every = i32::from((libc::ETH_P_ALL as u16).to_be()).to_string();
    let tries = vec![
        row("the host's loopback", &["tcp", &loopback.to_string()], &shared, at("connect", libc::ECONNREFUSED)),
        row("the host's loopback by IPv6", &["tcp", &loopback6], &shared, at("connect", libc::ECONNREFUSED)),
        row("the host's addresses", &["tcp", &outer], &shared, at("connect", unreachable)),
        row("UDP", &["udp", &datagrams], &shared, at("receive", libc::ECONNREFUSED)),
        row("abstract unix sockets of the host", &["abstract", &name], &shared, at("connect", libc::ECONNREFUSED)),
        row(
            "another sandbox's ports",
            &["tcp", &format!("127.0.0.1:{NEIGHBOUR_PORT}")],
            &[network_namespace_apart_from(pid)],
            at("connect", libc::ECONNREFUSED),
        ),
        // AF_INET, SOCK_RAW, every datagram of UDP.
        row("raw sockets", &["raw", "2", "3", "17", canary], &heard, at("socket", libc::EPERM)),
        // AF_PACKET, SOCK_RAW, whatever passes.
        row("packet sockets", &["raw", "17", "3", &every, canary], &packets, at("socket", libc::ENOSYS)),
    ];
    house.prove(Family::Network, tries).await;
    neighbour.end().await;
}
