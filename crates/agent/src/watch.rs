//! Watching files: told by the kernel of changes, timed by the quiet period, never by looking again and again.

use crate::{
    channel::{answer, frame},
    files,
    listen::Stream,
    refuse::{Ended, refuse},
    root::Root,
    rule::{Quiet, Stamp, satisfied},
    sys,
};
use polydev_proto::{AgentError, Answer, ErrorCode, WatchEvent, WatchRule};
use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs,
    io::{self, Read},
    mem::MaybeUninit,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStringExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{io::AsyncReadExt, io::unix::AsyncFd, time::Instant};

/// The most rules of one channel.
const RULES_MAX: usize = 64;

/// The largest file that predicates are applied to.
const CONTENT_MAX: u64 = 1024 * 1024;

/// Room for a batch of the kernel's events; one takes at most 16 bytes and a name.
const EVENTS: usize = 4096;

/// What a folder tells of: entries that come, go and change, and its own end.
const CHANGES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MODIFY)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Tells of files until the host closes.
pub(crate) async fn serve(root: &Root, stream: &mut Stream, rules: Vec<WatchRule>) -> Result<(), Ended> {
    let mut watch = Watch::new(root, rules)?;
    answer(stream, Answer::Done).await?;
    let mut said = [0; 1];
    loop {
        tokio::select! {
            events = watch.next() => for event in events? {
                frame(stream, &event).await?;
            },
            // The host has nothing to say on this channel: it closes, or does not keep to the contract.
            _ = stream.read(&mut said) => return Ok(()),
        }
    }
}

/// Waits for a file that satisfies its rule.
pub(crate) async fn until(root: &Root, rule: WatchRule) -> Result<(), AgentError> {
    let mut watch = Watch::new(root, vec![rule])?;
    watch.next().await.map(drop).map_err(|e| refuse(ErrorCode::Io, format!("watching files: {e}")))
}

struct Watched {
    rule: WatchRule,
    path: PathBuf,
    quiet: Quiet,
    /// The kernel's number for the nearest folder that exists.
    folder: Option<i32>,
    /// A change was announced that has not been looked at.
    announced: bool,
}

struct Watch {
    kernel: AsyncFd<OwnedFd>,
    rules: Vec<Watched>,
    /// The kernel's numbers for the folders that are watched.
    folders: BTreeSet<i32>,
}

impl Watch {
    fn new(root: &Root, rules: Vec<WatchRule>) -> Result<Self, AgentError> {
        if rules.len() > RULES_MAX {
            return Err(refuse(ErrorCode::TooLarge, format!("{} rules, at most {RULES_MAX} are allowed", rules.len())));
        }
        let watched = |rule: WatchRule| {
            let path = root.resolve_file(&rule.path)?;
            let quiet = Quiet::new(Duration::from_millis(rule.quiet_ms));
            Ok(Watched { rule, path, quiet, folder: None, announced: false })
        };
        let rules = rules.into_iter().map(watched).collect::<Result<_, _>>()?;
        let kernel = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(io::Error::from);
        let kernel = kernel.and_then(sys::register);
        let kernel = kernel.map_err(|e| refuse(ErrorCode::Io, format!("watching files: {e}")))?;
        Ok(Self { kernel, rules, folders: BTreeSet::new() })
    }

    /// Waits for files that were left alone for long enough and satisfy their rules.
    async fn next(&mut self) -> io::Result<Vec<WatchEvent>> {
        loop {
            self.look();
            let events = self.settled();
            if !events.is_empty() {
                return Ok(events);
            }
            let due = self.rules.iter().filter_map(|rule| rule.quiet.due()).min();
            tokio::select! {
                changed = self.changes() => changed?,
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// Watches the nearest folder of every file, then looks at the file: in
    /// this order, no change can fall between the two.
    fn look(&mut self) {
        let now = Instant::now();
        for watched in &mut self.rules {
            watched.folder = nearest(self.kernel.get_ref(), &watched.path);
            let announced = std::mem::take(&mut watched.announced);
            watched.quiet.observe(stamp(&watched.path), announced, now);
        }
        // What is above a folder that appeared need not be heard any more.
        let used: BTreeSet<i32> = self.rules.iter().filter_map(|watched| watched.folder).collect();
        for unused in self.folders.difference(&used) {
            // A folder that was removed is not watched any more either way.
            let _ = inotify::remove_watch(self.kernel.get_ref(), *unused);
        }
        self.folders = used;
    }

    /// The files that were left alone for long enough and satisfy their rules.
    fn settled(&mut self) -> Vec<WatchEvent> {
        let now = Instant::now();
        let due = self.rules.iter_mut().filter_map(|watched| watched.quiet.settle(now).then_some(&*watched));
        due.filter_map(|watched| {
            let size = examine(&watched.path, &watched.rule)?;
            Some(WatchEvent { rule: watched.rule.rule.clone(), size })
        })
        .collect()
    }

    /// Waits for the kernel to tell of changes, and notes which files they concern.
    async fn changes(&mut self) -> io::Result<()> {
        let mut ready = self.kernel.readable().await?;
        ready.clear_ready();
        let (mut all, mut changed) = (false, BTreeSet::new());
        let mut buffer = [MaybeUninit::uninit(); EVENTS];
        let mut events = Reader::new(self.kernel.get_ref(), &mut buffer);
        loop {
            match events.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => all = true,
                Ok(event) => {
                    let name = event.file_name().map(|name| OsString::from_vec(name.to_bytes().to_vec()));
                    changed.extend(name.map(|name| (event.wd(), name)));
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        for watched in &mut self.rules {
            let (Some(folder), Some(name)) = (watched.folder, watched.path.file_name()) else { continue };
            watched.announced |= all || changed.contains(&(folder, name.to_owned()));
        }
        Ok(())
    }
}

/// Watches the nearest folder of `path` that exists. A folder that appears
/// while the one above it is being watched is watched in its stead.
fn nearest(kernel: &OwnedFd, path: &Path) -> Option<i32> {
    let watch = |folder: &Path| inotify::add_watch(kernel, folder, CHANGES).ok();
    let mut found = path.ancestors().skip(1).find_map(|folder| Some((folder, watch(folder)?)))?;
    while let Some(nearer) = nearer(path, found.0).and_then(|folder| Some((folder, watch(folder)?))) {
        found = nearer;
    }
    Some(found.1)
}

/// The folder of `path` one below `folder`, if there is one.
fn nearer<'p>(path: &'p Path, folder: &Path) -> Option<&'p Path> {
    path.ancestors().skip(1).find(|below| below.parent() == Some(folder))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    let modified = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    Some(Stamp { device: meta.dev(), inode: meta.ino(), size: meta.len(), modified })
}

/// The file's size, when its content satisfies the rule.
fn examine(path: &Path, rule: &WatchRule) -> Option<u64> {
    let (file, meta) = files::open(path).ok()?;
    if rule.require.is_empty() {
        return Some(meta.len());
    }
    if meta.len() > CONTENT_MAX {
        return None;
    }
    let mut content = Vec::new();
    file.take(CONTENT_MAX).read_to_end(&mut content).ok()?;
    satisfied(&rule.require, &content).then_some(content.len() as u64)
}
