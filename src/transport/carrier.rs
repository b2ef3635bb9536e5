//! Carries one stream to one client: what is in its log, then what comes, until it ends or another takes over.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::hub::Carried;
use crate::cluster::Sessions;
use crate::protocol::event_id::EventId;
use crate::session::NodeId;
use crate::store::streams::{Event, Holder, Read, Step, StreamId};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::{self, StreamKind};

/// How many events wait in a connection's socket queue.
pub const SOCKET_EVENTS_MAX: usize = 16; // 16 x 64 KiB = 1 MiB a client
/// How long a client may take to make room for one more event, before its connection is closed. The log keeps what it
/// missed.
pub(super) const SLOW_CLIENT: Duration = Duration::from_secs(10);
/// How often the log is read though nobody rang: a lost ring delays, and never loses.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How soon the log is read again when the store did not answer.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How soon a client should come back, in milliseconds (SSE, `retry`).
pub const RETRY_MS: u64 = 500;
/// What keeps a silent stream open: a comment, which no client sees as an event.
const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// How a stream is carried.
#[derive(Debug)]
pub struct Terms {
    /// This node.
    pub node: NodeId,
    /// What kind of stream it is, for metrics.
    pub kind: StreamKind,
    /// The last event that the client has.
    pub after: u64,
    /// Whether the client has an event id already, because it came with one.
    pub has_id: bool,
    /// Whether to begin with a priming event (2025-11-25, SEP-1699).
    pub prime: bool,
    /// Whether what was written is noted in the store: for streams that clients take up without an event id.
    pub note_delivered: bool,
    /// How often a silent stream gets a comment.
    pub keep_alive: Duration,
    /// Where the session's life is renewed: an open stream is a use.
    pub sessions: Sessions,
    /// Fires when the node drains: clients are sent elsewhere.
    pub draining: CancellationToken,
    /// Fires when the drain's deadline has come: calls that are left are handed over.
    pub deadline: CancellationToken,
}

/// A connection at work.
#[derive(Debug)]
pub struct Carrier {
    store: Arc<dyn Store>,
    stream: StreamId,
    carried: Carried,
    terms: Terms,
    client: mpsc::Sender<Bytes>,
    written: u64,
    noted: u64,
}

/// Why a connection stops carrying.
#[derive(Debug, PartialEq, Eq)]
enum Stop {
    /// The stream has ended.
    Done,
    /// The client has gone, is too slow, or is sent elsewhere.
    Client,
    /// Another connection carries the stream now.
    Replaced,
    /// The session or the stream is gone.
    Gone,
}

impl Carrier {
    /// Carries `stream` to the client at the other end of `client`, a channel of [`SOCKET_EVENTS_MAX`].
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        stream: StreamId,
        carried: Carried,
        terms: Terms,
        client: mpsc::Sender<Bytes>,
    ) -> Self {
        Self {
            written: terms.after,
            noted: terms.after,
            store,
            stream,
            carried,
            terms,
            client,
        }
    }

    /// Carries until the stream ends, the client goes, or another connection takes over.
    pub async fn run(mut self) {
        let opened = metrics::stream_open(self.terms.kind);
        let stop = match self.carry().await {
            Ok(never) => never,
            Err(stop) => stop,
        };
        debug!(
            session = self.carried.line.live.tag,
            ?stop,
            "a connection stops carrying a stream"
        );
        drop(opened);
        if stop == Stop::Client {
            let holder = self.holder();
            if let Err(error) = self
                .store
                .detach(&self.carried.line.live.id, &self.stream, &holder)
                .await
            {
                debug!(%error, "could not take a connection off its stream");
            }
        }
    }

    async fn carry(&mut self) -> Result<Stop, Stop> {
        if self.terms.prime {
            let id = EventId {
                stream: self.stream.as_str(),
                number: self.written,
            };
            self.write(format!("id: {id}\nretry: {RETRY_MS}\ndata:\n\n").into())
                .await?;
        }
        // Whatever is in the log already comes first.
        let mut look_at = Some(Instant::now());
        let mut pinged = false;
        loop {
            if look_at.is_some_and(|at| at <= Instant::now()) {
                look_at = self.look().await?;
            }
            let line = Arc::clone(&self.carried.line);
            let ended = line.live.ended.clone();
            let (draining, deadline) = (self.terms.draining.clone(), self.terms.deadline.clone());
            tokio::select! {
                () = line.told() => {
                    if self.hear().await? {
                        look_at = self.look().await?;
                    }
                }
                () = self.client.closed() => return Err(Stop::Client),
                () = ended.cancelled() => return Err(Stop::Gone),
                () = draining.cancelled(), if self.may_leave() => {
                    // Clients of HTTP+SSE take an event without data for a message. They were told at the start.
                    if self.terms.kind != StreamKind::Sse {
                        self.write(format!("retry: {RETRY_MS}\n\n").into()).await?;
                    }
                    return Err(Stop::Client);
                }
                () = deadline.cancelled(), if !pinged && !self.may_leave() => {
                    pinged = true;
                    self.ping().await;
                    look_at = Some(Instant::now());
                }
                () = sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => {}
                () = sleep(self.terms.keep_alive.min(LOOK_EVERY)) => {
                    self.write(KEEP_ALIVE).await?;
                    self.terms.sessions.renew(&line.live);
                    look_at = Some(Instant::now());
                }
            }
        }
    }

    /// Takes what was told. True when the log must be read.
    async fn hear(&mut self) -> Result<bool, Stop> {
        let told = self.carried.line.take();
        if told.replaced {
            return Err(Stop::Replaced);
        }
        let mut look = told.look;
        for (event, last) in told.events {
            if event.number > self.written + 1 {
                // Another node has appended in between.
                look = true;
                break;
            }
            self.pass_on(event).await?;
            if last {
                return Err(Stop::Done);
            }
        }
        if !look {
            self.note_delivered().await;
        }
        Ok(look)
    }

    /// Reads the log from where the client is. Returns when to read it again, if that is soon.
    async fn look(&mut self) -> Result<Option<Instant>, Stop> {
        loop {
            let live = Arc::clone(&self.carried.line.live);
            let read = match self.store.read(&live.id, &self.stream, self.written).await {
                Ok(read) => read,
                Err(StoreError::Unreachable(_)) => return Ok(Some(Instant::now() + LOOK_AGAIN)),
                Err(error) => {
                    tracing::warn!(session = live.tag, %error, "a stream cannot be read");
                    return Err(Stop::Gone);
                }
            };
            let Read::Events {
                events,
                first,
                head,
                done,
                holder,
            } = read
            else {
                return Err(Stop::Gone);
            };
            if holder.is_some_and(|holder| holder != self.holder()) {
                return Err(Stop::Replaced);
            }
            if first > self.written + 1 && self.written < head {
                // The log has dropped what this client has not seen: it must not believe that nothing is missing.
                return Err(Stop::Client);
            }
            let caught_up = events.last().map_or(self.written, |event| event.number) >= head;
            for event in events {
                self.pass_on(event).await?;
            }
            match (caught_up, done) {
                (true, true) => return Err(Stop::Done),
                (true, false) => {
                    self.note_delivered().await;
                    return Ok(None);
                }
                (false, _) => {}
            }
        }
    }

    async fn pass_on(&mut self, event: Event) -> Result<(), Stop> {
        if event.number <= self.written {
            return Ok(());
        }
        let id = EventId {
            stream: self.stream.as_str(),
            number: event.number,
        };
        self.write(encode(id, &event.data)).await?;
        self.written = event.number;
        self.carried.line.note_written(self.written);
        Ok(())
    }

    /// Notes how far the stream was written, for a client that comes back without an event id: once the queue to its socket
    /// is empty, for what waits there may never be sent.
    async fn note_delivered(&mut self) {
        if !self.terms.note_delivered || self.noted == self.written {
            return;
        }
        let empty = timeout(SLOW_CLIENT, self.client.reserve_many(SOCKET_EVENTS_MAX)).await;
        if !matches!(empty, Ok(Ok(_))) {
            return;
        }
        let session = &self.carried.line.live.id;
        match self.store.delivered(session, &self.stream, self.written).await {
            Ok(()) => self.noted = self.written,
            Err(error) => debug!(%error, "could not note how far a stream was delivered"),
        }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Stop> {
        match timeout(SLOW_CLIENT, self.client.send(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Stop::Client),
        }
    }

    /// Whether the client can be sent elsewhere: it must have an event id to come back with, or need none.
    fn may_leave(&self) -> bool {
        self.terms.has_id || self.terms.note_delivered || self.terms.prime || self.written > 0
    }

    /// Gives the client of a silent call an event id, so that it can come back elsewhere for the answer: with a request
    /// that each client answers, since before 2025-11-25 an event must have a message. Nobody waits for what it says.
    async fn ping(&self) {
        let stream = self.stream.as_str();
        let ping = format!(r#"{{"jsonrpc":"2.0","id":"{stream}-ping","method":"ping"}}"#);
        let (live, Terms { node, sessions, .. }) = (&self.carried.line.live, &self.terms);
        let step = Step {
            call: &self.stream,
            run: "ping",
            number: 1,
        };
        let append = self
            .store
            .append(&live.id, &self.stream, &ping, node, Some(step), sessions.ttl());
        if let Err(error) = append.await {
            debug!(session = live.tag, %error, "a client cannot be told how to come back");
        }
    }

    fn holder(&self) -> Holder {
        Holder {
            node: self.terms.node.clone(),
            connection: self.carried.line.connection,
        }
    }
}

/// A message as a server-sent event. JSON text has no line breaks, so it is one `data:` line.
fn encode(id: EventId<'_>, data: &str) -> Bytes {
    let head = format!("id: {id}\nevent: message\ndata: ");
    let mut bytes = BytesMut::with_capacity(head.len() + data.len() + 2);
    bytes.put_slice(head.as_bytes());
    bytes.put_slice(data.as_bytes());
    bytes.put_slice(b"\n\n");
    bytes.freeze()
}
