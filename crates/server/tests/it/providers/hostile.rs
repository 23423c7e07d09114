//! A guest may print anything.

use super::{answer, key, prompt, provider, sample};
use polydev_server::providers::{PROVIDERS, Step, ToolEnd, Tools};
use proptest::prelude::*;

/// Lines that the tools print, as a start for worse ones.
fn lines() -> Vec<Vec<u8>> {
    ["claude/tool.jsonl", "claude/fault-401.jsonl", "codex/appserver-tool.jsonl", "codex/appserver-fault-cut.jsonl"]
        .iter()
        .flat_map(|name| sample(name).split(|&b| b == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>())
        .collect()
}

/// A real line, whole, torn or with one of its bytes changed, or any bytes.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let real = proptest::sample::select(lines());
    prop_oneof![
        4 => real.clone(),
        2 => (real.clone(), any::<proptest::sample::Index>()).prop_map(|(mut line, at)| {
            if !line.is_empty() {
                line.truncate(at.index(line.len()));
            }
            line
        }),
        2 => (real, any::<proptest::sample::Index>(), any::<u8>()).prop_map(|(mut line, at, byte)| {
            if !line.is_empty() {
                let at = at.index(line.len());
                line[at] = byte;
            }
            line
        }),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_line_panics_and_nothing_follows_the_end(
        lines in proptest::collection::vec(line(), 0..30), code in any::<Option<i32>>(), stderr in ".*",
    ) {
        for provider in PROVIDERS {
            let mut dialogue = provider.dialogue(&prompt(Tools::All));
            let mut steps = dialogue.begin();
            for line in &lines {
                steps.extend(dialogue.line(line));
            }
            let end = steps.iter().position(|s| matches!(s, Step::End(_)));
            prop_assert!(end.is_none_or(|at| at + 1 == steps.len()), "{steps:?}");
            dialogue.exit(&ToolEnd { code, signal: None, stderr: stderr.clone() });
        }
    }

    #[test]
    fn no_body_of_a_probe_panics(status in 100..600u16, body in proptest::collection::vec(any::<u8>(), 0..300)) {
        for provider in PROVIDERS {
            let _ = provider.probed(&key("k"), status, &body);
        }
    }

    #[test]
    fn no_text_panics_as_a_key(key in ".*") {
        for provider in PROVIDERS {
            let _ = provider.check_api_key(&key);
        }
    }
}

#[test]
fn deep_json_is_no_line() {
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    for provider in PROVIDERS {
        let steps = provider.dialogue(&prompt(Tools::All)).line(&deep);
        assert_eq!(answer(&steps), "");
        assert!(provider.probed(&key("k"), 200, &deep).is_err());
    }
}

#[test]
fn names_are_unique_and_known() {
    for p in PROVIDERS {
        assert_eq!(provider(p.about().name).about().label, p.about().label);
    }
}
