//! What a client is told when its session or the store fails it: the one place where that is decided and
//! logged.

use crate::causes::causes;
use crate::cluster::SessionError;
use crate::protocol::error::Refusal;
use crate::store::{Full, StoreError};
use crate::telemetry::seldom;

impl From<StoreError> for Refusal {
    fn from(cause: StoreError) -> Self {
        let error = causes(&cause);
        match &cause {
            // The membership warns of an outage, and the store of what it refuses, once; requests are many.
            StoreError::Unreachable(_) => {
                tracing::debug!(%error, "the store did not answer");
                Self::StoreUnreachable
            }
            StoreError::Refused { why, .. } => {
                tracing::debug!(%error, "the store refused");
                Self::StoreRefused(why.words())
            }
            StoreError::Newer(_) => {
                tracing::debug!(%error, "another node must serve this");
                Self::NewerVersion
            }
            // Trying again would not help.
            StoreError::Corrupt(_) => {
                let words = "the store did not do as asked";
                seldom(words, |left_out| tracing::warn!(%error, left_out, "{words}"));
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
            SessionError::TooMany(full) => Self::TooMany(match full {
                Full::Sessions => "there are as many sessions as there may be (session.max)",
                Full::OfPeer => "you have as many sessions as one peer may (session.peer_max)",
                Full::OfPeerUninitialized => {
                    "you have as many sessions that are not initialized as one peer may \
                     (session.peer_uninitialized_max)"
                }
            }),
            SessionError::Store(cause) => cause.into(),
        }
    }
}
