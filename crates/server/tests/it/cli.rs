//! The commands that work on the data directory.

use clap::Parser;
use polydev_server::{
    cli::{
        key::{self, CreateArgs, KeyCommand},
        output::{CliError, exit},
        user::{self, UserCommand},
    },
    config::{Config, Env, Flags},
    domain::people::{self, Scope},
    store::Store,
};
use secrecy::ExposeSecret;
use std::path::Path;
use tempfile::TempDir;

#[derive(Debug, Parser)]
enum People {
    #[command(subcommand)]
    User(UserCommand),
    #[command(subcommand)]
    Key(KeyCommand),
}

fn config(data_dir: &Path) -> Config {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let flags = Flags { config: Some(file.path().into()), data_dir: Some(data_dir.into()), listen: None };
    Config::load(&flags, &Env::default()).expect("an empty file is a configuration")
}

/// A data directory as the server makes it.
async fn served() -> (TempDir, Config) {
    let dir = tempfile::tempdir().expect("a directory");
    let config = config(dir.path());
    open(&config).await.close().await;
    (dir, config)
}

async fn open(config: &Config) -> Store {
    Store::open(config.store.url.expose_secret()).await.expect("a database")
}

async fn run(config: &Config, line: &str) -> Result<(Option<String>, serde_json::Value), CliError> {
    match People::try_parse_from(std::iter::once("polydev").chain(line.split(' '))).expect("a command") {
        People::User(command) => user::answer(command, config).await.map(|answer| (answer.text(), answer.json())),
        People::Key(command) => key::answer(command, config).await.map(|answer| (answer.text(), answer.json())),
    }
}

async fn said(config: &Config, line: &str) -> String {
    run(config, line).await.expect("it works").0.expect("it says something")
}

async fn json(config: &Config, line: &str) -> serde_json::Value {
    run(config, line).await.expect("it works").1
}

async fn refused(config: &Config, line: &str) -> CliError {
    run(config, line).await.expect_err("it is refused")
}

#[tokio::test]
async fn no_command_makes_a_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("polydev");
    for line in ["user create ann@example.com", "user list", "key create", "key list", "key revoke key_1"] {
        for data_dir in [&nowhere, dir.path()] {
            let error = refused(&config(data_dir), line).await;
            assert_eq!(error.status, exit::USAGE, "{line}");
            assert!(error.message.contains(&format!("`{}`", data_dir.join("polydev.db").display())), "{error:?}");
            assert!(error.hint.is_some_and(|hint| hint.contains("--data-dir")));
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_user_gets_a_password_and_a_key() {
    let (_dir, config) = served().await;
    let password = said(&config, "user create ann@example.com").await;
    let token = said(&config, "key create").await;
    assert!(token.starts_with("pdv_") && !token.contains(char::is_whitespace), "{token}");

    let store = open(&config).await;
    let ann = people::check_password(&store, "ann@example.com", password.into()).await.unwrap().unwrap();
    let principal = people::authenticate_bearer(&store, &token, ann.created_at).await.unwrap().unwrap();
    assert_eq!((principal.user_id, principal.scopes), (ann.id, Scope::DEFAULT.to_vec()));

    let new = said(&config, "user password ann@example.com").await;
    assert!(people::check_password(&store, "ann@example.com", new.into()).await.unwrap().is_some());
    let key = json(&config, "key list").await["items"][0].clone();
    assert_eq!(run(&config, &format!("key revoke {}", key["id"].as_str().unwrap())).await.unwrap().0, None);
    assert_eq!(people::authenticate_bearer(&store, &token, ann.created_at).await.unwrap(), None);
}

#[tokio::test]
async fn the_first_user_is_an_admin_and_everybody_else_what_is_said() {
    let (_dir, config) = served().await;
    let role = async |line: &str| json(&config, line).await["role"].clone();
    assert_eq!(role("user create ann@example.com").await, "admin");
    assert_eq!(role("user create bob@example.com").await, "member");
    assert_eq!(role("user create eve@example.com --role admin").await, "admin");
    let everybody = json(&config, "user list").await;
    assert_eq!(everybody["items"].as_array().map(Vec::len), Some(3));
    assert!(everybody["next_cursor"].is_null() && !everybody.to_string().contains("password"));
}

#[tokio::test]
async fn answers_for_programs() {
    let (_dir, config) = served().await;
    let redactions = |value: &serde_json::Value| {
        let mut text = serde_json::to_string_pretty(value).unwrap();
        for (key, value) in value.as_object().unwrap() {
            let random = ["id", "key", "hint", "password"].contains(&key.as_str()) || key.ends_with("_at");
            if let (true, Some(value)) = (random, value.as_str()) {
                text = text.replace(&format!("\"{value}\""), &format!("\"[{}]\"", key.as_str()));
            }
        }
        text
    };
    let mut all = String::new();
    let mut line_and_answer = |line: &str, answer: &serde_json::Value| {
        all.push_str(&format!("polydev {line} --output json\n{}\n\n", redactions(answer)));
    };
    for line in ["user create ann@example.com", "key create --name ci --scope runs:read --scope admin --expires 30d"] {
        line_and_answer(line, &json(&config, line).await);
    }
    line_and_answer("key list (an item)", &json(&config, "key list").await["items"][0]);
    line_and_answer("user disable ann@example.com", &json(&config, "user disable ann@example.com").await);
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn what_is_refused_says_what_to_do() {
    let (_dir, config) = served().await;
    let mut all = String::new();
    let mut refuse = async |line: &str| {
        let error = refused(&config, line).await;
        let hint = error.hint.unwrap_or_default();
        all.push_str(&format!("polydev {line}\n{}: {}\nhint: {hint}\n\n", error.status, error.message));
    };
    refuse("key create").await;
    refuse("user create ann").await;
    json(&config, "user create ann@example.com").await;
    refuse("user create ann@example.com").await;
    json(&config, "user create bob@example.com").await;
    refuse("key create").await;
    refuse("key create --user bob@example.com --scope admin").await;
    refuse("key create --user eve@example.com").await;
    refuse("user disable eve@example.com").await;
    refuse("key revoke key_none").await;
    json(&config, "user disable bob@example.com").await;
    refuse("key create --user bob@example.com").await;
    insta::assert_snapshot!(all);
}

#[tokio::test]
async fn a_key_ends_when_it_was_said() {
    let (_dir, config) = served().await;
    json(&config, "user create ann@example.com").await;
    let create = CreateArgs { expires: Some(30 * 86_400), ..CreateArgs::default() };
    let key::Answer::Made { key, .. } = key::answer(KeyCommand::Create(create), &config).await.unwrap() else {
        panic!("another answer")
    };
    let life = key.expires_at.unwrap() - key.created_at;
    assert!((30 * 86_400_000 - 60_000..=30 * 86_400_000).contains(&life), "{life}");
}

#[test]
fn arguments_that_mean_nothing_are_usage_errors() {
    for line in ["user create", "user create a@b.c --role boss", "key create --scope runs", "key create --expires 3w"] {
        let error = People::try_parse_from(std::iter::once("polydev").chain(line.split(' '))).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}: {error}");
    }
}
