//! Where people come from when there is a proxy before the server, and what that counts for.

use super::{Browser, PASSWORD, blocking, empty, with_admin};
use crate::support::server::deeds;
use reqwest::Method;
use serde_json::json;

const BEHIND: [(&str, &str); 2] = [
    ("POLYDEV__SERVER__PUBLIC_URL", "https://polydev.example"),
    ("POLYDEV__SERVER__TRUSTED_PROXIES", "[\"127.0.0.9\"]"),
];
const BEYOND: [(&str, &str); 2] =
    [("POLYDEV__SERVER__PUBLIC_URL", "https://polydev.example"), ("POLYDEV__SERVER__LISTEN", "0.0.0.0:0")];
const NAMED: [(&str, &str); 3] = [BEYOND[0], BEYOND[1], BEHIND[1]];

#[tokio::test(flavor = "multi_thread")]
async fn the_proxies_that_are_named_are_believed_and_no_others() {
    let (server, _standin) = empty(&BEHIND).await;
    let link = std::fs::read_to_string(server.data_dir().join("setup-link")).unwrap();
    let token = link.trim_end().strip_prefix("https://polydev.example/setup?token=").unwrap();
    let ask = |proxy: u8, method: Method, path: &str| {
        let mut browser = Browser::at(&server, [127, 0, 0, proxy].into());
        browser.origin = Some("https://polydev.example".into());
        let request = browser.request(method, path).header("host", "polydev.example");
        request.header("x-forwarded-for", "192.0.2.7")
    };
    let body = json!({ "token": token, "email": "ann@example.com", "password": PASSWORD });
    let made = ask(9, Method::POST, "/setup").json(&body).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let cookie = made.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    for (proxy, address) in [(9, "192.0.2.7"), (1, "127.0.0.1")] {
        let body = json!({ "email": "ann@example.com", "password": "a guess" });
        assert_eq!(ask(proxy, Method::POST, "/session").json(&body).send().await.unwrap().status(), 401);
        let audit = ask(proxy, Method::GET, "/audit").header("cookie", &cookie).send().await.unwrap();
        let audit: serde_json::Value = audit.json().await.unwrap();
        assert_eq!(deeds(&audit)[0]["actor"]["address"], address, "{audit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_listens_beyond_loopback_is_told_to_name_the_proxy() {
    let warned = "name its address in `server.trusted_proxies`";
    assert!(empty(&BEYOND).await.0.log().contains(warned));
    assert!(!empty(&NAMED).await.0.log().contains(warned));
    assert!(!empty(&BEHIND).await.0.log().contains(warned));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_signed_in_is_known_to_the_next_server() {
    let (mut server, _standin, _browser) = with_admin().await;
    server = blocking(move || {
        server.stop();
        server.run();
        server
    })
    .await;
    // An attack from elsewhere, from as many addresses as it takes.
    let guess = |n: u8| {
        let mut attacker = Browser::at(&server, [127, 0, 2, 1 + n / 4].into());
        async move { attacker.sign_in("ann@example.com", "a guess").await.status().as_u16() }
    };
    futures_util::future::join_all((0..50).map(guess)).await;
    let mut more = 50;
    while guess(more).await == 401 {
        more += 1;
    }
    assert!(more < 60, "{more}");
    assert_eq!(Browser::new(&server).sign_in("ann@example.com", PASSWORD).await.status(), 201, "it is her address");
}
