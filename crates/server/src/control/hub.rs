//! Wakes those who follow a run or a login when it has new events, and tells people what of theirs has changed.
//!
//! ```text
//!   events are stored ─► notify ──► the followers of that one, who read them from the database
//!   a row has changed ─► changed ─► the feeds of its owner: which one it was, and no more
//!   the server stops ──► close ───► everybody, who may come back to the next one
//! ```

use crate::domain::change::Change;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{
    broadcast::{self, error::RecvError},
    watch,
};
use tokio_util::sync::CancellationToken;

/// How many changes wait for a reader. One that is further behind is told to look for itself.
const FEED_MAX: usize = 128;

type Followed = HashMap<String, watch::Sender<i64>>;
type People = HashMap<String, broadcast::Sender<Change>>;

/// A wake-up call for each run and login that somebody follows, and for each person who listens. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Hub(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// By the id of a run or a login.
    followed: Mutex<Followed>,
    people: Mutex<People>,
    closed: CancellationToken,
}

/// Somebody who follows a run or a login, until dropped.
#[derive(Debug)]
pub struct Follower {
    hub: Hub,
    id: String,
    woken: watch::Receiver<i64>,
}

/// Somebody who is told what of theirs has changed, until dropped.
#[derive(Debug)]
pub struct Feed {
    hub: Hub,
    person: String,
    changes: broadcast::Receiver<Change>,
}

impl Hub {
    /// Follows a run or a login: whatever is told from now on wakes the follower.
    pub fn subscribe(&self, id: &str) -> Follower {
        let woken = self.followed().entry(id.to_owned()).or_insert_with(|| watch::channel(0).0).subscribe();
        Follower { hub: self.clone(), id: id.to_owned(), woken }
    }

    /// Tells that events of a run or a login up to number `seq` are stored.
    pub fn notify(&self, id: &str, seq: i64) {
        if let Some(sender) = self.followed().get(id) {
            sender.send_replace(seq);
        }
    }

    /// What changes of this person's from now on.
    pub fn feed(&self, person: &str) -> Feed {
        let changes =
            self.people().entry(person.to_owned()).or_insert_with(|| broadcast::channel(FEED_MAX).0).subscribe();
        Feed { hub: self.clone(), person: person.to_owned(), changes }
    }

    /// Tells a person that something of theirs has changed. It is stored already.
    pub fn changed(&self, person: &str, change: Change) {
        if let Some(sender) = self.people().get(person) {
            // Nobody hears it who left just now.
            let _ = sender.send(change);
        }
    }

    /// Whether anybody wants to know what changes.
    pub fn has_feeds(&self) -> bool {
        !self.people().is_empty()
    }

    /// How many follow runs and logins, and how many are told what changes of theirs.
    pub fn readers(&self) -> (usize, usize) {
        let following = self.followed().values().map(watch::Sender::receiver_count).sum();
        let listening = self.people().values().map(broadcast::Sender::receiver_count).sum();
        (following, listening)
    }

    /// Lets everybody go: the server stops, and nothing more will happen here.
    pub fn close(&self) {
        self.0.closed.cancel();
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.0.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn people(&self) -> MutexGuard<'_, People> {
        self.0.people.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follower {
    /// What was told until now no longer wakes. To be called before a look at the database, so that
    /// what is stored after that look does.
    pub fn look(&mut self) {
        self.woken.mark_unchanged();
    }

    /// Waits until something is told that was not before the last [`Follower::look`].
    /// `false`: nothing will be any more, the server stops.
    pub async fn woken(&mut self) -> bool {
        tokio::select! {
            biased;
            // A sender lives as long as its followers.
            _ = self.woken.changed() => true,
            () = self.hub.0.closed.cancelled() => false,
        }
    }
}

impl Feed {
    /// The next change. `None`: there will be no more, the server stops.
    pub async fn next(&mut self) -> Option<Change> {
        tokio::select! {
            biased;
            change = self.changes.recv() => match change {
                Ok(change) => Some(change),
                Err(RecvError::Lagged(_)) => Some(Change::RESYNC),
                // A sender lives as long as its feeds.
                Err(RecvError::Closed) => None,
            },
            () = self.hub.0.closed.cancelled() => None,
        }
    }
}

impl Drop for Follower {
    /// The last one to leave takes the entry along: what is over is told of no more.
    fn drop(&mut self) {
        let mut followed = self.hub.followed();
        if followed.get(&self.id).is_some_and(|sender| sender.receiver_count() <= 1) {
            followed.remove(&self.id);
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut people = self.hub.people();
        if people.get(&self.person).is_some_and(|sender| sender.receiver_count() <= 1) {
            people.remove(&self.person);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FEED_MAX, Hub};
    use crate::domain::change::Change;

    #[tokio::test]
    async fn nothing_is_missed_and_nothing_is_kept() {
        let hub = Hub::default();
        let mut one = hub.subscribe("run_1");
        one.look();
        hub.notify("run_1", 1);
        assert!(one.woken().await);
        let mut two = hub.subscribe("run_1");
        drop(one);
        two.look();
        hub.notify("run_1", 2);
        assert!(two.woken().await);
        two.look();
        hub.close();
        assert!(!two.woken().await, "the server stops");
        drop(two);
        assert!(hub.followed().is_empty());
    }

    #[tokio::test]
    async fn who_lags_is_told_to_look_and_hears_the_rest() {
        let hub = Hub::default();
        let (mut quick, mut slow) = (hub.feed("usr_1"), hub.feed("usr_1"));
        let _other = hub.feed("usr_2");
        for n in 0..FEED_MAX + 1 {
            let change = Change::run(&format!("run_{n}"));
            hub.changed("usr_1", change.clone());
            assert_eq!(quick.next().await, Some(change));
        }
        assert_eq!(slow.next().await, Some(Change::RESYNC));
        for n in 1..FEED_MAX + 1 {
            assert_eq!(slow.next().await, Some(Change::run(&format!("run_{n}"))));
        }
        hub.close();
        assert_eq!(slow.next().await, None);
        drop((quick, slow));
        assert_eq!(hub.people().keys().collect::<Vec<_>>(), ["usr_2"]);
    }
}
