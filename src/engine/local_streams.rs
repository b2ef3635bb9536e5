//! The streams that connections of this node carry: where a message, or an event just appended here, finds
//! them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Engine;
use crate::cluster::CachedSession;
use crate::random;
use crate::session::SessionId;
use crate::store::calls::CallRecord;
use crate::store::streams::{Event, Holder, StreamId};

/// How many events wait at a connection that is busy writing. What does not fit is read from the log again.
const WAITING_EVENTS_MAX: usize = 64;
/// How many bytes of events wait there.
const WAITING_BYTES_MAX: usize = 1 << 20; // x 20,000 connections = 20 GiB, if none of them read

/// Where numbers of connections begin at most: far from the end of what a number holds.
const FIRST_NUMBER_MAX: u64 = 1 << 48; // 2^48 of 2^64: a node that is started again begins at another

type StreamKey = (SessionId, StreamId);

/// How many connections of a node wait to carry a stream that another carries; the oldest goes first.
const WAITING_CONNECTIONS_MAX: usize = 4; // x 8.5 KiB each = 34 KiB a stream

/// All streams that connections of this node carry, or wait to carry.
pub(crate) struct LocalStreams {
    /// Of each stream the connections here, the newest last.
    streams: Mutex<BTreeMap<StreamKey, Vec<Arc<StreamConnection>>>>,
    next: AtomicU64,
}

impl fmt::Debug for LocalStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStreams")
            .field("streams", &self.lock().len())
            .finish()
    }
}

impl Default for LocalStreams {
    fn default() -> Self {
        Self {
            streams: Mutex::default(),
            // Other numbers than those of a former life of this node, which the store may still name.
            next: AtomicU64::new(random::number(FIRST_NUMBER_MAX) + 1),
        }
    }
}

/// What waits for a connection to look at.
#[derive(Debug, Default)]
pub(crate) struct PendingEvents {
    /// Events appended on this node, in order, and whether each is the stream's last.
    pub events: VecDeque<(Event, IsLast)>,
    /// How many bytes they have.
    bytes: usize,
    /// Whether to read the log: an event was appended elsewhere, or did not fit.
    pub look: bool,
    /// Whether too many connections wait for the stream: this one ends.
    pub dismissed: bool,
}

/// Whether a stream ends with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IsLast {
    Yes,
    No,
}

impl IsLast {
    /// Of the response of a call: a stream of its own ends with it.
    pub(crate) fn of(record: &CallRecord) -> Self {
        match record.stream == record.name {
            true => Self::Yes,
            false => Self::No,
        }
    }
}

/// One connection that carries a stream.
#[derive(Debug)]
pub(crate) struct StreamConnection {
    /// The connection's number on this node.
    pub number: u64,
    /// The session.
    pub cached: Arc<CachedSession>,
    pending: Mutex<PendingEvents>,
    notify: Notify,
    waits: AtomicBool,
}

impl StreamConnection {
    /// Whether it waits while another connection carries the stream.
    #[must_use]
    pub(crate) fn waits(&self) -> bool {
        self.waits.load(Ordering::Acquire)
    }

    /// Sets whether it waits or carries. What came until now is dropped: it is in the log.
    pub(crate) fn set_waits(&self, waits: bool) {
        self.waits.store(waits, Ordering::Release);
        if waits {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.events.clear();
            pending.bytes = 0;
        }
    }

    /// What has come since the last call.
    #[must_use]
    pub(crate) fn take(&self) -> PendingEvents {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until something has come.
    pub(crate) async fn notified(&self) {
        self.notify.notified().await;
    }

    fn tell(&self, change: impl FnOnce(&mut PendingEvents)) {
        change(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner));
        self.notify.notify_one();
    }
}

/// Takes a connection off the table when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    streams: Arc<LocalStreams>,
    key: StreamKey,
    /// The connection.
    pub connection: Arc<StreamConnection>,
}

impl ConnectionGuard {
    /// The store names this connection now: the others of this node are told to look. When too many wait, the
    /// oldest is dismissed.
    pub(crate) fn took_over(&self) {
        let mut all = self.streams.lock();
        let Some(connections) = all.get_mut(&self.key) else {
            return;
        };
        for other in connections
            .iter()
            .filter(|connection| !Arc::ptr_eq(connection, &self.connection))
        {
            other.tell(|pending| pending.look = true);
        }
        if connections.len() > WAITING_CONNECTIONS_MAX + 1 {
            connections.remove(0).tell(|pending| pending.dismissed = true);
        }
    }
}

impl Drop for ConnectionGuard {
    /// The next newest is told to look: nobody may carry the stream now.
    fn drop(&mut self) {
        let mut all = self.streams.lock();
        let Some(connections) = all.get_mut(&self.key) else {
            return;
        };
        connections.retain(|connection| !Arc::ptr_eq(connection, &self.connection));
        match connections.last() {
            Some(next) => next.tell(|pending| pending.look = true),
            None => drop(all.remove(&self.key)),
        }
    }
}

impl LocalStreams {
    /// A number for a connection, unique on this node.
    #[must_use]
    pub(crate) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Puts the connection of that number in the table, before the store names it: one that is named and is
    /// not here counts as gone.
    #[must_use]
    pub(crate) fn carry(
        self: &Arc<Self>,
        cached: Arc<CachedSession>,
        stream: StreamId,
        number: u64,
    ) -> ConnectionGuard {
        let key = (cached.id.clone(), stream);
        let connection = Arc::new(StreamConnection {
            number,
            cached,
            pending: Mutex::default(),
            notify: Notify::new(),
            waits: AtomicBool::new(false),
        });
        let mut all = self.lock();
        all.entry(key.clone()).or_default().push(Arc::clone(&connection));
        drop(all);
        ConnectionGuard {
            streams: Arc::clone(self),
            key,
            connection,
        }
    }

    /// Hands an event that was appended on this node to the connection of that number, if it carries the
    /// stream here.
    pub(crate) fn offer(
        &self,
        session: &SessionId,
        stream: &StreamId,
        number: u64,
        event: Event,
        last: IsLast,
    ) {
        let connections = self.lock();
        let Some(connections) = connections.get(&(session.clone(), stream.clone())) else {
            return;
        };
        // One that is not here yet reads the log when it is.
        let Some(connection) = connections.iter().find(|connection| connection.number == number) else {
            return;
        };
        connection.tell(|pending| {
            let bytes = pending.bytes + event.data.len();
            if pending.events.len() < WAITING_EVENTS_MAX && bytes <= WAITING_BYTES_MAX {
                pending.bytes = bytes;
                pending.events.push_back((event, last));
            } else {
                pending.look = true;
            }
        });
    }

    /// Tells the connection that carries the stream here to read the log; or else the newest that waits, for
    /// nobody may carry it now. False when there is none.
    pub(crate) fn wake(&self, session: &SessionId, stream: &StreamId) -> bool {
        let connections = self.lock();
        let Some(connections) = connections.get(&(session.clone(), stream.clone())) else {
            return false;
        };
        wake_connections(connections);
        true
    }

    /// The same of every stream of the session.
    pub(crate) fn wake_session(&self, session: &SessionId) {
        let connections = self.lock();
        // The first of all names: a session's streams stand side by side.
        let first = (session.clone(), StreamId::first());
        let of_session = connections
            .range(first..)
            .take_while(|((id, _), _)| id == session);
        of_session.for_each(|(_, connections)| wake_connections(connections));
    }

    /// Tells every connection to look: messages may have been missed.
    pub(crate) fn wake_all(&self) {
        for connection in self.lock().values().flatten() {
            connection.tell(|pending| pending.look = true);
        }
    }

    /// Whether a connection of this node carries the stream.
    #[must_use]
    pub(crate) fn carries(&self, session: &SessionId, stream: &StreamId) -> bool {
        self.connection(session, stream).is_some()
    }

    /// Whether the connection of that number is one of this node.
    #[must_use]
    pub(crate) fn has(&self, session: &SessionId, stream: &StreamId, number: u64) -> bool {
        let connections = self.lock();
        let connections = connections.get(&(session.clone(), stream.clone()));
        connections
            .is_some_and(|connections| connections.iter().any(|connection| connection.number == number))
    }

    /// The sessions whose stream of that name is carried here.
    #[must_use]
    pub(crate) fn carrying(&self, stream: &str) -> Vec<Arc<CachedSession>> {
        let all = self.lock();
        let named = all.iter().filter(|((_, id), _)| id.as_str() == stream);
        let carried = named
            .filter_map(|(_, connections)| connections.iter().rev().find(|connection| !connection.waits()));
        carried.map(|connection| Arc::clone(&connection.cached)).collect()
    }

    /// Those of these sessions whose stream outside calls is carried here.
    #[must_use]
    pub(crate) fn carrying_any(&self, sessions: BTreeSet<SessionId>) -> Vec<Arc<CachedSession>> {
        let all = self.lock();
        let streams = [StreamId::standalone(), StreamId::sse()];
        let carried = |session: SessionId| {
            let connections = streams.iter().find_map(|stream| {
                let connections = all.get(&(session.clone(), stream.clone()))?;
                connections.iter().rev().find(|connection| !connection.waits())
            })?;
            Some(Arc::clone(&connections.cached))
        };
        sessions.into_iter().filter_map(carried).collect()
    }

    /// The connection that carries the stream here, if one does.
    #[must_use]
    pub(crate) fn connection(&self, session: &SessionId, stream: &StreamId) -> Option<Arc<StreamConnection>> {
        let connections = self.lock();
        let connections = connections.get(&(session.clone(), stream.clone()))?;
        connections
            .iter()
            .rev()
            .find(|connection| !connection.waits())
            .cloned()
    }

    /// How many streams there are.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StreamKey, Vec<Arc<StreamConnection>>>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Hands an event that was appended, by its number and its text, to the connection that carries the
    /// stream, if it is one of this node. Another node has been told with the append.
    pub(super) fn offer(
        &self,
        session: &SessionId,
        stream: &StreamId,
        holder: Option<&Holder>,
        (number, data): (u64, &str),
        last: IsLast,
    ) {
        if let Some(holder) = holder.filter(|holder| holder.node == self.node) {
            let data = data.to_owned();
            let event = Event { number, data };
            self.streams
                .offer(session, stream, holder.connection, event, last);
        }
    }
}

/// Tells the connection that carries a stream to read the log; or else the newest that waits.
fn wake_connections(connections: &[Arc<StreamConnection>]) {
    let carries = connections.iter().rev().find(|connection| !connection.waits());
    if let Some(connection) = carries.or(connections.last()) {
        connection.tell(|pending| pending.look = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::era::Revision;
    use crate::session::{Introduction, NodeId, Principal, SessionRecord, TransportKind};

    fn cached(id: &str) -> Arc<CachedSession> {
        let record = SessionRecord {
            revision: Revision::V2025_11_25,
            transport: TransportKind::Streamable,
            client_info: Introduction::missing().client_info,
            capabilities: Introduction::missing().capabilities,
            initialized: true,
            created_at_ms: 0,
            last_activity_ms: 0,
            node_id: NodeId::parse("a").unwrap(),
            principal: Principal::anonymous(),
            log_level: None,
            subscriptions: [].into(),
            agent: String::new(),
        };
        Arc::new(CachedSession::new(
            SessionId::parse(id).unwrap(),
            record,
            false,
            0,
            Arc::default(),
        ))
    }

    #[test]
    fn a_message_about_a_session_reaches_its_streams_and_no_others() {
        let streams = Arc::new(LocalStreams::default());
        let carry = |id, stream: &str| {
            let stream = StreamId::parse(stream).unwrap();
            streams.carry(cached(id), stream, streams.number())
        };
        let own = [carry("b", "0"), carry("b", "get"), carry("b", "zz")];
        let others = [
            carry("a", "zz"),
            carry("b-", "0"),
            carry("c", "0"),
            carry("bb", "get"),
        ];
        streams.wake_session(&SessionId::parse("b").unwrap());
        assert!(own.iter().all(|carried| carried.connection.take().look));
        assert!(others.iter().all(|carried| !carried.connection.take().look));
    }
}
