//! Which addresses are not the public internet, and which are this host's own.

use super::policy::Host;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not one of the public internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Special {
    /// `0.0.0.0/8`, `::`: the system reads these as itself.
    Unspecified,
    /// `127.0.0.0/8`, `::1`.
    Loopback,
    /// RFC 1918 and unique local IPv6.
    Private,
    /// RFC 6598: between a provider and its customers.
    Shared,
    /// `169.254.0.0/16`, `fe80::/10`.
    LinkLocal,
    /// Where clouds hand out the machine's own credentials.
    Metadata,
    /// Multicast.
    Multicast,
    /// `255.255.255.255`.
    Broadcast,
    /// Documentation.
    Documentation,
    /// RFC 2544 and RFC 5180: benchmarks of network devices.
    Benchmarking,
    /// Reserved, or outside of what is handed out for the internet.
    Reserved,
    /// IPv6 forms that carry an IPv4 address and that nobody needs any more:
    /// v4-compatible, 6to4, Teredo, NAT64 of local use.
    Transition,
    /// An address of this host, or of its public URL.
    Own,
}

impl Special {
    /// For programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified_address",
            Self::Loopback => "loopback_address",
            Self::Private => "private_address",
            Self::Shared => "shared_address",
            Self::LinkLocal => "link_local_address",
            Self::Metadata => "metadata_address",
            Self::Multicast => "multicast_address",
            Self::Broadcast => "broadcast_address",
            Self::Documentation => "documentation_address",
            Self::Benchmarking => "benchmarking_address",
            Self::Reserved => "reserved_address",
            Self::Transition => "transition_address",
            Self::Own => "own_address",
        }
    }

    /// For people: what kind of address it is, with its article.
    pub fn words(self) -> &'static str {
        match self {
            Self::Unspecified => "the unspecified address",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::Shared => "a carrier's shared address",
            Self::LinkLocal => "a link-local address",
            Self::Metadata => "a cloud's metadata address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
            Self::Documentation => "a documentation address",
            Self::Benchmarking => "a benchmarking address",
            Self::Reserved => "a reserved address",
            Self::Transition => "an IPv6 address that wraps an IPv4 address",
            Self::Own => "an address of the host itself",
        }
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(segments: [u16; 8], prefix: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

/// IANA's IPv4 special-purpose registry; the first match counts. Azure's
/// metadata host is the one entry outside of it.
const SPECIAL_V4: &[(Ipv4Net, Special)] = &[
    (v4(169, 254, 169, 254, 32), Special::Metadata),
    (v4(169, 254, 170, 0, 24), Special::Metadata),
    (v4(100, 100, 100, 200, 32), Special::Metadata),
    (v4(192, 0, 0, 192, 32), Special::Metadata),
    (v4(168, 63, 129, 16, 32), Special::Metadata),
    (v4(0, 0, 0, 0, 8), Special::Unspecified),
    (v4(10, 0, 0, 0, 8), Special::Private),
    (v4(100, 64, 0, 0, 10), Special::Shared),
    (v4(127, 0, 0, 0, 8), Special::Loopback),
    (v4(169, 254, 0, 0, 16), Special::LinkLocal),
    (v4(172, 16, 0, 0, 12), Special::Private),
    (v4(192, 0, 0, 0, 24), Special::Reserved),
    (v4(192, 0, 2, 0, 24), Special::Documentation),
    (v4(192, 88, 99, 0, 24), Special::Transition),
    (v4(192, 168, 0, 0, 16), Special::Private),
    (v4(198, 18, 0, 0, 15), Special::Benchmarking),
    (v4(198, 51, 100, 0, 24), Special::Documentation),
    (v4(203, 0, 113, 0, 24), Special::Documentation),
    (v4(224, 0, 0, 0, 4), Special::Multicast),
    (v4(255, 255, 255, 255, 32), Special::Broadcast),
    (v4(240, 0, 0, 0, 4), Special::Reserved),
];

/// IANA's IPv6 special-purpose registry; the first match counts.
const SPECIAL_V6: &[(Ipv6Net, Special)] = &[
    (v6([0; 8], 128), Special::Unspecified),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), Special::Loopback),
    (v6([0; 8], 96), Special::Transition),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), Special::Transition),
    (v6([0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254], 128), Special::Metadata),
    (v6([0xfd20, 0x0ce, 0, 0, 0, 0, 0, 0x254], 128), Special::Metadata),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), Special::Private),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), Special::Private),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), Special::LinkLocal),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), Special::Multicast),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), Special::Transition),
    (v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48), Special::Benchmarking),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), Special::Reserved),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), Special::Documentation),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), Special::Transition),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), Special::Documentation),
];

/// What IANA hands out for the internet; the rest of IPv6 is refused.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// RFC 6052: how an IPv6-only network reaches IPv4. DNS64 answers with these.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

/// What is special about an address; `None` for one of the public internet.
/// The v4-mapped and NAT64 forms are judged by the address that they carry.
pub fn special(address: IpAddr) -> Option<Special> {
    match plain(address) {
        IpAddr::V4(v4) => SPECIAL_V4.iter().find(|(net, _)| net.contains(&v4)).map(|&(_, special)| special),
        IpAddr::V6(v6) => match SPECIAL_V6.iter().find(|(net, _)| net.contains(&v6)) {
            Some(&(_, special)) => Some(special),
            None if GLOBAL_V6.contains(&v6) => None,
            None => Some(Special::Reserved),
        },
    }
}

/// The address without the IPv6 form that an IPv4 address may come in.
pub(super) fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None if NAT64.contains(&v6) => {
                let [.., a, b, c, d] = v6.octets();
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            None => address,
        },
    }
}

/// Whether a network holds an address, in whichever form it comes.
pub(super) fn holds(net: &IpNet, address: IpAddr) -> bool {
    net.contains(&address) || net.contains(&plain(address))
}

/// What the sandbox must not find its way back to.
#[derive(Debug, Clone, Default)]
pub struct OwnHost {
    /// Every address of every interface, every network that the kernel takes for the host's own, and what the name of
    /// the public URL leads to.
    pub addresses: Vec<IpNet>,
    /// The host of `server.public_url`.
    pub public: Option<Host>,
}

impl OwnHost {
    /// Whether an address is one of this host's.
    pub fn has(&self, address: IpAddr) -> bool {
        let plain = plain(address);
        let public = match &self.public {
            Some(Host::Address(public)) => super::address::plain(*public) == plain,
            Some(Host::Name(_)) | None => false,
        };
        public || self.addresses.iter().any(|own| holds(own, address))
    }
}

/// The shortest prefix of a network that may be a host's own. Whoever leads all that passes to a proxy of theirs has a
/// route that says of every address that it is local.
const OWN_PREFIX_MIN: u8 = 8;

/// The local addresses and networks of `/proc/net/fib_trie`: a leaf `|-- ADDRESS`, then
/// a line such as `/32 host LOCAL`. What other tables than the usual ones say is for some packets only.
pub(super) fn parse_fib_trie(text: &str) -> Vec<IpNet> {
    let mut leaf = None;
    let mut found = Vec::new();
    let mut is_usual = false;
    for line in text.lines() {
        if !line.starts_with(' ') {
            is_usual = matches!(line, "Main:" | "Local:");
        }
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if let Some(prefix) = line.strip_suffix(" host LOCAL").and_then(|line| line.strip_prefix('/'))
            && let (Some(address), Ok(prefix)) = (leaf, prefix.parse())
            && is_usual
            && prefix >= OWN_PREFIX_MIN
        {
            found.extend(Ipv4Net::new(address, prefix).ok().map(IpNet::V4));
        }
    }
    // Each is told twice: in the main table, and in the local one.
    found.sort();
    found.dedup();
    found
}

/// The addresses of `/proc/net/if_inet6`: 32 hexadecimal digits first on each line.
pub(super) fn parse_if_inet6(text: &str) -> impl Iterator<Item = IpNet> {
    let addresses = text.lines().filter_map(|line| v6_of(line.split_whitespace().next()?));
    addresses.map(|address| IpAddr::V6(address).into())
}

/// The local addresses and networks of `/proc/net/ipv6_route`: the network, the length of its prefix, and, as the
/// last but one, the flags (`RTF_LOCAL` of linux/ipv6_route.h).
pub(super) fn parse_ipv6_route(text: &str) -> impl Iterator<Item = IpNet> {
    const RTF_LOCAL: u32 = 0x8000_0000;
    text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (&[network, prefix, ..], &[.., flags, _interface]) = (&fields[..], &fields[..]) else { return None };
        let is_local = u32::from_str_radix(flags, 16).ok()? & RTF_LOCAL != 0;
        let prefix = u8::from_str_radix(prefix, 16).ok()?;
        let net = Ipv6Net::new(v6_of(network)?, prefix).ok()?;
        (is_local && prefix >= OWN_PREFIX_MIN).then_some(IpNet::V6(net))
    })
}

fn v6_of(digits: &str) -> Option<Ipv6Addr> {
    u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from_bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_tables() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
                    +-- 127.0.0.0/8 2 0 2\n           |-- 127.0.0.0\n              /8 host LOCAL\n           \
                    |-- 127.0.0.1\n              /32 host LOCAL\n           |-- 203.0.113.2\n              \
                    /32 host LOCAL\n        |-- 203.0.113.255\n           /32 link BROADCAST\n\
                    Id 100:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 host LOCAL\n     |-- 198.51.100.0\n        \
                    /24 host LOCAL\n";
        let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect::<Vec<IpNet>>();
        assert_eq!(parse_fib_trie(trie), nets(&["127.0.0.0/8", "127.0.0.1/32", "203.0.113.2/32"]));

        let inet6 = "fd000000000000000000000000000002 04 40 00 82     eth0\n\
                     00000000000000000000000000000001 01 80 10 80       lo\n";
        assert_eq!(parse_if_inet6(inet6).collect::<Vec<_>>(), nets(&["fd00::2/128", "::1/128"]));

        let zeros = "00000000000000000000000000000000";
        let route = |net: &str, flags: &str, dev: &str| {
            format!("{net} {zeros} 00 {zeros} 00000000 00000003 00000000 {flags} {dev}\n")
        };
        let routes = [
            route("fd000000000000000000000000000000 40", "00000001", "eth0"),
            route("fd000000000000000000000000000002 80", "80200001", "eth0"),
            route("20010db8000000000000000000000000 20", "80200001", "lo"),
            route(&format!("{zeros} 00"), "80200001", "lo"),
        ];
        let local = parse_ipv6_route(&routes.concat()).collect::<Vec<_>>();
        assert_eq!(local, nets(&["fd00::2/128", "2001:db8::/32"]));
    }
}
