//! The notices of messages that a client can no longer receive: a gap is never silent.

use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{ErrorCode, RequestId};
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::protocol::error::{CODE_TRANSPORT, error_body};

/// The notice on a stream that `lost` of its messages are lost: a log message, which every client understands
/// or ignores.
#[must_use]
pub(crate) fn notice(lost: u64, why: &str) -> String {
    told(&json!({"message": format!("{lost} messages of this stream are lost: {why}"), "lostMessages": lost}))
}

/// The same when it is not known how many are, if any.
#[must_use]
pub(crate) fn doubt(why: &str) -> String {
    told(&json!({"message": format!("messages of this stream may be lost: {why}")}))
}

fn told(data: &Value) -> String {
    let params = json!({"level": "error", "logger": "anynode", "data": data});
    json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params}).to_string()
}

/// Why messages are lost when the store was away for longer than they could be kept.
#[must_use]
pub(crate) fn outage(grace: Duration) -> String {
    let seconds = grace.as_secs_f64();
    format!("the session store was away for longer than {seconds} s (store.outage_grace)")
}

/// Why messages are lost when a client reads slower than they come.
pub(crate) const OVERFLOW: &str = "the log was full before the client read them";

/// The error that answers a call of which `lost` messages are lost. Its response alone would look as if
/// nothing were missing, so that is in `data`.
#[must_use]
pub(crate) fn instead_of(response: &str, lost: u64, why: &str) -> Vec<u8> {
    let words = format!("{lost} messages of this call are lost: {why}. The call's own response is in `data`");
    let response: Value = serde_json::from_str(response).unwrap_or_default();
    let id: Option<RequestId> = response.get("id").and_then(|id| RequestId::deserialize(id).ok());
    let data = json!({"lostMessages": lost, "response": response});
    let error = ErrorData::new(ErrorCode(CODE_TRANSPORT), words, Some(data));
    error_body(id.as_ref(), &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// M9: the client learns what is missing, and still has its result.
    #[test]
    fn an_error_names_what_is_lost_and_has_the_response() {
        let response = r#"{"jsonrpc":"2.0","id":"a","result":{"x":1}}"#;
        let body = instead_of(response, 3, &outage(Duration::from_secs(60)));
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["id"], "a");
        assert_eq!(body["error"]["code"], CODE_TRANSPORT);
        assert_eq!(body["error"]["data"]["lostMessages"], 3);
        assert_eq!(body["error"]["data"]["response"]["result"]["x"], 1);
        let words = body["error"]["message"].as_str().unwrap();
        assert!(
            words.contains("store.outage_grace") && words.contains("60 s"),
            "{words}"
        );
    }
}
