//! The decision alone: names, rules, spellings, families.

use crate::support::policy;
use polydev_sandbox::egress::{Denial, Host, HostRule, OwnHost, Policy, Special, check_addresses, special};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

fn decide(policy: &Policy, host: &str, port: u16) -> Result<(), Denial> {
    policy.decide(&host.parse()?, port, &OwnHost::default())
}

#[test]
fn names_are_compared_as_dns_does() {
    let p =
        policy(&["api.example.com", "*.cdn.example.net"], &["bad.cdn.example.net", "*.evil.cdn.example.net"], &[443]);
    for allowed in
        ["api.example.com", "API.Example.COM", "api.example.com.", "a.cdn.example.net", "a.b.cdn.example.net"]
    {
        assert_eq!(decide(&p, allowed, 443), Ok(()), "{allowed}");
    }
    for (refused, why) in [
        ("example.com", Denial::NotAllowed),
        ("x.api.example.com", Denial::NotAllowed),
        ("api.example.com.evil.org", Denial::NotAllowed),
        ("xapi.example.com", Denial::NotAllowed),
        ("cdn.example.net", Denial::NotAllowed),
        ("xcdn.example.net", Denial::NotAllowed),
        ("bad.cdn.example.net", Denial::DenyRule),
        ("BAD.cdn.example.net.", Denial::DenyRule),
        ("x.evil.cdn.example.net", Denial::DenyRule),
        ("api.example.com..", Denial::BadTarget),
        ("", Denial::BadTarget),
        (".", Denial::BadTarget),
        ("api..example.com", Denial::BadTarget),
        ("api.example.com\0.evil.org", Denial::BadTarget),
        ("api.example.com%2eevil.org", Denial::BadTarget),
        ("user@api.example.com", Denial::BadTarget),
        ("äpi.example.com", Denial::BadTarget),
        ("ａpi.example.com", Denial::BadTarget),
        ("api。example.com", Denial::BadTarget),
        (" api.example.com", Denial::BadTarget),
    ] {
        assert_eq!(decide(&p, refused, 443), Err(why), "{refused:?}");
    }
    assert_eq!(decide(&p, "api.example.com", 22), Err(Denial::Port));
    assert_eq!(decide(&p, &format!("{}.com", "a".repeat(64)), 443), Err(Denial::BadTarget));
    assert_eq!(decide(&p, &["a"; 128].join("."), 443), Err(Denial::BadTarget));
}

#[test]
fn any_name_is_no_address_and_nothing_local() {
    let p = policy(&["*"], &["ads.example.com"], &[443, 80]);
    assert_eq!(decide(&p, "www.example.org", 80), Ok(()));
    assert_eq!(decide(&p, "ads.example.com", 443), Err(Denial::DenyRule));
    assert_eq!(decide(&p, "93.184.216.34", 443), Err(Denial::Literal));
    assert_eq!(decide(&p, "[2606:4700::1]", 443), Err(Denial::Literal));
    for local in [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "x.localhost",
        "printer.local",
        "printer.local.",
        "metadata.google.internal",
        "internal",
        "nas.home.arpa",
        "intranet",
    ] {
        assert_eq!(decide(&p, local, 443), Err(Denial::LocalName), "{local}");
        let own_rule = policy(&[local], &[], &[443]);
        assert_eq!(decide(&own_rule, local, 443), Err(Denial::LocalName), "{local}, although allowed");
    }
}

#[test]
fn public_addresses_need_a_network() {
    let p = policy(&["93.184.216.0/24", "2606:4700::/32", "10.0.0.0/8", "::1"], &["93.184.216.99"], &[443]);
    for allowed in ["93.184.216.34", "0x5d.0xb8.0xd8.0x22", "1572395042", "[2606:4700::1]", "[::ffff:93.184.216.34]"] {
        assert_eq!(decide(&p, allowed, 443), Ok(()), "{allowed}");
    }
    assert_eq!(decide(&p, "93.184.217.1", 443), Err(Denial::Literal));
    assert_eq!(decide(&p, "93.184.216.99", 443), Err(Denial::DenyRule));
    assert_eq!(decide(&p, "[::ffff:93.184.216.99]", 443), Err(Denial::DenyRule));
    // A network does not open what is not public.
    assert_eq!(decide(&p, "10.1.2.3", 443), Err(Denial::Address(Special::Private)));
    assert_eq!(decide(&p, "[::1]", 443), Err(Denial::Address(Special::Loopback)));
    // A denied network also holds for what a name resolves to.
    let denied = check_addresses(&["93.184.216.99".parse().unwrap()], &OwnHost::default(), &p.deny);
    assert_eq!(denied, Err(Denial::DenyRule));
}

#[test]
fn every_spelling_of_loopback_is_loopback() {
    let p = policy(&["*", "0.0.0.0/0", "::/0"], &[], &[443]);
    for spelling in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "017700000001",
        "0x7f000001",
        "0x7F.1",
        "0177.0.0.1",
        "0x7f.0.0.0x1",
        "127.000.000.001",
        "00000177.0.0.1",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:0001]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::127.0.0.1]",
    ] {
        assert_eq!(decide(&p, spelling, 443), Err(Denial::Address(Special::Loopback)), "{spelling}");
    }
    for not_even_that in [
        "127.0.0.1.1",
        "256.0.0.1",
        "0x",
        "1.2.3.08",
        "[::1",
        "::1",
        "[fe80::1%25eth0]",
        "[127.0.0.1]",
        "4294967296",
        "0x100000000",
    ] {
        let denied = decide(&p, not_even_that, 443);
        assert!(matches!(denied, Err(Denial::BadTarget | Denial::Address(_))), "{not_even_that}: {denied:?}");
    }
}

#[test]
fn every_family_that_is_not_public() {
    use Special::*;
    for (address, expected) in [
        ("0.0.0.0", Unspecified),
        ("0.1.2.3", Unspecified),
        ("10.0.0.1", Private),
        ("10.255.255.255", Private),
        ("100.64.0.1", Shared),
        ("100.127.255.255", Shared),
        ("127.0.0.1", Loopback),
        ("127.255.255.254", Loopback),
        ("169.254.169.254", Metadata),
        ("169.254.170.2", Metadata),
        ("100.100.100.200", Metadata),
        ("192.0.0.192", Metadata),
        ("168.63.129.16", Metadata),
        ("169.254.1.1", LinkLocal),
        ("172.16.0.1", Private),
        ("172.31.255.255", Private),
        ("192.0.0.8", Reserved),
        ("192.0.2.1", Documentation),
        ("192.88.99.1", Transition),
        ("192.168.0.1", Private),
        ("198.18.0.1", Benchmarking),
        ("198.19.255.255", Benchmarking),
        ("198.51.100.1", Documentation),
        ("203.0.113.1", Documentation),
        ("224.0.0.1", Multicast),
        ("239.255.255.255", Multicast),
        ("240.0.0.1", Reserved),
        ("255.255.255.255", Broadcast),
        ("::", Unspecified),
        ("::1", Loopback),
        ("::7f00:1", Transition),
        ("::5db8:d822", Transition),
        ("::ffff:10.0.0.1", Private),
        ("::ffff:169.254.169.254", Metadata),
        ("::ffff:0:0", Unspecified),
        ("64:ff9b::a00:1", Private),
        ("64:ff9b::a9fe:a9fe", Metadata),
        ("64:ff9b:1::1", Transition),
        ("64:ff9b:1:ffff::a00:1", Transition),
        ("100::1", Reserved),
        ("2001::1", Transition),
        ("2001:0:5db8:d822::1", Transition),
        ("2001:2::1", Benchmarking),
        ("2001:10::1", Reserved),
        ("2001:20::1", Reserved),
        ("2001:db8::1", Documentation),
        ("2002:a00:1::", Transition),
        ("2002:7f00:1::1", Transition),
        ("3fff::1", Documentation),
        ("4000::1", Reserved),
        ("5f00::1", Reserved),
        ("fc00::1", Private),
        ("fd12:3456::1", Private),
        ("fd00:ec2::254", Metadata),
        ("fec0::1", Private),
        ("fe80::1", LinkLocal),
        ("febf::1", LinkLocal),
        ("ff02::1", Multicast),
    ] {
        assert_eq!(special(address.parse().unwrap()), Some(expected), "{address}");
    }
    for public in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "93.184.216.34",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1",
        "2a00:1450:4001::200e",
        "2001:4860:4860::8888",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
    ] {
        assert_eq!(special(public.parse().unwrap()), None, "{public}");
    }
}

#[test]
fn this_host_is_no_destination() {
    let own = OwnHost {
        addresses: ["93.184.216.34/32", "2606:4700::1/128", "93.185.0.0/16"].map(|a| a.parse().unwrap()).into(),
        public: Some("Polydev.Example.com".parse().unwrap()),
    };
    let p = policy(&["*", "0.0.0.0/0", "::/0"], &[], &[443]);
    let decide = |host: &str| p.decide(&host.parse().unwrap(), 443, &own);
    assert_eq!(decide("polydev.example.com."), Err(Denial::OwnHost));
    assert_eq!(decide("www.example.com"), Ok(()));
    for spelling in [
        "93.184.216.34",
        "1572395042",
        "[::ffff:93.184.216.34]",
        "[64:ff9b::5db8:d822]",
        "[2606:4700::1]",
        "93.185.7.7",
    ] {
        assert_eq!(decide(spelling), Err(Denial::Address(Special::Own)), "{spelling}");
    }
    // A public URL that is an address is refused as what it is, and not by its spelling alone.
    let own = OwnHost { public: Some("1.1.1.1".parse().unwrap()), ..OwnHost::default() };
    let mapped = ["::ffff:1.1.1.1".parse().unwrap()];
    assert_eq!(check_addresses(&mapped, &own, &[]), Err(Denial::Address(Special::Own)));
    // One bad address among good ones refuses the name.
    let mixed = ["93.184.216.34", "10.0.0.1"].map(|a| a.parse().unwrap());
    assert_eq!(check_addresses(&mixed, &own, &[]), Err(Denial::Address(Special::Private)));
}

#[test]
fn rules_are_read_and_written() {
    for text in ["api.example.com", "*.example.com", "*", "203.0.113.0/24", "2606:4700::/32", "1.1.1.1/32"] {
        assert_eq!(text.parse::<HostRule>().unwrap().to_string(), text);
    }
    assert_eq!("API.Example.com.".parse::<HostRule>().unwrap().to_string(), "api.example.com");
    for bad in [
        "",
        "*.",
        "a.*.com",
        "*example.com",
        "http://example.com",
        "example.com:443",
        "1.2.3.0/33",
        "0x7f.1",
        "ä.com",
        "*.1.2.3.4",
    ] {
        let error = bad.parse::<HostRule>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{bad}` is not a host rule")), "{error}");
    }
}

/// Spellings that a C library's resolver takes for the same IPv4 address.
fn spellings(v4: Ipv4Addr) -> Vec<String> {
    let ([a, b, c, d], n) = (v4.octets(), u32::from(v4));
    let [high, low] = [n >> 16, n & 0xffff];
    vec![
        format!("{v4}"),
        format!("{v4}."),
        format!("{n}"),
        format!("0x{n:x}"),
        format!("0X{n:08X}"),
        format!("0{n:o}"),
        format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        format!("0x{a:x}.{b}.0{c:o}.0x{d:02X}"),
        format!("{a}.{}", n & 0xff_ffff),
        format!("{a}.{b}.{low}"),
        format!("[::ffff:{v4}]"),
        format!("[::ffff:{high:x}:{low:x}]"),
        format!("[64:ff9b::{v4}]"),
        format!("[64:ff9b::{high:x}:{low:x}]"),
    ]
}

/// IPv6 addresses that carry an IPv4 address somewhere.
fn wrappings(v4: Ipv4Addr) -> Vec<Ipv6Addr> {
    let n = u128::from(u32::from(v4));
    let teredo_client = 0x2001_0000_u128 << 96 | (0x4136_e378_u128 << 64) | (!n & 0xffff_ffff);
    let teredo_server = 0x2001_0000_u128 << 96 | n << 64;
    [
        n,
        0xffff << 32 | n,
        0x64_ff9b_u128 << 96 | n,
        0x64_ff9b_0001_u128 << 80 | n,
        0x2002_u128 << 112 | n << 80,
        teredo_client,
        teredo_server,
    ]
    .map(Ipv6Addr::from_bits)
    .into()
}

proptest! {
    #[test]
    fn a_spelling_is_judged_as_its_address(bits: u32) {
        let v4 = Ipv4Addr::from_bits(bits);
        let p = policy(&["*", "0.0.0.0/0", "::/0"], &[], &[443]);
        let expected = special(v4.into()).map_or(Ok(()), |special| Err(Denial::Address(special)));
        for spelling in spellings(v4) {
            prop_assert_eq!(decide(&p, &spelling, 443), expected, "{}", spelling);
        }
    }

    #[test]
    fn no_wrapping_opens_a_private_address(low in 0u32..1 << 24, first in prop::sample::select(vec![0u32, 10, 127, 224, 240, 255])) {
        let v4 = Ipv4Addr::from_bits(first << 24 | low);
        prop_assert!(special(v4.into()).is_some());
        for v6 in wrappings(v4) {
            prop_assert!(special(v6.into()).is_some(), "{}", v6);
        }
    }

    #[test]
    fn nothing_passes_that_is_not_unicast_of_the_internet(bits: u128) {
        let v6 = Ipv6Addr::from_bits(bits);
        if special(v6.into()).is_none() {
            let global = v6.segments()[0] >> 13 == 1;
            prop_assert!(global || v6.to_ipv4_mapped().is_some() || v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0]);
        }
    }

    #[test]
    fn whatever_is_sent_is_decided(text in ".{0,300}", port: u16) {
        let p = policy(&["*.example.com"], &[], &[443]);
        if decide(&p, &text, port).is_ok() {
            prop_assert!(text.to_ascii_lowercase().trim_end_matches('.').ends_with(".example.com"));
        }
    }

    #[test]
    fn a_host_reads_back_as_itself(name in "[a-zA-Z0-9-]{1,20}(\\.[a-zA-Z0-9_-]{1,20}){0,4}\\.?", v6: u128) {
        for text in [name, format!("[{}]", Ipv6Addr::from_bits(v6))] {
            if let Ok(host) = text.parse::<Host>() {
                prop_assert_eq!(host.to_string().parse::<Host>(), Ok(host));
            }
        }
    }

    #[test]
    fn deny_goes_before_allow(bits: u32) {
        let address = IpAddr::V4(Ipv4Addr::from_bits(bits));
        let rule = address.to_string();
        let p = policy(&[&rule], &[&rule], &[443]);
        prop_assert!(decide(&p, &rule, 443).is_err());
    }
}
