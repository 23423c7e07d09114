//! Who looks at which login's screen: one at a time, until another takes over.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio_util::sync::CancellationToken;

/// By login, its viewer's number, and what tells them to go.
type Seats = HashMap<String, (u64, CancellationToken)>;

/// The viewers of all screens. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Viewers(Arc<Mutex<Seats>>);

/// A viewer's place before a screen, until dropped.
#[derive(Debug)]
pub struct Seat {
    viewers: Viewers,
    login: String,
    number: u64,
    taken: CancellationToken,
}

impl Viewers {
    /// The place before this screen: if it is free, or else if `over` says to take over from who has it.
    pub fn take(&self, login: &str, over: bool) -> Option<Seat> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut seats = self.seats();
        if let Some((_, taken)) = seats.get(login) {
            if !over {
                return None;
            }
            taken.cancel();
        }
        let (number, taken) = (NEXT.fetch_add(1, Ordering::Relaxed), CancellationToken::new());
        seats.insert(login.to_owned(), (number, taken.clone()));
        Some(Seat { viewers: self.clone(), login: login.to_owned(), number, taken })
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Waits until another has taken it.
    pub async fn taken(&self) {
        self.taken.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.viewers.seats();
        if seats.get(&self.login).is_some_and(|(number, _)| *number == self.number) {
            seats.remove(&self.login);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Viewers;

    #[tokio::test]
    async fn one_looks_at_a_time_and_whoever_took_over_stays() {
        let viewers = Viewers::default();
        let first = viewers.take("lgn_1", false).unwrap();
        assert!(viewers.take("lgn_1", false).is_none());
        assert!(viewers.take("lgn_2", false).is_some(), "another screen");
        let second = viewers.take("lgn_1", true).unwrap();
        first.taken().await;
        drop(first);
        assert!(viewers.take("lgn_1", false).is_none(), "the second has it");
        drop(second);
        assert!(viewers.take("lgn_1", false).is_some());
    }
}
