//! Keeps everything in this process: the embedded store, for one node.
//!
//! What has expired is invisible at once, and is swept away a little at every write. Nothing is kept across a restart.

mod calls;
mod changes;
mod crowd;
mod log;
mod nodes;
mod sessions;
mod shelf;
mod state;
mod streams;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::broadcast;
use tokio::time::Instant;

use self::changes::Changes;
use self::crowd::Crowd;
use self::sessions::Session;
use self::shelf::Shelf;
use self::state::{Notebook, Pairs, Secret};
use super::{Heard, Store, StoreError, StoreReport};
use crate::session::{Clock, Life, NodeId, SessionId};

/// How many entries of each kind are looked at for what has expired as often as a node renews its lease, each second: all
/// of 100 000 sessions within 25 s.
const TIDIED_MAX: usize = 4096; // 4096 x 100 ns = 0.4 ms

/// The store of a node that runs alone. Clones share what they keep.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: Shelf<SessionId, Session>,
    notebooks: Shelf<Arc<str>, Notebook>,
    tasks: Shelf<Arc<str>, Pairs>,
    // A dead node stays until it is forgotten, or long enough.
    leases: BTreeMap<NodeId, HeldLease>,
    crowd: Crowd,
    secrets: BTreeMap<String, Secret>,
    newest_secret: Option<String>,
    secrets_end: Option<Instant>,
    listeners: BTreeMap<NodeId, broadcast::Sender<Heard>>,
    changes: Changes,
    clock: Clock,
}

/// A lease: whose it is, and when it ends or ended.
#[derive(Debug)]
struct HeldLease {
    life: Life,
    address: String,
    ends: Instant,
}

impl Inner {
    fn lease_lives(&self, node: &NodeId) -> bool {
        self.leases
            .get(node)
            .is_some_and(|lease| lease.ends > Instant::now())
    }

    /// In which life a node acts.
    fn life_of(&self, node: &NodeId) -> Option<Life> {
        self.leases.get(node).map(|lease| lease.life.clone())
    }

    /// Frees what has expired, a part of all at a time: also when nobody makes anything new.
    fn tidy(&mut self) {
        self.sessions.tidy(TIDIED_MAX, |session| session.streams.sweep());
        self.notebooks.tidy(TIDIED_MAX, |_| {});
        self.tasks.tidy(TIDIED_MAX, |_| {});
        self.crowd.tidy(TIDIED_MAX);
    }

    /// Sends a message to a node, if it listens.
    fn ring(&self, node: &NodeId, message: &str) {
        if let Some(listener) = self.listeners.get(node) {
            // It fails when nobody listens any longer, which is as well.
            drop(listener.send(Heard::Message(message.into())));
        }
    }

    /// Sends a message to all nodes that listen.
    fn ring_all(&self, message: &str) {
        for node in self.listeners.keys() {
            self.ring(node, message);
        }
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code below panics half-way through a change, so a poisoned lock still guards something whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn report(&self) -> Result<StoreReport, StoreError> {
        Ok(StoreReport {
            topology: "memory",
            ..StoreReport::default()
        })
    }

    async fn close(&self) {}
}
