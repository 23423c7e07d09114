//! Sandboxes that no row knows, sandboxes that no server looks after, and processes that got out of one.
//!
//! Rows whose sandboxes are gone are not told: the reconciler sees to them within seconds.

use super::{Finding, Place, Severity};
use crate::{app, cli::output::chain, store::Store};
use polydev_sandbox::{Driver, SandboxId, driver::Stray};
use std::{collections::HashSet, fs, os::unix::fs::MetadataExt, path::Path};

/// Looks at what the driver has, and at what looks like its own.
pub(super) async fn look(place: Place<'_>) -> Result<Vec<Finding>, String> {
    let Some(driver) = place.driver else { return Err("nothing on this host can make sandboxes".to_owned()) };
    let strays = driver.strays().await.map_err(|error| format!("other sandboxes cannot be looked for: {error}"))?;
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut found: Vec<Finding> = strays.into_iter().filter_map(|stray| tell(stray, &locks)).collect();
    if let Some(store) = place.store {
        found.extend(unknown(driver, store).await?.into_iter().map(|id| {
            Finding {
                subject: id.to_string(),
                severity: Severity::Warning,
                text: format!("sandbox `{id}` stands here, and no row of the database knows it"),
                hint:
                    "The server destroys it by itself; if it is told again in an hour, the log says why it could not."
                        .to_owned(),
            }
        }));
    }
    Ok(found)
}

/// The sandboxes that no row says to stand. A row is written before its sandbox is made, and closed after it is
/// destroyed: one that was seen without, and is without a second time, has none.
async fn unknown(driver: &dyn Driver, store: &Store) -> Result<Vec<SandboxId>, String> {
    let mut unknown: Option<Vec<SandboxId>> = None;
    for _ in 0..2 {
        let observed = driver.observe().await.map_err(|error| error.to_string())?;
        let rows = store.standing_sandboxes().await.map_err(|error| chain(&error))?;
        let rows: HashSet<&str> = rows.iter().map(String::as_str).collect();
        let before = unknown.take();
        let is_new = |id: &SandboxId| before.as_ref().is_none_or(|before| before.contains(id));
        let ids = observed.into_iter().map(|seen| seen.id).filter(|id| !rows.contains(id.as_str()));
        let now: Vec<SandboxId> = ids.filter(is_new).collect();
        if now.is_empty() {
            return Ok(now);
        }
        unknown = Some(now);
    }
    Ok(unknown.unwrap_or_default())
}

/// What a stray is, unless another server on this host looks after it. `locks` is what `/proc/locks` says.
fn tell(stray: Stray, locks: &str) -> Option<Finding> {
    match stray {
        Stray::Sandbox { id, processes, made_in } => {
            if made_in.as_deref().is_some_and(|dir| is_looked_after(dir, locks)) {
                return None;
            }
            let made_in = made_in.map(|dir| format!(", made in `{}`", dir.display())).unwrap_or_default();
            Some(Finding {
                subject: id.to_string(),
                severity: Severity::Warning,
                text: format!("sandbox `{id}`{made_in}, runs with {processes} processes, and no server looks after it"),
                hint: "Start its server, which takes it over; or end what is in its control groups, \
                       `/sys/fs/cgroup/**/polydev/sbx_…/cgroup.procs`."
                    .to_owned(),
            })
        }
        Stray::Process { pid, name, user } => Some(Finding {
            subject: format!("process of {user}"),
            severity: Severity::Error,
            text: format!(
                "process {pid} (`{name}`) runs outside of every sandbox as user {user}, of whom only sandboxes have any"
            ),
            hint: "Something may have got out of its sandbox. Keep what you need to look into it (`/proc/PID`), end \
                   it, bring the kernel up to date, and take this host for broken into until you know better."
                .to_owned(),
        }),
    }
}

/// Whether a server, or somebody who proves an image, has the data directory of this driver's folder.
fn is_looked_after(driver_dir: &Path, locks: &str) -> bool {
    let Some(state_dir) = driver_dir.parent() else { return false };
    if state_dir.file_name().is_some_and(|name| name == app::PROOFS) {
        return true;
    }
    let lock = state_dir.parent().map(|data_dir| data_dir.join(app::LOCK));
    lock.and_then(|lock| fs::metadata(lock).ok()).is_some_and(|lock| is_locked(lock.ino(), locks))
}

/// Whether a file of this inode is locked by flock(2) (`man 5 proc_locks`).
fn is_locked(inode: u64, locks: &str) -> bool {
    let end = format!(":{inode}");
    locks.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        // Those who wait have an arrow before.
        fields.next() == Some("FLOCK") && fields.nth(3).is_some_and(|file| file.ends_with(&end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_file_is_known_by_its_inode() {
        let locks = "1: FLOCK  ADVISORY  WRITE 812 fe:00:77 0 EOF\n2: POSIX  ADVISORY  READ 9 fe:00:78 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 9 fe:00:79 0 EOF\n";
        assert!(is_locked(77, locks));
        assert!(!is_locked(7, locks) && !is_locked(78, locks) && !is_locked(79, locks));
    }

    #[test]
    fn a_sandbox_is_no_finding_while_its_server_lives() {
        let data = tempfile::tempdir().unwrap();
        let made_in = Some(data.path().join("sandboxes/oci"));
        let id: SandboxId = "sbx_aaaaaaaaaaaaaaaa".parse().unwrap();
        let stray = || Stray::Sandbox { id: id.clone(), processes: 3, made_in: made_in.clone() };
        let told = || tell(stray(), &fs::read_to_string("/proc/locks").unwrap());
        assert!(told().unwrap().text.contains("no server looks after it"));
        let lock = fs::File::create(data.path().join(app::LOCK)).unwrap();
        assert!(told().is_some(), "a file without a lock is of a dead server");
        lock.try_lock().unwrap();
        assert_eq!(told(), None);
        let proof = Stray::Sandbox { id, processes: 3, made_in: Some("/images/.proof/oci".into()) };
        assert_eq!(tell(proof, ""), None);
    }

    #[test]
    fn a_process_that_got_out_is_an_error() {
        let found = tell(Stray::Process { pid: 7, name: "sh".into(), user: 268_445_457 }, "").unwrap();
        assert_eq!(found.severity, Severity::Error);
        assert!(found.text.contains("process 7 (`sh`) runs outside of every sandbox"), "{}", found.text);
    }
}
