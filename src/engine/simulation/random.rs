//! Where a simulation's choices come from: one seed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// A source of choices.
#[derive(Debug)]
pub(super) struct Random(Mutex<StdRng>);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// Another source, whose choices do not depend on when they are asked for.
    pub(super) fn fork(&self) -> Self {
        Self::new(self.below(u64::MAX))
    }

    pub(super) fn below(&self, below: u64) -> u64 {
        let mut source = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        source.random_range(0..below.max(1))
    }

    /// True so often in a thousand times.
    pub(super) fn chance(&self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// A time between these, in milliseconds.
    pub(super) fn between(&self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(from_ms + self.below(to_ms - from_ms + 1))
    }

    pub(super) fn pick<'a, T>(&self, of: &'a [T]) -> Option<&'a T> {
        of.get(usize::try_from(self.below(of.len() as u64)).ok()?)
    }
}
