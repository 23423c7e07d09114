//! The web app: what `scripts/web` built, out of the binary.
//!
//! | path | answer |
//! |---|---|
//! | `/`, `/playground`, … ([`PAGES`]) | `index.html`, asked for anew each time and sent where it has changed |
//! | `/assets/NAME-HASH.js` | the file, kept for ever: another content has another name |
//! | `/dashboard/remote-cli` | 308 to `/` |
//! | anything else that nobody answers | 404: the app, which says so, to a browser that goes there; JSON to all others |

use super::{App, error::ApiError};
use crate::domain::failure::Code;
use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// A file of the app, and the same compressed ahead.
struct File {
    /// Its path below `dist`.
    name: &'static str,
    plain: &'static [u8],
    gzip: Option<&'static [u8]>,
    brotli: Option<&'static [u8]>,
}

static FILES: &[File] = &include!(concat!(env!("OUT_DIR"), "/web.rs"));

/// The app's own addresses. A page that is missing here is missing after a reload.
const PAGES: &[&str] = &[
    "/",
    "/setup",
    "/signin",
    "/connect/{provider}",
    "/logins/{id}",
    "/playground",
    "/runs",
    "/runs/{id}",
    "/settings",
    "/admin",
];

const INDEX: &str = "index.html";

/// What the app may do: show itself, and speak with this server. Nothing inline, no other origin, no text as a program.
/// A desktop's screen comes as pictures over its socket, which are given to the browser as `data:`, as its pointer is.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// The pages and what they are made of.
pub fn router() -> Router<App> {
    let pages = PAGES.iter().fold(Router::new(), |router, page| router.route(page, get(index)));
    pages.route("/assets/{name}", get(asset)).route("/dashboard/remote-cli", get(async || Redirect::permanent("/")))
}

async fn index(headers: HeaderMap) -> Response {
    match find(INDEX) {
        Some(file) => send(file, &headers, "no-cache"),
        None => {
            let text = "The web app was not built into this `polydev`: `make build` builds both. The API is there.\n";
            (StatusCode::NOT_FOUND, text).into_response()
        }
    }
}

async fn asset(request: Request) -> Response {
    let file = request.uri().path().strip_prefix('/').and_then(find);
    let Some(file) = file else { return nothing() };
    send(file, request.headers(), "public, max-age=31536000, immutable")
}

/// What is said of a path that nobody answers.
pub async fn unknown(request: Request) -> Response {
    let goes_there = matches!(*request.method(), Method::GET | Method::HEAD) && wants_page(request.headers());
    match find(INDEX).filter(|_| goes_there && !request.uri().path().starts_with("/api/")) {
        Some(_) => (StatusCode::NOT_FOUND, index(HeaderMap::new()).await).into_response(),
        None => nothing(),
    }
}

fn nothing() -> Response {
    ApiError::new(Code::NotFound, "there is nothing at this path").hint("`/docs` shows what there is.").into_response()
}

/// Whether somebody goes there with a browser. What programs take by default is `*/*`.
fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.split(',').any(|kind| kind.trim().starts_with("text/html")))
}

fn find(name: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.name == name)
}

/// The digest of each file, in the order of [`FILES`].
static DIGESTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let digest = |file: &File| data_encoding::HEXLOWER.encode(&Sha256::digest(file.plain)[..12]);
    FILES.iter().map(digest).collect()
});

fn send(file: &'static File, headers: &HeaderMap, keep: &'static str) -> Response {
    let at = FILES.iter().position(|other| other.name == file.name).expect("it is one of them");
    let (encoding, bytes) = [("br", file.brotli), ("gzip", file.gzip)]
        .into_iter()
        .find_map(|(encoding, bytes)| Some((Some(encoding), bytes.filter(|_| takes(headers, encoding))?)))
        .unwrap_or((None, file.plain));
    let etag = format!("\"{}-{}\"", DIGESTS[at], encoding.unwrap_or("plain"));
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = if known.is_some_and(|known| known.split(',').any(|tag| tag.trim() == etag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        bytes.into_response()
    };
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(file.name)));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    out.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    out.insert(header::ETAG, etag.parse().expect("digits and letters"));
    out.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    if let Some(encoding) = encoding {
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

/// Whether the client takes this encoding: it names it, and not with `q=0`.
fn takes(headers: &HeaderMap, encoding: &str) -> bool {
    let given = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    given.flat_map(|value| value.split(',')).any(|one| {
        let mut words = one.split(';').map(str::trim);
        let refused = |word: &str| word.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        words.next().is_some_and(|name| name.eq_ignore_ascii_case(encoding)) && !words.any(refused)
    })
}

/// The media type of a file, by the ending of its name.
fn kind(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::{takes, wants_page};
    use axum::http::{HeaderMap, header};

    #[test]
    fn an_encoding_is_taken_by_its_name() {
        for (given, takes_br) in
            [("gzip, deflate, br, zstd", true), ("br;q=0, gzip", false), ("brr", false), ("", false)]
        {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, given.parse().unwrap())]);
            assert_eq!(takes(&headers, "br"), takes_br, "{given}");
        }
    }

    #[test]
    fn programs_are_no_browsers() {
        for (accept, page) in
            [("text/html,application/xhtml+xml,*/*;q=0.8", true), ("*/*", false), ("application/json", false)]
        {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(wants_page(&headers), page, "{accept}");
        }
    }
}
