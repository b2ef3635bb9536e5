//! The refusal for each failure of a session or the store: the one place that decides and logs it.

use crate::causes::causes;
use crate::cluster::SessionError;
use crate::protocol::error::{Limited, Refusal};
use crate::store::{Full, StoreError};
use crate::telemetry::seldom;

impl From<Limited> for Refusal {
    fn from(limited: Limited) -> Self {
        Self::Limited(limited)
    }
}

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
            SessionError::Foreign => Self::SessionForeign,
            SessionError::Full => Self::InvalidParams(error.to_string()),
            SessionError::TooMany(full) => Self::TooMany(match full {
                Full::Sessions => "the limit of sessions is reached (session.max)",
                Full::OfPeer => "your limit of sessions is reached (session.peer_max)",
                Full::OfPeerUninitialized => {
                    "your limit of sessions that are not initialized is reached \
                     (session.peer_uninitialized_max)"
                }
            }),
            SessionError::Store(cause) => cause.into(),
        }
    }
}
