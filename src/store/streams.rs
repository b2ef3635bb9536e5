//! What a store keeps of a session over time: event logs that any node can carry on, and the calls in flight.
//!
//! A stream is a log of events, numbered from 1 by the store, that at most one connection on one node carries to the
//! client. The call `<name>` has the stream `<name>`; a session also has [`StreamId::STANDALONE`] or, over HTTP+SSE,
//! [`StreamId::SSE`], to which all its calls write. Whoever appends rings the node that carries the stream, in the same step.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use crate::session::{NodeId, SessionId, TransportKind};

/// The most events that one stream keeps; the oldest go first.
pub const STREAM_EVENTS_MAX: u64 = 1024;
/// The most bytes of events that one stream keeps; the oldest go first. The newest event is always kept.
pub const STREAM_BYTES_MAX: u64 = 4 << 20;
/// The most streams that one session keeps. When one more is made, the oldest that are done go, a quarter of all at most; of
/// those that are not done, none goes, so whoever begins calls bounds them.
pub const SESSION_STREAMS_MAX: usize = 256; // SESSION_BYTES_MAX bounds what is in them
/// The most bytes of events that one session keeps in all its streams. The oldest streams that are done go first, a quarter
/// of all bytes at most, then the oldest events of the stream that grows. The newest event of each is always kept.
pub const SESSION_BYTES_MAX: u64 = 16 << 20; // 4 streams as long as they may be; 64 KiB for each of 256
/// For how long it is noted that a call that was claimed has ended, so that its former node does not begin it anew.
pub const ENDED_CALL_STAY: Duration = Duration::from_secs(60 * 60); // longer than a node is stopped that goes on after it
/// How often what is noted of streams that have expired is taken off, at most, as calls begin.
pub const STREAMS_SWEPT_EVERY: Duration = Duration::from_secs(60);
/// The most events that one [`StreamStore::read`] returns.
pub const READ_EVENTS_MAX: usize = 128;
/// The most bytes of events that one [`StreamStore::read`] returns. One event is returned whatever its length.
pub const READ_BYTES_MAX: usize = 512 << 10; // 512 KiB, so that a client that reads slowly does not hold a whole log
/// The longest request body that is kept so that another node can run the call again, in bytes.
pub const REPLAY_BYTES_MAX: usize = 64 * 1024;
/// The most answers to a call's requests that wait to be taken. Those beyond are refused.
pub const ANSWERS_WAITING_MAX: usize = 32; // as many as a call has open requests
/// The most bytes of answers that wait for one call. A single answer is kept even if it is longer.
pub const ANSWERS_WAITING_BYTES_MAX: usize = 8 << 20; // two of the largest bodies by default
/// How long an answer is kept whose call is not registered: one that runs registers again when it finds that a store which took
/// over had not heard of it.
pub const EARLY_ANSWERS_FOR: Duration = Duration::from_secs(60); // a call looks every few seconds
/// The most answers of one session that are kept so; the oldest go first.
pub const EARLY_ANSWERS_MAX: usize = 16;
/// The most bytes of them. A single answer is kept even if it is longer.
pub const EARLY_ANSWERS_BYTES_MAX: usize = 1 << 20;
/// The most requests of one call that are answered. Answers beyond are refused.
pub const ANSWERS_MAX: usize = 4096; // 4096 x 20 B = 80 KiB to know which were
/// The most cancellations of one session that are noted, for calls that are not registered yet; the first to end go first.
pub const CANCELS_NOTED_MAX: usize = 256;

/// The name of a stream within its session: letters and digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
        Self(uuid::Uuid::new_v4().simple().to_string().into())
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
    pub fn stands(&self) -> bool {
        matches!(self.as_str(), Self::STANDALONE | Self::SSE)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The connection that carries a stream: the node, and a number that is unique on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holder {
    /// The node.
    pub node: NodeId,
    /// The connection's number on the node.
    pub connection: u64,
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the stream, from 1.
    pub number: u64,
    /// A JSON-RPC message as JSON text.
    pub data: String,
}

/// A call in flight, as other nodes must know it.
#[derive(Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// The call's name, unique among all calls of all nodes.
    pub name: StreamId,
    /// The stream to which it writes: one of its own that has its name, or a standing one.
    pub stream: StreamId,
    /// The node that runs it.
    pub node: NodeId,
    /// The request's id as JSON text, with its type; empty for what the server asks outside any request.
    pub request: String,
    /// The method.
    pub method: String,
    /// When it began, in unix milliseconds.
    pub started_ms: u64,
    /// The request's JSON text, if another node may run it again: at most [`REPLAY_BYTES_MAX`].
    pub body: Option<String>,
    /// Whether the client has cancelled it since it was registered. Only [`StreamStore::claim`] says so.
    pub cancelled: bool,
}

impl CallRecord {
    /// Whether its answer goes into its stream. That of a call that only asks beside its reply, or answers nothing, does not:
    /// the standalone stream of a session carries no responses (2025-11-25, Transports, "Listening for Messages").
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        !self.request.is_empty() && self.stream.as_str() != StreamId::STANDALONE
    }
}

impl fmt::Debug for CallRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallRecord")
            .field("name", &self.name)
            .field("node", &self.node)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

/// Which event of which call is appended, so that doing it again, because the answer to the first try was lost, changes
/// nothing.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The call.
    pub call: &'a StreamId,
    /// The run of the call, without slashes: unique among those that nodes make of it.
    pub run: &'a str,
    /// Which event of this run it is, from 1, one after the other.
    pub number: u64,
}

/// Outcome of [`StreamStore::inbox`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Inbox {
    /// What came for the call.
    Mail {
        /// The answers that were not [taken off](StreamStore::answers_taken) yet, in the order in which they came, each
        /// with the number of the request that it answers.
        answers: Vec<(u64, String)>,
        /// Whether the client has cancelled the call.
        cancelled: bool,
    },
    /// There is no such call of this node: it has ended, another node has claimed it, or the session is gone.
    Gone,
}

/// Outcome of [`StreamStore::call_begin`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Begun {
    /// The call is registered and its stream made.
    Begun,
    /// The client has cancelled it already, through another node.
    Cancelled,
    /// The session is gone, or the call is another node's by now, or has ended.
    Gone,
}

/// Outcome of [`StreamStore::append`] and [`StreamStore::call_end`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Appended {
    /// The event has this number. `holder` carries the stream, and has been rung if it is on another node.
    At {
        /// The event's number.
        number: u64,
        /// Who carries the stream.
        holder: Option<Holder>,
    },
    /// The session or the stream is gone, or the stream has ended, or the call is another node's by now.
    Gone,
}

/// From whom a connection takes a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over<'a> {
    /// From any other: a client has opened it just now, and the newest counts.
    Any,
    /// Only if this one carries it, or nobody does: one that waits takes over where that is gone.
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
    /// This one carries it, from which it was not to be [taken](Over::Only).
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
    /// What follows, oldest first, at most [`READ_EVENTS_MAX`] and [`READ_BYTES_MAX`].
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

/// Outcome of [`StreamStore::answer`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Answered {
    /// It is kept for the call, and the node that runs it has been rung.
    Kept(NodeId),
    /// The call is not registered, or not any longer. It is kept for [`EARLY_ANSWERS_FOR`], should the call be registered again.
    Early,
    /// Its request was answered before, or the call is known to have ended.
    Unwanted,
    /// The call has as many answers as it may: [`ANSWERS_WAITING_MAX`],
    /// [`ANSWERS_WAITING_BYTES_MAX`], [`ANSWERS_MAX`].
    Full,
    /// The session is gone.
    Gone,
}

/// Outcome of [`StreamStore::cancel`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Cancelled {
    /// It is noted. These are the calls of that id that are registered, each with its node.
    Noted(Vec<(NodeId, StreamId)>),
    /// The session is gone.
    Gone,
}

/// Keeps event logs and calls in flight. Everything of one session ends with it.
///
/// Rings are JSON texts as [`Bell`](crate::cluster::ring::Bell) has them: `{"ring":"stream","session":…,"stream":…}`
/// to the node of a holder, or to all, `{"ring":"answer","session":…,"call":…}` to the node of a call. They are made by the
/// store, because whoever writes and whoever rings must not be told apart by a crash in between.
#[async_trait]
pub trait StreamStore: fmt::Debug + Send + Sync + 'static {
    /// Registers a call and makes its stream if need be, carried by `holder` from now on; both live `ttl` after their last
    /// change. Without a holder, whoever carries the stream goes on: that is for calls that write to a standing one, which is
    /// left as it is. Whoever
    /// begins a call ends it, even when the session is gone by then. Doing it a second time, because the answer to
    /// the first was lost, changes nothing, and gives `Gone` once another node has claimed the call or the stream of its
    /// own has ended. The call has run for `age`, as measured just before this is asked: a cancellation is meant for it only if
    /// it was noted after the call began. Clients use ids again.
    async fn call_begin(
        &self,
        session: &SessionId,
        call: &CallRecord,
        age: Duration,
        holder: Option<&Holder>,
        ttl: Duration,
    ) -> Result<Begun, StoreError>;

    /// Appends an event, with the bounds of a stream. `by` is the node that appends: it is not rung. What a call sends has
    /// a step: only the node whose call it is may append it, and each step once, however often it is tried. What a call sends
    /// that was cancelled is for nobody: it is not appended, and that is `Gone`. What belongs
    /// to no call has none, and goes to a standing stream. The standalone and the SSE stream are made by their first
    /// event, and are never numbered afresh while the session lives. Their events live as long as it does while somebody carries
    /// the stream, and else `ttl` after the newest.
    async fn append(
        &self,
        session: &SessionId,
        stream: &StreamId,
        data: &str,
        by: &NodeId,
        step: Option<Step<'_>>,
        ttl: Duration,
    ) -> Result<Appended, StoreError>;

    /// Appends a call's response, if there is one and the call was not cancelled; ends its stream, if it has one of its own;
    /// and takes the call off. All in one step, and only if the call is still `by`'s. A standing stream lives on as when
    /// something is [appended](Self::append). The log of a stream of its own lives `ttl` from now, and nobody carries it any longer: its last carrier reads it to its end. Without a response, the number returned is
    /// that of the newest event, 0 if there is none.
    async fn call_end(
        &self,
        session: &SessionId,
        call: &StreamId,
        data: Option<&str>,
        by: &NodeId,
        ttl: Duration,
    ) -> Result<Appended, StoreError>;

    /// Makes `holder` carry the stream from now on, `ttl` at least, if it may be taken from the one that does. One that is done is
    /// only read: nobody carries it, and it lives no longer by that. The standalone and the SSE stream are made if need be, and
    /// live as long as the session while they are carried. The node of the former carrier is rung, unless it is the same node; and it is noted that
    /// there is a connection that waits to carry it again.
    async fn attach(
        &self,
        session: &SessionId,
        stream: &StreamId,
        holder: &Holder,
        over: Over<'_>,
        ttl: Duration,
    ) -> Result<Attached, StoreError>;

    /// Nobody carries the stream any longer, if it was still `holder` that did. The events of a standing one live `ttl` from now.
    /// When a connection may wait to carry it, all nodes are rung.
    async fn detach(
        &self,
        session: &SessionId,
        stream: &StreamId,
        holder: &Holder,
        ttl: Duration,
    ) -> Result<(), StoreError>;

    /// Who carries the stream.
    async fn holder(&self, session: &SessionId, stream: &StreamId) -> Result<Option<Holder>, StoreError>;

    /// What follows event `after`.
    async fn read(&self, session: &SessionId, stream: &StreamId, after: u64) -> Result<Read, StoreError>;

    /// Notes that events up to `number` were written to a connection. It never goes back.
    async fn delivered(&self, session: &SessionId, stream: &StreamId, number: u64) -> Result<(), StoreError>;

    /// Keeps a client's answer (a JSON-RPC response, as JSON text) to request `number` of a call. The first answer wins,
    /// even when it was taken already. So a node that claims a call and runs it again must use other numbers. That to a call
    /// which is not there is kept for a while, and waits for the call once that is [registered](Self::call_begin).
    async fn answer(
        &self,
        session: &SessionId,
        call: &StreamId,
        number: u64,
        response: &str,
    ) -> Result<Answered, StoreError>;

    /// What came for a call of `by`, whose log lives `ttl` at least: a call may be silent for longer than its log lives.
    async fn inbox(
        &self,
        session: &SessionId,
        call: &StreamId,
        by: &NodeId,
        ttl: Duration,
    ) -> Result<Inbox, StoreError>;

    /// Takes answers off that have been handed to the call. It may be done twice.
    async fn answers_taken(
        &self,
        session: &SessionId,
        call: &StreamId,
        numbers: &[u64],
    ) -> Result<(), StoreError>;

    /// Notes, for `ttl`, that the client has cancelled a request (its id as JSON text) so long ago: for every call of that id that
    /// had begun by then and is registered, which finds that in its [inbox](Self::inbox), as does who claims it; and for those that
    /// had begun and are not registered yet. What has begun since is another request, whose id was used again.
    async fn cancel(
        &self,
        session: &SessionId,
        request: &str,
        ago: Duration,
        ttl: Duration,
    ) -> Result<Cancelled, StoreError>;

    /// How long ago the client has cancelled a request last, if that is noted still.
    async fn cancelled(&self, session: &SessionId, request: &str) -> Result<Option<Duration>, StoreError>;

    /// The calls that a node has in flight. There may be some that are not, or no longer: then `claim` says so.
    async fn calls_of(&self, node: &NodeId) -> Result<Vec<(SessionId, StreamId)>, StoreError>;

    /// Makes a call of `from` one of `to`, and returns it. `None` when it is not `from`'s (any longer): of those that
    /// claim at the same time, one gets it. A node may claim from itself: from its former life under the same name.
    async fn claim(
        &self,
        session: &SessionId,
        call: &StreamId,
        from: &NodeId,
        to: &NodeId,
    ) -> Result<Option<CallRecord>, StoreError>;

    /// Nodes whose lease has ended, and that were not forgotten.
    async fn dead(&self) -> Result<Vec<NodeId>, StoreError>;

    /// Forgets a dead node whose calls have all been claimed. Nothing happens when its lease is alive again. What is still
    /// named among its calls, and a node that nobody forgets, is forgotten by itself, after a day.
    async fn forget(&self, node: &NodeId) -> Result<(), StoreError>;
}

/// The ring to the node of a stream's holder, or to all. Neither name needs escaping in JSON.
pub(crate) fn stream_bell(session: &SessionId, stream: &StreamId) -> String {
    format!(r#"{}{}"}}"#, stream_bell_start(session), stream.as_str())
}

/// What that ring starts with: the stream's name and `"}` follow.
pub(crate) fn stream_bell_start(session: &SessionId) -> String {
    let session = session.as_str();
    format!(r#"{{"ring":"stream","session":"{session}","stream":""#)
}

/// The ring to the node of a call.
pub(super) fn answer_bell(session: &SessionId, call: &StreamId) -> String {
    format!(r#"{}{}"}}"#, answer_bell_start(session), call.as_str())
}

/// What that ring starts with: the call's name and `"}` follow.
pub(super) fn answer_bell_start(session: &SessionId) -> String {
    let session = session.as_str();
    format!(r#"{{"ring":"answer","session":"{session}","call":""#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_streams_can_be_part_of_keys_and_event_ids() {
        assert!(StreamId::parse(&uuid::Uuid::new_v4().simple().to_string()).is_some());
        assert!(StreamId::parse(StreamId::STANDALONE).is_some());
        for bad in ["", "a-b", "a:b", "{a}", "a\n", &"a".repeat(33)] {
            assert!(StreamId::parse(bad).is_none(), "{bad}");
        }
    }
}
