//! How many sessions, notebooks and tasks there are, in all and of one peer: sets beside them, in slots of
//! their own.
//!
//! The sets only bound. A session that is not in its sets, because Redis has lost them, lives on, and the
//! next touch enters it again. A member whose session is gone expires by itself.

use std::time::Duration;

use fred::types::Value;
use futures::future::join_all;
use tracing::debug;

use super::belongings::Belongings;
use super::{RedisStore, millis};
use crate::session::{NodeId, SessionId};
use crate::store::{Full, Limits, SessionRoom, SessionStore as _, StoreError};

impl RedisStore {
    /// Enters a session in its sets; says which is full, if one is.
    pub(super) async fn enter_session(
        &self,
        id: &SessionId,
        ttl: Duration,
        initialized: bool,
        room: &SessionRoom<'_>,
    ) -> Result<Option<Full>, StoreError> {
        let keys = &self.keys;
        let mut sets = vec![keys.sessions(), keys.peer_sessions(room.peer)];
        let mut args = vec![id.as_str().into(), millis(ttl).into()];
        args.extend([room.sessions_max, room.peer_max].map(most));
        if !initialized {
            sets.push(keys.peer_newcomers(room.peer));
            args.push(most(room.peer_uninitialized_max));
        }
        Ok(match self.enter(&sets, args).await? {
            0 => None,
            1 => Some(Full::Sessions),
            2 => Some(Full::OfPeer),
            _ => Some(Full::OfPeerUninitialized),
        })
    }

    /// Sessions of a peer, the longest unused first, each with the nodes that carry a stream of it or run a call of it.
    pub(super) async fn sessions_of(&self, peer: &str) -> Result<Vec<(SessionId, Vec<NodeId>)>, StoreError> {
        let set = self.keys.peer_sessions(peer);
        let args = vec![most(Limits::OF_PEER_MAX)];
        let ids: Vec<String> = self.script(&self.scripts.of_peer, &[&set], args).await?;
        let ids = ids.iter().filter_map(|id| SessionId::parse(id));
        let reads = ids.map(|id| async move {
            // One that has just gone, or cannot be read, is left out.
            let record = self.load(&id, None).await.ok().flatten()?;
            let Belongings { streams, calls, .. } = self.belongings(&id).await.ok()?;
            let carriers = streams.into_iter().filter_map(|stream| stream.carrier);
            let nodes = carriers.chain(calls.into_iter().map(|call| call.node));
            Some((record.last_activity_ms, id, nodes.collect()))
        });
        let mut found: Vec<_> = join_all(reads).await.into_iter().flatten().collect();
        found.sort_by_key(|(used_ms, ..)| *used_ms);
        Ok(found.into_iter().map(|(_, id, nodes)| (id, nodes)).collect())
    }

    /// Enters a member in sets that lie in one slot; says which is full, counted from 1, or 0.
    pub(super) async fn enter(&self, sets: &[String], args: Vec<Value>) -> Result<u64, StoreError> {
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        self.script(&self.scripts.enter, &sets, args).await
    }

    /// Lets a session live on in its sets.
    pub(super) async fn keep_session(&self, id: &SessionId, peer: &str, ttl: Duration) {
        if !peer.is_empty() {
            let sets = [self.keys.sessions(), self.keys.peer_sessions(peer)];
            self.stay(&sets, id.as_str(), ttl).await;
        }
    }

    /// Lets a member live on in sets that lie in one slot.
    pub(super) async fn stay(&self, sets: &[String], member: &str, ttl: Duration) {
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let args = vec![member.into(), millis(ttl).into()];
        if let Err(error) = self.scripts.stay.run(&self.link, &sets, args).await {
            debug!(%error, "could not renew a count; the next use does");
        }
    }

    /// Takes a session off the set of those that are not initialized.
    pub(super) async fn leave_newcomers(&self, id: &SessionId, peer: &str) {
        self.leave(&[self.keys.peer_newcomers(peer)], id.as_str()).await;
    }

    /// Takes a session off all its sets.
    pub(super) async fn leave_sessions(&self, id: &SessionId, peer: &str) {
        let keys = &self.keys;
        let sets = [
            keys.sessions(),
            keys.peer_sessions(peer),
            keys.peer_newcomers(peer),
        ];
        self.leave(&sets, id.as_str()).await;
    }

    /// Takes a member off sets that lie in one slot.
    pub(super) async fn leave(&self, sets: &[String], member: &str) {
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        if let Err(error) = self
            .scripts
            .leave
            .run(&self.link, &sets, vec![member.into()])
            .await
        {
            debug!(%error, "could not remove a count; it expires by itself");
        }
    }
}

pub(super) fn most(count: usize) -> Value {
    count.to_string().into()
}
