//! Time: Unix milliseconds inside, RFC 3339 UTC outside.

/// Now, in Unix milliseconds. The only place that reads the clock.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Unix milliseconds as RFC 3339 UTC, such as `2026-11-22T19:30:00.123Z`.
pub fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        .to_string()
}
