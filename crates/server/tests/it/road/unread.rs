//! What only its owner may read is told to nobody else, an admin or not, by no endpoint of the document.

use super::{blocking, connected, network::connect};
use crate::support::server::{NO_POOL, Server, text};
use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::Method;
use serde_json::{Value, json};

/// In everything that is its owner's to read.
const CANARY: &str = "canary-of-the-owner";

/// The owner's.
struct Theirs {
    user: String,
    run: String,
    login: String,
    sandbox: String,
}

impl Theirs {
    /// A path below `/api/v1` with their things in it; none where it speaks of something else.
    fn put_into(&self, path: &str) -> Option<String> {
        let id = match path.split('/').nth(1) {
            Some("runs") => &self.run,
            Some("logins") => &self.login,
            Some("sandboxes") => &self.sandbox,
            _ => "{id}",
        };
        let path = path.replace("{id}", id).replace("{path}", &format!("{CANARY}.txt")).replace("{provider}", "claude");
        Some(path).filter(|path| !path.contains('{'))
    }
}

/// The paths of the document below `/api/v1`, and what each takes.
fn paths() -> Vec<(String, Value)> {
    let document = serde_json::to_value(polydev_server::api::document()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    paths.filter_map(|(path, item)| Some((path.strip_prefix("/api/v1")?.to_owned(), item.clone()))).collect()
}

/// Everything that can be read, in every way.
fn reads(theirs: &Theirs) -> Vec<String> {
    let mut reads = Vec::new();
    for (path, item) in paths() {
        // The one stream that does not end is read below.
        if !item["get"].is_object() || path == "/events" {
            continue;
        }
        let path = theirs.put_into(&path).unwrap_or_else(|| panic!("say whose thing is read at {path}"));
        let parameters = item["get"]["parameters"].as_array().into_iter().flatten();
        if parameters.into_iter().any(|parameter| parameter["name"] == "user_id") {
            reads.extend(["all", &theirs.user].map(|whose| format!("{path}?user_id={whose}")));
        }
        reads.push(path);
    }
    reads
}

async fn ask(server: &Server, key: &str, method: Method, path: &str) -> (u16, String) {
    let response = server.request_as(key, method, path).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

async fn json_of(server: &Server, key: &str, path: &str) -> Value {
    serde_json::from_str(&ask(server, key, Method::GET, path).await.1).unwrap()
}

/// A run of the server's person that has the canary wherever one can be.
async fn run(server: &Server) -> Theirs {
    let response = server.request(Method::POST, "/runs?wait=true").json(&json!({
        "provider": "claude",
        "prompt": format!("use tool: echo {CANARY}; echo {CANARY} > {CANARY}.txt; echo {CANARY} >&2; {}", connect(&format!("{CANARY}.example.com:443"))),
        "system": CANARY,
        "metadata": { "note": CANARY },
        "files": [{ "path": format!("{CANARY}-given.txt"), "content_base64": BASE64_STANDARD.encode(CANARY) }],
    }));
    let run: Value = response.send().await.unwrap().json().await.unwrap();
    assert_eq!(run["status"], "completed", "{run}");
    let of = async |path: &str| json_of(server, &server.key, path).await;
    let id = |value: &Value| value.as_str().unwrap().to_owned();
    let login = server.request(Method::POST, "/logins").json(&json!({ "provider": "claude" })).send().await.unwrap();
    let login = id(&login.json::<Value>().await.unwrap()["id"]);
    // Its events end when it does.
    let mut ended = false;
    while !ended {
        assert_eq!(ask(server, &server.key, Method::DELETE, &format!("/logins/{login}")).await.0, 204);
        ended = of(&format!("/logins/{login}")).await["status"] == "cancelled";
    }
    Theirs {
        login,
        user: id(&of("/me").await["id"]),
        run: id(&run["id"]),
        sandbox: id(&of("/sandboxes").await["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["run_id"] == run["id"])
            .unwrap()["id"]),
    }
}

/// Puts the canary where a login that was interrupted in mid-question has accounts, and words of its sandbox.
async fn asks_about(server: &Server, login: &str) {
    let url = polydev_server::store::sqlite_url(&server.data_dir().join("polydev.db"));
    let store = polydev_server::store::Store::open(&url).await.unwrap();
    let question = json!({ "account_id": CANARY, "account": CANARY, "before": CANARY, "agreed": false }).to_string();
    let error = json!({ "code": "tool_crashed", "message": CANARY, "hint": CANARY }).to_string();
    sqlx::query("UPDATE auth_sessions SET question = $1, error = $2 WHERE session_id = $3")
        .bind(question)
        .bind(error)
        .bind(login)
        .execute(store.write())
        .await
        .unwrap();
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_its_owners_is_told_to_nobody_else() {
    // The first person is an admin.
    let (server, _standin) = connected(NO_POOL).await;
    let (server, admin, member) = blocking(move || {
        let mut server = server;
        let scopes = ["runs:read", "runs:write", "connections", "logins", "admin"];
        let mut args = vec!["key", "create", "--user", "one@example.com"];
        args.extend(scopes.iter().flat_map(|scope| ["--scope", scope]));
        let admin = text(&server.polydev(&args).stdout).trim().to_owned();
        server.key = server.person("two@example.com");
        server.connect("claude");
        let member = server.person("three@example.com");
        (server, admin, member)
    })
    .await;
    let feed = |key: &str| server.request_as(key, Method::GET, "/events").send();
    let feeds = [(&admin, feed(&admin).await.unwrap()), (&member, feed(&member).await.unwrap())];
    let theirs = run(&server).await;
    asks_about(&server, &theirs.login).await;

    // Where its owner finds it: elsewhere it would be missed if it were not hidden.
    let own = format!("/runs/{}", theirs.run);
    let mut told = Vec::new();
    for path in reads(&theirs) {
        if ask(&server, &server.key, Method::GET, &path).await.1.contains(CANARY) {
            told.push(path);
        }
    }
    for path in ["", "/events", "/files", &format!("/files/{CANARY}.txt"), "/network"] {
        assert!(told.contains(&format!("{own}{path}")), "{path}: {told:?}");
    }
    for path in ["/runs".to_owned(), "/logins".to_owned(), format!("/logins/{}", theirs.login)] {
        assert!(told.contains(&path), "{path}: {told:?}");
    }

    let login = format!("/logins/{}", theirs.login);
    for (reader, seen) in [(&admin, vec![own.as_str(), &login]), (&member, vec![])] {
        for path in reads(&theirs) {
            let (status, body) = ask(&server, reader, Method::GET, &path).await;
            // A file's name is in the path, and in no answer.
            assert!(!body.contains(CANARY), "{path}: {body}");
            if [&theirs.run, &theirs.login, &theirs.sandbox].iter().any(|id| path.contains(*id)) {
                assert_eq!(status, if seen.contains(&path.as_str()) { 200 } else { 404 }, "{path}: {body}");
            }
        }
    }
    for (path, item) in paths() {
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let theirs = theirs.put_into(&path).filter(|_| item[method.as_str().to_lowercase()].is_object());
            let Some(path) = theirs.filter(|theirs| *theirs != path) else { continue };
            if path.contains("claude") {
                continue;
            }
            let (status, body) = ask(&server, &member, method.clone(), &path).await;
            assert_eq!(status, 404, "{method} {path}: {body}");
            let (_, body) = ask(&server, &admin, method.clone(), &path).await;
            assert!(!body.contains(CANARY), "{method} {path}: {body}");
        }
    }
    assert!(ask(&server, &server.key, Method::GET, &own).await.1.contains(CANARY), "it is still there");

    // What was told while it went on.
    for (key, feed) in feeds {
        let id = json_of(&server, key, "/keys").await["items"][0]["id"].as_str().unwrap().to_owned();
        assert_eq!(ask(&server, key, Method::DELETE, &format!("/keys/{id}")).await.0, 204);
        assert_eq!(feed.text().await.unwrap().replace(": ping\n\n", ""), "retry: 1000\n\n");
    }
}
