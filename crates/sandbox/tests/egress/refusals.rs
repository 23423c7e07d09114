//! What the gateway refuses, each beside the same thing allowed.

use crate::support::*;
use polydev_sandbox::egress::{Access, Gateway, GatewayConfig, Mask, Verdict};
use std::{sync::Arc, time::Duration};
use tokio::io::AsyncWriteExt;

async fn sandbox(allow: &[&str], ports: &[u16]) -> (Sandbox, Arc<FakeNetwork>) {
    let network = Arc::new(FakeNetwork::default());
    network.host("api.example.com", echo().await);
    (Sandbox::start(GatewayConfig::default(), &network, policy(allow, &[], ports)), network)
}

#[tokio::test]
async fn a_name_that_is_not_allowed() {
    let (open, _) = sandbox(&["api.example.com"], &[80]).await;
    assert_eq!(open.connect("api.example.com:80").await.1.status, 200);

    let (closed, network) = sandbox(&["other.example.com"], &[80]).await;
    let answer = closed.connect("api.example.com:80").await.1;
    assert_eq!(answer.denied(), "not_allowed");
    assert_eq!(answer.body, "polydev: `api.example.com` was refused: `egress.allow` does not list it\n");
    assert!(network.resolved.lock().unwrap().is_empty(), "a refused name is not even looked up");
}

#[tokio::test]
async fn a_port_that_is_not_open() {
    let (open, _) = sandbox(&["api.example.com"], &[80]).await;
    assert_eq!(open.connect("api.example.com:80").await.1.status, 200);
    assert_eq!(open.connect("api.example.com:22").await.1.denied(), "port");
    for none in
        ["api.example.com:0", "api.example.com:65536", "api.example.com:+80", "api.example.com:", "api.example.com"]
    {
        let answer = open.connect(none).await.1;
        assert!(matches!(answer.status, 400 | 403), "{none}: {answer:?}");
    }
}

#[tokio::test]
async fn a_name_that_resolves_to_something_near() {
    let (sandbox, network) = sandbox(&["*"], &[80]).await;
    assert_eq!(sandbox.connect("api.example.com:80").await.1.status, 200);
    network.own.lock().unwrap().push("8.8.4.4/32".parse().unwrap());
    let connected = network.connected.lock().unwrap().len();
    for (address, code) in [
        ("127.0.0.1", "loopback_address"),
        ("10.0.0.5", "private_address"),
        ("192.168.1.1", "private_address"),
        ("100.64.3.2", "shared_address"),
        ("169.254.169.254", "metadata_address"),
        ("::1", "loopback_address"),
        ("fd00::1", "private_address"),
        ("::ffff:127.0.0.1", "loopback_address"),
        ("64:ff9b::7f00:1", "loopback_address"),
        ("2002:7f00:1::", "transition_address"),
        ("8.8.4.4", "own_address"),
        ("::ffff:8.8.4.4", "own_address"),
    ] {
        let name = format!("x{}.example.org", address.replace([':', '.'], "-"));
        network.answer(&name, &["1.1.1.1", address]);
        let answer = sandbox.connect(&format!("{name}:80")).await.1;
        assert_eq!(answer.denied(), code, "{address}");
        assert!(!answer.body.contains(address), "what an inner name resolves to is not told: {}", answer.body);
    }
    assert_eq!(network.connected.lock().unwrap().len(), connected, "no connection was tried");
}

#[tokio::test]
async fn a_name_that_resolves_differently_the_second_time() {
    let (sandbox, network) = sandbox(&["*"], &[80]).await;
    network.answer("rebind.example.org", &[PUBLIC]);
    network.answer("rebind.example.org", &["127.0.0.1"]);
    assert_eq!(sandbox.connect("rebind.example.org:80").await.1.status, 200);
    assert_eq!(*network.resolved.lock().unwrap(), ["rebind.example.org"], "asked once");
    assert_eq!(
        *network.connected.lock().unwrap(),
        [format!("{PUBLIC}:80").parse().unwrap()],
        "and that was connected to"
    );
    assert_eq!(sandbox.connect("rebind.example.org:80").await.1.denied(), "loopback_address");
}

#[tokio::test]
async fn the_server_itself() {
    let network = Arc::new(FakeNetwork::default());
    network.host("polydev.example.com", echo().await);
    let allowed = policy(&["*"], &[], &[80]);
    let open = Sandbox::start(GatewayConfig::default(), &network, allowed.clone());
    assert_eq!(open.connect("polydev.example.com:80").await.1.status, 200);

    // The first is a machine behind a translation of addresses: the public one is on none of its interfaces.
    for public in ["polydev.example.com", "https://Polydev.Example.com.", "93.184.216.34"] {
        let host = public.trim_start_matches("https://").parse().unwrap();
        let config = GatewayConfig { public_host: Some(host), ..GatewayConfig::default() };
        let closed = Sandbox::start(config, &network, policy(&["*", "0.0.0.0/0"], &[], &[80]));
        network.answer("innocent.example.org", &[PUBLIC]);
        for (target, code) in [
            ("polydev.example.com:80", if public == PUBLIC { "own_address" } else { "own_host" }),
            ("POLYDEV.Example.com.:80", if public == PUBLIC { "own_address" } else { "own_host" }),
            ("innocent.example.org:80", "own_address"),
            ("93.184.216.34:80", if public == PUBLIC { "own_host" } else { "own_address" }),
            ("0x5db8d822:80", if public == PUBLIC { "own_host" } else { "own_address" }),
            ("[::ffff:93.184.216.34]:80", "own_address"),
        ] {
            assert_eq!(closed.connect(target).await.1.denied(), code, "{target}, of {public}");
        }
        network.answer("elsewhere.example.org", &["1.1.1.1"]);
        network.door("1.1.1.1", 80, echo().await);
        assert_eq!(closed.connect("elsewhere.example.org:80").await.1.status, 200);
    }
}

#[tokio::test]
async fn a_name_of_the_public_url_that_cannot_be_looked_up_at_first() {
    let network = Arc::new(FakeNetwork::default());
    for name in ["a.example.org", "b.example.org"] {
        network.answer(name, &["1.1.1.1"]);
    }
    network.door("1.1.1.1", 80, echo().await);
    let config =
        GatewayConfig { public_host: Some("polydev.example.com".parse().unwrap()), ..GatewayConfig::default() };
    let sandbox = Sandbox::start(config, &network, policy(&["*"], &[], &[80]));
    // As on a host whose resolver starts after the server.
    assert_eq!(sandbox.connect("a.example.org:80").await.1.status, 200);
    network.answer("polydev.example.com", &["1.1.1.1"]);
    assert_eq!(sandbox.connect("b.example.org:80").await.1.denied(), "own_address", "it is asked for again");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_the_public_url_had_lately() {
    let network = Arc::new(FakeNetwork::default());
    network.answer("polydev.example.com", &["1.1.1.1"]);
    network.answer("polydev.example.com", &["8.8.8.8"]);
    for (name, address) in [("a.example.org", "1.1.1.1"), ("b.example.org", "8.8.8.8")] {
        network.answer(name, &[address]);
        network.door(address, 80, echo().await);
    }
    let config =
        GatewayConfig { public_host: Some("polydev.example.com".parse().unwrap()), ..GatewayConfig::default() };
    let sandbox = Sandbox::start(config, &network, policy(&["*"], &[], &[80]));
    assert_eq!(sandbox.connect("a.example.org:80").await.1.denied(), "own_address");
    assert_eq!(sandbox.connect("b.example.org:80").await.1.status, 200);
    let asked = || network.resolved.lock().unwrap().iter().filter(|name| *name == "polydev.example.com").count();
    assert_eq!(asked(), 1);
    tokio::time::advance(Duration::from_secs(61)).await;
    for name in ["a.example.org:80", "b.example.org:80"] {
        assert_eq!(sandbox.connect(name).await.1.denied(), "own_address", "{name}");
    }
    assert_eq!(asked(), 2, "once a minute");
    tokio::time::advance(Duration::from_secs(2 * 60 * 60)).await;
    assert_eq!(sandbox.connect("a.example.org:80").await.1.status, 200, "its address is another's by now");
    assert_eq!(sandbox.connect("b.example.org:80").await.1.denied(), "own_address");
}

#[tokio::test]
async fn a_name_is_told_without_what_must_not_be() {
    let network = Arc::new(FakeNetwork::default());
    network.host("s3cret.example.com", echo().await);
    let gateway = Gateway::over(GatewayConfig::default(), Arc::clone(&network) as _);
    let mask = Mask::new(|name| name.replace("s3cret", "[redacted]"));
    let sandbox = Sandbox::of(&gateway, Access { mask, ..access(policy(&["s3cret.example.com"], &[], &[80, 443])) });
    assert_eq!(sandbox.connect("s3cret.example.com:80").await.1.status, 200);
    for target in ["s3cret.example.org:80", "s3cret$:80", "s3cret.example.com:22"] {
        let answer = sandbox.connect(target).await.1;
        assert!(!answer.body.contains("s3cret") && answer.body.contains("[redacted]"), "{answer:?}");
    }
    let told = format!("{:?} {:?}", sandbox.way_out.log(), sandbox.way_out.hosts());
    assert!(!told.contains("s3cret") && told.contains("[redacted].example.com"), "{told}");
}

#[tokio::test]
async fn what_must_not_be_told_is_longer_than_what_is_shown() {
    // As keys of providers are.
    let key = format!("sk-ant-api03-{}end", "s3".repeat(46));
    assert_eq!(key.len(), 108);
    let gateway = Gateway::over(GatewayConfig::default(), Arc::new(FakeNetwork::default()));
    let mask = Mask::new({
        let key = key.clone();
        move |name| name.replace(&key, "[redacted]")
    });
    let sandbox = Sandbox::of(&gateway, Access { mask, ..access(policy(&[], &[], &[443])) });
    for target in [format!("{key}:443"), format!("user@{key}:443"), format!("{}{key}:443", "a".repeat(60))] {
        let answer = sandbox.connect(&target).await.1;
        assert!(answer.body.contains("[redacted]") && !answer.body.contains("s3s3"), "{answer:?}");
        assert_eq!(answer.denied(), "bad_target");
    }
    let told = format!("{:?} {:?}", sandbox.way_out.log(), sandbox.way_out.hosts());
    assert!(told.contains("[redacted]") && !told.contains("s3s3"), "{told}");
}

#[tokio::test]
async fn anything_but_connect() {
    let (sandbox, _) = sandbox(&["*"], &[80]).await;
    for request in ["GET http://api.example.com/secret?q=1 HTTP/1.1", "POST / HTTP/1.1", "OPTIONS * HTTP/1.1"] {
        let mut program = sandbox.program().await;
        program.write_all(format!("{request}\r\nHost: api.example.com\r\n\r\n").as_bytes()).await.unwrap();
        let answer = Answer::read(&mut program).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("CONNECT")), "{request}");
        assert_eq!(rest(&mut program).await, b"");
    }
    assert!(sandbox.way_out.log().is_empty());
}

#[tokio::test]
async fn what_is_not_http() {
    let (sandbox, _) = sandbox(&["*"], &[80]).await;
    for rubbish in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"SSH-2.0-x\r\n\r\n",
        b"CONNECT a\tb HTTP/1.1\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
    ] {
        let mut program = sandbox.program().await;
        program.write_all(rubbish).await.unwrap();
        program.shutdown().await.unwrap();
        let answer = String::from_utf8(rest(&mut program).await).unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    assert_eq!(sandbox.connect("api.example.com:80").await.1.status, 200, "and the gateway lives on");
}

#[tokio::test]
async fn a_head_beyond_the_limit() {
    let (sandbox, _) = sandbox(&["*"], &[80]).await;
    let with_header = |len: usize| format!("CONNECT api.example.com:80 HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(len));
    let mut program = sandbox.program().await;
    program.write_all(with_header(60 * 1024).as_bytes()).await.unwrap();
    assert_eq!(Answer::read(&mut program).await.status, 200);

    let mut program = sandbox.program().await;
    // The gateway may close before it has read it all.
    let _ = program.write_all(with_header(70 * 1024).as_bytes()).await;
    let answer = String::from_utf8(rest(&mut program).await).unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(sandbox.way_out.log().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends() {
    let (sandbox, _) = sandbox(&["*"], &[80]).await;
    let mut program = sandbox.program().await;
    let begun = tokio::time::Instant::now();
    program.write_all(b"CONNECT api.example.com:80 HTTP/1.1\r\n").await.unwrap();
    // One more byte a second, for as long as they are taken; the clock is the test's own.
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    for tick in 0.. {
        ticks.tick().await;
        if program.write_all(b"x").await.is_err() {
            break;
        }
        assert!(tick < 60, "still open after a minute");
    }
    assert!(begun.elapsed() >= Duration::from_secs(9), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_greeting_for_another_server() {
    let (sandbox, _) = sandbox(&["api.example.com"], &[443]).await;
    let hello = client_hello("api.example.com");
    let (mut program, answer) = sandbox.connect("API.example.com.:443").await;
    assert_eq!(answer.status, 200);
    assert_eq!(round_trip(&mut program, &hello).await, hello, "the right name passes, and not a byte is lost");
    assert_eq!(round_trip(&mut program, b"more").await, b"more");

    const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 112];
    let mut garbage = vec![22, 3, 1, 0x40, 0, 1, 0, 0x7f, 0xff];
    garbage.resize(20 * 1024, 0);
    for (bytes, reason) in [
        (client_hello("evil.example.org"), "other_server_name"),
        (client_hello("x.api.example.com"), "other_server_name"),
        (client_hello("192.0.2.1"), "no_server_name"),
        (b"GET / HTTP/1.1\r\nHost: evil.example.org\r\n\r\n".to_vec(), "not_tls"),
        (garbage, "not_tls"),
    ] {
        let (mut program, answer) = sandbox.connect("api.example.com:443").await;
        assert_eq!(answer.status, 200);
        let _ = program.write_all(&bytes).await;
        let rest = rest(&mut program).await;
        assert!(rest == ALERT || rest.is_empty() && bytes.len() > 16 * 1024, "{reason}: {rest:?}");
        let last = sandbox.way_out.log().pop().unwrap();
        assert_eq!((last.verdict, last.reason, last.bytes_down), (Verdict::Denied, Some(reason), 0));
    }
}

#[tokio::test]
async fn a_greeting_in_small_pieces() {
    let (sandbox, _) = sandbox(&["api.example.com"], &[443]).await;
    let hello = client_hello("api.example.com");
    let (mut program, _) = sandbox.connect("api.example.com:443").await;
    for piece in hello.chunks(7) {
        program.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(round_trip(&mut program, b"").await, b"");
    let mut back = vec![0; hello.len()];
    tokio::io::AsyncReadExt::read_exact(&mut program, &mut back).await.unwrap();
    assert_eq!(back, hello);
}
