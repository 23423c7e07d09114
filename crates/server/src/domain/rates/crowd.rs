//! So many at once, of each.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many are in, of each. Cheap to clone, and as large as all that are in.
#[derive(Debug, Clone)]
pub struct Crowd<K>(Arc<Mutex<HashMap<K, u32>>>);

/// A place in a [`Crowd`], until dropped.
#[derive(Debug)]
#[must_use]
pub struct Seat<K: Hash + Eq> {
    crowd: Crowd<K>,
    of: K,
}

impl<K> Default for Crowd<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Hash + Eq + Clone + fmt::Debug> Crowd<K> {
    /// Takes a place, where there are not yet `most` of these; 0 is any number.
    pub fn enter(&self, of: K, most: u32) -> Option<Seat<K>> {
        let mut counts = self.counts();
        let count = counts.entry(of.clone()).or_default();
        if most > 0 && *count >= most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Seat { crowd: self.clone(), of })
    }
}

impl<K> Crowd<K> {
    fn counts(&self) -> MutexGuard<'_, HashMap<K, u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut counts = self.crowd.counts();
        if let Some(count) = counts.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Crowd;

    #[test]
    fn who_leaves_makes_room_and_is_forgotten() {
        let crowd = Crowd::default();
        let seats: Vec<_> = (0..5).map_while(|_| crowd.enter("a", 3)).collect();
        assert_eq!(seats.len(), 3);
        let other = crowd.enter("b", 3);
        assert!(other.is_some() && crowd.enter("a", 3).is_none());
        drop(seats);
        assert_eq!(*crowd.counts(), [("b", 1)].into());
        let many: Vec<_> = (0..1000).map_while(|_| crowd.enter("a", 0)).collect();
        assert_eq!(many.len(), 1000);
    }
}
