//! The web app, as the binary serves it; and its own tests, in `web/`.

use crate::support::server::{NO_POOL, Server, images, text};
use polydev_standin::{Options, Standin};
use reqwest::{Response, StatusCode, header};
use std::{
    path::Path,
    process::{Command, Stdio},
};

const PAGES: [&str; 11] = [
    "/",
    "/setup",
    "/setup?token=x",
    "/signin",
    "/connect/claude",
    "/logins/lgn_x",
    "/playground",
    "/runs",
    "/runs/run_x",
    "/settings",
    "/admin",
];

async fn start() -> (Server, Standin) {
    let standin = Standin::start(Options::default()).await.unwrap();
    tokio::task::spawn_blocking(move || (Server::empty(&standin, NO_POOL, &[]), standin)).await.unwrap()
}

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Response {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let request = client.get(format!("{}{path}", server.url));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
}

fn header_of<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_one_document_and_its_files_are_kept_for_ever() {
    let (server, _standin) = start().await;
    let first = get(&server, "/", &[]).await;
    assert_eq!(first.status(), 200, "the app was not built before the tests: `make test` builds it");
    let tag = header_of(&first, "etag").to_owned();
    let policy = header_of(&first, "content-security-policy").to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let html = first.text().await.unwrap();
    for page in PAGES {
        let response = get(&server, page, &[("accept", "text/html")]).await;
        assert_eq!(response.status(), 200, "{page}");
        assert_eq!(header_of(&response, "cache-control"), "no-cache", "{page}");
        assert_eq!(response.text().await.unwrap(), html, "{page}");
    }
    let known = get(&server, "/runs", &[("if-none-match", &tag)]).await;
    assert_eq!((known.status(), known.bytes().await.unwrap().len()), (StatusCode::NOT_MODIFIED, 0));

    // Nothing is written into the page itself: the policy would not let it work.
    assert!(!html.contains("<style") && !html.contains("style="), "{html}");
    let scripts = html.matches("<script").count();
    assert_eq!(scripts, html.matches(" src=\"/assets/").count(), "every script is a file: {html}");

    let files: Vec<&str> = html.split('"').filter(|word| word.starts_with("/assets/")).collect();
    assert!(files.len() > 3, "{html}");
    for file in files {
        let plain = get(&server, file, &[]).await;
        assert_eq!(header_of(&plain, "cache-control"), "public, max-age=31536000, immutable", "{file}");
        assert_eq!(header_of(&plain, "x-content-type-options"), "nosniff");
        let plain = plain.bytes().await.unwrap();
        for encoding in ["br", "gzip"] {
            let packed = get(&server, file, &[("accept-encoding", encoding)]).await;
            assert_eq!(packed.status(), 200);
            let is_packed = header_of(&packed, "content-encoding") == encoding;
            assert_eq!(is_packed, file.ends_with(".js") || file.ends_with(".css") || file.ends_with(".svg"), "{file}");
            let packed = packed.bytes().await.unwrap();
            assert!(packed.len() < plain.len() || !is_packed, "{file}: {} of {}", packed.len(), plain.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_a_page_for_browsers_and_json_for_programs() {
    let (server, _standin) = start().await;
    for path in ["/nothing", "/runs/a/b", "/assets/nothing.js", "/api/v1/nothing", "/assets/../index.html.br"] {
        let response = get(&server, path, &[]).await;
        assert_eq!(response.status(), 404, "{path}");
        let body: serde_json::Value = response.json().await.unwrap();
        assert_eq!(body["error"]["code"], "not_found", "{path}");
    }
    let browser = [("accept", "text/html,*/*;q=0.8")];
    let page = get(&server, "/nothing", &browser).await;
    assert_eq!(page.status(), 404);
    assert!(page.text().await.unwrap().contains("<div id=\"app\">"));
    for path in ["/assets/nothing.js", "/api/v1/nothing"] {
        let response = get(&server, path, &browser).await;
        assert_eq!(
            (response.status(), header_of(&response, "content-type")),
            (StatusCode::NOT_FOUND, "application/json")
        );
    }
    let moved = get(&server, "/dashboard/remote-cli", &browser).await;
    assert_eq!((moved.status().as_u16(), header_of(&moved, header::LOCATION.as_str())), (308, "/"));
}

/// Runs the app's own tests. Those in a browser start a server and a stand-in themselves, of this build.
fn pass(which: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let programs = Path::new(env!("CARGO_BIN_EXE_polydev")).parent().unwrap();
    assert!(programs.join("polydev-standin").exists(), "the stand-in was not built: `make build` builds it");
    let out = Command::new(root.join("scripts/web"))
        .arg(which)
        .env("POLYDEV_BIN_DIR", programs)
        .env("POLYDEV__IMAGE__DIR", images())
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
}

#[test]
fn the_parts_of_the_app_pass_their_tests() {
    pass("test");
}

#[test]
fn the_app_does_its_work_in_a_browser() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: sandboxes need root");
        return;
    }
    pass("browser");
}
