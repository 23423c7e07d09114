//! `polydev connect --from-file`: the tool's own files of a login, read here and sent to the server.

use super::output::{self, CliError};
use crate::providers::{self, login::FILE_MAX};
use base64::{Engine, prelude::BASE64_STANDARD};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// What is added to a file's name when it has moved.
const MOVED: &str = ".moved-to-polydev";

/// A login's files on this machine.
#[derive(Debug)]
pub struct Found {
    /// The login's own file, which `--move` renames.
    path: PathBuf,
    /// Name → content, as base64.
    pub files: BTreeMap<&'static str, String>,
}

/// Finds a provider's login at a path: its file, or the folder that has it.
pub fn find(provider: &str, path: &Path) -> Result<Found, CliError> {
    let known = providers::by_name(provider)
        .ok_or_else(|| CliError::usage(format!("there is no provider `{provider}`")))?
        .sign_in()
        .files();
    let own = known.first().ok_or_else(|| CliError::usage(format!("`{provider}` keeps no login in files")))?;
    let is_folder = fs::metadata(path).map_err(|error| unreadable(path, &error))?.is_dir();
    let (folder, path) = match path.parent() {
        _ if is_folder => (path.to_owned(), path.join(own.name)),
        Some(parent) => (parent.to_owned(), path.to_owned()),
        None => (PathBuf::from("."), path.to_owned()),
    };
    let mut files = BTreeMap::new();
    for file in known {
        let at = if file.name == own.name { path.clone() } else { folder.join(file.name) };
        match read(&at) {
            Ok(content) => drop(files.insert(file.name, BASE64_STANDARD.encode(content))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !file.required => {}
            Err(error) => return Err(unreadable(&at, &error)),
        }
    }
    Ok(Found { path, files })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut content = Vec::new();
    fs::File::open(path)?.take(FILE_MAX as u64 + 1).read_to_end(&mut content)?;
    if content.len() > FILE_MAX {
        return Err(io::Error::other(format!("it has more than {FILE_MAX} bytes, which no login has")));
    }
    Ok(content)
}

fn unreadable(path: &Path, error: &io::Error) -> CliError {
    CliError::usage(format!("{} cannot be read: {error}", path.display()))
        .hint("Give the tool's own file, or the folder that has it.")
}

impl Found {
    /// Renames the login's file, so that no tool on this machine uses it any more.
    pub fn move_away(&self) -> Result<(), CliError> {
        let mut to = self.path.clone().into_os_string();
        to.push(MOVED);
        fs::rename(&self.path, &to).map_err(|error| {
            CliError::failed(format!("it is connected, but {} could not be renamed: {error}", self.path.display()))
                .hint("Remove it: two copies of a login log each other out.")
        })?;
        output::note(format!("{} is now {}", self.path.display(), Path::new(&to).display()));
        Ok(())
    }

    /// What whoever keeps the file must know.
    pub fn warn(&self) {
        output::note(format!(
            "two copies of a login log each other out: do not use the tool with {} any more, or sign in there anew \
             (`--move` renames it)",
            self.path.display()
        ));
    }
}
