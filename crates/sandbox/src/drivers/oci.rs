//! `oci`: containers, by crun or runc.
//!
//! ```text
//!   <state_dir>/oci/
//!       agent-<hash>        the agent, bind-mounted into every container
//!       image               where images are mounted, in namespaces of their own
//!       runtime/<id>        what the runtime notes of a container
//!       <id>/               a sandbox: its folder (see `folder.rs`) is also its bundle
//!           config.json  pid  runtime.log  ca.pem  layer  root
//! ```
//!
//! A sandbox has: its folder, its control groups, what the runtime notes, and
//! its processes. Its mounts go with its processes. Nothing else is left when
//! these are gone, and each can be found from the folder alone, which is made
//! first and removed last.

mod ahead;
mod cgroup;
mod freezer;
mod mounts;
mod probe;
mod runtime;
mod seccomp;
mod spec;
mod strays;
mod users;

use super::{
    DriverConfig,
    agent::place_agent,
    folder::{Folder, remove_folder, step},
    process::Process,
    state_dir,
};
use crate::{
    driver::{
        Capabilities, Driver, DriverError, Observed, Phase, Priority, Probe, SandboxId, SandboxSpec, Stray, Stream,
    },
    host::rights::Rights,
};
use async_trait::async_trait;
use cgroup::{BACKGROUND_SHARES, Cgroups};
use mounts::{Images, in_a_thread};
use runtime::Runtime;
use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::DirBuilderExt,
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use users::Users;

/// The rights without which crun 1.8 and runc 1.1 make no sandbox that holds the contract, found by taking away one after
/// the other (`crates/sandbox/tests/contract.rs`, by a root that has fewer).
const NEEDS: &[Rights] = &[
    // Mounts, namespaces, loop devices; on cgroup version 2 the rules for devices.
    Rights::SYS_ADMIN,
    // Into the mount namespace of the image.
    Rights::SYS_CHROOT,
    // The sandbox's user namespace is looked at while it is made, as is that of runc's own child.
    Rights::SYS_PTRACE,
    // crun's sandboxes are others' to the last: their processes are ended, and on cgroup version 1 put into `cpuset`.
    Rights::KILL,
    Rights::SYS_NICE,
    // Users and groups are mapped into the sandbox's namespace.
    Rights::SETUID,
    Rights::SETGID,
    // The sandbox's files are its users': made, given away and changed in a layer that the kernel keeps in the name of
    // whoever mounted it.
    Rights::CHOWN,
    Rights::DAC_OVERRIDE,
    Rights::FOWNER,
];

/// The driver.
#[derive(Debug)]
struct Oci {
    dir: PathBuf,
    configured: Option<PathBuf>,
    /// This host has what stops sandboxes where they are.
    freezes: bool,
    ready: OnceCell<Ready>,
    images: Images,
    /// One sandbox at a time takes its users.
    taking: Mutex<()>,
}

/// What is found or made once.
#[derive(Debug)]
struct Ready {
    runtime: Runtime,
    agent: PathBuf,
}

/// Makes the driver.
pub(super) fn make(config: &DriverConfig) -> Arc<dyn Driver> {
    let dir = state_dir(config, "oci");
    let (images, configured) = (Images::new(&dir), config.oci_runtime.clone());
    let freezes = cgroups().is_ok_and(|cgroups| cgroups.freezes());
    Arc::new(Oci { dir, configured, freezes, ready: OnceCell::new(), images, taking: Mutex::default() })
}

#[async_trait]
impl Driver for Oci {
    fn kind(&self) -> &'static str {
        "oci"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { isolates: true, uses_image: true, limits: true, freezes: self.freezes }
    }

    fn needs(&self) -> Rights {
        NEEDS.iter().copied().collect()
    }

    async fn probe(&self) -> Probe {
        probe::probe(self.configured.as_deref()).await
    }

    async fn create(&self, id: &SandboxId, spec: &SandboxSpec) -> Result<(), DriverError> {
        let ready = self.ready.get_or_try_init(|| self.get_ready()).await?;
        let image = self.images.namespace(spec).await?;
        let folder = Folder::create(&self.dir, id)?;
        // Whoever waits for this may give up, and destroy: not while the sandbox still grows. Locked here and not
        // in the thread, which might come too late, to the folder of a later sandbox of this name.
        let Some(lock) = folder.lock()? else { return Err(DriverError::Gone(id.clone())) };
        let users = {
            let _one = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
            Users::take(&self.dir, &folder)?
        };
        let making = Making { folder, _lock: lock, image, users, spec: spec.clone(), agent: ready.agent.clone() };
        let (runtime, state) = (ready.runtime.clone(), runtime_dir(&self.dir));
        in_a_thread("sandbox", move || making.make(&runtime, &state)).await
    }

    async fn read_ahead(&self, spec: &SandboxSpec, max: u64, stop: &CancellationToken) -> Result<u64, DriverError> {
        let image = self.images.namespace(spec).await?;
        let (dir, stop) = (self.images.mount_point().to_owned(), stop.clone());
        in_a_thread("read-ahead", move || {
            mounts::enter(image.as_fd()).map_err(|error| step("entering the image's namespace", error))?;
            ahead::read_tree(&dir, max, &stop).map_err(|error| step("reading the image ahead", error))
        })
        .await
    }

    async fn connect(&self, id: &SandboxId) -> Result<Stream, DriverError> {
        Ok(Box::new(Folder::of(&self.dir, id).connect().await?))
    }

    async fn observe(&self) -> Result<Vec<Observed>, DriverError> {
        let cgroups = cgroups()?;
        let observed = Folder::list(&self.dir)?.into_iter().map(|folder| {
            let phase = match folder.recorded() {
                None => Phase::Partial,
                Some(process) if process.lives() => Phase::Running,
                Some(_ended) => Phase::Ended { out_of_memory: cgroups.out_of_memory(folder.id()) },
            };
            Observed { id: folder.id().clone(), phase }
        });
        Ok(observed.collect())
    }

    async fn out_of_memory(&self, id: &SandboxId) -> Result<bool, DriverError> {
        Ok(cgroups()?.out_of_memory(id))
    }

    async fn strays(&self) -> Result<Vec<Stray>, DriverError> {
        if !rustix::process::geteuid().is_root() {
            return Err(step("looking at this host's processes", "root alone may look at all of them"));
        }
        let dir = self.dir.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let known = Folder::list(&dir)?.iter().map(|folder| folder.id().clone()).collect();
            Ok(strays::strays(&known, strays::SETTLED))
        });
        looked.await.map_err(|error| step("looking at this host's processes", error))?
    }

    async fn out_of_processes(&self, id: &SandboxId) -> Result<bool, DriverError> {
        Ok(cgroups()?.out_of_processes(id))
    }

    async fn freeze(&self, id: &SandboxId) -> Result<(), DriverError> {
        self.alone_with(id, "stopping the sandbox where it is", freezer::freeze).await
    }

    async fn thaw(&self, id: &SandboxId) -> Result<(), DriverError> {
        self.alone_with(id, "letting the sandbox go on", |cgroups, id| {
            cgroups.set_normal_weight(id)?;
            freezer::thaw(cgroups, id)
        })
        .await
    }

    async fn destroy(&self, id: &SandboxId) -> Result<(), DriverError> {
        let folder = Folder::of(&self.dir, id);
        let runtime = runtime_dir(&self.dir).join(id.as_str());
        let ended = tokio::task::spawn_blocking(move || {
            let Some(_lock) = folder.lock()? else { return Ok(()) };
            cgroups()?.destroy(folder.id()).map_err(|error| step("ending the sandbox's processes", error))?;
            remove_folder(&runtime)?;
            folder.remove()
        });
        ended.await.map_err(|error| step("ending the sandbox's processes", error))?
    }

    async fn console(&self, id: &SandboxId, max: usize) -> Result<Vec<u8>, DriverError> {
        Folder::of(&self.dir, id).console(max)
    }
}

impl Oci {
    /// Does something with a sandbox's groups while nobody makes or removes it.
    async fn alone_with(
        &self,
        id: &SandboxId,
        what: &'static str,
        work: impl FnOnce(&Cgroups, &SandboxId) -> io::Result<()> + Send + 'static,
    ) -> Result<(), DriverError> {
        let folder = Folder::of(&self.dir, id);
        let done = tokio::task::spawn_blocking(move || {
            let Some(_lock) = folder.lock()? else { return Err(DriverError::Gone(folder.id().clone())) };
            work(&cgroups()?, folder.id()).map_err(|error| step(what, error))
        });
        done.await.map_err(|error| step(what, error))?
    }

    async fn get_ready(&self) -> Result<Ready, DriverError> {
        let runtime = Runtime::find(self.configured.as_deref())
            .await
            .map_err(|reason| DriverError::Unavailable { reason, hint: probe::INSTALL.to_owned() })?;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        let placed = made.and_then(|()| mounts::make_stage()).and_then(|()| place_agent(&self.dir));
        let agent = placed.map_err(|error| step("writing the agent", error))?;
        Ok(Ready { runtime, agent })
    }
}

fn runtime_dir(dir: &Path) -> PathBuf {
    dir.join("runtime")
}

fn cgroups() -> Result<Cgroups, DriverError> {
    Cgroups::of_this_host().map_err(|error| step("reading the mounts of this host", error))
}

/// A sandbox in the making.
struct Making {
    folder: Folder,
    _lock: OwnedFd,
    image: Arc<OwnedFd>,
    users: Users,
    spec: SandboxSpec,
    agent: PathBuf,
}

impl Making {
    /// Makes the root and starts the container in it, on a thread of its own.
    fn make(self, runtime: &Runtime, state: &Path) -> Result<(), DriverError> {
        let Self { folder, _lock, image, users, spec, agent } = self;
        let (listener, console) = (folder.listen()?, folder.open_console()?);
        let cgroups = cgroups()?;
        let made = if runtime.is_crun() { users.namespace() } else { users.namespace_of_the_server_s() };
        let namespace = made.map_err(|error| step("making its user namespace", error))?;
        let image_device = mounts::mount_root(image.as_fd(), &folder, users, namespace.as_fd(), &spec.limits)?;
        mounts::stage_namespace(namespace.as_fd(), spec::USERS)
            .map_err(|error| step("placing its user namespace", error))?;
        mounts::furnish(&folder, users, spec.ca_file.as_deref())?;
        mounts::stage(&agent, "agent").map_err(|error| step("placing the agent", error))?;
        let background = match spec.priority {
            Priority::Normal => None,
            Priority::Background | Priority::UntilThawed => {
                Some(cgroups.making().map_err(|error| step("giving way", error))?)
            }
        };
        let parts = spec::Parts {
            has_ca: spec.ca_file.is_some(),
            users,
            cgroups: Cgroups::path(folder.id()),
            able: cgroups.able(),
            image_device,
            open_files: runtime::open_files(),
            thermal: runtime::thermal(),
            cpu_shares: background.as_ref().map(|_| BACKGROUND_SHARES),
        };
        runtime::write_bundle(&folder, &spec::container(folder.id(), &spec, &parts))?;
        let pid = runtime.run(state, &folder, listener, console, background)?;
        cgroups.limit_sockets(folder.id()).map_err(|error| step("limiting its sockets", error))?;
        cgroups.limit_huge_pages(folder.id()).map_err(|error| step("keeping it from huge pages", error))?;
        if spec.priority == Priority::Background {
            cgroups.set_normal_weight(folder.id()).map_err(|error| step("giving it its weight", error))?;
        }
        match Process::living(pid) {
            Some(process) => folder.record(&process),
            None => Err(step("starting the container", "its first process ended at once")),
        }
    }
}
