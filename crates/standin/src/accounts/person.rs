//! Who an account is: derived from its name alone, so that it is the same in every stand-in.

use sha2::{Digest, Sha256};

/// One person, with an account of the same name at every provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) name: String,
}

/// Where everybody has their address.
const DOMAIN: &str = "@example.test";

/// The longest name that a page takes, in bytes.
const NAME_MAX: usize = 64;

impl Person {
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    /// Whom somebody has written into a page: a name, or the address that follows from it.
    pub(crate) fn written(text: &str) -> Option<Self> {
        let name = text.trim();
        let name = name.strip_suffix(DOMAIN).unwrap_or(name);
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
        (!name.is_empty() && name.len() <= NAME_MAX && name.chars().all(fits)).then(|| Self::named(name))
    }

    pub(crate) fn email(&self) -> String {
        format!("{}{DOMAIN}", self.name)
    }

    /// An id of this person for one purpose, as a UUID.
    pub(crate) fn uuid(&self, purpose: &str) -> String {
        let digest = self.digest(purpose);
        let hex = data_encoding::HEXLOWER.encode(&digest[..16]);
        format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
    }

    /// An id of this person for one purpose, in decimal digits as Google's are.
    pub(crate) fn number(&self, purpose: &str) -> String {
        let digest = self.digest(purpose);
        let digits: String = digest[..20].iter().map(|byte| char::from(b'0' + byte % 10)).collect();
        format!("1{digits}")
    }

    fn digest(&self, purpose: &str) -> [u8; 32] {
        Sha256::digest(format!("{purpose} of {}", self.name)).into()
    }
}
