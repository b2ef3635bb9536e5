//! Requests of a handler to its client: how they are told from other messages, and refused.

use std::borrow::Cow;
use std::sync::Arc;

use rmcp::model::RequestId;
use serde::Deserialize;
use serde_json::value::RawValue;
use tracing::debug;

use super::Engine;
use crate::cluster::CachedSession;
use crate::session::not_asked;

/// The id of a request to the client, if the message is one.
pub(super) fn question_in(message: &[u8]) -> Option<RequestId> {
    #[derive(Deserialize)]
    struct QuestionEnvelope<'a> {
        id: Option<RequestId>,
        #[serde(borrow)]
        method: Option<&'a RawValue>,
    }
    let envelope: QuestionEnvelope<'_> = serde_json::from_slice(message).ok()?;
    envelope.method.and(envelope.id)
}

/// Answers a question in the client's place: the handler that asked must not wait in vain.
pub(super) fn refuse(
    engine: &Engine,
    cached: &CachedSession,
    id: &RequestId,
    why: impl Into<Cow<'static, str>>,
) {
    let error = not_asked(why);
    let why = error.message.clone();
    let answered =
        serde_json::value::to_raw_value(&error).map(|error| engine.calls.answer(&cached.id, id, Err(error)));
    debug!(session = cached.tag, ?answered, %why, "a request was not sent to its client");
}

/// Refuses all that a call asks its client.
#[derive(Debug)]
pub(super) struct RefuseQuestions {
    pub engine: Arc<Engine>,
    pub cached: Arc<CachedSession>,
    pub why: &'static str,
}

impl RefuseQuestions {
    /// Refuses a message if it is a question. True when it was.
    pub(super) fn refuse(&self, message: &[u8]) -> bool {
        let question = question_in(message);
        if let Some(id) = &question {
            refuse(&self.engine, &self.cached, id, self.why);
        }
        question.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_are_questions() {
        let id = question_in(br#"{"jsonrpc":"2.0","id":"a-0","method":"ping"}"#);
        assert_eq!(id, Some(RequestId::String("a-0".into())));
        for other in [
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
            "[]",
        ] {
            assert_eq!(question_in(other.as_bytes()), None, "{other}");
        }
    }
}
