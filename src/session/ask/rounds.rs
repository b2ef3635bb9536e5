//! Asking a client by the result of its call (2026-07-28, SEP-2322): the call ends, the client calls again with
//! its answer, and the handler runs from its beginning, on any node.
//!
//! The handler's questions are steps. In each round the answers of earlier steps come back with the client,
//! sealed, and that of the latest in `inputResponses`. An answer counts for a question only if the question
//! is still the same, so that a handler that asks something else meanwhile is not misled.

use std::borrow::Cow;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rmcp::model::{InputRequests, InputRequiredResult, InputResponses};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::error::AskError;
use crate::session::record::Principal;
use crate::session::request_state::RequestState;

/// The most bytes that are sealed: they travel to the client and back in each round.
const SEALED_BYTES_MAX: usize = 64 << 10;
/// How many bytes of a question's hash tell it from others.
const QUESTION_HASH_BYTES: usize = 16;

/// The rounds of one call.
#[derive(Debug)]
pub(crate) struct Rounds {
    /// The call's JSON text; empty if it is too large to be kept.
    body: Bytes,
    progress: Mutex<RoundProgress>,
}

#[derive(Debug, Default)]
struct RoundProgress {
    /// What the client has brought, once it has been read.
    brought: Option<Brought>,
    /// How many questions the handler has asked in this round.
    steps: usize,
    /// The result that asks the client.
    required: Option<InputRequiredResult>,
}

/// What the client has brought.
#[derive(Debug)]
struct Brought {
    /// What the seal is bound to: the principal, and the call with its arguments.
    bound: Vec<u8>,
    /// What is known from rounds before.
    sealed: Sealed,
    /// The answers of this round; nothing once they have been used.
    responses: Option<InputResponses>,
}

/// What travels with the client.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Sealed {
    /// The steps that were answered.
    done: Vec<AnsweredQuestion>,
    /// The question that was asked last; nothing before the first.
    asked: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AnsweredQuestion {
    question: String,
    answers: InputResponses,
}

/// The call, as far as it concerns its rounds.
#[derive(Deserialize)]
struct AskingCall<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    params: AskingParams,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AskingParams {
    name: Option<String>,
    uri: Option<String>,
    arguments: Option<Value>,
    input_responses: Option<InputResponses>,
    request_state: Option<String>,
}

impl Rounds {
    pub(super) fn new(body: Bytes) -> Self {
        Self {
            body,
            progress: Mutex::default(),
        }
    }

    /// The result that asks the client, if its answer is missing.
    pub(super) fn required(&self) -> Option<InputRequiredResult> {
        self.progress().required.take()
    }

    /// The answers to the handler's next question, if the client has brought them.
    pub(super) fn answers(
        &self,
        principal: &Principal,
        state: &RequestState,
        requests: InputRequests,
    ) -> Result<InputResponses, AskError> {
        let mut progress = self.progress();
        if progress.required.is_some() {
            // One question a round: this one comes after the answer to the first.
            return Err(AskError::Later);
        }
        let step = progress.steps;
        progress.steps += 1;
        if progress.brought.is_none() {
            progress.brought = Some(self.read(principal, state)?);
        }
        let Some(brought) = &mut progress.brought else {
            return Err(AskError::BadState);
        };
        let question = hash(&requests)?;
        if let Some(answers) = brought.known(step, &question) {
            return Ok(answers);
        }
        if let Some(answers) = brought.newly_given(step, &question, &requests) {
            return Ok(answers);
        }
        brought.sealed.done.truncate(step);
        brought.sealed.asked = Some(question);
        let payload = serde_json::to_vec(&brought.sealed).map_err(AskError::BadAnswer)?;
        if payload.len() > SEALED_BYTES_MAX {
            return Err(AskError::TooLarge(SEALED_BYTES_MAX));
        }
        let sealed = state.seal(&payload, &brought.bound);
        progress.required = Some(InputRequiredResult::new(Some(requests), Some(sealed)));
        Err(AskError::Later)
    }

    /// Reads what the client has brought.
    fn read(&self, principal: &Principal, state: &RequestState) -> Result<Brought, AskError> {
        if self.body.is_empty() {
            return Err(AskError::TooLarge(SEALED_BYTES_MAX));
        }
        let call: AskingCall<'_> = serde_json::from_slice(&self.body).map_err(AskError::BadAnswer)?;
        let AskingParams {
            name,
            uri,
            mut arguments,
            input_responses,
            request_state,
        } = call.params;
        // A client may write the same arguments in another order, or no arguments as none or as `{}`.
        let arguments = arguments.get_or_insert_with(|| Value::Object(Map::new()));
        arguments.sort_all_objects();
        // As JSON, so that no two different calls read the same.
        let bound = (principal.as_str(), call.method, name, uri, arguments);
        let bound = serde_json::to_vec(&bound).map_err(AskError::BadAnswer)?;
        let sealed = match request_state {
            None => Sealed::default(),
            Some(sealed) => open(state, &sealed, &bound)?,
        };
        Ok(Brought {
            bound,
            sealed,
            responses: input_responses,
        })
    }

    fn progress(&self) -> MutexGuard<'_, RoundProgress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Brought {
    /// The answers of a step of an earlier round.
    fn known(&self, step: usize, question: &str) -> Option<InputResponses> {
        let done = self.sealed.done.get(step)?;
        (done.question == question).then(|| done.answers.clone())
    }

    /// The answers that this round brings, if they are all there. Without a state they are taken for those to
    /// the first question: they are the client's to give, whether or not it was asked.
    fn newly_given(
        &mut self,
        step: usize,
        question: &str,
        requests: &InputRequests,
    ) -> Option<InputResponses> {
        let asked = self.sealed.asked.as_deref();
        let is_asked = asked.map_or(step == 0, |asked| asked == question);
        if !is_asked || step != self.sealed.done.len() {
            return None;
        }
        let mut responses = self.responses.take()?;
        responses.retain(|name, _| requests.contains_key(name));
        if responses.len() < requests.len() {
            return None;
        }
        self.sealed.done.push(AnsweredQuestion {
            question: question.to_owned(),
            answers: responses.clone(),
        });
        Some(responses)
    }
}

fn open(state: &RequestState, sealed: &str, bound: &[u8]) -> Result<Sealed, AskError> {
    let opened = state.open(sealed, bound).map_err(|error| {
        tracing::debug!(%error, "a requestState did not open");
        AskError::BadState
    })?;
    serde_json::from_slice(&opened).map_err(|error| {
        tracing::debug!(%error, "a requestState is not one of this library's questions");
        AskError::BadState
    })
}

/// Tells one question from another.
fn hash(requests: &InputRequests) -> Result<String, AskError> {
    let text = serde_json::to_vec(requests).map_err(AskError::BadAnswer)?;
    let digest = Sha256::digest(&text);
    let bytes = digest.iter().take(QUESTION_HASH_BYTES);
    Ok(bytes.map(|byte| format!("{byte:02x}")).collect())
}
