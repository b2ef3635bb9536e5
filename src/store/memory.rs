//! Keeps everything in this process: the embedded store, for one node.
//!
//! What has expired is invisible at once, and is swept away a little at every write. Nothing is kept across a restart.

mod calls;
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

use self::sessions::Session;
use self::shelf::Shelf;
use self::state::{Notebook, Pairs, Secret};
use super::streams::Topic;
use super::{Heard, Store, StoreError, StoreReport};
use crate::session::{NodeId, SessionId};

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
    // When each lease ends, or ended: a dead node stays until it is forgotten, or long enough.
    leases: BTreeMap<NodeId, Instant>,
    secrets: BTreeMap<String, Secret>,
    newest_secret: Option<String>,
    secrets_end: Option<Instant>,
    listeners: BTreeMap<NodeId, broadcast::Sender<Heard>>,
    changes: BTreeMap<Topic, u64>,
    changes_end: Option<Instant>,
}

impl Inner {
    fn lease_lives(&self, node: &NodeId) -> bool {
        self.leases.get(node).is_some_and(|end| *end > Instant::now())
    }

    fn counts_changes(&self) -> bool {
        self.changes_end.is_some_and(|end| end > Instant::now())
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
