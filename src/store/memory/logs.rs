//! One session's event logs in memory, with the bounds on all of them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::log::Log;
use crate::random::HashMap;
use crate::session::NodeId;
use crate::store::Limits;
use crate::store::streams::StreamId;

/// The logs of one session. They end with it.
#[derive(Debug, Default)]
pub(super) struct Logs {
    // In boxes: the smallest table has room for three, and most sessions have one.
    of: HashMap<StreamId, Box<Log>>,
    made: u64,
}

impl Logs {
    /// As when the last writes are lost.
    #[cfg(test)]
    pub(super) fn forget_holders(&mut self) {
        for log in self.of.values_mut() {
            log.holder = None;
        }
    }

    /// The stream's log. A standing one is there after its life too, without events: it is numbered on.
    pub(super) fn log(&mut self, stream: &StreamId) -> Option<&mut Log> {
        let log = &mut **self.of.get_mut(stream)?;
        let lives = log.lives();
        if !lives && stream.is_session_stream() {
            log.expire();
        }
        (lives || stream.is_session_stream()).then_some(log)
    }

    /// The stream's log; a standing stream is made if need be.
    pub(super) fn log_or_make(&mut self, stream: &StreamId, ttl: Duration) -> Option<&mut Log> {
        if stream.is_session_stream() {
            self.make(stream, ttl);
        }
        self.log(stream)
    }

    /// Whether a connection carries a standing stream.
    pub(super) fn is_carried(&self) -> bool {
        let mut standing = self.of.iter().filter(|(stream, _)| stream.is_session_stream());
        standing.any(|(_, log)| log.holder.is_some())
    }

    /// The nodes that carry streams, each once.
    pub(super) fn carriers(&mut self) -> BTreeSet<NodeId> {
        self.sweep();
        let holders = self.of.values().filter_map(|log| log.holder.as_ref());
        holders.map(|holder| holder.node.clone()).collect()
    }

    /// Standing streams live as long as the session while they are carried.
    pub(super) fn keep(&mut self, ttl: Duration) {
        self.sweep();
        let standing = self
            .of
            .iter_mut()
            .filter(|(stream, _)| stream.is_session_stream());
        for (_, log) in standing.filter(|(_, log)| log.holder.is_some()) {
            log.keep(ttl);
        }
    }

    /// Makes a log, unless it is there.
    pub(super) fn make(&mut self, stream: &StreamId, ttl: Duration) {
        if self.log(stream).is_some() {
            return;
        }
        self.sweep();
        self.made += 1;
        self.of.insert(stream.clone(), Box::new(Log::new(self.made, ttl)));
        if self.of.len() > Limits::SESSION_STREAMS_MAX {
            self.make_room(stream);
        }
    }

    /// Forgets what has expired.
    pub(super) fn sweep(&mut self) {
        self.of.retain(|stream, log| {
            let lives = log.lives();
            if !lives && stream.is_session_stream() {
                log.expire();
            }
            lives || stream.is_session_stream()
        });
    }

    fn bytes(&self) -> u64 {
        self.of.values().map(|log| log.bytes()).sum()
    }

    /// Lets the oldest logs go that are done, but not `new`, until a quarter is free of what there is too
    /// much of.
    fn make_room(&mut self, new: &StreamId) {
        self.sweep();
        let (mut count, mut bytes) = (self.of.len(), self.bytes());
        let count_left = match count > Limits::SESSION_STREAMS_MAX {
            true => Limits::SESSION_STREAMS_MAX / 4 * 3,
            false => Limits::SESSION_STREAMS_MAX,
        };
        let bytes_left = match bytes > Limits::SESSION_BYTES_MAX {
            true => Limits::SESSION_BYTES_MAX / 4 * 3,
            false => Limits::SESSION_BYTES_MAX,
        };
        let done = self.of.iter().filter(|(stream, log)| log.done && *stream != new);
        let mut done: Vec<_> = done.map(|(stream, log)| (log.made, stream.clone())).collect();
        done.sort_unstable_by_key(|(made, _)| *made);
        for (_, stream) in done {
            if count <= count_left && bytes <= bytes_left {
                return;
            }
            let gone = self.of.remove(&stream);
            count -= 1;
            bytes -= gone.map_or(0, |log| log.bytes());
        }
    }

    /// Appends an event to a log that is there, keeps to the bounds, and returns the event's number.
    pub(super) fn append(&mut self, stream: &StreamId, data: &str) -> Option<u64> {
        let number = self.log(stream)?.append(data);
        if self.bytes() > Limits::SESSION_BYTES_MAX {
            self.make_room(stream);
            let over = self.bytes().saturating_sub(Limits::SESSION_BYTES_MAX);
            if let Some(log) = self.log(stream).filter(|_| over > 0) {
                log.drop_oldest(over);
            }
        }
        Some(number)
    }
}
