//! What a store keeps of calls in flight, so that answers and cancellations find them, and other nodes carry
//! on what a node leaves.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use super::streams::{Holder, StreamId};
use crate::session::{NodeId, SessionId};

/// The longest request body that is kept so that another node can run the call again, in bytes.
pub(crate) const REPLAY_BYTES_MAX: usize = 64 * 1024;

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
    /// The request's JSON text, if another node may run it again: at most 64 KiB.
    pub body: Option<String>,
    /// Whether the client has cancelled it since it was registered. Only [`CallStore::claim`] tells it.
    pub cancelled: bool,
}

impl CallRecord {
    /// Whether its answer goes into its stream. That of a call that only asks beside its reply, or answers
    /// nothing, does not: the standalone stream of a session carries no responses (2025-11-25, Transports,
    /// "Listening for Messages").
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

/// Outcome of [`CallStore::call_end`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum CallEnded {
    /// The response was appended.
    Answered {
        /// The number of its event.
        number: u64,
        /// Who carries the stream; its node was told, if it is another one.
        holder: Option<Holder>,
    },
    /// No response was appended: there is none, or the call was cancelled.
    Unanswered,
    /// The session is gone, or the call has ended, is another node's by now, or writes to another stream.
    Gone,
}

/// What is noted of a request that its client has cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancellation {
    /// How long ago that was.
    pub ago: Duration,
    /// The reason that the client gave.
    pub reason: Option<String>,
}

/// Outcome of [`CallStore::inbox`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Inbox {
    /// What came for the call.
    Mail {
        /// The answers that were not taken off yet, in the order in which they came, each with the number of
        /// the request that it answers.
        answers: Vec<(u64, String)>,
        /// Whether the client has cancelled the call.
        cancelled: bool,
    },
    /// There is no such call of this node: it has ended, another node has claimed it, or the session is gone.
    Gone,
}

/// Outcome of [`CallStore::call_begin`].
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

/// Outcome of [`CallStore::answer`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Answered {
    /// It is kept for the call, and the node that runs it was told.
    Kept(NodeId),
    /// The call is not registered, or not any longer. It is kept for
    /// [`EARLY_ANSWERS_FOR`](super::Limits::EARLY_ANSWERS_FOR), should the call be registered again.
    Early,
    /// Its request was answered before, or the call is known to have ended.
    Unwanted,
    /// The call's limit of answers is reached: [`ANSWERS_WAITING_MAX`](super::Limits::ANSWERS_WAITING_MAX),
    /// [`ANSWERS_WAITING_BYTES_MAX`](super::Limits::ANSWERS_WAITING_BYTES_MAX),
    /// [`ANSWERS_MAX`](super::Limits::ANSWERS_MAX).
    Full,
    /// The session is gone.
    Gone,
}

/// Outcome of [`CallStore::cancel`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Cancelled {
    /// It is noted. These are the calls of that id that are registered, each with its node.
    Noted(Vec<(NodeId, StreamId)>),
    /// The session is gone.
    Gone,
}

/// Keeps calls in flight. Everything of one session ends with it.
///
/// A store of one's own needs a table of calls (session, name, stream, node and its life, request id, body,
/// when it began, whether it was cancelled, the last step), one of answers (session, call, number, text,
/// taken or not), and one of cancellations (session, request id, when, until when).
///
/// A call is a node's in one life of it. While a store acts for a node, what another life of the node runs
/// counts as another node's.
#[async_trait]
pub trait CallStore: fmt::Debug + Send + Sync + 'static {
    /// Registers a call, and makes its stream if it has one of its own, carried by `holder` from now on.
    /// Without a holder, the carrier of the stream stays the same. A standing stream to which the call writes
    /// is left as it is. The call has run for `age`, as measured just before this is asked: clients use ids
    /// again, so a cancellation is meant for the call only if it was noted after it began. Who begins a call
    /// ends it, even when the session is gone by then.
    ///
    /// - Collision: a call that is this node's already stays as it is: [`Begun::Begun`], or
    ///   [`Begun::Cancelled`]. One that another node has claimed, or that has ended, is [`Begun::Gone`].
    /// - Absence: [`Begun::Gone`] without the session.
    /// - Expiry: the call and its stream live `ttl` after their last change.
    async fn call_begin(
        &self,
        session: &SessionId,
        call: &CallRecord,
        age: Duration,
        holder: Option<&Holder>,
        ttl: Duration,
    ) -> Result<Begun, StoreError>;

    /// Takes a call off; appends its response to `stream`, the one of its record, if there is a response and
    /// the call was not cancelled; and ends the stream if it is the call's own. Nobody carries that any
    /// longer: its last carrier reads it to its end. That carrier's node gets
    /// [`Stream`](super::NodeMessage::Stream), unless it is `by`.
    ///
    /// - Absence: [`CallEnded::Gone`] without the session, and when the call has ended, is not `by`'s, or
    ///   writes to another stream.
    /// - Expiry: the log of a stream of its own lives `ttl` from now; a standing one lives on as with
    ///   [`append`](super::StreamStore::append). For [`ENDED_CALL_STAY`](super::Limits::ENDED_CALL_STAY) it
    ///   is noted that a claimed call has ended.
    async fn call_end(
        &self,
        session: &SessionId,
        call: &StreamId,
        stream: &StreamId,
        data: Option<&str>,
        by: &NodeId,
        ttl: Duration,
    ) -> Result<CallEnded, StoreError>;

    /// Keeps a client's answer (a JSON-RPC response, as JSON text) to request `number` of a call, and sends
    /// [`Answer`](super::NodeMessage::Answer) to the node that runs it.
    ///
    /// - Collision: the first answer wins, even when it was taken off already: [`Answered::Unwanted`]. So a
    ///   node that claims a call and runs it again must use other numbers. [`Answered::Full`] when the call's
    ///   limit of answers is reached.
    /// - Absence: [`Answered::Early`] when the call is not there; the answer waits until it is
    ///   [registered](Self::call_begin). [`Answered::Gone`] without the session.
    /// - Expiry: an early answer lives [`EARLY_ANSWERS_FOR`](super::Limits::EARLY_ANSWERS_FOR).
    async fn answer(
        &self,
        session: &SessionId,
        call: &StreamId,
        number: u64,
        response: &str,
    ) -> Result<Answered, StoreError>;

    /// Takes off the answers of these numbers, which were handed to a call of `by`; then says what else is
    /// there for it. All in one step.
    ///
    /// - Collision: answers that were taken off before stay off.
    /// - Absence: [`Inbox::Gone`] when there is no such call of that node. Nothing is taken off then.
    /// - Expiry: the log of the call's own stream lives `ttl` at least: a call may be silent for longer than
    ///   its log lives.
    async fn inbox(
        &self,
        session: &SessionId,
        call: &StreamId,
        by: &NodeId,
        taken: &[u64],
        ttl: Duration,
    ) -> Result<Inbox, StoreError>;

    /// Notes that the client cancelled a request (its id as JSON text), `ago` before now, and the reason that
    /// it gave. It concerns every call of that id that had begun by then. A registered call finds it in its [inbox](Self::inbox), and a
    /// node that claims the call finds it too; a call that is not registered yet finds it when it registers.
    /// A call that has begun since is another request, whose id was used again.
    ///
    /// - Collision: of several cancellations of one id the latest counts, and its reason.
    /// - Absence: [`Cancelled::Gone`] without the session. That no call has that id is no error.
    /// - Expiry: the note lives `ttl`, and of one session there are
    ///   [`CANCELS_NOTED_MAX`](super::Limits::CANCELS_NOTED_MAX) at most.
    async fn cancel(
        &self,
        session: &SessionId,
        request: &str,
        reason: Option<&str>,
        ago: Duration,
        ttl: Duration,
    ) -> Result<Cancelled, StoreError>;

    /// When the client has cancelled a request last, and why.
    ///
    /// - Absence, expiry: `None`.
    async fn cancelled(&self, session: &SessionId, request: &str)
    -> Result<Option<Cancellation>, StoreError>;

    /// The calls that a node has in flight, in any of its lives.
    ///
    /// - Absence: some that are named may not be there, or no longer; [`claim`](Self::claim) tells that. None
    ///   that is there is left out.
    async fn calls_of(&self, node: &NodeId) -> Result<Vec<(SessionId, StreamId)>, StoreError>;

    /// Makes a call of `from` one of `to`, and returns it. A node may claim from itself: from its former life
    /// under the same name.
    ///
    /// - Collision: of those that claim at the same time, one gets it.
    /// - Absence: `None` when it is not `from`'s (any longer). [`StoreError::Newer`] leaves it to nodes of a
    ///   newer version.
    async fn claim(
        &self,
        session: &SessionId,
        call: &StreamId,
        from: &NodeId,
        to: &NodeId,
    ) -> Result<Option<CallRecord>, StoreError>;

    /// Forgets a dead node whose calls have all been claimed: it is not among the
    /// [nodes](super::NodeStore::nodes) any longer.
    ///
    /// - Collision: nothing happens when its lease is alive again.
    /// - Absence: that nobody knows the node is no error.
    /// - Expiry: what is still named among its calls, and a node that nobody forgets, is forgotten by itself,
    ///   after a day.
    async fn forget(&self, node: &NodeId) -> Result<(), StoreError>;
}
