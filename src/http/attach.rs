//! What it takes to carry a stream over a new connection, be it a session's only one or one of several.

use std::time::Duration;

use super::Shared;
use crate::cluster::Live;
use crate::cluster::ring::Bell;
use crate::protocol::error::Refusal;
use crate::store::streams::{Attached, Holder, Read, StreamId};

/// Makes this connection carry the stream, whichever carried it before. Returns the last event that was delivered.
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
        .attach(&live.id, stream, &holder, life(shared, live))
        .await;
    match attached.map_err(Refusal::from)? {
        Attached::Attached { previous, delivered } => {
            if let Some(previous) = previous {
                tell_replaced(shared, live, stream, previous).await;
            }
            Ok(delivered)
        }
        Attached::NoStream => Err(Refusal::BadEventId(
            "there is no such stream in this session, or no longer",
        )),
        Attached::Gone => Err(Refusal::SessionNotFound),
    }
}

/// Tells the node that carried the stream until now. On this node the hub has done it.
async fn tell_replaced(shared: &Shared, live: &Live, stream: &StreamId, previous: Holder) {
    if previous.node == shared.node {
        return;
    }
    let bell = Bell::Replaced {
        session: live.id.as_str().to_owned(),
        stream: stream.as_str().to_owned(),
        connection: previous.connection,
    };
    let Ok(text) = serde_json::to_string(&bell) else {
        return;
    };
    if let Err(error) = shared.store.ring(&previous.node, &text).await {
        tracing::debug!(%error, "could not tell a node that it carries a stream no longer");
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
        Read::Gone => Err(Refusal::BadEventId(
            "there is no such stream in this session, or no longer",
        )),
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
            tracing::warn!(
                session = live.tag,
                "a stream has dropped events that its client has not seen"
            );
            Ok(first - 1)
        }
        Read::Events { .. } | Read::Gone => Ok(delivered),
    }
}

/// How long what belongs to the session lives.
fn life(shared: &Shared, live: &Live) -> Duration {
    let settings = &shared.settings.session;
    if live.record.initialized {
        settings.ttl
    } else {
        settings.uninitialized_ttl
    }
}
