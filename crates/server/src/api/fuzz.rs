//! Whatever a client writes into headers and queries: only what is ours is taken for ours.

use super::{caller, cookie, host::Hosts, idempotency, page::PageQuery};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// A value a line: `Host`, `Origin`, `Cookie`, `X-Forwarded-For`, `Idempotency-Key`, a cursor.
pub fn headers(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let line = |n: usize| lines.get(n).copied().unwrap_or_default();
    let text = |n: usize| String::from_utf8_lossy(line(n)).into_owned();

    let public_url = "https://polydev.example.com".parse().expect("an address");
    let hosts = Hosts::new(&public_url, "10.1.2.3:4000".parse().expect("an address"));
    let host = text(0);
    if hosts.allows(&host) {
        let host = host.to_ascii_lowercase();
        let own = ["polydev.example.com", "10.1.2.3:4000"];
        assert!(own.iter().any(|own| host.starts_with(own)) && !host.contains(['@', '/', '\\', ' ']), "`{host}`");
    }
    assert!(!hosts.is_own_origin(&text(1)) || text(1).eq_ignore_ascii_case("https://polydev.example.com"));

    let mut headers = HeaderMap::new();
    for (name, value) in
        [(header::COOKIE, line(2)), (HeaderName::from_static("x-forwarded-for"), line(3)), (idempotency::KEY, line(4))]
    {
        // As hyper does: what is no value gets no further.
        headers.extend(HeaderValue::from_bytes(value).ok().map(|value| (name, value)));
    }
    if let Some(session) = cookie::read(&headers) {
        assert!(!session.contains(';'), "`{session}`");
    }
    let _address = caller::forwarded(&headers);
    if let Ok(key) = idempotency::key(&headers) {
        assert!((1..=255).contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "`{key}`");
    }
    let page = PageQuery { limit: Some(text(5)), cursor: Some(text(5)) };
    let _place = page.after();
    assert!(page.limit().is_ok_and(|limit| (1..=200).contains(&limit)) || page.limit().is_err());
}
