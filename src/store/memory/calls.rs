//! One session's streams and calls in flight, in memory.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::changes::SessionChanges;
use super::log::{Log, after};
use crate::session::{Life, NodeId};
use crate::store::streams::{
    ANSWERS_MAX, ANSWERS_WAITING_BYTES_MAX, ANSWERS_WAITING_MAX, Answered, Begun, CANCELS_NOTED_MAX,
    CallRecord, EARLY_ANSWERS_BYTES_MAX, EARLY_ANSWERS_FOR, EARLY_ANSWERS_MAX, ENDED_CALL_STAY, Holder,
    Inbox, SESSION_BYTES_MAX, SESSION_STREAMS_MAX, Step, StreamId,
};

#[derive(Debug)]
struct Call {
    record: CallRecord,
    // In which life its node runs it.
    life: Option<Life>,
    began: Option<Instant>,
    answered: HashSet<u64>,
    waiting: Vec<(u64, String)>,
    claimed: bool,
    // The last event of the last run: the run, which of its events that is, and its number in the stream.
    wrote: Option<(String, u64, u64)>,
}

impl Call {
    fn is_of(&self, node: &NodeId, life: Option<&Life>) -> bool {
        self.record.node == *node && self.life.as_ref() == life
    }
}

/// An answer to a call that is not registered.
#[derive(Debug)]
struct Early {
    call: StreamId,
    number: u64,
    response: String,
    ends: Instant,
}

/// What a session keeps over time. It ends with the session.
#[derive(Debug, Default)]
pub(super) struct Streams {
    logs: HashMap<StreamId, Log>,
    calls: HashMap<StreamId, Call>,
    // Since when each cancellation is noted, and until when.
    cancelled: HashMap<String, (Instant, Instant)>,
    made: u64,
    // Calls that were claimed and have ended, and until when that is noted: their former node may not know yet.
    ended: HashMap<StreamId, Instant>,
    // The oldest first.
    early: Vec<Early>,
    pub(super) changes: SessionChanges,
}

impl Streams {
    /// The stream's log. A standing one is there after its life too, without events: it is numbered on.
    pub(super) fn log(&mut self, stream: &StreamId) -> Option<&mut Log> {
        let log = self.logs.get_mut(stream)?;
        let lives = log.lives();
        if !lives && stream.stands() {
            log.expire();
        }
        (lives || stream.stands()).then_some(log)
    }

    /// The stream's log; a standing stream is made if need be.
    pub(super) fn log_or_make(&mut self, stream: &StreamId, ttl: Duration) -> Option<&mut Log> {
        if stream.stands() {
            self.make(stream, ttl);
        }
        self.log(stream)
    }

    /// Who carries which streams.
    pub(super) fn carriers(&mut self) -> Vec<(StreamId, Holder)> {
        self.sweep();
        let carried = self.logs.iter();
        carried
            .filter_map(|(stream, log)| Some((stream.clone(), log.holder.clone()?)))
            .collect()
    }

    /// Standing streams live as long as the session while they are carried.
    pub(super) fn keep(&mut self, ttl: Duration) {
        self.sweep();
        let standing = self.logs.iter_mut().filter(|(stream, _)| stream.stands());
        for (_, log) in standing.filter(|(_, log)| log.holder.is_some()) {
            log.keep(ttl);
        }
    }

    fn make(&mut self, stream: &StreamId, ttl: Duration) {
        if self.log(stream).is_some() {
            return;
        }
        self.sweep();
        self.made += 1;
        self.logs.insert(stream.clone(), Log::new(self.made, ttl));
        if self.logs.len() > SESSION_STREAMS_MAX {
            self.make_room(stream);
        }
    }

    /// Forgets what has expired.
    pub(super) fn sweep(&mut self) {
        self.logs.retain(|stream, log| {
            let lives = log.lives();
            if !lives && stream.stands() {
                log.expire();
            }
            lives || stream.stands()
        });
        let now = Instant::now();
        self.ended.retain(|_, until| *until > now);
        self.early.retain(|early| early.ends > now);
    }

    fn bytes(&self) -> u64 {
        self.logs.values().map(Log::bytes).sum()
    }

    /// Lets the oldest logs go that are done, but not `new`, until a quarter is free of what there is too much of.
    fn make_room(&mut self, new: &StreamId) {
        self.sweep();
        let (mut count, mut bytes) = (self.logs.len(), self.bytes());
        let count_left = match count > SESSION_STREAMS_MAX {
            true => SESSION_STREAMS_MAX / 4 * 3,
            false => SESSION_STREAMS_MAX,
        };
        let bytes_left = match bytes > SESSION_BYTES_MAX {
            true => SESSION_BYTES_MAX / 4 * 3,
            false => SESSION_BYTES_MAX,
        };
        let done = self
            .logs
            .iter()
            .filter(|(stream, log)| log.done && *stream != new);
        let mut done: Vec<_> = done.map(|(stream, log)| (log.made, stream.clone())).collect();
        done.sort_unstable_by_key(|(made, _)| *made);
        for (_, stream) in done {
            if count <= count_left && bytes <= bytes_left {
                return;
            }
            let gone = self.logs.remove(&stream);
            count -= 1;
            bytes -= gone.map_or(0, |log| log.bytes());
        }
    }

    /// Appends an event to a log that is there, keeps to the bounds, and returns the event's number.
    pub(super) fn append(&mut self, stream: &StreamId, data: &str) -> Option<u64> {
        let number = self.log(stream)?.append(data);
        if self.bytes() > SESSION_BYTES_MAX {
            self.make_room(stream);
            let over = self.bytes().saturating_sub(SESSION_BYTES_MAX);
            if let Some(log) = self.log(stream).filter(|_| over > 0) {
                log.let_go(over);
            }
        }
        Some(number)
    }

    pub(super) fn begin(
        &mut self,
        call: &CallRecord,
        life: Option<Life>,
        age: Duration,
        holder: Option<&Holder>,
        ttl: Duration,
    ) -> Begun {
        if let Some(known) = self.calls.get(&call.name) {
            return match (known.is_of(&call.node, life.as_ref()), known.record.cancelled) {
                (true, false) => Begun::Begun,
                (true, true) => Begun::Cancelled,
                (false, _) => Begun::Gone,
            };
        }
        if self.ended.contains_key(&call.name) || self.log(&call.stream).is_some_and(|log| log.done) {
            return Begun::Gone;
        }
        // The note stays: several calls may have had that id when it was cancelled.
        if self.cancelled(&call.request).is_some_and(|noted| noted < age) {
            return Begun::Cancelled;
        }
        if call.stream == call.name {
            self.make(&call.stream, ttl);
            if let Some(log) = self.log(&call.stream) {
                log.keep(ttl);
                log.holder = holder.cloned().or(log.holder.take());
            }
        }
        let now = Instant::now();
        self.early.retain(|early| early.ends > now);
        let early: Vec<_> = self
            .early
            .extract_if(.., |early| early.call == call.name)
            .collect();
        self.calls.insert(
            call.name.clone(),
            Call {
                record: call.clone(),
                life,
                began: now.checked_sub(age),
                answered: early.iter().map(|early| early.number).collect(),
                waiting: early
                    .into_iter()
                    .map(|early| (early.number, early.response))
                    .collect(),
                claimed: false,
                wrote: None,
            },
        );
        Begun::Begun
    }

    /// Whether this call is in flight, and `node`'s in that life.
    pub(super) fn runs(&self, node: &NodeId, life: Option<&Life>, call: &StreamId) -> bool {
        self.calls.get(call).is_some_and(|call| call.is_of(node, life))
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
            self.ended.insert(call.clone(), after(ENDED_CALL_STAY));
        }
        Some(finished.record.stream)
    }

    /// Keeps an answer if it is wanted, and says which node wants it.
    pub(super) fn answer(&mut self, call: &StreamId, number: u64, response: &str) -> Answered {
        let Some(call) = self.calls.get_mut(call) else {
            return match self.ended.contains_key(call) {
                true => Answered::Unwanted,
                false => self.keep_early(call, number, response),
            };
        };
        if call.answered.contains(&number) {
            return Answered::Unwanted;
        }
        if call.waiting.len() >= ANSWERS_WAITING_MAX || call.answered.len() >= ANSWERS_MAX {
            return Answered::Full;
        }
        let bytes: usize = call.waiting.iter().map(|(_, answer)| answer.len()).sum();
        if bytes > 0 && bytes + response.len() > ANSWERS_WAITING_BYTES_MAX {
            return Answered::Full;
        }
        call.answered.insert(number);
        call.waiting.push((number, response.to_owned()));
        Answered::Kept(call.record.node.clone())
    }

    fn keep_early(&mut self, call: &StreamId, number: u64, response: &str) -> Answered {
        let now = Instant::now();
        self.early.retain(|early| early.ends > now);
        if self
            .early
            .iter()
            .any(|early| early.call == *call && early.number == number)
        {
            return Answered::Unwanted;
        }
        self.early.push(Early {
            call: call.clone(),
            number,
            response: response.to_owned(),
            ends: after(EARLY_ANSWERS_FOR),
        });
        let bytes = |early: &[Early]| early.iter().map(|early| early.response.len()).sum::<usize>();
        while self.early.len() > EARLY_ANSWERS_MAX
            || self.early.len() > 1 && bytes(&self.early) > EARLY_ANSWERS_BYTES_MAX
        {
            self.early.remove(0);
        }
        Answered::Early
    }

    pub(super) fn inbox(
        &mut self,
        call: &StreamId,
        by: &NodeId,
        life: Option<&Life>,
        ttl: Duration,
    ) -> Inbox {
        let Some(call) = self.calls.get(call).filter(|call| call.is_of(by, life)) else {
            return Inbox::Gone;
        };
        let mail = Inbox::Mail {
            answers: call.waiting.clone(),
            cancelled: call.record.cancelled,
        };
        if call.record.stream == call.record.name {
            let name = call.record.name.clone();
            if let Some(log) = self.log(&name) {
                log.keep(ttl);
            }
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

    pub(super) fn cancel(&mut self, request: &str, ago: Duration, ttl: Duration) -> Vec<(NodeId, StreamId)> {
        let now = Instant::now();
        let since = now.checked_sub(ago).unwrap_or(now);
        // One that was on its way for longer takes nothing back.
        let last = self.cancelled.get(request).map_or(since, |(noted, _)| *noted);
        self.cancelled
            .insert(request.to_owned(), (last.max(since), after(ttl)));
        self.cancelled.retain(|_, (_, ends)| *ends > now);
        while self.cancelled.len() > CANCELS_NOTED_MAX {
            let first = self.cancelled.iter().min_by_key(|(_, (_, ends))| *ends);
            let Some(first) = first.map(|(request, _)| request.clone()) else {
                break;
            };
            self.cancelled.remove(&first);
        }
        let calls = self.calls.iter_mut();
        let same = calls.filter(|(_, call)| {
            !request.is_empty() && call.record.request == request && call.began <= Some(since)
        });
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

    pub(super) fn claim(
        &mut self,
        call: &StreamId,
        from: &NodeId,
        to: &NodeId,
        life: Option<Life>,
    ) -> Option<CallRecord> {
        let call = self.calls.get_mut(call)?;
        if call.record.node != *from {
            return None;
        }
        call.record.node = to.clone();
        call.life = life;
        call.claimed = true;
        Some(call.record.clone())
    }
}
