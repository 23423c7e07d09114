//! What providers answer when they are asked for their models.

use super::{key, provider};
use secrecy::ExposeSecret;
use std::fmt::Write as _;

#[test]
fn the_key_is_in_a_header_and_not_in_the_address() {
    let mut seen = String::new();
    for name in ["claude", "codex"] {
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
    let models =
        [("claude", r#"{"data":[{"id":"claude-opus-5-5","display_name":"Claude Opus 5.5"},{"id":"x y"},{"id":7},5]}"#)];
    let mut seen = String::new();
    for (name, list) in models {
        for (status, body) in [
            (200, list),
            (200, "[]"),
            (200, "<html>"),
            (400, error),
            (401, error),
            (403, "no"),
            (404, ""),
            (429, error),
            (503, error),
            (302, ""),
        ] {
            match provider(name).probed(status, body.as_bytes()) {
                Ok(models) => writeln!(seen, "{name} {status}: {models:?}"),
                Err(e) => writeln!(seen, "{name} {status}: {:?} {}", e.code, e.message),
            }
            .expect("a string takes everything");
        }
    }
    insta::assert_snapshot!(seen);
}
