//! Files that go into a run: read here, with the server's limits, before anything is sent.

use super::output::{self, CliError};
use crate::domain::run::{FILE_MAX, FILES_MAX, check_path};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::{Component, Path, PathBuf},
};

/// The most folders in each other below one that was named: as many as are looked at in a workspace.
const DEPTH_MAX: usize = 32;

/// Reads files and folders, as the `files` of a run: a file under its name, a folder under its name with
/// all that is below it. Links in a folder are not followed.
pub fn read(paths: &[PathBuf]) -> Result<Value, CliError> {
    let mut given = Given::default();
    for path in paths {
        let name = own_name(path)?;
        // What was named itself may be a link, or a pipe: somebody meant it.
        if fs::metadata(path).map_err(|error| unreadable(path, error))?.is_dir() {
            given.folder(path, &name, 1)?;
        } else if name.is_empty() {
            return Err(unreadable(path, "it has no file name"));
        } else {
            given.file(path, name)?;
        }
    }
    if given.skipped > 0 {
        output::note(format!("left out {} links and the like in folders", given.skipped));
    }
    let file = |(name, (_, content))| json!({ "path": name, "content_base64": content });
    Ok(given.files.into_iter().map(file).collect())
}

/// What a path is called in the workspace; nothing for the folder that somebody is in.
fn own_name(path: &Path) -> Result<String, CliError> {
    if path.components().all(|part| part == Component::CurDir) && path.components().next().is_some() {
        return Ok(String::new());
    }
    let name = path.file_name().ok_or_else(|| unreadable(path, "it has no file name"))?;
    name.to_str().map(str::to_owned).ok_or_else(|| unreadable(path, "its name is not UTF-8"))
}

fn unreadable(path: &Path, why: impl std::fmt::Display) -> CliError {
    CliError::usage(format!("`{}` cannot be given to a run: {why}", path.display()))
}

/// What has been read.
#[derive(Default)]
struct Given {
    /// By path in the workspace: from where, and the content as base64.
    files: BTreeMap<String, (PathBuf, String)>,
    /// Bytes of base64 so far.
    bytes: usize,
    /// What is neither file nor folder, in folders.
    skipped: usize,
}

impl Given {
    fn folder(&mut self, path: &Path, name: &str, depth: usize) -> Result<(), CliError> {
        if depth > DEPTH_MAX {
            return Err(unreadable(path, format!("it lies more than {DEPTH_MAX} folders deep")));
        }
        let entries = fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut entries = entries.map_err(|error| unreadable(path, error))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let own = entry.path();
            let below = own_name(&own)?;
            let below = if name.is_empty() { below } else { format!("{name}/{below}") };
            let kind = entry.file_type().map_err(|error| unreadable(&own, error))?;
            if kind.is_dir() {
                self.folder(&own, &below, depth + 1)?;
            } else if kind.is_file() {
                self.file(&own, below)?;
            } else {
                self.skipped += 1;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, name: String) -> Result<(), CliError> {
        check_path(&name).map_err(|why| unreadable(path, format!("its path {why}")))?;
        if let Some((other, _)) = self.files.get(&name) {
            let both = format!("`{}` and `{}` would both be `{name}`", other.display(), path.display());
            return Err(CliError::usage(both).hint("Rename one, or give the folder that they are in."));
        }
        if self.files.len() >= FILES_MAX {
            return Err(CliError::usage(format!("more than {FILES_MAX} files cannot be given to a run"))
                .hint("Give an archive, and tell the tool to unpack it."));
        }
        let mut content = Vec::new();
        // A pipe or a device has no size to ask for, and may have no end.
        let read = File::open(path).and_then(|file| file.take(FILE_MAX as u64 + 1).read_to_end(&mut content));
        read.map_err(|error| unreadable(path, error))?;
        if content.len() > FILE_MAX {
            return Err(unreadable(path, format!("it is larger than {} MiB", FILE_MAX / MIB)));
        }
        let content = BASE64_STANDARD.encode(content);
        self.bytes += content.len();
        if self.bytes > crate::api::BODY_MAX {
            return Err(too_large());
        }
        self.files.insert(name, (path.to_owned(), content));
        Ok(())
    }
}

const MIB: usize = 1024 * 1024;

/// Says that a request is larger than the server takes.
pub fn too_large() -> CliError {
    // Three bytes are four characters of base64.
    let about = crate::api::BODY_MAX / 4 * 3 / MIB;
    CliError::usage(format!("the files are too large together: a run takes about {about} MiB"))
        .hint("Give fewer, or an archive of them, and tell the tool to unpack it.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn paths(given: &[PathBuf]) -> Vec<(String, String)> {
        let file = |file: &Value| {
            let content = BASE64_STANDARD.decode(file["content_base64"].as_str().unwrap()).unwrap();
            (file["path"].as_str().unwrap().to_owned(), String::from_utf8(content).unwrap())
        };
        read(given).unwrap().as_array().unwrap().iter().map(file).collect()
    }

    fn refused(given: &[PathBuf]) -> String {
        read(given).unwrap_err().message
    }

    #[test]
    fn files_and_folders_go_by_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("src/deep/empty")).unwrap();
        for file in ["a.txt", "src/b", "src/deep/c", "src/.hidden"] {
            fs::write(at(file), file).unwrap();
        }
        symlink("/etc", at("src/etc")).unwrap();
        symlink("..", at("src/deep/up")).unwrap();
        symlink("a.txt", at("link")).unwrap();
        let pair = |path: &str, content: &str| (path.to_owned(), content.to_owned());
        assert_eq!(
            paths(&[at("a.txt"), at("src/"), at("link")]),
            [
                pair("a.txt", "a.txt"),
                pair("link", "a.txt"),
                pair("src/.hidden", "src/.hidden"),
                pair("src/b", "src/b"),
                pair("src/deep/c", "src/deep/c")
            ]
        );
        assert_eq!(own_name(Path::new(".")).unwrap(), "");
        assert!(own_name(Path::new("..")).is_err() && own_name(Path::new("/")).is_err());
        assert!(read(&[]).unwrap().as_array().unwrap().is_empty());
    }

    #[test]
    fn what_a_run_does_not_take_is_refused_before_it_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("one")).unwrap();
        fs::create_dir_all(at("two")).unwrap();
        fs::write(at("one/same"), "").unwrap();
        fs::write(at("two/same"), "").unwrap();
        let said = refused(&[at("one/same"), at("two/same")]);
        assert!(said.contains("/one/same` and `") && said.ends_with("/two/same` would both be `same`"), "{said}");
        assert!(refused(&[at("one/same"), at("one/same")]).contains("would both be"));
        assert!(refused(&[at("missing")]).contains("No such file"));

        let large = |name: &str, size| File::create(at(name)).unwrap().set_len(size as u64).unwrap();
        large("full", FILE_MAX);
        large("over", FILE_MAX + 1);
        assert_eq!(read(&[at("full")]).unwrap().as_array().unwrap().len(), 1);
        assert!(refused(&[at("over")]).ends_with("/over` cannot be given to a run: it is larger than 10 MiB"));
        assert!(refused(&["/dev/zero".into()]).ends_with("it is larger than 10 MiB"), "nor what has no end");
        for name in ["two/1", "two/2", "two/3"] {
            large(name, FILE_MAX);
        }
        assert_eq!(refused(&[at("two")]), "the files are too large together: a run takes about 24 MiB");

        let mut deep = at("deep");
        (0..DEPTH_MAX).for_each(|_| deep.push("d"));
        fs::create_dir_all(&deep).unwrap();
        assert!(refused(&[at("deep")]).ends_with("it lies more than 32 folders deep"));
        fs::create_dir(at("many")).unwrap();
        (0..=FILES_MAX).for_each(|n| fs::write(at("many").join(n.to_string()), "").unwrap());
        assert_eq!(refused(&[at("many")]), "more than 1000 files cannot be given to a run");
        fs::write(at("a\nb"), "").unwrap();
        assert!(refused(&[at("a\nb")]).ends_with("its path is not a relative path of plain characters"));
    }
}
