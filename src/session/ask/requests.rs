//! Asking a client by requests that it answers while the call goes on (revisions to 2025-11-25).
#![expect(
    deprecated,
    reason = "SEP-2577 deprecates sampling and roots; legacy clients still have them"
)]

use std::borrow::Cow;
use std::fmt;

use futures::future::join_all;
use rmcp::model::{ErrorCode, InputRequest, InputRequests, InputResponses};
use rmcp::service::ServiceError;
use rmcp::{ErrorData, Peer, RoleServer};
use serde::Serialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::error::AskError;
use crate::protocol::error::CODE_TRANSPORT;

/// The member of an error's `data` that says why this server, and not the client, answers a question.
const WHY_UNANSWERED: &str = "unanswered";
const TIMED_OUT: &str = "timed_out";
const NOT_ASKED: &str = "not_asked";

/// The error of a question that the client did not answer in time.
#[must_use]
pub(crate) fn timed_out(words: String) -> ErrorData {
    let data = json!({ WHY_UNANSWERED: TIMED_OUT });
    ErrorData::new(ErrorCode(CODE_TRANSPORT), words, Some(data))
}

/// The error of a question that the client was not asked.
#[must_use]
pub(crate) fn not_asked(words: impl Into<Cow<'static, str>>) -> ErrorData {
    let data = json!({ WHY_UNANSWERED: NOT_ASKED });
    ErrorData::new(ErrorCode(CODE_TRANSPORT), words, Some(data))
}

fn own_reason(error: &ErrorData) -> Option<&str> {
    error.data.as_ref()?.get(WHY_UNANSWERED)?.as_str()
}

/// The way to a client, for as long as its call runs.
pub(crate) struct ClientRequests {
    peer: Peer<RoleServer>,
    cancelled: CancellationToken,
}

impl fmt::Debug for ClientRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRequests").finish_non_exhaustive()
    }
}

impl ClientRequests {
    pub(super) const fn new(peer: Peer<RoleServer>, cancelled: CancellationToken) -> Self {
        Self { peer, cancelled }
    }

    /// Sends them all at once, and waits for all answers. How long a client may take is the transport's to
    /// say.
    pub(super) async fn answers(&self, requests: InputRequests) -> Result<InputResponses, AskError> {
        // All of them, also when one is refused: a question that nobody waits for would stay open at the client.
        let asked = join_all(requests.into_iter().map(|(name, request)| async {
            let answer = self.answer(request).await?;
            Ok((name, answer))
        }));
        tokio::select! {
            () = self.cancelled.cancelled() => Err(AskError::Cancelled),
            answered = asked => answered.into_iter().collect(),
        }
    }

    async fn answer(&self, request: InputRequest) -> Result<Value, AskError> {
        match request {
            InputRequest::Elicitation(asked) => value(self.peer.create_elicitation(asked.params).await),
            InputRequest::CreateMessage(asked) => value(self.peer.create_message(asked.params).await),
            InputRequest::ListRoots(_) => value(self.peer.list_roots().await),
            _ => Err(AskError::NotHere),
        }
    }
}

fn value<T: Serialize>(answered: Result<T, ServiceError>) -> Result<Value, AskError> {
    let answer = answered.map_err(|error| match error {
        ServiceError::McpError(refusal) => match own_reason(&refusal) {
            Some(TIMED_OUT) => AskError::TimedOut,
            Some(NOT_ASKED) => AskError::NotAsked(refusal.message.into_owned()),
            _ => AskError::Refused(refusal.message.into_owned()),
        },
        ServiceError::Timeout { .. } => AskError::TimedOut,
        ServiceError::UnexpectedResponse => {
            AskError::Refused("it answered something else than was asked".to_owned())
        }
        other => {
            tracing::debug!(error = %other, "a client could not be asked");
            AskError::Gone
        }
    })?;
    serde_json::to_value(answer).map_err(AskError::BadAnswer)
}
