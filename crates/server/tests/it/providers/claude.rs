//! Claude Code.

use super::{answer, key, prompt, provider, recordings, replay, sample, show, silent_exit};
use polydev_server::{
    domain::failure::Code,
    providers::{Outcome, Step, ToolEnd, Tools},
};
use secrecy::ExposeSecret;

#[test]
fn every_recording_is_understood() {
    insta::assert_snapshot!(recordings("claude", Tools::All));
}

#[test]
fn texts_of_an_answer_are_joined_by_an_empty_line() {
    let steps = replay("claude", Tools::All, &sample("claude/tool.jsonl"), &silent_exit());
    assert_eq!(answer(&steps), "I will look.\n\n391");
}

#[test]
fn an_older_tool_without_pieces_tells_each_message_once() {
    // `stream-input.jsonl` was recorded without `--include-partial-messages`.
    let whole = sample("claude/stream-input.jsonl");
    assert_eq!(answer(&replay("claude", Tools::None, &whole, &silent_exit())), "4");
    // The same without pieces and with: the same answer.
    let pieces = sample("claude/tool.jsonl");
    let without: Vec<u8> = pieces
        .split_inclusive(|&b| b == b'\n')
        .filter(|l| !l.starts_with(br#"{"type":"stream_event""#))
        .flatten()
        .copied()
        .collect();
    let answer_of = |output: &[u8]| answer(&replay("claude", Tools::All, output, &silent_exit()));
    assert_eq!(answer_of(&without), answer_of(&pieces));
}

#[test]
fn an_answer_that_broke_off_is_not_begun_again() {
    for name in ["fault-cut.jsonl", "fault-cut-retried.jsonl"] {
        let steps = replay("claude", Tools::All, &sample(&format!("standin/claude/{name}")), &silent_exit());
        assert_eq!(answer(&steps), "1 2 3", "{name}");
        assert!(
            matches!(steps.last(), Some(Step::End(Outcome::Failed(f))) if f.code == Code::ProviderUnavailable),
            "{steps:?}"
        );
    }
}

#[test]
fn what_a_subagent_says_is_no_answer() {
    let lines = [
        r#"{"type":"stream_event","event":{"type":"message_start","message":{"id":"a"}},"parent_tool_use_id":"t"}"#,
        r#"{"type":"stream_event","event":{"type":"content_block_delta","delta":{"type":"text_delta","text":"aside"}},"parent_tool_use_id":"t"}"#,
        r#"{"type":"assistant","message":{"id":"a","content":[{"type":"text","text":"aside"},{"type":"tool_use","id":"u","name":"Read","input":{}}]},"parent_tool_use_id":"t"}"#,
        r#"{"type":"assistant","message":{"id":"b","content":[{"type":"text","text":"answer"}]},"parent_tool_use_id":null}"#,
        r#"{"type":"result","subtype":"success","is_error":false,"result":"answer"}"#,
    ];
    let steps = replay("claude", Tools::All, lines.join("\n").as_bytes(), &silent_exit());
    insta::assert_snapshot!(show(&steps));
}

#[test]
fn a_long_output_of_a_tool_is_cut_between_characters() {
    let said = "é".repeat(40_000);
    let line = serde_json::json!({"type": "user", "message": {"content": [
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": said}, {"type": "image"}]},
    ]}});
    let steps = replay("claude", Tools::All, line.to_string().as_bytes(), &silent_exit());
    let Step::Emit(polydev_server::domain::event::EventBody::ToolResult { output, truncated, ok, .. }) = &steps[0]
    else {
        panic!("{steps:?}")
    };
    assert!(*truncated && *ok);
    assert_eq!(output.len(), 64 * 1024);
}

#[test]
fn a_limit_says_when_it_ends() {
    let lines = [
        r#"{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1795384800}}"#,
        r#"{"type":"result","subtype":"success","is_error":true,"api_error_status":429,"result":"limit reached"}"#,
    ];
    let steps = replay("claude", Tools::All, lines.join("\n").as_bytes(), &silent_exit());
    let [Step::End(Outcome::Failed(failure))] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!(failure.retry_at.as_deref(), Some("2026-11-22T22:00:00.000Z"));
}

#[test]
fn the_key_is_in_a_file_and_nowhere_else() {
    for (tools, system) in [(Tools::All, None), (Tools::None, Some("Be brief.".to_owned()))] {
        let mut prompt = prompt(tools);
        prompt.system = system;
        let run = provider("claude").invoke(&key("sk-ant-api03-canary"), &prompt).unwrap();
        let files: Vec<_> =
            run.files.iter().map(|f| format!("{} {:o} {}", f.path, f.mode, f.content.expose_secret())).collect();
        insta::assert_debug_snapshot!((files, &run.argv, &run.env, &run.stdin, run.interactive));
        let seen = format!("{run:?}");
        assert!(!seen.contains("canary"), "{seen}");
    }
}

#[test]
fn a_whole_answer_counts_although_the_last_line_is_missing() {
    let whole = sample("claude/final.jsonl");
    let lines: Vec<&[u8]> = whole.split(|&b| b == b'\n').filter(|line| !line.is_empty()).collect();
    let without_result = lines[..lines.len() - 1].join(&b'\n');
    let ends = |output: &[u8], code| {
        let end = ToolEnd { code: Some(code), ..silent_exit() };
        replay("claude", Tools::All, output, &end).pop().unwrap()
    };
    assert!(matches!(ends(&without_result, 0), Step::End(Outcome::Answered { .. })));
    assert!(matches!(ends(&without_result, 1), Step::End(Outcome::Failed(_))), "it says itself that it did not work");
    let half = lines[..lines.len() / 2].join(&b'\n');
    assert!(matches!(ends(&half, 0), Step::End(Outcome::Failed(_))), "half an answer is none");
}
