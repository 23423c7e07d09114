//! Ids and other random names: a prefix and characters of `a-z2-7`.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// A new id, such as `run_…`: 80 random bits.
pub fn new(prefix: &str) -> String {
    format!("{prefix}_{}", random::<10>())
}

/// Whether this could be an id. PostgreSQL refuses to look for what holds a U+0000.
pub fn is_one(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `N` random bytes as base32 in lower case.
pub fn random<const N: usize>() -> String {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system gives random bytes");
    data_encoding::BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
}
