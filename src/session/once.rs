//! Logs a matter once for each thing, however often clients meet it.

use std::collections::HashSet;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, PoisonError};

use crate::random::HashState;

/// How many things are remembered. With one more, all are forgotten, and may be logged again.
const TOLD_MAX: usize = 1024; // 1024 x 8 B, and as much again for the table

/// The things that were logged.
#[derive(Debug, Default)]
pub(crate) struct Once {
    told: Mutex<HashSet<u64>>,
    hasher: HashState,
}

impl Once {
    /// Whether this thing comes up for the first time.
    #[must_use]
    pub(crate) fn is_first(&self, thing: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(self.hasher.hash_one(thing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_told_of_once_and_what_is_remembered_is_bounded() {
        let once = Once::default();
        assert!(once.is_first("a") && once.is_first("b"));
        assert!(!once.is_first("a"));
        for n in 0..=TOLD_MAX {
            let _first = once.is_first(&n.to_string());
        }
        assert!(once.told.lock().unwrap().len() <= TOLD_MAX);
    }
}
