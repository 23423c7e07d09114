//! Wakes those who follow a run when it has new events.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

type Senders = HashMap<String, watch::Sender<i64>>;

/// A wake-up call for each run that somebody follows. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Hub(Arc<Mutex<Senders>>);

/// Somebody who follows a run, until dropped.
#[derive(Debug)]
pub struct Follower {
    hub: Hub,
    run: String,
    woken: watch::Receiver<i64>,
}

impl Hub {
    /// Follows a run: whatever is told from now on wakes the follower.
    pub fn subscribe(&self, run: &str) -> Follower {
        let woken = self.senders().entry(run.to_owned()).or_insert_with(|| watch::channel(0).0).subscribe();
        Follower { hub: self.clone(), run: run.to_owned(), woken }
    }

    /// Tells that events of the run up to number `seq` are stored.
    pub fn notify(&self, run: &str, seq: i64) {
        if let Some(sender) = self.senders().get(run) {
            sender.send_replace(seq);
        }
    }

    fn senders(&self) -> MutexGuard<'_, Senders> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// What was told until now no longer wakes. To be called before a look at the database, so that
    /// what is stored after that look does.
    pub fn look(&mut self) {
        self.woken.mark_unchanged();
    }

    /// Waits until something is told that was not before the last [`Follower::look`].
    pub async fn woken(&mut self) {
        // A sender lives as long as its followers.
        let _ = self.woken.changed().await;
    }
}

impl Drop for Follower {
    /// The last one to leave takes the run's entry along: runs that are over are told of no more.
    fn drop(&mut self) {
        let mut senders = self.hub.senders();
        if senders.get(&self.run).is_some_and(|sender| sender.receiver_count() <= 1) {
            senders.remove(&self.run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Hub;

    #[tokio::test]
    async fn nothing_is_missed_and_nothing_is_kept() {
        let hub = Hub::default();
        let mut one = hub.subscribe("run_1");
        one.look();
        hub.notify("run_1", 1);
        one.woken().await;
        let mut two = hub.subscribe("run_1");
        drop(one);
        two.look();
        hub.notify("run_1", 2);
        two.woken().await;
        drop(two);
        assert!(hub.senders().is_empty());
    }
}
