//! What sign-in pages look like: plain HTML that needs no script, is read by a screen reader and used by keyboard.

use crate::reply::{Reply, with_header};
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use std::fmt::Display;

const STYLE: &str = "\
    body { font: 18px/1.5 sans-serif; max-width: 34rem; margin: 3rem auto; padding: 0 1rem; color: #1a1a1a; \
        background: #fff; } \
    h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.2rem; margin-top: 2rem; } \
    button, input, select, textarea { font: inherit; padding: .5rem .8rem; margin: .2rem .4rem .2rem 0; } \
    button { border: 2px solid #1a1a1a; border-radius: 6px; background: #fff; cursor: pointer; } \
    button.main { background: #14532d; border-color: #14532d; color: #fff; } \
    :focus { outline: 3px solid #f59e0b; outline-offset: 2px; } \
    textarea { width: 100%; box-sizing: border-box; font-family: monospace; } \
    .aside { margin-top: 2rem; border-top: 1px solid #ccc; color: #444; font-size: .9em; }";

/// Text as it stands in HTML, also inside of quotes.
pub(crate) fn escape(text: impl Display) -> String {
    let text = text.to_string();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// A page with one heading, which is its title too. The body is HTML, the heading is text.
pub(crate) fn page(status: u16, heading: &str, body: &str) -> Reply {
    let heading = escape(heading);
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{heading}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{heading}</h1>\n{body}\n</main>\n\
         <p class=\"aside\">A stand-in for tests: no real provider, and no real account.</p>\n</body>\n</html>\n"
    );
    let mut reply = Response::new(Body::from(html));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    with_header(reply, "cache-control", "no-store")
}

/// A page that says one thing more, in a sentence.
pub(crate) fn note(status: u16, heading: &str, sentence: &str) -> Reply {
    page(status, heading, &format!("<p>{}</p>", escape(sentence)))
}

/// A page with a code to be copied into a tool.
pub(crate) fn code(tool: &str, code: &str) -> Reply {
    let body = format!(
        "<p><label for=\"code\">Copy this code, all of it, and paste it where {tool} asks for it.</label></p>\n\
         <textarea id=\"code\" rows=\"3\" readonly autofocus>{}</textarea>",
        escape(code)
    );
    page(200, &format!("Your code for {tool}"), &body)
}

/// Somewhere else to go, by GET.
pub(crate) fn go(address: &str) -> Reply {
    let mut reply = Response::new(Body::empty());
    *reply.status_mut() = StatusCode::SEE_OTHER;
    // What cannot stand in a header was made by no tool.
    match HeaderValue::from_str(address) {
        Ok(address) => reply.headers_mut().insert(header::LOCATION, address),
        Err(_) => return note(400, "This address cannot be gone to", address),
    };
    with_header(reply, "cache-control", "no-store")
}

/// A hidden field of a form.
pub(crate) fn hidden(name: &str, value: &str) -> String {
    format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">\n", escape(name), escape(value))
}
