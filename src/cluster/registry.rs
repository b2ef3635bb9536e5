//! The sessions that this node keeps restored, each loaded once however many requests want it at the same
//! time.
//!
//! A copy is trusted for a while, by the monotonic clock, and only as long as its slot's `epoch` is the one
//! it was read at. A message that the session has changed moves the epoch on; the next request then reads the
//! session again before it is served. A message that comes while a load is under way moves the epoch too, so
//! that what was read before the change is never kept as if it came after.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Mutex as AsyncMutex;

use super::cached_session::CachedSession;
use super::monotonic_ms;
use crate::random::{self, HashState};
use crate::session::{SessionId, SessionRecord};
use crate::telemetry::metrics::{self, GaugeGuard};

/// How many locks the registry is spread over.
const SHARDS: usize = 64;
/// How many entries are looked at to find one that was not used for long.
const EVICTION_SAMPLE: usize = 8;
/// How long a copy is trusted before it is read again without a message: a lost message delays, and never
/// loses.
pub(crate) const VERIFY_EVERY_MS: u64 = 30_000;
/// How soon a node asks the store for a copy again after a failure.
const ASK_AGAIN_MS: u64 = 1000;

/// Why a slot is no longer in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retired {
    /// The session does not exist any longer.
    Gone,
    /// This node does not keep it; the store may.
    NotKept,
}

/// The place of one session in the registry.
#[derive(Debug, Default)]
pub(crate) struct SessionSlot {
    cached: OnceLock<Arc<CachedSession>>,
    retired: OnceLock<Retired>,
    epoch: AtomicU64,
    read_at_epoch: AtomicU64,
    verified_ms: AtomicU64,
    doubted_ms: AtomicU64,
    failed_ms: AtomicU64,
    used_ms: AtomicU64,
    gone: AtomicBool,
    ended: AtomicBool,
    announced: AtomicBool,
    counted: OnceLock<GaugeGuard>,
    /// Held while the session is read, so that requests that miss at the same time share one load.
    pub loading: AsyncMutex<()>,
}

impl SessionSlot {
    /// Whether no session was read into it yet.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.cached.get().is_none()
    }

    /// The session, if it was read not long ago, after `since_ms`, and nothing was heard of a change since.
    #[must_use]
    pub(crate) fn fresh(&self, now_ms: u64, since_ms: u64) -> Option<&Arc<CachedSession>> {
        let cached = self.cached.get()?;
        let current = self.read_at_epoch.load(Ordering::Acquire) == self.epoch.load(Ordering::Acquire);
        let verified_ms = self.verified_ms.load(Ordering::Acquire);
        let age_ms = now_ms.saturating_sub(verified_ms);
        let outdated = !current || verified_ms < since_ms || age_ms >= VERIFY_EVERY_MS;
        if outdated || self.retired.get().is_some() {
            return None;
        }
        self.used_ms.store(now_ms, Ordering::Relaxed);
        Some(cached)
    }

    /// The session as last read, when it cannot be read again, and since when it is in doubt: since the
    /// message about a change, or else since now.
    #[must_use]
    pub(crate) fn last_known(&self, now_ms: u64) -> Option<(&Arc<CachedSession>, u64)> {
        let cached = self.cached.get()?;
        self.doubt(now_ms);
        Some((cached, self.doubted_ms.load(Ordering::Acquire)))
    }

    /// Notes that the store could not be asked.
    pub(crate) fn note_failure(&self, now_ms: u64) {
        self.failed_ms.store(now_ms, Ordering::Release);
    }

    /// Whether the store has just failed to answer, and no message has come since. Asking again would only
    /// make requests wait in line.
    #[must_use]
    pub(crate) fn failed_just_now(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.failed_ms.load(Ordering::Acquire)) < ASK_AGAIN_MS
    }

    fn doubt(&self, now_ms: u64) {
        if self.doubted_ms.load(Ordering::Acquire) == 0 {
            self.doubted_ms.store(now_ms, Ordering::Release);
        }
    }

    /// What became of the slot, if it is no longer in use.
    #[must_use]
    pub(crate) fn retired(&self) -> Option<Retired> {
        self.retired.get().copied()
    }

    /// Whether it keeps a session that had the id of this one before.
    #[must_use]
    pub(crate) fn keeps_another(&self, record: &SessionRecord) -> bool {
        self.cached.get().is_some_and(|cached| {
            cached.record.created_at_ms != record.created_at_ms || cached.record.principal != record.principal
        })
    }

    /// Moves the epoch on: what was read until now is not to be trusted.
    pub(crate) fn distrust(&self) {
        self.doubt(monotonic_ms());
        self.failed_ms.store(0, Ordering::Release);
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that the session is known to be gone: not even an outage of the store brings it back.
    pub(crate) fn note_gone(&self) {
        self.gone.store(true, Ordering::Release);
        self.distrust();
    }

    /// Whether the session is known to be gone.
    #[must_use]
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Whether it keeps a session that no request holds just now: what is evicted hears of no change any
    /// longer.
    #[must_use]
    pub(crate) fn is_idle(&self) -> bool {
        self.cached
            .get()
            .is_some_and(|cached| Arc::strong_count(cached) == 1)
    }

    /// Whether a request, a call or a stream of this node holds it just now.
    #[must_use]
    pub(crate) fn is_held(&self) -> bool {
        self.cached
            .get()
            .is_some_and(|cached| Arc::strong_count(cached) > 1)
    }

    /// Notes that the session was ended, not left to expire.
    pub(crate) fn note_ended(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Whether the session was ended, as far as this node has heard.
    #[must_use]
    pub(crate) fn was_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// The epoch to read at.
    #[must_use]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}

/// Outcome of [`Registry::keep`].
#[derive(Debug)]
#[must_use]
pub(crate) enum Kept {
    /// The copy is current. `first` is true when the session was not kept before.
    Current {
        /// The session.
        cached: Arc<CachedSession>,
        /// Whether it was not kept before.
        first: bool,
    },
    /// The session changed while it was read: read it again.
    Outdated,
}

// Not SipHash, though clients may choose their sessions' keys. Keys that are made to collide are at most one
// shard's part of `session.kept_max`.
type Shard = HashMap<SessionId, Arc<SessionSlot>, HashState>;

/// All sessions that this node keeps.
#[derive(Debug)]
pub(crate) struct Registry {
    shards: Vec<Mutex<Shard>>,
    hasher: HashState,
    kept: AtomicUsize,
    disconnected: AtomicBool,
    shard_max: usize,
}

impl Registry {
    /// An empty registry that keeps about `kept_max` sessions.
    #[must_use]
    pub(crate) fn new(kept_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: HashState::default(),
            kept: AtomicUsize::new(0),
            disconnected: AtomicBool::new(false),
            shard_max: kept_max.div_ceil(SHARDS).max(1),
        }
    }

    /// How many sessions this node keeps restored.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// The slot of a session, made if need be.
    #[must_use]
    pub(crate) fn slot(&self, id: &SessionId) -> Arc<SessionSlot> {
        let mut shard = self.shard(id);
        if let Some(slot) = shard.get(id) {
            return Arc::clone(slot);
        }
        let slot = Arc::new(SessionSlot::default());
        slot.used_ms.store(monotonic_ms(), Ordering::Relaxed);
        shard.insert(id.clone(), Arc::clone(&slot));
        slot
    }

    /// From now on no messages about changes come: every copy is read again before each use.
    pub(crate) fn note_disconnected(&self) {
        self.disconnected.store(true, Ordering::Release);
    }

    /// Messages about changes come again; what was kept until now may be outdated.
    pub(crate) fn note_reconnected(&self) {
        self.distrust_all();
        self.disconnected.store(false, Ordering::Release);
    }

    /// Whether no messages about changes come just now.
    #[must_use]
    pub(crate) fn is_disconnected(&self) -> bool {
        self.disconnected.load(Ordering::Acquire)
    }

    /// A copy to evict, when too many are kept beside `id`. Call this only once `id` proved to be a session,
    /// so that made-up ids evict nothing.
    #[must_use]
    pub(crate) fn surplus(&self, id: &SessionId) -> Option<(SessionId, Arc<SessionSlot>)> {
        let shard = self.shard(id);
        if shard.len() <= self.shard_max {
            return None;
        }
        least_used(&shard, id)
    }

    /// The slot of a session that is kept or being loaded.
    #[must_use]
    pub(crate) fn existing(&self, id: &SessionId) -> Option<Arc<SessionSlot>> {
        self.shard(id).get(id).cloned()
    }

    /// Notes what was read of a session at `epoch`.
    pub(crate) fn keep(
        &self,
        slot: &SessionSlot,
        epoch: u64,
        now_ms: u64,
        record: SessionRecord,
        make: Make<'_>,
    ) -> Kept {
        let known = slot.cached.get().cloned();
        let cached = match known {
            Some(cached) => {
                cached.apply(record);
                cached
            }
            None => {
                self.kept.fetch_add(1, Ordering::Relaxed);
                // Set once, like the session: the gauge goes down when the slot is dropped.
                slot.counted.get_or_init(metrics::session_kept);
                Arc::clone(slot.cached.get_or_init(|| Arc::new(make(record))))
            }
        };
        slot.read_at_epoch.store(epoch, Ordering::Release);
        slot.verified_ms.store(now_ms, Ordering::Release);
        slot.used_ms.store(now_ms, Ordering::Relaxed);
        if slot.epoch() != epoch {
            return Kept::Outdated;
        }
        slot.doubted_ms.store(0, Ordering::Release);
        let first = !slot.announced.swap(true, Ordering::Relaxed);
        Kept::Current { cached, first }
    }

    /// Takes a slot out of use. Returns the session it kept, if this call was the one that did it.
    pub(crate) fn retire(
        &self,
        id: &SessionId,
        slot: &Arc<SessionSlot>,
        why: Retired,
    ) -> Option<Arc<CachedSession>> {
        let mut shard = self.shard(id);
        if shard.get(id).is_some_and(|held| Arc::ptr_eq(held, slot)) {
            shard.remove(id);
        }
        drop(shard);
        slot.retired.set(why).ok()?;
        let cached = slot.cached.get().cloned()?;
        self.kept.fetch_sub(1, Ordering::Relaxed);
        if why == Retired::Gone {
            cached.ended.cancel();
        }
        Some(cached)
    }

    fn distrust_all(&self) {
        for shard in &self.shards {
            for slot in lock(shard).values() {
                slot.distrust();
            }
        }
    }

    /// All sessions that this node keeps.
    #[must_use]
    pub(crate) fn all(&self) -> Vec<(SessionId, Arc<SessionSlot>)> {
        self.unused_since(u64::MAX)
    }

    /// The sessions that no request has used on this node since `before_ms`. Calls and streams may hold them
    /// yet.
    #[must_use]
    pub(crate) fn unused_since(&self, before_ms: u64) -> Vec<(SessionId, Arc<SessionSlot>)> {
        let idle = |slot: &SessionSlot| slot.used_ms.load(Ordering::Relaxed) < before_ms;
        self.shards
            .iter()
            .flat_map(|shard| {
                let shard = lock(shard);
                let found = shard.iter().filter(|(_, slot)| idle(slot));
                found
                    .map(|(id, slot)| (id.clone(), Arc::clone(slot)))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    fn shard(&self, id: &SessionId) -> MutexGuard<'_, Shard> {
        let hash = usize::try_from(self.hasher.hash_one(id) % SHARDS as u64).unwrap_or(0);
        #[expect(
            clippy::indexing_slicing,
            reason = "the hash is taken modulo the number of shards"
        )]
        lock(&self.shards[hash])
    }
}

/// Makes a restored session from its record.
pub(crate) type Make<'a> = &'a (dyn Fn(SessionRecord) -> CachedSession + Sync);

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One that was not used for long and that no call holds, out of a few from a random place on.
fn least_used(shard: &Shard, but: &SessionId) -> Option<(SessionId, Arc<SessionSlot>)> {
    let from = usize::try_from(random::number(shard.len().max(1) as u64)).unwrap_or(0);
    let round = shard.iter().skip(from).chain(shard.iter().take(from));
    let idle = round
        .filter(|(id, slot)| *id != but && slot.is_idle())
        .take(EVICTION_SAMPLE);
    let oldest = idle.min_by_key(|(_, slot)| slot.used_ms.load(Ordering::Relaxed))?;
    Some((oldest.0.clone(), Arc::clone(oldest.1)))
}
