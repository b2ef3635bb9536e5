//! The tasks that this node runs: where a message finds them, and what runs them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tracing::debug;

use super::Engine;
use super::shares::{Resource, Share};
use crate::causes::causes;
use crate::session::clock::Clock;
use crate::session::state::{StateRoom, StateScope, StateStore};
use crate::session::tasks::{Busy, RunTasks, TaskPlace, fail_orphan};
use crate::session::{NodeId, Peer, Principal, State, StateError};
use crate::store::{NodeMessage, Recipients, Store};

/// The tasks that run on this node, by id, each with what tells it that its record has changed.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunningTasks(Arc<Mutex<BTreeMap<String, Arc<Notify>>>>);

impl RunningTasks {
    /// How many there are.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.lock().len()
    }

    /// Messages may have been missed: every task looks at its record.
    pub(crate) fn catch_up(&self) {
        for changed in self.lock().values() {
            changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a task off when dropped.
struct Entered {
    running: RunningTasks,
    id: String,
    _share: Share,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.running.lock().remove(&self.id);
    }
}

impl Engine {
    /// A message came for a task: its runner looks at the record. A task that this node does not run belonged
    /// to an earlier process of the same name.
    pub(super) fn task_changed(&self, id: &str) {
        if let Some(changed) = self.tasks.lock().get(id) {
            return changed.notify_one();
        }
        let (state, clock, node) = (self.state(id), self.membership.clock().clone(), self.node.clone());
        self.work.spawn("fail-orphan", async move {
            if let Err(error) = fail_orphan(&state, &clock, &node).await {
                debug!(error = %causes(&error), "could not look at a task that a message named");
            }
        });
    }
}

#[async_trait]
impl RunTasks for Engine {
    fn node(&self) -> &NodeId {
        &self.node
    }

    fn clock(&self) -> &Clock {
        self.membership.clock()
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
            peer_max: self.settings.task.peer_kept_max,
        };
        let scope = StateScope::Task(id.into());
        self.store.state_open(&scope, owner, ttl, room).await?;
        Ok(self.state(id))
    }

    fn state(&self, id: &str) -> State {
        let store: Arc<dyn StateStore> = Arc::<dyn Store>::clone(&self.store);
        State::new(store, StateScope::Task(id.into()))
    }

    fn enter(&self, id: &str, peer: &Peer) -> Result<TaskPlace, Busy> {
        let share = self.shares.of(peer.clone()).take(Resource::Tasks, 1);
        let share = share.map_err(Busy)?;
        let changed = Arc::new(Notify::new());
        self.tasks.lock().insert(id.to_owned(), Arc::clone(&changed));
        let guard = Entered {
            running: self.tasks.clone(),
            id: id.to_owned(),
            _share: share,
        };
        Ok(TaskPlace {
            changed,
            stopping: self.stopping.tasks.clone(),
            _guard: Box::new(guard),
        })
    }

    fn run(&self, work: BoxFuture<'static, ()>) {
        self.work.spawn("task", work);
    }

    fn runs(&self, id: &str) -> bool {
        self.tasks.lock().contains_key(id)
    }

    async fn notify(&self, node: &NodeId, id: &str) {
        if *node == self.node {
            return self.task_changed(id);
        }
        let message = NodeMessage::Task { task: id.to_owned() };
        if let Err(error) = self.store.send(Recipients::One(node), &message).await {
            debug!(error = %causes(&error), "could not tell a node of a task; it looks by itself");
        }
    }

    fn note_foreign(&self, asker: &Principal) {
        self.audit.alarms().foreign_handle(asker);
    }

    async fn lives(&self, node: &NodeId) -> Result<bool, StateError> {
        let nodes = std::slice::from_ref(node);
        Ok(self.membership.dead_among(&*self.store, nodes).await?.is_empty())
    }
}
