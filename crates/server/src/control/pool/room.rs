//! Whether there is memory for what is made ahead.

use polydev_sandbox::{driver::Limits, image::Kind};

/// How much of the host's memory is free, as far as a pool is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// For no sandbox: none may be parked.
    None,
    /// What is parked may stay.
    Tight,
    /// For more.
    Ample,
}

/// What is parked is there to be used, and then takes up to its limit: so much must be free for it to stay.
///
/// More is asked for before one is made, so that none comes and goes. One for a run takes a few MiB while it waits, and
/// a quarter more is plenty. A desktop takes hundreds, and never more than its limit: with twice that, it can stay.
pub(super) fn room(available_mib: Option<u64>, kind: Kind, limits: &Limits) -> Room {
    let full = limits.memory_mib;
    let ample = match kind {
        Kind::Cli => full + full / 4,
        Kind::Desktop => full * 2,
    };
    match available_mib {
        Some(available) if available < full => Room::None,
        Some(available) if available < ample => Room::Tight,
        // A host that does not tell is taken at its operator's word.
        Some(_) | None => Room::Ample,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use polydev_sandbox::driver::Cpus;

    #[test]
    fn nothing_is_parked_that_could_not_grow() {
        let limits = Limits { memory_mib: 1024, cpus: Cpus { milli: 1000 }, pids: 16, disk_mib: 16 };
        for (available, cli, desktop) in [
            (Some(1023), Room::None, Room::None),
            (Some(1024), Room::Tight, Room::Tight),
            (Some(1279), Room::Tight, Room::Tight),
            (Some(1280), Room::Ample, Room::Tight),
            (Some(2047), Room::Ample, Room::Tight),
            (Some(2048), Room::Ample, Room::Ample),
            (None, Room::Ample, Room::Ample),
        ] {
            let is = [Kind::Cli, Kind::Desktop].map(|kind| room(available, kind, &limits));
            assert_eq!(is, [cli, desktop], "{available:?}");
        }
    }

    #[test]
    fn what_was_made_may_stay_whatever_it_takes() {
        let limits = Limits { memory_mib: 1536, cpus: Cpus { milli: 1000 }, pids: 16, disk_mib: 16 };
        let before = (0..10_000).find(|free| room(Some(*free), Kind::Desktop, &limits) == Room::Ample).unwrap();
        assert_ne!(room(Some(before - limits.memory_mib), Kind::Desktop, &limits), Room::None);
    }
}
