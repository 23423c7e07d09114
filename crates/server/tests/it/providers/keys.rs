//! What can be an API key.

use super::provider;
use std::fmt::Write as _;

#[test]
fn what_cannot_be_a_key_is_refused_with_a_hint() {
    let long = "k".repeat(1025);
    let mut seen = String::new();
    for name in ["claude", "codex", "gemini"] {
        for key in [
            "sk-ant-api03-abc",
            "sk-proj-abc",
            "sk-abc",
            "AIzaSyAbc",
            "something-new",
            "",
            " sk-ant-api03-abc",
            "sk-ant-api03-abc\n",
            "sk-ant-\u{0}",
            "sk-ant-ä",
            "sk-ant-oat01-abc",
            "sk-ant-admin01-abc",
            "ya29.abc",
            "eyJhbGciOi",
            "pdv_abc",
            &long,
        ] {
            let shown = key.get(..40).unwrap_or(key);
            match provider(name).check_api_key(key) {
                Ok(()) => writeln!(seen, "{name} {shown:?}: taken"),
                Err(e) => writeln!(
                    seen,
                    "{name} {shown:?}: {:?} {} ({})",
                    e.code,
                    e.message,
                    e.hint.as_deref().unwrap_or_default()
                ),
            }
            .expect("a string takes everything");
        }
    }
    insta::assert_snapshot!(seen);
}

#[test]
fn a_refusal_does_not_repeat_the_key() {
    for key in ["sk-proj-canary", "sk-ant-oat01-canary", "canary canary"] {
        let failure = provider("claude").check_api_key(key).unwrap_err();
        assert!(!format!("{failure:?}").contains("canary"), "{failure:?}");
    }
}
