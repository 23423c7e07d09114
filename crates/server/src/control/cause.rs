//! What a run really ended of: a tool that dies for want of memory or disk tells of a crash, and one that lost its
//! network with its server blames the provider.

use super::{
    Inner, readback,
    run::{Said, Stop},
};
use crate::domain::{
    event::{EventBody, LogLevel},
    failure::{Code, Failure},
    run::Run,
};
use polydev_sandbox::{Sandbox, driver::Limits};

/// A disk with less room than this is full, bytes.
const FULL: u64 = 64 * 1024;

/// What else is known of a run's end.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The kernel has ended a process of the sandbox.
    out_of_memory: bool,
    /// The sandbox has no room for files.
    disk_full: bool,
    /// The kernel has refused the sandbox another process.
    out_of_processes: bool,
    /// Another server had begun it, and nothing shows yet that the tool got over the change.
    just_adopted: bool,
}

/// The same end, by its true name.
pub(super) async fn name(
    inner: &Inner,
    run: &Run,
    sandbox: &Sandbox,
    said: &Said,
    end: Result<(), Stop>,
) -> Result<(), Stop> {
    if matches!(end, Err(Stop::Stopped | Stop::NotBegun(_))) {
        return end;
    }
    let out_of_memory = inner.driver.out_of_memory(sandbox.id()).await.unwrap_or(false);
    let out_of_processes = inner.driver.out_of_processes(sandbox.id()).await.unwrap_or(false);
    match end {
        Err(Stop::Failed(failure)) => {
            if failure.code == Code::NeedsReconnect && readback::lent_is_over(inner, run).await {
                // The provider refused the copy that the run was lent, which says nothing of the login.
                let words = "the login that the run was lent ended before the run did: was this host asleep?";
                return Err(Failure::new(Code::Interrupted, words).hint("Run it again.").into());
            }
            let disk_full = failure.code == Code::ToolCrashed
                && (says_so(&failure.message)
                    || says_so(&String::from_utf8_lossy(&said.stderr))
                    || is_full(sandbox).await);
            let seen = Seen { out_of_memory, disk_full, out_of_processes, just_adopted: said.adopted.is_some() };
            let limits = inner.config.sandbox.cli;
            Err(Stop::Failed(of(failure, seen, limits)))
        }
        Ok(()) => {
            let memory = out_of_memory.then(|| "a process of the sandbox was ended for want of memory".to_owned());
            let most = inner.config.sandbox.cli.pids;
            let processes = out_of_processes
                .then(|| format!("the sandbox had all of its {most} processes: some could not be started"));
            let logs = memory.into_iter().chain(processes).map(|text| EventBody::Log { level: LogLevel::Warn, text });
            let told = inner.append(&run.id, &logs.collect::<Vec<_>>(), None).await;
            told.map(drop).map_err(|error| Stop::Failed(super::fault(error)))
        }
        end @ Err(Stop::Stopped | Stop::NotBegun(_)) => end,
    }
}

/// Whether these are the system's words for a full disk.
fn says_so(words: &str) -> bool {
    words.contains("ENOSPC") || words.contains("No space left on device")
}

async fn is_full(sandbox: &Sandbox) -> bool {
    match sandbox.guest() {
        Some(guest) => guest.disk().await.is_ok_and(|(_, free)| free < FULL),
        None => false,
    }
}

fn of(failure: Failure, seen: Seen, limits: Limits) -> Failure {
    match failure.code {
        Code::ToolCrashed if seen.out_of_memory => Failure::new(
            Code::OutOfMemory,
            format!("the sandbox needed more than its {} MiB of memory", limits.memory_mib),
        )
        .hint("Ask for less at a time; `sandbox.cli.memory_mib` sets how much there is, files included."),
        Code::ToolCrashed if seen.disk_full => {
            let (mib, files) = (limits.disk_mib, limits.files());
            Failure::new(Code::DiskFull, format!("the sandbox needed more than its {mib} MiB, or {files} files"))
                .hint("Ask for less at a time; `sandbox.cli.disk_mib` sets how much there is.")
        }
        Code::ToolCrashed if seen.out_of_processes => {
            let (most, message) = (limits.pids, failure.message);
            Failure::new(Code::ToolCrashed, format!("the sandbox had all of its {most} processes, and then: {message}"))
                .hint("Ask for less at a time; `sandbox.cli.pids` sets how many there may be.")
        }
        Code::ToolCrashed | Code::ProviderUnavailable if seen.just_adopted => Failure::new(
            Code::Interrupted,
            format!(
                "the server was stopped while the run was under way, and the tool did not get over it: {}",
                failure.message
            ),
        )
        .hint("Run it again."),
        _other => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polydev_sandbox::driver::Cpus;

    #[test]
    fn a_crash_gets_its_true_name() {
        let limits = Limits { memory_mib: 64, cpus: Cpus { milli: 1000 }, pids: 64, disk_mib: 8 };
        let named = |code, seen| of(Failure::new(code, "words"), seen, limits).code;
        let (memory, disk, adopted) = (
            Seen { out_of_memory: true, ..Seen::default() },
            Seen { disk_full: true, ..Seen::default() },
            Seen { just_adopted: true, ..Seen::default() },
        );
        assert_eq!(named(Code::ToolCrashed, Seen::default()), Code::ToolCrashed);
        assert_eq!(named(Code::ToolCrashed, memory), Code::OutOfMemory);
        assert_eq!(named(Code::ToolCrashed, disk), Code::DiskFull);
        let processes = Seen { out_of_processes: true, ..Seen::default() };
        let failure = of(Failure::new(Code::ToolCrashed, "words"), processes, limits);
        assert_eq!(
            (failure.code, &*failure.message),
            (Code::ToolCrashed, "the sandbox had all of its 64 processes, and then: words")
        );
        assert_eq!(named(Code::ToolCrashed, adopted), Code::Interrupted);
        assert_eq!(named(Code::ProviderUnavailable, adopted), Code::Interrupted);
        assert_eq!(named(Code::ProviderUnavailable, memory), Code::ProviderUnavailable);
        assert_eq!(named(Code::RateLimited, adopted), Code::RateLimited);
    }
}
