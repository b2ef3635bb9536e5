//! `GET /mcp`: the standalone stream of a session, or a reply's stream taken up where it broke off. On any node.

use std::sync::Arc;

use axum::response::Response;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderName};
use tokio::sync::mpsc;

use super::body::accepts;
use super::mcp::{Came, note};
use super::{Shared, answer, legacy};
use crate::cluster::Live;
use crate::cluster::ring::Bell;
use crate::protocol::era::{Era, Revision};
use crate::protocol::error::Refusal;
use crate::protocol::event_id::EventId;
use crate::store::streams::{Attached, Holder, Read, StreamId};
use crate::telemetry::metrics::StreamKind;
use crate::transport::carrier::{Carrier, SOCKET_EVENTS_MAX, Terms};
use crate::transport::topics::Tell;

/// Where a client stopped reading (2025-11-25, Transports, "Resumability and Redelivery").
static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Opens or resumes a stream.
pub(super) async fn open(shared: &Arc<Shared>, came: Came) -> Result<Response, Refusal> {
    check_accept(&came.parts.headers)?;
    let live = legacy::session(shared, &came).await?;
    note(Era::Legacy, "other", Some(&live.tag));
    let resumed = came
        .parts
        .headers
        .get(&LAST_EVENT_ID)
        .map(|id| id.to_str().unwrap_or_default());
    let (stream, after) = match resumed {
        None => (named(StreamId::STANDALONE)?, None),
        Some(text) => {
            let id =
                EventId::parse(text).ok_or(Refusal::BadEventId("it is not an id that this server gave"))?;
            (named(id.stream)?, Some(id.number))
        }
    };
    // A request that is refused takes the stream from nobody.
    if let Some(after) = after {
        check_resumable(shared, &live, &stream, after).await?;
    }
    let connection = shared.board.hub.number();
    let delivered = attach(shared, &live, &stream, connection).await?;
    let carried = shared
        .board
        .hub
        .carry(Arc::clone(&live), stream.clone(), connection);
    let standalone = stream.as_str() == StreamId::STANDALONE;
    if standalone && let Err(error) = shared.board.sync(&live, Tell::Changes).await {
        tracing::debug!(session = live.tag, %error, "a session is told of changes when it comes back");
    }
    let terms = Terms {
        node: shared.node.clone(),
        kind: StreamKind::Standalone,
        after: after.unwrap_or(delivered),
        prime: after.is_none() && live.record.revision >= Revision::V2025_11_25,
        note_delivered: standalone,
        keep_alive: shared.settings.call.keep_alive,
        ttl: shared.settings.session.ttl,
        draining: shared.leaving.clone(),
    };
    let (client, socket) = mpsc::channel(SOCKET_EVENTS_MAX);
    let carrier = Carrier::new(Arc::clone(&shared.store), stream, carried, terms, client);
    shared.work.spawn("carry", carrier.run());
    Ok(answer::stream(socket))
}

/// Makes this connection carry the stream, whichever carried it before.
async fn attach(shared: &Shared, live: &Live, stream: &StreamId, connection: u64) -> Result<u64, Refusal> {
    let holder = Holder {
        node: shared.node.clone(),
        connection,
    };
    let attached = shared
        .store
        .attach(&live.id, stream, &holder, shared.settings.session.ttl)
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
async fn check_resumable(shared: &Shared, live: &Live, stream: &StreamId, after: u64) -> Result<(), Refusal> {
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

fn named(name: &str) -> Result<StreamId, Refusal> {
    StreamId::parse(name).ok_or(Refusal::BadEventId("it is not an id that this server gave"))
}

fn check_accept(headers: &HeaderMap) -> Result<(), Refusal> {
    if !headers.contains_key(ACCEPT) || accepts(headers, "text", "event-stream") {
        Ok(())
    } else {
        Err(Refusal::NotAcceptable("send Accept: text/event-stream"))
    }
}
