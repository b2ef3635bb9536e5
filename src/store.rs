//! What a store must do, so that any node can serve any session.
//!
//! A [`Store`] keeps sessions, handlers' state, event logs, calls in flight, notebooks, tasks, node leases and shared
//! secrets, each with a life that ends by itself, and rings nodes. Two are built in: [`memory`] for one node, [`redis`] for many. Another can be
//! plugged in; the suite in `contract` (feature `store-contract`) tests it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

pub use self::changes::ChangeStore;
pub use self::error::{StoreError, WhyRefused};
pub use self::streams::StreamStore;
use crate::session::notebooks::NotebookStore;
use crate::session::tasks::TaskStore;
use crate::session::{Introduction, Life, LogLevel, NodeId, Principal, SessionId, SessionRecord};

pub mod changes;
#[cfg(feature = "store-contract")]
pub mod contract;
mod error;
pub mod memory;
pub mod redis;
pub mod streams;

/// How many rings may wait for a slow reader before the oldest is dropped (the reader then re-reads everything).
pub const RINGS_WAITING_MAX: usize = 4096; // 4096 x 256 B = 1 MiB
/// The most sessions that one [`SessionStore::list`] returns.
pub const SESSION_LIST_MAX: usize = 10_000;

/// Outcome of [`SessionStore::create`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Created {
    /// The session is there now.
    Created,
    /// A session of that id exists; nothing was changed.
    Collision,
    /// There are as many as there may be; nothing was changed.
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
    /// In the whole store, whichever nodes made them.
    pub sessions_max: usize,
    /// The peer the new one counts for: a short text that is not empty, [`Peer::key`](crate::session::Peer::key).
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
    /// The session has [`SUBSCRIPTIONS_MAX`](crate::session::record::SUBSCRIPTIONS_MAX) subscriptions already.
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
    /// There was no such session.
    Gone,
}

/// Keeps session records.
#[async_trait]
pub trait SessionStore: fmt::Debug + Send + Sync + 'static {
    /// Writes a new session that lives `ttl`, unless one of that id exists or there is no room for one. What is counted is a
    /// bound and no truth: a store that has lost count counts again as sessions are touched.
    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        ttl: Duration,
        room: &SessionRoom<'_>,
    ) -> Result<Created, StoreError>;

    /// Reads a session; `None` when it does not exist, or no version could read it. [`StoreError::Newer`] when a newer version
    /// has written it. In the same step, when the session is initialized, names
    /// `holder` as a node that keeps a copy. Never reads handlers' state.
    async fn load(
        &self,
        id: &SessionId,
        holder: Option<&NodeId>,
    ) -> Result<Option<SessionRecord>, StoreError>;

    /// Whose session it is, of whatever version its record may be; `None` when it does not exist.
    async fn principal(&self, id: &SessionId) -> Result<Option<Principal>, StoreError>;

    /// Lets the session live `ttl` from now, and notes `now_ms` (unix milliseconds) as its last activity.
    async fn touch(&self, id: &SessionId, now_ms: u64, ttl: Duration) -> Result<Touched, StoreError>;

    /// Changes the record, lets the session live `ttl` from now (as long as before when that is zero), and says who
    /// keeps copies, in one step. [`Change::Initialized`] rings those that carry its streams: no copy was kept until then.
    async fn change(&self, id: &SessionId, change: &Change, ttl: Duration) -> Result<Changed, StoreError>;

    /// Ends the session with everything that belongs to it, for good, and rings those that carry its streams.
    async fn end(&self, id: &SessionId) -> Result<Ended, StoreError>;

    /// Notes that `holder` keeps no copy any longer. Nothing happens when the session is gone; nor, while this store acts for
    /// that node, when the copy is that of another of its lives.
    async fn release(&self, id: &SessionId, holder: &NodeId) -> Result<(), StoreError>;

    /// Sessions in no particular order, at most `limit` and at most [`SESSION_LIST_MAX`], for operators.
    async fn list(&self, limit: usize) -> Result<Vec<(SessionId, SessionRecord)>, StoreError>;
}

/// What a node says of itself in its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The node.
    pub node: NodeId,
    /// Which of its starts this is.
    pub life: Life,
    /// Where it listens.
    pub address: String,
    /// The version it runs.
    pub version: String,
    /// When it started, in unix milliseconds.
    pub started_ms: u64,
}

/// Outcome of [`NodeStore::lease_renew`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Renewed {
    /// The lease is the node's for as long as was asked.
    Renewed {
        /// The store's clock, in unix milliseconds.
        clock_ms: u64,
        /// All nodes whose lease has not ended, this one too.
        living: Vec<NodeId>,
    },
    /// Another start of the node has a lease that has not ended. Nothing was changed.
    Taken {
        /// Where the other listens.
        address: String,
        /// When its lease ends, unless it is renewed.
        ends_in: Duration,
    },
}

/// Something heard on the ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A message for this node or for all. It only ever says "look now".
    Message(Arc<str>),
    /// From now on messages are lost: nothing that is kept may be trusted without reading it again.
    Deaf,
    /// Messages are heard again, or some were lost: what was kept until now must be read again before it is trusted.
    Gap,
}

/// Lets nodes know of each other and ring each other.
#[async_trait]
pub trait NodeStore: fmt::Debug + Send + Sync + 'static {
    /// Writes or renews a node's lease, which ends `ttl` from now, unless that of another life of the node has not ended.
    /// From then on this store acts for the node in that life: what it registers as the node's is that life's, and what is
    /// another life's it treats as another node's.
    async fn lease_renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewed, StoreError>;

    /// Ends a node's lease at once, if it is that of the life for which this store acts. Others then find it among the
    /// [`dead`](StreamStore::dead), with the calls it left.
    async fn lease_end(&self, node: &NodeId) -> Result<(), StoreError>;

    /// Those of `nodes` whose lease has not ended.
    async fn living(&self, nodes: &[NodeId]) -> Result<Vec<NodeId>, StoreError>;

    /// Sends a message to one node, if it listens.
    async fn ring(&self, node: &NodeId, message: &str) -> Result<(), StoreError>;

    /// Sends a message to all nodes that listen.
    async fn ring_all(&self, message: &str) -> Result<(), StoreError>;

    /// Begins to listen for rings to `node` and to all, which may come in another order than they were sent in.
    async fn listen(&self, node: &NodeId) -> Result<broadcast::Receiver<Heard>, StoreError>;

    /// A secret that all nodes share, made by whichever asks first: `fresh` when there is none yet. Returns all the
    /// secrets that are valid, by name, with the name of the newest. Those that are older than `rotate_after` stop being
    /// the newest; those older than twice that are dropped. The whole lives `ttl` from now.
    async fn secrets(
        &self,
        fresh: &NewSecret,
        rotate_after: Duration,
        ttl: Duration,
    ) -> Result<Secrets, StoreError>;
}

/// A secret that a node offers when the store has none, or only old ones.
#[derive(Clone)]
pub struct NewSecret {
    /// Its name, unique.
    pub name: String,
    /// Its text: 32 random bytes or more, in hexadecimal.
    pub text: String,
    /// The time now by the store's own clock, in unix milliseconds.
    pub now_ms: u64,
}

impl fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSecret")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The secrets that all nodes share.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets {
    /// The name of the one to seal with.
    pub newest: String,
    /// Every valid one, by name: those to open with.
    pub all: BTreeMap<String, String>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets")
            .field("newest", &self.newest)
            .field("count", &self.all.len())
            .finish()
    }
}

/// What a store says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreReport {
    /// The server's version, such as `7.0.15`.
    pub version: Option<String>,
    /// What it does when it is full, such as `noeviction`.
    pub eviction_policy: Option<String>,
    /// Its clock, in unix milliseconds.
    pub clock_ms: Option<u64>,
    /// What other nodes on the same store put before their keys, as `store.prefix` says: nodes do not know each other's sessions
    /// then.
    pub other_prefixes: Vec<String>,
    /// How it is set up: `memory`, `centralized`, `cluster`, `sentinel`.
    pub topology: &'static str,
}

/// Everything that a node needs of a store.
#[async_trait]
pub trait Store: SessionStore + NotebookStore + TaskStore + NodeStore + StreamStore + ChangeStore {
    /// `memory`, `redis`, or what another store calls itself.
    fn kind(&self) -> &'static str;

    /// Whether other nodes can use it too, and carry on what this one leaves.
    fn is_shared(&self) -> bool {
        true
    }

    /// Asks the store for a sign of life.
    async fn ping(&self) -> Result<(), StoreError>;

    /// What the store says of itself. What it does not tell, or does not let us ask, is `None`.
    async fn report(&self) -> Result<StoreReport, StoreError>;

    /// Closes connections.
    async fn close(&self);
}
