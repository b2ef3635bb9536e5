//! Sessions in memory.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;

use super::MemoryStore;
use super::calls::Streams;
use super::state::Pairs;
use crate::session::record::SUBSCRIPTIONS_MAX;
use crate::session::{Introduction, NodeId, SessionId, SessionRecord};
use crate::store::streams::answer_bell;
use crate::store::{Change, Changed, Created, Ended, SESSION_LIST_MAX, SessionStore, StoreError, Touched};

#[derive(Debug)]
pub(super) struct Session {
    record: SessionRecord,
    holders: BTreeSet<NodeId>,
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
    ) -> Result<Created, StoreError> {
        let sessions = &mut self.lock().sessions;
        if sessions.get(id).is_some() {
            return Ok(Created::Collision);
        }
        let session = Session {
            record: record.clone(),
            holders: BTreeSet::new(),
            pairs: Pairs::default(),
            streams: Streams::default(),
        };
        sessions.put(id.clone(), session, ttl);
        Ok(Created::Created)
    }

    async fn load(
        &self,
        id: &SessionId,
        holder: Option<&NodeId>,
    ) -> Result<Option<SessionRecord>, StoreError> {
        let mut inner = self.lock();
        let Some(session) = inner.sessions.get_mut(id) else {
            return Ok(None);
        };
        if let Some(node) = holder.filter(|_| session.record.initialized) {
            session.holders.insert(node.clone());
        }
        Ok(Some(session.record.clone()))
    }

    async fn touch(&self, id: &SessionId, now_ms: u64, ttl: Duration) -> Result<Touched, StoreError> {
        match self.lock().sessions.renew(id, ttl) {
            Some(session) => {
                session.record.last_activity_ms = now_ms;
                session.streams.keep(ttl);
                Ok(Touched::Touched)
            }
            None => Ok(Touched::Gone),
        }
    }

    async fn change(&self, id: &SessionId, change: &Change, ttl: Duration) -> Result<Changed, StoreError> {
        let mut inner = self.lock();
        let Some(session) = inner.sessions.get_mut(id) else {
            return Ok(Changed::Gone);
        };
        let mut stopped = Vec::new();
        let subscriptions = &mut session.record.subscriptions;
        match change {
            Change::Initialized => session.record.initialized = true,
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
            }
        }
        let holders = session.holders.iter().cloned().collect();
        if !ttl.is_zero() {
            session.streams.keep(ttl);
            inner.sessions.renew(id, ttl);
        }
        for (node, call) in &stopped {
            inner.ring(node, &answer_bell(id, call));
        }
        Ok(Changed::Changed(holders))
    }

    async fn end(&self, id: &SessionId) -> Result<Ended, StoreError> {
        Ok(match self.lock().sessions.take(id) {
            Some(session) => Ended::Ended(session.holders.into_iter().collect()),
            None => Ended::Gone,
        })
    }

    async fn release(&self, id: &SessionId, holder: &NodeId) -> Result<(), StoreError> {
        if let Some(session) = self.lock().sessions.get_mut(id) {
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
