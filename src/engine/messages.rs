//! Finds, on this node or any other, what a client's message is for: the call that it answers, the streams that
//! want to know of a change. `cancel.rs` finds the call that it cancels.

use std::sync::Arc;

use futures::FutureExt as _;
use rmcp::model::RequestId;
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};

use super::Engine;
use super::local_streams::IsLast;
use super::open_requests::Handed;
use crate::causes::causes;
use crate::cluster::CachedSession;
use crate::cluster::messenger::MessageHandler;
use crate::protocol::error::Refusal;
use crate::session::SessionId;
use crate::store::calls::{Answered, Inbox};
use crate::store::streams::{Appended, StreamId, holder_of};
use crate::store::{NodeMessage, StoreError};
use crate::telemetry::seldom;

/// How many messages of other nodes may make this one ask the store at once.
const MESSAGES_AT_WORK_MAX: usize = 1024; // 1024 x 2 KiB = 2 MiB

/// Whether a call is this node's, as far as the store says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Found {
    /// It is.
    Here,
    /// It is not registered as such: another node has claimed it, the session is gone, or the store has lost
    /// it.
    Gone,
    /// The store did not say.
    Unknown,
}

impl Engine {
    /// Hands a client's answer to the run of the call that asked, wherever that is. One that nobody waits for
    /// is of no use: it came twice, too late, or was made up.
    ///
    /// # Errors
    /// [`Refusal`]: the session is gone, the answer could not be kept for another node, or the call's limit
    /// of answers is reached.
    pub(crate) async fn answer(
        &self,
        cached: &CachedSession,
        id: &RequestId,
        outcome: Result<&RawValue, &RawValue>,
    ) -> Result<(), Refusal> {
        let owned = outcome.map(ToOwned::to_owned).map_err(ToOwned::to_owned);
        if self.calls.answer(&cached.id, id, owned) == Handed::Over {
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
        match self.store.answer(&cached.id, &call, number, &response).await? {
            Answered::Kept(_) => Ok(()),
            Answered::Early => {
                debug!(
                    session = cached.tag,
                    "an answer whose call the store does not know is kept for a while"
                );
                Ok(())
            }
            Answered::Unwanted => {
                debug!(session = cached.tag, "an answer came for which no call waits");
                Ok(())
            }
            Answered::Full => Err(Refusal::TooMany("the call's limit of waiting answers is reached")),
            Answered::Gone => Err(self.session_gone(cached).await),
        }
    }

    /// The refusal for a client whose session was found to be gone. From now on every request of the session
    /// gets it, also where this node keeps a copy.
    pub(crate) async fn session_gone(&self, cached: &CachedSession) -> Refusal {
        match self.sessions.confirm(&cached.id).await {
            Ok(()) => Refusal::SessionNotFound,
            Err(error) => error.into(),
        }
    }

    /// Appends a message that belongs to no call to the session's standing stream, and tells the node that
    /// carries it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn send_outside_calls(
        &self,
        cached: &CachedSession,
        message: &str,
    ) -> Result<Appended, StoreError> {
        let stream = &StreamId::standing(cached.record.transport);
        let appended = self
            .store
            .append(&cached.id, stream, message, &self.node, None, self.stream_ttl())
            .await?;
        if appended == Appended::Gone {
            let refusal = self.session_gone(cached).await;
            debug!(
                session = cached.tag,
                why = refusal.label(),
                "a message for a session that is gone"
            );
        }
        if let Appended::At { number, holder } = &appended {
            self.offer(
                &cached.id,
                stream,
                holder.as_ref(),
                (*number, message),
                IsLast::No,
            );
        }
        Ok(appended)
    }

    /// The store names this node as carrier, but no connection here carries the stream. One of a former life
    /// may have. It is detached, so that a connection that waits on another node takes over.
    async fn detach_stale(&self, session: &SessionId, stream: &StreamId) {
        let detached = async {
            match holder_of(&*self.store, session, stream).await? {
                Some(holder)
                    if holder.node == self.node && !self.streams.has(session, stream, holder.connection) =>
                {
                    self.store
                        .detach(session, stream, &holder, self.stream_ttl())
                        .await
                }
                _ => Ok(()),
            }
        };
        let detached: Result<(), StoreError> = detached.await;
        if let Err(error) = detached {
            debug!(session = session.tag(), error = %causes(&error), "could not detach a stale connection yet");
        }
    }

    /// Reads what came through other nodes for a call of this node, and hands it over.
    pub(crate) async fn read_inbox(self: &Arc<Self>, session: &SessionId, call: &StreamId) -> Found {
        let mut taken = Vec::new();
        loop {
            let inbox = self
                .store
                .inbox(session, call, &self.node, &taken, self.session_ttl());
            match inbox.await {
                Ok(Inbox::Mail { answers, cancelled }) => {
                    if cancelled {
                        Box::pin(self.cancel_found(session, call)).await;
                    }
                    // Answers are taken off only with the next read: an answer that is lost on the way here
                    // must still be there.
                    taken = self.hand_over(session, call, answers);
                    if taken.is_empty() {
                        return Found::Here;
                    }
                }
                // A call may end when it has its answer.
                Ok(Inbox::Gone) if !taken.is_empty() => return Found::Here,
                Ok(Inbox::Gone) => return Found::Gone,
                Err(error) => {
                    debug!(session = session.tag(), error = %causes(&error), "could not read what came for a call");
                    return Found::Unknown;
                }
            }
        }
    }

    /// Reads what a message said has come, and stops a call that is no longer this node's.
    async fn read_inbox_or_stop(self: &Arc<Self>, session: &SessionId, call: &StreamId) {
        if self.read_inbox(session, call).await == Found::Gone {
            self.calls.stop(session, call);
        }
    }

    /// Hands answers to the call, and returns the numbers of those that need not come again.
    fn hand_over(&self, session: &SessionId, call: &StreamId, answers: Vec<(u64, String)>) -> Vec<u64> {
        let mut numbers = Vec::with_capacity(answers.len());
        for (number, response) in answers {
            let id = RequestId::String(format!("{}-{number}", call.as_str()).into());
            let handed = outcome_of(&response).map(|outcome| self.calls.answer(session, &id, outcome));
            // An answer to a request that this run has not sent is a former run's: nobody waits for it. An
            // answer that found no room comes again.
            if handed != Some(Handed::Full) {
                numbers.push(number);
            }
        }
        numbers
    }
}

/// The result or error in a kept response.
fn outcome_of(response: &str) -> Option<Result<Box<RawValue>, Box<RawValue>>> {
    #[derive(serde::Deserialize)]
    struct StoredOutcome {
        result: Option<Box<RawValue>>,
        error: Option<Box<RawValue>>,
    }
    let StoredOutcome { result, error } = serde_json::from_str(response).ok()?;
    result.map(Ok).or(error.map(Err))
}

/// Room for the messages that make this node ask the store.
#[derive(Debug)]
pub(crate) struct MessagesAtWork(Arc<Semaphore>);

impl Default for MessagesAtWork {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MESSAGES_AT_WORK_MAX)))
    }
}

impl MessagesAtWork {
    /// A place for one of them; `None` when all are taken.
    fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }
}

impl Engine {
    /// Does what a message asks for. One that finds no room is as good as lost: it delays what it names until
    /// that is looked at without a message.
    fn attend<F>(self: &Arc<Self>, name: &'static str, work: impl FnOnce(Arc<Self>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(place) = self.messages.take() else {
            let words = "the store is slow: what messages of other nodes name is looked at later";
            return seldom(words, |left_out| warn!(node = %self.node, left_out, "{words}"));
        };
        let work = work(Arc::clone(self));
        self.work.spawn(name, work.map(|()| drop(place)));
    }
}

impl MessageHandler for Engine {
    fn handle(self: Arc<Self>, message: NodeMessage) {
        match message {
            NodeMessage::Stream { session, stream } => {
                if let (Some(session), Some(stream)) = (SessionId::parse(&session), StreamId::parse(&stream))
                    && !self.streams.wake(&session, &stream)
                {
                    self.attend("detach-stale", |engine| async move {
                        engine.detach_stale(&session, &stream).await
                    });
                }
            }
            NodeMessage::SessionStreams { session } => {
                if let Some(session) = SessionId::parse(&session) {
                    self.streams.wake_session(&session);
                }
            }
            NodeMessage::SessionCalls { session } => {
                if let Some(session) = SessionId::parse(&session) {
                    self.attend("read-inbox", |engine| async move {
                        for call in engine.calls.of_session(&session) {
                            engine.read_inbox_or_stop(&session, &call).await;
                        }
                    });
                }
            }
            NodeMessage::Answer { session, call } => {
                if let (Some(session), Some(call)) = (SessionId::parse(&session), StreamId::parse(&call)) {
                    self.attend("read-inbox", |engine| async move {
                        engine.read_inbox_or_stop(&session, &call).await
                    });
                }
            }
            NodeMessage::Cancel { session, request } => {
                if let (Some(session), Ok(id)) = (SessionId::parse(&session), serde_json::from_str(&request))
                    && self.calls.has(&session, &id)
                {
                    self.attend("cancel", |engine| async move {
                        engine.cancel_elders(&session, &request, &id).await;
                    });
                }
            }
            NodeMessage::Topic { topic } => self.listeners.notifier.changed(topic),
            NodeMessage::Task { task } => self.task_changed(&task),
            // `Sessions` handles these.
            NodeMessage::Session { .. } | NodeMessage::Acknowledged { .. } | NodeMessage::Left { .. } => {}
        }
    }

    fn catch_up(&self) {
        self.streams.wake_all();
        self.listeners.notifier.catch_up();
        self.tasks.catch_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_messages_are_at_work_and_no_more() {
        let messages = MessagesAtWork::default();
        let mut places: Vec<_> = (0..MESSAGES_AT_WORK_MAX).map(|_| messages.take()).collect();
        assert!(places.iter().all(Option::is_some));
        assert!(messages.take().is_none());
        places.pop();
        assert!(messages.take().is_some());
    }
}
