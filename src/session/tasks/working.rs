//! The work of a task, on the node that runs it: what it holds, and what becomes of it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use rmcp::ErrorData;
use rmcp::model::{CallToolResult, InputRequests, InputResponses};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{RECORD, TaskPlace, TaskRecord, lost, update};
use crate::causes::causes;
use crate::session::clock::Clock;
use crate::session::state::{State, StateError};

/// How often a task's record is read without a message: a lost message delays, and never loses.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the work may go on after its token fired, before it is dropped.
const CANCEL_GRACE: Duration = Duration::from_secs(1);
/// The same when the node stops: the outcome must be written before that.
const STOP_GRACE: Duration = Duration::from_millis(200);
/// How soon an outcome is written again when the store did not take it.
const WRITE_AGAIN: Duration = Duration::from_millis(500);

/// Why a task's work should stop: it was cancelled, or it has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task was cancelled, or has expired")]
pub struct Stopped;

impl From<Stopped> for ErrorData {
    fn from(stopped: Stopped) -> Self {
        Self::internal_error(stopped.to_string(), None)
    }
}

/// What the work of a task holds: the way to its client, which has no connection to it, and to its end.
#[derive(Debug, Clone)]
pub struct Working {
    state: State,
    clock: Clock,
    record: Arc<watch::Sender<TaskRecord>>,
    cancel: CancellationToken,
}

impl Working {
    /// Fires when the task is cancelled or expires. Work that has not ended a second later is dropped.
    #[must_use]
    pub const fn cancelled(&self) -> &CancellationToken {
        &self.cancel
    }

    /// Says how the task is getting on. Clients read it when they ask after the task.
    pub async fn set_status(&self, message: &str) {
        if let Err(error) = update(&self.state, |record| {
            record.set_status(message, self.clock.now_ms())
        })
        .await
        {
            tracing::debug!(error = %causes(&error), "could not write a task's status message");
        }
    }

    /// Asks the client, and waits until it has answered all of `requests`, through any node. The keys are
    /// those of the task, so each asks for something else.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn ask(&self, requests: InputRequests) -> Result<InputResponses, Stopped> {
        while let Err(error) = self.put(&requests).await {
            if !error.may_pass() {
                return Err(Stopped);
            }
            self.pause().await?;
        }
        let mut records = self.record.subscribe();
        loop {
            let answers = records.borrow_and_update().answers(requests.keys());
            if let Some(answers) = answers {
                return Ok(answers);
            }
            tokio::select! {
                () = self.cancel.cancelled() => return Err(Stopped),
                changed = records.changed() => changed.map_err(|_ended| Stopped)?,
            }
        }
    }

    async fn put(&self, requests: &InputRequests) -> Result<(), StateError> {
        let record = update(&self.state, |record| record.ask(requests, self.clock.now_ms())).await?;
        self.record.send_replace(record);
        Ok(())
    }

    async fn pause(&self) -> Result<(), Stopped> {
        tokio::select! {
            () = self.cancel.cancelled() => Err(Stopped),
            () = sleep(WRITE_AGAIN) => Ok(()),
        }
    }

    /// Follows the record until the task has ended or is gone, tells the work to stop, and gives it a moment
    /// for that.
    async fn follow(&self, changed: &Notify) {
        loop {
            tokio::select! {
                () = changed.notified() => {}
                () = sleep(LOOK_EVERY) => {}
            }
            match self.state.get::<TaskRecord>(RECORD).await {
                Ok(Some(record)) if !record.has_ended() => drop(self.record.send_replace(record)),
                Err(error) if error.may_pass() => {
                    tracing::debug!(error = %causes(&error), "could not read a task's record")
                }
                Ok(_) | Err(_) => break,
            }
        }
        self.cancel.cancel();
        sleep(CANCEL_GRACE).await;
    }

    /// Writes the outcome, as long as the task lives.
    async fn finish(&self, outcome: Result<CallToolResult, ErrorData>, until: Instant) {
        let mut outcome = outcome;
        loop {
            let written = update(&self.state, |record| match &outcome {
                Ok(result) => record.complete(result, self.clock.now_ms()),
                Err(error) => record.fail(error, self.clock.now_ms()),
            });
            match written.await {
                Err(error) if error.may_pass() && Instant::now() < until => sleep(WRITE_AGAIN).await,
                Err(StateError::TooLarge) if outcome.is_ok() => {
                    let words = "the task's result is too large to be kept";
                    outcome = Err(ErrorData::internal_error(words, None));
                }
                Err(error) => {
                    tracing::warn!(error = %causes(&error), "the outcome of a task was not kept");
                    return;
                }
                Ok(_) => return,
            }
        }
    }
}

/// Runs a task's work to its end, and writes what came of it.
pub(super) async fn run<F, Fut>(
    state: State,
    clock: Clock,
    place: TaskPlace,
    record: TaskRecord,
    ttl: Duration,
    work: F,
) where
    F: FnOnce(Working) -> Fut + Send,
    Fut: Future<Output = Result<CallToolResult, ErrorData>> + Send,
{
    let until = Instant::now() + ttl;
    let working = Working {
        state,
        clock,
        record: Arc::new(watch::Sender::new(record)),
        cancel: CancellationToken::new(),
    };
    let held = working.clone();
    let mut worked = pin!(AssertUnwindSafe(async move { work(held).await }).catch_unwind());
    let outcome = tokio::select! {
        biased;
        ended = &mut worked => Some(ended.unwrap_or_else(panicked)),
        () = working.follow(&place.changed) => None,
        () = place.stopping.cancelled() => {
            working.cancel.cancel();
            match timeout(STOP_GRACE, worked).await {
                Ok(Ok(Ok(result))) => Some(Ok(result)),
                _ => Some(Err(lost("node stopped"))),
            }
        }
    };
    // It is this node's until its outcome is written.
    if let Some(outcome) = outcome {
        working.finish(outcome, until).await;
    }
    drop(place);
}

fn panicked(_what: Box<dyn Any + Send>) -> Result<CallToolResult, ErrorData> {
    // The panic hook has logged where.
    tracing::debug!("a task panicked: it fails, others go on");
    Err(ErrorData::internal_error(
        "internal error: the task failed unexpectedly",
        None,
    ))
}
