//! Ways through files.

use crate::{At, Refused, Tried};
use std::{
    fs::{self, File},
    io::{Read, Write},
};

/// The most that is read of a file.
const READ_MAX: u64 = 64 * 1024;

pub(crate) fn try_one(args: &[&str]) -> Option<Tried> {
    Some(match args {
        ["read", path] => read(path),
        ["write", path, text] => write(path, text),
        ["rewrite", path] => rewrite(path),
        ["open-to-write", path] => File::options().write(true).open(path).at("open").map(|_| "open".to_owned()),
        ["list", path] => list(path),
        ["link", from, to] => std::os::unix::fs::symlink(to, from).at("link").map(|()| "linked".to_owned()),
        ["remove-folder", path] => fs::remove_dir(path).at("remove").map(|()| "removed".to_owned()),
        ["find-process", word] => find_process(word),
        _ => return None,
    })
}

fn read(path: &str) -> Tried {
    let mut bytes = Vec::new();
    File::open(path).at("open")?.take(READ_MAX).read_to_end(&mut bytes).at("read")?;
    if bytes.is_empty() {
        return Err(Refused { at: "read", why: "empty".to_owned() });
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write(path: &str, text: &str) -> Tried {
    let mut file = File::options().append(true).open(path).at("open")?;
    writeln!(file, "{text}").at("write")?;
    Ok("written".to_owned())
}

/// Writes what is there already, so that a try changes nothing.
fn rewrite(path: &str) -> Tried {
    let mut text = String::new();
    File::open(path).at("open")?.read_to_string(&mut text).at("read")?;
    let mut file = File::options().write(true).open(path).at("open to write")?;
    file.write_all(text.as_bytes()).at("write")?;
    Ok("written".to_owned())
}

fn list(path: &str) -> Tried {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).at("open")? {
        names.push(entry.at("read")?.file_name().to_string_lossy().into_owned());
    }
    if names.is_empty() {
        return Err(Refused { at: "read", why: "empty".to_owned() });
    }
    names.sort_unstable();
    Ok(names.join(" "))
}

/// What another process was started with.
fn find_process(word: &str) -> Tried {
    let own = std::process::id();
    let number = |entry: &fs::DirEntry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
    let is_another = |entry: &fs::DirEntry| number(entry).is_some_and(|number| number != own);
    for entry in fs::read_dir("/proc").at("open")?.flatten().filter(is_another) {
        let said = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).replace('\0', " ");
        if said.contains(word) {
            return Ok(said);
        }
    }
    Err(Refused { at: "look", why: "none".to_owned() })
}
