//! Whether others on this host may read what is secret, or replace what is trusted.

use super::{Finding, Severity};
use crate::{config::Config, domain::people::setup, store, vault::KeySource};
use secrecy::ExposeSecret;
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Bits of a mode (`man 7 inode`): what others than the owner may do.
const GROUP_AND_OTHERS: u32 = 0o077;
/// What those may do who are neither the owner nor in the group: operators give a file to a group on purpose.
const OTHERS: u32 = 0o007;
const OTHERS_READ: u32 = 0o044;
const OTHERS_WRITE: u32 = 0o002;
/// In a folder that has this bit, only owners may replace their files.
const STICKY: u32 = 0o1000;

/// A file or folder that others are to be kept from.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    path: PathBuf,
    what: &'static str,
    from: From,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// Reading it: these bits of its mode must be unset.
    Reading(u32),
    /// Changing it, or putting another in its place.
    Writing,
}

/// Looks at every file and folder that it matters of.
pub(super) async fn look(config: &Config) -> Result<Vec<Finding>, String> {
    let all = kept(config);
    let looked = tokio::task::spawn_blocking(move || all.iter().map(judge).collect::<Result<Vec<_>, _>>()).await;
    let found = looked.expect("it neither panics nor is it aborted")?;
    Ok(found.into_iter().flatten().collect())
}

fn kept(config: &Config) -> Vec<Kept> {
    let data_dir = &config.server.data_dir;
    let secret = |path: PathBuf, what, bits| Kept { path, what, from: From::Reading(bits) };
    let trusted = |path: PathBuf, what| Kept { path, what, from: From::Writing };
    let mut all = vec![
        secret(data_dir.join(setup::FILE), "the link that makes the first person", GROUP_AND_OTHERS),
        trusted(data_dir.clone(), "the data directory"),
        trusted(data_dir.join("sandboxes"), "the folder of sandboxes"),
        trusted(config.image.dir.clone(), "the folder of images"),
    ];
    if let Some(database) = store::sqlite_file(config.store.url.expose_secret()) {
        for end in ["", "-wal", "-shm"] {
            let mut path = database.clone().into_os_string();
            path.push(end);
            all.push(secret(path.into(), "the database", GROUP_AND_OTHERS));
        }
    }
    match &config.vault.key {
        KeySource::File(path) => all.push(secret(path.clone(), "the master key", GROUP_AND_OTHERS)),
        KeySource::Variable(_) | KeySource::Credential(_) => {}
    }
    all.extend(config.secret_files.iter().map(|path| secret(path.clone(), "a file with a password", OTHERS)));
    all.extend(config.file.iter().map(|path| trusted(path.clone(), "the configuration")));
    let images = fs::read_dir(&config.image.dir).into_iter().flatten().flatten();
    all.extend(images.map(|entry| trusted(entry.path(), "an image")));
    all
}

/// What is wrong with one of them, if anything is. What is not there is kept well.
fn judge(kept: &Kept) -> Result<Option<Finding>, String> {
    let path = kept.path.display();
    let told = |looked: io::Result<Option<u32>>| {
        looked.map_err(|error| format!("who may read or change `{path}` cannot be told: {error}"))
    };
    // Whoever is kept from a link may go to what it leads to by another way.
    let real = match fs::canonicalize(&kept.path) {
        Ok(real) => Some(real).filter(|real| *real != kept.path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return told(Err(error)).map(|_| None),
    };
    let mut wrong = false;
    for path in [Some(&kept.path), real.as_ref()].into_iter().flatten() {
        wrong |= match kept.from {
            From::Reading(bits) => told(open_to_others(path))?.is_some_and(|open| open & bits & OTHERS_READ != 0),
            From::Writing => told(replaceable(path))?.is_some_and(|open| open & OTHERS_WRITE != 0),
        };
    }
    if !wrong {
        return Ok(None);
    }
    let (may, hint) = match kept.from {
        From::Reading(_) => ("read", format!("Only its owner is to read it: `chmod go= {path}`.")),
        From::Writing => (
            "change or replace",
            format!("Only its owner is to write there: `chmod o-w {path}`, and the folders above it."),
        ),
    };
    Ok(Some(Finding {
        subject: kept.path.display().to_string(),
        severity: Severity::Error,
        text: format!("others on this host may {may} `{path}`, {}", kept.what),
        hint,
    }))
}

/// What others may do to a file, as bits of its mode: those that count, since the folders above it may keep them out.
fn open_to_others(path: &Path) -> io::Result<Option<u32>> {
    let mut open = match fs::metadata(path) {
        Ok(about) => about.permissions().mode() & GROUP_AND_OTHERS,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
        let mode = fs::metadata(folder)?.permissions().mode();
        if mode & 0o001 == 0 {
            // Whoever is in the group may be let through all the same.
            open &= if mode & 0o010 == 0 { 0 } else { !OTHERS };
        }
    }
    Ok(Some(open))
}

/// The same, with what they may do because they may replace a folder above it.
fn replaceable(path: &Path) -> io::Result<Option<u32>> {
    let Some(mut open) = open_to_others(path)? else { return Ok(None) };
    for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
        let mode = fs::metadata(folder)?.permissions().mode();
        // To replace what is in a folder takes the right to go through it too.
        if mode & STICKY == 0 && mode & 0o001 != 0 {
            open |= open_to_others(folder)?.unwrap_or_default() & OTHERS_WRITE;
        }
    }
    Ok(Some(open))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::DirBuilderExt;

    /// A folder that everybody may go through, as `/var/lib` is, below one that is not sticky.
    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let inner = dir.path().join("data");
        fs::DirBuilder::new().mode(0o755).create(&inner).unwrap();
        (dir, inner)
    }

    fn file(dir: &Path, mode: u32) -> PathBuf {
        let path = dir.join("file");
        fs::write(&path, "x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn is_wrong(path: &Path, from: From) -> bool {
        judge(&Kept { path: path.to_owned(), what: "a thing", from }).unwrap().is_some()
    }

    #[test]
    fn a_secret_that_others_can_reach_and_read_is_told() {
        let (_dir, data) = place();
        for (mode, own, given_to_a_group) in [
            (0o600, false, false),
            (0o640, true, false),
            (0o644, true, true),
            (0o620, false, false),
            (0o604, true, true),
        ] {
            let path = file(&data, mode);
            assert_eq!(is_wrong(&path, From::Reading(GROUP_AND_OTHERS)), own, "{mode:o}");
            assert_eq!(is_wrong(&path, From::Reading(OTHERS)), given_to_a_group, "{mode:o}");
        }
        // A closed folder above keeps everybody out.
        let path = file(&data, 0o644);
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!is_wrong(&path, From::Reading(GROUP_AND_OTHERS)));
        fs::set_permissions(&data, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(is_wrong(&path, From::Reading(GROUP_AND_OTHERS)) && !is_wrong(&path, From::Reading(OTHERS)));
        assert!(!is_wrong(&data.join("none"), From::Reading(GROUP_AND_OTHERS)));
    }

    #[test]
    fn what_a_link_leads_to_is_looked_at_by_its_own_way_too() {
        let (_dir, open) = place();
        let (_dir2, closed) = place();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let target = file(&open, 0o644);
        let link = closed.join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let secret = From::Reading(GROUP_AND_OTHERS);
        assert!(is_wrong(&link, secret) && !is_wrong(&link, From::Writing));
        fs::set_permissions(&target, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(!is_wrong(&link, secret));
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(is_wrong(&link, From::Writing), "another file may be put there");
        fs::remove_file(&target).unwrap();
        assert!(!is_wrong(&link, secret), "it leads nowhere");
    }

    #[test]
    fn what_is_trusted_must_not_be_replaced() {
        let (dir, data) = place();
        let path = file(&data, 0o644);
        assert!(!is_wrong(&path, From::Writing) && !is_wrong(&data, From::Writing));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
        assert!(is_wrong(&path, From::Writing));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        assert!(!is_wrong(&path, From::Writing), "a person's own group is no stranger");
        // Who may write to a folder above may put another in its place, unless that is sticky, as `/tmp` is.
        for (mode, wrong) in [(0o777, true), (0o1777, false), (0o773, true), (0o776, false)] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_wrong(&path, From::Writing), wrong, "{mode:o}");
        }
    }
}
