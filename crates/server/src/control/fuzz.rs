//! Whatever comes from a tool, and however it is cut: its lines are its lines, and what must not be told is not.

use super::{
    converse::Lines,
    secrets::{Complaints, Words},
};
use crate::domain::{event::EventBody, redact::Redactor};
use polydev_sandbox::testing::pieces;

const KEY: &str = "sk-ant-api03-abcdef";

/// Output of a tool, in which a zero stands for its key: cut into lines, told as pieces of an answer, and kept as the
/// end of its standard error.
pub fn lines(data: &[u8]) {
    let said: Vec<u8> = data.split(|byte| *byte == 0).collect::<Vec<_>>().join(KEY.as_bytes());
    cut(&said);
    let secrets = Redactor::new([KEY]);
    let (mut answer, mut told) = (Words::default(), Vec::new());
    let (mut complaints, mut tail) = (Complaints::default(), Vec::new());
    let mut offset = 0;
    for piece in pieces(&said) {
        let text = String::from_utf8_lossy(piece).into_owned();
        answer.push(&secrets, EventBody::Text { text }, &mut told);
        answer = Words::restore(&secrets, answer.held(&secrets), true);
        complaints.push(&secrets, offset, piece, &mut tail);
        offset += piece.len() as u64;
    }
    answer.finish(&secrets, &mut told);
    complaints.finish(&secrets, &mut tail);
    let text: String = told
        .iter()
        .map(|event| match event {
            EventBody::Text { text } if !text.is_empty() => text.as_str(),
            other => panic!("{other:?} is no piece of an answer"),
        })
        .collect();
    assert!(!text.contains(KEY), "{text}");
    assert!(!secrets.finds(&tail), "{}", tail.escape_ascii());
}

/// However they are cut, they are the same lines, and no byte is lost.
fn cut(said: &[u8]) {
    let (mut lines, mut found, mut taken) = (Lines::default(), Vec::new(), 0);
    for piece in pieces(said) {
        let each = |line: &[u8], bytes| {
            found.push(line.to_vec());
            taken += bytes;
        };
        lines.push(piece, each).expect("a fuzzer's lines are short");
    }
    let mut last = None;
    taken += lines.finish(|rest| last = Some(rest.to_vec()));
    assert_eq!(taken, said.len() as u64);
    found.push(last.unwrap_or_default());
    let expected: Vec<_> = said.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    assert_eq!(found, expected);
}
