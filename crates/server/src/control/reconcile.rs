//! One pass of the reconciler: look, plan, act.

use super::{
    Inner, Live, Runs, UNBEGUN, chain, console,
    plan::{Action, Desktops, Seen, plan},
    progress, readback,
    run::{self, Begin},
};
use crate::{
    domain::{
        failure::{Code, Failure},
        time,
    },
    store::{StoreError, runs::End},
};
use polydev_sandbox::{Sandbox, SandboxId, image::Kind, machine::State};
use std::collections::{HashMap, HashSet};
use tokio_util::sync::CancellationToken;

impl Runs {
    /// One pass. It may run at any time; what is right already is left alone.
    pub async fn reconcile(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let inner = &self.0;
        // What enters the pool enters it by a pass, so that nothing of it can be seen below and not here.
        let warm = inner.warm();
        // The driver is asked before the tasks are looked at: a sandbox that is seen belonged to a task then,
        // and if that task has ended since, to destroy it again does nothing.
        let observed = inner.driver.observe().await?;
        let open = inner.store.open_runs().await?;
        let logins = readback::of_waiting(inner, &open).await?;
        let open_logins = inner.store.open_logins().await?;
        let actions = {
            let sandboxes = |live: &HashMap<String, Live>| {
                live.iter().map(|(id, live)| (id.clone(), live.sandbox.clone())).collect::<HashMap<_, _>>()
            };
            let live = sandboxes(&inner.live());
            let at_desktops = sandboxes(&inner.desktops());
            plan(&Seen {
                open: &open,
                observed: &observed,
                live: &live,
                capacity: inner.config.runs.max_concurrent as usize,
                draining: inner.draining.is_cancelled(),
                warm: &warm,
                logins,
                desktops: Desktops { open: open_logins, live: at_desktops, now: time::now_ms() },
            })
        };
        for action in actions {
            // What goes wrong with one run is no reason to leave the others alone.
            if let Err(error) = self.act(action.clone()).await {
                tracing::error!(?action, error = chain(&error), "it could not be done; the next pass tries again");
            }
        }
        inner.looked.cancel();
        // The rows are read first: a sandbox that gets one from here on is none of these.
        let standing = inner.store.standing_sandboxes().await?;
        let alive: HashSet<String> = observed
            .iter()
            .map(|seen| seen.id.to_string())
            .chain(inner.live().values().map(|live| live.sandbox.to_string()))
            .chain(inner.desktops().values().map(|live| live.sandbox.to_string()))
            .chain(inner.pools().sandboxes().map(ToString::to_string))
            .collect();
        for gone in standing.iter().filter(|id| !alive.contains(*id)) {
            inner.store.set_sandbox(gone, &State::Gone, time::now_ms()).await?;
        }
        Ok(())
    }

    /// Does one thing of a plan.
    async fn act(&self, action: Action) -> Result<(), StoreError> {
        let inner = &self.0;
        match action {
            Action::Start(run) => self.start(run, None),
            Action::Adopt(run, sandbox) => self.start(run, Some(sandbox)),
            Action::PutBack(run) => inner.put_back(&run, UNBEGUN).await?,
            Action::Stop(run) => {
                if let Some(live) = inner.live().get(&run) {
                    live.stop.cancel();
                }
            }
            Action::EndCancelled(run) => {
                inner.finish(&run, &End::Cancelled).await?;
                inner.poke.notify_one();
            }
            Action::EndInterrupted(run) => {
                tracing::warn!(run, "nothing works on this run any more");
                let interrupted = || {
                    let words = "the run's sandbox ended while no server watched over it";
                    let hint = "The server or its host was stopped, or the database was out of reach. Run it again.";
                    End::Failed { error: Failure::new(Code::Interrupted, words).hint(hint) }
                };
                // The tool may have said its last before.
                let end = progress::end(inner, &run).await?.unwrap_or_else(interrupted);
                inner.finish(&run, &end).await?;
                inner.poke.notify_one();
            }
            Action::Destroy(sandbox) => {
                tracing::warn!(%sandbox, "destroying a sandbox that nobody uses");
                console::keep_of_nobody(inner, &sandbox).await;
                if let Err(error) = inner.driver.destroy(&sandbox).await {
                    tracing::error!(%sandbox, %error, "it could not be destroyed; the next pass tries again");
                }
            }
            Action::Park(kind) => inner.park(kind),
            Action::Discard(kind, sandbox) => inner.discard(kind, &sandbox),
            Action::Login(action) => self.logins().act(action).await?,
        }
        Ok(())
    }

    /// Starts the task of a run, with the sandbox that was found for it if there is one, unless the server is
    /// stopping.
    fn start(&self, id: String, found: Option<SandboxId>) {
        let inner = self.0.clone();
        let stop = CancellationToken::new();
        let mut live = self.0.live();
        // Two passes at a time may have planned the same.
        if self.0.draining.is_cancelled() || live.contains_key(&id) {
            return;
        }
        let (begin, sandbox) = match found {
            None => (Begin::Fresh, inner.sandbox(Kind::Cli)),
            Some(found) => (Begin::Adopted, Sandbox::found(inner.driver.clone(), found)),
        };
        let (of, starting) = (sandbox.id().clone(), begin == Begin::Fresh);
        live.insert(id.clone(), Live::new(of, stop.clone(), starting));
        self.0.tasks.spawn(async move {
            // However it ends, by a panic too.
            let _leave = Leave { inner: &inner, id: &id };
            run::run(&inner, &id, begin, sandbox, &stop).await;
        });
    }
}

/// A task's place, given back when dropped.
struct Leave<'a> {
    inner: &'a Inner,
    id: &'a str,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.inner.live().remove(self.id);
        self.inner.poke.notify_one();
    }
}
