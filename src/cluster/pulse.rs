//! The store's pulse, taken in the background so that health checks never wait for the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use super::unix_ms;
use crate::store::Store;

/// How often the store is asked for a sign of life.
pub const PULSE_EVERY: Duration = Duration::from_secs(1);
/// How long it may take to answer before it counts as away.
const PULSE_WITHIN: Duration = Duration::from_secs(1);

/// When the store last answered, and how fast.
#[derive(Debug)]
pub struct Pulse {
    reachable: AtomicBool,
    latency_us: AtomicU64,
    answered_ms: AtomicU64,
    /// Since when it has answered each time; 0 when it always has.
    steady_since_ms: AtomicU64,
}

impl Default for Pulse {
    /// A store that has just answered: a node starts only when it has.
    fn default() -> Self {
        Self {
            reachable: AtomicBool::new(true),
            latency_us: AtomicU64::new(0),
            answered_ms: AtomicU64::new(unix_ms()),
            steady_since_ms: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    /// Whether the store answered when it was last asked.
    #[must_use]
    pub fn reachable(&self) -> bool {
        self.reachable.load(Ordering::Acquire)
    }

    /// How long the last answer took.
    #[must_use]
    pub fn latency(&self) -> Duration {
        Duration::from_micros(self.latency_us.load(Ordering::Relaxed))
    }

    /// For how long the store has not answered; zero while it does.
    #[must_use]
    pub fn away_for(&self) -> Duration {
        if self.reachable() {
            return Duration::ZERO;
        }
        Duration::from_millis(unix_ms().saturating_sub(self.answered_ms.load(Ordering::Relaxed)))
    }

    /// For how long the store has answered each time; zero while it does not.
    #[must_use]
    pub fn steady_for(&self) -> Duration {
        if !self.reachable() {
            return Duration::ZERO;
        }
        Duration::from_millis(unix_ms().saturating_sub(self.steady_since_ms.load(Ordering::Relaxed)))
    }

    /// Asks the store over and over, for as long as the node runs.
    pub async fn keep(self: Arc<Self>, store: Arc<dyn Store>) {
        let mut ticks = interval(PULSE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.take(store.as_ref()).await;
        }
    }

    async fn take(&self, store: &dyn Store) {
        let asked = Instant::now();
        let answered = matches!(timeout(PULSE_WITHIN, store.ping()).await, Ok(Ok(())));
        if answered {
            let latency = u64::try_from(asked.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.latency_us.store(latency, Ordering::Relaxed);
            self.answered_ms.store(unix_ms(), Ordering::Relaxed);
            if !self.reachable() {
                self.steady_since_ms.store(unix_ms(), Ordering::Relaxed);
            }
        }
        match (self.reachable.swap(answered, Ordering::AcqRel), answered) {
            (true, false) => warn!("the store does not answer: serving what this node knows"),
            (false, true) => info!("the store answers again"),
            _ => {}
        }
    }
}
