//! Writes to the client what its stream has for it, and what it can no longer be given.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::{SLOW_CLIENT, SOCKET_BYTES_MAX, StreamWriter, WriterStop};
use crate::causes::causes;
use crate::engine::loss;
use crate::protocol::event_id::EventId;
use crate::protocol::sse;
use crate::store::streams::Event;
use crate::telemetry::seldom;

/// Bytes on their way to the client, which take up room until they are with the system.
struct OnTheWay {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for OnTheWay {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl StreamWriter {
    /// Goes on after event `last`: the log has dropped those before. Events that another connection or a
    /// former client received are not missing. The client is told how many others are. A call whose messages
    /// are lost ends with an error.
    pub(super) async fn pass_over(&mut self, last: u64, delivered: u64) -> Result<(), WriterStop> {
        let seen = if self.options.note_delivered {
            self.written.max(delivered)
        } else {
            self.written
        };
        if last > seen {
            let notice = loss::notice(last - seen, loss::OVERFLOW);
            let (words, lost) = (
                "a client has missed events of its stream; it is told how many",
                last - seen,
            );
            seldom(words, |left_out| {
                tracing::warn!(session = self.cached.tag, lost, left_out, "{words}")
            });
            self.write(sse::message(notice.as_bytes())).await?;
            self.lost += lost;
        }
        self.written = last;
        Ok(())
    }

    pub(super) async fn pass_on(&mut self, event: Event) -> Result<(), WriterStop> {
        if event.number <= self.written {
            return Ok(());
        }
        let id = EventId {
            stream: self.stream.as_str(),
            number: event.number,
        };
        let bytes = match self.lost > 0 && !self.stream.is_session_stream() && is_response(&event.data) {
            true => sse::message_with_id(id, &loss::instead_of(&event.data, self.lost, loss::OVERFLOW)),
            false => sse::message_with_id(id, event.data.as_bytes()),
        };
        self.write(bytes).await?;
        self.written = event.number;
        Ok(())
    }

    /// Notes how far the stream was written, for a client that comes back without an event id: once all is
    /// with the system, for what waits here may never be sent.
    pub(super) async fn note_delivered(&mut self) {
        if !self.options.note_delivered || self.noted == self.written {
            return;
        }
        let sent = timeout(SLOW_CLIENT, self.room.acquire_many(SOCKET_BYTES_MAX)).await;
        if !matches!(sent, Ok(Ok(_))) {
            return;
        }
        let session = &self.cached.id;
        match self
            .engine
            .store
            .delivered(session, &self.stream, self.written)
            .await
        {
            Ok(()) => self.noted = self.written,
            Err(error) => debug!(
                session = self.cached.tag,
                error = %causes(&error),
                "could not note how far a stream was delivered"
            ),
        }
    }

    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), WriterStop> {
        let size = u32::try_from(bytes.len()).map_or(SOCKET_BYTES_MAX, |size| size.min(SOCKET_BYTES_MAX));
        let room = Arc::clone(&self.room).acquire_many_owned(size);
        let sent = async {
            let _room = room.await.ok()?;
            let bytes = Bytes::from_owner(OnTheWay { bytes, _room });
            self.client.send(bytes).await.ok()
        };
        let sent = timeout(SLOW_CLIENT, sent).await.ok().flatten();
        self.spoke = Instant::now();
        self.said = true;
        sent.ok_or(WriterStop::Client)
    }
}

/// Whether a message of a call is its response.
fn is_response(message: &str) -> bool {
    #[derive(Deserialize)]
    struct ResponseEnvelope<'a> {
        #[serde(borrow)]
        method: Option<&'a RawValue>,
    }
    serde_json::from_str::<ResponseEnvelope<'_>>(message).is_ok_and(|envelope| envelope.method.is_none())
}
