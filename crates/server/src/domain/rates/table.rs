//! A table of bounded size, which is what counts are kept in: whoever has many addresses cannot make it grow.

use governor::{nanos::Nanos, state::StateStore};
use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The most entries of a table: some 2 MiB.
const MOST: usize = 16 * 1024;

/// Values by key. Where there are too many, the smaller half of them goes: times, of which the smallest tells least.
#[derive(Debug)]
pub(super) struct Table<K, V>(Mutex<HashMap<K, V>>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq + Clone, V: Ord + Copy> Table<K, V> {
    /// The value of this key.
    pub(super) fn get(&self, key: &K) -> Option<V> {
        self.rows().get(key).copied()
    }

    /// Puts a value there, and tells the one before it.
    pub(super) fn put(&self, key: K, value: V) -> Option<V> {
        put(&mut self.rows(), key, value)
    }

    /// Takes a value away.
    pub(super) fn remove(&self, key: &K) {
        self.rows().remove(key);
    }

    fn rows(&self) -> MutexGuard<'_, HashMap<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn put<K: Hash + Eq, V: Ord + Copy>(rows: &mut HashMap<K, V>, key: K, value: V) -> Option<V> {
    if rows.len() >= MOST && !rows.contains_key(&key) {
        let mut values: Vec<V> = rows.values().copied().collect();
        let (_, median, _) = values.select_nth_unstable(MOST / 2);
        rows.retain(|_, value| *value > *median);
    }
    rows.insert(key, value)
}

/// Governor's state of a key is when it will have spent nothing: who has spent most stays longest.
impl<K: Hash + Eq + Clone + fmt::Debug> StateStore for Table<K, Nanos> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut rows = self.rows();
        let (outcome, state) = measure(rows.get(key).copied())?;
        put(&mut rows, key.clone(), state);
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::{Quota, RateLimiter, clock::FakeRelativeClock, middleware::NoOpMiddleware};
    use std::{num::NonZeroU32, time::Duration};

    #[test]
    fn it_is_bounded_and_keeps_who_has_spent_most() {
        let clock = FakeRelativeClock::default();
        let quota = Quota::per_second(NonZeroU32::new(20).unwrap());
        let limiter: RateLimiter<_, _, _, NoOpMiddleware<Nanos>> =
            RateLimiter::new(quota, Table::default(), clock.clone());
        while limiter.check_key(&u128::MAX).is_ok() {}
        for n in 0..200_000_u128 {
            limiter.check_key(&n).unwrap();
            if n % 1000 == 0 {
                assert!(limiter.check_key(&u128::MAX).is_err(), "{n}");
            }
        }
        clock.advance(Duration::from_secs(1));
        limiter.check_key(&u128::MAX).unwrap();
        let table = limiter.into_state_store();
        assert!(table.rows().len() <= MOST && table.rows().capacity() < 4 * MOST);
    }

    #[test]
    fn the_oldest_go() {
        let table = Table::default();
        for n in 0..10 * MOST {
            assert_eq!(table.put(n, n), None);
            assert_eq!((table.get(&n), table.put(n, n)), (Some(n), Some(n)));
        }
        assert!(table.rows().len() <= MOST && table.get(&0).is_none());
        table.remove(&(10 * MOST - 1));
        assert_eq!(table.get(&(10 * MOST - 1)), None);
        // All the same: they go together, and there is room again.
        let table = Table::default();
        for n in 0..=MOST {
            table.put(n, 0);
        }
        assert_eq!(table.rows().len(), 1);
    }
}
