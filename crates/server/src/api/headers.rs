//! What every answer tells a browser, so that a page of another origin neither shows it, nor loads it, nor learns of it.
//!
//! What is not said otherwise is no page: nothing is loaded for it, and nobody may frame it. A route that is one has a
//! policy of its own by `.layer(headers::csp(POLICY))`, or by setting `Content-Security-Policy` itself; one whose
//! answers may be kept sets `Cache-Control`. Both are left as they are. Each policy is to say `frame-ancestors 'none'`.

use super::App;
use axum::{
    extract::{Request, State},
    http::{HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};
use tower_http::set_header::SetResponseHeaderLayer;

/// The policy of what is no page.
const NO_PAGE: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// The policy of `/docs`: Swagger UI has its pictures in its styles, and sets styles on its elements.
pub(super) const DOCS: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
                               img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                               frame-ancestors 'none'";

/// For how long a browser is to ask by https alone: a year. Other hosts of the domain are not ours to speak for.
const HTTPS_ALONE: &str = "max-age=31536000";

/// What all answers say.
const ALL: [(HeaderName, &str); 7] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // For browsers that do not know `frame-ancestors`.
    (header::X_FRAME_OPTIONS, "DENY"),
    // Paths have ids of people's things, and the setup link its token.
    (header::REFERRER_POLICY, "no-referrer"),
    // No `<img>`, `<script>` or `fetch` of another origin is given it, be it of the same site.
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // Whoever opened a window of ours, or was opened by one, has no hold of it.
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("x-permitted-cross-domain-policies"), "none"),
    // What no page here needs, whatever runs in it. Clipboard and full screen are left to our own.
    (
        HeaderName::from_static("permissions-policy"),
        "accelerometer=(), camera=(), display-capture=(), geolocation=(), \
         gyroscope=(), hid=(), idle-detection=(), local-fonts=(), magnetometer=(), microphone=(), midi=(), payment=(), \
         screen-wake-lock=(), serial=(), usb=(), xr-spatial-tracking=()",
    ),
];

/// Gives a page its own `Content-Security-Policy`.
pub fn csp(policy: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy))
}

/// Gives every answer its headers.
pub(super) async fn set(State(app): State<App>, request: Request, next: Next) -> Response {
    // What one person was told is not for whoever uses their browser, or their proxy, after them.
    let is_told = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in ALL {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(NO_PAGE));
    if is_told || !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if app.hosts.secure() {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HTTPS_ALONE));
    }
    response
}
