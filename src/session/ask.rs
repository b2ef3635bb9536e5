//! How the client of a call is asked: by requests that it answers while the call goes on (revisions to
//! 2025-11-25), or by the call's result, after which it calls again with the answer (2026-07-28, SEP-2322).

use std::sync::Arc;

use bytes::Bytes;
use rmcp::model::{InputRequests, InputResponses, ServerResult};
use rmcp::{ErrorData, Peer, RoleServer};
use tokio_util::sync::CancellationToken;

use super::record::Principal;
use super::request_state::RequestState;
use crate::protocol::era::Era;

mod error;
mod requests;
mod rounds;

pub use error::AskError;
use requests::ClientRequests;
pub(crate) use requests::{not_asked, timed_out};
use rounds::Rounds;

/// How the client of a call can be asked.
#[derive(Debug)]
pub(crate) enum Asking {
    /// By requests that it answers while the call goes on.
    Requests(ClientRequests),
    /// By the call's result, after which it calls again.
    Rounds(Rounds),
}

impl Asking {
    /// The way to ask the client of a call in that era: through that peer, until the call is cancelled, or by
    /// the result of the call with that body, its JSON text.
    #[must_use]
    pub(crate) fn of(
        era: Era,
        peer: &Peer<RoleServer>,
        cancelled: &CancellationToken,
        body: Bytes,
    ) -> Arc<Self> {
        Arc::new(match era {
            Era::Legacy => Self::Requests(ClientRequests::new(peer.clone(), cancelled.clone())),
            Era::Modern => Self::Rounds(Rounds::new(body)),
        })
    }

    /// The client's answers to these requests. What a client of 2026-07-28 brings is sealed for that principal.
    pub(super) async fn answers(
        &self,
        principal: &Principal,
        state: &RequestState,
        requests: InputRequests,
    ) -> Result<InputResponses, AskError> {
        match self {
            Self::Requests(peer) => peer.answers(requests).await,
            Self::Rounds(rounds) => rounds.answers(principal, state, requests),
        }
    }

    /// The result of the call. When its handler has ended with an error because the client has to be asked
    /// ([`AskError::Later`]), it is the result that asks. A handler that went on without the answer has another
    /// result, which stays.
    pub(crate) fn result(&self, ended: Result<ServerResult, ErrorData>) -> Result<ServerResult, ErrorData> {
        let failed = match &ended {
            Ok(ServerResult::CallToolResult(tool)) => tool.is_error == Some(true),
            Ok(_) => false,
            Err(_) => true,
        };
        match self {
            Self::Rounds(rounds) if failed => {
                let required = rounds.required().map(ServerResult::InputRequiredResult);
                required.map_or(ended, Ok)
            }
            _ => ended,
        }
    }
}
