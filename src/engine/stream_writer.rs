//! Carries one stream to one client: what is in its log, then what comes, until it ends. While another
//! connection carries the stream this one waits, and takes over when that is gone.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Engine;
use super::changes::Tell;
use super::local_streams::{ConnectionGuard, IsLast};
use super::loss;
use crate::causes::causes;
use crate::cluster::CachedSession;
use crate::protocol::event_id::EventId;
use crate::protocol::sse;
use crate::store::streams::{BEYOND_ALL, Holder, Read, Step, StreamId};
use crate::telemetry::metrics::{self, GaugeGuard, StreamKind};
use crate::telemetry::seldom;

/// How many events wait in a connection's socket queue.
pub(crate) const SOCKET_EVENTS_MAX: usize = 16;
/// How many bytes wait there, and at the socket itself. One event that is larger waits alone.
const SOCKET_BYTES_MAX: u32 = 1 << 20; // 1 MiB a client
/// How long a client may take to make room for one more event, before its connection is closed. The log keeps
/// what it missed.
const SLOW_CLIENT: Duration = Duration::from_secs(10);
/// How often the log is read without a message: a lost message delays, and never loses. A node whose
/// connection for messages was cut wakes all its streams, so it need not be often: 10,000 idle streams read
/// 667 times a second.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How long after the end of an uninitialized session its stream looks for it. Nothing renews such a session,
/// and Redis and this node need not count the same milliseconds.
const END_MARGIN: Duration = Duration::from_millis(100);
/// A session is looked after at least once for each such fraction of its life.
const LOOKS_A_LIFE: u32 = 4;
/// How soon the log is read again when the store did not answer.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// When a dismissed connection may come back, in milliseconds. At once, it would only displace another.
pub(crate) const DISMISSED_RETRY_MS: u64 = 60_000;

mod standby;
mod to_client;

use standby::WriterRole;

/// How a stream is carried.
#[derive(Debug)]
pub(crate) struct WriterOptions {
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
    /// Fires when the node drains: clients are sent elsewhere.
    pub draining: CancellationToken,
    /// When the credentials that opened it count no longer: its client comes back with others.
    pub until: Option<Instant>,
}

/// A connection at work.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    engine: Arc<Engine>,
    stream: StreamId,
    carried: ConnectionGuard,
    cached: Arc<CachedSession>,
    options: WriterOptions,
    client: mpsc::Sender<Bytes>,
    room: Arc<Semaphore>,
    written: u64,
    noted: u64,
    spoke: Instant,
    began: Instant,
    /// Whether anything was written at all.
    said: bool,
    opened: Option<GaugeGuard>,
    /// How many of a call's messages were lost to its client.
    lost: u64,
    /// The carrier at the last look, if its node's lease had ended.
    dead: Option<Holder>,
}

/// Why a connection stops carrying.
#[derive(Debug, PartialEq, Eq)]
enum WriterStop {
    /// The stream has ended.
    Done,
    /// The client has gone, is too slow, or is sent elsewhere.
    Client,
    /// Too many connections wait for the stream.
    Dismissed,
    /// The session or the stream is gone.
    Gone,
}

/// How a client and the connection that carried its stream have parted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Parted {
    /// The client has all, or can come for the rest.
    MayComeBack,
    /// The client has gone before it was given an event id: it cannot name what it would come for.
    ForGood,
}

impl StreamWriter {
    /// Carries `stream` to the client at the other end of `client`, a channel of [`SOCKET_EVENTS_MAX`].
    #[must_use]
    pub(crate) fn new(
        engine: Arc<Engine>,
        stream: StreamId,
        carried: ConnectionGuard,
        options: WriterOptions,
        client: mpsc::Sender<Bytes>,
    ) -> Self {
        Self {
            written: options.after,
            noted: options.after,
            room: Arc::new(Semaphore::new(SOCKET_BYTES_MAX as usize)),
            spoke: Instant::now(),
            began: Instant::now(),
            said: false,
            // Counted from now on: its client may ask at once.
            opened: Some(metrics::stream_open(options.kind)),
            lost: 0,
            dead: None,
            engine,
            stream,
            cached: Arc::clone(&carried.connection.cached),
            carried,
            options,
            client,
        }
    }

    /// Carries, or waits to, until the stream ends or the client goes.
    #[expect(
        clippy::manual_async_fn,
        reason = "an async function keeps room for itself twice: as it is given, and as it is used"
    )]
    pub(crate) fn run(mut self) -> impl Future<Output = Parted> + Send {
        async move {
            let Err(stop) = self.carry().await;
            debug!(
                session = self.cached.tag,
                ?stop,
                "a connection stops carrying a stream"
            );
            if stop == WriterStop::Gone {
                // Perhaps with its session, of which nobody else may ask this node any more.
                drop(Box::pin(self.engine.session_gone(&self.cached)).await);
            }
            if stop == WriterStop::Dismissed && self.options.kind != StreamKind::Sse {
                // It would be the newest again at once, and dismiss another, which comes back in its turn.
                let later = sse::retry(DISMISSED_RETRY_MS);
                drop(self.write(later).await);
            }
            if stop != WriterStop::Client && !self.said && self.write(sse::NOTHING_MORE).await.is_err() {
                debug!(
                    session = self.cached.tag,
                    "a client has gone before its stream ended"
                );
            }
            self.opened = None;
            if stop == WriterStop::Client && !self.carried.connection.waits() {
                let (session, holder) = (&self.cached.id, self.holder());
                let (engine, ttl) = (&self.engine, self.engine.stream_ttl());
                if let Err(error) = engine.store.detach(session, &self.stream, &holder, ttl).await {
                    debug!(session = self.cached.tag, error = %causes(&error), "could not take a connection off its stream");
                }
            }
            match stop == WriterStop::Client && !self.can_come_back() {
                true => Parted::ForGood,
                false => Parted::MayComeBack,
            }
        }
    }

    /// Never ends but by a stop.
    async fn carry(&mut self) -> Result<Infallible, WriterStop> {
        if self.options.prime {
            let id = EventId {
                stream: self.stream.as_str(),
                number: self.written,
            };
            Box::pin(self.write(sse::priming(id))).await?;
            self.options.has_id = true;
        }
        // What is in the log already comes first.
        let mut look_at = Instant::now();
        let mut pinged = false;
        let keep_alive = self.engine.settings.call.keep_alive;
        loop {
            if look_at <= Instant::now() {
                // In a box: the room for it is taken while it is needed, and not by each idle stream.
                Box::pin(self.refresh_session()).await?;
                look_at = Box::pin(self.read_log()).await?;
            }
            if self.options.until.is_some_and(|until| until <= Instant::now()) {
                return Err(Box::pin(self.send_elsewhere()).await);
            }
            if self.spoke.elapsed() >= keep_alive {
                Box::pin(self.write(sse::KEEP_ALIVE)).await?;
            }
            let wake = look_at.min(self.spoke + keep_alive);
            let wake = self.options.until.map_or(wake, |until| wake.min(until));
            let (connection, ended) = (Arc::clone(&self.carried.connection), self.cached.ended.clone());
            let (draining, deadline) = (
                self.options.draining.clone(),
                self.engine.stopping.deadline.clone(),
            );
            tokio::select! {
                () = connection.notified() => {
                    if Box::pin(self.take_pending()).await? {
                        // No node keeps a copy of an uninitialized session, so no message tells that it is
                        // initialized by now.
                        if !self.cached.record.initialized {
                            Box::pin(self.refresh_session()).await?;
                        }
                        look_at = Box::pin(self.read_log()).await?;
                    }
                }
                () = self.client.closed() => return Err(WriterStop::Client),
                () = ended.cancelled() => return Err(WriterStop::Gone),
                () = draining.cancelled(), if self.may_leave() || self.carried.connection.waits() => {
                    return Err(Box::pin(self.send_elsewhere()).await);
                }
                () = deadline.cancelled(), if !pinged && !self.may_leave() && !self.carried.connection.waits() => {
                    pinged = true;
                    Box::pin(self.ping()).await;
                    look_at = Instant::now();
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Has the client come back, on another node or with other credentials.
    async fn send_elsewhere(&mut self) -> WriterStop {
        let told = async {
            // Events that were handed over earlier come first.
            if Box::pin(self.take_pending()).await? {
                Box::pin(self.read_log()).await?;
            }
            // Clients of HTTP+SSE take an event without data for a message. They were told at the start.
            if self.options.kind != StreamKind::Sse {
                Box::pin(self.write(sse::retry(sse::RETRY_MS))).await?;
            }
            Ok(WriterStop::Client)
        };
        told.await.unwrap_or_else(|stop| stop)
    }

    /// Looks after the session: it lives on while its client listens. What this node keeps of it may be
    /// another copy by now, and the client of one that was not initialized may have introduced itself.
    async fn refresh_session(&mut self) -> Result<(), WriterStop> {
        match self.engine.sessions.recall(&self.cached.id).await {
            Ok(Some(cached)) => {
                let another = !Arc::ptr_eq(&cached, &self.cached);
                self.cached = cached;
                // A message that would have said what it subscribes to may have come late, or not at all.
                let tells = self.stream.is_session_stream() && !self.carried.connection.waits();
                if tells && (another || self.cached.take_has_subscribed()) {
                    self.engine.sync_or_later(&self.cached, Tell::Changes).await;
                }
            }
            Ok(None) => return Err(WriterStop::Gone),
            Err(error) => {
                debug!(session = self.cached.tag, error = %causes(&error), "could not look after a session")
            }
        }
        self.engine.sessions.renew(&self.cached);
        Ok(())
    }

    /// Takes what has come. True when the log must be read.
    async fn take_pending(&mut self) -> Result<bool, WriterStop> {
        let pending = self.carried.connection.take();
        if pending.dismissed {
            return Err(WriterStop::Dismissed);
        }
        let mut look = pending.look;
        if self.carried.connection.waits() {
            return Ok(look);
        }
        for (event, last) in pending.events {
            if event.number != self.written + 1 {
                // Another node has appended in between, or the log is not what it was.
                look = true;
                break;
            }
            self.pass_on(event).await?;
            if last == IsLast::Yes {
                return Err(WriterStop::Done);
            }
        }
        if !look {
            self.note_delivered().await;
        }
        Ok(look)
    }

    /// Looks who carries the stream, and when it is this connection, reads the log from where the client is.
    /// Returns when to look again without a message.
    async fn read_log(&mut self) -> Result<Instant, WriterStop> {
        loop {
            let cached = Arc::clone(&self.cached);
            let waits = self.carried.connection.waits();
            let after = if waits { BEYOND_ALL } else { self.written };
            let read = match self.engine.store.read(&cached.id, &self.stream, after).await {
                Ok(read) => read,
                Err(error) if error.may_pass() => return Ok(Instant::now() + LOOK_AGAIN),
                Err(error) => {
                    let words = "a stream cannot be read";
                    seldom(words, |left_out| {
                        tracing::warn!(session = cached.tag, error = %causes(&error), left_out, "{words}");
                    });
                    return Err(WriterStop::Gone);
                }
            };
            let Read::Events {
                events,
                first,
                head,
                done,
                holder,
                delivered,
            } = read
            else {
                return Err(WriterStop::Gone);
            };
            let own = holder.as_ref() == Some(&self.holder());
            if done && (waits || holder.is_some() && !own) {
                // Another connection tells how it ended.
                return Err(WriterStop::Done);
            }
            if !done && (waits || !own) {
                match Box::pin(self.take_over(holder)).await? {
                    WriterRole::Carries => continue,
                    WriterRole::Waits(until) => return Ok(until),
                }
            }
            if head < self.written {
                // Redis has lost what was written last, as one that takes over may. New events bear these
                // numbers again.
                let words = "a stream goes on from an earlier event: the store lost some";
                seldom(words, |left_out| {
                    tracing::warn!(session = cached.tag, left_out, "{words}")
                });
                let why = "the session store has lost some events";
                Box::pin(self.write(sse::message(loss::doubt(why).as_bytes()))).await?;
                // The end of a stream is told in any case: the client waits for it.
                let last = if done { head.saturating_sub(1) } else { head };
                (self.written, self.noted) = (last, last);
                continue;
            }
            if first > self.written + 1 && self.written < head {
                Box::pin(self.pass_over(first - 1, delivered)).await?;
            }
            let caught_up = events.last().map_or(self.written, |event| event.number) >= head;
            for event in events {
                self.pass_on(event).await?;
            }
            match (caught_up, done) {
                (true, true) => return Err(WriterStop::Done),
                (true, false) => {
                    self.note_delivered().await;
                    return Ok(Instant::now() + self.read_every());
                }
                (false, _) => {}
            }
        }
    }

    /// How often to look: often enough to keep the session alive, or to see the end of one that is not
    /// initialized.
    fn read_every(&self) -> Duration {
        let sessions = &self.engine.sessions;
        if self.cached.record.initialized {
            return LOOK_EVERY.min(sessions.ttl() / LOOKS_A_LIFE);
        }
        let life = sessions.uninitialized_ttl();
        let ends = (self.began + life + END_MARGIN).saturating_duration_since(Instant::now());
        // The node that initializes it sends a message. Right after its end it is gone, or that message was
        // lost: then this is not asked again.
        if ends.is_zero() { life } else { ends }
    }

    /// Whether the client can be sent elsewhere.
    fn may_leave(&self) -> bool {
        self.options.prime || self.can_come_back()
    }

    /// Whether the client has an event id to come back with, or needs none.
    fn can_come_back(&self) -> bool {
        self.options.has_id || self.options.note_delivered || self.written > 0
    }

    /// Gives the client of a silent call an event id, so that it can come back elsewhere for the answer: with
    /// a request that each client answers, since before 2025-11-25 an event must have a message. Nobody waits
    /// for what it says.
    async fn ping(&self) {
        let stream = self.stream.as_str();
        let ping = format!(r#"{{"jsonrpc":"2.0","id":"{stream}-ping","method":"ping"}}"#);
        let (cached, engine) = (&self.cached, &self.engine);
        let step = Step {
            call: &self.stream,
            run: "ping",
            number: 1,
        };
        let (node, ttl) = (&engine.node, engine.sessions.ttl());
        let append = engine
            .store
            .append(&cached.id, &self.stream, &ping, node, Some(step), ttl);
        if let Err(error) = append.await {
            debug!(session = cached.tag, error = %causes(&error), "could not send a client an id to come back with");
        }
    }

    fn holder(&self) -> Holder {
        Holder {
            node: self.engine.node.clone(),
            connection: self.carried.connection.number,
        }
    }
}
