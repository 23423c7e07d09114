//! Through a proxy of the test's own on loopback.

use crate::support::*;
use polydev_sandbox::egress::{Access, BadUpstream, Gateway, GatewayConfig, UpstreamProxy, Verdict};
use secrecy::ExposeSecret;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What a proxy was asked, request by request.
type Asked = Arc<Mutex<Vec<String>>>;

/// An HTTP proxy that leads every CONNECT to `target`, or answers `status`.
async fn http_proxy(target: SocketAddr, status: u16) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Asked::default());
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let head = read_head(&mut client).await;
                seen.lock().unwrap().push(head);
                let answer = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: 0\r\n\r\n");
                if status == 200 {
                    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                    let mut target = TcpStream::connect(target).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut target).await;
                } else {
                    client.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (address, asked)
}

/// A SOCKS5 proxy (RFC 1928) with user name and password (RFC 1929) that leads to `target`.
async fn socks_proxy(target: SocketAddr) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Asked::default());
    let seen = Arc::clone(&asked);
    async fn field(stream: &mut TcpStream) -> String {
        let mut bytes = vec![0; stream.read_u8().await.unwrap().into()];
        stream.read_exact(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                assert_eq!(client.read_u8().await.unwrap(), 5);
                field(&mut client).await;
                client.write_all(&[5, 2]).await.unwrap();
                assert_eq!(client.read_u8().await.unwrap(), 1);
                let (user, password) = (field(&mut client).await, field(&mut client).await);
                client.write_all(&[1, u8::from(password != "s:3cret")]).await.unwrap();
                let mut head = [0; 4];
                client.read_exact(&mut head).await.unwrap();
                assert_eq!(head, [5, 1, 0, 3], "the name is handed on unresolved");
                let (name, port) = (field(&mut client).await, client.read_u16().await.unwrap());
                seen.lock().unwrap().push(format!("{user} {name}:{port}"));
                client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
                let mut target = TcpStream::connect(target).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut target).await;
            });
        }
    });
    (address, asked)
}

fn through(url: &str, allow: &[&str]) -> (Sandbox, Arc<FakeNetwork>) {
    let network = Arc::new(FakeNetwork::default());
    let config = GatewayConfig { upstream: Some(url.parse().unwrap()), ..GatewayConfig::default() };
    (Sandbox::start(config, &network, policy(allow, &[], &[80, 443])), network)
}

#[tokio::test]
async fn http_with_a_login() {
    let (proxy, asked) = http_proxy(echo().await, 200).await;
    let (sandbox, network) = through(&format!("http://ada:p%40ss@{proxy}"), &["api.example.com"]);
    let (mut program, answer) = sandbox.connect("api.example.com:80").await;
    assert_eq!(answer.status, 200);
    assert_eq!(round_trip(&mut program, b"hello").await, b"hello");
    let (mut program, _) = sandbox.connect("api.example.com:443").await;
    let hello = client_hello("api.example.com");
    assert_eq!(round_trip(&mut program, &hello).await, hello);

    assert!(network.resolved.lock().unwrap().is_empty(), "the name is handed on unresolved");
    let asked = asked.lock().unwrap();
    let head = asked[0].to_ascii_lowercase();
    assert!(head.starts_with("connect api.example.com:80 http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: api.example.com:80\r\n"), "{head}");
    // "ada:p@ss"
    assert!(asked[0].contains("Basic YWRhOnBAc3M="), "{}", asked[0]);
}

#[tokio::test]
async fn socks5_with_a_login() {
    let (proxy, asked) = socks_proxy(echo().await).await;
    let (sandbox, _) = through(&format!("socks5://ada:s:3cret@{proxy}"), &["api.example.com"]);
    let (mut program, answer) = sandbox.connect("api.example.com:80").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(round_trip(&mut program, b"hello").await, b"hello");
    assert_eq!(*asked.lock().unwrap(), ["ada api.example.com:80"]);

    let (sandbox, _) = through(&format!("socks5://ada:wr0ng@{proxy}"), &["api.example.com"]);
    let answer = sandbox.connect("api.example.com:80").await.1;
    assert_eq!(answer.status, 502);
    assert!(!answer.body.contains("wr0ng"), "{}", answer.body);
}

#[tokio::test]
async fn the_policy_goes_first() {
    let (proxy, asked) = http_proxy(echo().await, 200).await;
    let (sandbox, _) = through(&format!("http://{proxy}"), &["*", "0.0.0.0/0", "::/0"]);
    for (target, code) in [
        ("localhost:80", "local_name"),
        ("printer.local:80", "local_name"),
        ("metadata.google.internal:80", "local_name"),
        ("x.localhost:80", "local_name"),
        ("10.0.0.1:80", "private_address"),
        ("2130706433:80", "loopback_address"),
        ("[::ffff:169.254.169.254]:80", "metadata_address"),
        ("api.example.com:22", "port"),
    ] {
        assert_eq!(sandbox.connect(target).await.1.denied(), code, "{target}");
    }
    // The proxy's own address is exempt for the gateway, not for the sandbox.
    assert_eq!(sandbox.connect(&proxy.to_string()).await.1.denied(), "loopback_address");
    assert!(asked.lock().unwrap().is_empty(), "the proxy heard nothing of it");
    assert_eq!(sandbox.connect("api.example.com:80").await.1.status, 200);
    assert_eq!(sandbox.connect("1.1.1.1:80").await.1.status, 200);
}

#[tokio::test]
async fn a_proxy_that_refuses_or_is_down() {
    for status in [403, 407, 503] {
        let (proxy, _) = http_proxy(echo().await, status).await;
        let (sandbox, _) = through(&format!("http://ada:s3cret@{proxy}"), &["*"]);
        let answer = sandbox.connect("api.example.com:80").await.1;
        assert_eq!(answer.status, 502);
        let words = format!("polydev: `api.example.com:80` cannot be reached: the upstream proxy answered {status}");
        assert!(answer.body.starts_with(&words), "{}", answer.body);
        assert!(!answer.body.contains("s3cret") && answer.header("x-polydev-denied").is_none());
    }
    let (_taken, down) = refusing();
    let (sandbox, _) = through(&format!("http://{down}"), &["*"]);
    let answer = sandbox.connect("api.example.com:80").await.1;
    assert_eq!(answer.status, 502);
    assert!(answer.body.contains("the upstream proxy cannot be reached: "), "{}", answer.body);
    let last = sandbox.way_out.log().pop().unwrap();
    assert_eq!((last.verdict, last.reason), (Verdict::Failed, Some("upstream")));

    let not_a_proxy = echo().await;
    let (sandbox, _) = through(&format!("http://{not_a_proxy}"), &["*"]);
    assert_eq!(sandbox.connect("api.example.com:80").await.1.status, 502);
}

#[test]
fn each_seat_has_a_port_and_no_port_more_seats_than_another() {
    let range: UpstreamProxy = "http://proxy.example.com:10001-10100".parse().unwrap();
    let mut seats = [0_u32; 100];
    for seat in 0..250 {
        seats[usize::from(range.port_for(seat) - 10001)] += 1;
    }
    assert_eq!(seats.map(|seats| seats - 2).iter().sum::<u32>(), 50, "two or three each: {seats:?}");
    // Frozen: a person must keep the port over a new version of this server.
    assert_eq!([0, 99, 100, u64::MAX].map(|seat| range.port_for(seat)), [10001, 10100, 10001, 10016]);
    assert!(range.has_seats());
    assert!(range.url().expose_secret().ends_with(":10100"));
    let one: UpstreamProxy = "socks5://proxy.example.com:1080".parse().unwrap();
    assert_eq!((one.port_for(7), one.has_seats()), (1080, false));
    let all: UpstreamProxy = "http://proxy.example.com:1-65535".parse().unwrap();
    assert_eq!([0, 65534, 65535].map(|seat| all.port_for(seat)), [1, 65535, 1]);
}

#[tokio::test]
async fn a_person_goes_out_by_the_port_of_their_seat() {
    // Three ports in a row that are free, of which the proxy has each.
    let (first, listeners) = loop {
        let one = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let first = one.local_addr().unwrap().port();
        let Some(last) = first.checked_add(2) else { continue };
        if let (Ok(two), Ok(three)) =
            (TcpListener::bind(("127.0.0.1", first + 1)).await, TcpListener::bind(("127.0.0.1", last)).await)
        {
            break (first, [one, two, three]);
        }
    };
    let network = Arc::new(FakeNetwork::default());
    let upstream = Some(format!("http://127.0.0.1:{first}-{}", first + 2).parse().unwrap());
    let gateway = Gateway::over(GatewayConfig { upstream, ..GatewayConfig::default() }, Arc::clone(&network) as _);
    for (seat, listener) in [0, 1, 2, 3, 5].into_iter().zip([0, 1, 2, 0, 2].map(|at| &listeners[at])) {
        let sandbox = Sandbox::of(&gateway, Access { seat, ..access(policy(&["*"], &[], &[80])) });
        let mut program = sandbox.program().await;
        program.write_all(b"CONNECT api.example.com:80 HTTP/1.1\r\n\r\n").await.unwrap();
        let (mut asked, _) = listener.accept().await.unwrap();
        assert!(read_head(&mut asked).await.starts_with("CONNECT api.example.com:80"), "seat {seat}");
    }
}

#[test]
fn the_text_is_read_and_shown_without_its_login() {
    for (text, shown) in [
        ("http://proxy.example.com:3128", "http://proxy.example.com:3128"),
        ("http://Proxy.Example.com:3128/", "http://proxy.example.com:3128"),
        ("http://ada:s3cret@proxy:3128", "http://proxy:3128"),
        ("http://ada:@127.0.0.1:3128", "http://127.0.0.1:3128"),
        ("socks5://ada:s3cret@[::1]:1080", "socks5://[::1]:1080"),
        ("http://ada:s3cret@proxy.example.com:10001-10100", "http://proxy.example.com:10001-10100"),
    ] {
        let proxy: UpstreamProxy = text.parse().unwrap();
        assert_eq!(proxy.to_string(), shown);
        let debug =
            format!("{proxy:?} {:?}", GatewayConfig { upstream: Some(proxy.clone()), ..GatewayConfig::default() });
        assert!(!debug.contains("s3cret") && !debug.contains("ada"), "{debug}");
    }
    for (text, error) in [
        ("", BadUpstream::Scheme),
        ("proxy:3128", BadUpstream::Scheme),
        ("https://proxy:3128", BadUpstream::Scheme),
        ("http://proxy:3128/path", BadUpstream::Path),
        ("http://proxy:3128?x", BadUpstream::Path),
        ("http://ada@proxy:3128", BadUpstream::Login),
        ("http://:s3cret@proxy:3128", BadUpstream::Login),
        ("http://a%3Ab:s3cret@proxy:3128", BadUpstream::Login),
        ("http://ada:s3%0Acret@proxy:3128", BadUpstream::Login),
        ("socks5://ada:@proxy:1080", BadUpstream::LoginLength),
        ("http://proxy", BadUpstream::NoPort("proxy".into())),
        ("http://[::1]", BadUpstream::NoPort("[::1]".into())),
        ("http://proxy:", BadUpstream::Port("".into())),
        ("http://proxy:0", BadUpstream::Port("0".into())),
        ("http://proxy:+80", BadUpstream::Port("+80".into())),
        ("http://proxy:65536", BadUpstream::Port("65536".into())),
        ("http://proxy:20-10", BadUpstream::Port("20-10".into())),
        ("http://proxy:10-", BadUpstream::Port("10-".into())),
        ("http://:3128", BadUpstream::Host("".into())),
        ("http://pro xy:3128", BadUpstream::Host("pro xy".into())),
    ] {
        let found = text.parse::<UpstreamProxy>().unwrap_err();
        assert_eq!(found, error, "{text}");
        assert!(!found.to_string().contains("s3cret"));
    }
}
