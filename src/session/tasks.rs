//! Tasks (SEP-2663): work that outlasts the call that began it, and that its client asks after by an id, on
//! any node.
//!
//! What is known of a task is in the store, so any node can tell, answer and cancel it; only the work itself
//! is on one node. When that node dies, the task fails with words that say so, as soon as somebody asks. It
//! ends with its life, which is counted from its beginning.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use rmcp::ErrorData;
use rmcp::model::{CallToolResult, CreateTaskResult, ErrorCode, GetTaskResult, InputResponses};
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::error_data::{later, too_many};
use super::id::NodeId;
use super::once::Once;
use super::peer::Peer;
use super::record::Principal;
use super::state::{State, StateError};
use crate::causes::causes;
use crate::protocol::error::CODE_TRANSPORT;

mod record;
mod working;

use record::{TaskRecord, Unread};
pub use working::{Stopped, Working};

/// The key under which a task's state keeps its record.
const RECORD: &str = "record";
/// How long nothing may be heard of a task on a node that lives, before that node is asked whether it runs
/// it: it may be another process of the same name.
const QUIET_MS_MAX: u64 = 3000; // as long as a node's lease

/// Runs tasks on this node, and reaches those that others run.
#[async_trait]
pub(crate) trait RunTasks: fmt::Debug + Send + Sync + 'static {
    /// This node.
    fn node(&self) -> &NodeId;

    /// The store's clock: other nodes compare the times that this one writes.
    fn clock(&self) -> &Clock;

    /// Makes a task of that principal in the store, which counts for that peer, and returns its state.
    async fn open(
        &self,
        id: &str,
        owner: &Principal,
        ttl: Duration,
        peer: &Peer,
    ) -> Result<State, StateError>;

    /// The state of a task.
    fn state(&self, id: &str) -> State;

    /// Takes a place for a task that this peer begins: from now on this node says that it runs it.
    ///
    /// # Errors
    /// [`Busy`].
    fn enter(&self, id: &str, peer: &Peer) -> Result<TaskPlace, Busy>;

    /// Runs a task's work.
    fn run(&self, work: BoxFuture<'static, ()>);

    /// Whether this node runs the task.
    fn runs(&self, id: &str) -> bool;

    /// Tells the node that runs a task to look at its record.
    async fn notify(&self, node: &NodeId, id: &str);

    /// Notes that somebody asked for another principal's task.
    fn note_foreign(&self, asker: &Principal);

    /// Whether a node lives. It does as long as it cannot be told.
    async fn lives(&self, node: &NodeId) -> Result<bool, StateError>;
}

/// There is no place left for another task: why, in words for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Busy(pub &'static str);

/// A limit that passes: -32000, and 429.
impl From<Busy> for ErrorData {
    fn from(busy: Busy) -> Self {
        too_many(format!("{busy}: try again shortly"))
    }
}

/// A task's place on the node that runs it, given back when dropped.
pub(crate) struct TaskPlace {
    /// Notified when the task's record has changed.
    pub changed: Arc<Notify>,
    /// Fires a moment before the node drops what is left of its tasks.
    pub stopping: CancellationToken,
    /// Gives the place back.
    pub _guard: Box<dyn Send + Sync>,
}

impl fmt::Debug for TaskPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskPlace").finish_non_exhaustive()
    }
}

/// The tasks of one principal.
#[derive(Clone)]
pub struct Tasks {
    runner: Arc<dyn RunTasks>,
    principal: Principal,
    peer: Peer,
    ttl: Duration,
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks")
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

impl Tasks {
    /// The tasks of `principal`, each of which lives `ttl`. Those that it begins count for `peer`.
    #[must_use]
    pub(crate) fn new(runner: Arc<dyn RunTasks>, principal: Principal, peer: Peer, ttl: Duration) -> Self {
        Self {
            runner,
            principal,
            peer,
            ttl,
        }
    }

    /// Begins a task: `work` goes on on this node when the call has returned. What a tool returns is the
    /// handle that this gives, which any node knows by then; its id is unguessable, and only this principal
    /// can use it.
    ///
    /// # Errors
    /// As a client should see them: the node, or the client, runs as many tasks as it may, as many are kept
    /// of the client as may be, or the store is out of reach.
    pub async fn start<F, Fut>(&self, work: F) -> Result<CreateTaskResult, ErrorData>
    where
        F: FnOnce(Working) -> Fut + Send + 'static,
        Fut: Future<Output = Result<CallToolResult, ErrorData>> + Send + 'static,
    {
        let id = crate::random::uuid().to_string();
        let place = self.runner.enter(&id, &self.peer)?;
        let record = TaskRecord::new(&self.principal, self.runner.node(), self.now_ms(), self.ttl);
        let state = self
            .runner
            .open(&id, &self.principal, self.ttl, &self.peer)
            .await
            .map_err(unkept)?;
        state.set(RECORD, &record).await.map_err(unkept)?;
        let begun = CreateTaskResult::new(record.task(&id));
        self.runner.run(Box::pin(working::run(
            state,
            self.runner.clock().clone(),
            place,
            record,
            self.ttl,
            work,
        )));
        Ok(begun)
    }

    /// What is known of a task: `tasks/get`.
    ///
    /// # Errors
    /// -32602 when there is no such task, or it is another principal's.
    pub async fn get(&self, id: &str) -> Result<GetTaskResult, ErrorData> {
        let (id, state, mut record) = self.find(id).await?;
        if !record.has_ended() && self.is_lost(&id, &record).await.map_err(unkept)? {
            record = end_as_lost(&state, self.runner.clock()).await.map_err(unkept)?;
        }
        Ok(GetTaskResult::new(record.detailed(&id)))
    }

    /// Gives a task what it asked its client for: `tasks/update`. What it did not ask for is left alone.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn update(&self, id: &str, answers: InputResponses) -> Result<(), ErrorData> {
        self.change(id, |record| record.answer(&answers, self.now_ms()))
            .await
    }

    /// Cancels a task: `tasks/cancel`. One that has ended stays as it is.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn cancel(&self, id: &str) -> Result<(), ErrorData> {
        self.change(id, |record| record.cancel(self.now_ms())).await
    }

    async fn change(
        &self,
        id: &str,
        change: impl Fn(&mut TaskRecord) + Send + Sync,
    ) -> Result<(), ErrorData> {
        let (id, state, record) = self.find(id).await?;
        if record.has_ended() {
            return Ok(());
        }
        update(&state, change).await.map_err(unkept)?;
        if let Some(node) = NodeId::parse(&record.node) {
            self.runner.notify(&node, &id).await;
        }
        Ok(())
    }

    /// The task of that id, and the id as the server wrote it: a UUID can be written in other ways, and nodes
    /// compare texts.
    async fn find(&self, id: &str) -> Result<(String, State, TaskRecord), ErrorData> {
        // An id that no server minted never reaches the store, where it would become part of a key.
        let id = uuid::Uuid::try_parse(id)
            .map_err(|_not_ours| unknown())?
            .to_string();
        let state = self.runner.state(&id);
        let kept: Option<Value> = state.get(RECORD).await.map_err(unkept)?;
        let record = match TaskRecord::read(kept.ok_or_else(unknown)?) {
            Ok(record) => record,
            Err(Unread::Newer) => return Err(newer()),
            // Nobody can use it, so it counts as ended.
            Err(Unread::Unreadable(error)) => {
                static TOLD: LazyLock<Once> = LazyLock::new(Once::default);
                if TOLD.is_first(&id) {
                    tracing::warn!(error = %causes(&error), "a task's record cannot be read: it counts as ended");
                }
                return Err(unknown());
            }
        };
        if record.principal != self.principal {
            self.runner.note_foreign(&self.principal);
            return Err(unknown());
        }
        Ok((id, state, record))
    }

    fn now_ms(&self) -> u64 {
        self.runner.clock().now_ms()
    }

    /// Whether nobody runs the task any longer.
    async fn is_lost(&self, id: &str, record: &TaskRecord) -> Result<bool, StateError> {
        let Some(node) = NodeId::parse(&record.node) else {
            return Ok(true);
        };
        if node == *self.runner.node() {
            return Ok(!self.runner.runs(id));
        }
        if !self.runner.lives(&node).await? {
            return Ok(true);
        }
        if self.now_ms().saturating_sub(record.updated_ms) > QUIET_MS_MAX {
            self.runner.notify(&node, id).await;
        }
        Ok(false)
    }
}

/// Looks at a task of which a message to `node` told, and that it does not run: it did before it was started
/// again.
///
/// # Errors
/// [`StateError`].
pub(crate) async fn fail_orphan(state: &State, clock: &Clock, node: &NodeId) -> Result<(), StateError> {
    let record: Option<TaskRecord> = state.get(RECORD).await?;
    if record.is_some_and(|record| record.node == node.as_str() && !record.has_ended()) {
        end_as_lost(state, clock).await?;
    }
    Ok(())
}

async fn end_as_lost(state: &State, clock: &Clock) -> Result<TaskRecord, StateError> {
    let error = lost("node lost");
    update(state, |record| record.fail(&error, clock.now_ms())).await
}

/// The error of a task whose outcome is not known, because its node has gone.
fn lost(why: &str) -> ErrorData {
    let words = format!(
        "{why}, outcome unknown: the task may or may not have taken effect, and is not repeated because that might not be \
         safe. Look before you try again"
    );
    ErrorData::new(ErrorCode(CODE_TRANSPORT), words, None)
}

/// Changes a task's record, on any node. Returns it as it is then.
async fn update(
    state: &State,
    change: impl Fn(&mut TaskRecord) + Send + Sync,
) -> Result<TaskRecord, StateError> {
    let changed = state.update(RECORD, |record: Option<TaskRecord>| {
        let mut record = record?;
        change(&mut record);
        Some(record)
    });
    changed.await?.ok_or(StateError::Gone)
}

fn unknown() -> ErrorData {
    ErrorData::invalid_params("there is no such task: it has expired, or never was", None)
}

fn newer() -> ErrorData {
    let words = "the task belongs to a newer version of the server than this node runs: try again shortly, another node \
                 will take it";
    later(words.into())
}

/// What the client is told of a task that the store did not serve.
fn unkept(error: StateError) -> ErrorData {
    match error {
        StateError::Gone => unknown(),
        other => other.into(),
    }
}
