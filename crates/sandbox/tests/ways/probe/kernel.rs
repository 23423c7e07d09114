//! Ways through the kernel: other namespaces, mounts, control groups, devices, other processes.

use crate::{
    At, Refused, Tried,
    sys::{self, Arg},
};
use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Read, Write},
    os::fd::AsRawFd,
    path::Path,
};

/// How much of a device is looked at in one go.
const DEVICE_STEP: u64 = 1024 * 1024;

/// The parts of `struct file_handle` before its bytes: their number, and their kind.
const HANDLE_HEAD: usize = 8;

pub(crate) fn try_one(args: &[&str]) -> Option<Tried> {
    Some(match args {
        ["join-root-group", kind, options] => join_root_group(kind, options),
        ["release-agent", hierarchy, program] => release_agent(hierarchy, program),
        ["uncover", mount, file] => uncover(mount, file),
        ["remount", file, line] => remount(file, line),
        ["clone-mount", file, line] => clone_mount(file, line),
        ["enter", namespace, file] => enter(namespace, file),
        ["change-root", root, file] => change_root(root, file),
        ["by-handle", door, handle] => by_handle(door, handle),
        ["device", major, minor, word] => device(major.parse().ok()?, minor.parse().ok()?, word),
        ["trace", pid] => trace(pid),
        ["take-descriptor", pid, descriptor] => take_descriptor(pid.parse().ok()?, descriptor.parse().ok()?),
        ["key", serial] => key(serial.parse().ok()?),
        ["shared-memory", key] => match sys::shared_memory(key.parse().ok()?) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err((step, error)) => Err(error).at(step),
        },
        ["core"] => core(),
        _ => return None,
    })
}

fn c(text: &str) -> CString {
    CString::new(text).expect("an argument of a program has no zero in it")
}

fn read(path: &str) -> Tried {
    let mut bytes = Vec::new();
    File::open(path).at("open")?.take(64 * 1024).read_to_end(&mut bytes).at("read")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn mount(source: &str, to: &str, kind: &str, flags: u64, data: &str) -> Result<(), Refused> {
    let (source, to, kind, data) = (c(source), c(to), c(kind), c(data));
    let flags = Arg::Int(flags.cast_signed());
    let args = [Arg::Text(&source), Arg::Text(&to), Arg::Text(&kind), flags, Arg::Text(&data)];
    sys::call(libc::SYS_mount, args).at("mount").map(drop)
}

fn mount_point(name: &str) -> Result<String, Refused> {
    let place = format!("/tmp/{name}-{}", std::process::id());
    fs::create_dir(&place).at("folder")?;
    Ok(place)
}

/// Out of the sandbox's limits, into the group of everybody.
fn join_root_group(kind: &str, options: &str) -> Tried {
    let place = mount_point("cgroup")?;
    mount("none", &place, kind, 0, options)?;
    fs::write(format!("{place}/cgroup.procs"), "0").at("join")?;
    // All groups but the one of everybody have this limit.
    if Path::new(&place).join("pids.max").exists() {
        return Err(Refused { at: "look", why: "a group with limits".to_owned() });
    }
    let groups = fs::read_to_string("/proc/self/cgroup").at("read")?;
    let wanted = if kind == "cgroup2" { "0::".to_owned() } else { format!(":{options}:") };
    let group = groups.lines().find_map(|line| Some(line.split_once(&wanted)?.1.to_owned()));
    group.map(|group| format!("in {group} of the host")).ok_or(Refused { at: "look", why: groups })
}

/// Has the kernel start a program on the host when a group is empty: as root, outside of everything.
fn release_agent(hierarchy: &str, program: &str) -> Tried {
    let place = mount_point("release")?;
    mount("none", &place, "cgroup", 0, &format!("none,name={hierarchy}"))?;
    fs::write(format!("{place}/release_agent"), program).at("release_agent")?;
    let group = format!("{place}/group");
    fs::create_dir(&group).at("group")?;
    fs::write(format!("{group}/notify_on_release"), "1").at("notify")?;
    // Whoever enters and ends leaves the group empty.
    sys::in_a_child(|| i32::from(fs::write(format!("{group}/cgroup.procs"), "0").is_err())).at("enter")?;
    Ok(group)
}

/// Takes away what lies over a file.
fn uncover(mount: &str, file: &str) -> Tried {
    let mount = c(mount);
    sys::call(libc::SYS_umount2, [Arg::Text(&mount), Arg::Int(libc::MNT_DETACH.into())]).at("umount")?;
    read(file)
}

fn write_line(path: &str, line: &str) -> Tried {
    let mut file = File::options().append(true).open(path).at("open")?;
    writeln!(file, "{line}").at("write")?;
    Ok("written".to_owned())
}

/// Makes a file writable that is there to be read.
fn remount(file: &str, line: &str) -> Tried {
    mount("none", file, "none", libc::MS_REMOUNT | libc::MS_BIND, "")?;
    write_line(file, line)
}

/// The same by the newer calls, on a copy of the mount that is nowhere.
fn clone_mount(file: &str, line: &str) -> Tried {
    let file = c(file);
    let flags = i64::from(libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC);
    let open = [Arg::Int(libc::AT_FDCWD.into()), Arg::Text(&file), Arg::Int(flags)];
    let tree = sys::open(libc::SYS_open_tree, open).at("open_tree")?;
    // `struct mount_attr`: what to set, what to clear, propagation, a user namespace.
    let attributes: Vec<u8> = [0, libc::MOUNT_ATTR_RDONLY, 0, 0].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let (empty, size) = (c(""), Arg::Int(attributes.len() as i64));
    let args = [sys::fd(&tree), Arg::Text(&empty), Arg::Int(libc::AT_EMPTY_PATH.into()), Arg::In(&attributes), size];
    sys::call(libc::SYS_mount_setattr, args).at("mount_setattr")?;
    write_line(&format!("/proc/self/fd/{}", tree.as_raw_fd()), line)
}

fn enter(namespace: &str, file: &str) -> Tried {
    let namespace = File::open(namespace).at("open")?;
    sys::call(libc::SYS_setns, [sys::fd(&namespace), Arg::Int(0)]).at("setns")?;
    read(file)
}

fn change_root(root: &str, file: &str) -> Tried {
    let root = c(root);
    sys::call(libc::SYS_chroot, [Arg::Text(&root)]).at("chroot")?;
    read(file)
}

/// Opens a file of the host's filesystem by its number, beside a door into that filesystem. `handle` is `KIND:HEX`.
fn by_handle(door: &str, handle: &str) -> Tried {
    let bad = || Refused { at: "handle", why: handle.to_owned() };
    let (kind, hex) = handle.split_once(':').ok_or_else(bad)?;
    let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
    let bytes: Vec<u8> = bytes.collect::<Result<_, _>>().map_err(|_| bad())?;
    let kind: i32 = kind.parse().map_err(|_| bad())?;
    let mut handle = Vec::with_capacity(HANDLE_HEAD + bytes.len());
    handle.extend((bytes.len() as u32).to_ne_bytes());
    handle.extend(kind.to_ne_bytes());
    handle.extend(bytes);
    let door = File::open(door).at("door")?;
    let args = [sys::fd(&door), Arg::In(&handle), Arg::Int((libc::O_RDONLY | libc::O_CLOEXEC).into())];
    let opened = sys::open(libc::SYS_open_by_handle_at, args).at("open_by_handle_at")?;
    let mut text = String::new();
    File::from(opened).read_to_string(&mut text).at("read")?;
    Ok(text)
}

/// Makes a node of a block device and looks for a word on it.
fn device(major: u32, minor: u32, word: &str) -> Tried {
    let path = format!("/dev/shm/node-{}", std::process::id());
    let place = c(&path);
    let (mode, number) = (i64::from(libc::S_IFBLK | 0o600), libc::makedev(major, minor).cast_signed());
    let args = [Arg::Int(libc::AT_FDCWD.into()), Arg::Text(&place), Arg::Int(mode), Arg::Int(number)];
    sys::call(libc::SYS_mknodat, args).at("mknod")?;
    let mut device = File::open(&path).at("open")?;
    let (mut seen, mut total) = (Vec::new(), 0);
    loop {
        // What may be the beginning of the word stays for the next look.
        seen.drain(..seen.len().saturating_sub(word.len()));
        let read = (&mut device).take(DEVICE_STEP).read_to_end(&mut seen).at("read")?;
        if let Some(at) = seen.windows(word.len()).position(|window| window == word.as_bytes()) {
            return Ok(String::from_utf8_lossy(&seen[at..at + word.len()]).into_owned());
        }
        total += read;
        if read == 0 {
            return Err(Refused { at: "look", why: format!("{total} bytes without it") });
        }
    }
}

/// Holds another process and reads its memory, as debuggers do.
fn trace(pid: &str) -> Tried {
    const SEIZE: i64 = 0x4206;
    let number: i64 = pid.parse().map_err(|_| Refused { at: "pid", why: pid.to_owned() })?;
    sys::call(libc::SYS_ptrace, [Arg::Int(SEIZE), Arg::Int(number), Arg::Int(0), Arg::Int(0)]).at("ptrace")?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).at("maps")?;
    // Where its program's file begins.
    let program = maps.lines().find(|line| line.contains("/agent") && line.contains(" 00000000 "));
    let start = program.and_then(|line| u64::from_str_radix(line.split('-').next()?, 16).ok()).unwrap_or_default();
    let mut bytes = [0; 4];
    sys::memory_of(number as i32, start, &mut bytes).at("memory")?;
    Ok(format!("memory that begins with {}", String::from_utf8_lossy(&bytes[1..])))
}

/// Takes a descriptor of another process, and tells whether it is a socket that listens.
fn take_descriptor(pid: i64, descriptor: i64) -> Tried {
    let process = sys::open(libc::SYS_pidfd_open, [Arg::Int(pid), Arg::Int(0)]).at("pidfd_open")?;
    let args = [sys::fd(&process), Arg::Int(descriptor), Arg::Int(0)];
    let taken = sys::open(libc::SYS_pidfd_getfd, args).at("pidfd_getfd")?;
    let listens = rustix::net::sockopt::socket_acceptconn(&taken).map_err(io::Error::from).at("getsockopt")?;
    Ok(format!("a descriptor, listens: {listens}"))
}

fn key(serial: i64) -> Tried {
    const READ: i64 = 11;
    let mut bytes = [0; 256];
    let size = Arg::Int(bytes.len() as i64);
    let args = [Arg::Int(READ), Arg::Int(serial), Arg::Out(&mut bytes), size];
    let read = sys::call(libc::SYS_keyctl, args).at("keyctl")?;
    Ok(String::from_utf8_lossy(&bytes[..bytes.len().min(read as usize)]).into_owned())
}

/// Dies so that the kernel would leave a core: as a file, or to a program of the host.
fn core() -> Tried {
    std::env::set_current_dir("/tmp").at("folder")?;
    let status = sys::in_a_child(|| std::process::abort()).at("fork")?;
    if libc::WCOREDUMP(status) { Ok("a core".to_owned()) } else { Err(Refused { at: "core", why: "none".to_owned() }) }
}
