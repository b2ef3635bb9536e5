//! Sessions as the pipeline sees them: opened, found, changed and ended, the same from every node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::Instant;
use tracing::debug;

use super::cached_session::CachedSession;
use super::messenger::{MessageHandler, Messenger};
use super::registry::Registry;
use super::{Membership, Subscribers, millis, monotonic_ms};
use crate::audit::{Actor, Audit, EndedBy};
use crate::causes::causes;
use crate::config::{SessionSettings, Settings};
use crate::session::{Clock, NodeId, Principal, SessionId, SessionRecord};
use crate::store::{
    Change, Changed, Ended, Full, NodeMessage, Received, SessionNews, Store, StoreError, Touched,
};
use crate::supervisor::Supervisor;
use crate::telemetry::metrics;

mod lookup;
mod opening;
#[cfg(test)]
mod sessions_tests;
mod states;
mod telling;
mod touches;
mod upkeep;

pub(crate) use touches::noted_within;
use touches::touched_each;

/// Why a session could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SessionError {
    /// Unknown, expired, or ended.
    #[error("no such session")]
    NotFound,
    /// Another principal's, which is told to nobody.
    #[error("no such session")]
    Foreign,
    /// The session's limit of subscriptions is reached.
    #[error("the session's limit of subscriptions is reached")]
    Full,
    /// The limit of sessions is reached.
    #[error("the limit of sessions is reached: {0:?}")]
    TooMany(Full),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The sessions of the whole cluster, through this node.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    inner: Arc<SessionsInner>,
}

#[derive(Debug)]
struct SessionsInner {
    store: Arc<dyn Store>,
    registry: Registry,
    subscribers: Arc<Subscribers>,
    messenger: Messenger,
    membership: Arc<Membership>,
    node: NodeId,
    started_ms: u64,
    settings: SessionSettings,
    outage_grace: Duration,
    supervisor: Supervisor,
    restorations: AtomicU64,
    started: Instant,
    // Until when no session is opened, because the limit of sessions was reached, in milliseconds after that.
    full_until: AtomicU64,
    audit: Audit,
}

impl Sessions {
    /// The sessions in `store`, as this member sees them.
    #[must_use]
    pub(crate) fn new(
        store: Arc<dyn Store>,
        membership: Arc<Membership>,
        settings: &Settings,
        supervisor: Supervisor,
        audit: Audit,
    ) -> Self {
        Self {
            inner: Arc::new(SessionsInner {
                messenger: Messenger::new(Arc::clone(&store), Arc::clone(&membership)),
                registry: Registry::new(settings.session.kept_max),
                subscribers: Arc::default(),
                store,
                node: membership.node().clone(),
                started_ms: membership.clock().now_ms(),
                membership,
                settings: settings.session.clone(),
                outage_grace: settings.store.outage_grace,
                supervisor,
                restorations: AtomicU64::new(0),
                started: Instant::now(),
                full_until: AtomicU64::new(0),
                audit,
            }),
        }
    }

    /// The audit log that they are noted in.
    #[cfg(feature = "cli")]
    #[must_use]
    pub(crate) fn audit(&self) -> &Audit {
        &self.inner.audit
    }

    /// How many sessions this node keeps restored.
    #[must_use]
    pub(crate) fn kept(&self) -> usize {
        self.inner.registry.len()
    }

    /// The sessions of which a copy on this node is subscribed to each resource.
    #[must_use]
    pub(crate) fn subscribers(&self) -> &Subscribers {
        &self.inner.subscribers
    }

    /// Whether this node keeps a copy of that session. It never keeps one that is not initialized.
    #[must_use]
    pub(crate) fn keeps(&self, id: &SessionId) -> bool {
        self.inner.registry.existing(id).is_some()
    }

    /// How long a session lives after its last use.
    #[must_use]
    pub(crate) fn ttl(&self) -> Duration {
        self.inner.settings.ttl
    }

    /// How long a session lives whose client never says that it is initialized.
    #[must_use]
    pub(crate) fn uninitialized_ttl(&self) -> Duration {
        self.inner.settings.uninitialized_ttl
    }

    /// How many sessions this node has restored from the store since it started.
    #[must_use]
    pub(crate) fn restorations(&self) -> u64 {
        self.inner.restorations.load(Ordering::Relaxed)
    }

    /// The session of that id, for work that was admitted before: its principal is not checked again, and its
    /// life is not renewed. `None` when it is gone.
    ///
    /// # Errors
    /// [`SessionError::Store`].
    pub(crate) async fn recall(&self, id: &SessionId) -> Result<Option<Arc<CachedSession>>, SessionError> {
        self.inner.look_up(id, monotonic_ms()).await
    }

    /// Makes sure that a session is there, by what the store holds and not by this node's copy.
    ///
    /// # Errors
    /// [`SessionError::NotFound`], [`SessionError::Store`].
    pub(crate) async fn confirm(&self, id: &SessionId) -> Result<(), SessionError> {
        if self.inner.store.load(id, None).await?.is_some() {
            return Ok(());
        }
        self.inner.drop_gone(id).await;
        Err(SessionError::NotFound)
    }

    /// The session of that id, from this node's registry or else from the store, with its life renewed.
    ///
    /// # Errors
    /// [`SessionError::NotFound`], [`SessionError::Foreign`], [`SessionError::Store`].
    pub(crate) async fn find(
        &self,
        id: &SessionId,
        principal: &Principal,
    ) -> Result<Arc<CachedSession>, SessionError> {
        let now_ms = monotonic_ms();
        let cached = self
            .inner
            .look_up(id, now_ms)
            .await?
            .ok_or(SessionError::NotFound)?;
        if cached.record.principal != *principal {
            self.inner.audit.alarms().foreign_session(principal, &cached.tag);
            return Err(SessionError::Foreign);
        }
        let Some(ttl) = self.inner.life_left(&cached.record) else {
            self.end(id).await?;
            self.inner.note_expired(&cached);
            return Err(SessionError::NotFound);
        };
        self.touch_if_due(&cached, now_ms, ttl);
        Ok(cached)
    }

    /// Renews a session whose client only listens, within its lifetime.
    pub(crate) fn renew(&self, cached: &Arc<CachedSession>) {
        if let Some(ttl) = self.inner.life_left(&cached.record) {
            return self.touch_if_due(cached, monotonic_ms(), ttl);
        }
        let (inner, cached) = (Arc::clone(&self.inner), Arc::clone(cached));
        self.inner.supervisor.spawn("end-session", async move {
            match inner.end(&cached.id, None).await {
                Ok(()) => inner.note_expired(&cached),
                Err(error) => {
                    debug!(session = cached.tag, error = %causes(&error), "could not end a session whose lifetime has passed");
                }
            }
        });
    }

    fn touch_if_due(&self, cached: &Arc<CachedSession>, now_ms: u64, ttl: Duration) {
        let interval = touched_each(self.inner.settings.ttl);
        if cached.record.initialized && cached.touch_is_due(now_ms, millis(interval)) {
            self.touch(Arc::clone(cached), ttl);
        }
    }

    /// Changes a session, and returns when every node that keeps a copy knows. Once begun it is carried
    /// through, whether or not the caller still waits.
    ///
    /// # Errors
    /// [`SessionError`].
    pub(crate) async fn change(
        &self,
        cached: &Arc<CachedSession>,
        change: &Change,
    ) -> Result<(), SessionError> {
        let (inner, cached, change) = (Arc::clone(&self.inner), Arc::clone(cached), change.clone());
        self.spawn_and_wait(
            "change-session",
            async move { inner.change(&cached, &change).await },
        )
        .await
    }

    /// Ends a session, and returns when every node that keeps a copy knows. Once begun it is carried through,
    /// whether or not the caller still waits.
    ///
    /// # Errors
    /// [`SessionError::NotFound`] when there is none, [`SessionError::Store`].
    pub(crate) async fn end(&self, id: &SessionId) -> Result<(), SessionError> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        self.spawn_and_wait("end-session", async move { inner.end(&id, None).await })
            .await
    }

    /// Ends a session of that principal whose record this version cannot read.
    ///
    /// # Errors
    /// As [`Self::end`].
    pub(crate) async fn end_unread(&self, id: &SessionId, principal: &Principal) -> Result<(), SessionError> {
        let (inner, id, owner) = (Arc::clone(&self.inner), id.clone(), principal.clone());
        self.spawn_and_wait("end-session", async move { inner.end(&id, Some(&owner)).await })
            .await
    }

    /// Runs in a task of its own what must not stop half way when a client hangs up.
    fn spawn_and_wait<F>(
        &self,
        name: &'static str,
        work: F,
    ) -> impl Future<Output = Result<(), SessionError>> + Send + use<F>
    where
        F: Future<Output = Result<(), SessionError>> + Send + 'static,
    {
        let stopped = || SessionError::Store(StoreError::Unreachable("the node is stopping".into()));
        let outcome = self.inner.supervisor.spawn_and_wait(name, work);
        async move { outcome.await.ok_or_else(stopped)? }
    }

    /// Listens to messages for as long as the node runs.
    pub(crate) async fn listen(
        self,
        mut messages: broadcast::Receiver<Received>,
        handler: Arc<dyn MessageHandler>,
    ) {
        loop {
            match messages.recv().await {
                Ok(Received::Message(text)) => self.handle(&text, &handler),
                Ok(Received::Disconnected) => {
                    self.inner.audit.alarms().store_was_away();
                    self.inner.registry.note_disconnected();
                }
                received @ (Ok(Received::Gap) | Err(broadcast::error::RecvError::Lagged(_))) => {
                    debug!("messages may have been missed: reading every session again before it is served");
                    // Many messages at once are no outage.
                    if received.is_ok() {
                        self.inner.audit.alarms().store_was_away();
                    }
                    self.inner.registry.note_reconnected();
                    handler.catch_up();
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    fn handle(&self, text: &str, handler: &Arc<dyn MessageHandler>) {
        match NodeMessage::decode(text) {
            Ok(NodeMessage::Session {
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
            Ok(NodeMessage::Acknowledged { number, by }) => self.inner.messenger.acknowledged(number, &by),
            Ok(NodeMessage::Left { node }) => {
                if let Some(node) = NodeId::parse(&node) {
                    self.inner.membership.note_left(&node);
                }
            }
            Ok(message) => Arc::clone(handler).handle(message),
            // A newer version may send what this one does not know.
            Err(error) => debug!(error = %causes(&error), "a message that this version does not know"),
        }
    }

    /// Stops trusting the copy, and reads the session again so that calls in flight see the change.
    fn look_again(&self, id: SessionId, news: SessionNews, from: String, number: u64) {
        let slot = self.inner.registry.existing(&id);
        match (&slot, news) {
            (Some(slot), SessionNews::Changed) => slot.distrust(),
            (Some(slot), SessionNews::Ended) => {
                slot.note_ended();
                slot.note_gone();
            }
            (None, _) => {}
        }
        let inner = Arc::clone(&self.inner);
        self.inner.supervisor.spawn("look-again", async move {
            inner.messenger.acknowledge(&from, number).await;
            match (slot, news) {
                (Some(slot), SessionNews::Ended) => inner.retire_gone(&id, &slot).await,
                (Some(_), SessionNews::Changed) => inner.refresh(&id).await,
                (None, _) => {}
            }
        });
    }

    fn touch(&self, cached: Arc<CachedSession>, ttl: Duration) {
        let (inner, now_ms) = (Arc::clone(&self.inner), self.inner.clock().now_ms());
        self.inner.supervisor.spawn("touch", async move {
            match inner.store.touch(&cached.id, now_ms, ttl).await {
                Ok(Touched::Touched) => {}
                Ok(Touched::Gone) => inner.drop_gone(&cached.id).await,
                Err(error) => {
                    debug!(session = cached.tag, error = %causes(&error), "could not touch a session")
                }
            }
        });
    }
}

impl SessionsInner {
    async fn change(self: &Arc<Self>, cached: &CachedSession, change: &Change) -> Result<(), SessionError> {
        let left = self.life_left(&cached.record).ok_or(SessionError::NotFound)?;
        // Until its client says that it is initialized, a session's life is not renewed by anything.
        let renews = cached.record.initialized || *change == Change::Initialized;
        let ttl = if renews { left } else { Duration::ZERO };
        match self.store.change(&cached.id, change, ttl).await? {
            Changed::Changed(nodes) => {
                if let Some(slot) = self.registry.existing(&cached.id) {
                    slot.distrust();
                }
                // This node's own copy is read again for the sake of calls in flight here.
                tokio::join!(
                    self.tell(&nodes, &cached.id, SessionNews::Changed),
                    self.refresh(&cached.id)
                );
                Ok(())
            }
            Changed::Full => Err(SessionError::Full),
            Changed::Gone => {
                self.drop_gone(&cached.id).await;
                Err(SessionError::NotFound)
            }
        }
    }

    async fn end(self: &Arc<Self>, id: &SessionId, owner: Option<&Principal>) -> Result<(), SessionError> {
        match self.end_in_store(id, owner).await? {
            Ended::Ended(nodes) => {
                let slot = self.registry.existing(id);
                if let Some(slot) = &slot {
                    slot.note_ended();
                    slot.note_gone();
                }
                let retired = async {
                    if let Some(slot) = &slot {
                        self.retire_gone(id, slot).await;
                    }
                };
                tokio::join!(self.tell(&nodes, id, SessionNews::Ended), retired);
                metrics::session_ended();
                debug!(session = id.tag(), "session ended");
                Ok(())
            }
            // It may exist, and belong to another principal.
            Ended::Gone if owner.is_some() => Err(SessionError::NotFound),
            Ended::Gone => {
                self.drop_gone(id).await;
                Err(SessionError::NotFound)
            }
        }
    }

    /// Reads a session again that this node keeps.
    async fn refresh(&self, id: &SessionId) {
        if self.registry.existing(id).is_none() {
            return;
        }
        if let Err(error) = self.look_up(id, monotonic_ms()).await {
            debug!(session = id.tag(), error = %causes(&error), "could not read a changed session yet");
        }
    }

    fn clock(&self) -> &Clock {
        self.membership.clock()
    }

    /// Notes in the audit log that a session has expired of which this node kept a copy.
    fn note_expired(&self, cached: &CachedSession) {
        let who = cached.who();
        let actor = Actor {
            principal: Some(&cached.record.principal),
            client: Some(&who.client.name),
            ..Actor::default()
        };
        self.audit.session_ended(&cached.id, EndedBy::Expiry, &actor);
    }

    /// How long the session may live from now on; `None` when its lifetime has passed, by the store's clock.
    fn life_left(&self, record: &SessionRecord) -> Option<Duration> {
        let SessionSettings { ttl, lifetime, .. } = self.settings;
        if lifetime.is_zero() {
            return Some(ttl);
        }
        let ends_ms = record.created_at_ms.saturating_add(millis(lifetime));
        let left = Duration::from_millis(ends_ms.saturating_sub(self.clock().now_ms()));
        (!left.is_zero()).then(|| left.min(ttl))
    }
}
