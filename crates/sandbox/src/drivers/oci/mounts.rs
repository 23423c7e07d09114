//! Mounts that the host does not see.
//!
//! ```text
//!   the host's namespace          nothing of ours, ever
//!     └─ the image's              its ext4, loop-mounted read-only; one for all its sandboxes,
//!          │                      kept open by the server's file descriptor
//!          └─ the sandbox's       the image again with its files' owners mapped, a sized tmpfs and the
//!               │                 overlay of both; a thread makes it, starts the runtime in it, and ends
//!               └─ the container's the overlay as `/`; it ends with the container's last process
//! ```
//!
//! When the server is killed and the last container ends, namespaces, mounts
//! and loop device go by themselves: the kernel counts who uses them. No
//! process is needed to hold them.

use super::{cgroup::Cgroups, spec::USER, users::Users};
use crate::{
    cmd::{self, Cmd},
    driver::{DriverError, Limits, SandboxSpec},
    drivers::folder::{Folder, step},
    sys,
};
use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid, chownat, fchmod, major, minor, mkdirat, openat2},
    io::Errno,
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt, chown},
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::sync::{Mutex, oneshot};

/// Where, in its own mount namespace, a sandbox is put together. The host has an empty folder there: all that a
/// container is made of must be reached by its own root too, who is nobody on the host and gets through no closed folder.
const STAGE: &str = "/run/polydev";

/// Where Debian and most others keep all trusted certificates in one file.
const BUNDLE: &str = "etc/ssl/certs/ca-certificates.crt";

/// The most bytes that a file of certificates may have.
const CERTIFICATES_MAX: u64 = 4 * 1024 * 1024;

/// The mount namespaces of images, each made once.
#[derive(Debug)]
pub(super) struct Images {
    /// `image` in the driver's folder, beside the sandboxes' folders: an empty folder
    /// on which, in its own namespace, each image is mounted.
    mount_point: PathBuf,
    open: Mutex<HashMap<(PathBuf, String), Arc<OwnedFd>>>,
}

impl Images {
    /// `dir` is the driver's state folder.
    pub(super) fn new(dir: &Path) -> Self {
        Self { mount_point: dir.join("image"), open: Mutex::default() }
    }

    /// Where in its namespace an image is mounted.
    pub(super) fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// The namespace in which the image is mounted.
    pub(super) async fn namespace(&self, spec: &SandboxSpec) -> Result<Arc<OwnedFd>, DriverError> {
        let mut open = self.open.lock().await;
        let key = (spec.image.clone(), spec.image_id.clone());
        if let Some(namespace) = open.get(&key) {
            return Ok(namespace.clone());
        }
        let (image, mount_point) = (spec.image.clone(), self.mount_point.clone());
        let namespace = Arc::new(in_a_thread("image", move || mount_image(&image, &mount_point)).await?);
        // An image that was replaced or deleted must not keep its disk space.
        open.retain(|(path, _), _| *path != spec.image && path.exists());
        open.insert(key, namespace.clone());
        Ok(namespace)
    }
}

/// Runs `work` on a thread of its own, which may change its namespaces: a
/// thread of a pool would carry them into other people's work.
pub(super) async fn in_a_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    let (done, result) = oneshot::channel();
    let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Whoever waited may have given up.
        let _nobody_waits = done.send(work());
    });
    thread.map_err(|error| step("starting a thread", error))?;
    result.await.map_err(|_panicked| step("preparing the sandbox", "its thread ended early"))?
}

fn mount_image(image: &Path, mount_point: &Path) -> Result<OwnedFd, DriverError> {
    let unusable = |reason: String| DriverError::Image { image: image.to_owned(), reason };
    let image_file = fs::canonicalize(image).map_err(|error| unusable(error.to_string()))?;
    fs::create_dir_all(mount_point).map_err(|error| step("making the image's mount point", error))?;
    own_namespace().map_err(|error| step("making a mount namespace", error))?;
    hide_empty_hierarchy().map_err(|error| step("hiding the empty cgroup hierarchy", error))?;
    // mount(8) finds a loop device, shares it with others of the same file, and
    // has the kernel free it with the last mount.
    let mount = Cmd::new("mount").clean_env().args(["-t", "ext4", "-o", "ro,loop,nodev,nosuid"]);
    cmd::run_blocking(mount.arg(image_file).arg(mount_point)).map_err(|error| unusable(error.to_string()))?;
    let namespace = File::open("/proc/thread-self/ns/mnt").map_err(|error| step("opening a mount namespace", error))?;
    Ok(namespace.into())
}

/// What is mounted from here on is seen by this thread, and what it starts, alone. What
/// the host unmounts goes away here too, so that no disk stays busy for our sake.
fn own_namespace() -> io::Result<()> {
    sys::own_mount_namespace()?;
    Ok(mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}

/// crun refuses a host that has both versions of cgroups. The second of them
/// has no controllers there, so without it nothing is lost.
fn hide_empty_hierarchy() -> io::Result<()> {
    let cgroups = Cgroups::of_this_host()?;
    match (cgroups.layout(), cgroups.v2()) {
        (super::cgroup::Layout::Hybrid, Some(mount)) => Ok(unmount(mount, UnmountFlags::DETACH)?),
        (_, _) => Ok(()),
    }
}

/// Where the second version was hidden, crun makes its folders all the same, in what lies there then. That is to go with
/// the sandbox: the host's own folder would keep them, or refuse them where systemd has made it read-only.
fn catch_hidden_groups() -> io::Result<()> {
    // The host's mounts are told here, and not this thread's.
    let cgroups = Cgroups::of_this_host()?;
    match (cgroups.layout(), cgroups.v2()) {
        (super::cgroup::Layout::Hybrid, Some(place)) => {
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            Ok(mount("tmpfs", place, "tmpfs", flags, c"size=1m,mode=0755")?)
        }
        (_, _) => Ok(()),
    }
}

/// Takes the calling thread into the namespace of an image. What it makes there has the usual modes, however strict the
/// operator is with files: others than root must go through a sandbox's folders, its own users.
pub(super) fn enter(image: BorrowedFd<'_>) -> io::Result<()> {
    sys::own_working_folder()?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(move_into_link_name_space(image, Some(LinkNameSpaceType::Mount))?)
}

/// Makes the sandbox's root, `root` in the stage, and stays in the namespace that has it. Tells the device that the
/// image is on.
pub(super) fn mount_root(
    image: BorrowedFd<'_>,
    folder: &Folder,
    users: Users,
    namespace: BorrowedFd<'_>,
    limits: &Limits,
) -> Result<(u32, u32), DriverError> {
    let work = || -> io::Result<(u32, u32)> {
        enter(image)?;
        own_namespace()?;
        catch_hidden_groups()?;
        for dir in ["image", "layer"] {
            fs::create_dir(folder.join(dir))?;
        }
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        let size = format!("size={}m,nr_inodes={},mode=0755", limits.disk_mib, limits.files());
        let size = std::ffi::CString::new(size)?;
        mount("tmpfs", folder.join("layer"), "tmpfs", flags, &*size)?;
        for dir in ["layer/upper", "layer/work"] {
            fs::create_dir(folder.join(dir))?;
        }
        // The root folder itself is the layer's.
        let root = Some(users.outside(0));
        chown(folder.join("layer/upper"), root, root)?;
        // Relative, because overlay's options have no room for commas, colons and
        // long paths. The working folder is this thread's own.
        rustix::process::chdir(folder.path())?;
        Users::mount(namespace, Path::new("../image"), Path::new("image"))?;
        let device = fs::metadata("image")?.dev();
        mount("tmpfs", STAGE, "tmpfs", flags, c"size=1m,mode=0711")?;
        let root = in_stage("root");
        fs::create_dir(&root)?;
        mount("overlay", &root, "overlay", flags, c"lowerdir=image,upperdir=layer/upper,workdir=layer/work")?;
        Ok((major(device), minor(device)))
    };
    work().map_err(|error| step("mounting the sandbox's root", error))
}

/// The path of a part of the sandbox, in its own mount namespace.
pub(super) fn in_stage(name: &str) -> PathBuf {
    Path::new(STAGE).join(name)
}

/// Makes the folder that stages are mounted on.
pub(super) fn make_stage() -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(STAGE)
}

/// Has a namespace in the stage, for the runtime to find.
pub(super) fn stage_namespace(namespace: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    stage(Path::new(&format!("/proc/thread-self/fd/{}", namespace.as_raw_fd())), name)
}

/// Has a file of the host in the stage too.
pub(super) fn stage(file: &Path, name: &str) -> io::Result<()> {
    File::create(in_stage(name))?;
    Ok(mount_bind(file, in_stage(name))?)
}

/// Puts into the fresh root what the image cannot have: a folder to work in
/// where it has none, and the host's extra certificates. Nothing of the guest
/// has run yet, and no link of the image leads out of it.
pub(super) fn furnish(folder: &Folder, users: Users, certificates: Option<&Path>) -> Result<(), DriverError> {
    let root = File::open(in_stage("root")).map_err(|error| step("opening the sandbox's root", error))?;
    make_workspace(&root, users).map_err(|error| step("making `/workspace`", error))?;
    if let Some(file) = certificates {
        let added = add_certificates(&root, folder, file).and_then(|()| stage(&folder.join("ca.pem"), "ca.pem"));
        added.map_err(|error| {
            let reason = format!("`{}`: {error}", file.display());
            DriverError::Step { step: "adding the extra certificates", reason }
        })?;
    }
    Ok(())
}

fn make_workspace(root: &File, users: Users) -> io::Result<()> {
    match mkdirat(root, "workspace", Mode::from_raw_mode(0o755)) {
        Ok(()) => {
            let user = (Some(Uid::from_raw(users.outside(USER))), Some(Gid::from_raw(users.outside(USER))));
            Ok(chownat(root, "workspace", user.0, user.1, AtFlags::SYMLINK_NOFOLLOW)?)
        }
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The extra certificates go behind those of the image, for all that read the
/// system's bundle, and alone into `ca.pem` of the folder, for the rest.
fn add_certificates(root: &File, folder: &Folder, file: &Path) -> io::Result<()> {
    let extra = read_bounded(File::open(file)?)?;
    if !extra.windows(27).any(|line| line == b"-----BEGIN CERTIFICATE-----") {
        return Err(io::Error::other("holds no PEM certificate"));
    }
    let in_root =
        |flags, mode| openat2(root, BUNDLE, flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode), ResolveFlags::IN_ROOT);
    let mut bundle = match in_root(OFlags::RDONLY, 0) {
        Ok(bundle) => read_bounded(bundle.into())?,
        Err(Errno::NOENT) => {
            make_folders(root, Path::new(BUNDLE).parent().unwrap_or(Path::new("")))?;
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    if !bundle.is_empty() && !bundle.ends_with(b"\n") {
        bundle.push(b'\n');
    }
    bundle.extend_from_slice(&extra);
    let mut merged = File::from(in_root(OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC, 0o644)?);
    merged.write_all(&bundle)?;
    let alone = File::create(folder.join("ca.pem"))?;
    (&alone).write_all(&extra)?;
    Ok(fchmod(&alone, Mode::from_raw_mode(0o644))?)
}

fn make_folders(root: &File, path: &Path) -> io::Result<()> {
    let mut at = root.as_fd().try_clone_to_owned()?;
    for part in path {
        match mkdirat(&at, part, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        at = openat2(&at, part, flags, Mode::empty(), ResolveFlags::BENEATH)?;
    }
    Ok(())
}

fn read_bounded(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(CERTIFICATES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > CERTIFICATES_MAX {
        return Err(io::Error::other(format!("has more than {CERTIFICATES_MAX} bytes")));
    }
    Ok(bytes)
}

/// Tries what [`mount_root`] will do, with nothing but tmpfs, and whether loop devices can be had.
pub(super) fn try_mounts() -> Result<(), String> {
    let work = || -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        own_namespace()?;
        mount("tmpfs", dir.path(), "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"size=1m")?;
        for name in ["lower", "upper", "work", "root"] {
            fs::create_dir(dir.path().join(name))?;
        }
        rustix::process::chdir(dir.path())?;
        mount("overlay", "root", "overlay", MountFlags::NOSUID, c"lowerdir=lower,upperdir=upper,workdir=work")?;
        rustix::process::chdir("/")?;
        unmount(dir.path().join("root"), UnmountFlags::DETACH)?;
        Ok(unmount(dir.path(), UnmountFlags::DETACH)?)
    };
    work().map_err(|error| format!("an overlay on a tmpfs in a mount namespace ({error})"))?;
    let free = Cmd::new("losetup").clean_env().arg("--find").timeout(Duration::from_secs(10));
    cmd::run_blocking(free).map(drop).map_err(|error| format!("a loop device ({error})"))
}
