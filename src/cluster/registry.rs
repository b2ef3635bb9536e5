//! The sessions that this node keeps restored, each loaded once however many requests want it at the same time.
//!
//! A copy is trusted while its slot's `epoch` is the one it was read at. Whoever hears that a session changed moves
//! the epoch on; the next request then reads the session again before it is served. A change that is heard while a
//! load is under way moves the epoch too, so that what was read before the change is never kept as if it came after.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;

use crate::session::{LogLevel, SessionId, SessionRecord};
use crate::telemetry::metrics::{self, Counted};

/// How many locks the registry is spread over.
const SHARDS: usize = 64;
/// How many entries are looked at to find one that was not used for long.
const EVICTION_SAMPLE: usize = 8;
/// Stands for "no level set" in a [`Live`] session's atomic level.
const NO_LEVEL: u8 = u8::MAX;

/// A session restored on this node.
#[derive(Debug)]
pub struct Live {
    /// The session's id.
    pub id: SessionId,
    /// The id's tag, for logs.
    pub tag: String,
    /// The session as it was when it was restored; what changes later is in the methods.
    pub record: SessionRecord,
    /// The client's description, shared with every request's caller.
    pub client: Arc<rmcp::model::Implementation>,
    /// The client's capabilities, shared with every request's caller.
    pub capabilities: Arc<rmcp::model::ClientCapabilities>,
    /// Whether this node did not make the session but restored it from the store.
    pub restored: bool,
    /// Fires when the session has ended.
    pub ended: CancellationToken,
    level: AtomicU8,
    subscriptions: RwLock<Arc<BTreeSet<String>>>,
    touched_ms: AtomicU64,
    calls: AtomicUsize,
}

impl Live {
    /// A session restored from `record`.
    #[must_use]
    pub fn new(id: SessionId, record: SessionRecord, restored: bool, now_ms: u64) -> Self {
        Self {
            tag: id.tag(),
            id,
            client: Arc::new(record.client_info.clone()),
            capabilities: Arc::new(record.capabilities.clone()),
            restored,
            ended: CancellationToken::new(),
            level: AtomicU8::new(record.log_level.map_or(NO_LEVEL, |level| level as u8)),
            subscriptions: RwLock::new(Arc::new(record.subscriptions.clone())),
            // The load itself does not touch: the first request does.
            touched_ms: AtomicU64::new(record.last_activity_ms.min(now_ms)),
            calls: AtomicUsize::new(0),
            record,
        }
    }

    /// The least severe log message the session wants now: what it set, or `Info`.
    #[must_use]
    pub fn log_level(&self) -> LogLevel {
        let level = usize::from(self.level.load(Ordering::Acquire));
        LogLevel::ALL.get(level).copied().unwrap_or(LogLevel::Info)
    }

    /// What the session is subscribed to now.
    #[must_use]
    pub fn subscriptions(&self) -> Arc<BTreeSet<String>> {
        Arc::clone(&self.subscriptions.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn apply(&self, record: SessionRecord) {
        self.level.store(
            record.log_level.map_or(NO_LEVEL, |level| level as u8),
            Ordering::Release,
        );
        *self.subscriptions.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(record.subscriptions);
    }

    /// Whether the store should be told of activity: true once for each `interval_ms` of use.
    #[must_use]
    pub fn touch_is_due(&self, now_ms: u64, interval_ms: u64) -> bool {
        let last = self.touched_ms.load(Ordering::Relaxed);
        now_ms.saturating_sub(last) >= interval_ms
            && self
                .touched_ms
                .compare_exchange(last, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Counts a call of this session in, unless `max` are in flight on this node.
    #[must_use]
    pub fn begin_call(self: &Arc<Self>, max: usize) -> Option<CallCount> {
        let began = self
            .calls
            .try_update(Ordering::AcqRel, Ordering::Acquire, |calls| {
                (calls < max).then_some(calls + 1)
            });
        began.ok().map(|_| CallCount {
            live: Arc::clone(self),
        })
    }
}

/// One call in flight; counted out when dropped.
#[derive(Debug)]
pub struct CallCount {
    live: Arc<Live>,
}

impl Drop for CallCount {
    fn drop(&mut self) {
        self.live.calls.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why a slot is no longer in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retired {
    /// The session does not exist any longer.
    Gone,
    /// This node does not keep it; the store may.
    NotKept,
}

/// The place of one session in the registry.
#[derive(Debug, Default)]
pub struct Slot {
    live: OnceLock<Arc<Live>>,
    retired: OnceLock<Retired>,
    epoch: AtomicU64,
    read_at_epoch: AtomicU64,
    verified_ms: AtomicU64,
    used_ms: AtomicU64,
    ended: AtomicBool,
    counted: OnceLock<Counted>,
    /// Held while the session is read, so that requests that miss at the same time share one load.
    pub loading: AsyncMutex<()>,
}

impl Slot {
    /// The session, if it was read and nothing was heard of a change since.
    #[must_use]
    pub fn fresh(&self, now_ms: u64) -> Option<&Arc<Live>> {
        let live = self.live.get()?;
        let current = self.read_at_epoch.load(Ordering::Acquire) == self.epoch.load(Ordering::Acquire);
        if !current || self.retired.get().is_some() {
            return None;
        }
        self.used_ms.store(now_ms, Ordering::Relaxed);
        Some(live)
    }

    /// The session as last read, however long ago, and when that was.
    #[must_use]
    pub fn last_known(&self) -> Option<(&Arc<Live>, u64)> {
        self.live
            .get()
            .map(|live| (live, self.verified_ms.load(Ordering::Acquire)))
    }

    /// What became of the slot, if it is no longer in use.
    #[must_use]
    pub fn retired(&self) -> Option<Retired> {
        self.retired.get().copied()
    }

    /// Moves the epoch on: what was read until now is not to be trusted.
    pub fn distrust(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Notes that the session was ended, not left to expire.
    pub fn note_ended(&self) {
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Whether the session was ended, as far as this node has heard.
    #[must_use]
    pub fn was_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// The epoch to read at.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}

/// Outcome of [`Registry::keep`].
#[derive(Debug)]
#[must_use]
pub enum Kept {
    /// The copy is current. `first` is true when the session was not kept before.
    Current {
        /// The session.
        live: Arc<Live>,
        /// Whether it was not kept before.
        first: bool,
    },
    /// The session changed while it was read: read it again.
    Outdated,
}

type Shard = HashMap<SessionId, Arc<Slot>>;

/// All sessions that this node keeps.
#[derive(Debug)]
pub struct Registry {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    kept: AtomicUsize,
    shard_max: usize,
}

impl Registry {
    /// An empty registry that keeps about `kept_max` sessions.
    #[must_use]
    pub fn new(kept_max: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            kept: AtomicUsize::new(0),
            shard_max: kept_max.div_ceil(SHARDS).max(1),
        }
    }

    /// How many sessions this node keeps restored.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.load(Ordering::Relaxed)
    }

    /// Whether this node keeps no session.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The slot of a session, made if need be.
    #[must_use]
    pub fn slot(&self, id: &SessionId) -> Arc<Slot> {
        let mut shard = self.shard(id);
        if let Some(slot) = shard.get(id) {
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot::default());
        shard.insert(id.clone(), Arc::clone(&slot));
        slot
    }

    /// One to evict, when more are kept beside `id` than should be. Asked only once `id` proved to be a session, so
    /// that made-up ids push nobody out.
    #[must_use]
    pub fn surplus(&self, id: &SessionId) -> Option<(SessionId, Arc<Slot>)> {
        let shard = self.shard(id);
        if shard.len() <= self.shard_max {
            return None;
        }
        least_used(&shard, id)
    }

    /// The slot of a session that is kept or being loaded.
    #[must_use]
    pub fn existing(&self, id: &SessionId) -> Option<Arc<Slot>> {
        self.shard(id).get(id).cloned()
    }

    /// Notes what was read of a session at `epoch`.
    pub fn keep(&self, slot: &Slot, epoch: u64, now_ms: u64, record: SessionRecord, make: Make<'_>) -> Kept {
        let mut first = false;
        let known = slot.live.get().cloned();
        let live = match known {
            Some(live) => {
                live.apply(record);
                live
            }
            None => {
                first = true;
                Arc::clone(slot.live.get_or_init(|| Arc::new(make(record))))
            }
        };
        if first {
            self.kept.fetch_add(1, Ordering::Relaxed);
            // Set once, like the session: the gauge goes down when the slot is dropped.
            slot.counted.get_or_init(metrics::session_kept);
        }
        slot.read_at_epoch.store(epoch, Ordering::Release);
        slot.verified_ms.store(now_ms, Ordering::Release);
        slot.used_ms.store(now_ms, Ordering::Relaxed);
        if slot.epoch() == epoch {
            Kept::Current { live, first }
        } else {
            Kept::Outdated
        }
    }

    /// Takes a slot out of use. Returns the session it kept, if this call was the one that did it.
    pub fn retire(&self, id: &SessionId, slot: &Arc<Slot>, why: Retired) -> Option<Arc<Live>> {
        let mut shard = self.shard(id);
        if shard.get(id).is_some_and(|held| Arc::ptr_eq(held, slot)) {
            shard.remove(id);
        }
        drop(shard);
        slot.retired.set(why).ok()?;
        let live = slot.live.get().cloned()?;
        self.kept.fetch_sub(1, Ordering::Relaxed);
        if why == Retired::Gone {
            live.ended.cancel();
        }
        Some(live)
    }

    /// Distrusts every copy: rings may have been missed.
    pub fn distrust_all(&self) {
        for shard in &self.shards {
            for slot in lock(shard).values() {
                slot.distrust();
            }
        }
    }

    /// The sessions that were not used on this node since `before_ms`.
    #[must_use]
    pub fn idle_since(&self, before_ms: u64) -> Vec<(SessionId, Arc<Slot>)> {
        let idle =
            |slot: &Slot| slot.live.get().is_some() && slot.used_ms.load(Ordering::Relaxed) < before_ms;
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
pub type Make<'a> = &'a (dyn Fn(SessionRecord) -> Live + Sync);

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One that was not used for long, out of a few: the order of a `HashMap` is random enough to sample by.
fn least_used(shard: &Shard, but: &SessionId) -> Option<(SessionId, Arc<Slot>)> {
    let sample = shard.iter().filter(|(id, _)| *id != but).take(EVICTION_SAMPLE);
    let oldest = sample.min_by_key(|(_, slot)| slot.used_ms.load(Ordering::Relaxed))?;
    Some((oldest.0.clone(), Arc::clone(oldest.1)))
}
