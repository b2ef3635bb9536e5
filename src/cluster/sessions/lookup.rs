//! Finds a session: in the registry if its copy can be trusted, else in the store, once for all requests that
//! wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;
use tracing::{debug, warn};

use super::{SessionError, SessionsInner};
use crate::causes::causes;
use crate::cluster::cached_session::CachedSession;
use crate::cluster::registry::{Kept, Registry, Retired, SessionSlot};
use crate::cluster::{millis, monotonic_ms};
use crate::session::{SessionId, SessionRecord};
use crate::store::StoreError;
use crate::telemetry::metrics::{self, Restoration};
use crate::telemetry::seldom;

/// How often a lookup starts again because the session changed under it.
const FIND_ATTEMPTS_MAX: usize = 16;

impl SessionsInner {
    /// The session of that id: from this node's registry if its copy can be trusted, else from the store.
    pub(super) async fn look_up(
        &self,
        id: &SessionId,
        now_ms: u64,
    ) -> Result<Option<Arc<CachedSession>>, SessionError> {
        for _ in 0..FIND_ATTEMPTS_MAX {
            let slot = self.registry.slot(id);
            if let Some(cached) = self.trusted(&slot, now_ms) {
                return Ok(Some(cached));
            }
            let loading = slot.loading.lock().await;
            match slot.retired() {
                Some(Retired::Gone) => return Ok(None),
                // Not kept, or not yet. Waiting requests now read in parallel; in turn, each would wait for
                // the store's timeout.
                Some(Retired::NotKept) => {
                    drop(loading);
                    match self.store.load(id, None).await? {
                        Some(record) if record.initialized => continue,
                        record => return Ok(record.map(|record| Arc::new(self.restore(id, record, now_ms)))),
                    }
                }
                None => {}
            }
            if let Some(cached) = self.trusted(&slot, now_ms) {
                return Ok(Some(cached));
            }
            // A lookup that is dropped while it reads leaves no empty slot behind.
            let unfinished = Unfinished {
                registry: &self.registry,
                id,
                slot: &slot,
            };
            let outcome = self.load(id, &slot, now_ms).await;
            drop(unfinished);
            drop(loading);
            match outcome? {
                LoadedSession::Kept(cached) => {
                    if let Some((other, other_slot)) = self.registry.surplus(id) {
                        self.evict(&other, &other_slot).await;
                    }
                    return Ok(Some(cached));
                }
                LoadedSession::Known(cached) => return Ok(Some(cached)),
                LoadedSession::Gone => return Ok(None),
                LoadedSession::Outdated => {}
            }
        }
        let words = "a session changed faster than it could be read";
        seldom(words, |left_out| warn!(session = id.tag(), left_out, "{words}"));
        Err(SessionError::Store(StoreError::Unreachable(
            "the session changed faster than it could be read".into(),
        )))
    }

    /// The copy in a slot, if it can be used without asking the store.
    fn trusted(&self, slot: &SessionSlot, now_ms: u64) -> Option<Arc<CachedSession>> {
        if self.registry.is_disconnected() {
            return None;
        }
        let since_ms = self.membership.trusts_since_ms(now_ms)?;
        slot.fresh(now_ms, since_ms).cloned()
    }

    /// Reads a session into its slot. The slot's lock is held.
    async fn load(
        &self,
        id: &SessionId,
        slot: &Arc<SessionSlot>,
        now_ms: u64,
    ) -> Result<LoadedSession, SessionError> {
        if slot.failed_just_now(monotonic_ms()) && slot.last_known(now_ms).is_some() {
            return self.serve_last_known(id, slot, StoreError::Unreachable("no answer just now".into()));
        }
        let epoch = slot.epoch();
        let began = Instant::now();
        let loaded = match self.store.load(id, Some(&self.node)).await {
            // The store cannot note that this node keeps a copy, so the node keeps none. The session can
            // still be read, and so can its end: this node may have been held up when others were told of it.
            Err(error @ StoreError::Refused { .. }) => match self.store.load(id, None).await {
                Ok(Some(record)) if slot.is_empty() => {
                    drop(self.registry.retire(id, slot, Retired::NotKept));
                    return Ok(LoadedSession::Known(Arc::new(self.restore(id, record, now_ms))));
                }
                Ok(None) => Ok(None),
                Ok(Some(_)) | Err(_) => Err(error),
            },
            loaded => loaded,
        };
        match loaded {
            Ok(Some(record)) if slot.keeps_another(&record) => {
                // A client's own key has opened a new session since. Open calls and streams belong to the
                // expired one.
                if let Some(former) = self.registry.retire(id, slot, Retired::NotKept) {
                    former.ended.cancel();
                }
                Ok(LoadedSession::Outdated)
            }
            Ok(Some(record)) if !record.initialized => {
                // It lives shortly and may change at any moment. This node keeps no copy, so no change needs
                // a message.
                let cached = self.restore(id, record, now_ms);
                drop(self.registry.retire(id, slot, Retired::NotKept));
                Ok(LoadedSession::Known(Arc::new(cached)))
            }
            Ok(Some(record)) => {
                let make = |record| self.restore(id, record, now_ms);
                match self.registry.keep(slot, epoch, now_ms, record, &make) {
                    Kept::Current { cached, first } => {
                        if first && cached.restored {
                            self.restorations.fetch_add(1, Ordering::Relaxed);
                            metrics::restoration(Restoration::Restored, began.elapsed());
                            debug!(session = cached.tag, made_by = %cached.record.node_id, "session restored");
                        }
                        Ok(if first {
                            LoadedSession::Kept(cached)
                        } else {
                            LoadedSession::Known(cached)
                        })
                    }
                    Kept::Outdated => Ok(LoadedSession::Outdated),
                }
            }
            Ok(None) => {
                metrics::restoration(Restoration::Missing, began.elapsed());
                self.forget(id, slot);
                Ok(LoadedSession::Gone)
            }
            // A message has come since, or an outage has ended: an earlier copy is not trusted.
            Err(error) if error.may_pass() && slot.epoch() != epoch => Ok(LoadedSession::Outdated),
            Err(error) => {
                metrics::restoration(Restoration::Failed, began.elapsed());
                slot.note_failure(monotonic_ms());
                self.serve_last_known(id, slot, error)
            }
        }
    }

    /// While the store is away, a session this node knows is served as last read, for a while. One that is
    /// known to be gone is not.
    fn serve_last_known(
        &self,
        id: &SessionId,
        slot: &Arc<SessionSlot>,
        error: StoreError,
    ) -> Result<LoadedSession, SessionError> {
        if slot.is_gone() {
            self.forget(id, slot);
            return Ok(LoadedSession::Gone);
        }
        let now_ms = monotonic_ms();
        match (slot.last_known(now_ms), &error) {
            (Some((cached, since_ms)), error)
                if error.may_pass() && now_ms.saturating_sub(since_ms) <= millis(self.outage_grace) =>
            {
                Ok(LoadedSession::Known(Arc::clone(cached)))
            }
            (Some(_), _) => Err(error.into()),
            (None, _) => {
                drop(self.registry.retire(id, slot, Retired::NotKept));
                Err(error.into())
            }
        }
    }

    fn restore(&self, id: &SessionId, record: SessionRecord, now_ms: u64) -> CachedSession {
        // A node that was started again under its old name restores what its former self made.
        let restored = record.node_id != self.node || record.created_at_ms < self.started_ms;
        let idle_ms = self.clock().now_ms().saturating_sub(record.last_activity_ms);
        let (touched_ms, subscribers) = (now_ms.saturating_sub(idle_ms), Arc::clone(&self.subscribers));
        CachedSession::new(id.clone(), record, restored, touched_ms, subscribers)
    }

    /// Drops this node's copy. The order matters: nobody may use the copy once the store no longer names this
    /// node.
    pub(super) async fn evict(&self, id: &SessionId, slot: &Arc<SessionSlot>) {
        let _loading = slot.loading.lock().await;
        if slot.retired().is_some() {
            return;
        }
        slot.distrust();
        if let Err(error) = self.store.release(id, &self.node).await {
            debug!(session = id.tag(), error = %causes(&error), "could not take this node off a session it no longer keeps");
        }
        drop(self.registry.retire(id, slot, Retired::NotKept));
    }
}

/// A slot while its session is read for the first time.
struct Unfinished<'a> {
    registry: &'a Registry,
    id: &'a SessionId,
    slot: &'a Arc<SessionSlot>,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.slot.is_empty() {
            drop(self.registry.retire(self.id, self.slot, Retired::NotKept));
        }
    }
}

/// What reading a session gave.
enum LoadedSession {
    /// A copy that this node did not keep before.
    Kept(Arc<CachedSession>),
    /// A copy that it kept already, or one that it does not keep.
    Known(Arc<CachedSession>),
    /// There is no such session.
    Gone,
    /// It changed while it was read.
    Outdated,
}
