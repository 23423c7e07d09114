//! What listens on this host: `/proc/net/{tcp,udp}{,6}` (`man 5 proc_pid_net`), and whose it is.

use std::{
    collections::HashMap,
    fmt, fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// A TCP socket that listens, as `/proc/net/tcp` writes it: `TCP_LISTEN` of `include/net/tcp_states.h`.
const TCP_LISTEN: &str = "0A";
/// A UDP socket that takes from everybody: one that has no peer is `TCP_CLOSE` there.
const UDP_UNCONNECTED: &str = "07";
/// `IPV6_ADDR_SCOPE_GLOBAL`, as `/proc/net/if_inet6` writes it.
const GLOBAL_SCOPE: &str = "00";

/// A socket that takes what comes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// By which protocol.
    pub protocol: Protocol,
    /// Where.
    pub address: SocketAddr,
    /// Whose it is. `None`: only root is told of others' sockets, or it is the kernel's own.
    pub owner: Option<Owner>,
}

/// What a socket speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A process that has a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The first 15 bytes of its program's name, unless it has chosen another; in printable ASCII.
    pub name: String,
    /// It is this program.
    pub is_ours: bool,
}

impl Listener {
    /// Whether another machine, or a container of this one, can reach it.
    pub fn is_exposed(&self) -> bool {
        match self.address.ip().to_canonical() {
            IpAddr::V4(ip) => !ip.is_loopback(),
            IpAddr::V6(ip) => !ip.is_loopback(),
        }
    }
}

/// Everything that listens in this process's network namespace.
///
/// # Errors
/// `/proc` cannot be read.
pub fn listeners() -> io::Result<Vec<Listener>> {
    let mut found = Vec::new();
    for (protocol, state, file) in [
        (Protocol::Tcp, TCP_LISTEN, "tcp"),
        (Protocol::Tcp, TCP_LISTEN, "tcp6"),
        (Protocol::Udp, UDP_UNCONNECTED, "udp"),
        (Protocol::Udp, UDP_UNCONNECTED, "udp6"),
    ] {
        match fs::read_to_string(Path::new("/proc/self/net").join(file)) {
            Ok(text) => found.extend(parse(&text, state).map(|(address, inode)| (protocol, address, inode))),
            // A kernel without IPv6 has no such file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let mut owners = if found.is_empty() { HashMap::new() } else { owners() };
    let listener = |(protocol, address, inode)| Listener { protocol, address, owner: owners.remove(&inode) };
    Ok(found.into_iter().map(listener).collect())
}

/// Whether this host has an IPv6 address that others could reach it by.
pub fn has_global_ipv6() -> bool {
    let global = |line: &str| line.split_ascii_whitespace().nth(3) == Some(GLOBAL_SCOPE);
    fs::read_to_string("/proc/self/net/if_inet6").is_ok_and(|text| text.lines().any(global))
}

/// The sockets in this state, with their inodes.
fn parse<'a>(text: &'a str, state: &'a str) -> impl Iterator<Item = (SocketAddr, u64)> + 'a {
    text.lines().skip(1).filter_map(move |line| {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        (fields.nth(1)? == state).then_some(())?;
        Some((address(local)?, fields.nth(5)?.parse().ok()?))
    })
}

/// `0100007F:1538`: the address in words of this machine's byte order, the port in plain hexadecimal.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words = (0..ip.len()).step_by(8).map(|at| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<u32>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let ip = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _other => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// The processes that have sockets, by the sockets' inodes, as far as this process may look.
fn owners() -> HashMap<u64, Owner> {
    let program = |pid: &str| fs::metadata(format!("/proc/{pid}/exe")).map(|file| (file.dev(), file.ino())).ok();
    let ours = program("self");
    let mut owners = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) else { continue };
        let sockets = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten();
        let sockets = sockets.filter_map(|fd| inode(fs::read_link(fd.path()).ok()?.to_str()?));
        let mut owner = None;
        for inode in sockets {
            let owner = owner.get_or_insert_with(|| Owner {
                name: printable(&fs::read(entry.path().join("comm")).unwrap_or_default()),
                is_ours: ours.is_some() && program(pid) == ours,
            });
            owners.insert(inode, owner.clone());
        }
    }
    owners
}

/// `socket:[1446]`
fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// A program's name without what a terminal or a log could take for anything else.
pub(crate) fn printable(name: &[u8]) -> String {
    let plain = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '?' };
    name.trim_ascii().iter().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    /// As a little-endian Linux 6.1 writes it.
    #[cfg(target_endian = "little")]
    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
        0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000   112        0 20135 1 0 100 0 0 10 0\n   \
        1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1446 1 0 100 0 0 10 0\n   \
        2: 0F02000A:0016 0202000A:D5F2 01 00000000:00000000 02:00093B9D 00000000     0        0 30177 4 0 20 4 29 10 -1\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernel_s_tables_are_read() {
        let seen: Vec<_> = parse(TCP, TCP_LISTEN).collect();
        assert_eq!(seen, [("127.0.0.1:5432".parse().unwrap(), 20135), ("0.0.0.0:22".parse().unwrap(), 1446)]);
        let v6 = |text| address(text).unwrap().to_string();
        assert_eq!(v6("00000000000000000000000001000000:0277"), "[::1]:631");
        assert_eq!(v6("0000000000000000FFFF00000100007F:0FA0"), "[::ffff:127.0.0.1]:4000");
        for bad in ["", ":", "0100007F", "0100007F:", "0100:1538", "zz00007F:1538", "0100007F:99999", "é00007F:1538"] {
            assert_eq!(address(bad), None, "{bad}");
        }
        assert_eq!(parse("\n\n  0: nonsense 1 0A\n", TCP_LISTEN).count(), 0);
    }

    #[test]
    fn what_this_process_listens_at_is_found_and_known_as_its_own() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let all = listeners().unwrap();
        let find = |protocol, address| all.iter().find(|it| (it.protocol, it.address) == (protocol, address)).unwrap();
        let tcp = find(Protocol::Tcp, tcp.local_addr().unwrap());
        let udp = find(Protocol::Udp, udp.local_addr().unwrap());
        assert!(!tcp.is_exposed() && udp.is_exposed());
        assert!(tcp.owner.as_ref().is_some_and(|owner| owner.is_ours && !owner.name.is_empty()), "{tcp:?}");
    }

    #[test]
    fn loopback_is_loopback_however_it_is_written() {
        for (address, exposed) in [
            ("127.0.0.1:1", false),
            ("127.9.9.9:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("172.17.0.1:1", true),
            ("[fe80::1]:1", true),
        ] {
            let listener = Listener { protocol: Protocol::Tcp, address: address.parse().unwrap(), owner: None };
            assert_eq!(listener.is_exposed(), exposed, "{address}");
        }
    }

    #[test]
    fn a_program_cannot_write_into_a_log_by_its_name() {
        assert_eq!(printable(b"ngi\x1b[2Jnx\xff\n"), "ngi?[2Jnx?");
    }
}
