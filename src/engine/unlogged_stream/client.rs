//! The client's end of a reply that is a stream.

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::{Instant, timeout_at};

use super::WRITE_WITHIN;

/// The receiving end of a stream, for as long as it is there, and the event that waits for a place in its
/// queue.
pub(super) struct ReplyReceiver {
    events: Option<mpsc::Sender<Bytes>>,
    waiting: Option<(Bytes, Instant)>,
}

/// What happened at the client's end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The event that waited is written.
    Written,
    /// The client went away, or did not read for too long.
    Gone,
}

impl ReplyReceiver {
    pub(super) const fn new(events: mpsc::Sender<Bytes>) -> Self {
        Self {
            events: Some(events),
            waiting: None,
        }
    }

    /// Whether the next event can be [put](Self::put): none waits.
    pub(super) const fn is_ready(&self) -> bool {
        self.waiting.is_none()
    }

    /// Gives the client an event, which waits if the queue is full. One for a client that has gone is
    /// dropped.
    pub(super) fn put(&mut self, event: Bytes) {
        let Some(events) = &self.events else { return };
        if let Err(TrySendError::Full(event)) = events.try_send(event) {
            self.waiting = Some((event, Instant::now() + WRITE_WITHIN));
        }
    }

    /// Waits until the event that waits is written or, when none does, until the client goes away; for ever
    /// once that is known. Nothing is lost when the wait is given up and begun again.
    pub(super) async fn turn(&mut self) -> Turn {
        let Some(events) = &self.events else {
            return std::future::pending().await;
        };
        let until = self.waiting.as_ref().map(|(_, until)| *until);
        let written = match until {
            None => {
                events.closed().await;
                false
            }
            Some(until) => match timeout_at(until, events.reserve()).await {
                Ok(Ok(place)) => {
                    if let Some((event, _)) = self.waiting.take() {
                        place.send(event);
                    }
                    true
                }
                Ok(Err(_)) => false,
                Err(_) => {
                    tracing::debug!("the client of a stream did not read for too long");
                    false
                }
            },
        };
        if written {
            return Turn::Written;
        }
        tracing::debug!("the client of a stream has gone");
        self.events = None;
        self.waiting = None;
        Turn::Gone
    }

    /// Waits until no event waits.
    pub(super) async fn flush(&mut self) {
        while !self.is_ready() && self.turn().await == Turn::Written {}
    }

    /// Writes an event after those before it.
    pub(super) async fn write(&mut self, event: Bytes) {
        self.flush().await;
        self.put(event);
    }
}
