//! What a store does for nodes: their leases, the messages between them, and what it says of itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use super::{NodeMessage, StoreError};
use crate::session::{Life, NodeId};

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

/// A node that the store knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownNode {
    /// The node.
    pub node: NodeId,
    /// Whether its lease has not ended.
    pub lives: bool,
}

/// The recipients of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipients<'a> {
    /// To that node, if it listens.
    One(&'a NodeId),
    /// To all nodes that listen, the sender too.
    All,
}

/// What a listener receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A message for this node or for all, [encoded](NodeMessage::encode). It only ever says "look now".
    Message(Arc<str>),
    /// From now on messages are lost: nothing that is kept may be trusted without reading it again.
    Disconnected,
    /// Messages are heard again, or some were lost: what was kept until now must be read again before it is
    /// trusted.
    Gap,
}

/// What a store always says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreProfile {
    /// `memory`, `redis`, or what another store calls itself.
    pub kind: &'static str,
    /// Whether other nodes can use it too, and carry on what this one leaves.
    pub is_shared: bool,
}

/// What a store says of itself when it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreReport {
    /// The server's version, such as `7.0.15`.
    pub version: Option<String>,
    /// What it does when it is full, such as `noeviction`.
    pub eviction_policy: Option<String>,
    /// Its clock, in unix milliseconds.
    pub clock_ms: Option<u64>,
    /// What other nodes on the same store put before their keys, as `store.prefix` says: nodes do not know
    /// each other's sessions then.
    pub other_prefixes: Vec<String>,
    /// How it is set up: `memory`, `centralized`, `cluster`, `sentinel`.
    pub topology: &'static str,
}

/// Lets nodes know of each other and send each other messages, and says what the store is.
///
/// A store of one's own needs a table of leases (node, life, address, when it ends), a clock that all nodes
/// share, and something that carries short texts between nodes, such as `LISTEN` and `NOTIFY` of Postgres.
/// Messages may overtake each other, and may be lost when the store then reports it with
/// [`Received::Disconnected`] or [`Received::Gap`].
#[async_trait]
pub trait NodeStore: fmt::Debug + Send + Sync + 'static {
    /// Writes or renews a node's lease, which ends `ttl` from now. From then on this store acts for the node
    /// in that life: what it registers as the node's is that life's, and what is another life's it treats as
    /// another node's.
    ///
    /// - Collision: [`Renewed::Taken`] while the lease of another life of the node lasts.
    /// - Absence, expiry: a node without a lease, or whose lease has ended, gets one. All nodes give the same
    ///   `ttl`, so a lease that would last longer was made before the store's clock stepped back, and the
    ///   store may cut it to `ttl`.
    async fn lease_renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewed, StoreError>;

    /// Ends a node's lease at once, and then sends [`Left`](NodeMessage::Left) to all nodes. That may take
    /// two steps: a crash between them leaves the message unsent, and the node among the living in
    /// [`nodes`](Self::nodes) until its lease would have ended. The calls that the node leaves are found as
    /// those of one that died.
    ///
    /// - Collision: nothing happens when the lease is that of another life than the one for which this store
    ///   acts.
    /// - Absence, expiry: without a lease there is nothing to end. [`Left`](NodeMessage::Left) is sent all
    ///   the same, without error.
    async fn lease_end(&self, node: &NodeId) -> Result<(), StoreError>;

    /// All nodes that ever had a lease, and whether it lasts, by the store's clock.
    ///
    /// - Expiry: a node whose lease has ended stays until it is [forgotten](super::CallStore::forget), or for
    ///   a day.
    async fn nodes(&self) -> Result<Vec<KnownNode>, StoreError>;

    /// Sends a message.
    ///
    /// - Absence: that nobody listens is no error.
    async fn send(&self, to: Recipients<'_>, message: &NodeMessage) -> Result<(), StoreError>;

    /// Begins to listen for messages to `node` and to all, which may come in another order than they were
    /// sent in.
    ///
    /// - Collision: an earlier receiver goes on receiving.
    async fn listen(&self, node: &NodeId) -> Result<broadcast::Receiver<Received>, StoreError>;

    /// What the store is. It asks no server, and changes nothing.
    ///
    /// - Collision, absence, expiry: none. The answer is the same for the store's whole life, also after
    ///   [`close`](Self::close).
    fn profile(&self) -> StoreProfile;

    /// Asks the store for a sign of life: each server that keeps sessions. It changes nothing.
    ///
    /// - Absence: [`StoreError`] when one of them does not answer.
    /// - Collision, expiry: none.
    async fn ping(&self) -> Result<(), StoreError>;

    /// What the store says of itself.
    ///
    /// - Absence: what it does not tell, or does not let us ask, is `None`.
    async fn report(&self) -> Result<StoreReport, StoreError>;

    /// Closes connections. What is asked of the store after that may fail.
    ///
    /// - Collision: closing once more is no error.
    /// - Absence: without a connection it does nothing.
    /// - Expiry: nothing that the store keeps ends by it, and no lease does.
    async fn close(&self);
}
