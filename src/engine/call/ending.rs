//! How a call ends: from what its handler gave to the bytes of its response.

use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{ErrorCode, RequestId, ServerJsonRpcMessage, ServerResult};
use serde_json::{Value, json};
use tracing::error;

use crate::causes::causes;
use crate::engine::running_call::{Finished, Verdict};
use crate::engine::unknown_method::in_words;
use crate::protocol::era::Era;
use crate::protocol::error::{CODE_TRANSPORT, Refusal, error_body};
use crate::protocol::revisions::Revisions;
use crate::telemetry::metrics::Outcome;
use crate::telemetry::seldom;

/// How many bytes most results have.
const USUAL_BODY_BYTES: usize = 256;
/// The member of an error's `data` that says when to try again: the call could not be run for want of the
/// store.
const RETRY_AFTER_MEMBER: &str = "retryAfterSeconds";
/// The member that says why, and its value when a limit of the client is reached.
const REASON_MEMBER: &str = "reason";
const TOO_MANY: &str = "too_many";

/// How a handler's run ended.
pub(super) enum HandlerEnd {
    Result(Box<ServerResult>),
    Error(ErrorData),
    Panicked,
    TimedOut(Duration),
    Cancelled,
    /// Its session has ended under it.
    SessionEnded,
}

/// Leaves of the revisions that `server/discover` names those that this server serves: a handler may know more.
pub(super) fn only_served(result: &mut ServerResult, served: Revisions) {
    if let ServerResult::DiscoverResult(found) = result {
        found
            .supported_versions
            .retain(|version| served.parse(version.as_str()).is_some());
    }
}

fn body(result: ServerResult, id: RequestId) -> serde_json::Result<Vec<u8>> {
    let mut body = Vec::with_capacity(USUAL_BODY_BYTES);
    serde_json::to_writer(&mut body, &ServerJsonRpcMessage::response(result, id))?;
    Ok(body)
}

pub(super) fn finish(end: HandlerEnd, id: RequestId, era: Era, method: &'static str) -> (Finished, Outcome) {
    match end {
        HandlerEnd::Result(result) => match body(*result, id.clone()) {
            Ok(body) => (Finished::answered(body.into()), Outcome::Ok),
            Err(cause) => {
                let words = "a handler's result cannot be written as JSON";
                seldom(
                    words,
                    |left_out| error!(error = %causes(&cause), left_out, "{words}"),
                );
                (failure(&id, &internal(), era), Outcome::Error)
            }
        },
        HandlerEnd::Error(cause) => {
            let cause = in_words(cause, method, era);
            (failure(&id, &cause, era), Outcome::Error)
        }
        HandlerEnd::Panicked => {
            let words = "a handler panicked: its call gets an internal error, others go on";
            seldom(words, |left_out| error!(left_out, "{words}"));
            (failure(&id, &internal(), era), Outcome::Error)
        }
        HandlerEnd::TimedOut(timeout) => {
            let words = format!(
                "the call did not finish within {} s and was stopped",
                timeout.as_secs()
            );
            (
                failure(&id, &ErrorData::new(ErrorCode(CODE_TRANSPORT), words, None), era),
                Outcome::Timeout,
            )
        }
        HandlerEnd::Cancelled => (Finished::nothing(), Outcome::Cancelled),
        HandlerEnd::SessionEnded => {
            let refusal = Refusal::SessionNotFound;
            let body = error_body(Some(&id), &refusal.to_error());
            let finished = Finished {
                body: Some(body.into()),
                verdict: Verdict::NotFound,
            };
            (finished, Outcome::Cancelled)
        }
    }
}

/// The error of a call whose handler agreed to a change that the session did not take.
pub(super) fn not_changed(refusal: &Refusal) -> ErrorData {
    let data = refusal
        .retry_after_seconds()
        .map(|seconds| json!({ RETRY_AFTER_MEMBER: seconds }));
    ErrorData::new(refusal.code(), refusal.to_string(), data)
}

pub(super) fn internal() -> ErrorData {
    ErrorData::internal_error("internal error: the call failed unexpectedly", None)
}

fn failure(id: &RequestId, error: &ErrorData, era: Era) -> Finished {
    Finished {
        body: Some(error_body(Some(id), error).into()),
        verdict: verdict_on(error, era),
    }
}

/// What kind of answer a JSON-RPC error is. In a session it is an answer like any other; 2026-07-28 tells
/// some errors apart (Transports, "Status Codes").
fn verdict_on(error: &ErrorData, era: Era) -> Verdict {
    if error.code.0 == CODE_TRANSPORT
        && let Some(data) = error
            .data
            .as_ref()
            .filter(|data| data.get(RETRY_AFTER_MEMBER).is_some())
    {
        return match data.get(REASON_MEMBER).and_then(Value::as_str) {
            Some(TOO_MANY) => Verdict::TooMany,
            _ => Verdict::Unavailable,
        };
    }
    match (era, error.code) {
        (Era::Legacy, _) => Verdict::Answered,
        (
            Era::Modern,
            ErrorCode::HEADER_MISMATCH
            | ErrorCode::MISSING_REQUIRED_CLIENT_CAPABILITY
            | ErrorCode::UNSUPPORTED_PROTOCOL_VERSION,
        ) => Verdict::Malformed,
        (Era::Modern, ErrorCode::METHOD_NOT_FOUND) => Verdict::NotFound,
        (Era::Modern, _) => Verdict::Answered,
    }
}
