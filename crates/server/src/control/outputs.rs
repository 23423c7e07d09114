//! What a run made or changed in `/workspace`, read through the agent and stored when its tool is done.
//!
//! ```text
//!   list a folder, page by page ─► folders ─► wait their turn: what lies near the top comes first
//!                                  files ─► as given? ─► limits ─► read ─► stored, one statement each
//!                                  links, pipes, …, and what is over a limit ─► counted
//!   at the end ─► one `log` event, if anything was left out
//! ```
//!
//! The guest is hostile. Its listings are bounded in number, names and depth, and its files in number and
//! size; no name of it is opened by the host; and what it does wrong leaves files out, and fails no run.
//! A folder that it swaps for a link meanwhile leads to what its own user may read, and could have copied.

#[cfg(test)]
mod tests;

use super::{Inner, chain};
use crate::{
    domain::{
        event::{EventBody, LogLevel},
        redact::{REDACTED, Redactor},
        run::{FILE_MAX, FILES_MAX, Run, check_path},
    },
    store::{Store, StoreError},
};
use polydev_sandbox::{
    guest::{Guest, GuestError},
    image::WORKSPACE,
    proto::{Entry, EntryKind, ErrorCode},
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// The most bytes that are kept of one run: as much as a run may print, so that no run can fill the database.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most folders in each other.
const DEPTH_MAX: usize = 32;
/// The most entries of folders that are looked at: ten times what is kept.
const ENTRIES_MAX: usize = 10 * FILES_MAX;
/// How long the end of a run may wait for its files. What may be kept takes a second or two.
const WITHIN: Duration = Duration::from_secs(20);
/// How many of the files that were left out for one reason are named.
const NAMED: usize = 3;
/// How much of such a name is told, in characters.
const NAMED_CHARS: usize = 64;

/// Keeps what a run made or changed. What could not be kept is told in an event of the run.
pub(super) async fn collect(inner: &Inner, guest: &Guest, run: &Run, secrets: &Redactor, stop: &CancellationToken) {
    let started = Instant::now();
    let mut walk = Walk::new(&inner.store, guest, &run.id, secrets);
    let end = tokio::select! {
        biased;
        () = stop.cancelled() => Err(Cut::Stopped),
        end = walk.go() => end,
    };
    let (files, bytes, took_us) = (walk.files, walk.bytes, started.elapsed().as_micros() as u64);
    tracing::debug!(run = run.id, files, bytes, took_us, "collected what the run made");
    if let Err(cut) = &end {
        tracing::warn!(run = run.id, error = chain(cut), files, "not all that the run made was looked at");
    }
    let Some(text) = walk.left_out.told(end.err()) else { return };
    let log = EventBody::Log { level: LogLevel::Warn, text };
    if let Err(error) = inner.append(&run.id, &[log], None).await {
        tracing::error!(run = run.id, error = chain(&error), "what was left out of a run's files could not be told");
    }
}

/// Why not everything was looked at.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the run was stopped")]
    Stopped,
    #[error("it took longer than {} s", WITHIN.as_secs())]
    Time,
    #[error("there are more than {ENTRIES_MAX} files and folders")]
    Entries,
    #[error("the sandbox did not tell")]
    Guest(#[source] GuestError),
    #[error("the database did not take them")]
    Store(#[from] StoreError),
}

/// Why a single thing was left out. In the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    Large,
    Many,
    Bulk,
    Deep,
    Rest,
    Unreadable,
    Name,
    Link,
    Special,
    SecretName,
    Secret,
}

impl Reason {
    fn words(self) -> String {
        const MIB: usize = 1024 * 1024;
        match self {
            Self::Large => format!("larger than {} MiB", FILE_MAX / MIB),
            Self::Many => format!("beyond {FILES_MAX} files"),
            Self::Bulk => format!("beyond {} MiB in all", BYTES_MAX / MIB),
            Self::Deep => format!("folders that lie in {DEPTH_MAX} others"),
            Self::Rest => "the rest of folders that were not told whole".into(),
            Self::Unreadable => "unreadable".into(),
            Self::Name => "names that are too long or not plain text".into(),
            Self::Link => "links".into(),
            Self::Special => "neither file nor folder".into(),
            Self::SecretName => "names with the run's credential in them".into(),
            Self::Secret => format!("the run's credential, with `{REDACTED}` in its place, in"),
        }
    }
}

/// What was left out, and why.
#[derive(Debug, Default)]
struct LeftOut(BTreeMap<Reason, (usize, Vec<String>)>);

impl LeftOut {
    fn add(&mut self, reason: Reason, path: &str) {
        let (count, named) = self.0.entry(reason).or_default();
        *count += 1;
        if named.len() < NAMED {
            let mut name: String = path.chars().take(NAMED_CHARS).collect();
            if name.len() < path.len() {
                name.push('…');
            }
            named.push(name);
        }
    }

    /// For people; none if nothing was left out.
    fn told(&self, cut: Option<Cut>) -> Option<String> {
        let reasons = self.0.iter().map(|(reason, (count, named))| {
            // Escaped: no character is left that a terminal obeys.
            let named: Vec<String> = named.iter().map(|name| format!("`{}`", name.escape_debug())).collect();
            let more = if *count > named.len() { ", …" } else { "" };
            format!("{} ({count}): {}{more}", reason.words(), named.join(", "))
        });
        let rest = cut.map(|cut| format!("whatever was not looked at yet: {cut}"));
        let all: Vec<String> = reasons.chain(rest).collect();
        (!all.is_empty()).then(|| format!("left out of the run's files: {}", all.join("; ")))
    }
}

/// A walk through the workspace of one run.
struct Walk<'a> {
    store: &'a Store,
    guest: &'a Guest,
    run: &'a str,
    secrets: &'a Redactor,
    /// The files that were given with the run, once they are needed.
    given: Option<HashMap<String, Vec<u8>>>,
    /// How many files are kept.
    files: usize,
    /// How many bytes are in them.
    bytes: usize,
    left_out: LeftOut,
}

impl<'a> Walk<'a> {
    fn new(store: &'a Store, guest: &'a Guest, run: &'a str, secrets: &'a Redactor) -> Self {
        Self { store, guest, run, secrets, given: None, files: 0, bytes: 0, left_out: LeftOut::default() }
    }

    /// Walks to the end, as far as time goes.
    async fn go(&mut self) -> Result<(), Cut> {
        tokio::time::timeout(WITHIN, self.folders()).await.unwrap_or(Err(Cut::Time))
    }

    async fn folders(&mut self) -> Result<(), Cut> {
        // Paths below the workspace; the workspace itself is the empty one.
        let mut folders = VecDeque::from([String::new()]);
        let mut seen = 0;
        while let Some(folder) = folders.pop_front() {
            let mut after: Option<String> = None;
            while let Some(page) = self.page(&folder, after.as_deref()).await? {
                for entry in &page {
                    seen += 1;
                    if seen > ENTRIES_MAX {
                        return Err(Cut::Entries);
                    }
                    self.entry(&folder, entry, &mut folders).await?;
                }
                after = page.last().map(|last| last.name.clone());
            }
        }
        Ok(())
    }

    /// The next entries of a folder; none at its end.
    async fn page(&mut self, folder: &str, after: Option<&str>) -> Result<Option<Vec<Entry>>, Cut> {
        let place = format!("{WORKSPACE}{}{folder}", if folder.is_empty() { "" } else { "/" });
        match self.guest.list(&place, after).await {
            Ok(page) if page.is_empty() => Ok(None),
            // An older agent, or a hostile one: names that come again would come for ever.
            Ok(page) if after.is_some_and(|after| page[0].name.as_str() <= after) => {
                self.left_out.add(Reason::Rest, if folder.is_empty() { "." } else { folder });
                Ok(None)
            }
            Ok(page) => Ok(Some(page)),
            // It went meanwhile, or is closed to the tool itself.
            Err(GuestError::Agent { .. }) if !folder.is_empty() => {
                self.left_out.add(Reason::Unreadable, folder);
                Ok(None)
            }
            Err(error) => Err(Cut::Guest(error)),
        }
    }

    async fn entry(&mut self, folder: &str, entry: &Entry, folders: &mut VecDeque<String>) -> Result<(), Cut> {
        let path = if folder.is_empty() { entry.name.clone() } else { format!("{folder}/{}", entry.name) };
        if self.secrets.finds(path.as_bytes()) {
            self.left_out.add(Reason::SecretName, &self.secrets.text(&path));
            return Ok(());
        }
        // A name that is not UTF-8 is told with this character in it.
        if entry.name.contains(['/', char::REPLACEMENT_CHARACTER]) || check_path(&path).is_err() {
            self.left_out.add(Reason::Name, &path);
            return Ok(());
        }
        match entry.kind {
            EntryKind::File => return self.file(path, entry.size).await,
            EntryKind::Folder if path.matches('/').count() + 1 < DEPTH_MAX => folders.push_back(path),
            EntryKind::Folder => self.left_out.add(Reason::Deep, &path),
            EntryKind::Link => self.left_out.add(Reason::Link, &path),
            EntryKind::Other => self.left_out.add(Reason::Special, &path),
        }
        Ok(())
    }

    async fn file(&mut self, path: String, size: u64) -> Result<(), Cut> {
        if size > FILE_MAX as u64 {
            self.left_out.add(Reason::Large, &path);
            return Ok(());
        }
        let given = self.given().await?.remove(&path).filter(|given| given.len() as u64 == size);
        let over = if self.files >= FILES_MAX {
            Some(Reason::Many)
        } else if size > (BYTES_MAX - self.bytes) as u64 {
            Some(Reason::Bulk)
        } else {
            None
        };
        // What may be as it was given is not left out unless it has changed.
        if let Some(over) = over.filter(|_| given.is_none()) {
            self.left_out.add(over, &path);
            return Ok(());
        }
        let content = match self.guest.read_file(&format!("{WORKSPACE}/{path}"), FILE_MAX as u64).await {
            Ok(content) => content,
            // It went meanwhile: it is none of what the run leaves.
            Err(GuestError::Agent { source, .. }) if source.code == ErrorCode::NotFound => return Ok(()),
            Err(GuestError::TooLarge { .. }) => {
                self.left_out.add(Reason::Large, &path);
                return Ok(());
            }
            // No right to read it, or it shrinks while it is read.
            Err(GuestError::Agent { .. } | GuestError::Broken { .. }) => {
                self.left_out.add(Reason::Unreadable, &path);
                return Ok(());
            }
            Err(
                error @ (GuestError::Driver(_)
                | GuestError::Timeout { .. }
                | GuestError::Request { .. }
                | GuestError::Malformed { .. }
                | GuestError::Unexpected { .. }),
            ) => return Err(Cut::Guest(error)),
        };
        if given.is_some_and(|given| given == content) {
            return Ok(());
        }
        // It may have grown since it was listed.
        let over = over.or_else(|| (content.len() > BYTES_MAX - self.bytes).then_some(Reason::Bulk));
        if let Some(over) = over {
            self.left_out.add(over, &path);
            return Ok(());
        }
        let told = self.secrets.bytes(&content);
        if let Cow::Owned(_) = told {
            self.left_out.add(Reason::Secret, &path);
        }
        self.store.put_output(self.run, &path, &told).await?;
        self.files += 1;
        self.bytes += content.len();
        Ok(())
    }

    /// The files that were given with the run, and have not come up yet.
    async fn given(&mut self) -> Result<&mut HashMap<String, Vec<u8>>, StoreError> {
        if self.given.is_none() {
            let files = self.store.run_files(self.run).await?;
            self.given = Some(files.into_iter().map(|file| (file.path, file.content)).collect());
        }
        Ok(self.given.get_or_insert_default())
    }
}
