//! A map whose entries end by themselves.

use crate::random::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// How many entries every write looks at, to throw out those that have ended.
const SWEPT_PER_WRITE: usize = 4; // every entry is seen within a quarter as many writes as there are entries
/// The longest life there is. An instant farther off may not be representable.
pub(super) const LIFE_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Values by key, each with the instant at which it ends. One that has ended is as good as absent.
#[derive(Debug)]
pub(super) struct TtlMap<K, V> {
    entries: HashMap<K, TtlEntry<V>>,
    // Every key once, in the order in which the sweep visits them.
    round: std::collections::VecDeque<K>,
}

#[derive(Debug)]
struct TtlEntry<V> {
    // In a box: a table has room for up to twice as many entries as there are.
    value: Box<V>,
    ends: Instant,
}

impl<K, V> Default for TtlMap<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::default(),
            round: std::collections::VecDeque::new(),
        }
    }
}

impl<K: Hash + Eq + Clone, V> TtlMap<K, V> {
    /// The living value under `key`.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries
            .get(key)
            .filter(|entry| entry.ends > Instant::now())
            .map(|entry| &*entry.value)
    }

    /// The living value under `key`, to be changed.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries
            .get_mut(key)
            .filter(|entry| entry.ends > Instant::now())
            .map(|entry| &mut *entry.value)
    }

    /// How long the value under `key` still lives.
    pub(super) fn left(&self, key: &K) -> Duration {
        let ends = self.entries.get(key).map(|entry| entry.ends);
        ends.map_or(Duration::ZERO, |ends| {
            ends.saturating_duration_since(Instant::now())
        })
    }

    /// The living value under `key`, which from now on lives `ttl`.
    pub(super) fn renew(&mut self, key: &K, ttl: Duration) -> Option<&mut V> {
        let now = Instant::now();
        let entry = self.entries.get_mut(key).filter(|entry| entry.ends > now)?;
        entry.ends = now + ttl.min(LIFE_MAX);
        Some(&mut *entry.value)
    }

    /// Puts `value` under `key` for `ttl`, in place of what was there.
    pub(super) fn put(&mut self, key: K, value: V, ttl: Duration) {
        self.sweep();
        let ends = Instant::now() + ttl.min(LIFE_MAX);
        if self
            .entries
            .insert(
                key.clone(),
                TtlEntry {
                    value: Box::new(value),
                    ends,
                },
            )
            .is_none()
        {
            self.round.push_back(key);
        }
    }

    /// Takes out the living value under `key`.
    pub(super) fn take(&mut self, key: &K) -> Option<V> {
        // The key stays in the round until the sweep comes by: finding it there would cost a scan.
        let entry = self
            .entries
            .get_mut(key)
            .filter(|entry| entry.ends > Instant::now())?;
        entry.ends = Instant::now();
        self.entries.remove(key).map(|entry| *entry.value)
    }

    /// Everything that lives.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let now = Instant::now();
        self.entries
            .iter()
            .filter(move |(_, entry)| entry.ends > now)
            .map(|(key, entry)| (key, &*entry.value))
    }

    fn sweep(&mut self) {
        self.tidy(SWEPT_PER_WRITE, |_| {});
    }

    /// Looks at the next `count` entries, one round after the other: throws out those that have ended, and
    /// calls `visit` with each other.
    pub(super) fn tidy(&mut self, count: usize, mut visit: impl FnMut(&mut V)) {
        let now = Instant::now();
        for _ in 0..count.min(self.round.len()) {
            let Some(key) = self.round.pop_front() else { return };
            match self.entries.get_mut(&key) {
                Some(entry) if entry.ends > now => {
                    visit(&mut entry.value);
                    self.round.push_back(key);
                }
                Some(_) => {
                    self.entries.remove(&key);
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_has_ended_is_invisible_at_once_and_swept_by_later_writes() {
        let mut map = TtlMap::default();
        for n in 0..100 {
            map.put(n, (), Duration::from_secs(1));
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(map.get(&7).is_none());
        assert!(map.renew(&7, Duration::from_secs(1)).is_none());
        assert_eq!(map.iter().count(), 0);
        for n in 100..150 {
            map.put(n, (), Duration::from_secs(1));
        }
        assert_eq!(map.entries.len(), 50);
        assert_eq!(map.round.len(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn putting_and_taking_one_key_again_and_again_does_not_grow_the_round() {
        let mut map = TtlMap::default();
        for _ in 0..1000 {
            map.put("key", (), Duration::MAX);
            assert!(map.take(&"key").is_some());
        }
        assert!(map.round.len() <= SWEPT_PER_WRITE);
    }
}
