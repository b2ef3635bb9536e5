//! What a client is told when its session or the store fails it: the one place where that is decided and logged.

use crate::cluster::SessionError;
use crate::protocol::error::Refusal;
use crate::store::StoreError;

impl From<StoreError> for Refusal {
    fn from(cause: StoreError) -> Self {
        let error = &cause as &dyn std::error::Error;
        match &cause {
            // The pulse warns of an outage, once; requests are many, and metrics count them.
            StoreError::Unreachable(_) => {
                tracing::debug!(error, "the store did not answer");
                Self::StoreUnreachable
            }
            StoreError::Refused { why, .. } => {
                tracing::debug!(error, "the store refused");
                Self::StoreRefused(why.words())
            }
            // Trying again would not help.
            StoreError::Corrupt(_) => {
                tracing::warn!(error, "the store did not do as asked");
                Self::Internal
            }
        }
    }
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::NotFound => Self::SessionNotFound,
            SessionError::Full => Self::InvalidParams(error.to_string()),
            SessionError::Store(cause) => cause.into(),
        }
    }
}
