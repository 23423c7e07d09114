//! However a text with secrets is cut, and whoever goes on with it, what is told is the text without them.

use crate::domain::redact::{Pieces, REDACTED, Redactor};
use polydev_sandbox::testing::pieces;

/// How many lines of the input are secrets.
const SECRETS: usize = 3;

/// The first lines are secrets; in the rest, each of the bytes 1 to 3 stands for one.
pub fn redactor(data: &[u8]) {
    let mut lines = data.splitn(SECRETS + 1, |byte| *byte == b'\n');
    let secrets: Vec<String> =
        lines.by_ref().take(SECRETS).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    let text = lines.next().unwrap_or_default();
    let mut whole = Vec::with_capacity(text.len());
    for byte in text {
        match secrets.get(usize::from(*byte).wrapping_sub(1)) {
            Some(secret) => whole.extend_from_slice(secret.as_bytes()),
            None => whole.push(*byte),
        }
    }
    let redactor = Redactor::new(secrets.iter().map(String::as_str));
    let (mut reader, mut told) = (Pieces::default(), Vec::new());
    for (n, piece) in pieces(&whole).enumerate() {
        told.extend(reader.push(&redactor, piece));
        if n % 3 == 0 {
            reader = Pieces::restore(&redactor, reader.held(&redactor));
        }
    }
    told.extend(reader.finish(&redactor));
    assert_eq!(told, redactor.bytes(&whole).into_owned(), "in pieces it is told otherwise than whole");
    if let Ok(whole) = std::str::from_utf8(&whole) {
        assert_eq!(told, redactor.text(whole).as_bytes());
    }
    // A secret of our own words, or with a bracket, may come about where another was taken out.
    let plain = |secret: &String| !secret.contains(['[', ']']) && !REDACTED.contains(secret.as_str());
    if secrets.iter().filter(|secret| redactor.finds(secret.as_bytes())).all(plain) {
        assert!(!redactor.finds(&told), "a secret is told");
    }
}
