//! Sessions as the pipeline sees them: opened, found, changed and ended, the same from every node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::registry::{Kept, Live, Registry, Retired, Slot};
use super::ring::{Bell, News, Ring};
use super::unix_ms;
use crate::config::{SessionSettings, Settings};
use crate::session::{NodeId, Principal, SessionId, SessionRecord};
use crate::store::{Change, Changed, Created, Ended, Heard, Store, StoreError, Touched};
use crate::supervisor::Supervisor;
use crate::telemetry::metrics::{self, Restoration};

/// How often a lookup starts anew because the session changed under it.
const FIND_ATTEMPTS_MAX: usize = 16;
/// How often a fresh id is tried; two UUIDs never collide, a broken random source might.
const OPEN_ATTEMPTS_MAX: usize = 3;
/// A session is touched in the store once for each such fraction of its life.
const TOUCHES_A_LIFE: u32 = 20;
/// The longest pause between two sweeps for copies that are not used any longer.
const SWEEP_EVERY_MAX: Duration = Duration::from_secs(60);

/// Why a session could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Unknown, expired, ended, or somebody else's.
    #[error("no such session")]
    NotFound,
    /// It has as many subscriptions as it may.
    #[error("the session has as many subscriptions as it may")]
    Full,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The sessions of the whole cluster, through this node.
#[derive(Debug, Clone)]
pub struct Sessions {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    registry: Registry,
    ring: Ring,
    node: NodeId,
    started_ms: u64,
    settings: SessionSettings,
    outage_grace: Duration,
    supervisor: Supervisor,
    restorations: AtomicU64,
}

impl Sessions {
    /// The sessions in `store`, as `node` sees them.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, node: NodeId, settings: &Settings, supervisor: Supervisor) -> Self {
        Self {
            inner: Arc::new(Inner {
                ring: Ring::new(Arc::clone(&store), node.clone()),
                registry: Registry::new(settings.session.kept_max),
                store,
                node,
                started_ms: unix_ms(),
                settings: settings.session.clone(),
                outage_grace: settings.store.outage_grace,
                supervisor,
                restorations: AtomicU64::new(0),
            }),
        }
    }

    /// How many sessions this node keeps restored.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.inner.registry.len()
    }

    /// How many sessions this node has restored from the store since it started.
    #[must_use]
    pub fn restorations(&self) -> u64 {
        self.inner.restorations.load(Ordering::Relaxed)
    }

    /// Writes a new session that lives until the client says that it is initialized, or shortly.
    ///
    /// # Errors
    /// [`SessionError::Store`].
    pub async fn open(&self, record: &SessionRecord) -> Result<SessionId, SessionError> {
        for _ in 0..OPEN_ATTEMPTS_MAX {
            let id = SessionId::generate();
            match self
                .inner
                .store
                .create(&id, record, self.inner.settings.uninitialized_ttl)
                .await?
            {
                Created::Created => {
                    metrics::session_made(record.transport);
                    info!(session = id.tag(), revision = %record.revision, "session made");
                    return Ok(id);
                }
                Created::Collision => warn!("a fresh session id was taken: is the random source broken?"),
            }
        }
        Err(SessionError::Store(StoreError::Corrupt(
            "fresh session ids keep colliding".into(),
        )))
    }

    /// The session of that id, from this node's registry or else from the store, with its life renewed.
    ///
    /// # Errors
    /// [`SessionError::NotFound`], [`SessionError::Store`].
    pub async fn find(&self, id: &SessionId, principal: &Principal) -> Result<Arc<Live>, SessionError> {
        let now_ms = unix_ms();
        let live = self
            .inner
            .look_up(id, now_ms)
            .await?
            .ok_or(SessionError::NotFound)?;
        if live.record.principal != *principal {
            return Err(SessionError::NotFound);
        }
        let Some(ttl) = self.inner.life_left(&live.record, now_ms) else {
            self.end(id).await?;
            return Err(SessionError::NotFound);
        };
        let interval = self.inner.settings.ttl / TOUCHES_A_LIFE;
        if live.record.initialized && live.touch_is_due(now_ms, millis(interval)) {
            self.touch(Arc::clone(&live), now_ms, ttl);
        }
        Ok(live)
    }

    /// Changes a session, and returns when every node that keeps a copy knows.
    ///
    /// # Errors
    /// [`SessionError`].
    pub async fn change(&self, live: &Live, change: &Change) -> Result<(), SessionError> {
        let ttl = self
            .inner
            .life_left(&live.record, unix_ms())
            .ok_or(SessionError::NotFound)?;
        match self.inner.store.change(&live.id, change, ttl).await? {
            Changed::Changed(holders) => {
                self.inner.spread(&live.id, &holders, News::Changed).await;
                Ok(())
            }
            Changed::Full => Err(SessionError::Full),
            Changed::Gone => {
                self.inner.distrust(&live.id);
                Err(SessionError::NotFound)
            }
        }
    }

    /// Ends a session, and returns when every node that keeps a copy knows.
    ///
    /// # Errors
    /// [`SessionError::NotFound`] when there is none, [`SessionError::Store`].
    pub async fn end(&self, id: &SessionId) -> Result<(), SessionError> {
        match self.inner.store.end(id).await? {
            Ended::Ended(holders) => {
                self.inner.spread(id, &holders, News::Ended).await;
                metrics::session_ended();
                info!(session = id.tag(), "session ended");
                Ok(())
            }
            Ended::Gone => {
                self.inner.distrust(id);
                Err(SessionError::NotFound)
            }
        }
    }

    /// Listens to the ring for as long as the node runs.
    pub async fn listen(self, mut rings: broadcast::Receiver<Heard>) {
        loop {
            match rings.recv().await {
                Ok(Heard::Message(text)) => self.hear(&text),
                Ok(Heard::Gap) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    warn!("rings may have been missed: reading every session again before it is served");
                    self.inner.registry.distrust_all();
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// Drops copies that are not used any longer, for as long as the node runs. Never ends a session: another node
    /// may be serving it right now.
    pub async fn sweep(self) {
        let every = (self.inner.settings.ttl / 4).clamp(Duration::from_millis(100), SWEEP_EVERY_MAX);
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let before = unix_ms().saturating_sub(millis(self.inner.settings.ttl));
            for (id, slot) in self.inner.registry.idle_since(before) {
                self.inner.evict(&id, &slot).await;
            }
        }
    }

    fn hear(&self, text: &str) {
        match serde_json::from_str::<Bell>(text) {
            Ok(Bell::Session {
                news,
                session,
                from,
                number,
            }) => {
                let Some(id) = SessionId::parse(&session) else {
                    return;
                };
                self.look_again(id, news, from, number);
            }
            Ok(Bell::Acknowledged { number, by }) => self.inner.ring.acknowledged(number, &by),
            // A newer version may ring in ways this one does not know.
            Err(error) => debug!(%error, "a ring that this version does not know"),
        }
    }

    /// Stops trusting the copy, says so, and reads the session again so that calls in flight see the change.
    fn look_again(&self, id: SessionId, news: News, from: String, number: u64) {
        let slot = self.inner.registry.existing(&id);
        if let Some(slot) = &slot {
            slot.distrust();
            if news == News::Ended {
                slot.note_ended();
            }
        }
        let inner = Arc::clone(&self.inner);
        self.inner.supervisor.spawn("look-again", async move {
            inner.ring.acknowledge(&from, number).await;
            if slot.is_some()
                && let Err(error) = inner.look_up(&id, unix_ms()).await
            {
                debug!(session = id.tag(), %error, "could not read a changed session yet");
            }
        });
    }

    fn touch(&self, live: Arc<Live>, now_ms: u64, ttl: Duration) {
        let inner = Arc::clone(&self.inner);
        self.inner.supervisor.spawn("touch", async move {
            match inner.store.touch(&live.id, now_ms, ttl).await {
                Ok(Touched::Touched) => {}
                Ok(Touched::Gone) => inner.distrust(&live.id),
                Err(error) => debug!(session = live.tag, %error, "could not touch a session"),
            }
        });
    }
}

impl Inner {
    async fn look_up(&self, id: &SessionId, now_ms: u64) -> Result<Option<Arc<Live>>, SessionError> {
        for _ in 0..FIND_ATTEMPTS_MAX {
            let slot = self.registry.slot(id);
            if let Some(live) = slot.fresh(now_ms) {
                return Ok(Some(Arc::clone(live)));
            }
            let loading = slot.loading.lock().await;
            match slot.retired() {
                Some(Retired::Gone) => return Ok(None),
                Some(Retired::NotKept) => continue,
                None => {}
            }
            if let Some(live) = slot.fresh(now_ms) {
                return Ok(Some(Arc::clone(live)));
            }
            let outcome = self.load(id, &slot, now_ms).await;
            drop(loading);
            match outcome? {
                Loaded::Kept(live) => {
                    if let Some((other, other_slot)) = self.registry.surplus(id) {
                        self.evict(&other, &other_slot).await;
                    }
                    return Ok(Some(live));
                }
                Loaded::Known(live) => return Ok(Some(live)),
                Loaded::Gone => return Ok(None),
                Loaded::Outdated => {}
            }
        }
        warn!(
            session = id.tag(),
            "a session changed faster than it could be read"
        );
        Err(SessionError::Store(StoreError::Unreachable(
            "the session changed faster than it could be read".into(),
        )))
    }

    /// Reads a session into its slot. The slot's lock is held.
    async fn load(&self, id: &SessionId, slot: &Arc<Slot>, now_ms: u64) -> Result<Loaded, SessionError> {
        let epoch = slot.epoch();
        let began = Instant::now();
        match self.store.load(id, Some(&self.node)).await {
            Ok(Some(record)) if !record.initialized => {
                // It lives shortly and may change at any moment: not kept, so that nobody need be told.
                let live = self.restore(id, record, now_ms);
                drop(self.registry.retire(id, slot, Retired::NotKept));
                Ok(Loaded::Known(Arc::new(live)))
            }
            Ok(Some(record)) => {
                let make = |record| self.restore(id, record, now_ms);
                match self.registry.keep(slot, epoch, now_ms, record, &make) {
                    Kept::Current { live, first } => {
                        if first && live.restored {
                            self.restorations.fetch_add(1, Ordering::Relaxed);
                            metrics::restoration(Restoration::Restored, began.elapsed());
                            debug!(session = live.tag, made_by = %live.record.node_id, "session restored");
                        }
                        Ok(if first {
                            Loaded::Kept(live)
                        } else {
                            Loaded::Known(live)
                        })
                    }
                    Kept::Outdated => Ok(Loaded::Outdated),
                }
            }
            Ok(None) => {
                metrics::restoration(Restoration::Missing, began.elapsed());
                let known = self.registry.retire(id, slot, Retired::Gone);
                if known.is_some() && !slot.was_ended() {
                    metrics::session_expired();
                }
                Ok(Loaded::Gone)
            }
            Err(error) => {
                metrics::restoration(Restoration::Failed, began.elapsed());
                self.make_do(id, slot, now_ms, error).map(Loaded::Known)
            }
        }
    }

    /// While the store is away, a session this node knows is served as last read, for a while.
    fn make_do(
        &self,
        id: &SessionId,
        slot: &Arc<Slot>,
        now_ms: u64,
        error: StoreError,
    ) -> Result<Arc<Live>, SessionError> {
        let Some((live, verified_ms)) = slot.last_known() else {
            drop(self.registry.retire(id, slot, Retired::NotKept));
            return Err(error.into());
        };
        if now_ms.saturating_sub(verified_ms) > millis(self.outage_grace) {
            return Err(error.into());
        }
        Ok(Arc::clone(live))
    }

    fn restore(&self, id: &SessionId, record: SessionRecord, now_ms: u64) -> Live {
        // A node that was started again under its old name restores what its former self made.
        let restored = record.node_id != self.node || record.created_at_ms < self.started_ms;
        Live::new(id.clone(), record, restored, now_ms)
    }

    /// Drops this node's copy. The order matters: nobody may use the copy once the store no longer names this node.
    async fn evict(&self, id: &SessionId, slot: &Arc<Slot>) {
        let _loading = slot.loading.lock().await;
        if slot.retired().is_some() {
            return;
        }
        slot.distrust();
        if let Err(error) = self.store.release(id, &self.node).await {
            debug!(session = id.tag(), %error, "could not take this node off a session it no longer keeps");
        }
        drop(self.registry.retire(id, slot, Retired::NotKept));
    }

    async fn spread(&self, id: &SessionId, holders: &[NodeId], news: News) {
        if let Some(slot) = self.registry.existing(id) {
            slot.distrust();
            if news == News::Ended {
                slot.note_ended();
                let _loading = slot.loading.lock().await;
                drop(self.registry.retire(id, &slot, Retired::Gone));
            }
        }
        self.ring.tell(holders, id, news).await;
    }

    fn distrust(&self, id: &SessionId) {
        if let Some(slot) = self.registry.existing(id) {
            slot.distrust();
        }
    }

    /// How long the session may live from now on; `None` when its lifetime has passed.
    fn life_left(&self, record: &SessionRecord, now_ms: u64) -> Option<Duration> {
        let SessionSettings { ttl, lifetime, .. } = self.settings;
        if lifetime.is_zero() {
            return Some(ttl);
        }
        let ends_ms = record.created_at_ms.saturating_add(millis(lifetime));
        let left = Duration::from_millis(ends_ms.saturating_sub(now_ms));
        (!left.is_zero()).then(|| left.min(ttl))
    }
}

/// What reading a session gave.
enum Loaded {
    /// A copy that this node did not keep before.
    Kept(Arc<Live>),
    /// A copy that it kept already, or one that it does not keep.
    Known(Arc<Live>),
    /// There is no such session.
    Gone,
    /// It changed while it was read.
    Outdated,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
