//! What a client is told when its session cannot be had: the one place where that is decided and logged.

use crate::cluster::SessionError;
use crate::protocol::error::Refusal;

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::NotFound => Self::SessionNotFound,
            SessionError::Full => Self::InvalidParams(error.to_string()),
            SessionError::Store(cause) => {
                tracing::warn!(
                    error = &cause as &dyn std::error::Error,
                    "a session could not be had"
                );
                Self::StoreUnreachable
            }
        }
    }
}
