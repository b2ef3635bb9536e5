//! Why a tool did not do as asked, and in which words the caller hears of it.

use rmcp::ErrorData;
use rmcp::handler::server::tool::IntoCallToolResult;
use rmcp::model::{CallToolResponse, CallToolResult, ContentBlock};
use serde_json::json;

use crate::session::{AskError, StateError};

/// Why a tool did not do as asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The model can put it right: a result with `isError`, whose text says how.
    Tell(String),
    /// The request itself is at fault, or the server is: a JSON-RPC error.
    Refuse(ErrorData),
}

impl Failure {
    /// A failure that the model can put right by reading `text`.
    pub(super) fn tell(text: impl Into<String>) -> Self {
        Self::Tell(text.into())
    }

    /// Arguments that are not what the schema asks for: -32602.
    pub(super) fn bad_arguments(text: impl Into<String>) -> Self {
        Self::Refuse(ErrorData::invalid_params(text.into(), None))
    }

    /// The failure as a JSON-RPC error, for methods whose results cannot say `isError`.
    pub(super) fn into_error(self) -> ErrorData {
        match self {
            Self::Tell(text) => ErrorData::invalid_params(text, None),
            Self::Refuse(error) => error,
        }
    }

    /// The failure to reach the resource `uri`: -32002, which rmcp turns into -32602 for modern callers
    /// (SEP-2164).
    pub(super) fn into_resource_error(self, uri: &str) -> ErrorData {
        match self {
            Self::Tell(text) => ErrorData::resource_not_found(text, Some(json!({ "uri": uri }))),
            Self::Refuse(error) => error,
        }
    }
}

impl From<ErrorData> for Failure {
    fn from(error: ErrorData) -> Self {
        Self::Refuse(error)
    }
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error.concerns_the_model() {
            true => Self::Tell(error.to_string()),
            false => Self::Refuse(error.into()),
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Gone => Self::tell(
                "This notebook has ended or expired, and its notes with it. Call open_notebook for a new one.",
            ),
            StateError::TooManyKeys => {
                Self::tell("The notebook is full: its limit of notes is reached. Forget one first.")
            }
            StateError::TooLarge => Self::tell(
                "The note does not fit: the notebook would hold more bytes than it may. Store less, or forget \
                 something first.",
            ),
            StateError::TooManyNotebooks => Self::tell(
                "Your limit of notebooks is reached (notebook.peer_max). Use one that you have, or try again \
                 when one has expired.",
            ),
            StateError::TooManyTasks | StateError::NoPrincipal => Self::tell(error.to_string()),
            StateError::Contended => {
                Self::tell("Others kept changing this note at the same time. Try again.")
            }
            StateError::BadKey(bytes) => Self::tell(format!("A key of {bytes} bytes cannot be used.")),
            StateError::Type(_) => Self::tell("The note holds a value of another type than this needs."),
            passes @ (StateError::Unreachable(_) | StateError::Refused { .. }) => Self::Refuse(passes.into()),
        }
    }
}

impl IntoCallToolResult for Failure {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        match self {
            Self::Tell(text) => Ok(CallToolResult::error(vec![ContentBlock::text(text)]).into()),
            Self::Refuse(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_store_is_an_error_to_retry_and_names_no_cause() {
        let failure = Failure::from(StateError::Unreachable("redis at 10.0.0.7:6379".into()));
        let error = failure.into_call_tool_result().unwrap_err();
        assert_eq!(error.code.0, -32000);
        assert_eq!(error.data, Some(json!({ "retryAfterSeconds": 1 })));
        assert!(!error.message.contains("10.0.0.7"));
    }

    #[test]
    fn what_a_model_can_put_right_is_a_result_that_says_how() {
        let answer = Failure::from(StateError::Gone).into_call_tool_result();
        let CallToolResponse::Complete(result) = answer.unwrap() else {
            panic!("not a complete result");
        };
        assert_eq!(result.is_error, Some(true));
        assert!(
            result.content[0]
                .as_text()
                .unwrap()
                .text
                .contains("open_notebook")
        );
    }
}
