//! Reading what a job writes into its rings, and no more than they may hold.

use crate::{job::Job, ring::Ring, sys};
use rustix::{
    buffer::spare_capacity,
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
};
use std::{
    cell::{Cell, RefCell},
    io,
    os::fd::OwnedFd,
    rc::Rc,
};
use tokio::{io::unix::AsyncFd, sync::Notify};

/// The most that is read at once.
const READ_MAX: usize = 64 * 1024;

/// What may still be in a terminal when the job's process has ended: more than the kernel holds for one.
const TERMINAL_MAX: u64 = 256 * 1024;

/// The agent's end of a job's pipe or terminal.
pub(crate) type Source = AsyncFd<OwnedFd>;

/// Makes the agent's end ready to be waited for.
pub(crate) fn source(fd: OwnedFd) -> io::Result<Rc<Source>> {
    fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
    Ok(Rc::new(sys::register(fd)?))
}

/// One stream of a job's output.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) ring: RefCell<Ring>,
    /// Poked when there is room again, and when the job's process has ended.
    pub(crate) poke: Notify,
    /// Nothing more will be read.
    pub(crate) closed: Cell<bool>,
}

impl Output {
    pub(crate) fn new(ring: polydev_proto::Ring) -> Self {
        Self { ring: RefCell::new(Ring::new(ring)), poke: Notify::new(), closed: Cell::new(false) }
    }

    pub(crate) fn written(&self) -> u64 {
        self.ring.borrow().written()
    }
}

/// Which stream of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Stdout,
    Stderr,
}

impl Which {
    pub(crate) fn of(self, job: &Job) -> &Output {
        match self {
            Self::Stdout => &job.stdout,
            Self::Stderr => &job.stderr,
        }
    }
}

/// Reads until the job closed its end, or until its process has ended and what
/// it had written by then was read. A grandchild that still holds the pipe
/// does not keep the job open: its next write finds the pipe closed.
pub(crate) async fn run(job: Rc<Job>, which: Which, source: Rc<Source>) {
    let output = which.of(&job);
    let mut left = None;
    loop {
        tokio::task::coop::consume_budget().await;
        if left.is_none() && job.exit.get().is_some() {
            left = Some(pending(&source));
        }
        let room = output.ring.borrow().room();
        if room == 0 && left != Some(0) {
            output.poke.notified().await;
            continue;
        }
        let max = READ_MAX.min(room).min(left.map_or(READ_MAX, |left| left as usize));
        match read(&source, max) {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(bytes) => {
                left = left.map(|left| left.saturating_sub(bytes.len() as u64));
                output.ring.borrow_mut().push(&bytes);
                job.spoke();
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if left.is_none() => tokio::select! {
                ready = source.readable() => match ready {
                    // Read again before waiting again: bytes that came since are not announced a second time.
                    Ok(mut ready) => ready.clear_ready(),
                    Err(_) => break,
                },
                () = output.poke.notified() => {}
            },
            // The other end of a terminal that nobody holds any more reads as an error.
            Err(_) => break,
        }
    }
    drop(source);
    output.closed.set(true);
    job.settled();
}

/// How many bytes may still come of a job whose process has just ended.
fn pending(source: &Source) -> u64 {
    // A terminal moves bytes between two buffers of the kernel and counts only one of them.
    if rustix::termios::isatty(source.get_ref()) {
        return TERMINAL_MAX;
    }
    rustix::io::ioctl_fionread(source.get_ref()).unwrap_or(0)
}

fn read(source: &Source, max: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::with_capacity(max);
    if max > 0 {
        rustix::io::read(source.get_ref(), spare_capacity(&mut bytes))?;
    }
    Ok(bytes)
}
