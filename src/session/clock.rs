//! The store's clock, as a node estimates it. What ends for all nodes ends by this clock, not by a machine's
//! own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// The store's clock. A node reads it now and then, and the monotonic clock carries it on in between, so that
/// a step of the machine's own clock does not move it. Clones are the same clock.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    origin: Instant,
    at_origin_ms: Arc<AtomicU64>,
}

impl Default for Clock {
    fn default() -> Self {
        Self::of_this_machine()
    }
}

impl Clock {
    /// A clock that is right now.
    #[must_use]
    pub(crate) fn starting_at(unix_ms: u64) -> Self {
        Self {
            origin: Instant::now(),
            at_origin_ms: Arc::new(AtomicU64::new(unix_ms)),
        }
    }

    /// A clock that is right if this machine's is. It is [set](Self::set) when the store has been asked.
    #[must_use]
    pub(crate) fn of_this_machine() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::starting_at(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Sets it to what the store says that it is now.
    pub(crate) fn set(&self, unix_ms: u64) {
        let at_origin_ms = unix_ms.saturating_sub(self.elapsed_ms());
        self.at_origin_ms.store(at_origin_ms, Ordering::Relaxed);
    }

    /// The time now, in unix milliseconds.
    #[must_use]
    pub(crate) fn now_ms(&self) -> u64 {
        let at_origin_ms = self.at_origin_ms.load(Ordering::Relaxed);
        at_origin_ms.saturating_add(self.elapsed_ms())
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_by_itself_and_is_set_by_the_store() {
        let clock = Clock::starting_at(1_000);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(clock.now_ms(), 1_500);
        let same = clock.clone();
        clock.set(90_000);
        tokio::time::advance(Duration::from_millis(10)).await;
        assert_eq!(same.now_ms(), 90_010);
    }
}
