//! What a client is told when a handler passes an error of its session's, a notebook's or a task's state on with `?`.

use rmcp::ErrorData;
use rmcp::model::ErrorCode;
use serde_json::{Value, json};

use super::state::StateError;
use crate::causes::causes;
use crate::protocol::error::{CODE_TRANSPORT, RETRY_AFTER_SECONDS};

/// The same codes and words as the engine has for a store that is away and for limits that are reached. An
/// error that passes is -32000, says when to try again, and has the HTTP status that goes with it: 503, or
/// 429 for a limit.
impl From<StateError> for ErrorData {
    fn from(error: StateError) -> Self {
        let words = error.to_string();
        match error {
            StateError::Gone | StateError::BadKey(_) | StateError::TooManyKeys | StateError::TooLarge => {
                Self::invalid_params(words, None)
            }
            StateError::TooManyNotebooks | StateError::TooManyTasks => too_many(words),
            StateError::Contended => later(words),
            // The cause names hosts and ports, so it stays in the node's own log.
            StateError::Unreachable(_) | StateError::Refused { .. } => {
                // The store itself is warned of elsewhere, once: calls are many.
                tracing::debug!(error = %causes(&error), "the store did not serve a handler");
                later(words)
            }
            StateError::NoPrincipal => Self::invalid_request(words, None),
            // The handler reads another type than it wrote, which no client can put right.
            StateError::Type(_) => Self::internal_error(words, None),
        }
    }
}

/// What passes, and may be done later.
pub(super) fn later(words: String) -> ErrorData {
    passes(words, json!({ "retryAfterSeconds": RETRY_AFTER_SECONDS }))
}

/// A limit of the client is reached.
pub(super) fn too_many(words: String) -> ErrorData {
    let data = json!({ "retryAfterSeconds": RETRY_AFTER_SECONDS, "reason": "too_many" });
    passes(words, data)
}

/// A scope is missing for what a handler was asked to do.
pub(super) fn missing_scope(scope: &str) -> ErrorData {
    let words = format!("your token lacks the scope {scope}: ask its issuer for one that has it");
    let data = json!({ "reason": "insufficient_scope", "scopes": [scope] });
    passes(words, data)
}

fn passes(words: String, data: Value) -> ErrorData {
    ErrorData::new(ErrorCode(CODE_TRANSPORT), words, Some(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(error: StateError) -> (i32, String, Value) {
        let told = ErrorData::from(error);
        (
            told.code.0,
            told.message.into_owned(),
            told.data.unwrap_or_default(),
        )
    }

    #[test]
    fn a_store_out_of_reach_is_an_error_to_retry_and_names_no_cause() {
        for error in [
            StateError::Unreachable("redis at 10.0.0.7:6379".into()),
            StateError::Refused {
                words: "the store is full",
                source: "redis at 10.0.0.7:6379".into(),
            },
        ] {
            let (code, words, data) = told(error);
            assert_eq!((code, data), (-32000, json!({ "retryAfterSeconds": 1 })));
            assert!(
                words.contains("try again") && !words.contains("10.0.0.7"),
                "{words}"
            );
        }
        assert_eq!(told(StateError::Contended).0, -32000);
    }

    #[test]
    fn a_limit_of_the_client_is_one_to_retry_and_says_so() {
        for limit in [StateError::TooManyNotebooks, StateError::TooManyTasks] {
            let (code, words, data) = told(limit);
            assert_eq!(code, -32000, "{words}");
            assert_eq!(data, json!({ "retryAfterSeconds": 1, "reason": "too_many" }));
        }
    }

    #[test]
    fn what_the_arguments_can_put_right_is_invalid_params_and_a_wrong_type_is_internal() {
        for error in [
            StateError::Gone,
            StateError::BadKey(0),
            StateError::TooManyKeys,
            StateError::TooLarge,
        ] {
            let words = error.to_string();
            assert_eq!(told(error), (-32602, words, Value::Null));
        }
        let wrong = serde_json::from_str::<u8>("\"secret\"").unwrap_err();
        let (code, words, data) = told(StateError::Type(wrong));
        assert_eq!((code, data), (-32603, Value::Null));
        assert!(!words.contains("secret"), "{words}");
    }
}
