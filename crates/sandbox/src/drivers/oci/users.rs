//! The users of a sandbox, as the host knows them: each has a range that is nobody else's, so that not even its
//! root is anybody outside.
//!
//! ```text
//!   inside        0 … 65535
//!                 │    │     a user namespace, theirs, and an id map on the mount of the image (mount_setattr(2))
//!   the host  first … first + 65535
//! ```

use crate::{
    cmd,
    driver::{DriverError, SandboxId},
    drivers::folder::{Folder, step},
    sys,
};
use rustix::{
    fs::CWD,
    mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree},
    process::Uid,
};
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    ffi::CStr,
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// How many users and groups a sandbox has.
const COUNT: u32 = 65_536;

/// The first of them, and the one behind the last: the upper part of what systemd has for containers
/// (<https://systemd.io/UIDS-GIDS/>). Below lie the ranges of `/etc/subuid`, which people's own containers have.
const FIRST: u32 = 0x1000_0000;
const END: u32 = 0x6FFF_0000;

/// The least kernel whose overlay takes layers with an id map.
const KERNEL: (u32, u32) = (5, 19);

/// What all sandboxes share whose namespaces are one user's, and of which much is needed: how many there may be.
const SHARED: [&CStr; 2] = [c"/proc/sys/user/max_inotify_instances", c"/proc/sys/user/max_inotify_watches"];

/// One sandbox has one such part of it at most.
const SHARES: u64 = 4;

/// The file in a sandbox's folder that has its range.
const FILE: &str = "users";

/// The range of one sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Users {
    /// The host's number of the sandbox's root.
    first: u32,
}

#[cfg(test)]
impl From<u32> for Users {
    fn from(first: u32) -> Self {
        Self { first }
    }
}

impl Users {
    /// Takes a range for the sandbox of this folder that no other folder beside it has, and writes it there. Of two
    /// at a time the caller sees to it that one is first.
    pub(super) fn take(parent: &Path, folder: &Folder) -> Result<Self, DriverError> {
        let taken: HashSet<u32> = Folder::list(parent)?.iter().filter_map(recorded).collect();
        let first = pick(folder.id(), &taken).ok_or_else(|| step("giving it users", "every range is taken"))?;
        fs::write(folder.join(FILE), first.to_string()).map_err(|error| step("writing down its users", error))?;
        Ok(Self { first })
    }

    /// A user or group of the sandbox, as the host knows it.
    pub(super) fn outside(self, inside: u32) -> u32 {
        self.first + inside
    }

    /// The mapping as the OCI specification has it.
    pub(super) fn mapping(self) -> Value {
        json!([{ "containerID": 0, "hostID": self.first, "size": COUNT }])
    }

    /// A user namespace of these users, which belongs to one of them: the kernel counts instances of inotify, messages,
    /// signals and more for the owner of a namespace too, and all sandboxes of one owner together would have what one
    /// user may have.
    pub(super) fn namespace(self) -> io::Result<OwnedFd> {
        cmd::user_namespace(&self.map(), Uid::from_raw(self.first), Vec::new())
    }

    /// The same for a runtime that has no rights over a namespace of others. It is the server's user's, whose share of
    /// each sandbox is bounded: one may not have all of it, though many may.
    pub(super) fn namespace_of_the_server_s(self) -> io::Result<OwnedFd> {
        let share = |file: &'static CStr| {
            let most: u64 = fs::read_to_string(file.to_str().ok()?).ok()?.trim().parse().ok()?;
            Some((file, (most / SHARES).to_string()))
        };
        cmd::user_namespace(&self.map(), rustix::process::geteuid(), SHARED.into_iter().filter_map(share).collect())
    }

    fn map(self) -> String {
        format!("0 {} {COUNT}", self.first)
    }

    /// Mounts what is at `from` at `to` too, where its files are those of the users of this namespace.
    pub(super) fn mount(namespace: BorrowedFd<'_>, from: &Path, to: &Path) -> io::Result<()> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, from, flags)?;
        sys::map_ids(tree.as_fd(), namespace)?;
        Ok(move_mount(tree, "", CWD, to, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
    }
}

/// Whether a user of the host is of the range that sandboxes have theirs from.
pub(super) fn is_sandboxs(user: u32) -> bool {
    (FIRST..END).contains(&user)
}

/// What this host lacks to give sandboxes users of their own.
pub(super) fn missing() -> Option<String> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    if !is_new_enough(&release) {
        return Some(format!("Linux {}.{} or newer (this is {release}), to map users,", KERNEL.0, KERNEL.1));
    }
    let made = Users { first: FIRST }.namespace();
    made.err().map(|error| format!("a user namespace ({error})"))
}

fn is_new_enough(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= KERNEL
}

fn recorded(folder: &Folder) -> Option<u32> {
    fs::read_to_string(folder.join(FILE)).ok()?.parse().ok()
}

/// A free range, looked for from where the sandbox's name leads to: another server's sandboxes on this host, which
/// are not seen from here, are hardly ever there.
fn pick(id: &SandboxId, taken: &HashSet<u32>) -> Option<u32> {
    let ranges = (END - FIRST) / COUNT;
    let hash = id.as_str().bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    let from = hash % ranges;
    (0..ranges).map(|n| FIRST + (from + n) % ranges * COUNT).find(|first| !taken.contains(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_of_containers_and_nobody_else_s() {
        let id: SandboxId = "sbx_aaaaaaaaaaaaaaaa".parse().unwrap();
        let all: HashSet<u32> = (FIRST..END).step_by(COUNT as usize).collect();
        assert!(all.len() == 24_575 && all.iter().max().unwrap() + COUNT - 1 <= 0x6FFE_FFFF);
        let mut free = all.clone();
        for _ in 0..100 {
            let taken = all.difference(&free).copied().collect();
            assert!(free.remove(&pick(&id, &taken).unwrap()));
        }
        assert_eq!(pick(&id, &all), None);
        let only = all.iter().copied().filter(|first| *first != 0x2000_0000).collect();
        assert_eq!(pick(&id, &only), Some(0x2000_0000));
        let other: SandboxId = "sbx_aaaaaaaaaaaaaaab".parse().unwrap();
        assert_ne!(pick(&id, &HashSet::new()), pick(&other, &HashSet::new()));
    }

    #[test]
    fn two_sandboxes_in_one_folder_have_two_ranges() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::create(dir.path(), &"sbx_aaaaaaaaaaaaaaaa".parse().unwrap()).unwrap();
        let mine = Users::take(dir.path(), &folder).unwrap();
        // The same name in another place is the same range; beside it, it is taken.
        fs::rename(folder.path(), dir.path().join("sbx_bbbbbbbbbbbbbbbb")).unwrap();
        let folder = Folder::create(dir.path(), folder.id()).unwrap();
        assert_ne!(Users::take(dir.path(), &folder).unwrap(), mine);
    }

    #[test]
    fn kernels_are_told_apart() {
        for (release, enough) in [
            ("6.1.0-37-amd64", true),
            ("5.19.0", true),
            ("5.15.0-100-generic", false),
            ("10.0", true),
            ("5", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(release), enough, "{release}");
        }
    }
}
