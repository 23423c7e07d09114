//! The logins' part of the plan.

use super::{Action, Seen};
use crate::{domain::login::Status, store::logins::OpenLogin};
use polydev_sandbox::{Phase, SandboxId};
use std::collections::{HashMap, HashSet};

/// The logins, and who works on them.
#[derive(Debug, Clone, Default)]
pub struct Desktops {
    /// Every login that is not over, oldest first.
    pub open: Vec<OpenLogin>,
    /// The logins that a task of this process works on, with their sandboxes.
    pub live: HashMap<String, SandboxId>,
    /// When the pass looks, Unix milliseconds.
    pub now: i64,
}

/// What to do with a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginAction {
    /// Give it a desktop.
    Start(String),
    /// An earlier server made its desktop, which still runs: go on with it.
    Adopt(String, SandboxId),
    /// An earlier server did not come to make its desktop.
    PutBack(String),
    /// Tell its task to stop: somebody cancelled it.
    Stop(String),
    /// No task works on it, and none needs to.
    End(String, End),
}

/// Why a login ends that no task works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Somebody cancelled it.
    Cancelled,
    /// Its time is over.
    Expired,
    /// Its desktop is gone.
    Lost,
}

impl Desktops {
    /// The sandboxes that are a login's, whose task has them or will.
    pub(super) fn used<'a>(&'a self, seen: &'a Seen<'_>) -> HashSet<&'a SandboxId> {
        let adopted = self.open.iter().filter_map(|login| self.adoptable(login, seen));
        self.live.values().chain(adopted).collect()
    }

    /// Its sandbox, if that runs and nobody works on it.
    fn adoptable<'a>(&self, login: &OpenLogin, seen: &'a Seen<'_>) -> Option<&'a SandboxId> {
        let wanted = !login.cancelled && !seen.draining && !self.live.contains_key(&login.id);
        // What is verified is looked at to the end, and takes its time.
        let in_time = self.now < login.expires_at || login.status == Status::Verifying;
        let sandbox = login.sandbox_id.as_deref().filter(|_| wanted && in_time)?;
        let runs =
            |observed: &&polydev_sandbox::Observed| observed.phase == Phase::Running && observed.id.as_str() == sandbox;
        Some(&seen.observed.iter().find(runs)?.id)
    }

    /// What becomes of each login.
    pub(super) fn plan(&self, seen: &Seen<'_>, actions: &mut Vec<Action>) {
        for login in &self.open {
            let id = || login.id.clone();
            let action = if self.live.contains_key(&login.id) {
                login.cancelled.then(|| LoginAction::Stop(id()))
            } else if let Some(sandbox) = self.adoptable(login, seen) {
                Some(LoginAction::Adopt(id(), sandbox.clone()))
            } else if login.cancelled {
                Some(LoginAction::End(id(), End::Cancelled))
            } else {
                match login.status {
                    Status::Requested | Status::Preparing | Status::Ready if self.now >= login.expires_at => {
                        Some(LoginAction::End(id(), End::Expired))
                    }
                    Status::Requested => (!seen.draining).then(|| LoginAction::Start(id())),
                    // A server that stops ends it: its desktop goes too.
                    Status::Preparing if !seen.draining => Some(LoginAction::PutBack(id())),
                    Status::Preparing | Status::Ready | Status::Verifying => Some(LoginAction::End(id(), End::Lost)),
                    Status::Connected | Status::Failed | Status::Expired | Status::Cancelled => None,
                }
            };
            actions.extend(action.map(Action::Login));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Logins, plan},
        *,
    };
    use polydev_sandbox::Observed;
    use proptest::prelude::*;

    fn sandbox(n: u8) -> SandboxId {
        let c = char::from(b'a' + n % 26);
        format!("sbx_{}", c.to_string().repeat(16)).parse().unwrap()
    }

    fn planned(desktops: Desktops, observed: &[Observed], draining: bool) -> Vec<Action> {
        let live = HashMap::new();
        plan(&Seen {
            open: &[],
            observed,
            live: &live,
            capacity: 4,
            draining,
            warm: &[],
            logins: Logins::default(),
            desktops,
        })
    }

    fn login(id: &str, status: Status, sandbox_id: Option<u8>) -> OpenLogin {
        let sandbox_id = sandbox_id.map(|n| sandbox(n).to_string());
        OpenLogin { id: id.into(), status, cancelled: false, sandbox_id, expires_at: 100 }
    }

    fn running(n: u8) -> Observed {
        Observed { id: sandbox(n), phase: Phase::Running }
    }

    #[test]
    fn what_an_earlier_server_left_goes_on() {
        let open = vec![
            login("waits", Status::Requested, None),
            login("boots", Status::Preparing, Some(1)),
            login("half made", Status::Preparing, Some(2)),
            login("ready", Status::Ready, Some(3)),
            login("looked at", Status::Verifying, Some(4)),
            login("lost", Status::Ready, Some(5)),
            OpenLogin { cancelled: true, ..login("cancelled", Status::Ready, Some(6)) },
            OpenLogin { expires_at: 9, ..login("late", Status::Ready, Some(7)) },
            OpenLogin { expires_at: 9, ..login("late, looked at", Status::Verifying, Some(8)) },
        ];
        let partial = Observed { id: sandbox(2), phase: Phase::Partial };
        let observed = [running(1), partial, running(3), running(4), running(6), running(7), running(8), running(9)];
        let adopt = |id: &str, n| Action::Login(LoginAction::Adopt(id.into(), sandbox(n)));
        let end = |id: &str, why| Action::Login(LoginAction::End(id.into(), why));
        assert_eq!(
            planned(Desktops { open, live: HashMap::new(), now: 10 }, &observed, false),
            [
                Action::Destroy(sandbox(2)),
                Action::Destroy(sandbox(6)),
                Action::Destroy(sandbox(7)),
                Action::Destroy(sandbox(9)),
                Action::Login(LoginAction::Start("waits".into())),
                adopt("boots", 1),
                Action::Login(LoginAction::PutBack("half made".into())),
                adopt("ready", 3),
                adopt("looked at", 4),
                end("lost", End::Lost),
                end("cancelled", End::Cancelled),
                end("late", End::Expired),
                adopt("late, looked at", 8),
            ]
        );
    }

    #[test]
    fn a_server_that_stops_begins_nothing() {
        let open = vec![
            login("waits", Status::Requested, None),
            login("boots", Status::Preparing, Some(1)),
            login("ready", Status::Ready, Some(2)),
        ];
        let lost = |id: &str| Action::Login(LoginAction::End(id.into(), End::Lost));
        assert_eq!(
            planned(Desktops { open, live: HashMap::new(), now: 10 }, &[running(1), running(2)], true),
            [Action::Destroy(sandbox(1)), Action::Destroy(sandbox(2)), lost("boots"), lost("ready")]
        );
    }

    fn statuses() -> impl Strategy<Value = Status> {
        prop_oneof![Just(Status::Requested), Just(Status::Preparing), Just(Status::Ready), Just(Status::Verifying)]
    }

    proptest! {
        /// One thing at most is done with a login, and no sandbox of one is destroyed that goes on.
        #[test]
        fn plans_are_sound(
            logins in prop::collection::vec((statuses(), any::<bool>(), any::<bool>(), 0..20i64), 0..20),
            observed in prop::collection::btree_set(0..26u8, 0..20),
            draining: bool,
        ) {
            let mut live = HashMap::new();
            let open: Vec<OpenLogin> = logins.iter().enumerate().map(|(n, (status, cancelled, is_live, expires_at))| {
                let id = format!("l{n}");
                if *is_live {
                    live.insert(id.clone(), sandbox(n as u8));
                }
                let sandbox_id = (*status != Status::Requested).then(|| sandbox(n as u8).to_string());
                OpenLogin { id, status: *status, cancelled: *cancelled, sandbox_id, expires_at: *expires_at }
            }).collect();
            let observed: Vec<Observed> = observed.into_iter().map(running).collect();
            let actions = planned(Desktops { open: open.clone(), live: live.clone(), now: 10 }, &observed, draining);
            let of = |action: &Action| match action {
                Action::Login(
                    LoginAction::Start(id) | LoginAction::Adopt(id, _) | LoginAction::PutBack(id)
                    | LoginAction::Stop(id) | LoginAction::End(id, _),
                ) => Some(id.clone()),
                _other => None,
            };
            let mut done: Vec<String> = actions.iter().filter_map(of).collect();
            done.sort();
            let times = done.len();
            done.dedup();
            prop_assert_eq!(times, done.len());
            for action in &actions {
                match action {
                    Action::Destroy(id) => {
                        prop_assert!(!live.values().any(|mine| mine == id));
                        let adopted = actions.iter().any(|other| matches!(other, Action::Login(LoginAction::Adopt(_, sandbox)) if sandbox == id));
                        prop_assert!(!adopted);
                    }
                    Action::Login(LoginAction::Start(_) | LoginAction::Adopt(..) | LoginAction::PutBack(_)) => prop_assert!(!draining),
                    Action::Login(LoginAction::Stop(id)) => prop_assert!(live.contains_key(id)),
                    Action::Login(LoginAction::End(id, _)) => prop_assert!(!live.contains_key(id)),
                    _other => prop_assert!(false, "{:?}", action),
                }
            }
            for login in open.iter().filter(|login| login.cancelled) {
                let id = login.id.clone();
                let wanted = if live.contains_key(&id) { LoginAction::Stop(id) } else { LoginAction::End(id, End::Cancelled) };
                prop_assert!(actions.contains(&Action::Login(wanted)));
            }
        }
    }
}
