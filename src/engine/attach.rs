//! Attaches a new connection to a stream, be it the session's only stream or one of several.

use std::sync::Arc;

use super::Engine;
use super::local_streams::ConnectionGuard;
use super::watch::Glimpse;
use crate::cluster::CachedSession;
use crate::protocol::error::Refusal;
use crate::store::streams::{Attached, Holder, Over, Read, StreamId};

/// What there is to resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resumable {
    /// What follows.
    More,
    /// Nothing: the stream has ended, and the client has all of it.
    Nothing,
}

impl Engine {
    /// Makes a new connection carry the stream, because it is the newest. The former carrier waits from now
    /// on: its node got a message. Returns the connection, and the last event that was delivered.
    pub(super) async fn attach(
        self: &Arc<Self>,
        cached: &Arc<CachedSession>,
        stream: &StreamId,
        taker: Option<&Glimpse<'_>>,
    ) -> Result<(ConnectionGuard, u64), Refusal> {
        let connection = self.streams.number();
        let carried = self.streams.carry(Arc::clone(cached), stream.clone(), connection);
        let holder = Holder {
            node: self.node.clone(),
            connection,
        };
        let attached = self
            .store
            .attach(&cached.id, stream, &holder, Over::Any, self.session_ttl())
            .await;
        match attached.map_err(Refusal::from)? {
            Attached::Attached { previous, delivered } => {
                if let (Some(_displaced), Some(taker)) = (previous, taker) {
                    self.note_taken(cached, stream, taker);
                }
                carried.took_over();
                Ok((carried, delivered))
            }
            Attached::NoStream | Attached::Held(_) => Err(self.no_stream(cached).await),
            Attached::Gone => Err(self.session_gone(cached).await),
        }
    }

    /// Checks that the log still holds what the client has not seen. Otherwise the client would believe that
    /// nothing is missing.
    pub(super) async fn check_resumable(
        &self,
        cached: &CachedSession,
        stream: &StreamId,
        after: u64,
    ) -> Result<Resumable, Refusal> {
        match self
            .store
            .read(&cached.id, stream, after)
            .await
            .map_err(Refusal::from)?
        {
            Read::Events { first, head, .. } if after > head || (after + 1 < first && head > 0) => {
                Err(Refusal::BadEventId("the events after it are no longer kept"))
            }
            Read::Events { head, done: true, .. } if after == head => Ok(Resumable::Nothing),
            Read::Events { .. } => Ok(Resumable::More),
            Read::Gone => Err(self.no_stream(cached).await),
        }
    }

    /// There is no such stream, and perhaps no such session: a store that came back empty knows neither.
    async fn no_stream(&self, cached: &CachedSession) -> Refusal {
        match self.sessions.confirm(&cached.id).await {
            Ok(()) => Refusal::BadEventId("there is no such stream in this session, or no longer"),
            Err(error) => error.into(),
        }
    }
}
