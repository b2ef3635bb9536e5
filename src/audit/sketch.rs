//! Counts by key, in a minute and in bounded room. What is counted is told at once when it reaches its
//! threshold, and then once a minute.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::random::HashState;

/// How long counts are kept.
pub(super) const WINDOW: Duration = Duration::from_secs(60);
/// How many keys are told apart. Those beyond share one place: they are many callers who do the same.
const KEYS_MAX: usize = 4096; // x 0.5 KiB = 2 MiB a sketch, of which there are ten
/// The place that they share.
const OTHERS: u64 = 0;
/// How many different things are remembered of a key.
const DIFFERENT_MAX: usize = 32; // x 8 B = 256 B a key

/// Counts by key. `D` is what the line says of a key beside its count; its default is said of keys that are too many to be told
/// apart.
#[derive(Debug)]
pub(super) struct Sketch<D> {
    hashes: HashState,
    keys: Mutex<HashMap<u64, Counted<D>, HashState>>,
}

#[derive(Debug)]
struct Counted<D> {
    /// When its minute began.
    began: Instant,
    /// How often it was counted since, and not told.
    count: u64,
    /// Whether it was told in this minute.
    told: bool,
    /// The hashes of what was seen of it, where only different things count.
    different: SmallVec<[u64; 1]>,
    about: D,
}

impl<D: Clone + Default> Sketch<D> {
    /// One that has counted nothing.
    pub(super) fn new() -> Self {
        Self {
            hashes: HashState::default(),
            keys: Mutex::default(),
        }
    }

    /// Counts something of a key. Returns whose count that is and how high, if that is to be told now: it has come to
    /// `threshold` within a minute, and was not told in this one.
    pub(super) fn count(&self, key: &str, about: impl FnOnce() -> D, threshold: u64) -> Option<(D, u64)> {
        self.counted(key, None, about, threshold)
    }

    /// The same of things of which each counts once.
    pub(super) fn count_different(
        &self,
        key: &str,
        thing: &[u8],
        about: impl FnOnce() -> D,
        threshold: u64,
    ) -> Option<(D, u64)> {
        self.counted(key, Some(self.hash(thing)), about, threshold)
    }

    fn counted(
        &self,
        key: &str,
        thing: Option<u64>,
        about: impl FnOnce() -> D,
        threshold: u64,
    ) -> Option<(D, u64)> {
        let (hash, now) = (self.hash(key.as_bytes()), Instant::now());
        let mut keys = self.lock();
        let place = match keys.contains_key(&hash) || keys.len() < KEYS_MAX {
            true => hash,
            false => OTHERS,
        };
        let counted = keys.entry(place).or_insert_with(|| Counted {
            began: now,
            count: 0,
            told: false,
            different: SmallVec::new(),
            // Nobody of those who share a place did all that is counted there.
            about: match place {
                OTHERS => D::default(),
                _ => about(),
            },
        });
        if now.duration_since(counted.began) >= WINDOW {
            counted.begin_anew(now);
        }
        if let Some(thing) = thing {
            if counted.different.len() >= DIFFERENT_MAX || counted.different.contains(&thing) {
                return None;
            }
            counted.different.push(thing);
        }
        counted.count += 1;
        if counted.told || counted.count < threshold {
            return None;
        }
        counted.told = true;
        Some((counted.about.clone(), std::mem::take(&mut counted.count)))
    }

    /// What was counted since it was told, of keys whose count began `rest` ago: [`WINDOW`], or less at the end.
    /// They begin another minute; those of which there is nothing to tell are forgotten.
    pub(super) fn at_rest(&self, rest: Duration) -> Vec<(D, u64)> {
        let (mut counts, now) = (Vec::new(), Instant::now());
        self.lock().retain(|_, counted| {
            if now.duration_since(counted.began) < rest {
                return true;
            }
            if !counted.told || counted.count == 0 {
                return false;
            }
            counts.push((counted.about.clone(), counted.count));
            counted.count = 0;
            counted.begin_anew(now);
            counted.told = true;
            true
        });
        counts
    }

    fn hash(&self, bytes: &[u8]) -> u64 {
        use std::hash::BuildHasher as _;
        self.hashes.hash_one(bytes).max(OTHERS + 1)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Counted<D>, HashState>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D> Counted<D> {
    /// Another minute begins. What was counted after it was told is told with what comes next; what was below
    /// its threshold is forgotten.
    fn begin_anew(&mut self, now: Instant) {
        self.began = now;
        if !std::mem::take(&mut self.told) {
            self.count = 0;
        }
        self.different.clear();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_told_at_once_and_the_rest_each_minute() {
        let sketch = Sketch::new();
        let count = || sketch.count("a", || "a", 1).map(|(_, count)| count);
        assert_eq!(count(), Some(1));
        for _ in 0..5 {
            assert_eq!(count(), None);
        }
        assert_eq!(sketch.at_rest(WINDOW), [], "its minute is not over");
        advance(WINDOW).await;
        assert_eq!(sketch.at_rest(WINDOW), [("a", 5)]);
        assert_eq!(count(), None, "it was told just now");
        advance(WINDOW).await;
        assert_eq!(count(), Some(2), "what was not told is told with it");
        advance(WINDOW).await;
        assert_eq!(sketch.at_rest(WINDOW), []);
        assert!(sketch.lock().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn below_its_threshold_in_a_minute_nothing_is_told() {
        let sketch = Sketch::new();
        let count = || sketch.count("a", || (), 3).map(|((), count)| count);
        assert_eq!([count(), count()], [None, None]);
        advance(WINDOW).await;
        assert_eq!([count(), count(), count(), count()], [None, None, Some(3), None]);
        advance(WINDOW).await;
        assert_eq!(sketch.at_rest(WINDOW), [((), 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn of_the_same_thing_one_counts() {
        let sketch = Sketch::new();
        let see = |thing: &[u8]| {
            sketch
                .count_different("a", thing, || (), 2)
                .map(|((), count)| count)
        };
        assert_eq!([see(b"1"), see(b"1"), see(b"1")], [None; 3]);
        assert_eq!(see(b"2"), Some(2));
        assert_eq!(see(b"2"), None);
        for thing in 3..10_000_u32 {
            see(&thing.to_be_bytes());
        }
        assert!(
            sketch
                .lock()
                .values()
                .all(|counted| counted.different.len() <= DIFFERENT_MAX)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_bounded_and_those_beyond_count_together() {
        let sketch = Sketch::new();
        for key in 0..KEYS_MAX {
            assert_eq!(sketch.count(&key.to_string(), || "one", 2), None);
        }
        assert_eq!(sketch.count("one more", || "another", 2), None);
        let shared = sketch.count("and another", || "a third", 2);
        assert_eq!(shared, Some(("", 2)), "it is neither's");
        assert_eq!(sketch.lock().len(), KEYS_MAX + 1);
        let own = sketch.count("7", || "one", 2);
        assert_eq!(own, Some(("one", 2)), "it has its own place still");
        advance(WINDOW).await;
        sketch.at_rest(WINDOW);
        assert!(sketch.lock().is_empty(), "nothing is left to tell");
    }
}
