//! What it takes to carry a stream over a new connection, be it a session's only one or one of several.

use super::Shared;
use crate::cluster::Live;
use crate::protocol::error::Refusal;
use crate::store::streams::{Attached, Holder, Read, StreamId};
use crate::telemetry::seldom;

/// Makes this connection carry the stream. Whichever carried it before finds that when it looks: its node has been rung.
/// Returns the last event that was delivered.
pub(super) async fn attach(
    shared: &Shared,
    live: &Live,
    stream: &StreamId,
    connection: u64,
) -> Result<u64, Refusal> {
    let holder = Holder {
        node: shared.node.clone(),
        connection,
    };
    let attached = shared
        .store
        .attach(&live.id, stream, &holder, shared.settings.session.ttl)
        .await;
    match attached.map_err(Refusal::from)? {
        Attached::Attached { delivered, .. } => Ok(delivered),
        Attached::NoStream => Err(no_stream(shared, live).await),
        Attached::Gone => Err(Refusal::SessionNotFound),
    }
}

/// What a client has not seen must still be in the log, or it would believe that nothing is missing.
pub(super) async fn check_resumable(
    shared: &Shared,
    live: &Live,
    stream: &StreamId,
    after: u64,
) -> Result<(), Refusal> {
    match shared
        .store
        .read(&live.id, stream, after)
        .await
        .map_err(Refusal::from)?
    {
        Read::Events { first, head, .. } if after > head || (after + 1 < first && head > 0) => {
            Err(Refusal::BadEventId("what followed it is not kept any longer"))
        }
        Read::Events { .. } => Ok(()),
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

/// Where a client goes on that names no event: after what was delivered, or later if the log has dropped what followed.
/// It would come back in vain for what is not there.
pub(super) async fn oldest_undelivered(
    shared: &Shared,
    live: &Live,
    stream: &StreamId,
    delivered: u64,
) -> Result<u64, Refusal> {
    match shared
        .store
        .read(&live.id, stream, delivered)
        .await
        .map_err(Refusal::from)?
    {
        Read::Events { first, .. } if first > delivered + 1 => {
            let words = "a stream has dropped events that its client has not seen";
            seldom(words, |left_out| {
                tracing::warn!(session = live.tag, left_out, "{words}")
            });
            Ok(first - 1)
        }
        Read::Events { .. } | Read::Gone => Ok(delivered),
    }
}
