//! What is kept of a tool's own files, and what is not.

use super::{provider, sample};
use polydev_server::{
    domain::failure::Code,
    providers::{
        Credential,
        login::{Change, FILE_MAX, Files, Login, NotALogin, change},
    },
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A finished login of the real tool: its files.
fn files(name: &str) -> Files {
    let of: &[(&str, &str)] = match name {
        "claude" => &[(".credentials.json", "claude/credentials.json")],
        "codex" => &[("auth.json", "codex/auth.json")],
        _ => {
            &[("oauth_creds.json", "gemini/oauth_creds.json"), ("google_accounts.json", "gemini/google_accounts.json")]
        }
    };
    of.iter().map(|(file, path)| ((*file).to_owned(), sample(path))).collect()
}

fn read(name: &str, files: &Files) -> Result<Login, NotALogin> {
    provider(name).sign_in().read(files)
}

/// The same files, with one of them changed.
fn with(mut files: Files, name: &str, edit: impl FnOnce(&mut Value)) -> Files {
    let content = files.get_mut(name).expect("a file of this name");
    let mut value: Value = serde_json::from_slice(content).unwrap();
    edit(&mut value);
    *content = value.to_string().into_bytes();
    files
}

fn shown(login: &Login) -> String {
    format!("{:?}", login.sealed())
}

#[test]
fn a_finished_login_is_read_and_written_back_as_it_was() {
    for (name, email, until) in [
        ("claude", None, 1_795_398_803_671),
        ("codex", Some("user@example.test"), 1_795_399_051_000),
        ("gemini", Some("user@example.test"), 1_795_399_487_622),
    ] {
        let login = read(name, &files(name)).unwrap();
        assert_eq!((login.account.email.as_deref(), login.fresh_until), (email, until), "{name}");
        assert!(!login.account.id.is_empty(), "{name}");
        // What is sealed reads as the same login: once more, and nothing has changed.
        let sealed: Files = login.sealed().into_iter().map(|(n, c)| (n.to_owned(), c.as_bytes().to_vec())).collect();
        let again = read(name, &sealed).unwrap();
        assert_eq!(shown(&again), shown(&login), "{name}");
        assert!(matches!(change(&login, Ok(again)), Change::Same), "{name}");
        for debug in [format!("{login:?}"), format!("{:?}", change(&login, read(name, &files(name))))] {
            assert!(!debug.contains("EMU"), "no token shows: {debug}");
        }
    }
}

#[test]
fn what_only_goes_with_a_login_may_be_half_written() {
    for half in [&b""[..], b"{\"active\": \"us", b"[]"] {
        let mut half_written = files("gemini");
        half_written.insert("google_accounts.json".into(), half.to_vec());
        let login = read("gemini", &half_written).unwrap();
        assert_eq!(login.account.email.as_deref(), Some("user@example.test"));
    }
}

#[test]
fn of_several_accounts_a_login_is_of_the_one_that_it_names() {
    let login = read("codex", &files("codex")).unwrap();
    let own = login.account.id.clone();
    let credential = Credential::Login(login);
    let proof = |ids: &[&str]| {
        let accounts: Vec<Value> =
            ids.iter().map(|id| json!({ "id": id, "plan_type": format!("plan of {id}") })).collect();
        let answer = json!({ "accounts": accounts, "account_ordering": ids, "default_account_id": ids.first() });
        provider("codex").probed(&credential, 200, answer.to_string().as_bytes()).map(|proof| proof.account.unwrap())
    };
    let account = proof(&["a personal one", &own, "another team's"]).unwrap();
    assert_eq!((&account.id, account.plan), (&own, Some(format!("plan of {own}"))));
    assert_eq!(proof(&["a personal one"]).unwrap().id, "a personal one", "it is another's");
    assert_eq!(proof(&[]).unwrap_err().code, Code::ProviderUnavailable);
}

#[test]
fn settings_hooks_and_other_credentials_are_left_behind() {
    let claude = with(files("claude"), ".credentials.json", |value| {
        value["hooks"] = json!({ "PreToolUse": "curl evil" });
        value["mcpOAuth"] = json!({ "server": "token of another service" });
        value["claudeAiOauth"]["apiKeyHelper"] = json!("curl evil");
    });
    let login = read("claude", &claude).unwrap();
    assert!(!shown(&login).contains("evil") && !shown(&login).contains("another service"));
    let codex = read("codex", &files("codex")).unwrap();
    assert!(!shown(&codex).contains("sk-EMULATED"), "the API key of a login is another credential");
    let gemini = with(files("gemini"), "google_accounts.json", |value| value["old"] = json!(["before@example.test"]));
    assert!(!shown(&read("gemini", &gemini).unwrap()).contains("before@"));
}

#[test]
fn what_is_no_login_says_why() {
    let blank = with(files("claude"), ".credentials.json", |value| {
        value["claudeAiOauth"]["accessToken"] = json!("");
        value["claudeAiOauth"]["refreshToken"] = json!("");
    });
    assert_eq!(read("claude", &blank).unwrap_err(), NotALogin::Blank(".credentials.json"));
    let key: Files = [("auth.json".to_owned(), br#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-x"}"#.to_vec())].into();
    assert!(matches!(read("codex", &key).unwrap_err(), NotALogin::OtherKind { found: "an API key", .. }));
    let elsewhere = with(files("codex"), "auth.json", |value| {
        value["tokens"]["oauth_provenance"]["issuer"] = json!("https://auth.evil.example");
    });
    assert!(matches!(read("codex", &elsewhere).unwrap_err(), NotALogin::Malformed { .. }));
    let two = with(files("codex"), "auth.json", |value| value["tokens"]["account_id"] = json!("acct-other"));
    assert!(matches!(read("codex", &two).unwrap_err(), NotALogin::Malformed { .. }));
    for name in ["claude", "codex", "gemini"] {
        let file = provider(name).sign_in().files()[0].name;
        assert_eq!(read(name, &Files::new()).unwrap_err(), NotALogin::Missing(file));
        let of = |content: Vec<u8>| Files::from([(file.to_owned(), content)]);
        let whole = files(name)[file].clone();
        assert!(matches!(read(name, &of(whole[..whole.len() / 2].to_vec())), Err(NotALogin::Malformed { .. })));
        assert!(matches!(read(name, &of(vec![b' '; FILE_MAX + 1])), Err(NotALogin::TooLarge { .. })));
        assert!(matches!(read(name, &of(b"[]".to_vec())), Err(NotALogin::Malformed { .. })));
    }
}

#[test]
fn what_a_run_made_of_a_login_is_told() {
    let before = read("claude", &files("claude")).unwrap();
    let edit = |edit: fn(&mut Value)| {
        let files = with(files("claude"), ".credentials.json", |value| edit(&mut value["claudeAiOauth"]));
        change(&before, read("claude", &files))
    };
    let refreshed = edit(|oauth| {
        oauth["accessToken"] = json!("sk-ant-oat01-new");
        oauth["refreshToken"] = json!("sk-ant-ort01-new");
        oauth["expiresAt"] = json!(1_795_500_000_000_i64);
    });
    let Change::Refreshed(login) = refreshed else { panic!("{refreshed:?}") };
    assert_eq!(login.fresh_until, 1_795_500_000_000);
    let substituted = edit(|oauth| oauth["accountUuid"] = json!("33333333-3333-4333-8333-333333333333"));
    assert!(matches!(substituted, Change::Refused(NotALogin::OtherAccount)));
    let dead = edit(|oauth| {
        oauth["accessToken"] = json!("");
        oauth["refreshToken"] = json!("");
    });
    assert!(matches!(dead, Change::Dead));
    let gone = change(&before, read("claude", &Files::new()));
    assert!(matches!(gone, Change::Refused(NotALogin::Missing(_))));
}

#[test]
fn a_lent_login_cannot_be_refreshed() {
    for name in ["claude", "codex", "gemini"] {
        let login = read(name, &files(name)).unwrap();
        let lent = provider(name).sign_in().lent(&login).expect("all three can be lent");
        let refresh = match name {
            "claude" => "sk-ant-ort01-EMU",
            "codex" => "rt_EMU",
            _ => "1//EMU",
        };
        assert!(shown(&login).contains(refresh) && !shown(&lent).contains(refresh), "{name}");
    }
}

proptest! {
    /// Whatever a run leaves in the file: no panic, and never a login of no account or without tokens.
    #[test]
    fn any_bytes_are_read(name in prop::sample::select(vec!["claude", "codex", "gemini"]), cut in 0..2000usize, byte: u8) {
        let file = provider(name).sign_in().files()[0].name;
        let mut content = files(name)[file].clone();
        let at = cut % content.len();
        content[at] = byte;
        if let Ok(login) = read(name, &Files::from([(file.to_owned(), content)])) {
            prop_assert!(!login.sealed().is_empty());
        }
    }
}
