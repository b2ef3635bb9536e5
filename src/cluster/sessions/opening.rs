//! Opens sessions, as many as there may be.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{debug, warn};

use super::{SessionError, Sessions};
use crate::audit::{Actor, EndedBy};
use crate::cluster::millis;
use crate::config::{SessionSettings, WhenFull};
use crate::protocol::error::RETRY_AFTER_SECONDS;
use crate::session::{NodeId, Peer, Principal, SessionId, SessionRecord};
use crate::store::{Created, Full, SessionRoom, StoreError};
use crate::telemetry::{metrics, seldom};

/// How often a fresh id is tried; two UUIDs never collide, a broken random source might.
const OPEN_ATTEMPTS_MAX: usize = 3;
/// For how long a node does not ask the store again when the limit of sessions is reached: as long as clients
/// must wait.
const FULL_FOR: Duration = Duration::from_secs(RETRY_AFTER_SECONDS);

impl Sessions {
    /// Writes a new session, which counts for that peer. It lives shortly, until the client says that it is
    /// initialized.
    ///
    /// # Errors
    /// [`SessionError::TooMany`], [`SessionError::Store`].
    pub(crate) async fn open(&self, record: &SessionRecord, peer: &Peer) -> Result<SessionId, SessionError> {
        for _ in 0..OPEN_ATTEMPTS_MAX {
            let id = SessionId::generate();
            match self.open_as(&id, record, peer).await? {
                Created::Created => return Ok(id),
                Created::Full(full) => return Err(SessionError::TooMany(full)),
                Created::Collision => {
                    let words = "a fresh session id was taken: is the random source broken?";
                    seldom(words, |left_out| warn!(left_out, "{words}"));
                }
            }
        }
        Err(SessionError::Store(StoreError::Corrupt(
            "fresh session ids keep colliding".into(),
        )))
    }

    /// The same under an id that the client chose.
    ///
    /// # Errors
    /// [`SessionError::Store`].
    pub(crate) async fn open_as(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        peer: &Peer,
    ) -> Result<Created, SessionError> {
        let SessionSettings {
            ttl,
            uninitialized_ttl,
            max,
            peer_max,
            peer_uninitialized_max,
            ..
        } = self.inner.settings;
        let room = SessionRoom {
            sessions_max: max,
            peer: &peer.key(),
            peer_max,
            peer_uninitialized_max,
        };
        let life = if record.initialized {
            ttl
        } else {
            uninitialized_ttl
        };
        let until = self.inner.full_until.load(Ordering::Relaxed);
        if self.inner.started.elapsed() < Duration::from_millis(until) {
            return Ok(Created::Full(Full::Sessions));
        }
        let mut created = self.inner.store.create(id, record, life, &room).await?;
        if created == Created::Full(Full::OfPeer) && self.make_room(room.peer, &record.principal).await? {
            created = self.inner.store.create(id, record, life, &room).await?;
        }
        if created == Created::Full(Full::Sessions) {
            let until = millis(self.inner.started.elapsed() + FULL_FOR);
            self.inner.full_until.store(until, Ordering::Relaxed);
        }
        if created == Created::Created {
            metrics::session_made(record.transport);
            debug!(session = id.tag(), revision = %record.revision, "session made");
        }
        Ok(created)
    }

    /// Ends the longest unused session of a peer that has as many as it may, if that is asked for. One that has a stream or
    /// a call in flight is in use, unless the node is dead that has it. Whether one has ended. The principal is whose they are.
    async fn make_room(&self, peer: &str, principal: &Principal) -> Result<bool, SessionError> {
        if self.inner.settings.when_full == WhenFull::Refuse {
            return Ok(false);
        }
        let (store, membership) = (&self.inner.store, &self.inner.membership);
        for (id, nodes) in store.of_peer(peer).await? {
            let dead = membership.dead_among(store.as_ref(), &nodes).await?;
            let at_work = |node: &NodeId| !dead.contains(node);
            let slot = self.inner.registry.existing(&id);
            if nodes.iter().any(at_work) || slot.is_some_and(|slot| slot.is_held()) {
                continue;
            }
            match self.end(&id).await {
                Ok(()) => {
                    let actor = Actor {
                        principal: Some(principal),
                        ..Actor::default()
                    };
                    self.inner.audit.session_ended(&id, EndedBy::Quota, &actor);
                    debug!(
                        session = id.tag(),
                        "ended the longest unused session of a peer that opens another"
                    );
                    return Ok(true);
                }
                // It ended meanwhile, which makes room as well.
                Err(SessionError::NotFound) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}
