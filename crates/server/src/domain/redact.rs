//! Secrets by their exact values, taken out of what is kept, shown and logged.
//!
//! ```text
//!   the secrets of a run ─► Redactor ─┬─ bytes(), text(): a whole text
//!                                     └─ Pieces: a text that comes in pieces, wherever it is cut
//! ```
//! It is for accidents: a tool that shows its key, a model that repeats it. Whoever wants to get a secret past it
//! spells it another way.

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::{borrow::Cow, collections::HashSet, fmt, sync::Arc};

/// What stands where a secret was.
pub const REDACTED: &str = "[redacted]";

/// What is shorter is no secret, but may well be a word. The shortest credential of a provider has 39 bytes.
const SHORTEST: usize = 8;

/// What stays as it is in a form or the query of a URL (RFC 3986, unreserved).
const ESCAPED_IN_FORMS: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Knows secrets, to take them out of texts. Cheap to clone.
#[derive(Clone)]
pub struct Redactor(Arc<Known>);

struct Known {
    /// Every form of every secret, in the order in which they became known.
    forms: Vec<Vec<u8>>,
    finder: AhoCorasick,
    /// The length of the longest form, bytes.
    longest: usize,
}

/// Tells how much it knows, and not what.
impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").field("forms", &self.0.forms.len()).finish_non_exhaustive()
    }
}

impl Redactor {
    /// One that knows these secrets: as they are, as JSON writes them, and as forms and URLs do.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        Self::of(Vec::new(), secrets)
    }

    /// The same with more secrets, or nothing if it knows them all.
    #[must_use]
    pub fn knowing<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let is_new =
            |secret: &&str| secret.len() >= SHORTEST && !self.0.forms.iter().any(|form| form == secret.as_bytes());
        // What finds them is made anew only where there are any.
        let new: Vec<&str> = secrets.into_iter().filter(is_new).collect();
        (!new.is_empty()).then(|| Self::of(self.0.forms.clone(), new))
    }

    /// The same with every form in lower case too, for what is written so.
    #[must_use]
    pub fn and_lower_case(&self) -> Self {
        let lower: Vec<String> =
            self.0.forms.iter().filter_map(|form| Some(str::from_utf8(form).ok()?.to_ascii_lowercase())).collect();
        self.knowing(lower.iter().map(String::as_str)).unwrap_or_else(|| self.clone())
    }

    fn of<'a>(mut forms: Vec<Vec<u8>>, secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut seen: HashSet<Vec<u8>> = forms.iter().cloned().collect();
        let new = secrets.into_iter().filter(|secret| secret.len() >= SHORTEST).flat_map(written);
        forms.extend(new.filter(|form| seen.insert(form.clone())));
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            // The other kinds take a thousand times the memory of what they know.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(&forms)
            .expect("a few tokens of a few KiB make few states");
        let longest = forms.iter().map(Vec::len).max().unwrap_or_default();
        Self(Arc::new(Known { forms, finder, longest }))
    }

    /// How many bytes the forms of secrets have that it knows.
    pub fn size(&self) -> usize {
        self.0.forms.iter().map(Vec::len).sum()
    }

    /// Whether there is a secret in it.
    pub fn finds(&self, bytes: &[u8]) -> bool {
        self.0.finder.is_match(bytes)
    }

    /// The bytes without secrets.
    pub fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        if !self.finds(bytes) {
            return Cow::Borrowed(bytes);
        }
        Cow::Owned(self.0.finder.replace_all_bytes(bytes, &vec![REDACTED; self.0.forms.len()]))
    }

    /// The text without secrets.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if !self.finds(text.as_bytes()) {
            return Cow::Borrowed(text);
        }
        Cow::Owned(self.0.finder.replace_all(text, &vec![REDACTED; self.0.forms.len()]))
    }

    /// The beginning of a text whose rest is to come, without secrets, as far as it is settled; and from which byte
    /// on it is not.
    fn settled(&self, text: &[u8]) -> (Vec<u8>, usize) {
        let (mut told, mut from) = (Vec::with_capacity(text.len()), 0);
        let mut open = self.open(text, 0);
        for found in self.0.finder.find_iter(text) {
            if open < from {
                open = self.open(text, from);
            }
            // What is open may become a longer one than what was found in it.
            if open <= found.start() {
                break;
            }
            told.extend_from_slice(&text[from..found.start()]);
            told.extend_from_slice(REDACTED.as_bytes());
            from = found.end();
        }
        if open < from {
            open = self.open(text, from);
        }
        told.extend_from_slice(&text[from..open]);
        (told, open)
    }

    /// Where, at or after this byte, a text goes on to its end like a form that is longer. Its length: nowhere.
    fn open(&self, text: &[u8], from: usize) -> usize {
        let first = from.max(text.len().saturating_sub(self.0.longest.saturating_sub(1)));
        (first..text.len()).find(|at| self.form_of(&text[*at..]).is_some()).unwrap_or(text.len())
    }

    /// The first form that begins like this and is longer.
    fn form_of(&self, beginning: &[u8]) -> Option<usize> {
        self.0.forms.iter().position(|form| form.len() > beginning.len() && form.starts_with(beginning))
    }
}

/// The ways in which a secret is written as a whole.
fn written(secret: &str) -> [Vec<u8>; 4] {
    let json = serde_json::Value::from(secret).to_string();
    let json = &json[1..json.len() - 1];
    let form = utf8_percent_encode(secret, ESCAPED_IN_FORMS).to_string();
    // Some write `\/` in JSON.
    [secret.into(), json.into(), json.replace('/', "\\/").into(), form.into()]
}

/// A text that comes in pieces. What may be the beginning of a secret is held back until it is known not to be one,
/// and nothing else is.
#[derive(Default)]
pub struct Pieces {
    held: Vec<u8>,
}

/// What is held back may be most of a secret.
impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pieces").field("held", &self.held.len()).finish()
    }
}

impl Pieces {
    /// Takes a piece, and gives what can be told by now.
    #[must_use]
    pub fn push(&mut self, secrets: &Redactor, piece: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(piece);
        let (told, open) = secrets.settled(&self.held);
        self.held.drain(..open);
        told
    }

    /// The text ends here: gives what was held back.
    #[must_use]
    pub fn finish(&mut self, secrets: &Redactor) -> Vec<u8> {
        secrets.bytes(&std::mem::take(&mut self.held)).into_owned()
    }

    /// What is held back, without saying it: the number of a form, and how many of its bytes. None: nothing.
    pub fn held(&self, secrets: &Redactor) -> Option<(usize, usize)> {
        let of = || secrets.form_of(&self.held);
        (!self.held.is_empty()).then(of).flatten().map(|form| (form, self.held.len()))
    }

    /// Goes on from what [`Pieces::held`] said to a redactor that knew the same secrets. What is not known by
    /// now may have been one.
    pub fn restore(secrets: &Redactor, held: Option<(usize, usize)>) -> Self {
        let known = |(form, bytes): (usize, usize)| secrets.0.forms.get(form)?.get(..bytes).map(<[u8]>::to_vec);
        let held = held.map_or_else(Vec::new, |held| known(held).unwrap_or_else(|| REDACTED.into()));
        Self { held }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_secret_goes_in_whatever_way_it_is_written() {
        let secrets = Redactor::new(["1//0g-\"quoted\"", "sk-ant-api03-abc", "short"]);
        for (shown, told) in [
            ("key sk-ant-api03-abc.", "key [redacted]."),
            ("sk-ant-api03-ab", "sk-ant-api03-ab"),
            ("1//0g-\"quoted\"", "[redacted]"),
            (r#"{"t":"1//0g-\"quoted\"","n":1}"#, r#"{"t":"[redacted]","n":1}"#),
            (r#"{"t":"1\/\/0g-\"quoted\""}"#, r#"{"t":"[redacted]"}"#),
            ("refresh_token=1%2F%2F0g-%22quoted%22&x=1", "refresh_token=[redacted]&x=1"),
            ("a short word", "a short word"),
        ] {
            assert_eq!(secrets.text(shown), told);
            assert_eq!(text(&secrets.bytes(shown.as_bytes())), told);
        }
        assert!(!format!("{secrets:?}").contains("sk-ant"));
    }

    #[test]
    fn nothing_but_the_beginning_of_a_secret_is_held_back() {
        let secrets = Redactor::new(["sk-ant-api03-abc"]);
        let mut pieces = Pieces::default();
        let mut push = |piece: &str| text(&pieces.push(&secrets, piece.as_bytes())).to_owned();
        assert_eq!(push("the key is "), "the key is ");
        assert_eq!(push("s"), "");
        assert_eq!(push("o long "), "so long ");
        assert_eq!(push("sk-ant"), "");
        assert_eq!(push("-api03-abc"), "[redacted]");
        assert_eq!(push("sk-ant sk-a"), "sk-ant ");
        assert!(!format!("{pieces:?}").contains("sk-a"));
        assert_eq!(text(&pieces.finish(&secrets)), "sk-a");
        assert_eq!(text(&pieces.finish(&secrets)), "");
    }

    #[test]
    fn what_becomes_known_later_is_taken_out_from_then_on() {
        let before = Redactor::new(["first-secret"]);
        assert!(before.knowing(["first-secret", "short"]).is_none());
        let after = before.knowing(["other-secret"]).unwrap();
        assert_eq!(after.text("first-secret other-secret"), "[redacted] [redacted]");
        let mut pieces = Pieces::default();
        assert_eq!(text(&pieces.push(&before, b"first-sec")), "");
        assert_eq!(text(&pieces.push(&after, b"ret and oth")), "[redacted] and ");
        assert_eq!(text(&pieces.push(&after, b"er-secret")), "[redacted]");
    }

    /// Short alphabets and overlapping secrets: what is rare in real texts is the rule here.
    fn secrets() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("[abä\"]{8,12}|[ab]{8,9}|aaaaaaaa|aaaaaaaaaab", 1..5)
    }

    fn texts(secrets: Vec<String>) -> impl Strategy<Value = (Vec<String>, String)> {
        let word = prop_oneof![prop::sample::select(secrets.clone()), "[abä\"/]{0,9}".prop_map(String::from)];
        prop::collection::vec(word, 0..12).prop_map(move |words| (secrets.clone(), words.concat()))
    }

    proptest! {
        /// However a text is cut, and whoever goes on with it, what is told is the text without its secrets.
        #[test]
        fn pieces_are_told_as_the_whole(
            (secrets, whole) in secrets().prop_flat_map(texts),
            cuts in prop::collection::vec((0..120usize, any::<bool>()), 0..12),
        ) {
            let redactor = Redactor::new(secrets.iter().map(String::as_str));
            let mut cuts: Vec<_> = cuts.into_iter().map(|(at, change)| (at.min(whole.len()), change)).collect();
            cuts.sort_unstable();
            let (mut pieces, mut told, mut from) = (Pieces::default(), Vec::new(), 0);
            for (at, change_of_servers) in cuts {
                told.extend(pieces.push(&redactor, &whole.as_bytes()[from..at]));
                from = at;
                if change_of_servers {
                    let held = pieces.held(&redactor);
                    prop_assert_eq!(held.is_some(), !pieces.held.is_empty());
                    pieces = Pieces::restore(&redactor, held);
                }
            }
            told.extend(pieces.push(&redactor, &whole.as_bytes()[from..]));
            told.extend(pieces.finish(&redactor));
            prop_assert!(pieces.held.is_empty());
            prop_assert_eq!(text(&told), redactor.text(&whole));
            prop_assert!(!redactor.finds(&told));
        }
    }
}
