//! One session's streams and calls in flight, in memory.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::log::{Log, after};
use crate::session::NodeId;
use crate::store::streams::{
    ANSWERS_MAX, ANSWERS_WAITING_MAX, Answered, Begun, CANCELS_NOTED_MAX, CallRecord, Holder, Inbox,
    SESSION_STREAMS_MAX, Step, StreamId,
};

#[derive(Debug)]
struct Call {
    record: CallRecord,
    answered: HashSet<u64>,
    waiting: Vec<(u64, String)>,
    claimed: bool,
    // The last event of the last run: the run, which of its events that is, and its number in the stream.
    wrote: Option<(String, u64, u64)>,
}

/// What a session keeps over time. It ends with the session.
#[derive(Debug, Default)]
pub(super) struct Streams {
    logs: HashMap<StreamId, Log>,
    calls: HashMap<StreamId, Call>,
    // Since when each cancellation is noted, and until when.
    cancelled: HashMap<String, (Instant, Instant)>,
    made: u64,
    // Calls that were claimed and have ended: their former node may not know yet.
    ended: HashSet<StreamId>,
    pub(super) seen: Option<String>,
}

impl Streams {
    pub(super) fn log(&mut self, stream: &StreamId) -> Option<&mut Log> {
        self.logs.get_mut(stream).filter(|log| log.lives())
    }

    /// The stream's log; a standing stream is made if need be.
    pub(super) fn log_or_make(&mut self, stream: &StreamId, ttl: Duration) -> Option<&mut Log> {
        if stream.stands() {
            self.make(stream, ttl);
        }
        self.log(stream)
    }

    /// Standing streams live as long as the session: else they would be numbered afresh.
    pub(super) fn keep(&mut self, ttl: Duration) {
        let standing = self.logs.iter_mut().filter(|(stream, _)| stream.stands());
        for (_, log) in standing.filter(|(_, log)| log.lives()) {
            log.keep(ttl);
        }
    }

    fn make(&mut self, stream: &StreamId, ttl: Duration) {
        if self.log(stream).is_some() {
            return;
        }
        self.logs.retain(|_, log| log.lives());
        self.made += 1;
        self.logs.insert(stream.clone(), Log::new(self.made, ttl));
        while self.logs.len() > SESSION_STREAMS_MAX {
            let done = self.logs.iter().filter(|(_, log)| log.done);
            let oldest = done.min_by_key(|(_, log)| log.made);
            let Some(oldest) = oldest.map(|(stream, _)| stream.clone()) else {
                return;
            };
            self.logs.remove(&oldest);
        }
    }

    pub(super) fn begin(
        &mut self,
        call: &CallRecord,
        age: Duration,
        holder: Option<&Holder>,
        ttl: Duration,
    ) -> Begun {
        if let Some(known) = self.calls.get(&call.name) {
            return match (known.record.node == call.node, known.record.cancelled) {
                (true, false) => Begun::Begun,
                (true, true) => Begun::Cancelled,
                (false, _) => Begun::Gone,
            };
        }
        if self.ended.contains(&call.name) || self.log(&call.stream).is_some_and(|log| log.done) {
            return Begun::Gone;
        }
        // The note stays: several calls may have had that id when it was cancelled.
        if self.cancelled(&call.request).is_some_and(|noted| noted < age) {
            return Begun::Cancelled;
        }
        self.make(&call.stream, ttl);
        if let Some(log) = self.log(&call.stream) {
            log.keep(ttl);
            log.holder = holder.cloned().or(log.holder.take());
        }
        self.calls.insert(
            call.name.clone(),
            Call {
                record: call.clone(),
                answered: HashSet::new(),
                waiting: Vec::new(),
                claimed: false,
                wrote: None,
            },
        );
        Begun::Begun
    }

    /// Whether this call is in flight, and `node`'s.
    pub(super) fn runs(&self, node: &NodeId, call: &StreamId) -> bool {
        self.calls.get(call).is_some_and(|call| call.record.node == *node)
    }

    /// Whether the client has cancelled this call: what it sends is for nobody.
    pub(super) fn is_cancelled(&self, call: &StreamId) -> bool {
        self.calls.get(call).is_some_and(|call| call.record.cancelled)
    }

    /// How long ago the client has cancelled a request last, if that is noted still.
    pub(super) fn cancelled(&self, request: &str) -> Option<Duration> {
        let (noted, ends) = self.cancelled.get(request)?;
        (*ends > Instant::now()).then(|| noted.elapsed())
    }

    /// The client was started again: what there was of its former life is over. Returns the calls that were in flight.
    pub(super) fn begin_anew(&mut self) -> Vec<(NodeId, StreamId)> {
        self.cancelled.clear();
        if let Some(log) = self.log(&StreamId::sse()) {
            log.begin_anew();
        }
        let stopped = self.calls.iter_mut().map(|(name, call)| {
            call.record.cancelled = true;
            (call.record.node.clone(), name.clone())
        });
        stopped.collect()
    }

    /// Takes a call off, and says to which stream it wrote.
    pub(super) fn finish(&mut self, call: &StreamId) -> Option<StreamId> {
        let finished = self.calls.remove(call)?;
        if finished.claimed {
            self.ended.insert(call.clone());
        }
        Some(finished.record.stream)
    }

    /// Keeps an answer if it is wanted, and says which node wants it.
    pub(super) fn answer(&mut self, call: &StreamId, number: u64, response: &str) -> Answered {
        let Some(call) = self.calls.get_mut(call) else {
            return Answered::Unwanted;
        };
        if call.answered.contains(&number) {
            return Answered::Unwanted;
        }
        if call.waiting.len() >= ANSWERS_WAITING_MAX || call.answered.len() >= ANSWERS_MAX {
            return Answered::Full;
        }
        call.answered.insert(number);
        call.waiting.push((number, response.to_owned()));
        Answered::Kept(call.record.node.clone())
    }

    pub(super) fn inbox(&mut self, call: &StreamId, by: &NodeId, ttl: Duration) -> Inbox {
        let Some(call) = self.calls.get(call).filter(|call| call.record.node == *by) else {
            return Inbox::Gone;
        };
        let mail = Inbox::Mail {
            answers: call.waiting.clone(),
            cancelled: call.record.cancelled,
        };
        let stream = call.record.stream.clone();
        if let Some(log) = self.log(&stream) {
            log.keep(ttl);
        }
        mail
    }

    pub(super) fn take_off(&mut self, call: &StreamId, numbers: &[u64]) {
        if let Some(call) = self.calls.get_mut(call) {
            call.waiting.retain(|(number, _)| !numbers.contains(number));
        }
    }

    /// The number of the event, if this step was written before.
    pub(super) fn wrote(&self, step: Step<'_>) -> Option<u64> {
        let (run, last, number) = self.calls.get(step.call)?.wrote.as_ref()?;
        (run == step.run && *last >= step.number).then_some(*number)
    }

    pub(super) fn note_written(&mut self, step: Step<'_>, number: u64) {
        if let Some(call) = self.calls.get_mut(step.call) {
            call.wrote = Some((step.run.to_owned(), step.number, number));
        }
    }

    pub(super) fn cancel(&mut self, request: &str, ttl: Duration) -> Vec<(NodeId, StreamId)> {
        let now = Instant::now();
        self.cancelled.insert(request.to_owned(), (now, after(ttl)));
        self.cancelled.retain(|_, (_, ends)| *ends > now);
        while self.cancelled.len() > CANCELS_NOTED_MAX {
            let first = self.cancelled.iter().min_by_key(|(_, (_, ends))| *ends);
            let Some(first) = first.map(|(request, _)| request.clone()) else {
                break;
            };
            self.cancelled.remove(&first);
        }
        let calls = self.calls.iter_mut();
        let same = calls.filter(|(_, call)| !request.is_empty() && call.record.request == request);
        let stopped = same.map(|(name, call)| {
            call.record.cancelled = true;
            (call.record.node.clone(), name.clone())
        });
        stopped.collect()
    }

    pub(super) fn calls_of<'a>(&'a self, node: &'a NodeId) -> impl Iterator<Item = &'a StreamId> {
        let calls = self.calls.iter();
        calls
            .filter(move |(_, call)| call.record.node == *node)
            .map(|(name, _)| name)
    }

    pub(super) fn claim(&mut self, call: &StreamId, from: &NodeId, to: &NodeId) -> Option<CallRecord> {
        let call = self.calls.get_mut(call)?;
        if call.record.node != *from {
            return None;
        }
        call.record.node = to.clone();
        call.claimed = true;
        Some(call.record.clone())
    }
}
