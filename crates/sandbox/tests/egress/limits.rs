//! What a person's sandboxes may use together, and that it takes nothing from another person's.

use crate::support::*;
use polydev_sandbox::egress::{Gateway, GatewayConfig, Limits, Verdict};
use std::{
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::io::AsyncWriteExt;

/// Two sandboxes of one person, and one of another.
async fn three(limits: Limits) -> ([Sandbox; 3], Arc<FakeNetwork>) {
    let network = Arc::new(FakeNetwork::default());
    network.host("api.example.com", echo().await);
    let gateway = Gateway::over(GatewayConfig { limits, ..GatewayConfig::default() }, Arc::clone(&network) as _);
    let of = |person: &str| Sandbox::of(&gateway, access_of(person, policy(&["*"], &[], &[80])));
    ([of("usr_ada"), of("usr_ada"), of("usr_bob")], network)
}

#[tokio::test]
async fn so_many_connections_at_a_time_over_all_sandboxes() {
    let ([one, two, other], _) = three(Limits { connections: NonZeroU64::new(3), ..Limits::default() }).await;
    let mut open = Vec::new();
    for sandbox in [&one, &two, &two] {
        let (program, answer) = sandbox.connect("api.example.com:80").await;
        assert_eq!(answer.status, 200);
        open.push(program);
    }
    for sandbox in [&one, &two] {
        let answer = sandbox.connect("api.example.com:80").await.1;
        assert_eq!((answer.status, answer.header("x-polydev-denied")), (429, Some("too_many_connections")));
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(answer.body.contains("egress.max_connections"), "{}", answer.body);
        let last = sandbox.way_out.log().pop().unwrap();
        assert_eq!((last.verdict, last.reason), (Verdict::Denied, Some("too_many_connections")));
        assert_eq!(sandbox.way_out.hosts()[0].denied, 1);
    }
    assert_eq!(other.connect("api.example.com:80").await.1.status, 200, "another person's are others");

    // A place is free again when a connection has ended; what a refused one had asked for takes none.
    let mut ended = open.pop().unwrap();
    ended.shutdown().await.unwrap();
    rest(&mut ended).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while two.connect("api.example.com:80").await.1.status == 429 {
        assert!(Instant::now() < deadline, "no place");
    }
}

#[tokio::test]
async fn a_flood_of_new_connections_waits_for_its_turn() {
    let ([one, two, _], network) = three(Limits { connections_per_s: NonZeroU64::new(100), ..Limits::default() }).await;
    let begun = Instant::now();
    for n in 0..150 {
        let sandbox = if n % 2 == 0 { &one } else { &two };
        assert_eq!(sandbox.connect("api.example.com:22").await.1.denied(), "port", "a refused one counts too");
    }
    // A second's worth goes at once. It may take longer, and not less.
    assert!(begun.elapsed() >= Duration::from_millis(450), "{:?}", begun.elapsed());
    assert!(network.resolved.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_bytes_a_second_and_every_one_of_them() {
    let ([one, _, other], _) = three(Limits { bytes_per_s: NonZeroU64::new(1024 * 1024), ..Limits::default() }).await;
    let sent: Vec<u8> = (0..1024 * 1024_u32).map(|n| (n * 31 % 251) as u8).collect();
    let begun = Instant::now();
    for sandbox in [&one, &other] {
        let (program, _) = sandbox.connect("api.example.com:80").await;
        let (mut read, mut write) = program.into_split();
        let body = sent.clone();
        let writer = tokio::spawn(async move {
            write.write_all(&body).await.unwrap();
            write.shutdown().await.unwrap();
        });
        assert!(rest(&mut read).await == sent);
        writer.await.unwrap();
    }
    // 1 MiB there and 1 back, less the second's worth that goes at once, for each of both.
    assert!(begun.elapsed() >= Duration::from_millis(1900), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn names_that_take_long_hold_up_their_own_person_alone() {
    let ([one, two, other], network) = three(Limits::default()).await;
    network.never("slow.example.com");
    for round in 0..3 {
        let slow = (0..8).map(|n| if n % 2 == 0 { &one } else { &two }.connect("slow.example.com:80"));
        for (_, answer) in futures_util::future::join_all(slow).await {
            assert_eq!(answer.status, 504, "{round}: {answer:?}");
        }
    }
    let asked = network.resolved.lock().unwrap().len();
    assert_eq!(asked, 8, "whoever gave up is still being looked up");
    assert_eq!(other.connect("api.example.com:80").await.1.status, 200);
}
