//! Secrets stay put: whatever a tool shows of its own, nothing of it is told, stored, logged or left anywhere.

use super::{answer, blocking, network, over, standin};
use crate::support::{
    canaries::{Canaries, Lookout},
    server::{Server, text},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use polydev_server::domain::event::EventBody;
use polydev_standin::{Provider, Standin};
use reqwest::Method;
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// A tool, and where it finds what lets it in: with an API key, and with a login.
struct Tool {
    name: &'static str,
    provider: Provider,
    key_starts: &'static str,
    key_file: &'static str,
    login_file: &'static str,
    /// What stands before the secret there.
    before_key: &'static str,
    before_token: &'static str,
}

const TOOLS: [Tool; 3] = [
    Tool {
        name: "claude",
        provider: Provider::Claude,
        key_starts: "sk-ant-standin-",
        key_file: ".claude/api-key",
        login_file: ".claude/.credentials.json",
        before_key: "",
        before_token: r#"{"claudeAiOauth":{"accessToken":""#,
    },
    Tool {
        name: "codex",
        provider: Provider::Codex,
        key_starts: "sk-standin-",
        key_file: ".codex/auth.json",
        login_file: ".codex/auth.json",
        before_key: r#""OPENAI_API_KEY":""#,
        before_token: r#""access_token":""#,
    },
    Tool {
        name: "gemini",
        provider: Provider::Gemini,
        key_starts: "AIzaStandin",
        key_file: ".gemini/.env",
        login_file: ".gemini/oauth_creds.json",
        before_key: "GEMINI_API_KEY=",
        before_token: r#"{"access_token":""#,
    },
];

/// What some process of every run has among its arguments and in its environment.
const SEEN: &str = "a-lookout-that-looks-sees-this";

/// Shows the file in every way there is: as what a tool of the tool's own says, which the model then repeats, in pieces;
/// on the tool's standard error; in a file that is kept, in the name of one, and in that of a host. It is one line, however it was written.
fn show(file: &str) -> String {
    let connect = network::connect("$name:443");
    format!(
        r#"
        shown=$(tr -d ' \n' < "$HOME/{file}")
        echo "$shown" > left.txt
        [ ${{#shown}} -gt 200 ] || : > "named-$(echo "$shown" | tr -dc 'A-Za-z0-9_=-')"
        name=$(echo "$shown" | tr -dc 'A-Za-z0-9_-' | tail -c 63).example.com
        {{ {connect}; }} >/dev/null
        for p in /proc/[0-9]*; do echo "$shown" > $p/fd/2; done 2>/dev/null
        SEEN={SEEN} sleep 1 && echo "$shown" && echo {SEEN}
        "#
    )
}

async fn server() -> (Server, Standin) {
    let standin = standin().await;
    blocking(move || (Server::start(&standin), standin)).await
}

/// The texts at these keys of JSON files, wherever they stand.
fn tokens(files: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value.as_str() {
                        Some(text) if name.to_lowercase().ends_with("token") => found.push(text.to_owned()),
                        Some(_) | None => walk(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = Vec::new();
    for content in files.values() {
        walk(&serde_json::from_slice(content).unwrap(), &mut found);
    }
    found
}

async fn import(server: &Server, provider: &str, files: &BTreeMap<String, Vec<u8>>) {
    let files: BTreeMap<&String, String> =
        files.iter().map(|(name, content)| (name, BASE64_STANDARD.encode(content))).collect();
    let path = format!("/connections/{provider}/import");
    let response = server.request(Method::POST, &path).json(&json!({ "files": files })).send().await.unwrap();
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
}

async fn connect(server: Server, name: &'static str, way: &'static str, secret: String) -> Server {
    blocking(move || {
        let out = server.polydev_with(&["connect", name, way], &format!("{secret}\n"));
        assert!(out.status.success(), "{}\n{}", text(&out.stderr), server.log());
        server
    })
    .await
}

/// Lets the tool show what is in this file, and looks at all that is told of it: `before` stands before a secret.
async fn shown(server: &Server, tool: &Tool, file: &str, before: &str, canaries: &Canaries) {
    let script = json!({ "path": "show.sh", "content_base64": BASE64_STANDARD.encode(show(file)) });
    let prompt = format!("use tool: SEEN={SEEN} bash show.sh {SEEN}");
    let body = json!({ "provider": tool.name, "prompt": prompt, "files": [script] });
    let run: Value = server.request(Method::POST, "/runs").json(&body).send().await.unwrap().json().await.unwrap();
    let (run, events) = over(server, run["id"].as_str().unwrap()).await;
    let (id, name) = (run["id"].as_str().unwrap(), tool.name);
    assert_eq!(run["status"], "completed", "{name}: {run}\n{}", server.log());
    let get = async |path: String| {
        let response = server.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.bytes().await.unwrap().to_vec()
    };
    let redacted = format!("{before}[redacted]");

    // The answer, which came in pieces of five characters; and what the shell said.
    assert!(answer(&events).contains(&redacted), "{name}: {}", answer(&events));
    let pieces = events.iter().filter(|event| matches!(event.body, EventBody::Text { .. })).count();
    assert!(pieces > 1, "{name}: {events:?}");
    let said = events.iter().find_map(|event| match &event.body {
        EventBody::ToolResult { output, .. } => Some(output.as_str()),
        _ => None,
    });
    let said = said.unwrap_or_else(|| panic!("{name}: the shell said nothing: {events:?}"));
    assert!(said.contains(&redacted) && said.contains(SEEN), "{name}: {said}");

    // What it left.
    let left = text(&get(format!("/runs/{id}/files/left.txt")).await);
    assert!(left.contains(&redacted), "{name}: {left}");
    let logs: Vec<&str> = events
        .iter()
        .filter_map(|event| if let EventBody::Log { text, .. } = &event.body { Some(text.as_str()) } else { None })
        .collect();
    let of_files = logs.iter().find(|log| log.starts_with("left out")).unwrap_or_else(|| panic!("{name}: {events:?}"));
    assert!(of_files.contains("`[redacted]` in its place, in (1): `left.txt`"), "{name}: {of_files}");
    // The file of a login is longer than a name may be.
    let named = of_files.contains("names with the run's credential in them (1): `named-");
    assert_eq!(named, left.len() < 200, "{name}: {of_files}");
    let sandbox = events.iter().find_map(|event| match &event.body {
        EventBody::Started { sandbox_id } => Some(sandbox_id),
        _ => None,
    });
    let console = text(&get(format!("/sandboxes/{}/console", sandbox.unwrap())).await);
    assert!(console.contains(&redacted), "{name}: {console}");

    // The name of a host: a key fits into it, which is all that codex has there besides.
    let network = text(&get(format!("/runs/{id}/network")).await);
    assert!(file != tool.key_file || left.len() >= 200 || network.contains("[redacted]"), "{name}: {network}");

    // Nor anywhere else.
    let mut told = serde_json::to_vec(&(&run, &events)).unwrap();
    for path in ["/runs", "/connections", "/sandboxes", &format!("/runs/{id}/files"), "/status", "/me"] {
        told.extend(get(path.to_owned()).await);
    }
    told.extend(left.as_bytes());
    told.extend(console.as_bytes());
    told.extend(network.as_bytes());
    assert_eq!(canaries.in_bytes(&told), [""; 0], "{name}: {run}");
}

/// The database with its log, what lies beside it, and what the server said.
fn nowhere(server: &Server, canaries: &Canaries) {
    let (found, files) = canaries.in_files(server.data_dir().parent().unwrap());
    assert_eq!(found, [""; 0]);
    assert!(files >= 4, "the database, its log, the master key, the server's log: {files}");
    assert_eq!(canaries.in_bytes(server.log().as_bytes()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_told_nowhere() {
    let (mut server, _standin) = server().await;
    let mut canaries = Canaries::default();
    for tool in &TOOLS {
        let key = format!("{}{:032x}", tool.key_starts, rand());
        canaries.add(&key);
        // As names of hosts are written.
        canaries.add(&key.to_lowercase());
        server = connect(server, tool.name, "--api-key-stdin", key).await;
        let lookout = Lookout::start(canaries.clone(), SEEN);
        shown(&server, tool, tool.key_file, tool.before_key, &canaries).await;
        let mut found: Vec<String> = lookout.end().into_iter().collect();
        // SECURITY.md names it: at its start Gemini CLI asks git where it is, with all of its environment.
        let excused = |found: &String| found.ends_with("in the environ of `git rev-parse --show-toplevel`");
        found.retain(|found| !(tool.name == "gemini" && excused(found)));
        assert_eq!(found, ["seen in cmdline", "seen in environ"], "{}", tool.name);
    }
    nowhere(&server, &canaries);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_told_nowhere() {
    let (server, standin) = server().await;
    let ada = standin.account("ada");
    let mut canaries = Canaries::default();
    for tool in &TOOLS {
        let files = ada.login_files(tool.provider);
        let tokens = tokens(&files);
        assert!(tokens.len() >= 2, "{}: {tokens:?}", tool.name);
        tokens.iter().for_each(|token| canaries.add(token));
        import(&server, tool.name, &files).await;
        let lookout = Lookout::start(canaries.clone(), SEEN);
        shown(&server, tool, tool.login_file, tool.before_token, &canaries).await;
        let found = lookout.end().into_iter().collect::<Vec<_>>();
        assert_eq!(found, ["seen in cmdline", "seen in environ"], "{}", tool.name);
    }
    // Claude's third way in, which makes the same file.
    let token = ada.setup_token();
    canaries.add(&token);
    let server = connect(server, "claude", "--setup-token-stdin", token).await;
    shown(&server, &TOOLS[0], TOOLS[0].login_file, TOOLS[0].before_token, &canaries).await;
    nowhere(&server, &canaries);
}

/// What a tool gets when it refreshes its login while it runs is known to nobody else before it shows it.
#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_refreshed_is_told_nowhere() {
    let (server, standin) = server().await;
    let ada = standin.account("ada");
    let mut canaries = Canaries::default();
    // How the stand-in's tokens begin: none of them is to be there, old or new.
    for start in ["sk-ant-oat01-standin-", "sk-ant-ort01-standin-", "ya29.standin-", "eyJhbGciOiJSUzI1NiI"] {
        canaries.add(start);
    }
    for tool in &TOOLS {
        let files = ada.login_files_for(tool.provider, Duration::from_secs(120));
        tokens(&files).iter().for_each(|token| canaries.add(token));
        import(&server, tool.name, &files).await;
        shown(&server, tool, tool.login_file, tool.before_token, &canaries).await;
        assert_eq!(ada.refreshes(tool.provider), 1, "{}", tool.name);
    }
    nowhere(&server, &canaries);
}

/// What nobody can have met before.
fn rand() -> u128 {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes)).unwrap();
    u128::from_ne_bytes(bytes)
}
