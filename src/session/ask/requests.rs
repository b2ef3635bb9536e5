//! Asking a client by requests that it answers while the call goes on (revisions to 2025-11-25).
#![expect(
    deprecated,
    reason = "SEP-2577 deprecates sampling and roots; legacy clients still have them"
)]

use std::fmt;

use futures::future::try_join_all;
use rmcp::model::{InputRequest, InputRequests, InputResponses};
use rmcp::service::ServiceError;
use rmcp::{Peer, RoleServer};
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::error::AskError;

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
        let asked = try_join_all(requests.into_iter().map(|(name, request)| async {
            let answer = self.answer(request).await?;
            Ok((name, answer))
        }));
        tokio::select! {
            () = self.cancelled.cancelled() => Err(AskError::Cancelled),
            answered = asked => Ok(answered?.into_iter().collect()),
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
        ServiceError::McpError(refusal) => AskError::Refused(refusal.message.into_owned()),
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
