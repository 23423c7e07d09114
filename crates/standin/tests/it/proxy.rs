//! The way in, and what is written down of it.

use crate::{client::Client, start};
use polydev_standin::{Options, Recorded, Standin, credential_id};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};

#[tokio::test]
async fn an_unknown_host_is_refused_and_written_down() {
    let (standin, client) = start().await;
    let (status, _) = client.connect("play.googleapis.com").await;
    assert_eq!(status, "HTTP/1.1 502 Bad Gateway");
    let seen = standin.requests();
    assert_eq!(
        (seen[0].host.as_str(), seen[0].method.as_str(), seen[0].status),
        ("play.googleapis.com", "CONNECT", 502)
    );
    assert_eq!(seen.len(), 1);
}

#[tokio::test]
async fn only_who_trusts_its_authority_gets_in() {
    let (standin, _) = start().await;
    let (other, _) = start().await;
    let stranger = Client::trusting(standin.address(), other.ca_pem());
    assert!(stranger.tls("api.anthropic.com").await.is_err());
}

#[tokio::test]
async fn http_1_1_is_spoken_where_more_is_offered() {
    let (_standin, client) = start().await;
    let stream = client.tls("api.openai.com").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[tokio::test]
async fn a_record_names_the_credential_without_telling_it() {
    let (standin, client) = start().await;
    let key = "AIzaStandinCanary";
    let url = format!("https://generativelanguage.googleapis.com/v1beta/models?key={key}&pageSize=5");
    assert_eq!(client.get(&url, &[("cookie", key), ("user-agent", "test")]).await.status, 200);
    let record = standin.request(|record| record.method == "GET").await;
    assert_eq!(record.credential, Some(credential_id(key)));
    assert_eq!(record.path, "/v1beta/models?key=…&pageSize=5");
    assert_eq!(record.headers["user-agent"], "test");
    assert!(!serde_json::to_string(&standin.requests()).unwrap().contains("Canary"));
}

#[tokio::test]
async fn a_request_to_come_can_be_waited_for() {
    let (standin, client) = start().await;
    let (record, _) = tokio::join!(
        standin.request(|record| record.path == "/v1/models" && record.status == 401),
        client.get("https://api.openai.com/v1/models", &[]),
    );
    assert_eq!(record.host, "api.openai.com");
}

#[tokio::test]
async fn its_end_is_the_end_of_every_connection() {
    let (standin, client) = start().await;
    let mut stream = client.tls("api.anthropic.com").await.unwrap();
    standin.stop().await;
    // The peer is gone, with or without a word.
    let read = tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn an_authority_is_kept_in_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { dir: Some(dir.path().join("standin")), ..Options::default() };
    let first = Standin::start(options.clone()).await.unwrap();
    let pem = first.ca_pem().to_owned();
    first.stop().await;
    let second = Standin::start(options).await.unwrap();
    assert_eq!(second.ca_pem(), pem);
    // A certificate of the second is trusted by who trusts the first.
    Client::trusting(second.address(), &pem).tls("api.anthropic.com").await.unwrap();
}

#[tokio::test]
async fn the_program_says_where_it_is_and_writes_requests_down() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = program().arg("--dir").arg(dir.path()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready: serde_json::Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
    let address = ready["proxy"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    let pem = std::fs::read_to_string(ready["ca_file"].as_str().unwrap()).unwrap();
    let client = Client::trusting(address, &pem);
    let headers = [("authorization", "Bearer sk-standin-canary")];
    assert_eq!(client.get("https://api.openai.com/v1/models", &headers).await.status, 200);
    let written = std::fs::read_to_string(dir.path().join("requests.jsonl")).unwrap();
    let records: Vec<Recorded> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.iter().map(|r| r.method.as_str()).collect::<Vec<_>>(), ["CONNECT", "GET"]);
    assert!(!written.contains("canary"));
}

#[tokio::test]
async fn the_program_writes_the_files_of_a_login() {
    let (standin, _) = start().await;
    let home = tempfile::tempdir().unwrap();
    let account = ["account", "--proxy", &standin.proxy_url(), "ada", "gemini"];
    let done = program().args(account).args(["login", "--into"]).arg(home.path()).output().await.unwrap();
    assert!(done.status.success(), "{done:?}");
    let path = home.path().join("oauth_creds.json");
    assert!(String::from_utf8(done.stdout).unwrap().lines().any(|line| line == path.display().to_string()));
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777, 0o600);
    let text = std::fs::read_to_string(home.path().join("google_accounts.json")).unwrap();
    assert!(text.contains(&standin.account("ada").email()));
    // A setup token is claude's.
    let refused = program().args(account).arg("setup-token").output().await.unwrap();
    assert!(!refused.status.success());
}

#[tokio::test]
async fn the_program_says_who_signs_in_and_what_goes_wrong() {
    let (standin, client) = start().await;
    let begun =
        client.post("https://auth.openai.com/api/accounts/deviceauth/usercode", &[], serde_json::json!({})).await;
    let code = begun.json()["user_code"].as_str().unwrap().to_owned();
    let account = ["account", "--proxy", &standin.proxy_url(), "bob", "codex"];
    for (arguments, good) in [
        (&["first"][..], true),
        (&["fault", "--is", "slow-token-10"], true),
        (&["fault", "--is", "nothing"], false),
        (&["approve", "--user-code", "BBBB-BBBBB"], false),
        (&["approve", "--user-code", &code], true),
        (&["approve", "--user-code", &code], false),
    ] {
        let done = program().args(account).args(arguments).output().await.unwrap();
        assert_eq!(done.status.success(), good, "{arguments:?}: {done:?}");
    }
}

fn program() -> tokio::process::Command {
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_polydev-standin"));
    program.stdout(Stdio::piped()).kill_on_drop(true);
    program
}
