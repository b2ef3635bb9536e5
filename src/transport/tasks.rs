//! The tasks that this node runs: where a ring finds them, and what runs them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tracing::debug;

use super::shares::{Resource, Share, Shares};
use crate::causes::causes;
use crate::cluster::Membership;
use crate::session::state::{StateRoom, StateScope, StateStore};
use crate::session::tasks::{Busy, Place, RunTasks, disown};
use crate::session::{NodeId, Peer, Principal, State, StateError};
use crate::store::nodes::living;
use crate::store::{NodeMessage, Recipients, Store};
use crate::supervisor::Supervisor;

/// The tasks of this node.
#[derive(Debug)]
pub struct TaskBoard {
    membership: Arc<Membership>,
    store: Arc<dyn Store>,
    shares: Arc<Shares>,
    /// How many tasks of one peer are kept in the store.
    peer_kept_max: usize,
    supervisor: Supervisor,
    running: Arc<Running>,
}

/// The tasks that run, by id, with what tells them that their record has changed.
type Running = Mutex<HashMap<String, Arc<Notify>>>;

/// Takes a task off the board when dropped.
struct Entered {
    running: Arc<Running>,
    id: String,
    _share: Share,
}

impl Drop for Entered {
    fn drop(&mut self) {
        lock(&self.running).remove(&self.id);
    }
}

impl TaskBoard {
    /// A board without tasks, which takes places for them from `shares`, and of one peer keeps so many.
    #[must_use]
    pub fn new(
        membership: Arc<Membership>,
        store: Arc<dyn Store>,
        shares: Arc<Shares>,
        peer_kept_max: usize,
        supervisor: Supervisor,
    ) -> Self {
        Self {
            membership,
            store,
            shares,
            peer_kept_max,
            supervisor,
            running: Arc::default(),
        }
    }

    /// A task was rung for: what runs it looks at its record. One that this node does not run was that of a process of the
    /// same name, before.
    pub fn heard(&self, id: &str) {
        if let Some(changed) = lock(&self.running).get(id) {
            return changed.notify_one();
        }
        let (state, node) = (self.state(id), self.node().clone());
        self.supervisor.spawn("disown-task", async move {
            if let Err(error) = disown(&state, &node).await {
                debug!(error = %causes(&error), "could not look at a task that this node was rung for");
            }
        });
    }

    /// Rings may have been missed: every task looks at its record.
    pub fn catch_up(&self) {
        for changed in lock(&self.running).values() {
            changed.notify_one();
        }
    }
}

#[async_trait]
impl RunTasks for TaskBoard {
    fn node(&self) -> &NodeId {
        self.membership.node()
    }

    async fn open(
        &self,
        id: &str,
        owner: &Principal,
        ttl: Duration,
        peer: &Peer,
    ) -> Result<State, StateError> {
        let room = StateRoom {
            peer: &peer.key(),
            peer_max: self.peer_kept_max,
        };
        let scope = StateScope::Task(id.into());
        self.store.state_open(&scope, owner, ttl, room).await?;
        Ok(self.state(id))
    }

    fn state(&self, id: &str) -> State {
        let store: Arc<dyn StateStore> = Arc::<dyn Store>::clone(&self.store);
        State::new(store, StateScope::Task(id.into()))
    }

    fn enter(&self, id: &str, peer: &Peer) -> Result<Place, Busy> {
        let share = self.shares.of(peer.clone()).take(Resource::Tasks, 1);
        let share = share.map_err(Busy)?;
        let changed = Arc::new(Notify::new());
        lock(&self.running).insert(id.to_owned(), Arc::clone(&changed));
        let guard = Entered {
            running: Arc::clone(&self.running),
            id: id.to_owned(),
            _share: share,
        };
        Ok(Place {
            changed,
            guard: Box::new(guard),
        })
    }

    fn run(&self, work: BoxFuture<'static, ()>) {
        self.supervisor.spawn("task", work);
    }

    fn runs(&self, id: &str) -> bool {
        lock(&self.running).contains_key(id)
    }

    async fn ring(&self, node: &NodeId, id: &str) {
        if node == self.node() {
            return self.heard(id);
        }
        let message = NodeMessage::Task { task: id.to_owned() };
        if let Err(error) = self.store.send(Recipients::One(node), &message).await {
            debug!(error = %causes(&error), "a node could not be rung for a task: it looks by itself");
        }
    }

    async fn lives(&self, node: &NodeId) -> Result<bool, StateError> {
        let living = living(&*self.store, std::slice::from_ref(node)).await?;
        Ok(!living.is_empty() || !self.membership.can_judge())
    }
}

fn lock(running: &Running) -> MutexGuard<'_, HashMap<String, Arc<Notify>>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}
