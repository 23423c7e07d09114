//! Files: written beside their place and renamed into it, read with care, listed.

use crate::{
    channel::answer,
    listen::Stream,
    refuse::{Ended, refuse},
    root::Root,
};
use polydev_proto::{AgentError, Answer, Entry, EntryKind, ErrorCode, FILE_MAX, HEADER_MAX, ReadFile, WriteFile};
use rustix::{fs::OFlags, io::Errno};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What is copied in one go, between which other channels get their turn.
const CHUNK: usize = 64 * 1024;

/// The most entries that a listing has.
const ENTRIES_MAX: usize = 1000;

/// What a listing may take of a header, so that the reply around it fits too.
const LISTING_MAX: usize = HEADER_MAX - 256;

/// Room for the JSON of an entry beside its name: its keys, its kind and two numbers.
const ENTRY_OVERHEAD: usize = 100;

/// The permission bits, with setuid, setgid and sticky.
const MODE_BITS: u32 = 0o7777;

/// Writes a file: all of it is in place, or nothing of it is.
pub(crate) async fn write(root: &Root, stream: &mut Stream, wanted: &WriteFile) -> Result<(), Ended> {
    if wanted.size > FILE_MAX {
        let message = format!("file `{}` of {} bytes, at most {FILE_MAX} are allowed", wanted.path, wanted.size);
        return Err(refuse(ErrorCode::TooLarge, message).into());
    }
    if wanted.mode & !MODE_BITS != 0 {
        return Err(refuse(ErrorCode::Invalid, format!("`{:o}` is not a mode", wanted.mode)).into());
    }
    let path = root.resolve_file(&wanted.path)?;
    let (mut draft, mut file) = Draft::beside(&path).map_err(|e| io_error(&wanted.path, &e))?;
    answer(stream, Answer::Done).await?;

    // What still comes after an error is read all the same, so that the host gets to read the reply.
    let mut written: io::Result<()> = Ok(());
    let mut chunk = vec![0; CHUNK];
    let mut left = wanted.size;
    while left > 0 {
        let max = CHUNK.min(left as usize);
        let count = stream.read(&mut chunk[..max]).await?;
        if count == 0 {
            return Err(Ended::Lost);
        }
        left -= count as u64;
        if written.is_ok() {
            written = file.write_all(&chunk[..count]);
        }
    }
    let placed = written
        .and_then(|()| file.set_permissions(Permissions::from_mode(wanted.mode)))
        .and_then(|()| draft.place(&path));
    placed.map_err(|e| io_error(&wanted.path, &e))?;
    answer(stream, Answer::Done).await
}

/// A file that is being written; removed when it does not reach its place.
struct Draft(Option<PathBuf>);

impl Draft {
    fn beside(path: &Path) -> io::Result<(Self, File)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let folder = path.parent().ok_or(Errno::ISDIR)?;
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let name = format!(".polydev-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let draft = folder.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        Ok((Self(Some(draft)), file))
    }

    fn place(&mut self, path: &Path) -> io::Result<()> {
        if let Some(draft) = &self.0 {
            fs::rename(draft, path)?;
        }
        self.0 = None;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(draft) = &self.0 {
            let _ = fs::remove_file(draft);
        }
    }
}

/// Sends a part of a file.
pub(crate) async fn read(root: &Root, stream: &mut Stream, wanted: &ReadFile) -> Result<(), Ended> {
    let path = root.resolve_file(&wanted.path)?;
    let (mut file, meta) = open(&path).map_err(|e| io_error(&wanted.path, &e))?;
    let total = meta.len();
    let rest = total.checked_sub(wanted.offset).ok_or_else(|| {
        let message = format!("file `{}` has {total} bytes, not {}", wanted.path, wanted.offset);
        refuse(ErrorCode::BadOffset, message)
    })?;
    let size = rest.min(wanted.max).min(FILE_MAX);
    file.seek(SeekFrom::Start(wanted.offset)).map_err(|e| io_error(&wanted.path, &e))?;
    answer(stream, Answer::File { size, total }).await?;

    let mut chunk = vec![0; CHUNK.min(size as usize)];
    let mut left = size;
    while left > 0 {
        let max = chunk.len().min(left as usize);
        let count = file.read(&mut chunk[..max])?;
        if count == 0 {
            // It has shrunk since: the host sees fewer bytes than were told.
            return Err(Ended::Lost);
        }
        stream.write_all(&chunk[..count]).await?;
        left -= count as u64;
    }
    Ok(())
}

/// Opens a regular file: no link as the last part, and no pipe or device that would hold the agent up.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() { Ok((file, meta)) } else { Err(Errno::ISDIR.into()) }
}

/// The entries of a folder by name, from the first one after `after` on, as many as fit a reply.
pub(crate) fn list(root: &Root, path: &str, after: Option<&str>) -> Result<Vec<Entry>, AgentError> {
    let folder = root.resolve(path)?;
    // Ordered by the names that are told, so that `after` means the same on both sides.
    let mut names: BTreeMap<String, OsString> = BTreeMap::new();
    for entry in fs::read_dir(&folder).map_err(|e| io_error(path, &e))? {
        let name = entry.map_err(|e| io_error(path, &e))?.file_name();
        let told = name.to_string_lossy();
        if after.is_some_and(|after| *told <= *after) {
            continue;
        }
        names.insert(told.into_owned(), name);
        if names.len() > ENTRIES_MAX {
            names.pop_last();
        }
    }
    let mut left = LISTING_MAX;
    let mut entries = Vec::new();
    // An entry that went meanwhile is not told.
    for entry in names.into_iter().filter_map(|(told, name)| entry(&folder.join(name), told)) {
        let cost = serde_json::to_string(&entry.name).map_or(usize::MAX, |name| name.len() + ENTRY_OVERHEAD);
        let Some(rest) = left.checked_sub(cost) else { break };
        left = rest;
        entries.push(entry);
    }
    Ok(entries)
}

/// How much room the root has.
pub(crate) fn disk(root: &Root) -> Result<Answer, AgentError> {
    let path = root.resolve("/")?;
    let room = rustix::fs::statvfs(&path).map_err(|e| io_error("/", &e.into()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(room.f_frsize);
    // Where no more files can be made, there is room for nothing. Some filesystems do not count them.
    let free = if room.f_files > 0 && room.f_favail == 0 { 0 } else { bytes(room.f_bavail) };
    Ok(Answer::Disk { total: bytes(room.f_blocks), free })
}

fn entry(path: &Path, name: String) -> Option<Entry> {
    let meta = fs::symlink_metadata(path).ok()?;
    let kind = match meta.file_type() {
        t if t.is_file() => EntryKind::File,
        t if t.is_dir() => EntryKind::Folder,
        t if t.is_symlink() => EntryKind::Link,
        _ => EntryKind::Other,
    };
    Some(Entry {
        name,
        kind,
        size: if meta.is_file() { meta.len() } else { 0 },
        modified_at: meta.mtime().saturating_mul(1000).saturating_add(meta.mtime_nsec() / 1_000_000),
    })
}

fn io_error(path: &str, e: &io::Error) -> AgentError {
    let code = match e.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) => ErrorCode::NotFound,
        Some(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => ErrorCode::NotAFile,
        _ => ErrorCode::Io,
    };
    let what = match code {
        ErrorCode::NotAFile => "not a regular file".to_owned(),
        _ => e.to_string(),
    };
    refuse(code, format!("`{path}`: {what}"))
}
