//! Reading what a tool prints: whatever is missing or of another type reads as nothing, and nothing grows.

use super::Step;
use crate::domain::event::{EventBody, LogLevel};
use serde_json::Value;

/// The most bytes of a tool's output that an event carries; the contract's figure.
pub(super) const MAX_OUTPUT: usize = 64 * 1024;

/// The most bytes of a message that people read.
const MAX_MESSAGE: usize = 1000;

/// The line as JSON, if it is.
pub(super) fn parse(line: &[u8]) -> Option<Value> {
    serde_json::from_slice(line).ok()
}

/// The text at a JSON pointer; empty when there is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The number at a JSON pointer, 0 when there is none or it is negative.
pub(super) fn count(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or_default().max(0)
}

/// The items of the array at a JSON pointer.
pub(super) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// At most `max` bytes of `text`, whole characters only, and whether something was left out.
pub(super) fn cut(text: &str, max: usize) -> (String, bool) {
    let end = text.floor_char_boundary(max);
    (text[..end].to_owned(), end < text.len())
}

/// `text` as part of a message: one line, without control characters, not long.
pub(super) fn one_line(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    let (mut line, more) = cut(&line, MAX_MESSAGE);
    if more {
        line.push('…');
    }
    line
}

/// Tells a piece of the model's thinking, unless it is empty.
pub(super) fn think(piece: &str, steps: &mut Vec<Step>) {
    if !piece.is_empty() {
        steps.push(Step::Emit(EventBody::Reasoning { text: piece.to_owned() }));
    }
}

/// A log event.
pub(super) fn log(level: LogLevel, text: &str) -> EventBody {
    EventBody::Log { level, text: one_line(text) }
}

/// A tool's input as an event carries it: long texts in it are cut when it is too large as a whole.
pub(super) fn input(value: &Value) -> Value {
    const LONGEST: usize = 1024;
    fn shorten(value: &Value) -> Value {
        match value {
            Value::String(s) if s.len() > LONGEST => Value::String(cut(s, LONGEST).0 + "…"),
            Value::Array(a) => a.iter().map(shorten).collect(),
            Value::Object(o) => o.iter().map(|(k, v)| (k.clone(), shorten(v))).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        }
    }
    let fits = |v: &Value| v.to_string().len() <= MAX_OUTPUT;
    if fits(value) {
        return value.clone();
    }
    let short = shorten(value);
    if fits(&short) { short } else { serde_json::json!({ "truncated": true }) }
}

/// A dialogue's own state.
pub(super) fn save(state: &impl serde::Serialize) -> Value {
    serde_json::to_value(state).expect("flags, counts and texts are JSON")
}
