//! Drops copies that nobody uses, and all copies when this node leaves.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::time::{MissedTickBehavior, interval};
use tracing::debug;

use super::{Sessions, SessionsInner};
use crate::cluster::{millis, monotonic_ms};
use crate::session::SessionId;

/// How many copies are released at once when the node leaves.
const RELEASES_AT_ONCE: usize = 64;
/// The longest pause between two sweeps for copies that are not used any longer.
const SWEEP_EVERY_MAX: Duration = Duration::from_secs(60);

impl Sessions {
    /// Drops copies that are not used any longer, for as long as the node runs. Never ends a session: another
    /// node may be serving it right now.
    pub(crate) async fn sweep(self) {
        let every = (self.inner.settings.ttl / 4).clamp(Duration::from_millis(100), SWEEP_EVERY_MAX);
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let before = monotonic_ms().saturating_sub(millis(self.inner.settings.ttl));
            for (id, slot) in self.inner.registry.unused_since(before) {
                if slot.is_idle() && !self.inner.is_noted_as_expired(&id).await {
                    self.inner.evict(&id, &slot).await;
                } else if !slot.is_idle() {
                    // A call or a stream holds it. If the session has expired, nothing else would tell them.
                    slot.distrust();
                    self.inner.refresh(&id).await;
                }
            }
        }
    }

    /// Takes this node off all sessions of which it keeps a copy, as far as `within` allows. The node leaves,
    /// and no later change need wait to find out that it is gone.
    pub(crate) async fn release_all(&self, within: Duration) {
        let kept = self.inner.registry.all().into_iter();
        let releases = kept.map(|(id, slot)| async move { self.inner.evict(&id, &slot).await });
        let released = stream::iter(releases).buffer_unordered(RELEASES_AT_ONCE);
        if tokio::time::timeout(within, released.collect::<()>())
            .await
            .is_err()
        {
            debug!("some sessions still name this node as one that keeps a copy");
        }
    }
}

impl SessionsInner {
    /// Whether a session that is not used has expired, which is noted in the audit log then. Only the store knows
    /// that, and it is not asked while that log is off.
    async fn is_noted_as_expired(&self, id: &SessionId) -> bool {
        if !self.audit.is_on() || !matches!(self.store.load(id, None).await, Ok(None)) {
            return false;
        }
        self.drop_gone(id).await;
        true
    }
}
