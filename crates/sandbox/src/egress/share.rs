//! What a person's sandboxes may use of the way out together, and how they share it.
//!
//! ```text
//!   connection ─┐
//!   connection ─┼─► the sandbox's turn ─┐
//!   connection ─┘                       ├─► the person's pace ─► on
//!                   another sandbox's ──┘
//! ```
//! A sandbox waits for the person's pace with one connection at a time: however many it has, another
//! sandbox of the same person gets as much. The waiting is fair: who came first goes first.

use super::policy::Denial;
use crate::pace::Pace;
use std::{
    collections::HashMap,
    num::NonZeroU64,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// What is not used is kept for so long: a burst is a second's worth.
const BURST: Duration = Duration::from_secs(1);
/// How long a new connection waits for its turn before it is refused.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// How many names of a person are looked up at a time. A look-up holds a thread, for as long as the resolver takes.
const LOOKUPS: usize = 8;

/// What each person's sandboxes may use together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// `egress.max_connections`: that are open at a time. None: as many as they like.
    pub connections: Option<NonZeroU64>,
    /// `egress.connections_per_s`: that are begun in a second, on average.
    pub connections_per_s: Option<NonZeroU64>,
    /// `egress.mib_per_s`, in bytes: that are carried in a second, both ways together, on average.
    pub bytes_per_s: Option<NonZeroU64>,
}

/// The people who have sandboxes with a way out.
#[derive(Debug, Default)]
pub(super) struct People(Mutex<HashMap<String, Weak<Person>>>);

impl People {
    /// A share for one more sandbox of this person.
    pub(super) fn share(&self, person: &str, limits: &Limits) -> Share {
        let mut people = lock(&self.0);
        people.retain(|_, person| person.strong_count() > 0);
        let known = people.get(person).and_then(Weak::upgrade);
        let person = known.unwrap_or_else(|| {
            let new = Arc::new(Person::new(limits));
            people.insert(person.to_owned(), Arc::downgrade(&new));
            new
        });
        Share { person, opening: tokio::sync::Mutex::default(), carrying: tokio::sync::Mutex::default() }
    }
}

/// What one person's sandboxes have in common.
#[derive(Debug)]
struct Person {
    open: Option<Arc<Semaphore>>,
    opening: Option<Pace>,
    carrying: Option<Pace>,
    lookups: Arc<Semaphore>,
}

impl Person {
    fn new(limits: &Limits) -> Self {
        let places = |most: NonZeroU64| usize::try_from(most.get()).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        Self {
            open: limits.connections.map(|most| Arc::new(Semaphore::new(places(most)))),
            opening: limits.connections_per_s.map(|most| Pace::new(most, BURST)),
            carrying: limits.bytes_per_s.map(|most| Pace::new(most, BURST)),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
        }
    }
}

/// One sandbox's share of what its person may use.
#[derive(Debug)]
pub(super) struct Share {
    person: Arc<Person>,
    /// Held by the one connection that waits for the pace; the others wait for this.
    opening: tokio::sync::Mutex<()>,
    carrying: tokio::sync::Mutex<()>,
}

/// A connection's place among those of its person, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "held, not read")] Option<OwnedSemaphorePermit>);

impl Share {
    /// Waits for the turn of a new connection, and takes a place for it. Whoever floods waits: a refusal at once
    /// would be answered by the next attempt at once.
    pub(super) async fn open(&self) -> Result<Place, Denial> {
        if let Some(pace) = &self.person.opening {
            let turn = async {
                let _first = self.opening.lock().await;
                pace.wait(1).await;
            };
            timeout(TURN_TIMEOUT, turn).await.map_err(|_elapsed| Denial::TooManyConnections)?;
        }
        let Some(open) = &self.person.open else { return Ok(Place(None)) };
        match Arc::clone(open).try_acquire_owned() {
            Ok(place) => Ok(Place(Some(place))),
            Err(_none_left) => Err(Denial::TooManyConnections),
        }
    }

    /// Waits until so many bytes may go on.
    pub(super) async fn carry(&self, bytes: usize) {
        if let Some(pace) = &self.person.carrying {
            let _first = self.carrying.lock().await;
            pace.wait(bytes as u64).await;
        }
    }

    /// Waits until a name may be looked up. To be held until the resolver has answered.
    pub(super) async fn lookup(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.person.lookups).acquire_owned().await.expect("it is never closed")
    }
}

/// No writer leaves it half-written, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    fn limits(connections: u64, connections_per_s: u64, bytes_per_s: u64) -> Limits {
        Limits {
            connections: NonZeroU64::new(connections),
            connections_per_s: NonZeroU64::new(connections_per_s),
            bytes_per_s: NonZeroU64::new(bytes_per_s),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_s_worth_goes_at_once_and_the_rest_at_its_pace() {
        let people = People::default();
        let (one, other) = (people.share("ada", &limits(0, 0, 1000)), people.share("ada", &limits(0, 0, 1000)));
        let begun = Instant::now();
        one.carry(1000).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        one.carry(500).await;
        other.carry(500).await;
        assert_eq!(begun.elapsed().as_millis(), 1000, "both are one person's");
        people.share("bob", &limits(0, 0, 1000)).carry(1000).await;
        assert_eq!(begun.elapsed().as_millis(), 1000, "another person has their own");
    }

    #[tokio::test(start_paused = true)]
    async fn many_connections_of_one_sandbox_take_nothing_from_another() {
        let people = People::default();
        let of = || Arc::new(people.share("ada", &limits(0, 0, 1_000_000)));
        let (greedy, modest) = (of(), of());
        modest.carry(1_000_000).await; // what may go at once
        let begun = Instant::now();
        let load = |share: &Arc<Share>, connections: usize, rounds: usize| {
            let tasks = (0..connections).map(|_| {
                let share = Arc::clone(share);
                tokio::spawn(async move {
                    for _ in 0..rounds {
                        share.carry(10_000).await;
                    }
                })
            });
            futures_util::future::join_all(tasks.collect::<Vec<_>>())
        };
        let all = load(&greedy, 48, 20);
        load(&modest, 1, 200).await;
        // 2 MB, and as much of the greedy one's meanwhile.
        let took = begun.elapsed().as_secs_f64();
        assert!((3.9..4.2).contains(&took), "{took} s");
        all.await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_opens_too_many_waits_and_is_refused() {
        let people = People::default();
        let share = people.share("ada", &limits(2, 0, 0));
        let (one, _two) = (share.open().await.unwrap(), share.open().await.unwrap());
        assert_eq!(share.open().await.unwrap_err(), Denial::TooManyConnections);
        drop(one);
        share.open().await.unwrap();

        let share = Arc::new(people.share("bob", &limits(0, 10, 0)));
        let begun = Instant::now();
        for _ in 0..30 {
            share.open().await.unwrap();
        }
        assert_eq!(begun.elapsed().as_secs(), 2);
        let flood = (0..200).map(|_| {
            let share = Arc::clone(&share);
            tokio::spawn(async move { share.open().await.is_ok() })
        });
        let opened = futures_util::future::join_all(flood.collect::<Vec<_>>()).await;
        let opened = opened.into_iter().filter(|opened| *opened.as_ref().unwrap()).count();
        assert!((95..=101).contains(&opened), "{opened} within the time that one waits");
    }

    #[test]
    fn nobody_is_remembered_for_ever() {
        let people = People::default();
        for n in 0..100 {
            people.share(&format!("usr_{n}"), &Limits::default());
        }
        let _one = people.share("ada", &Limits::default());
        assert_eq!(lock(&people.0).len(), 1);
    }
}
