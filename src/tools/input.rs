//! Input from the client in the middle of a call: by a request to it (legacy), or by a second round (modern,
//! MRTR).

use rmcp::ErrorData;
use rmcp::model::{InputRequest, InputRequiredResult, InputResponses};
use rmcp::service::ServiceError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use crate::session::{Caller, RequestState};

/// What is sealed. All that a second round needs is in its own arguments, which the seal binds.
const PAYLOAD: &[u8] = b"1";
/// The one answer to every `requestState` that does not open, for every reason (SEP-2322, "Security").
const BAD_STATE: &str = "`requestState` is not valid for this call: make the call again without it";

/// The rounds of one call by a modern caller (SEP-2322): the first ends by asking for one input, the second
/// has it.
pub(super) struct Rounds<'a> {
    state: &'a RequestState,
    bound: Vec<u8>,
    key: &'static str,
}

impl<'a> Rounds<'a> {
    /// The rounds of a call to `tool` with `arguments`, which needs the input `key`. The state is good only
    /// for this principal, tool and arguments.
    pub(super) fn new<T: Serialize>(
        caller: &'a Caller,
        tool: &str,
        arguments: &T,
        key: &'static str,
    ) -> Result<Self, Failure> {
        // As JSON, so that no two different triples read the same.
        let bound = serde_json::to_vec(&(caller.principal.as_str(), tool, arguments))
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        Ok(Self {
            state: &caller.request_state,
            bound,
            key,
        })
    }

    /// The input, when this round brings it; `None` when the client has to be asked (again).
    pub(super) fn input<T: DeserializeOwned>(
        &self,
        state: Option<String>,
        responses: Option<InputResponses>,
    ) -> Result<Option<T>, Failure> {
        let sealed = match (state, &responses) {
            (Some(sealed), _) => sealed,
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(Failure::bad_arguments(BAD_STATE)),
        };
        if let Err(error) = self.state.open(&sealed, &self.bound) {
            tracing::debug!(%error, "a requestState did not open");
            return Err(Failure::bad_arguments(BAD_STATE));
        }
        let Some(input) = responses.and_then(|mut responses| responses.remove(self.key)) else {
            return Ok(None);
        };
        serde_json::from_value(input).map(Some).map_err(|error| {
            Failure::bad_arguments(format!(
                "`inputResponses.{}` is not as asked for: {error}",
                self.key
            ))
        })
    }

    /// Ends this round: asks the client for the input.
    pub(super) fn ask(&self, request: InputRequest) -> InputRequiredResult {
        let sealed = self.state.seal(PAYLOAD, &self.bound);
        InputRequiredResult::new(Some([(self.key.to_owned(), request)].into()), Some(sealed))
    }
}

/// Waits for a legacy client's answer to a request, or for the end of the call. How long a client may take is
/// the transport's to say.
pub(super) async fn answer<T>(
    cancelled: &CancellationToken,
    asked: impl Future<Output = Result<T, ServiceError>>,
) -> Result<T, Failure> {
    let answered = tokio::select! {
        () = cancelled.cancelled() => return Err(Failure::tell("The call was cancelled.")),
        answered = asked => answered,
    };
    answered.map_err(|error| match error {
        ServiceError::McpError(refusal) => Failure::tell(format!("The client refused: {}", refusal.message)),
        ServiceError::Timeout { .. } => Failure::tell("The client did not answer in time. Try again."),
        ServiceError::UnexpectedResponse => {
            Failure::tell("The client answered something else than was asked.")
        }
        other => {
            tracing::debug!(error = %other, "a client could not be asked");
            Failure::tell("The client could not be asked: its connection is gone. Try again.")
        }
    })
}
