//! The session cookie.

use super::Hosts;
use crate::domain::people::LIFETIME_MS;
use axum::http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};

/// Its name.
pub(super) const NAME: &str = "polydev_session";

/// The cookie that begins a session: for no script, no other site's forms, and no plain http where there is https.
pub(super) fn set(hosts: &Hosts, secret: &SecretString) -> HeaderValue {
    cookie(hosts, secret.expose_secret(), LIFETIME_MS / 1000)
}

/// The cookie that ends it.
pub(super) fn clear(hosts: &Hosts) -> HeaderValue {
    cookie(hosts, "", 0)
}

fn cookie(hosts: &Hosts, value: &str, max_age_s: i64) -> HeaderValue {
    let secure = if hosts.secure() { "; Secure" } else { "" };
    let cookie = format!("{NAME}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}");
    let mut cookie = HeaderValue::try_from(cookie).expect("a session's secret is of letters and digits");
    cookie.set_sensitive(true);
    cookie
}

/// The session's secret in a request. None where there are several: another host of the same domain can set one
/// beside ours, and which of them the browser sends first is not ours to say.
pub(super) fn read(headers: &HeaderMap) -> Option<&str> {
    // Bytes: what others have set beside it may be no text.
    let pairs = headers.get_all(header::COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    let mut ours = pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(NAME.as_bytes())?.strip_prefix(b"="));
    ours.next().filter(|_| ours.next().is_none()).and_then(|value| std::str::from_utf8(value).ok())
}

#[cfg(test)]
mod tests {
    use super::{Hosts, clear, read, set};
    use axum::http::{HeaderMap, HeaderValue, header};

    #[test]
    fn one_cookie_is_read_and_two_are_not() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::COOKIE, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            read(&headers).map(str::to_owned)
        };
        assert_eq!(of(&["a=b; polydev_session=pds_x;c=d"]), Some("pds_x".to_owned()));
        assert_eq!(of(&["a=b", "polydev_session=pds_x"]), Some("pds_x".to_owned()));
        assert_eq!(of(&["name=Zoë; polydev_session=pds_x; ë"]), Some("pds_x".to_owned()));
        assert_eq!(of(&["polydev_session=pds_x; polydev_session=pds_y"]), None);
        assert_eq!(of(&["polydev_session=pds_x; polydev_session=ë"]), None);
        assert_eq!(of(&["polydev_session=pds_x", "polydev_session=pds_x"]), None);
        assert_eq!(of(&["xpolydev_session=pds_x; polydev_session_=pds_y"]), None);
    }

    #[test]
    fn it_is_for_https_where_there_is_https() {
        let of = |url: &str| Hosts::new(&url.parse().unwrap(), "127.0.0.1:4000".parse().unwrap());
        let far = set(&of("https://polydev.example"), &"pds_x".into());
        assert_eq!(far, "polydev_session=pds_x; Path=/; Max-Age=2592000; HttpOnly; SameSite=Lax; Secure");
        let near = clear(&of("http://127.0.0.1:4000"));
        assert_eq!(near, "polydev_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    }
}
