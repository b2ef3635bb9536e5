//! What a store keeps of a session over time: event logs that any node can carry on, and what the session was
//! told of changes.
//!
//! A stream is a log of events, numbered from 1 by the store, that at most one connection on one node carries
//! to the client. The call `<name>` has the stream `<name>`; a session also has [`StreamId::STANDALONE`] or,
//! over HTTP+SSE, [`StreamId::SSE`], to which all its calls write.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use super::changes::{KnownVersions, Noted, Subject, Told, Topic, TopicNews};
pub use super::event::{Event, Holder};
use crate::random;
use crate::session::{NodeId, SessionId, TransportKind};

/// How often what is noted of streams that have expired is taken off, at most, as calls begin.
pub(crate) const STREAMS_SWEPT_EVERY: Duration = Duration::from_secs(60);
/// The number of an event that none follows: to read about a stream without its events.
pub(crate) const BEYOND_ALL: u64 = 1 << 52;

/// The name of a stream within its session: letters and digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(Arc<str>);

impl StreamId {
    /// The stream of `GET /mcp`.
    pub const STANDALONE: &'static str = "get";
    /// The one stream of an HTTP+SSE session.
    pub const SSE: &'static str = "sse";
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 32;

    /// A fresh name for a call, unique among all calls of all nodes (UUID v4).
    #[must_use]
    pub fn generate() -> Self {
        Self(random::uuid().simple().to_string().into())
    }

    /// The stream of that name, [`Self::STANDALONE`].
    #[must_use]
    pub fn standalone() -> Self {
        Self(Self::STANDALONE.into())
    }

    /// The stream of that name, [`Self::SSE`].
    #[must_use]
    pub fn sse() -> Self {
        Self(Self::SSE.into())
    }

    /// Before any name, where the streams of a session begin in an ordered map. It names no stream.
    pub(crate) fn first() -> Self {
        Self("".into())
    }

    /// The stream that stands as long as a session of that transport.
    #[must_use]
    pub fn standing(transport: TransportKind) -> Self {
        match transport {
            TransportKind::Streamable => Self::standalone(),
            TransportKind::Sse => Self::sse(),
        }
    }

    /// Reads a name: 1 to 32 ASCII letters and digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=Self::BYTES_MAX).contains(&text.len());
        (fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| Self(text.into()))
    }

    /// Whether it stands as long as its session, and is no call's.
    #[must_use]
    pub fn is_session_stream(&self) -> bool {
        matches!(self.as_str(), Self::STANDALONE | Self::SSE)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which event of which call is appended, so that doing it again, because the answer to the first try was
/// lost, changes nothing.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The call.
    pub call: &'a StreamId,
    /// The run of the call, without slashes: unique among those that nodes make of it.
    pub run: &'a str,
    /// Which event of this run it is, from 1, one after the other.
    pub number: u64,
}

/// Outcome of [`StreamStore::append`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Appended {
    /// The event has this number. `holder` carries the stream; its node was told, if it is another one.
    At {
        /// The event's number.
        number: u64,
        /// Who carries the stream.
        holder: Option<Holder>,
    },
    /// The session or the stream is gone, or the stream has ended, or the call is another node's by now.
    Gone,
}

/// The carriers from which a connection takes a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over<'a> {
    /// From any other: a client has opened it just now, and the newest counts.
    Any,
    /// Only if this one carries it, or nobody does: a waiting connection takes over from one that has gone.
    Only(Option<&'a Holder>),
}

/// Outcome of [`StreamStore::attach`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Attached {
    /// It is the new holder's now. `previous` held it until then.
    Attached {
        /// Who carried the stream before, if anybody.
        previous: Option<Holder>,
        /// The number of the last event that was written to any connection.
        delivered: u64,
    },
    /// This one carries it, and it was not to be [taken](Over::Only) from this one.
    Held(Holder),
    /// There is no such stream in this session, or it has ended and was to be taken over.
    NoStream,
    /// The session is gone.
    Gone,
}

/// Outcome of [`StreamStore::read`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Read {
    /// What follows, oldest first, at most [`READ_EVENTS_MAX`](super::Limits::READ_EVENTS_MAX) and
    /// [`READ_BYTES_MAX`](super::Limits::READ_BYTES_MAX).
    Events {
        /// The events.
        events: Vec<Event>,
        /// The number of the oldest event that is kept; one more than `head` when there is none.
        first: u64,
        /// The number of the newest event; 0 before the first.
        head: u64,
        /// Whether no more will come.
        done: bool,
        /// Who carries the stream.
        holder: Option<Holder>,
        /// The newest event that was written to any connection, as far as that is noted.
        delivered: u64,
    },
    /// There is no such stream, or no such session.
    Gone,
}

/// Keeps event logs, and what a session is told of changes on its stream. Everything of one session ends with
/// it.
///
/// A store of one's own needs a table of streams (session, name, first and newest number, delivered, done,
/// who carries it, when its events end), one of events (session, stream, number, text), one of versions by
/// topic, and one of what each session was told. Bounds are kept in the step that would break them:
/// [`STREAM_EVENTS_MAX`](super::Limits::STREAM_EVENTS_MAX),
/// [`STREAM_BYTES_MAX`](super::Limits::STREAM_BYTES_MAX),
/// [`SESSION_STREAMS_MAX`](super::Limits::SESSION_STREAMS_MAX),
/// [`SESSION_BYTES_MAX`](super::Limits::SESSION_BYTES_MAX).
///
/// Standing streams, [`StreamId::STANDALONE`] and [`StreamId::SSE`], are made by the first event or the first
/// connection. While the session lives they are never numbered afresh, also when their events have ended.
/// Those live as long as the session while somebody carries the stream, and else `ttl` from the last step
/// that has a `ttl`.
#[async_trait]
pub trait StreamStore: fmt::Debug + Send + Sync + 'static {
    /// Appends an event, and sends [`Stream`](super::NodeMessage::Stream) to the node that carries the
    /// stream, unless that is `by`. What a call sends has a step: only the node whose call it is may append
    /// it. What belongs to no call has none, and goes to a standing stream.
    ///
    /// - Collision: a step that was appended before is not appended again; [`Appended::At`] says where it is.
    /// - Absence: [`Appended::Gone`] without the session, the stream or the call; when the stream has ended;
    ///   and when the call was cancelled, for nobody wants what it sends.
    /// - Expiry: the log of a call's own stream lives `ttl` from now.
    async fn append(
        &self,
        session: &SessionId,
        stream: &StreamId,
        data: &str,
        by: &NodeId,
        step: Option<Step<'_>>,
        ttl: Duration,
    ) -> Result<Appended, StoreError>;

    /// Makes `holder` carry the stream from now on, if it may be taken from the present carrier. The node of
    /// that carrier gets [`Stream`](super::NodeMessage::Stream), unless it is the same node. The store notes
    /// that a connection waits to carry the stream again.
    ///
    /// - Collision: with [`Over::Any`] the newest wins; with [`Over::Only`], [`Attached::Held`] says who
    ///   carries it.
    /// - Absence: a standing stream is made. Else [`Attached::NoStream`]; [`Attached::Gone`] without the
    ///   session.
    /// - Expiry: the log lives `ttl` at least. One that is done is only read: nobody carries it, and it lives
    ///   no longer by that.
    async fn attach(
        &self,
        session: &SessionId,
        stream: &StreamId,
        holder: &Holder,
        over: Over<'_>,
        ttl: Duration,
    ) -> Result<Attached, StoreError>;

    /// Nobody carries the stream any longer. When a connection may wait to carry it, all nodes get
    /// [`Stream`](super::NodeMessage::Stream).
    ///
    /// - Collision: nothing happens when another than `holder` carries it.
    /// - Absence: nothing happens without the stream.
    /// - Expiry: the events of a standing stream live `ttl` from now.
    async fn detach(
        &self,
        session: &SessionId,
        stream: &StreamId,
        holder: &Holder,
        ttl: Duration,
    ) -> Result<(), StoreError>;

    /// What follows event `after`, at most [`READ_EVENTS_MAX`](super::Limits::READ_EVENTS_MAX) and
    /// [`READ_BYTES_MAX`](super::Limits::READ_BYTES_MAX).
    ///
    /// - Absence: [`Read::Gone`] without the session or the stream. Of events that went to make room, `first`
    ///   tells.
    /// - Expiry: reading renews nothing. A stream whose events have ended is gone.
    async fn read(&self, session: &SessionId, stream: &StreamId, after: u64) -> Result<Read, StoreError>;

    /// Notes that events up to `number` were written to a connection.
    ///
    /// - Collision: it never goes back.
    /// - Absence: nothing happens without the stream. No more is noted than the newest event.
    async fn delivered(&self, session: &SessionId, stream: &StreamId, number: u64) -> Result<(), StoreError>;

    /// Gives what has changed a version that is higher than any it had before.
    ///
    /// - Collision: each change has a version of its own.
    /// - Absence: [`Noted::Unwanted`] when a session is gone, or not subscribed to that resource of its own.
    /// - Expiry: versions of topics live `ttl` from the last change of any. When there are more than
    ///   [`TOPICS_MAX`](super::Limits::TOPICS_MAX), the quarter makes room that changed longest ago, but for
    ///   the lists (tools, prompts, resources): from then on these topics, and those that have never changed,
    ///   have the version of the last of them. The version of a session's own resource ends with the
    ///   subscription, and `ttl` says nothing of it.
    async fn note_change(&self, subject: Subject<'_>, ttl: Duration) -> Result<Noted, StoreError>;

    /// The versions of these topics, in the order asked.
    ///
    /// - Absence, expiry: 0 for a list that has no version. Any other topic without one has the version of
    ///   the last topic that made room, or 0 when none has.
    async fn versions(&self, topics: &[Topic]) -> Result<Vec<u64>, StoreError>;

    /// What the session was told of these topics, and of its own resources at these URIs, in the order asked.
    ///
    /// - Absence: `None` and 0 for what it was never told, and for all when the session is gone.
    async fn told(
        &self,
        session: &SessionId,
        topics: &[Topic],
        own: &[String],
    ) -> Result<KnownVersions, StoreError>;

    /// Tells the session, on its standing stream, what is new, each topic or resource for itself: one step
    /// appends the message, as [`append`](Self::append) does, and notes that the session knows this version.
    ///
    /// - Collision: what is known already, or a later version of it, is not told again. So nodes may tell at
    ///   once, and a node may tell again whose answer was lost.
    /// - Absence: nothing happens when the session is gone, and nothing is told of what it is not subscribed
    ///   to (any longer).
    async fn tell(
        &self,
        session: &SessionId,
        stream: &StreamId,
        news: &[TopicNews<'_>],
        by: &NodeId,
        ttl: Duration,
    ) -> Result<Told, StoreError>;
}

/// Who carries a stream; `None` also when the stream, or its session, is not there.
pub(crate) async fn holder_of(
    store: &dyn StreamStore,
    session: &SessionId,
    stream: &StreamId,
) -> Result<Option<Holder>, StoreError> {
    Ok(match store.read(session, stream, BEYOND_ALL).await? {
        Read::Events { holder, .. } => holder,
        Read::Gone => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_streams_can_be_part_of_keys_and_event_ids() {
        assert!(StreamId::parse(&random::uuid().simple().to_string()).is_some());
        assert!(StreamId::parse(StreamId::STANDALONE).is_some());
        for bad in ["", "a-b", "a:b", "{a}", "a\n", &"a".repeat(33)] {
            assert!(StreamId::parse(bad).is_none(), "{bad}");
        }
    }
}
