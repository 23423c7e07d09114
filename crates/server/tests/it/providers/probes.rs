//! What providers answer when they are asked for their models.

use super::{key, provider};
use secrecy::ExposeSecret;
use std::fmt::Write as _;

#[test]
fn the_key_is_in_a_header_and_not_in_the_address() {
    let mut seen = String::new();
    for name in ["claude", "codex", "gemini"] {
        let probe = provider(name).probe(&key("canary"));
        assert!(!probe.url.contains("canary"));
        assert!(!format!("{probe:?}").contains("canary"));
        writeln!(seen, "{}", probe.url).expect("a string takes everything");
        for (header, value) in probe.headers {
            writeln!(seen, "  {header}: {}", value.expose_secret()).expect("a string takes everything");
        }
    }
    insta::assert_snapshot!(seen);
}

#[test]
fn answers_mean_models_or_a_failure() {
    let error = r#"{"error":{"message":"words of the provider"}}"#;
    let bad_key = r#"{"error":{"code":400,"message":"API key not valid.","details":[{"reason":"API_KEY_INVALID"}]}}"#;
    let models = [
        ("claude", r#"{"data":[{"id":"claude-opus-5-5","display_name":"Claude Opus 5.5"},{"id":"x y"},{"id":7},5]}"#),
        (
            "codex",
            r#"{"data":[{"id":"gpt-6.1-sol"},{"id":"gpt-5-codex"},{"id":"gpt-4o"},{"id":"gpt-6-audio"},{"id":"dall-e-3"}]}"#,
        ),
        (
            "gemini",
            r#"{"models":[
                {"name":"models/gemini-2.5-pro","displayName":"Gemini 2.5 Pro","supportedGenerationMethods":["generateContent"]},
                {"name":"models/gemini-2.5-flash-preview-tts","supportedGenerationMethods":["generateContent"]},
                {"name":"models/gemini-embedding-001","supportedGenerationMethods":["embedContent"]},
                {"name":"models/gemma-3","supportedGenerationMethods":["generateContent"]}]}"#,
        ),
    ];
    let mut seen = String::new();
    for (name, list) in models {
        for (status, body) in [
            (200, list),
            (200, "[]"),
            (200, "<html>"),
            (400, error),
            (400, bad_key),
            (401, error),
            (403, error),
            (403, "no"),
            (404, ""),
            (429, error),
            (503, error),
            (302, ""),
        ] {
            match provider(name).probed(&key("k"), status, body.as_bytes()) {
                Ok(proof) => writeln!(seen, "{name} {status}: {:?}", proof.models),
                Err(e) => writeln!(seen, "{name} {status}: {:?} {}", e.code, e.message),
            }
            .expect("a string takes everything");
        }
    }
    insta::assert_snapshot!(seen);
}
