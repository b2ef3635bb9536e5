//! Finds, on this node or any other, what a client's message is for: the call that it cancels or answers, the streams
//! that want to know of a change.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::RequestId;
use serde_json::value::RawValue;
use tracing::debug;

use super::calls::Calls;
use super::hub::Hub;
use super::tasks::TaskBoard;
use super::topics::Listeners;
use crate::causes::causes;
use crate::cluster::ring::{Bell, Ears};
use crate::cluster::{Live, Sessions};
use crate::session::{NodeId, SessionId};
use crate::store::streams::{Answered, Appended, Event, Inbox, StreamId};
use crate::store::{Store, StoreError};
use crate::supervisor::Supervisor;

/// How long a cancellation waits for its call to register: far longer than the reply grace.
const CANCELLED_FOR: Duration = Duration::from_secs(60);

/// Whether a call is this node's, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Found {
    /// It is.
    Here,
    /// It is not registered as such: another node has claimed it, the session is gone, or the store has lost it.
    Gone,
}

/// What connects messages with calls and streams.
#[derive(Debug, Clone)]
pub struct Switchboard {
    /// This node.
    pub node: NodeId,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The sessions of all nodes.
    pub sessions: Sessions,
    /// The streams that connections of this node carry.
    pub hub: Arc<Hub>,
    /// The calls that this node runs.
    pub calls: Arc<Calls>,
    /// The tasks that this node runs.
    pub tasks: Arc<TaskBoard>,
    /// The open `subscriptions/listen` requests of this node.
    pub listeners: Arc<Listeners>,
    /// How long a session lives after its last use, and with it what was told.
    pub ttl: Duration,
    /// The owner of all tasks.
    pub supervisor: Supervisor,
}

impl Switchboard {
    /// Cancels a call of this session, wherever it runs.
    ///
    /// # Errors
    /// [`StoreError`], when the call does not run here and no other node could be told.
    pub async fn cancel(&self, live: &Live, request: &RequestId) -> Result<(), StoreError> {
        if self.calls.cancel(&live.id, request) {
            return Ok(());
        }
        let request = request.clone().into_json_value().to_string();
        let runs = self.store.cancel(&live.id, &request, CANCELLED_FOR).await?;
        let bell = Bell::Cancel {
            session: live.id.as_str().to_owned(),
            request,
        };
        let Ok(text) = serde_json::to_string(&bell) else {
            return Ok(());
        };
        match runs {
            Some((node, _)) => self.store.ring(&node, &text).await,
            // It has not registered: it may run anywhere, or nowhere.
            None => self.store.ring_all(&text).await,
        }
    }

    /// Hands a client's answer to the call that asked, wherever it runs. An answer that nobody waits for is dropped: it
    /// came twice, too late, or was made up.
    ///
    /// # Errors
    /// [`StoreError`], when the call does not run here and the answer could not be kept for another node.
    pub async fn answer(
        &self,
        live: &Live,
        id: &RequestId,
        outcome: Result<&RawValue, &RawValue>,
    ) -> Result<(), StoreError> {
        let owned = outcome.map(ToOwned::to_owned).map_err(ToOwned::to_owned);
        if self.calls.answer(&live.id, id, owned) {
            return Ok(());
        }
        let RequestId::String(text) = id else {
            return Ok(());
        };
        let Some((call, number)) = text.rsplit_once('-') else {
            return Ok(());
        };
        let (Some(call), Ok(number)) = (StreamId::parse(call), number.parse()) else {
            return Ok(());
        };
        let response = match outcome {
            Ok(result) => format!(r#"{{"result":{result}}}"#),
            Err(error) => format!(r#"{{"error":{error}}}"#),
        };
        if self.store.answer(&live.id, &call, number, &response).await? == Answered::Unwanted {
            debug!(session = live.tag, "an answer that no call waits for");
        }
        Ok(())
    }

    /// Appends a message that belongs to no call to the session's standing stream, for whoever carries it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn say(&self, live: &Live, message: &str) -> Result<Appended, StoreError> {
        let stream = &StreamId::standing(live.record.transport);
        let appended = self
            .store
            .append(&live.id, stream, message, &self.node, None, self.ttl)
            .await?;
        if let Appended::At {
            number,
            holder: Some(holder),
        } = &appended
            && holder.node == self.node
        {
            let (number, data) = (*number, message.to_owned());
            self.hub.offer(&live.id, stream, Event { number, data }, false);
        }
        Ok(appended)
    }

    /// Looks what came for a call of this node through other nodes, and hands it over.
    pub async fn look_after(&self, session: &SessionId, call: &StreamId) -> Found {
        match self.store.inbox(session, call, &self.node, self.ttl).await {
            Ok(Inbox::Mail { answers, cancelled }) => {
                if cancelled {
                    self.calls.stop(session, call);
                }
                self.hand_over(session, call, answers).await;
                Found::Here
            }
            Ok(Inbox::Gone) => Found::Gone,
            Err(error) => {
                debug!(error = %causes(&error), "could not look what came for a call");
                Found::Here
            }
        }
    }

    async fn hand_over(&self, session: &SessionId, call: &StreamId, answers: Vec<(u64, String)>) {
        if answers.is_empty() {
            return;
        }
        let numbers: Vec<u64> = answers.iter().map(|(number, _)| *number).collect();
        for (number, response) in answers {
            let id = RequestId::String(format!("{}-{number}", call.as_str()).into());
            if let Some(outcome) = outcome_of(&response) {
                self.calls.answer(session, &id, outcome);
            }
        }
        // Only now: an answer that is lost on the way here must be there the next time.
        if let Err(error) = self.store.answers_taken(session, call, &numbers).await {
            debug!(error = %causes(&error), "a client's answers will be handed over once more");
        }
    }
}

/// The result or error in a kept response.
fn outcome_of(response: &str) -> Option<Result<Box<RawValue>, Box<RawValue>>> {
    #[derive(serde::Deserialize)]
    struct Kept {
        result: Option<Box<RawValue>>,
        error: Option<Box<RawValue>>,
    }
    let Kept { result, error } = serde_json::from_str(response).ok()?;
    result.map(Ok).or(error.map(Err))
}

impl Ears for Switchboard {
    fn hear(&self, bell: Bell) {
        match bell {
            Bell::Stream { session, stream } => {
                if let (Some(session), Some(stream)) = (SessionId::parse(&session), StreamId::parse(&stream))
                {
                    self.hub.ring(&session, &stream);
                }
            }
            Bell::Answer { session, call } => {
                if let (Some(session), Some(call)) = (SessionId::parse(&session), StreamId::parse(&call)) {
                    let board = self.clone();
                    self.supervisor.spawn("look-after", async move {
                        if board.look_after(&session, &call).await == Found::Gone {
                            board.calls.stop(&session, &call);
                        }
                    });
                }
            }
            Bell::Cancel { session, request } => {
                if let (Some(session), Ok(request)) =
                    (SessionId::parse(&session), serde_json::from_str(&request))
                {
                    self.calls.cancel(&session, &request);
                }
            }
            Bell::Topic { topic } => self.listeners.spread.changed(topic),
            Bell::Task { task } => self.tasks.heard(&task),
            // Sessions take care of these.
            Bell::Session { .. } | Bell::Acknowledged { .. } | Bell::Left { .. } => {}
        }
    }

    fn catch_up(&self) {
        self.hub.ring_all();
        self.listeners.spread.catch_up();
        self.tasks.catch_up();
    }
}
