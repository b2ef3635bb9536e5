//! Keeps everything in this process: the embedded store, for one node.
//!
//! What has expired is invisible at once, and is swept away a little at every write. Nothing is kept across a
//! restart.

mod calls;
mod changes;
mod log;
mod logs;
mod nodes;
mod rates;
mod sessions;
mod sightings;
mod state;
mod streams;
mod ttl_map;
mod usage;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;
use tokio::time::Instant;

use self::changes::Changes;
use self::rates::MemoryBuckets;
use self::sessions::MemorySession;
use self::state::{MemoryState, Secret};
use self::ttl_map::TtlMap;
use self::usage::Usage;
#[cfg(test)]
use super::streams::StreamId;
use super::{NodeMessage, Received, Recipients};
use crate::session::state::StateScope;
use crate::session::{Clock, Life, NodeId, SessionId};

/// How many entries of each kind are looked at for what has expired as often as a node renews its lease, each
/// second: all of 100 000 sessions within 25 s.
const TIDIED_MAX: usize = 4096; // 4096 x 100 ns = 0.4 ms

/// The store of a node that runs alone. Clones share what they keep.
#[derive(Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<MemoryInner>>,
    /// Whether several nodes use it.
    shared: bool,
}

/// Without what it holds: that is its clients', and some of it is secret.
impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct MemoryInner {
    sessions: TtlMap<SessionId, MemorySession>,
    // Notebooks and tasks.
    opened: TtlMap<StateScope, MemoryState>,
    // A dead node stays until it is forgotten, or long enough.
    leases: BTreeMap<NodeId, HeldLease>,
    /// In which life each node acts that has ever renewed a lease here: also once that is forgotten.
    lives: BTreeMap<NodeId, Life>,
    usage: Usage,
    rates: MemoryBuckets,
    secrets: BTreeMap<String, Secret>,
    newest_secret: Option<String>,
    secrets_end: Option<Instant>,
    listeners: BTreeMap<NodeId, broadcast::Sender<Received>>,
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

impl MemoryInner {
    fn lease_lives(&self, node: &NodeId) -> bool {
        self.leases
            .get(node)
            .is_some_and(|lease| lease.ends > Instant::now())
    }

    /// In which life a node acts.
    fn life_of(&self, node: &NodeId) -> Option<Life> {
        self.lives.get(node).cloned()
    }

    /// Frees what has expired, a part of all at a time: also when nobody makes anything new.
    fn tidy(&mut self) {
        self.sessions.tidy(TIDIED_MAX, MemorySession::sweep);
        self.opened.tidy(TIDIED_MAX, |_| {});
        self.usage.tidy(TIDIED_MAX);
        self.rates.tidy(TIDIED_MAX);
    }

    /// Sends a message to those who listen.
    fn send(&self, to: Recipients<'_>, message: &NodeMessage) {
        let text: Arc<str> = message.encode().into();
        let meant = |node: &NodeId| match to {
            Recipients::One(one) => node == one,
            Recipients::All => true,
        };
        for (_, listener) in self.listeners.iter().filter(|(node, _)| meant(node)) {
            // It fails when nobody listens any longer, which is as well.
            drop(listener.send(Received::Message(Arc::clone(&text))));
        }
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty store for several nodes of one process, as in tests: they pass streams and calls on to each
    /// other.
    #[must_use]
    pub fn shared() -> Self {
        Self {
            shared: true,
            ..Self::default()
        }
    }

    /// What it keeps of sessions, and of what they have made.
    #[cfg(test)]
    pub(crate) fn left(&self) -> Vec<String> {
        let mut inner = self.lock();
        inner.tidy();
        let counts = [
            ("sessions", inner.sessions.iter().count()),
            ("notebooks and tasks", inner.opened.iter().count()),
        ];
        let left = counts.into_iter().filter(|(_, count)| *count > 0);
        left.map(|(what, count)| format!("{count} {what}")).collect()
    }

    /// It forgets who carries streams, as one does that takes over and has not heard of the last writes.
    #[cfg(test)]
    pub(crate) fn forget_holders(&self) {
        let mut inner = self.lock();
        let sessions: Vec<_> = inner.sessions.iter().map(|(id, _)| id.clone()).collect();
        for id in sessions {
            if let Some(session) = inner.sessions.get_mut(&id) {
                session.logs.forget_holders();
            }
        }
    }

    /// Whether it keeps anything of a session.
    #[cfg(test)]
    pub(crate) fn keeps(&self, session: &SessionId) -> bool {
        self.lock().sessions.iter().any(|(id, _)| id == session)
    }

    /// In which life its node runs a call.
    #[cfg(test)]
    pub(crate) fn life_of_call(&self, session: &SessionId, call: &StreamId) -> Option<Life> {
        let inner = self.lock();
        let of = inner.sessions.iter().find(|(id, _)| *id == session)?;
        of.1.calls.life_of(call)
    }

    /// Its clock steps by so much.
    #[cfg(test)]
    pub(crate) fn step_clock(&self, by_ms: i64) {
        let inner = self.lock();
        inner.clock.set(inner.clock.now_ms().saturating_add_signed(by_ms));
    }

    fn lock(&self) -> MutexGuard<'_, MemoryInner> {
        // No code below panics half-way through a change, so a poisoned lock still guards something whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
