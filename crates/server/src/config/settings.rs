//! What was said, by key, before it means anything; and the reading of it.
//!
//! Every read removes its key and notes it as known, so that what is left at the end is unknown.

use super::{Env, Problem};
use secrecy::SecretString;
use std::{
    collections::BTreeMap,
    fmt::Display,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
};

/// A value as it was given.
enum Given {
    /// In the file.
    Toml(toml::Value),
    /// By this variable or flag, as text.
    Text { by: String, text: String },
}

/// Everything that was said.
pub(super) struct Settings {
    given: BTreeMap<String, Given>,
    known: Vec<String>,
    credentials: Option<PathBuf>,
    /// The files of their own that secrets were read from.
    pub(super) secret_files: Vec<PathBuf>,
    /// The configuration's file has a password in it.
    pub(super) has_password: bool,
    /// What is wrong so far.
    pub(super) problems: Vec<Problem>,
}

impl Settings {
    pub(super) fn new(file: toml::Table, env: &Env) -> Self {
        let mut given = BTreeMap::new();
        flatten("", file, &mut given);
        for (name, text) in env.iter() {
            if let Some(path) = name.strip_prefix("POLYDEV__") {
                let key = path.to_ascii_lowercase().replace("__", ".");
                given.insert(key, Given::Text { by: name.to_owned(), text: text.to_owned() });
            }
        }
        let credentials = env.get("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self {
            given,
            known: Vec::new(),
            credentials,
            secret_files: Vec::new(),
            has_password: false,
            problems: Vec::new(),
        }
    }

    /// Says `text` for `key` over whatever was said before.
    pub(super) fn overlay(&mut self, key: &str, by: &str, text: String) {
        self.given.insert(key.to_owned(), Given::Text { by: by.to_owned(), text });
    }

    pub(super) fn problem(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { key: key.into(), message: message.into() });
    }

    /// Keys below `section.` that were said and not yet read.
    pub(super) fn unread_below(&self, section: &str) -> Vec<String> {
        let prefix = format!("{section}.");
        self.given.keys().filter(|key| key.starts_with(&prefix)).cloned().collect()
    }

    /// Reads a key to refuse it, whatever its value is.
    pub(super) fn refuse(&mut self, key: &str, message: impl Into<String>) {
        self.given.remove(key);
        self.problem(key, message);
    }

    /// Whether a key was said and not yet read.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.given.contains_key(key)
    }

    fn take(&mut self, key: &str) -> Option<Given> {
        self.known.push(key.to_owned());
        self.given.remove(key)
    }

    /// A value that is text.
    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        match self.take(key)? {
            Given::Toml(toml::Value::String(text)) | Given::Text { text, .. } => Some(text),
            Given::Toml(other) => self.wrong_type(key, "a string", &other),
        }
    }

    /// A value that is text of some form; a message of [`FromStr::Err`] follows the value.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&mut self, key: &str) -> Option<T> {
        let text = self.text(key)?;
        text.parse().map_err(|e| self.problem(key, format!("`{text}` {e}"))).ok()
    }

    /// A whole number within bounds.
    pub(super) fn number(&mut self, key: &str, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        let number = match self.take(key) {
            None => return default,
            Some(Given::Toml(toml::Value::Integer(number))) => i128::from(number),
            Some(Given::Toml(other)) => return self.wrong_type(key, "a whole number", &other).unwrap_or(default),
            Some(Given::Text { by, text }) => match text.trim().parse() {
                Ok(number) => number,
                Err(_) => {
                    self.problem(key, format!("`{text}` of {by} is no whole number"));
                    return default;
                }
            },
        };
        match u64::try_from(number).ok().filter(|number| bounds.contains(number)) {
            Some(number) => number,
            None => {
                self.problem(key, format!("{number} is not within {} to {}", bounds.start(), bounds.end()));
                default
            }
        }
    }

    /// A number that need not be whole, within bounds.
    pub(super) fn decimal(&mut self, key: &str, default: f64, bounds: RangeInclusive<f64>) -> f64 {
        let number = match self.take(key) {
            None => return default,
            Some(Given::Toml(toml::Value::Integer(number))) => number as f64,
            Some(Given::Toml(toml::Value::Float(number))) => number,
            Some(Given::Toml(other)) => return self.wrong_type(key, "a number", &other).unwrap_or(default),
            Some(Given::Text { by, text }) => match text.trim().parse() {
                Ok(number) => number,
                Err(_) => {
                    self.problem(key, format!("`{text}` of {by} is no number"));
                    return default;
                }
            },
        };
        if bounds.contains(&number) {
            return number;
        }
        self.problem(key, format!("{number} is not within {} to {}", bounds.start(), bounds.end()));
        default
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, key: &str, default: bool) -> bool {
        match self.take(key) {
            None => default,
            Some(Given::Toml(toml::Value::Boolean(value))) => value,
            Some(Given::Toml(other)) => self.wrong_type(key, "`true` or `false`", &other).unwrap_or(default),
            Some(Given::Text { by, text }) => match text.trim().parse() {
                Ok(value) => value,
                Err(_) => {
                    self.problem(key, format!("`{text}` of {by} is neither `true` nor `false`"));
                    default
                }
            },
        }
    }

    /// A list of strings; as a variable, JSON.
    pub(super) fn list(&mut self, key: &str) -> Vec<String> {
        match self.take(key) {
            None => Vec::new(),
            Some(Given::Toml(value)) => match value.clone().try_into() {
                Ok(list) => list,
                Err(_) => self.wrong_type(key, "a list of strings", &value).unwrap_or_default(),
            },
            Some(Given::Text { by, text }) => match serde_json::from_str(&text) {
                Ok(list) => list,
                Err(_) => {
                    self.problem(key, format!("{by} is no JSON list of strings, such as `[\"example.com\"]`"));
                    Vec::new()
                }
            },
        }
    }

    /// A path, made absolute.
    pub(super) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.text(key)?;
        match std::path::absolute(&text) {
            Ok(path) => Some(path),
            Err(_) => {
                self.problem(key, "is empty: give a path");
                None
            }
        }
    }

    /// A secret: `key` itself, the file that `key_file` names, or the systemd credential `key`.
    pub(super) fn secret(&mut self, key: &str) -> Option<SecretString> {
        let file_key = format!("{key}_file");
        let is_in_file = matches!(self.given.get(key), Some(Given::Toml(_)));
        let inline = self.text(key);
        // Every secret that may stand in the file is an address; without a login it is none.
        self.has_password |= is_in_file && inline.as_ref().is_some_and(|address| address.contains('@'));
        let file = self.path(&file_key);
        match (inline, file) {
            (Some(_), Some(_)) => {
                self.problem(key, format!("is given twice: keep either `{key}` or `{file_key}`"));
                None
            }
            (Some(text), None) => Some(text.into()),
            (None, Some(path)) => {
                self.secret_files.push(path.clone());
                self.secret_file(&file_key, &path)
            }
            (None, None) => self.credential(key),
        }
    }

    /// The systemd credential of this name, if there is one.
    fn credential(&mut self, name: &str) -> Option<SecretString> {
        let path = self.credential_file(name)?;
        self.secret_file(name, &path)
    }

    /// Where that credential lies, if there is one.
    pub(super) fn credential_file(&self, name: &str) -> Option<PathBuf> {
        self.credentials.as_ref().map(|dir| dir.join(name)).filter(|path| path.exists())
    }

    fn secret_file(&mut self, key: &str, path: &Path) -> Option<SecretString> {
        match std::fs::read_to_string(path) {
            Ok(text) => Some(text.trim_end_matches(['\r', '\n']).into()),
            Err(error) => {
                self.problem(key, format!("`{}` cannot be read: {error}", path.display()));
                None
            }
        }
    }

    fn wrong_type<T>(&mut self, key: &str, wanted: &str, found: &toml::Value) -> Option<T> {
        self.problem(key, format!("expected {wanted}, found {}", kind(found)));
        None
    }

    /// Ends the reading: what nobody read is unknown.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        for (key, given) in std::mem::take(&mut self.given) {
            if matches!(&given, Given::Toml(toml::Value::Table(_))) && self.known_below(&key).next().is_some() {
                continue; // an empty section says nothing
            }
            let hint = match key.rsplit_once('.') {
                Some((section, _)) if self.known_below(section).next().is_some() => {
                    format!("the keys of `{section}` are {}", quoted(self.known_below(section)))
                }
                Some(_) | None => format!("the sections are {}", quoted(self.sections())),
            };
            let by = match given {
                Given::Toml(_) => String::new(),
                Given::Text { by, .. } => format!(" ({by})"),
            };
            self.problem(key, format!("is no key that polydev knows{by}; {hint}"));
        }
        self.problems
    }

    fn known_below<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a str> {
        self.known.iter().filter_map(move |key| key.strip_prefix(section)?.strip_prefix('.'))
    }

    fn sections(&self) -> impl Iterator<Item = &str> {
        let mut sections: Vec<_> = self.known.iter().filter_map(|key| Some(key.split_once('.')?.0)).collect();
        sections.push("providers");
        sections.dedup();
        sections.into_iter()
    }
}

fn flatten(prefix: &str, table: toml::Table, into: &mut BTreeMap<String, Given>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(table) if !table.is_empty() => flatten(&key, table, into),
            value => {
                into.insert(key, Given::Toml(value));
            }
        }
    }
}

fn kind(value: &toml::Value) -> &'static str {
    match value {
        toml::Value::String(_) => "a string",
        toml::Value::Integer(_) => "a whole number",
        toml::Value::Float(_) => "a fraction",
        toml::Value::Boolean(_) => "a boolean",
        toml::Value::Datetime(_) => "a date",
        toml::Value::Array(_) => "a list",
        toml::Value::Table(_) => "a section",
    }
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
