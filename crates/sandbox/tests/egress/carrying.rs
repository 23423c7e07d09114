//! What the gateway carries, counts and writes down, and when it stops.

use crate::support::*;
use polydev_sandbox::{
    Stream,
    egress::{DialError, Gateway, GatewayConfig, HostUsage, Verdict},
};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Barrier,
};

async fn sandbox() -> Sandbox {
    let network = Arc::new(FakeNetwork::default());
    network.host("api.example.com", echo().await);
    Sandbox::start(GatewayConfig::default(), &network, policy(&["api.example.com"], &[], &[80, 443]))
}

#[tokio::test]
async fn each_side_may_close_before_the_other() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let network = Arc::new(FakeNetwork::default());
    network.host("api.example.com", listener.local_addr().unwrap());
    let sandbox = Sandbox::start(GatewayConfig::default(), &network, policy(&["api.example.com"], &[], &[80]));

    // The program has said all; the server answers after it has seen the end.
    let (mut program, _) = sandbox.connect("api.example.com:80").await;
    let (mut server, _) = listener.accept().await.unwrap();
    program.write_all(b"question").await.unwrap();
    program.shutdown().await.unwrap();
    assert_eq!(rest(&mut server).await, b"question");
    server.write_all(b"answer").await.unwrap();
    drop(server);
    assert_eq!(rest(&mut program).await, b"answer");

    // The server has said all; the program goes on.
    let (mut program, _) = sandbox.connect("api.example.com:80").await;
    let (mut server, _) = listener.accept().await.unwrap();
    server.write_all(b"banner").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(rest(&mut program).await, b"banner");
    program.write_all(b"late").await.unwrap();
    program.shutdown().await.unwrap();
    assert_eq!(rest(&mut server).await, b"late");
}

#[tokio::test]
async fn bytes_sent_ahead_of_the_answer_are_kept() {
    let sandbox = sandbox().await;
    let mut program = sandbox.program().await;
    program.write_all(b"CONNECT api.example.com:80 HTTP/1.1\r\n\r\nahead").await.unwrap();
    assert_eq!(Answer::read(&mut program).await.status, 200);
    program.shutdown().await.unwrap();
    assert_eq!(rest(&mut program).await, b"ahead");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_megabyte_both_ways() {
    let sandbox = sandbox().await;
    let (program, _) = sandbox.connect("api.example.com:80").await;
    let sent: Vec<u8> = (0..1_048_576_u32).map(|n| (n * 31 % 251) as u8).collect();
    let (mut read, mut write) = program.into_split();
    let body = sent.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&body).await.unwrap();
        write.shutdown().await.unwrap();
    });
    assert!(rest(&mut read).await == sent);
    writer.await.unwrap();
    let usage = sandbox.way_out.hosts();
    let all = sent.len() as u64;
    let host = "api.example.com".into();
    assert_eq!(usage, [HostUsage { host, connections: 1, bytes_up: all, bytes_down: all, ..HostUsage::default() }]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_connections_at_once() {
    const OPEN_MAX: usize = 48;
    let sandbox = Arc::new(sandbox().await);
    // As many as may be open are open together; the rest get their turn when one of these ends.
    let together = Arc::new(Barrier::new(OPEN_MAX));
    let (served, open, most) = <(Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
    let programs: Vec<_> = (0..60_usize)
        .map(|n| {
            let (sandbox, together) = (Arc::clone(&sandbox), Arc::clone(&together));
            let (served, open, most) = (Arc::clone(&served), Arc::clone(&open), Arc::clone(&most));
            tokio::spawn(async move {
                let (mut program, answer) = sandbox.connect("api.example.com:80").await;
                assert_eq!(answer.status, 200);
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                if served.fetch_add(1, Ordering::SeqCst) < OPEN_MAX {
                    together.wait().await;
                }
                let text = format!("program {n}");
                assert_eq!(round_trip(&mut program, text.as_bytes()).await, text.as_bytes());
                open.fetch_sub(1, Ordering::SeqCst);
            })
        })
        .collect();
    let programs = async {
        for program in programs {
            program.await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), programs).await.expect("all are served");
    assert_eq!(most.load(Ordering::SeqCst), OPEN_MAX);
    assert_eq!(sandbox.way_out.hosts()[0].connections, 60);
}

#[tokio::test]
async fn the_book_is_right() {
    let sandbox = sandbox().await;
    let attached_at = sandbox.way_out.last_activity();
    let (mut program, _) = sandbox.connect("Api.Example.com:80").await;
    round_trip(&mut program, b"twelve bytes").await;
    drop(program);
    assert_eq!(sandbox.connect("evil.example.org:443").await.1.denied(), "not_allowed");
    assert_eq!(sandbox.connect("127.1:80").await.1.denied(), "loopback_address");
    assert_eq!(sandbox.connect("we`ird_{x}:80").await.1.status, 400);
    let log: Vec<_> = sandbox
        .way_out
        .log()
        .into_iter()
        .map(|c| (c.host, c.port, c.verdict, c.reason, c.bytes_up, c.bytes_down))
        .collect();
    assert_eq!(
        log,
        [
            ("api.example.com".to_owned(), 80, Verdict::Allowed, None, 12, 12),
            ("evil.example.org".to_owned(), 443, Verdict::Denied, Some("not_allowed"), 0, 0),
            ("127.0.0.1".to_owned(), 80, Verdict::Denied, Some("loopback_address"), 0, 0),
        ]
    );
    let denied = |host: &str, reason| HostUsage {
        host: host.to_owned(),
        denied: 1,
        reason: Some(reason),
        ..HostUsage::default()
    };
    let reached = HostUsage {
        host: "api.example.com".into(),
        connections: 1,
        bytes_up: 12,
        bytes_down: 12,
        ..HostUsage::default()
    };
    assert_eq!(
        sandbox.way_out.hosts(),
        [denied("127.0.0.1", "loopback_address"), reached, denied("evil.example.org", "not_allowed")]
    );
    assert!(sandbox.way_out.last_activity() >= attached_at);
    assert!(sandbox.way_out.log()[0].at >= attached_at);
}

#[tokio::test]
async fn a_host_that_cannot_be_reached() {
    let (_taken, closed) = refusing();
    let network = Arc::new(FakeNetwork::default());
    network.host("api.example.com", closed);
    let sandbox = Sandbox::start(GatewayConfig::default(), &network, policy(&["*"], &[], &[80]));
    for (target, reason) in [("api.example.com:80", "connect"), ("nowhere.example.com:80", "resolve")] {
        let answer = sandbox.connect(target).await.1;
        assert_eq!(answer.status, 502);
        assert!(answer.body.starts_with(&format!("polydev: `{target}` cannot be reached: ")), "{}", answer.body);
        let last = sandbox.way_out.log().pop().unwrap();
        assert_eq!((last.verdict, last.reason), (Verdict::Failed, Some(reason)));
    }
    // The second address is tried when the first does not answer.
    network.answer("two.example.com", &[PUBLIC, "1.1.1.1"]);
    network.door("1.1.1.1", 80, echo().await);
    assert_eq!(sandbox.connect("two.example.com:80").await.1.status, 200);
}

#[tokio::test]
async fn closing_ends_every_connection() {
    let sandbox = sandbox().await;
    let (mut open, _) = sandbox.connect("api.example.com:80").await;
    round_trip(&mut open, b"alive").await;
    let mut waiting = sandbox.program().await;
    sandbox.way_out.close().await;
    assert_eq!(rest(&mut open).await, b"");
    assert_eq!(rest(&mut waiting).await, b"");
    assert_eq!(sandbox.way_out.log().len(), 1, "the log stays");
}

#[tokio::test]
async fn dropping_the_handle_ends_every_connection() {
    let sandbox = sandbox().await;
    let (mut open, _) = sandbox.connect("api.example.com:80").await;
    round_trip(&mut open, b"alive").await;
    drop(sandbox.way_out);
    assert_eq!(rest(&mut open).await, b"");
}

#[tokio::test(start_paused = true)]
async fn a_dead_agent_is_dialled_ever_more_seldom_until_the_sandbox_is_gone() {
    let tries = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&tries);
    let gateway = Gateway::over(GatewayConfig::default(), Arc::new(FakeNetwork::default()));
    let way_out = gateway.attach(access(policy(&[], &[], &[])), move || {
        let tries = count.fetch_add(1, Ordering::SeqCst);
        async move {
            match tries {
                0..40 => Err::<Stream, _>(DialError::Io(io::ErrorKind::ConnectionRefused.into())),
                // Accepted and closed at once: no reason to spin either.
                40..80 => Ok(Box::new(tokio::io::duplex(1).0) as Stream),
                _ => Err(DialError::Gone),
            }
        }
    });
    let begun = tokio::time::Instant::now();
    // It ends by itself: `close` only waits.
    while tries.load(Ordering::SeqCst) <= 80 {
        tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>()).await.unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(3600));
    }
    way_out.close().await;
    assert!(begun.elapsed() > Duration::from_secs(60), "{:?}", begun.elapsed());
    assert!(tries.load(Ordering::SeqCst) <= 84);
}

#[tokio::test]
async fn a_sandbox_that_is_gone_takes_its_connections_with_it() {
    let sandbox = sandbox().await;
    let (mut open, _) = sandbox.connect("api.example.com:80").await;
    round_trip(&mut open, b"alive").await;
    let mut next = sandbox.program().await;
    // No more channels: the one that is to replace `next` finds the sandbox gone.
    sandbox.channels.lock().await.close();
    next.write_all(b"C").await.unwrap();
    assert_eq!(rest(&mut open).await, b"");
}

#[tokio::test]
async fn four_channels_wait() {
    let sandbox = sandbox().await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(sandbox.program().await);
    }
    assert_eq!(sandbox.dialled.load(Ordering::SeqCst), 4);
    // The first byte, not the whole request, makes room for the next program.
    waiting[0].write_all(b"C").await.unwrap();
    let mut fifth = sandbox.program().await;
    assert_eq!(sandbox.dialled.load(Ordering::SeqCst), 5);
    fifth.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut byte = [0];
    fifth.read_exact(&mut byte).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_carries_nothing_is_closed_in_the_end() {
    let sandbox = sandbox().await;
    let (mut program, _) = sandbox.connect("api.example.com:80").await;
    round_trip(&mut program, b"alive").await;
    // From here on the clock jumps to the next timer whenever nothing else is to be done.
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    assert_eq!(program.read(&mut [0]).await.unwrap_or(0), 0);
    let idle = begun.elapsed().as_secs() / 60;
    assert!((14..=15).contains(&idle), "{idle} minutes");
}
