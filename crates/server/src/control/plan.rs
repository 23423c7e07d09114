//! What the reconciler does next: a pure function of what is wished, what is
//! there, and what is under way.
//!
//! ```text
//!   open runs, logins (database)─┐
//!   sandboxes (driver)          ─┼─► plan() ─► start | adopt | put back | end | stop | destroy | park | discard
//!   tasks, pool (this process)  ─┘
//! ```

mod desktops;
mod warm;

pub use desktops::{Desktops, End, LoginAction};
pub use warm::{Parked, Warm};

use crate::{
    domain::{
        lease::{self, Login},
        run::Status,
    },
    store::runs::OpenRun,
};
use polydev_sandbox::{Observed, Phase, SandboxId, image::Kind};
use std::collections::{HashMap, HashSet};

/// How often a sandbox is made for a run whose server stops before its tool is started.
const ATTEMPTS: i64 = 3;

/// What is known at the start of a pass.
#[derive(Debug)]
pub struct Seen<'a> {
    /// Every run that is not over, oldest first.
    pub open: &'a [OpenRun],
    /// Every sandbox that the driver finds.
    pub observed: &'a [Observed],
    /// The runs that a task of this process works on, with their sandboxes.
    pub live: &'a HashMap<String, SandboxId>,
    /// How many runs may run at a time.
    pub capacity: usize,
    /// The server is stopping: nothing new is started.
    pub draining: bool,
    /// The sandboxes that are made ahead, as they were before the driver was asked.
    pub warm: &'a [Warm],
    /// The logins of people whose runs wait, and who uses them.
    pub logins: Logins,
    /// The desktops in which people sign in.
    pub desktops: Desktops,
}

/// Logins by person and provider, each with how long before its end its tool refreshes it; and the time of the pass.
/// Times are Unix milliseconds.
#[derive(Debug, Clone, Default)]
pub struct Logins {
    /// When the pass looks.
    pub now: i64,
    /// The logins.
    pub of: HashMap<(String, String), (Login, i64)>,
}

impl Logins {
    /// Whether a run can have the lease that it needs. A credential that is no login needs none.
    fn has_room(&self, run: &OpenRun) -> bool {
        self.needed(run).is_none_or(|(login, kind)| login.has_room(kind))
    }

    fn needed(&self, run: &OpenRun) -> Option<(&Login, lease::Kind)> {
        if self.of.is_empty() {
            return None;
        }
        let (login, early_ms) = self.of.get(&(run.user_id.clone(), run.provider.clone()))?;
        Some((login, lease::needed(login.fresh_until, *early_ms, run.timeout_s, self.now)))
    }

    /// Counts a run that begins: its lease may not be taken yet.
    fn take(&mut self, run: &OpenRun) {
        if let Some((_, kind)) = self.needed(run)
            && let Some((login, _)) = self.of.get_mut(&(run.user_id.clone(), run.provider.clone()))
        {
            login.take(kind);
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Give this run a sandbox.
    Start(String),
    /// Tell the task of this run to stop: somebody cancelled it.
    Stop(String),
    /// This run was cancelled, and no task works on it.
    EndCancelled(String),
    /// An earlier server began this run, and its sandbox still runs: go on with it.
    Adopt(String, SandboxId),
    /// An earlier server took this run out of the queue, and did not come to start its tool.
    PutBack(String),
    /// The sandbox of this run is gone, and with it what its tool did.
    EndInterrupted(String),
    /// Nobody's sandbox.
    Destroy(SandboxId),
    /// Make a sandbox of this kind ahead.
    Park(Kind),
    /// Destroy this one of that kind's pool.
    Discard(Kind, SandboxId),
    /// This, with a login.
    Login(LoginAction),
}

/// What follows from what is seen. Doing it and looking again leads to an empty plan.
///
/// Waiting runs are started oldest first, but a person with fewer runs under
/// way goes before one with more: a thousand waiting runs of one delay nobody else.
pub fn plan(seen: &Seen<'_>) -> Vec<Action> {
    let mut actions = Vec::new();
    // First of all: a run is over when its tool is.
    let adoptable: HashMap<&str, &SandboxId> = seen.open.iter().filter_map(|run| adoptable(run, seen)).collect();
    let parked = seen.warm.iter().flat_map(|pool| &pool.sandboxes).map(|(id, _)| id);
    let mut used = seen.desktops.used(seen);
    used.extend(seen.live.values().chain(adoptable.values().copied()).chain(parked));
    for sandbox in seen.observed {
        if !used.contains(&sandbox.id) {
            actions.push(Action::Destroy(sandbox.id.clone()));
        }
    }
    let mut running_of: HashMap<&str, usize> = HashMap::new();
    let mut waiting: Vec<&OpenRun> = Vec::new();
    let mut logins = seen.logins.clone();
    for run in seen.open {
        let live = seen.live.contains_key(&run.id);
        match run.status {
            _ if live => {
                *running_of.entry(&run.user_id).or_default() += 1;
                if !run.began {
                    logins.take(run);
                }
                if run.cancelled {
                    actions.push(Action::Stop(run.id.clone()));
                }
            }
            Status::Queued if run.cancelled => actions.push(Action::EndCancelled(run.id.clone())),
            Status::Queued => waiting.push(run),
            Status::Running => match adoptable.get(run.id.as_str()) {
                Some(&sandbox) => {
                    *running_of.entry(&run.user_id).or_default() += 1;
                    actions.push(Action::Adopt(run.id.clone(), sandbox.clone()));
                    if run.cancelled {
                        // Its tool may have refreshed a login, which is read back before the sandbox goes.
                        actions.push(Action::Stop(run.id.clone()));
                    }
                }
                None if run.cancelled => actions.push(Action::EndCancelled(run.id.clone())),
                None if run.began || run.attempts >= ATTEMPTS => actions.push(Action::EndInterrupted(run.id.clone())),
                None => actions.push(Action::PutBack(run.id.clone())),
            },
            Status::Completed | Status::Failed | Status::Cancelled => {}
        }
    }
    let places = if seen.draining { 0 } else { seen.capacity.saturating_sub(seen.live.len() + adoptable.len()) };
    for _ in 0..places {
        // Who waits for a login waits for nothing else, and is not overtaken at it: a run that needs it alone would
        // wait for ever behind short ones that share it.
        let mut waited_for: HashSet<(&str, &str)> = HashSet::new();
        // The first of the least: `min_by_key` keeps the oldest among equals.
        let next = waiting
            .iter()
            .enumerate()
            .filter(|(_, run)| {
                let login = (run.user_id.as_str(), run.provider.as_str());
                !waited_for.contains(&login) && (logins.has_room(run) || !waited_for.insert(login))
            })
            .min_by_key(|(_, run)| running_of.get(run.user_id.as_str()).copied().unwrap_or(0));
        let Some(at) = next.map(|(at, _)| at) else { break };
        let run = waiting.remove(at);
        logins.take(run);
        *running_of.entry(&run.user_id).or_default() += 1;
        actions.push(Action::Start(run.id.clone()));
    }
    seen.desktops.plan(seen, &mut actions);
    warm::warm(seen, &mut actions);
    actions
}

/// The run and its sandbox, if both run and nobody works on them.
fn adoptable<'a>(run: &'a OpenRun, seen: &Seen<'a>) -> Option<(&'a str, &'a SandboxId)> {
    let wanted = run.status == Status::Running && !seen.draining && !seen.live.contains_key(&run.id);
    let sandbox = run.sandbox_id.as_deref().filter(|_| wanted)?;
    let runs = |observed: &&Observed| observed.phase == Phase::Running && observed.id.as_str() == sandbox;
    Some((&run.id, &seen.observed.iter().find(runs)?.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(id: &str, user: &str, status: Status, cancelled: bool) -> OpenRun {
        OpenRun {
            id: id.into(),
            user_id: user.into(),
            provider: "claude".into(),
            timeout_s: 60,
            status,
            cancelled,
            sandbox_id: None,
            began: status == Status::Running,
            attempts: i64::from(status == Status::Running),
        }
    }

    fn sandbox(n: u8) -> SandboxId {
        let c = char::from(b'a' + n % 26);
        format!("sbx_{}", c.to_string().repeat(16)).parse().unwrap()
    }

    #[test]
    fn one_persons_queue_does_not_delay_another() {
        let mut open: Vec<OpenRun> = (0..1000).map(|n| run(&format!("a{n}"), "a", Status::Queued, false)).collect();
        open.push(run("b", "b", Status::Queued, false));
        let live = HashMap::from([("x".to_owned(), sandbox(0))]);
        open.insert(0, run("x", "a", Status::Running, false));
        let actions = plan(&Seen {
            open: &open,
            observed: &[],
            live: &live,
            capacity: 2,
            draining: false,
            warm: &[],
            logins: Logins::default(),
            desktops: Desktops::default(),
        });
        assert_eq!(actions, [Action::Start("b".into())]);
    }

    #[test]
    fn what_an_earlier_server_left_is_ended_and_destroyed() {
        let open = [
            run("a", "u", Status::Running, false),
            run("b", "u", Status::Queued, true),
            run("c", "u", Status::Running, true),
        ];
        let observed = [Observed { id: sandbox(1), phase: Phase::Running }];
        let actions = plan(&Seen {
            open: &open,
            observed: &observed,
            live: &HashMap::new(),
            capacity: 4,
            draining: false,
            warm: &[],
            logins: Logins::default(),
            desktops: Desktops::default(),
        });
        assert_eq!(
            actions,
            [
                Action::Destroy(sandbox(1)),
                Action::EndInterrupted("a".into()),
                Action::EndCancelled("b".into()),
                Action::EndCancelled("c".into())
            ]
        );
    }

    #[test]
    fn what_still_runs_is_adopted_and_what_had_not_begun_begins_anew() {
        let in_sandbox = |id: &str, n: u8| OpenRun {
            sandbox_id: Some(sandbox(n).to_string()),
            ..run(id, "u", Status::Running, false)
        };
        let open = [
            in_sandbox("runs", 1),
            in_sandbox("ended", 2),
            OpenRun { began: false, ..in_sandbox("half made", 3) },
            OpenRun { began: false, ..in_sandbox("gone", 4) },
            OpenRun { began: false, attempts: ATTEMPTS, ..in_sandbox("hopeless", 5) },
            OpenRun { cancelled: true, ..in_sandbox("cancelled", 6) },
            run("waits", "u", Status::Queued, false),
        ];
        let observed = [
            Observed { id: sandbox(1), phase: Phase::Running },
            Observed { id: sandbox(2), phase: Phase::Ended { out_of_memory: false } },
            Observed { id: sandbox(3), phase: Phase::Partial },
            Observed { id: sandbox(6), phase: Phase::Running },
        ];
        let seen = Seen {
            open: &open,
            observed: &observed,
            live: &HashMap::new(),
            capacity: 1,
            draining: false,
            warm: &[],
            logins: Logins::default(),
            desktops: Desktops::default(),
        };
        assert_eq!(
            plan(&seen),
            [
                Action::Destroy(sandbox(2)),
                Action::Destroy(sandbox(3)),
                Action::Adopt("runs".into(), sandbox(1)),
                Action::EndInterrupted("ended".into()),
                Action::PutBack("half made".into()),
                Action::PutBack("gone".into()),
                Action::EndInterrupted("hopeless".into()),
                Action::Adopt("cancelled".into(), sandbox(6)),
                Action::Stop("cancelled".into()),
            ]
        );
    }

    #[test]
    fn who_may_refresh_a_login_has_it_alone_and_delays_nobody_else() {
        let key = ("u".to_owned(), "claude".to_owned());
        let logins = |fresh_until| {
            let login = Login { user_id: key.0.clone(), provider: key.1.clone(), fresh_until, ..Login::default() };
            Logins { now: 0, of: HashMap::from([(key.clone(), (login, 1000))]) }
        };
        let open: Vec<OpenRun> = [("a", "u"), ("b", "u"), ("c", "other"), ("d", "u")]
            .map(|(id, user)| run(id, user, Status::Queued, false))
            .into();
        let started = |logins: Logins| -> Vec<Action> {
            let (live, observed) = (HashMap::new(), []);
            let (open, observed) = (&open[..], &observed[..]);
            plan(&Seen {
                open,
                observed,
                live: &live,
                capacity: 9,
                draining: false,
                warm: &[],
                logins,
                desktops: Desktops::default(),
            })
        };
        let start = |ids: &[&str]| ids.iter().map(|id| Action::Start((*id).into())).collect::<Vec<_>>();
        // Each may take a minute, and the tool is a second early.
        assert_eq!(started(logins(61_001)), start(&["a", "c", "b", "d"]), "they share what stays fresh");
        assert_eq!(started(logins(61_000)), start(&["a", "c"]), "one has it alone; the others wait");
        let mut taken = logins(61_001);
        taken.of.get_mut(&key).unwrap().0.exclusive = 1;
        assert_eq!(started(taken), start(&["c"]));
        // A long one waits for those who share; a short one that came later does not pass it.
        let mut long_first = open.clone();
        long_first[0].timeout_s = 3600;
        let mut shared = logins(61_001);
        shared.of.get_mut(&key).unwrap().0.shared = 1;
        let seen = Seen {
            open: &long_first,
            observed: &[],
            live: &HashMap::new(),
            capacity: 9,
            draining: false,
            warm: &[],
            logins: shared,
            desktops: Desktops::default(),
        };
        assert_eq!(plan(&seen), start(&["c"]));
        // One that begins counts, though its lease is not taken yet.
        let live = HashMap::from([("a".to_owned(), sandbox(0))]);
        let seen = Seen {
            open: &open,
            observed: &[],
            live: &live,
            capacity: 9,
            draining: false,
            warm: &[],
            logins: logins(61_000),
            desktops: Desktops::default(),
        };
        assert_eq!(plan(&seen), start(&["c"]));
        let mut shared = logins(61_000);
        shared.of.get_mut(&key).unwrap().0.shared = 1;
        assert_eq!(started(shared), start(&["c"]));
    }

    proptest! {
        /// Never over capacity, never a live sandbox destroyed, never a run started twice or out of turn.
        #[test]
        fn plans_are_sound(
            runs in prop::collection::vec((0..3u8, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()), 0..26),
            observed in prop::collection::btree_set(0..26u8, 0..10),
            capacity in 0..6usize,
            draining: bool,
        ) {
            let mut live = HashMap::new();
            let open: Vec<OpenRun> = runs.iter().enumerate().map(|(n, (user, running, is_live, cancelled, began))| {
                let id = format!("r{n}");
                if *running && *is_live {
                    live.insert(id.clone(), sandbox(n as u8));
                }
                let status = if *running { Status::Running } else { Status::Queued };
                let sandbox_id = running.then(|| sandbox(n as u8).to_string());
                OpenRun { sandbox_id, began: *running && *began, ..run(&id, &user.to_string(), status, *cancelled) }
            }).collect();
            let observed: Vec<Observed> = observed.into_iter().map(|n| Observed { id: sandbox(n), phase: Phase::Running }).collect();
            let actions = plan(&Seen { open: &open, observed: &observed, live: &live, capacity, draining, warm: &[], logins: Logins::default(), desktops: Desktops::default() });
            let started: Vec<&String> = actions.iter().filter_map(|a| match a { Action::Start(id) => Some(id), _ => None }).collect();
            let adopted: Vec<&SandboxId> = actions.iter().filter_map(|a| match a { Action::Adopt(_, id) => Some(id), _ => None }).collect();
            prop_assert!(started.is_empty() || started.len() + live.len() + adopted.len() <= capacity);
            prop_assert!(!draining || adopted.is_empty());
            prop_assert!(!draining || started.is_empty());
            for id in &started {
                let run = open.iter().find(|run| run.id == **id).unwrap();
                prop_assert!(run.status == Status::Queued && !run.cancelled);
            }
            for action in &actions {
                if let Action::Destroy(id) = action {
                    prop_assert!(!live.values().any(|mine| mine == id) && !adopted.contains(&id));
                }
            }
            prop_assert!(started.iter().collect::<HashSet<_>>().len() == started.len());
        }
    }
}
