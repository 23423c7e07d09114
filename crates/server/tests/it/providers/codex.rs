//! Codex. The recordings are of `codex app-server`; those of `codex exec` are not
//! kept, for its output is another language that nothing here reads.

use super::{answer, key, prompt, provider, recordings, replay, sample, show, silent_exit};
use polydev_server::{
    domain::failure::Code,
    providers::{Outcome, Step, Tools},
};
use secrecy::ExposeSecret;

#[test]
fn every_recording_is_understood() {
    insta::assert_snapshot!(recordings("codex", Tools::All));
}

#[test]
fn a_recording_with_torn_lines_is_read_as_far_as_it_goes() {
    // Each line of it stands behind a time and an arrow, and long ones are cut.
    let torn = String::from_utf8(sample("codex/appserver.txt")).unwrap();
    let lines: Vec<&str> = torn.lines().map(|line| line.split_once("<- ").map_or(line, |(_, json)| json)).collect();
    // The answer that names the thread is among the torn ones.
    let id = r#"{"id":2,"result":{"thread":{"id":"01a2046d-2b8e-7982-8031-bd3aae593930"}}}"#;
    let output = [&lines[..3], &[id], &lines[3..]].concat().join("\n");
    let steps = replay("codex", Tools::All, output.as_bytes(), &silent_exit());
    assert_eq!(answer(&steps), "1234");
    assert!(matches!(steps.last(), Some(Step::End(Outcome::Failed(f))) if f.code == Code::ToolCrashed));
}

#[test]
fn it_asks_nobody() {
    for tools in [Tools::All, Tools::None] {
        let requests = [
            "item/commandExecution/requestApproval",
            "item/fileChange/requestApproval",
            "item/permissions/requestApproval",
            "item/tool/requestUserInput",
            "mcpServer/elicitation/request",
            "item/tool/call",
        ];
        let lines: Vec<String> =
            requests.iter().map(|m| format!(r#"{{"id":"a","method":"{m}","params":{{}}}}"#)).collect();
        insta::assert_snapshot!(
            format!("it_asks_nobody_{tools:?}"),
            show(&replay("codex", tools, lines.join("\n").as_bytes(), &silent_exit()))
        );
    }
}

#[test]
fn other_threads_say_nothing_and_end_nothing() {
    let lines = [
        r#"{"id":2,"result":{"thread":{"id":"ours"}}}"#,
        r#"{"method":"item/agentMessage/delta","params":{"threadId":"theirs","itemId":"a","delta":"aside"}}"#,
        r#"{"method":"turn/completed","params":{"threadId":"theirs","turn":{"status":"completed"}}}"#,
        r#"{"method":"item/agentMessage/delta","params":{"threadId":"ours","itemId":"b","delta":"answer"}}"#,
        r#"{"method":"turn/completed","params":{"threadId":"ours","turn":{"status":"completed"}}}"#,
    ];
    let steps = replay("codex", Tools::All, lines.join("\n").as_bytes(), &silent_exit());
    assert_eq!(answer(&steps), "answer");
    assert_eq!(steps.last(), Some(&Step::End(Outcome::Answered { usage: None })));
}

#[test]
fn a_refused_request_ends_the_run() {
    let line = br#"{"id":2,"error":{"code":-32600,"message":"bad thread"}}"#;
    let steps = replay("codex", Tools::All, line, &silent_exit());
    insta::assert_snapshot!(show(&steps));
}

#[test]
fn the_key_is_in_a_file_and_nowhere_else() {
    let run = provider("codex").invoke(&key("sk-proj-canary"), &prompt(Tools::All)).unwrap();
    let files: Vec<_> =
        run.files.iter().map(|f| format!("{} {:o} {}", f.path, f.mode, f.content.expose_secret())).collect();
    insta::assert_debug_snapshot!((files, &run.argv, &run.env, &run.stdin, run.interactive));
    assert!(!format!("{run:?}").contains("canary"));
}

#[test]
fn it_cannot_do_without_its_tools() {
    let refused = provider("codex").invoke(&key("sk-proj-abc"), &prompt(Tools::None)).unwrap_err();
    assert_eq!(refused.code, Code::Unsupported);
}
