//! A bounded cache for what is cheap to make again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Two generations: when the young one is full it becomes the old one, and what
/// was in the old one and not asked for since is forgotten.
pub struct Cache<K, V> {
    capacity: usize,
    generations: Mutex<[HashMap<K, V>; 2]>,
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    /// Holds at most `capacity` values.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, generations: Mutex::new([HashMap::new(), HashMap::new()]) }
    }

    /// The value of `key`, made when it is not there.
    pub fn get_or(&self, key: K, make: impl FnOnce() -> V) -> V {
        if let Some(found) = self.get(&key) {
            return found;
        }
        // Made outside the lock: two threads may both make it, and both are right.
        let value = make();
        self.put(key, value.clone());
        value
    }

    /// The value of `key`, if it is still there.
    pub fn get(&self, key: &K) -> Option<V> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *generations;
        if let Some(found) = young.get(key) {
            return Some(found.clone());
        }
        let (key, value) = old.remove_entry(key)?;
        young.insert(key, value.clone());
        Some(value)
    }

    /// Keeps a value.
    pub fn put(&self, key: K, value: V) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if generations[0].len() >= self.capacity.div_ceil(2) {
            generations.swap(0, 1);
            generations[0].clear();
        }
        generations[0].insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let cache = Cache::new(8);
        for number in 0..100 {
            assert_eq!(cache.get_or(number, || number * 2), number * 2);
            assert_eq!(cache.get_or(0, || panic!("asked for all the time")), 0);
        }
        let generations = cache.generations.lock().unwrap();
        assert!(generations[0].len() + generations[1].len() <= 9);
    }
}
