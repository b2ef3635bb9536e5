//! What it takes to carry a stream over a new connection, be it a session's only one or one of several.

use std::sync::Arc;

use super::Shared;
use crate::cluster::Live;
use crate::protocol::error::Refusal;
use crate::store::streams::{Attached, Holder, Over, Read, StreamId};
use crate::transport::hub::Carried;

/// Makes a new connection carry the stream, for it is the newest. The one that carried it before waits from now on: its node has been
/// rung. Returns the connection, and the last event that was delivered.
pub(super) async fn attach(
    shared: &Shared,
    live: &Arc<Live>,
    stream: &StreamId,
) -> Result<(Carried, u64), Refusal> {
    let hub = &shared.board.hub;
    let connection = hub.number();
    let carried = hub.carry(Arc::clone(live), stream.clone(), connection);
    let holder = Holder {
        node: shared.node.clone(),
        connection,
    };
    let attached = shared
        .store
        .attach(&live.id, stream, &holder, Over::Any, shared.settings.session.ttl)
        .await;
    match attached.map_err(Refusal::from)? {
        Attached::Attached { delivered, .. } => {
            carried.took_over();
            Ok((carried, delivered))
        }
        Attached::NoStream | Attached::Held(_) => Err(no_stream(shared, live).await),
        Attached::Gone => Err(shared.board.gone(live).await),
    }
}

/// What there is to resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resumable {
    /// What follows.
    More,
    /// Nothing: the stream has ended, and the client has all of it.
    Nothing,
}

/// What a client has not seen must still be in the log, or it would believe that nothing is missing.
pub(super) async fn check_resumable(
    shared: &Shared,
    live: &Live,
    stream: &StreamId,
    after: u64,
) -> Result<Resumable, Refusal> {
    match shared
        .store
        .read(&live.id, stream, after)
        .await
        .map_err(Refusal::from)?
    {
        Read::Events { first, head, .. } if after > head || (after + 1 < first && head > 0) => {
            Err(Refusal::BadEventId("what followed it is not kept any longer"))
        }
        Read::Events { head, done: true, .. } if after == head => Ok(Resumable::Nothing),
        Read::Events { .. } => Ok(Resumable::More),
        Read::Gone => Err(no_stream(shared, live).await),
    }
}

/// There is no such stream, and perhaps no such session: a store that came back empty knows neither.
async fn no_stream(shared: &Shared, live: &Live) -> Refusal {
    match shared.sessions.confirm(&live.id).await {
        Ok(()) => Refusal::BadEventId("there is no such stream in this session, or no longer"),
        Err(error) => error.into(),
    }
}
