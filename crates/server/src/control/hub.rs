//! Wakes those who follow a run when it has new events.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};
use tokio::sync::watch;

/// A wake-up call for each run that somebody follows.
#[derive(Debug, Default)]
pub struct Hub {
    runs: Mutex<HashMap<String, watch::Sender<i64>>>,
}

impl Hub {
    /// A receiver that changes when the run has new events.
    pub fn subscribe(&self, run: &str) -> watch::Receiver<i64> {
        self.runs().entry(run.to_owned()).or_insert_with(|| watch::channel(0).0).subscribe()
    }

    /// Tells that events of the run up to number `seq` are stored.
    pub fn notify(&self, run: &str, seq: i64) {
        let mut runs = self.runs();
        if let Some(sender) = runs.get(run) {
            sender.send_replace(seq);
            // The last follower has left: the next one makes a new channel.
            if sender.receiver_count() == 0 {
                runs.remove(run);
            }
        }
    }

    fn runs(&self) -> std::sync::MutexGuard<'_, HashMap<String, watch::Sender<i64>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
