//! Opens the standalone stream of a session, or takes a reply's stream up where it broke off. On any node.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Engine;
use super::attach::Resumable;
use super::changes::Tell;
use super::dispatch::permit;
use super::incoming::stream_until;
use super::shares::{PeerUse, Resource, Share};
use super::stream_writer::{SOCKET_EVENTS_MAX, StreamWriter, WriterOptions};
use super::watch::Glimpse;
use crate::cluster::CachedSession;
use crate::protocol::error::Refusal;
use crate::protocol::event_id::EventId;
use crate::session::Identity;
use crate::store::streams::StreamId;
use crate::telemetry::metrics::StreamKind;

/// A stream that is open.
#[derive(Debug)]
pub(crate) struct OpenStream {
    /// Server-sent events, as they go to the client.
    pub events: mpsc::Receiver<Bytes>,
    /// Whether it is the session's own and lasts as long as its client listens; else it ends with the answer
    /// to a call.
    pub standing: bool,
}

impl Engine {
    /// A place for a stream.
    ///
    /// # Errors
    /// [`Refusal::TooMany`].
    pub(crate) fn stream_permit(&self, peer: &Arc<PeerUse>) -> Result<Share, Refusal> {
        permit(peer, Resource::Streams)
    }

    /// When a stream ends that this identity opens.
    pub(crate) fn stream_until(&self, identity: &Identity) -> Option<Instant> {
        stream_until(identity, self.settings.auth.stream_grace)
    }

    /// Opens the session's standalone stream or, after `last_event_id`, the stream that this names. `None`
    /// when nothing follows it: clients take a stream without events for one that broke, and come back at
    /// once. It ends at `until`, if not before. `taker` is who opens it, if that is known.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) async fn open_stream(
        self: &Arc<Self>,
        cached: &Arc<CachedSession>,
        last_event_id: Option<&str>,
        until: Option<Instant>,
        taker: Option<&Glimpse<'_>>,
        permit: Share,
    ) -> Result<Option<OpenStream>, Refusal> {
        let (stream, after) = match last_event_id {
            None => (StreamId::standalone(), None),
            Some(text) => {
                let id = EventId::parse(text).ok_or(FOREIGN)?;
                (StreamId::parse(id.stream).ok_or(FOREIGN)?, Some(id.number))
            }
        };
        // A request that is refused takes the stream from nobody.
        if let Some(after) = after
            && self.check_resumable(cached, &stream, after).await? == Resumable::Nothing
        {
            return Ok(None);
        }
        let (carried, delivered) = self.attach(cached, &stream, taker).await?;
        let standalone = stream.as_str() == StreamId::STANDALONE;
        if standalone {
            self.sync_or_later(cached, Tell::Changes).await;
        }
        let options = WriterOptions {
            kind: if standalone {
                StreamKind::Standalone
            } else {
                StreamKind::Reply
            },
            // One that names no event goes on after what was delivered.
            after: after.unwrap_or(delivered),
            has_id: after.is_some(),
            // Also one that is taken up: some clients know only what this connection has given them.
            prime: cached.revision().primes(),
            note_delivered: standalone,
            // Another node can carry on a reply only if the store is shared; the standalone stream is opened
            // again on any.
            draining: if standalone {
                self.stopping.leaving.clone()
            } else {
                self.handing_over()
            },
            until,
        };
        let (client, events) = mpsc::channel(SOCKET_EVENTS_MAX);
        let writer = StreamWriter::new(Arc::clone(self), stream, carried, options, client);
        // Not in a block of its own, which would keep room for the writer twice.
        self.work
            .spawn("write-stream", writer.run().map(move |_parted| drop(permit)));
        Ok(Some(OpenStream {
            events,
            standing: standalone,
        }))
    }
}

/// The refusal of an event id that no node gave.
pub(super) const FOREIGN: Refusal = Refusal::BadEventId("it is not an id that this server gave");
