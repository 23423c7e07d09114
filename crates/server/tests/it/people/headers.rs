//! Every answer tells a browser what other origins may do with it: nothing.

use super::{Browser, empty, with_admin};
use reqwest::{Method, Response};

/// What is asked for, and the status of its answer.
const ANSWERS: [(Method, &str, u16); 11] = [
    (Method::GET, "/healthz", 200),
    (Method::GET, "/docs/", 200),
    (Method::GET, "/docs/swagger-ui-bundle.js", 200),
    (Method::GET, "/docs/openapi.json", 200),
    (Method::GET, "/no/such/page", 404),
    (Method::GET, "/api/v1/me", 200),
    (Method::GET, "/api/v1/events", 200),
    (Method::GET, "/api/v1/runs/run_none/stream", 404),
    (Method::POST, "/api/v1/runs", 422),
    (Method::PATCH, "/api/v1/runs", 405),
    (Method::GET, "/api/v1/no/such/path", 404),
];

fn say(answer: &Response, name: &str) -> String {
    let values: Vec<_> = answer.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect();
    assert!(values.len() <= 1, "{name}: {values:?}");
    values.concat()
}

fn shut(answer: &Response, what: &str) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(say(answer, name), value, "{name} of {what}");
    }
    let policy = say(answer, "content-security-policy");
    for part in ["default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"] {
        assert!(policy.split("; ").any(|stands| stands == part), "{part} of {what}: {policy}");
    }
    assert_eq!(policy.contains("script-src"), what.contains("/docs/"), "{what}: {policy}");
    assert!(!policy.contains("script-src 'self' '") && !policy.contains("unsafe-eval"), "{what}: {policy}");
    assert!(say(answer, "permissions-policy").contains("camera=()"), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_for_our_own_pages_alone() {
    let (_server, _standin, browser) = with_admin().await;
    for (method, path, status) in ANSWERS {
        let url = format!("{}{path}", browser.url);
        let ask = |cookie: &str| {
            let ask = browser.client.request(method.clone(), &url).header("origin", &browser.url);
            ask.header("cookie", format!("polydev_session={cookie}")).send()
        };
        let answer = ask(browser.cookie.as_deref().unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path}");
        shut(&answer, path);
        assert_eq!(say(&answer, "strict-transport-security"), "", "there is no https here");
        let nobody = ask("pds_nonsense").await.unwrap();
        shut(&nobody, path);
        let foreign = browser.client.request(method.clone(), &url).header("host", "evil.example").send().await.unwrap();
        assert_eq!(foreign.status(), 421, "{method} {path}");
        shut(&foreign, "a refusal");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_https_a_browser_asks_no_other_way() {
    let (server, _standin) = empty(&[("POLYDEV__SERVER__PUBLIC_URL", "https://polydev.example")]).await;
    let browser = Browser::new(&server);
    for path in ["/healthz", "/docs/", "/api/v1/me"] {
        let ask = browser.client.get(format!("{}{path}", browser.url)).header("host", "polydev.example");
        assert_eq!(say(&ask.send().await.unwrap(), "strict-transport-security"), "max-age=31536000", "{path}");
    }
}
