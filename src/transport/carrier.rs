//! Carries one stream to one client: what is in its log, then what comes, until it ends or another takes over.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::hub::Carried;
use crate::cluster::sessions::TOUCHES_A_LIFE;
use crate::cluster::unix_ms;
use crate::protocol::event_id::EventId;
use crate::session::NodeId;
use crate::store::streams::{Event, Holder, Read, StreamId};
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::{self, StreamKind};

/// How many events wait in a connection's socket queue.
pub const SOCKET_EVENTS_MAX: usize = 16;
/// How many bytes wait there, and at the socket itself. One event that is larger waits alone.
const SOCKET_BYTES_MAX: u32 = 1 << 20; // 1 MiB a client
/// How long a client may take to make room for one more event, before its connection is closed. The log keeps what it
/// missed.
const SLOW_CLIENT: Duration = Duration::from_secs(10);
/// How often the log is read though nobody rang: a lost ring delays, and never loses. Whoever was deaf for a while is rung
/// by that alone, so it need not be often: 10,000 idle streams read 667 times a second.
const LOOK_EVERY: Duration = Duration::from_secs(15);
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
    /// Whether to begin with a priming event (2025-11-25, SEP-1699).
    pub prime: bool,
    /// Whether what was written is noted in the store: for streams that clients take up without an event id.
    pub note_delivered: bool,
    /// How often a silent stream gets a comment.
    pub keep_alive: Duration,
    /// How long the session lives after its last use: an open stream is a use.
    pub ttl: Duration,
    /// Fires when the node drains: clients are sent elsewhere.
    pub draining: CancellationToken,
}

/// A connection at work.
#[derive(Debug)]
pub struct Carrier {
    store: Arc<dyn Store>,
    stream: StreamId,
    carried: Carried,
    terms: Terms,
    client: mpsc::Sender<Bytes>,
    room: Arc<Semaphore>,
    written: u64,
    spoke: Instant,
}

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
            room: Arc::new(Semaphore::new(SOCKET_BYTES_MAX as usize)),
            spoke: Instant::now(),
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
            let prime = format!("id: {id}\nretry: {RETRY_MS}\ndata:\n\n");
            Box::pin(self.write(prime.into())).await?;
        }
        // Whatever is in the log already comes first.
        let mut look_at = Some(Instant::now());
        loop {
            if look_at.is_some_and(|at| at <= Instant::now()) {
                // In boxes, which are gone while nothing happens: most streams are idle most of the time.
                look_at = Box::pin(self.look()).await?;
            }
            let line = Arc::clone(&self.carried.line);
            let ended = line.live.ended.clone();
            let draining = self.terms.draining.clone();
            let keep_alive = self.terms.keep_alive;
            tokio::select! {
                () = line.told() => {
                    if Box::pin(self.hear()).await? {
                        look_at = Box::pin(self.look()).await?;
                    }
                }
                () = self.client.closed() => return Err(Stop::Client),
                () = ended.cancelled() => return Err(Stop::Gone),
                () = draining.cancelled(), if self.may_leave() => {
                    // Clients of HTTP+SSE take an event without data for a message. They were told at the start.
                    if self.terms.kind != StreamKind::Sse {
                        Box::pin(self.write(format!("retry: {RETRY_MS}\n\n").into())).await?;
                    }
                    return Err(Stop::Client);
                }
                () = sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => {}
                () = sleep(LOOK_EVERY.min(keep_alive.saturating_sub(self.spoke.elapsed()))) => {
                    if self.spoke.elapsed() >= keep_alive {
                        Box::pin(self.write(KEEP_ALIVE)).await?;
                    }
                    Box::pin(self.touch()).await;
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
            } = read
            else {
                return Err(Stop::Gone);
            };
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
                (true, false) => return Ok(None),
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
        if self.terms.note_delivered {
            let noted = self
                .store
                .delivered(&self.carried.line.live.id, &self.stream, self.written)
                .await;
            if let Err(error) = noted {
                debug!(%error, "could not note how far a stream was delivered");
            }
        }
        Ok(())
    }

    async fn write(&mut self, bytes: Bytes) -> Result<(), Stop> {
        let size = u32::try_from(bytes.len()).map_or(SOCKET_BYTES_MAX, |size| size.min(SOCKET_BYTES_MAX));
        let room = Arc::clone(&self.room).acquire_many_owned(size);
        let sent = async {
            let _room = room.await.ok()?;
            let bytes = Bytes::from_owner(OnTheWay { bytes, _room });
            self.client.send(bytes).await.ok()
        };
        let sent = timeout(SLOW_CLIENT, sent).await.ok().flatten();
        self.spoke = Instant::now();
        sent.ok_or(Stop::Client)
    }

    /// Lets the session live on: its client is here, listening.
    async fn touch(&self) {
        let live = &self.carried.line.live;
        let (now_ms, every) = (unix_ms(), self.terms.ttl / TOUCHES_A_LIFE);
        if !live.touch_is_due(now_ms, u64::try_from(every.as_millis()).unwrap_or(u64::MAX)) {
            return;
        }
        if let Err(error) = self.store.touch(&live.id, now_ms, self.terms.ttl).await {
            debug!(session = live.tag, %error, "could not touch a session");
        }
    }

    /// Whether the client can be sent elsewhere: it must have an event id to come back with, or need none.
    fn may_leave(&self) -> bool {
        self.terms.note_delivered || self.terms.prime || self.written > 0
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
