//! What tests and fuzzers of this crate and of others stand on; nothing else does.

use crate::{
    driver::{Capabilities, Driver, DriverError, Observed, Probe, SandboxId, SandboxSpec, Stream},
    guest::Guest,
};
use async_trait::async_trait;
use std::{fmt, fs, path::Path, sync::Arc};

/// A driver that has no sandboxes: whoever asks for any of them is given what a function gives.
struct Scripted<F>(F);

impl<F> fmt::Debug for Scripted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripted")
    }
}

#[async_trait]
impl<F: Fn() -> Stream + Send + Sync> Driver for Scripted<F> {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { isolates: false, uses_image: false, limits: false, freezes: false }
    }

    async fn probe(&self) -> Probe {
        Probe { available: true, reason: String::new(), hint: None }
    }

    async fn create(&self, _id: &SandboxId, _spec: &SandboxSpec) -> Result<(), DriverError> {
        Ok(())
    }

    async fn connect(&self, _id: &SandboxId) -> Result<Stream, DriverError> {
        Ok((self.0)())
    }

    async fn observe(&self) -> Result<Vec<Observed>, DriverError> {
        Ok(Vec::new())
    }

    async fn destroy(&self, _id: &SandboxId) -> Result<(), DriverError> {
        Ok(())
    }

    async fn console(&self, _id: &SandboxId, _max: usize) -> Result<Vec<u8>, DriverError> {
        Ok(Vec::new())
    }
}

/// An agent that is a function: each channel to it is what that gives.
pub fn scripted(dial: impl Fn() -> Stream + Send + Sync + 'static) -> Guest {
    Guest::new(Arc::new(Scripted(dial)), sandbox())
}

/// A sandbox's name.
///
/// # Panics
/// If names have another form by now.
pub fn sandbox() -> SandboxId {
    "sbx_aaaaaaaaaaaaaaaa".parse().expect("it is one")
}

/// Bytes in pieces whose lengths follow from them: the same bytes are always cut in the same way.
pub fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
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

/// Gives a fuzzer's target what fuzzers set out from and what they found, in the folder `corpus` of the workspace.
///
/// # Panics
/// If there is nothing, or the target panics: the file that was given last is the one.
#[expect(clippy::print_stderr, reason = "a test that fails shows it")]
pub fn corpus(target: &str, try_it: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let files: Vec<_> = fs::read_dir(&folder).into_iter().flatten().flatten().map(|file| file.path()).collect();
    assert!(!files.is_empty(), "{} has nothing to set out from", folder.display());
    for file in files {
        eprintln!("{}", file.display());
        try_it(&fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
    }
}

#[cfg(test)]
mod tests {
    use super::pieces;

    #[test]
    fn pieces_are_the_whole() {
        let whole: Vec<u8> = (0..10_000u32).flat_map(u32::to_be_bytes).collect();
        assert!(pieces(&whole).all(|piece| !piece.is_empty()) && pieces(&whole).count() > 10);
        assert_eq!(pieces(&whole).collect::<Vec<_>>().concat(), whole);
        assert_eq!(pieces(b"").count(), 0);
    }
}
