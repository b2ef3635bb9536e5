//! Why the client's answer cannot be had.

use rmcp::ErrorData;
use rmcp::handler::server::tool::IntoCallToolResult;
use rmcp::model::{CallToolResponse, CallToolResult, ClientCapabilities, ContentBlock, ErrorCode};

use crate::protocol::era::Era;
use crate::protocol::error::CODE_TRANSPORT;

/// Why the client's answer cannot be had.
///
/// As the error of a tool (`Result<_, AskError>`), what the model can put right or should know becomes a
/// result with `isError`, and the rest a JSON-RPC error. As an [`ErrorData`] it is always the latter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The client is asked by the result of its call, and calls again with its answer (2026-07-28). No failure: return
    /// it, as an error of any type.
    #[error("the client is asked by the result of this call: return this error")]
    Later,
    /// The person declined.
    #[error("the person declined to answer")]
    Declined,
    /// The person closed the question.
    #[error("the person closed the question without an answer")]
    Dismissed,
    /// The client did not declare the capability.
    #[error("this client cannot be asked for that: it did not declare the `{name}` capability")]
    NotDeclared {
        /// Its name.
        name: &'static str,
        /// What the client would have to declare.
        needed: Box<ClientCapabilities>,
        /// The era of the client. In sessions there is no error of its own for this.
        era: Era,
    },
    /// The client answered with an error.
    #[error("the client refused: {0}")]
    Refused(String),
    /// The client was not asked: too much is asked of it, or its answer could not be found from every node now.
    #[error("the client was not asked: {0}")]
    NotAsked(String),
    /// The client did not answer in time (`call.answer_timeout`).
    #[error("the client did not answer in time: try again")]
    TimedOut,
    /// The client has gone.
    #[error("the client could not be asked, its connection is gone: try again")]
    Gone,
    /// The call was cancelled.
    #[error("the call was cancelled")]
    Cancelled,
    /// The answer is not one to what was asked.
    #[error("the client's answer is not as asked for: {0}")]
    BadAnswer(#[source] serde_json::Error),
    /// The `requestState` is not one of this principal and call, or has expired. One answer for every reason
    /// (SEP-2322, "Security").
    #[error("`requestState` is not valid for this call: make the call again without it")]
    BadState,
    /// The call, or what was answered so far, is too large to travel with the client.
    #[error("the call, or what it asks and is answered, has more than {0} bytes: call with less")]
    TooLarge(usize),
    /// The type asked for is no form of texts, numbers, yes or no, and choices.
    #[error("the type asked for is no form: {0}")]
    NoForm(#[source] serde_json::Error),
    /// Nobody can be asked: outside of a call, or in a tool that is named in [`NoPeer`](crate::NoPeer).
    #[error("nobody can be asked here: this is no call, or that of a tool that is named in NoPeer")]
    NotHere,
}

impl AskError {
    /// Whether the model can put it right, or should know.
    pub(crate) const fn concerns_the_model(&self) -> bool {
        matches!(
            self,
            Self::Declined
                | Self::Dismissed
                | Self::Refused(_)
                | Self::NotAsked(_)
                | Self::TimedOut
                | Self::Gone
                | Self::Cancelled
                | Self::NotDeclared { era: Era::Legacy, .. }
        )
    }
}

impl From<AskError> for ErrorData {
    fn from(error: AskError) -> Self {
        let words = error.to_string();
        match error {
            AskError::NotDeclared {
                needed,
                era: Era::Modern,
                ..
            } => {
                let mut error = Self::missing_required_client_capability(*needed);
                error.message = words.into();
                error
            }
            AskError::BadAnswer(_) | AskError::BadState | AskError::TooLarge(_) => {
                Self::invalid_params(words, None)
            }
            AskError::NoForm(_) | AskError::NotHere | AskError::Later => Self::internal_error(words, None),
            AskError::NotDeclared { .. }
            | AskError::Declined
            | AskError::Dismissed
            | AskError::Refused(_)
            | AskError::NotAsked(_)
            | AskError::TimedOut
            | AskError::Gone
            | AskError::Cancelled => Self::new(ErrorCode(CODE_TRANSPORT), words, None),
        }
    }
}

impl IntoCallToolResult for AskError {
    fn into_call_tool_result(self) -> Result<CallToolResponse, ErrorData> {
        match self.concerns_the_model() {
            true => Ok(CallToolResult::error(vec![ContentBlock::text(self.to_string())]).into()),
            false => Err(self.into()),
        }
    }
}
