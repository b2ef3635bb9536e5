//! How many there are of what ends by itself, in memory: sessions, notebooks and tasks, in all and of one
//! peer.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::log::after;
use super::ttl_map::TtlMap;
use crate::random::HashMap;
use crate::session::SessionId;
use crate::store::{Full, SessionRoom};

/// Members, each with when it ends.
#[derive(Debug)]
pub(super) struct Tally<K> {
    ends: HashMap<K, Instant>,
    order: BTreeSet<(Instant, K)>,
}

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self {
            ends: HashMap::default(),
            order: BTreeSet::new(),
        }
    }
}

impl<K: Hash + Ord + Clone> Tally<K> {
    /// How many have not ended.
    pub(super) fn len(&mut self) -> usize {
        let now = Instant::now();
        while self.order.first().is_some_and(|(ends, _)| *ends <= now) {
            if let Some((_, key)) = self.order.pop_first() {
                self.ends.remove(&key);
            }
        }
        self.ends.len()
    }

    /// So many of those that have not ended, those first that end first.
    fn first(&mut self, count: usize) -> impl Iterator<Item = &K> {
        let _living = self.len();
        self.order.iter().take(count).map(|(_, key)| key)
    }

    /// One that is there, or comes, lives `ttl` from now.
    pub(super) fn keep(&mut self, key: &K, ttl: Duration) {
        let ends = after(ttl);
        if let Some(before) = self.ends.insert(key.clone(), ends) {
            self.order.remove(&(before, key.clone()));
        }
        self.order.insert((ends, key.clone()));
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some(ends) = self.ends.remove(key) {
            self.order.remove(&(ends, key.clone()));
        }
    }
}

/// What one peer has.
#[derive(Debug, Default)]
pub(super) struct OfPeer {
    sessions: Tally<Arc<str>>,
    newcomers: Tally<Arc<str>>,
    pub(super) notebooks: Tally<Arc<str>>,
    pub(super) tasks: Tally<Arc<str>>,
}

/// What all have, and each peer.
#[derive(Debug, Default)]
pub(super) struct Usage {
    sessions: Tally<Arc<str>>,
    peers: TtlMap<Arc<str>, OfPeer>,
}

impl Usage {
    /// What a peer has, which lives `ttl` from now at least.
    pub(super) fn of(&mut self, peer: &str, ttl: Duration) -> Option<&mut OfPeer> {
        let peer: Arc<str> = peer.into();
        let ttl = ttl.max(self.peers.left(&peer));
        if self.peers.get(&peer).is_none() {
            self.peers.put(Arc::clone(&peer), OfPeer::default(), ttl);
        }
        self.peers.renew(&peer, ttl)
    }

    /// Enters a session; says what is full, if something is.
    pub(super) fn enter_session(
        &mut self,
        id: &SessionId,
        ttl: Duration,
        initialized: bool,
        room: &SessionRoom<'_>,
    ) -> Option<Full> {
        if self.sessions.len() >= room.sessions_max {
            return Some(Full::Sessions);
        }
        let id: Arc<str> = id.as_str().into();
        let peer = self.of(room.peer, ttl)?;
        if peer.sessions.len() >= room.peer_max {
            return Some(Full::OfPeer);
        }
        if !initialized {
            if peer.newcomers.len() >= room.peer_uninitialized_max {
                return Some(Full::OfPeerUninitialized);
            }
            peer.newcomers.keep(&id, ttl);
        }
        peer.sessions.keep(&id, ttl);
        self.sessions.keep(&id, ttl);
        None
    }

    /// Lets a session live on.
    pub(super) fn keep_session(&mut self, id: &SessionId, peer: &str, ttl: Duration) {
        let id: Arc<str> = id.as_str().into();
        self.sessions.keep(&id, ttl);
        if let Some(peer) = self.of(peer, ttl) {
            peer.sessions.keep(&id, ttl);
        }
    }

    /// A session is initialized now.
    pub(super) fn leave_newcomers(&mut self, id: &SessionId, peer: &str) {
        if let Some(peer) = self.peers.get_mut(&peer.into()) {
            peer.newcomers.remove(&id.as_str().into());
        }
    }

    /// So many sessions of a peer, those first that end first.
    pub(super) fn sessions_of(&mut self, peer: &str, count: usize) -> Vec<SessionId> {
        let Some(peer) = self.peers.get_mut(&peer.into()) else {
            return vec![];
        };
        peer.sessions
            .first(count)
            .filter_map(|id| SessionId::parse(id))
            .collect()
    }

    /// A session has ended.
    pub(super) fn leave_sessions(&mut self, id: &SessionId, peer: &str) {
        let id: Arc<str> = id.as_str().into();
        self.sessions.remove(&id);
        if let Some(peer) = self.peers.get_mut(&peer.into()) {
            peer.sessions.remove(&id);
            peer.newcomers.remove(&id);
        }
    }

    /// Forgets peers that have nothing any longer, a part of all at a time.
    pub(super) fn tidy(&mut self, count: usize) {
        self.peers.tidy(count, |_| {});
    }
}
