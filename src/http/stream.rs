//! `GET /mcp`: the standalone stream of a session, or a reply's stream taken up where it broke off. On any node.

use std::sync::Arc;

use axum::response::Response;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderName, StatusCode};
use tokio::sync::mpsc;

use super::answer::Lasting;
use super::attach::{Resumable, attach, check_resumable};
use super::body::accepts;
use super::mcp::{Came, note, place};
use super::{Shared, answer, legacy};
use crate::causes::causes;
use crate::protocol::era::Era;
use crate::protocol::error::Refusal;
use crate::protocol::event_id::EventId;
use crate::store::streams::StreamId;
use crate::telemetry::metrics::StreamKind;
use crate::transport::carrier::{Carrier, SOCKET_EVENTS_MAX, Terms};
use crate::transport::shares::Resource;
use crate::transport::topics::Tell;

/// Where a client stopped reading (2025-11-25, Transports, "Resumability and Redelivery").
pub(super) static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Opens or resumes a stream.
pub(super) async fn open(shared: &Arc<Shared>, came: Came) -> Result<Response, Refusal> {
    check_accept(&came.parts.headers)?;
    let place = place(&came.peer, Resource::Streams)?;
    let live = legacy::session(shared, &came).await?;
    note(Era::Legacy, "other", Some(&live.tag));
    let resumed = came
        .parts
        .headers
        .get(&LAST_EVENT_ID)
        .map(|id| id.to_str().unwrap_or_default());
    let (stream, after) = match resumed {
        None => (StreamId::standalone(), None),
        Some(text) => {
            let id =
                EventId::parse(text).ok_or(Refusal::BadEventId("it is not an id that this server gave"))?;
            (named(id.stream)?, Some(id.number))
        }
    };
    // A request that is refused takes the stream from nobody.
    if let Some(after) = after
        && check_resumable(shared, &live, &stream, after).await? == Resumable::Nothing
    {
        // Clients take a stream without events for one that broke, and come back at once.
        return Ok(answer::empty(StatusCode::NO_CONTENT));
    }
    let (carried, delivered) = attach(shared, &live, &stream).await?;
    let standalone = stream.as_str() == StreamId::STANDALONE;
    if standalone && let Err(error) = shared.board.sync(&live, Tell::Changes).await {
        tracing::debug!(session = live.tag, error = %causes(&error), "a session is told of changes when it comes back");
    }
    let terms = Terms {
        kind: if standalone {
            StreamKind::Standalone
        } else {
            StreamKind::Reply
        },
        // One that names no event goes on after what was delivered.
        after: after.unwrap_or(delivered),
        has_id: after.is_some(),
        // Also one that is taken up: some clients know only what this connection has given them.
        prime: live.revision().primes(),
        note_delivered: standalone,
        keep_alive: shared.settings.call.keep_alive,
        // Another node can carry on a reply only if the store is shared; the standalone stream is opened anew on any.
        draining: if standalone {
            shared.leaving.clone()
        } else {
            shared.handing_over()
        },
        deadline: shared.deadline.clone(),
    };
    let (client, socket) = mpsc::channel(SOCKET_EVENTS_MAX);
    let carrier = Carrier::new(Arc::clone(&shared.board), stream, carried, terms, client);
    shared.work.spawn("carry", async move {
        let _parted = carrier.run().await;
        drop(place);
    });
    let lasting = match standalone {
        true => Lasting::Standing,
        false => Lasting::Reply,
    };
    Ok(answer::lasting(answer::stream(socket), lasting))
}

fn named(name: &str) -> Result<StreamId, Refusal> {
    StreamId::parse(name).ok_or(Refusal::BadEventId("it is not an id that this server gave"))
}

pub(super) fn check_accept(headers: &HeaderMap) -> Result<(), Refusal> {
    if !headers.contains_key(ACCEPT) || accepts(headers, "text", "event-stream") {
        Ok(())
    } else {
        Err(Refusal::NotAcceptable("send Accept: text/event-stream"))
    }
}
