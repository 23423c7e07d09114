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

/// Bytes in pieces whose lengths follow from them: the same bytes are always cut in the same way.
pub(crate) fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    // FNV-1a, and then Knuth's linear congruential generator (MMIX).
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut chance = bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold);
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A third of all pieces are a byte, as many are short, the others have up to 4 KiB.
        let most = [1, 1, 16, 4096][(chance >> 62) as usize];
        let (piece, behind) = rest.split_at(rest.len().min(1 + (chance >> 40) as usize % most));
        rest = behind;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::{TARGETS, pieces};
    use std::{fs, path::Path};

    /// What fuzzers set out from and what they found is tried with every build.
    #[test]
    fn the_corpora_hold() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        for (name, target) in TARGETS {
            let files: Vec<_> = fs::read_dir(corpora.join(name)).unwrap().map(|file| file.unwrap().path()).collect();
            assert!(!files.is_empty(), "{name} has nothing to set out from");
            for file in files {
                eprintln!("{}", file.display());
                target(&fs::read(file).unwrap());
            }
        }
    }

    #[test]
    fn pieces_are_the_whole() {
        let whole: Vec<u8> = (0..10_000u32).flat_map(u32::to_be_bytes).collect();
        assert!(pieces(&whole).all(|piece| !piece.is_empty()) && pieces(&whole).count() > 10);
        assert_eq!(pieces(&whole).collect::<Vec<_>>().concat(), whole);
        assert_eq!(pieces(b"").count(), 0);
    }
}
