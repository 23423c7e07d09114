//! The pool's part of the plan.

use super::{Action, Seen};
use polydev_sandbox::{Phase, SandboxId, image::Kind};
use std::collections::HashSet;

/// A pool, and what it ought to be.
#[derive(Debug)]
pub struct Warm {
    /// What its sandboxes are for: runs, or logins.
    pub kind: Kind,
    /// What there is.
    pub sandboxes: Vec<(SandboxId, Parked)>,
    /// How many ought to wait.
    pub wanted: usize,
    /// Whether one may be made now: nobody waits for a start, memory is there, and it is worth a try.
    pub may_make: bool,
}

/// How a sandbox of the pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parked {
    /// It is being made.
    Making,
    /// It waits for somebody.
    Ready,
    /// It waits, but was made from what sandboxes are no longer made from.
    Outdated,
    /// It is being destroyed.
    Leaving,
}

/// What becomes of the pools. Of each, one is made at a time: nobody waits for it.
pub(super) fn warm(seen: &Seen<'_>, actions: &mut Vec<Action>) {
    let claimed: HashSet<&SandboxId> = seen.live.values().chain(seen.desktops.live.values()).collect();
    let runs: HashSet<&SandboxId> =
        seen.observed.iter().filter(|seen| seen.phase == Phase::Running).map(|seen| &seen.id).collect();
    for pool in seen.warm {
        let wanted = if seen.draining { 0 } else { pool.wanted };
        let (mut kept, mut making) = (0, false);
        for (id, parked) in &pool.sandboxes {
            match parked {
                // A run or a login has taken it since it was seen here.
                _ if claimed.contains(id) => {}
                Parked::Making => making = true,
                Parked::Ready if runs.contains(id) && kept < wanted => kept += 1,
                Parked::Ready | Parked::Outdated => actions.push(Action::Discard(pool.kind, id.clone())),
                Parked::Leaving => {}
            }
        }
        if kept < wanted && !making && pool.may_make {
            actions.push(Action::Park(pool.kind));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Desktops, Logins, plan},
        *,
    };
    use polydev_sandbox::Observed;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn sandbox(n: u8) -> SandboxId {
        let c = char::from(b'a' + n % 26);
        format!("sbx_{}", c.to_string().repeat(16)).parse().unwrap()
    }

    /// One of the pool, and what else is known of it.
    #[derive(Debug, Clone)]
    struct Spot {
        parked: Parked,
        seen: Option<Phase>,
        claimed: bool,
    }

    fn spots() -> impl Strategy<Value = Vec<Spot>> {
        let parked =
            prop_oneof![Just(Parked::Making), Just(Parked::Ready), Just(Parked::Outdated), Just(Parked::Leaving)];
        let phase = prop_oneof![3 => Just(Phase::Running), 1 => Just(Phase::Partial), 1 => Just(Phase::Ended { out_of_memory: false })];
        let spot = (parked, prop::option::of(phase), prop::bool::weighted(0.2))
            .prop_map(|(parked, seen, claimed)| Spot { parked, seen, claimed });
        prop::collection::vec(spot, 0..8)
    }

    proptest! {
        /// What is parked is kept while it is wanted and good, and only then; a claimed one is its run's.
        #[test]
        fn the_pool_is_as_large_as_it_ought_to_be(
            kind in prop_oneof![Just(Kind::Cli), Just(Kind::Desktop)],
            spots in spots(),
            strangers in 0..4u8,
            wanted in 0..6usize,
            may_make: bool,
            draining: bool,
        ) {
            let of = |n: usize| sandbox(n as u8);
            let named = || spots.iter().enumerate();
            let nobody_s = (0..strangers).map(|n| Observed { id: sandbox(25 - n), phase: Phase::Running });
            let seen = named().filter_map(|(n, spot)| Some(Observed { id: of(n), phase: spot.seen? }));
            let observed: Vec<Observed> = nobody_s.chain(seen).collect();
            let claims: HashMap<String, SandboxId> =
                named().filter(|(_, spot)| spot.claimed).map(|(n, _)| (format!("r{n}"), of(n))).collect();
            let (live, at_desktops) = match kind {
                Kind::Cli => (claims, HashMap::new()),
                Kind::Desktop => (HashMap::new(), claims),
            };
            let desktops = Desktops { live: at_desktops, ..Desktops::default() };
            let warm = [Warm { kind, sandboxes: named().map(|(n, spot)| (of(n), spot.parked)).collect(), wanted, may_make }];
            let actions = plan(&Seen { open: &[], observed: &observed, live: &live, capacity: 9, draining, warm: &warm, logins: Logins::default(), desktops });

            let wanted = if draining { 0 } else { wanted };
            let good = |spot: &Spot| spot.parked == Parked::Ready && spot.seen == Some(Phase::Running) && !spot.claimed;
            let mut stay = 0;
            for (n, spot) in named() {
                prop_assert!(!actions.contains(&Action::Destroy(of(n))), "the pool's own are the pool's to destroy");
                let goes = actions.contains(&Action::Discard(kind, of(n)));
                match spot.parked {
                    _ if spot.claimed => prop_assert!(!goes, "it is a run's"),
                    Parked::Making | Parked::Leaving => prop_assert!(!goes, "a task has it"),
                    Parked::Ready if good(spot) => stay += usize::from(!goes),
                    Parked::Ready | Parked::Outdated => prop_assert!(goes),
                }
            }
            let goods = spots.iter().filter(|spot| good(spot)).count();
            prop_assert_eq!(stay, wanted.min(goods), "as many stay as are wanted");
            let destroyed = actions.iter().filter(|action| matches!(action, Action::Destroy(_))).count();
            prop_assert_eq!(destroyed, usize::from(strangers));
            let making = spots.iter().any(|spot| spot.parked == Parked::Making && !spot.claimed);
            let parks = actions.iter().filter(|action| **action == Action::Park(kind)).count();
            prop_assert_eq!(parks, usize::from(may_make && !making && goods < wanted));
        }
    }
}
