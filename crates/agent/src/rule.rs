//! When a watched file is told of: what must hold of it, and for how long it must have been left alone. Pure.

use polydev_proto::{Expected, Predicate};
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

/// Whether content satisfies every predicate. Without any, whatever the content is.
pub(crate) fn satisfied(require: &[Predicate], content: &[u8]) -> bool {
    if require.is_empty() {
        return true;
    }
    let Ok(document) = serde_json::from_slice::<Value>(content) else { return false };
    require.iter().all(|predicate| {
        let found = document.pointer(&predicate.pointer);
        match &predicate.is {
            Expected::Present => found.is_some_and(|value| !value.is_null() && value != ""),
            Expected::Equal(wanted) => found == Some(wanted),
        }
    })
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    /// Nanoseconds.
    pub(crate) modified: i128,
}

/// What is known of one watched file.
///
/// ```text
///   absent ⇄ changing ── quiet long enough ─► settled
///               ▲                                │
///               └──────────── changed ───────────┘
/// ```
#[derive(Debug)]
pub(crate) struct Quiet {
    period: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    Absent,
    Changing { stamp: Stamp, since: Instant },
    Settled { stamp: Stamp },
}

impl Quiet {
    pub(crate) fn new(period: Duration) -> Self {
        Self { period, state: State::Absent }
    }

    /// How the file is now, and whether a change was announced, which a stamp may be too coarse to show.
    pub(crate) fn observe(&mut self, seen: Option<Stamp>, announced: bool, now: Instant) {
        let known = match &self.state {
            State::Absent => None,
            State::Changing { stamp, .. } | State::Settled { stamp } => Some(*stamp),
        };
        match seen {
            None => self.state = State::Absent,
            Some(stamp) if announced || known != seen => self.state = State::Changing { stamp, since: now },
            Some(_) => {}
        }
    }

    /// When the file will have been left alone for long enough, if nothing changes.
    pub(crate) fn due(&self) -> Option<Instant> {
        match &self.state {
            State::Changing { since, .. } => since.checked_add(self.period),
            State::Absent | State::Settled { .. } => None,
        }
    }

    /// Whether the file is to be looked at now: true once for every change.
    pub(crate) fn settle(&mut self, now: Instant) -> bool {
        match &self.state {
            State::Changing { stamp, .. } if self.due().is_some_and(|due| due <= now) => {
                self.state = State::Settled { stamp: *stamp };
                true
            }
            State::Absent | State::Changing { .. } | State::Settled { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn predicate(pointer: &str, is: Expected) -> Predicate {
        Predicate { pointer: pointer.to_owned(), is }
    }

    #[test]
    fn predicates_look_at_json() {
        let document = json!({"a": {"token": "t", "none": null, "empty": "", "zero": 0}, "l": [1, 2]}).to_string();
        let present = |pointer| satisfied(&[predicate(pointer, Expected::Present)], document.as_bytes());
        assert!(present("/a/token") && present("/a/zero") && present("/l/1") && present("/a") && present(""));
        assert!(!present("/a/none") && !present("/a/empty") && !present("/b") && !present("/l/2"));
        let equal = |value| satisfied(&[predicate("/l", Expected::Equal(value))], document.as_bytes());
        assert!(equal(json!([1, 2])) && !equal(json!([1])));
        assert!(!satisfied(&[predicate("", Expected::Present)], b"{\"cut\": "));
        assert!(satisfied(&[], b"\xff not json"));
    }

    #[test]
    fn a_change_starts_the_period_again_and_is_told_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let stamp = |size| Some(Stamp { device: 1, inode: 2, size, modified: 3 });
        let mut quiet = Quiet::new(Duration::from_millis(100));
        assert_eq!(quiet.due(), None);
        quiet.observe(stamp(1), false, at(0));
        quiet.observe(stamp(2), false, at(90));
        quiet.observe(stamp(2), true, at(95));
        assert!(!quiet.settle(at(194)));
        assert_eq!(quiet.due(), Some(at(195)));
        assert!(quiet.settle(at(195)));
        quiet.observe(stamp(2), false, at(200));
        assert!(!quiet.settle(at(999)));
        quiet.observe(stamp(2), true, at(1000));
        assert!(quiet.settle(at(1100)));
        quiet.observe(None, false, at(1200));
        quiet.observe(stamp(2), false, at(1300));
        assert!(quiet.settle(at(1400)));
    }
}
