//! Sessions in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::MemoryStore;
use super::calls::Streams;
use super::state::Pairs;
use crate::session::record::SUBSCRIPTIONS_MAX;
use crate::session::{Introduction, Life, NodeId, Principal, SessionId, SessionRecord};
use crate::store::streams::answer_bell;
use crate::store::{
    Change, Changed, Created, Ended, SESSION_LIST_MAX, SessionRoom, SessionStore, StoreError, Touched,
};

#[derive(Debug)]
pub(super) struct Session {
    pub(super) record: SessionRecord,
    /// The peer it counts for.
    peer: Arc<str>,
    /// Who keeps a copy, in which life.
    holders: BTreeMap<NodeId, Option<Life>>,
    pub(super) pairs: Pairs,
    pub(super) streams: Streams,
}

#[async_trait]
impl SessionStore for MemoryStore {
    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        ttl: Duration,
        room: &SessionRoom<'_>,
    ) -> Result<Created, StoreError> {
        let mut inner = self.lock();
        if inner.sessions.get(id).is_some() {
            return Ok(Created::Collision);
        }
        if let Some(full) = inner.crowd.enter(id, ttl, record.initialized, room) {
            return Ok(Created::Full(full));
        }
        let session = Session {
            record: record.clone(),
            peer: room.peer.into(),
            holders: BTreeMap::new(),
            pairs: Pairs::default(),
            streams: Streams::default(),
        };
        inner.sessions.put(id.clone(), session, ttl);
        Ok(Created::Created)
    }

    async fn load(
        &self,
        id: &SessionId,
        holder: Option<&NodeId>,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let mut inner = self.lock();
        let life = holder.and_then(|node| inner.life_of(node));
        let Some(session) = inner.sessions.get_mut(id) else {
            return Ok(None);
        };
        if let Some(node) = holder.filter(|_| session.record.initialized) {
            session.holders.insert(node.clone(), life);
        }
        Ok(Some(session.record.clone()))
    }

    async fn principal(&self, id: &SessionId) -> Result<Option<Principal>, StoreError> {
        let inner = self.lock();
        Ok(inner
            .sessions
            .get(id)
            .map(|session| session.record.principal.clone()))
    }

    async fn touch(&self, id: &SessionId, now_ms: u64, ttl: Duration) -> Result<Touched, StoreError> {
        let mut inner = self.lock();
        let Some(session) = inner.sessions.renew(id, ttl) else {
            return Ok(Touched::Gone);
        };
        session.record.last_activity_ms = now_ms;
        session.streams.keep(ttl);
        let peer = Arc::clone(&session.peer);
        inner.crowd.stays(id, &peer, ttl);
        Ok(Touched::Touched)
    }

    async fn change(&self, id: &SessionId, change: &Change, ttl: Duration) -> Result<Changed, StoreError> {
        let mut inner = self.lock();
        let Some(session) = inner.sessions.get_mut(id) else {
            return Ok(Changed::Gone);
        };
        let (mut carriers, mut stopped) = (Vec::new(), Vec::new());
        let subscriptions = &mut session.record.subscriptions;
        match change {
            Change::Initialized => {
                session.record.initialized = true;
                // No copy was kept before, so nobody is named who would read it again: but a stream may be carried.
                carriers = session.streams.carriers();
            }
            Change::Introduced(introduction) => {
                if session.record.client_info != Introduction::missing().client_info {
                    stopped = session.streams.begin_anew();
                }
                session.record.revision = introduction.revision;
                session.record.client_info = introduction.client_info.clone();
                session.record.capabilities = introduction.capabilities.clone();
            }
            Change::LogLevel(level) => session.record.log_level = Some(*level),
            Change::Subscribe(uri) if subscriptions.contains(uri) => {}
            Change::Subscribe(_) if subscriptions.len() >= SUBSCRIPTIONS_MAX => return Ok(Changed::Full),
            Change::Subscribe(uri) => {
                subscriptions.insert(uri.clone());
            }
            Change::Unsubscribe(uri) => {
                subscriptions.remove(uri);
                session.streams.changes.unsubscribe(uri);
            }
        }
        let holders = session.holders.keys().cloned().collect();
        let peer = Arc::clone(&session.peer);
        if !ttl.is_zero() {
            session.streams.keep(ttl);
            inner.sessions.renew(id, ttl);
            inner.crowd.stays(id, &peer, ttl);
        }
        if *change == Change::Initialized {
            inner.crowd.settles(id, &peer);
        }
        inner.ring_carriers(id, carriers);
        for (node, call) in &stopped {
            inner.ring(node, &answer_bell(id, call));
        }
        Ok(Changed::Changed(holders))
    }

    async fn end(&self, id: &SessionId) -> Result<Ended, StoreError> {
        let mut inner = self.lock();
        let Some(mut session) = inner.sessions.take(id) else {
            return Ok(Ended::Gone);
        };
        inner.crowd.leaves(id, &session.peer);
        inner.ring_carriers(id, session.streams.carriers());
        Ok(Ended::Ended(session.holders.into_keys().collect()))
    }

    async fn release(&self, id: &SessionId, holder: &NodeId) -> Result<(), StoreError> {
        let mut inner = self.lock();
        // Others take a dead node off, in any of its lives.
        let life = inner.life_of(holder).filter(|_| inner.lease_lives(holder));
        if let Some(session) = inner.sessions.get_mut(id)
            && (life.is_none() || session.holders.get(holder) == Some(&life))
        {
            session.holders.remove(holder);
        }
        Ok(())
    }

    async fn list(&self, limit: usize) -> Result<Vec<(SessionId, SessionRecord)>, StoreError> {
        let inner = self.lock();
        let living = inner.sessions.iter().take(limit.min(SESSION_LIST_MAX));
        Ok(living
            .map(|(id, session)| (id.clone(), session.record.clone()))
            .collect())
    }
}
