//! A call in several rounds (MRTR, SEP-2322): a client without a session is asked by a result, and calls again with its
//! answer. Any node may get the next round, so what a round must remember goes to the client and back, sealed.

use anynode::session::Caller;
use rmcp::ErrorData;
use rmcp::handler::server::common::FromContextPart;
use rmcp::handler::server::tool::ToolCallContext;
use rmcp::model::{InputRequest, InputRequiredResult, InputResponses};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Everything;

/// One round of a call: what the client brought, and the way to ask it for more.
pub(crate) struct Rounds {
    /// Who calls.
    pub(crate) caller: Caller,
    call: String,
    state: Option<String>,
    answers: InputResponses,
}

impl Rounds {
    /// The round of a call to `call`, a tool or a prompt, that brought `state` and `answers`.
    pub(crate) fn new(
        caller: Caller,
        call: impl Into<String>,
        state: Option<String>,
        answers: Option<InputResponses>,
    ) -> Self {
        Self {
            caller,
            call: call.into(),
            state,
            answers: answers.unwrap_or_default(),
        }
    }

    /// The client's answer to the request `key`; `None` when it has not given one. Answers to anything else are left alone.
    pub(crate) fn answer<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ErrorData> {
        let answer = self.answers.get(key).cloned().map(serde_json::from_value);
        answer.transpose().map_err(|error| {
            let words = format!("`inputResponses.{key}` is not an answer to what was asked: {error}");
            ErrorData::invalid_params(words, None)
        })
    }

    /// What the round before sealed; `None` in the first. Clients can write anything here, so it is believed only when the
    /// seal holds, which binds it to this principal and this call.
    pub(crate) fn remembered<T: DeserializeOwned>(&self) -> Result<Option<T>, ErrorData> {
        let Some(sealed) = &self.state else {
            return Ok(None);
        };
        let opened = self.caller.request_state.open(sealed, &self.bound());
        let remembered = opened
            .ok()
            .and_then(|payload| serde_json::from_slice(&payload).ok());
        // One answer for every reason, or a forger could learn from it.
        remembered
            .map(Some)
            .ok_or_else(|| ErrorData::invalid_params("`requestState` is not valid for this call", None))
    }

    /// Ends the round by asking the client.
    pub(crate) fn ask<const N: usize>(&self, requests: [(&str, InputRequest); N]) -> InputRequiredResult {
        let requests = requests.map(|(key, request)| (key.to_owned(), request));
        InputRequiredResult::from_input_requests(requests.into())
    }

    /// The same, with something to remember in the next round.
    pub(crate) fn ask_and_remember<const N: usize>(
        &self,
        requests: [(&str, InputRequest); N],
        remember: &impl Serialize,
    ) -> Result<InputRequiredResult, ErrorData> {
        let payload = serde_json::to_vec(remember)
            .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
        let mut round = self.ask(requests);
        round.request_state = Some(self.caller.request_state.seal(&payload, &self.bound()));
        Ok(round)
    }

    fn bound(&self) -> Vec<u8> {
        format!("{:?} {:?}", self.caller.principal.as_str(), self.call).into_bytes()
    }
}

/// A tool takes its `Rounds` as a parameter, as it takes the `Caller`.
impl FromContextPart<ToolCallContext<'_, Everything>> for Rounds {
    fn from_context_part(call: &mut ToolCallContext<'_, Everything>) -> Result<Self, ErrorData> {
        let caller = Caller::from_context_part(call)?;
        let (state, answers) = (call.request_state.take(), call.input_responses.take());
        Ok(Self::new(caller, call.name.clone(), state, answers))
    }
}
