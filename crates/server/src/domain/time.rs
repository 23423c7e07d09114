//! Time: Unix milliseconds inside, RFC 3339 UTC outside.

/// A day, milliseconds.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Now, in Unix milliseconds. The only place that reads the clock.
#[expect(clippy::disallowed_methods, reason = "the one place")]
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Unix milliseconds as RFC 3339 UTC, such as `2026-11-22T19:30:00.123Z`.
pub fn rfc3339(ms: i64) -> String {
    format(ms, "%Y-%m-%dT%H:%M:%S%.3fZ")
}

/// The day (UTC) of a time, such as `2026-11-22`.
pub fn day(ms: i64) -> String {
    format(ms, "%Y-%m-%d")
}

/// The beginning of its day (UTC).
pub fn midnight(ms: i64) -> i64 {
    ms.div_euclid(DAY_MS) * DAY_MS
}

/// The beginning of a day (UTC) as [`day`] writes it; none if it is no such day.
pub fn day_start(day: &str) -> Option<i64> {
    parse_rfc3339(&format!("{day}T00:00:00Z"))
}

/// What RFC 3339 says, in Unix milliseconds; none if it is no such time.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

fn format(ms: i64, how: &str) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH).strftime(how).to_string()
}
