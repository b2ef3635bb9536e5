//! Sessions in memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use smallvec::SmallVec;

use super::calls::MemoryCalls;
use super::changes::SessionChanges;
use super::logs::Logs;
use super::sightings::Sightings;
use super::state::Pairs;
use super::{MemoryInner, MemoryStore};
use crate::session::{Introduction, Life, NodeId, Principal, SessionId, SessionRecord};
use crate::store::Limits;
use crate::store::streams::StreamId;
use crate::store::{
    Change, Changed, Created, Ended, NodeMessage, Recipients, SessionRoom, SessionStore, StoreError, Touched,
};

#[derive(Debug)]
pub(super) struct MemorySession {
    pub(super) record: SessionRecord,
    /// The peer it counts for.
    peer: Arc<str>,
    /// Who keeps a copy, in which life.
    copies: SmallVec<[(NodeId, Option<Life>); 1]>,
    pub(super) pairs: Pairs,
    pub(super) logs: Logs,
    pub(super) calls: MemoryCalls,
    pub(super) changes: SessionChanges,
    seen: Sightings,
}

impl MemorySession {
    /// The nodes that keep a copy.
    fn nodes(&self) -> Vec<NodeId> {
        self.copies.iter().map(|(node, _)| node.clone()).collect()
    }

    /// Forgets what has expired.
    pub(super) fn sweep(&mut self) {
        self.logs.sweep();
        self.calls.sweep();
    }
}

impl MemoryInner {
    /// Sends a message to some nodes.
    fn send_each(&self, nodes: &BTreeSet<NodeId>, message: &NodeMessage) {
        for node in nodes {
            self.send(Recipients::One(node), message);
        }
    }
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
        if let Some(full) = inner.usage.enter_session(id, ttl, record.initialized, room) {
            return Ok(Created::Full(full));
        }
        let session = MemorySession {
            record: record.clone(),
            peer: room.peer.into(),
            copies: SmallVec::new(),
            pairs: Pairs::default(),
            logs: Logs::default(),
            calls: MemoryCalls::default(),
            changes: SessionChanges::default(),
            seen: Sightings::default(),
        };
        inner.sessions.put(id.clone(), session, ttl);
        Ok(Created::Created)
    }

    async fn load(&self, id: &SessionId, node: Option<&NodeId>) -> Result<Option<SessionRecord>, StoreError> {
        let mut inner = self.lock();
        let life = node.and_then(|node| inner.life_of(node));
        let Some(session) = inner.sessions.get_mut(id) else {
            return Ok(None);
        };
        if let Some(node) = node.filter(|_| session.record.initialized) {
            session.copies.retain(|(keeps, _)| keeps != node);
            session.copies.push((node.clone(), life));
        }
        Ok(Some(session.record.clone()))
    }

    async fn touch(&self, id: &SessionId, now_ms: u64, ttl: Duration) -> Result<Touched, StoreError> {
        let mut inner = self.lock();
        let Some(session) = inner.sessions.renew(id, ttl) else {
            return Ok(Touched::Gone);
        };
        session.record.last_activity_ms = now_ms;
        session.logs.keep(ttl);
        let peer = Arc::clone(&session.peer);
        inner.usage.keep_session(id, &peer, ttl);
        Ok(Touched::Touched)
    }

    async fn change(&self, id: &SessionId, change: &Change, ttl: Duration) -> Result<Changed, StoreError> {
        let mut inner = self.lock();
        let Some(session) = inner.sessions.get_mut(id) else {
            return Ok(Changed::Gone);
        };
        let (mut carriers, mut stopped) = (BTreeSet::new(), BTreeSet::new());
        let subscriptions = &mut session.record.subscriptions;
        match change {
            Change::Initialized => {
                session.record.initialized = true;
                // No copy was kept before, so nobody is named who would read it again: but a stream may be
                // carried.
                carriers = session.logs.carriers();
            }
            Change::Introduced(introduction) => {
                if session.record.client_info != Introduction::missing().client_info {
                    stopped = session.calls.begin_anew();
                    if let Some(log) = session.logs.log(&StreamId::sse()) {
                        log.begin_anew();
                    }
                }
                session.record.revision = introduction.revision;
                session.record.client_info = introduction.client_info.clone();
                session.record.capabilities = introduction.capabilities.clone();
                session.record.agent.clone_from(&introduction.agent);
            }
            Change::LogLevel(level) => session.record.log_level = Some(*level),
            Change::Subscribe(uri) if subscriptions.contains(uri) => {}
            Change::Subscribe(_) if subscriptions.len() >= SessionRecord::SUBSCRIPTIONS_MAX => {
                return Ok(Changed::Full);
            }
            Change::Subscribe(uri) => {
                subscriptions.insert(uri.clone());
            }
            Change::Unsubscribe(uri) => {
                subscriptions.remove(uri);
                session.changes.unsubscribe(uri);
            }
        }
        let copies = session.nodes();
        let peer = Arc::clone(&session.peer);
        if !ttl.is_zero() {
            session.logs.keep(ttl);
            inner.sessions.renew(id, ttl);
            inner.usage.keep_session(id, &peer, ttl);
        }
        if *change == Change::Initialized {
            inner.usage.leave_newcomers(id, &peer);
        }
        inner.send_each(&carriers, &NodeMessage::session_streams(id));
        inner.send_each(&stopped, &NodeMessage::session_calls(id));
        Ok(Changed::Changed(copies))
    }

    async fn end(&self, id: &SessionId, owner: Option<&Principal>) -> Result<Ended, StoreError> {
        let mut inner = self.lock();
        let present = inner.sessions.get(id).map(|session| &session.record.principal);
        if owner.is_some() && owner != present {
            return Ok(Ended::Gone);
        }
        let Some(mut session) = inner.sessions.take(id) else {
            return Ok(Ended::Gone);
        };
        inner.usage.leave_sessions(id, &session.peer);
        inner.send_each(&session.logs.carriers(), &NodeMessage::session_streams(id));
        Ok(Ended::Ended(session.nodes()))
    }

    async fn of_peer(&self, peer: &str) -> Result<Vec<(SessionId, Vec<NodeId>)>, StoreError> {
        let mut inner = self.lock();
        let ids = inner.usage.sessions_of(peer, Limits::OF_PEER_MAX);
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(session) = inner.sessions.get_mut(&id) {
                let mut nodes = session.logs.carriers();
                nodes.extend(session.calls.nodes().cloned());
                found.push((session.record.last_activity_ms, id, nodes.into_iter().collect()));
            }
        }
        found.sort_by_key(|(used_ms, ..)| *used_ms);
        Ok(found.into_iter().map(|(_, id, nodes)| (id, nodes)).collect())
    }

    async fn release(&self, id: &SessionId, node: &NodeId) -> Result<(), StoreError> {
        let mut inner = self.lock();
        // Others take a dead node off, in any of its lives.
        let life = inner.life_of(node).filter(|_| inner.lease_lives(node));
        if let Some(session) = inner.sessions.get_mut(id) {
            session
                .copies
                .retain(|(keeps, in_life)| keeps != node || life.is_some() && *in_life != life);
        }
        Ok(())
    }

    async fn sight(
        &self,
        id: &SessionId,
        kind: &'static str,
        what: &[&str],
        within: Duration,
    ) -> Result<Vec<String>, StoreError> {
        let mut inner = self.lock();
        let session = inner.sessions.get_mut(id);
        Ok(session.map_or_else(Vec::new, |session| session.seen.note(kind, what, within)))
    }

    async fn list(&self, limit: usize) -> Result<Vec<(SessionId, SessionRecord)>, StoreError> {
        let inner = self.lock();
        let living = inner.sessions.iter().take(limit.min(Limits::SESSION_LIST_MAX));
        Ok(living
            .map(|(id, session)| (id.clone(), session.record.clone()))
            .collect())
    }
}
