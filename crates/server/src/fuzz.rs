//! What fuzzers give to all that reads what a tool prints and leaves behind, and what a client writes into headers; and
//! what must hold of it whatever that is.
//!
//! Built for fuzzers and tests alone: `fuzz/` in the workspace has a program for each of [`TARGETS`], and what they
//! found. A target panics when something does not hold.

mod redaction;
mod tools;

pub use crate::{api::fuzz::headers, control::fuzz::lines};
pub use redaction::redactor;
pub use tools::{claude, codex, gemini, logins};

/// A target: takes whatever there is.
pub type Target = fn(&[u8]);

/// Every target of this crate by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("claude", claude),
    ("codex", codex),
    ("gemini", gemini),
    ("headers", headers),
    ("lines", lines),
    ("logins", logins),
    ("redactor", redactor),
];

#[cfg(test)]
mod tests {
    /// What fuzzers set out from and what they found is tried with every build.
    #[test]
    fn the_corpora_hold() {
        for (name, target) in super::TARGETS {
            polydev_sandbox::testing::corpus(name, target);
        }
    }
}
