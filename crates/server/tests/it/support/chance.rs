//! Chance that can be had again.

use proptest::{
    prelude::RngExt,
    test_runner::{RngAlgorithm, TestRng},
};
use std::hash::{BuildHasher, RandomState};

/// A source of chance. Its seed is printed, which a test that fails shows; `POLYDEV_SEED` sets it.
pub(crate) fn chance() -> TestRng {
    let given = std::env::var_os("POLYDEV_SEED").map(|seed| seed.to_str().and_then(|seed| seed.parse().ok()));
    let seed: u64 = match given {
        Some(seed) => seed.expect("`POLYDEV_SEED` is a whole number"),
        None => RandomState::new().hash_one(()),
    };
    eprintln!("POLYDEV_SEED={seed} makes the same choices again");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

/// A source of its own for something that happens beside others, whose order must not matter.
pub(crate) fn branch(chance: &mut TestRng) -> TestRng {
    TestRng::from_seed(RngAlgorithm::ChaCha, &chance.random::<[u8; 32]>())
}

/// In any order.
pub(crate) fn shuffle<T>(things: &mut [T], chance: &mut TestRng) {
    for end in (1..things.len()).rev() {
        things.swap(end, chance.random_range(0..=end));
    }
}
