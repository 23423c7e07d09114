//! `--out`: what a run made, saved in a folder here.
//!
//! The names are a sandbox's, which is hostile, and come by way of a server. No file is written outside of the
//! folder that was named: paths are checked, each folder on the way is opened below the one before and is
//! no link, and what is written to is a regular file and no link.

use super::{
    client::Client,
    connect::segment,
    output::{self, CliError},
};
use crate::{
    api::{files::FileView, page::Page},
    domain::run::{FILE_MAX, FILES_MAX, check_path},
};
use futures_util::StreamExt;
use reqwest::{Method, Response};
use rustix::{
    fs::{self, FileType, Mode, OFlags},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

/// A folder to save files in.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    folder: OwnedFd,
}

impl Folder {
    /// Opens a folder, made if it is missing. It may be a link: somebody named it.
    pub fn open(path: &Path) -> Result<Self, CliError> {
        let failed = |error: io::Error| CliError::usage(format!("`{}` cannot be saved to: {error}", path.display()));
        std::fs::create_dir_all(path).map_err(failed)?;
        let folder = File::open(path).map_err(failed)?;
        if !folder.metadata().map_err(failed)?.is_dir() {
            return Err(failed(Errno::NOTDIR.into()));
        }
        Ok(Self { path: path.to_owned(), folder: folder.into() })
    }

    /// Writes a file below the folder, in place of one that is there.
    fn save(&self, path: &str, content: &[u8]) -> io::Result<()> {
        check_path(path).map_err(bad_path)?;
        if path.split('/').any(|part| part.eq_ignore_ascii_case(".git")) {
            // In a working tree its settings and hooks are programs that git starts.
            return Err(bad_path("leads into a git repository's own files".into()));
        }
        let (folders, name) = path.rsplit_once('/').map_or((None, path), |(folders, name)| (Some(folders), name));
        let mut folder = self.folder.try_clone()?;
        for part in folders.into_iter().flat_map(|folders| folders.split('/')) {
            match fs::mkdirat(&folder, part, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
            folder = fs::openat(&folder, part, flags, Mode::empty()).map_err(|error| match error {
                Errno::LOOP | Errno::NOTDIR => taken(format!("`{part}` on its way is not a folder here")),
                other => other.into(),
            })?;
        }
        // Neither a link is followed, nor a pipe waited for. Cut off when it is known to be a file.
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let other = || taken("what has its name here is not a file".into());
        let file = fs::openat(&folder, name, flags, Mode::from_raw_mode(0o666)).map_err(|error| match error {
            Errno::LOOP | Errno::ISDIR | Errno::NXIO => other(),
            error => error.into(),
        })?;
        if FileType::from_raw_mode(fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(other());
        }
        fs::ftruncate(file.as_fd(), 0)?;
        File::from(file).write_all(content)
    }
}

fn taken(words: String) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, words)
}

fn bad_path(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("its path {why}"))
}

/// Saves what a run made, as much of it as can be saved, and says so on standard error.
pub async fn download(client: &Client, run: &str, folder: &Folder) -> Result<(), CliError> {
    let base = format!("/runs/{}/files", segment(run));
    let (mut saved, mut told) = (0, 0);
    let mut cursor = String::new();
    loop {
        let request = client.request(Method::GET, &format!("{base}?limit=200{cursor}"));
        let page: Page<FileView> = client.json(request).await?;
        for file in &page.items {
            told += 1;
            if told > FILES_MAX {
                return Err(CliError::failed(format!("the server tells of more than {FILES_MAX} files of one run")));
            }
            match one(client, &base, file, folder).await? {
                Ok(()) => saved += 1,
                Err(error) => output::note(format!("`{}` was not saved: {error}", file.path.escape_debug())),
            }
        }
        match page.next_cursor.filter(|_| !page.items.is_empty()) {
            Some(next) => cursor = format!("&cursor={}", segment(&next)),
            None => break,
        }
    }
    if told == 0 {
        output::note("the run made no files");
        return Ok(());
    }
    output::note(format!("saved {saved} {} to {}", if saved == 1 { "file" } else { "files" }, folder.path.display()));
    if saved < told {
        return Err(CliError::failed(format!("{} of {told} files were not saved", told - saved))
            .hint("Give `--out` a folder of its own."));
    }
    Ok(())
}

/// Saves one file. The outer error is the server's, and no further file will come; the inner one is this file's.
async fn one(client: &Client, base: &str, file: &FileView, folder: &Folder) -> Result<io::Result<()>, CliError> {
    if let Err(why) = check_path(&file.path) {
        return Ok(Err(bad_path(why)));
    }
    let path: Vec<String> = file.path.split('/').map(segment).collect();
    let response = client.send(client.request(Method::GET, &format!("{base}/{}", path.join("/")))).await?;
    let Some(content) = content(client, response).await? else {
        return Ok(Err(io::Error::other(format!("it is larger than {FILE_MAX} bytes"))));
    };
    Ok(folder.save(&file.path, &content))
}

/// The bytes of an answer; none if they are more than a file may have.
async fn content(client: &Client, response: Response) -> Result<Option<Vec<u8>>, CliError> {
    let mut content = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(piece) = stream.next().await {
        content.extend_from_slice(&piece.map_err(|error| client.unreachable(&error))?);
        if content.len() > FILE_MAX {
            return Ok(None);
        }
    }
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, mknodat};
    use std::{
        fs::{create_dir, create_dir_all, metadata, read_dir, read_to_string, set_permissions, write},
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    };

    /// A folder to save in, and beside it what must stay as it is.
    fn set_up() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        create_dir(dir.path().join("outside")).unwrap();
        write(dir.path().join("outside/file"), "outside").unwrap();
        let folder = Folder::open(&dir.path().join("deep/out")).unwrap();
        (dir, folder)
    }

    fn untouched(dir: &tempfile::TempDir) {
        assert_eq!(read_to_string(dir.path().join("outside/file")).unwrap(), "outside");
        assert_eq!(read_dir(dir.path().join("outside")).unwrap().count(), 1);
        assert_eq!(read_dir(dir.path()).unwrap().count(), 2, "and nothing beside it");
    }

    #[test]
    fn files_are_written_with_their_folders_over_files() {
        let (dir, folder) = set_up();
        let out = dir.path().join("deep/out");
        create_dir_all(out.join("a")).unwrap();
        write(out.join("a/old"), "a longer text than before").unwrap();
        set_permissions(out.join("a/old"), PermissionsExt::from_mode(0o700)).unwrap();
        for (path, content) in [("a/old", "new"), ("a/b/c/d", "deep"), ("Grüße -rf *", ""), ("..a", "dots")] {
            folder.save(path, content.as_bytes()).unwrap();
            assert_eq!(read_to_string(out.join(path)).unwrap(), content);
        }
        assert_eq!(metadata(out.join("a/old")).unwrap().mode() & 0o777, 0o700, "it keeps its mode");
        assert_eq!(metadata(out.join("a/b/c/d")).unwrap().mode() & 0o111, 0, "and nothing new can be executed");
        untouched(&dir);
    }

    #[test]
    fn no_path_leads_out() {
        let (dir, folder) = set_up();
        let absolute = dir.path().join("outside/file").display().to_string();
        let climbing =
            ["../../outside/file", "..", "a/../../../outside/file", ".", "a//b", "/", "", "a/", "./a", &absolute];
        let git = [".git/config", "a/.GIT/hooks/post-checkout", ".git"];
        for path in climbing.into_iter().chain(git).chain(["a\0b", "a\nb", "..\\..\\outside\\file"]) {
            assert_eq!(folder.save(path, b"x").unwrap_err().kind(), io::ErrorKind::InvalidInput, "{path:?}");
        }
        untouched(&dir);
        assert_eq!(read_dir(dir.path().join("deep/out")).unwrap().count(), 0);
    }

    #[test]
    fn no_link_pipe_or_folder_is_written_to() {
        let (dir, folder) = set_up();
        let out = dir.path().join("deep/out");
        symlink("../../outside", out.join("to-folder")).unwrap();
        symlink("../../outside/file", out.join("to-file")).unwrap();
        symlink("../../outside/new", out.join("to-nothing")).unwrap();
        symlink("loop", out.join("loop")).unwrap();
        symlink(".", out.join("here")).unwrap();
        create_dir(out.join("folder")).unwrap();
        write(out.join("file"), "file").unwrap();
        mknodat(CWD, out.join("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let reader = OFlags::RDONLY | OFlags::NONBLOCK;
        let _reader = fs::openat(CWD, out.join("pipe"), reader, Mode::empty()).unwrap();
        let there = [
            "to-folder/file",
            "to-folder/new",
            "to-file",
            "to-nothing",
            "loop",
            "loop/a",
            "here/a",
            "folder",
            "file/a",
            "pipe",
        ];
        for path in there {
            assert_eq!(folder.save(path, b"x").unwrap_err().kind(), io::ErrorKind::AlreadyExists, "{path}");
        }
        untouched(&dir);
        assert_eq!(read_to_string(out.join("file")).unwrap(), "file");
        assert!(!out.join("a").exists());
    }

    #[test]
    fn what_is_no_folder_is_refused_before_the_run() {
        let (dir, _) = set_up();
        let file = dir.path().join("outside/file");
        for path in [&file, &file.join("below")] {
            assert_eq!(Folder::open(path).unwrap_err().status, output::exit::USAGE);
        }
        symlink("outside", dir.path().join("link")).unwrap();
        assert!(Folder::open(&dir.path().join("link")).is_ok(), "the one who names it may name a link");
    }
}
