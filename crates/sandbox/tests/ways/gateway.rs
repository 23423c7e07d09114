//! Through the gateway: a program in a real sandbox asks its proxy. What answers is a gateway as the server has it, over
//! a network of the test's own, with the widest policy that an operator can give; or one that lacks a rule.

use crate::{
    Family, assert_complete,
    egress::client_hello,
    house::{House, Inside, Said, judge},
    world::{FEW, Places, WIDEST, WayOut, Without, way_out},
};
use std::collections::BTreeSet;

/// Stands for the address of the sandbox's proxy, among the arguments of a try.
const PROXY: &str = "PROXY";

/// A way through the gateway: several spellings of one thing, each with its refusal.
struct Way {
    name: &'static str,
    without: Without,
    tries: Vec<(Vec<String>, String)>,
}

/// A way of several targets, each with the code of its refusal.
fn to(name: &'static str, without: Without, targets: &[(&str, &str)]) -> Way {
    let one =
        |(target, code): &(&str, &str)| (vec!["connect".into(), PROXY.to_owned(), (*target).to_owned()], gate(code));
    Way { name, without, tries: targets.iter().map(one).collect() }
}

/// A refusal of the gateway.
fn gate(code: &str) -> String {
    format!("gateway {code}")
}

fn ways() -> Vec<Way> {
    use Without::*;
    let hello = |name: &str| {
        let hello = data_encoding::HEXLOWER.encode(&client_hello(name));
        vec!["connect".to_owned(), PROXY.to_owned(), "api.example.com:443".to_owned(), hello]
    };
    // `unrecognized_name`, fatal (RFC 8446, 6.2).
    let alert = "alert 2:112".to_owned();
    let fetch = |url: &str, code| (vec!["fetch".to_owned(), PROXY.to_owned(), url.to_owned()], gate(code));
    vec![
        to(
            "loopback, through the gateway",
            AllRules,
            &[
                ("127.0.0.1:80", "loopback_address"),
                ("[::1]:80", "loopback_address"),
                ("0.0.0.0:80", "unspecified_address"),
                ("localhost:80", "local_name"),
            ],
        ),
        Way {
            name: "the server's API, through the gateway",
            without: AllRules,
            tries: vec![
                fetch("http://127.0.0.1:4000/api/v1/me", "loopback_address"),
                fetch("http://LOCALHOST.:4000/api/v1/me", "local_name"),
            ],
        },
        to(
            "the public URL",
            PublicUrl,
            &[
                ("polydev.example.com:80", "own_host"),
                ("Polydev.EXAMPLE.com.:80", "own_host"),
                ("alias.example.org:80", "own_address"),
                ("93.184.216.40:80", "own_address"),
            ],
        ),
        to(
            "the host's public address",
            OwnAddresses,
            &[("8.8.4.4:80", "own_address"), ("134743044:80", "own_address"), ("host.example.org:80", "own_address")],
        ),
        to(
            "private ranges",
            AllRules,
            &[
                ("10.0.0.5:80", "private_address"),
                ("172.16.3.4:80", "private_address"),
                ("192.168.1.1:80", "private_address"),
                ("100.64.3.2:80", "shared_address"),
            ],
        ),
        to(
            "IPv6 addresses that are near",
            AllRules,
            &[
                ("[fd00::1]:80", "private_address"),
                ("[fe80::1]:80", "link_local_address"),
                ("[FD00:0:0::1]:80", "private_address"),
            ],
        ),
        to("link-local addresses", AllRules, &[("169.254.1.1:80", "link_local_address")]),
        to(
            "metadata of clouds",
            AllRules,
            &[
                ("169.254.169.254:80", "metadata_address"),
                ("100.100.100.200:80", "metadata_address"),
                ("168.63.129.16:80", "metadata_address"),
                ("[fd00:ec2::254]:80", "metadata_address"),
                ("metadata.google.internal:80", "local_name"),
            ],
        ),
        to(
            "v4-mapped spellings",
            AllRules,
            &[
                ("[::ffff:10.0.0.5]:80", "private_address"),
                ("[::ffff:7f00:1]:80", "loopback_address"),
                ("[0:0:0:0:0:ffff:a9fe:a9fe]:80", "metadata_address"),
            ],
        ),
        to(
            "NAT64 spellings",
            AllRules,
            &[
                ("[64:ff9b::10.0.0.5]:80", "private_address"),
                ("[64:ff9b::a9fe:a9fe]:80", "metadata_address"),
                ("[64:ff9b:1::a00:5]:80", "transition_address"),
            ],
        ),
        to(
            "other IPv6 spellings of IPv4",
            AllRules,
            &[
                ("[::10.0.0.5]:80", "transition_address"),
                ("[2002:a00:5::1]:80", "transition_address"),
                ("[2001:0:a00:5::1]:80", "transition_address"),
            ],
        ),
        to(
            "decimal spellings",
            AllRules,
            &[
                ("2130706433:80", "loopback_address"),
                ("167772165:80", "private_address"),
                ("2852039166:80", "metadata_address"),
            ],
        ),
        to(
            "octal, hexadecimal and short spellings",
            AllRules,
            &[
                ("017700000001:80", "loopback_address"),
                ("0177.0.0.1:80", "loopback_address"),
                ("0x7f000001:80", "loopback_address"),
                ("0xA9.0xfe.43518:80", "metadata_address"),
                ("127.1:80", "loopback_address"),
                ("10.5:80", "private_address"),
            ],
        ),
        to(
            "names that lead to something near",
            AllRules,
            &[
                ("inner.example.org:80", "private_address"),
                ("looks-public.example.org:80", "metadata_address"),
                ("printer.local:80", "local_name"),
                ("intranet:80", "local_name"),
            ],
        ),
        Way {
            name: "DNS rebinding",
            without: Pinning,
            tries: vec![(
                ["twice", PROXY, "rebind.example.org:80"].map(str::to_owned).into(),
                gate("private_address after public"),
            )],
        },
        Way {
            name: "pages that lead to something near",
            without: AllRules,
            tries: vec![
                fetch("http://redirect.example.org/169.254.169.254:4000", "metadata_address"),
                fetch("http://redirect.example.org/inner.example.org:4000", "private_address"),
                fetch("http://redirect.example.org/localhost:4000", "local_name"),
                fetch("http://redirect.example.org/2130706433:4000", "loopback_address"),
            ],
        },
        Way {
            name: "a greeting for another server",
            without: AllRules,
            // To an address no name is sent.
            tries: vec![(hello("evil.example.org"), alert.clone()), (hello("192.0.2.1"), alert.clone())],
        },
        Way {
            name: "what is not TLS, where TLS is spoken",
            without: AllRules,
            tries: vec![(
                ["connect", PROXY, "api.example.com:443", "474554202f20485454502f312e310d0a0d0a"]
                    .map(str::to_owned)
                    .into(),
                alert,
            )],
        },
        to("other ports", Port, &[("api.example.com:22", "port")]),
        to(
            "names that are not allowed",
            Names,
            &[("api.example.com:80", "not_allowed"), ("x.other.example.com:80", "not_allowed")],
        ),
        to(
            "names that are denied",
            Deny,
            &[("denied.example.com:80", "deny_rule"), ("DENIED.example.com.:80", "deny_rule")],
        ),
    ]
}

/// A sandbox with a way out of one kind, which it keeps: while programs are started elsewhere, a channel that was
/// closed may look open for a moment.
struct Side {
    without: Option<Without>,
    allow: &'static [&'static str],
    inside: Inside,
    proxy: String,
    _way_out: WayOut,
}

impl Side {
    async fn new(house: &House, places: &Places, allow: &'static [&'static str], without: Option<Without>) -> Self {
        let inside = house.sandbox(&[]).await;
        let proxy = inside.guest.hello().await.unwrap().proxy;
        let way_out = way_out(&inside, places.network(), allow, without);
        Self { without, allow, inside, proxy, _way_out: way_out }
    }

    async fn probe(&self, args: &[String]) -> Said {
        let args = args.iter().map(|arg| if arg == PROXY { &self.proxy } else { arg });
        self.inside.probe(&args.map(String::as_str).collect::<Vec<_>>()).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_the_gateway() {
    let Some(house) = House::one().await else { return };
    let places = Places::new(&house.canary).await;
    let (mut wrong, mut tried, mut sides) = (Vec::new(), BTreeSet::new(), Vec::<Side>::new());
    for Way { name, without, tries } in ways() {
        // Who allows one name only, for the way of the others.
        let allow = if without == Without::Names { FEW } else { WIDEST };
        for without in [Some(without), None] {
            if !sides.iter().any(|side| (side.without, side.allow) == (without, allow)) {
                sides.push(Side::new(&house, &places, allow, without).await);
            }
        }
        let side = |without| sides.iter().find(|side| (side.without, side.allow) == (without, allow)).unwrap();
        for (args, refused) in tries {
            let (open, shut) = (side(Some(without)).probe(&args).await, side(None).probe(&args).await);
            wrong
                .extend(judge(name, &open, &shut, &house.canary, &refused).map(|fault| format!("{args:.3?}: {fault}")));
        }
        tried.insert(name);
    }
    for Side { inside, .. } in sides {
        inside.end().await;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_complete(Family::Gateway, &tried);
}
