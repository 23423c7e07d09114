//! Gemini CLI. What `gemini --acp` prints is another language, which nothing here reads.

use super::{answer, key, prompt, provider, recordings, replay, sample, silent_exit};
use polydev_server::{
    domain::failure::Code,
    providers::{Outcome, Step, ToolEnd, Tools},
};
use secrecy::ExposeSecret;

#[test]
fn every_recording_is_understood() {
    insta::assert_snapshot!(recordings("gemini", Tools::All));
}

#[test]
fn a_dead_login_is_told_by_the_exit_status() {
    for (recorded, code) in [
        ("gemini/dead-login.stderr.txt", 41),
        ("standin/gemini/login-dead.stderr.txt", 41),
        ("standin/gemini/login-dead-at-start.stderr.txt", 1),
        ("standin/gemini/login-dead-midway.stderr.txt", 145),
    ] {
        let stderr = String::from_utf8(sample(recorded)).unwrap();
        let end = ToolEnd { code: Some(code), signal: None, stderr };
        let steps = replay("gemini", Tools::All, b"", &end);
        let [Step::End(Outcome::Failed(failure))] = steps.as_slice() else { panic!("{steps:?}") };
        assert_eq!(failure.code, Code::NeedsReconnect, "{recorded}");
        assert!(!failure.message.contains('\u{1b}'), "{}", failure.message);
    }
}

#[test]
fn an_exit_status_holds_what_the_provider_answered() {
    let code_of = |code, stderr: &str| {
        let end = ToolEnd { code: Some(code), signal: None, stderr: stderr.to_owned() };
        match replay("gemini", Tools::All, b"", &end).pop() {
            Some(Step::End(Outcome::Failed(failure))) => failure.code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code_of(429 - 256, ""), Code::RateLimited);
    assert_eq!(code_of(503 - 256, ""), Code::ProviderUnavailable);
    assert_eq!(code_of(400 - 256, ""), Code::InvalidRequest);
    assert_eq!(code_of(400 - 256, r#"{"reason":"API_KEY_INVALID"}"#), Code::NeedsReconnect);
    assert_eq!(code_of(1, ""), Code::ToolCrashed);
    assert_eq!(code_of(i32::MAX, ""), Code::ToolCrashed);
}

#[test]
fn a_whole_message_does_not_repeat_its_pieces() {
    let lines = [
        r#"{"type":"message","role":"assistant","content":"3","delta":true}"#,
        r#"{"type":"message","role":"assistant","content":"91","delta":true}"#,
        r#"{"type":"message","role":"assistant","content":"391"}"#,
        r#"{"type":"result","status":"success","stats":{}}"#,
    ];
    assert_eq!(answer(&replay("gemini", Tools::All, lines.join("\n").as_bytes(), &silent_exit())), "391");
}

#[test]
fn a_limit_says_when_it_ends() {
    let error =
        r#"[API Error: {\"error\":{\"code\":429,\"message\":\"Slow down.\",\"details\":[{\"retryDelay\":\"37s\"}]}}]"#;
    let line = format!(
        r#"{{"type":"result","timestamp":"2026-11-22T20:00:00.000Z","status":"error","error":{{"message":"{error}"}}}}"#
    );
    let steps = replay("gemini", Tools::All, line.as_bytes(), &silent_exit());
    let [Step::End(Outcome::Failed(failure))] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!((failure.code, failure.retry_at.as_deref()), (Code::RateLimited, Some("2026-11-22T20:00:37.000Z")));
}

#[test]
fn the_key_is_in_a_file_and_nowhere_else() {
    for (tools, system) in [(Tools::All, None), (Tools::None, Some("Be brief.".to_owned()))] {
        let mut prompt = prompt(tools);
        prompt.system = system;
        let run = provider("gemini").invoke(&key("AIzaCanary"), &prompt).unwrap();
        let files: Vec<_> =
            run.files.iter().map(|f| format!("{} {:o} {}", f.path, f.mode, f.content.expose_secret())).collect();
        insta::assert_debug_snapshot!(
            format!("the_key_is_in_a_file_and_nowhere_else_{tools:?}"),
            (files, &run.argv, &run.env, &run.stdin, run.interactive)
        );
        assert!(!format!("{run:?}").contains("Canary"));
    }
}
