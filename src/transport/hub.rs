//! The streams that connections of this node carry: where a ring, or an event just appended here, finds them.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::cluster::Live;
use crate::session::SessionId;
use crate::store::streams::{Event, StreamId};

/// How many events wait at a connection that is busy writing. What does not fit is read from the log again.
const WAITING_EVENTS_MAX: usize = 64;
/// How many bytes of events wait there.
const WAITING_BYTES_MAX: usize = 1 << 20; // x 20,000 connections = 20 GiB, if none of them read

type Key = (SessionId, StreamId);

/// All streams that connections of this node carry.
pub struct Hub {
    lines: Mutex<HashMap<Key, Arc<Line>>>,
    next: AtomicU64,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("lines", &self.lock().len()).finish()
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            lines: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }
}

/// What a connection has been told and has not looked at yet.
#[derive(Debug, Default)]
pub struct Told {
    /// Events appended on this node, in order, and whether each is the stream's last.
    pub events: VecDeque<(Event, bool)>,
    /// How many bytes they have.
    bytes: usize,
    /// Whether to read the log: an event was appended elsewhere, or did not fit.
    pub look: bool,
    /// Whether another connection carries the stream now.
    pub replaced: bool,
}

/// One connection that carries a stream.
#[derive(Debug)]
pub struct Line {
    /// The connection's number on this node.
    pub connection: u64,
    /// The session.
    pub live: Arc<Live>,
    told: Mutex<Told>,
    bell: Notify,
}

impl Line {
    /// What has been told since this was last asked.
    #[must_use]
    pub fn take(&self) -> Told {
        std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until there is something told.
    pub async fn told(&self) {
        self.bell.notified().await;
    }

    fn tell(&self, change: impl FnOnce(&mut Told)) {
        change(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_one();
    }
}

/// Takes a connection off the hub when dropped.
#[derive(Debug)]
pub struct Carried {
    hub: Arc<Hub>,
    key: Key,
    /// The connection.
    pub line: Arc<Line>,
}

impl Drop for Carried {
    fn drop(&mut self) {
        let mut lines = self.hub.lock();
        if lines
            .get(&self.key)
            .is_some_and(|line| Arc::ptr_eq(line, &self.line))
        {
            lines.remove(&self.key);
        }
    }
}

impl Hub {
    /// A number for a connection, unique on this node.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Puts the connection of that number on the hub. One that carried the stream until now is told that it does no
    /// longer.
    #[must_use]
    pub fn carry(self: &Arc<Self>, live: Arc<Live>, stream: StreamId, connection: u64) -> Carried {
        let key = (live.id.clone(), stream);
        let line = Arc::new(Line {
            connection,
            live,
            told: Mutex::default(),
            bell: Notify::new(),
        });
        if let Some(before) = self.lock().insert(key.clone(), Arc::clone(&line)) {
            before.tell(|told| told.replaced = true);
        }
        Carried {
            hub: Arc::clone(self),
            key,
            line,
        }
    }

    /// Hands an event that was appended on this node to the connection that carries the stream here, if one does.
    pub fn offer(&self, session: &SessionId, stream: &StreamId, event: Event, last: bool) {
        let Some(line) = self.line(session, stream) else {
            return;
        };
        line.tell(|told| {
            let bytes = told.bytes + event.data.len();
            if told.events.len() < WAITING_EVENTS_MAX && bytes <= WAITING_BYTES_MAX {
                told.bytes = bytes;
                told.events.push_back((event, last));
            } else {
                told.look = true;
            }
        });
    }

    /// Tells the connection that carries the stream here to read the log.
    pub fn ring(&self, session: &SessionId, stream: &StreamId) {
        if let Some(line) = self.line(session, stream) {
            line.tell(|told| told.look = true);
        }
    }

    /// Tells every connection to read its log: rings may have been missed.
    pub fn ring_all(&self) {
        for line in self.lock().values() {
            line.tell(|told| told.look = true);
        }
    }

    /// Whether a connection of this node carries the stream.
    #[must_use]
    pub fn carries(&self, session: &SessionId, stream: &StreamId) -> bool {
        self.line(session, stream).is_some()
    }

    /// The sessions whose stream of that name is carried here.
    #[must_use]
    pub fn carrying(&self, stream: &str) -> Vec<Arc<Live>> {
        let lines = self.lock();
        let named = lines.iter().filter(|((_, id), _)| id.as_str() == stream);
        named.map(|(_, line)| Arc::clone(&line.live)).collect()
    }

    /// The connection that carries the stream here, if one does.
    #[must_use]
    pub fn line(&self, session: &SessionId, stream: &StreamId) -> Option<Arc<Line>> {
        self.lock().get(&(session.clone(), stream.clone())).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
