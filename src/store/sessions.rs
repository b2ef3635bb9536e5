//! What a store keeps of sessions: their records, who keeps copies of them, how many there are.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use crate::session::{Introduction, LogLevel, NodeId, Principal, SessionId, SessionRecord};

/// Outcome of [`SessionStore::create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Created {
    /// The session is there now.
    Created,
    /// A session of that id exists; nothing was changed.
    Collision,
    /// A limit of sessions is reached; nothing was changed.
    Full(Full),
}

/// Which bound on sessions is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// That on all sessions of the store.
    Sessions,
    /// That on the sessions of one peer.
    OfPeer,
    /// That on those of one peer whose client has not said that it is initialized.
    OfPeerUninitialized,
}

/// How many sessions there may be.
#[derive(Debug, Clone, Copy)]
pub struct SessionRoom<'a> {
    /// In the whole store, of all nodes.
    pub sessions_max: usize,
    /// The peer the new one counts for: a short text that is not empty,
    /// [`Peer::key`](crate::session::Peer::key).
    pub peer: &'a str,
    /// Of this peer.
    pub peer_max: usize,
    /// Of this peer, of those whose client has not said that it is initialized.
    pub peer_uninitialized_max: usize,
}

impl<'a> SessionRoom<'a> {
    /// As much room for this peer as it wants.
    #[must_use]
    pub const fn boundless(peer: &'a str) -> Self {
        Self {
            sessions_max: usize::MAX,
            peer,
            peer_max: usize::MAX,
            peer_uninitialized_max: usize::MAX,
        }
    }
}

/// Outcome of [`SessionStore::touch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Touched {
    /// Its life was renewed.
    Touched,
    /// There is no such session.
    Gone,
}

/// A change to a session's record.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The client sent `notifications/initialized`.
    Initialized,
    /// The client of a session that was there before it sent `initialize` has done so.
    Introduced(Box<Introduction>),
    /// `logging/setLevel`.
    LogLevel(LogLevel),
    /// `resources/subscribe` to this URI.
    Subscribe(String),
    /// `resources/unsubscribe` from this URI.
    Unsubscribe(String),
}

/// Outcome of [`SessionStore::change`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Changed {
    /// It was written. These nodes keep a copy of the session.
    Changed(Vec<NodeId>),
    /// The session has [`SessionRecord::SUBSCRIPTIONS_MAX`](SessionRecord::SUBSCRIPTIONS_MAX) subscriptions
    /// already.
    Full,
    /// There is no such session.
    Gone,
}

/// Outcome of [`SessionStore::end`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Ended {
    /// It was there and is gone now. These nodes kept a copy of it.
    Ended(Vec<NodeId>),
    /// There was no such session, or none of that owner.
    Gone,
}

/// Keeps session records.
///
/// A store of one's own needs a table of records by id (with the peer, when each ends, and the nodes that
/// keep copies), and a way to count them by peer.
#[async_trait]
pub trait SessionStore: fmt::Debug + Send + Sync + 'static {
    /// Writes a new session that lives `ttl`.
    ///
    /// - Collision: [`Created::Collision`] when one of that id exists.
    /// - No room: [`Created::Full`]. The count is only a bound: a store that has lost it counts again as
    ///   sessions are touched.
    /// - Expiry: an expired session of that id does not collide, and leaves nothing to the new one.
    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        ttl: Duration,
        room: &SessionRoom<'_>,
    ) -> Result<Created, StoreError>;

    /// Reads a session; never handlers' state. In the same step, when the session is initialized, names
    /// `node` as a node that keeps a copy.
    ///
    /// - Absence: `None`; also when no version could read the record. [`StoreError::Newer`] when a newer
    ///   version wrote it.
    /// - Collision: a node that is named already stays named, in its present life.
    /// - Expiry: reading renews nothing.
    async fn load(&self, id: &SessionId, node: Option<&NodeId>) -> Result<Option<SessionRecord>, StoreError>;

    /// Lets the session live `ttl` from now, and notes `now_ms` (unix milliseconds) as its last activity.
    ///
    /// - Absence: [`Touched::Gone`]. A late touch does not bring a session back.
    async fn touch(&self, id: &SessionId, now_ms: u64, ttl: Duration) -> Result<Touched, StoreError>;

    /// Changes the record, and says who keeps copies. [`Change::Initialized`] sends
    /// [`SessionStreams`](crate::store::NodeMessage::SessionStreams) once to each node that carries a stream
    /// of the session: no copy was kept until then. [`Change::Introduced`] of a client that had introduced
    /// itself before ends what was meant for its former life: its calls count as cancelled, each node that
    /// runs one gets [`SessionCalls`](crate::store::NodeMessage::SessionCalls), and the events of its stream
    /// go.
    ///
    /// - Collision: a change that was made before is made again, and changes nothing.
    /// - Absence: [`Changed::Gone`].
    /// - Expiry: the session lives `ttl` from now; as long as before when that is zero.
    async fn change(&self, id: &SessionId, change: &Change, ttl: Duration) -> Result<Changed, StoreError>;

    /// Ends the session with everything that belongs to it, for good, and sends
    /// [`SessionStreams`](crate::store::NodeMessage::SessionStreams) once to each node that carries a stream
    /// of it. With an `owner`, only if the session is that principal's. The version of its record does not
    /// matter.
    ///
    /// - Absence: [`Ended::Gone`]; also when it is not the `owner`'s, and nothing is changed then.
    async fn end(&self, id: &SessionId, owner: Option<&Principal>) -> Result<Ended, StoreError>;

    /// Sessions of a peer ([`SessionRoom::peer`]), the longest unused first, each with the nodes that carry a stream of it
    /// or run a call of it: at most [`OF_PEER_MAX`](super::Limits::OF_PEER_MAX) of those that would end first.
    ///
    /// - Absence: those that end meanwhile, or cannot be read, are left out.
    async fn of_peer(&self, peer: &str) -> Result<Vec<(SessionId, Vec<NodeId>)>, StoreError>;

    /// Notes that `node` keeps no copy any longer.
    ///
    /// - Absence: nothing happens when the session is gone, or the node is not named.
    /// - Collision: while this store acts for that node, nothing happens when the copy is that of another of
    ///   its lives.
    async fn release(&self, id: &SessionId, node: &NodeId) -> Result<(), StoreError>;

    /// Notes that `what` was seen of the session just now, and returns what was seen of that `kind` within
    /// `within`, the oldest first, with `what` at the end. At most
    /// [`SIGHTINGS_MAX`](super::Limits::SIGHTINGS_MAX) of a kind are kept. All are short names of letters,
    /// digits, `-` and `.`.
    ///
    /// - Collision: what is noted already is noted again, with the new time.
    /// - Absence: nothing is noted, and the list is empty.
    /// - Expiry: noting renews nothing.
    async fn sight(
        &self,
        id: &SessionId,
        kind: &'static str,
        what: &[&str],
        within: Duration,
    ) -> Result<Vec<String>, StoreError>;

    /// Sessions in no particular order, at most `limit` and at most
    /// [`SESSION_LIST_MAX`](super::Limits::SESSION_LIST_MAX), for operators.
    ///
    /// - Absence: those that end meanwhile, or cannot be read, are left out.
    async fn list(&self, limit: usize) -> Result<Vec<(SessionId, SessionRecord)>, StoreError>;
}
