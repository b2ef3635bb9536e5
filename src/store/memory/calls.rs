//! Calls in flight in memory, beside their session.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::MemoryStore;
use super::log::after;
use crate::random::{HashMap, HashSet};
use crate::session::{Life, NodeId, SessionId};
use crate::store::Limits;
use crate::store::calls::{
    Answered, Begun, CallEnded, CallRecord, CallStore, Cancellation, Cancelled, Inbox,
};
use crate::store::streams::{Holder, Step, StreamId};
use crate::store::{NodeMessage, Recipients, StoreError};

#[derive(Debug)]
struct MemoryCall {
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

impl MemoryCall {
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

/// A cancellation: when it was, until when it is noted, and the client's reason.
#[derive(Debug)]
struct NotedCancel {
    at: Instant,
    ends: Instant,
    reason: Option<String>,
}

/// The calls of one session. They end with it.
#[derive(Debug, Default)]
pub(super) struct MemoryCalls {
    running: HashMap<StreamId, MemoryCall>,
    cancelled: HashMap<String, NotedCancel>,
    // Calls that were claimed and have ended, and until when that is noted: their former node may not know
    // yet.
    ended: HashMap<StreamId, Instant>,
    // The oldest first.
    early: Vec<Early>,
}

impl MemoryCalls {
    /// The nodes that run calls.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.running.values().map(|call| &call.record.node)
    }

    /// Forgets what has expired.
    pub(super) fn sweep(&mut self) {
        let now = Instant::now();
        self.ended.retain(|_, until| *until > now);
        self.early.retain(|early| early.ends > now);
        self.cancelled.retain(|_, noted| noted.ends > now);
    }

    /// In which life its node runs a call.
    #[cfg(test)]
    pub(super) fn life_of(&self, call: &StreamId) -> Option<Life> {
        self.running.get(call)?.life.clone()
    }

    /// The call of that name, if it is `node`'s in that life.
    fn of(&mut self, node: &NodeId, life: Option<&Life>, call: &StreamId) -> Option<&mut MemoryCall> {
        self.running.get_mut(call).filter(|call| call.is_of(node, life))
    }

    /// Whether `node` may append what this call sends: the call is its own in that life, and was not
    /// cancelled.
    pub(super) fn may_append(&mut self, node: &NodeId, life: Option<&Life>, call: &StreamId) -> bool {
        self.of(node, life, call)
            .is_some_and(|call| !call.record.cancelled)
    }

    /// The number of the event, if this step was appended before.
    pub(super) fn appended(&self, step: Step<'_>) -> Option<u64> {
        let (run, last, number) = self.running.get(step.call)?.wrote.as_ref()?;
        (run == step.run && *last >= step.number).then_some(*number)
    }

    pub(super) fn note_appended(&mut self, step: Step<'_>, number: u64) {
        if let Some(call) = self.running.get_mut(step.call) {
            call.wrote = Some((step.run.to_owned(), step.number, number));
        }
    }

    /// The client was started again: the calls of its former life are over. Returns the nodes that run them,
    /// each once.
    pub(super) fn begin_anew(&mut self) -> BTreeSet<NodeId> {
        self.cancelled.clear();
        let stopped = self.running.values_mut().map(|call| {
            call.record.cancelled = true;
            call.record.node.clone()
        });
        stopped.collect()
    }

    /// Keeps an answer for a call that is not registered.
    fn keep_early(&mut self, call: &StreamId, number: u64, response: &str) -> Answered {
        self.sweep();
        if self.ended.contains_key(call) {
            return Answered::Unwanted;
        }
        let mut early = self.early.iter();
        if early.any(|early| early.call == *call && early.number == number) {
            return Answered::Unwanted;
        }
        self.early.push(Early {
            call: call.clone(),
            number,
            response: response.to_owned(),
            ends: after(Limits::EARLY_ANSWERS_FOR),
        });
        let bytes = |early: &[Early]| early.iter().map(|early| early.response.len()).sum::<usize>();
        while self.early.len() > Limits::EARLY_ANSWERS_MAX
            || self.early.len() > 1 && bytes(&self.early) > Limits::EARLY_ANSWERS_BYTES_MAX
        {
            self.early.remove(0);
        }
        Answered::Early
    }

    /// Takes out the early answers to a call, and their numbers.
    fn take_early(&mut self, call: &StreamId) -> Vec<(u64, String)> {
        let early = self.early.extract_if(.., |early| early.call == *call);
        early.map(|early| (early.number, early.response)).collect()
    }

    /// Lets the notes of cancellations go that end first, until there are no more than may be.
    fn bound_cancels(&mut self) {
        self.sweep();
        while self.cancelled.len() > Limits::CANCELS_NOTED_MAX {
            let first = self.cancelled.iter().min_by_key(|(_, noted)| noted.ends);
            let Some(first) = first.map(|(request, _)| request.clone()) else {
                break;
            };
            self.cancelled.remove(&first);
        }
    }
}

#[async_trait]
impl CallStore for MemoryStore {
    async fn call_begin(
        &self,
        session: &SessionId,
        call: &CallRecord,
        age: Duration,
        holder: Option<&Holder>,
        ttl: Duration,
    ) -> Result<Begun, StoreError> {
        let mut inner = self.lock();
        let life = inner.life_of(&call.node);
        let Some(session) = inner.sessions.get_mut(session) else {
            return Ok(Begun::Gone);
        };
        let (calls, logs) = (&mut session.calls, &mut session.logs);
        calls.sweep();
        if let Some(known) = calls.running.get(&call.name) {
            return Ok(
                match (known.is_of(&call.node, life.as_ref()), known.record.cancelled) {
                    (true, false) => Begun::Begun,
                    (true, true) => Begun::Cancelled,
                    (false, _) => Begun::Gone,
                },
            );
        }
        if calls.ended.contains_key(&call.name) || logs.log(&call.stream).is_some_and(|log| log.done) {
            return Ok(Begun::Gone);
        }
        // The note stays: several calls may have had that id when it was cancelled.
        let noted = calls.cancelled.get(&call.request);
        if noted.is_some_and(|noted| noted.at.elapsed() < age) {
            return Ok(Begun::Cancelled);
        }
        if call.stream == call.name {
            logs.make(&call.stream, ttl);
            if let Some(log) = logs.log(&call.stream) {
                log.keep(ttl);
                log.holder = holder.cloned().or(log.holder.take());
            }
        }
        let waiting = calls.take_early(&call.name);
        let begun = MemoryCall {
            record: call.clone(),
            life,
            began: Instant::now().checked_sub(age),
            answered: waiting.iter().map(|(number, _)| *number).collect(),
            waiting,
            claimed: false,
            wrote: None,
        };
        calls.running.insert(call.name.clone(), begun);
        Ok(Begun::Begun)
    }

    async fn call_end(
        &self,
        session: &SessionId,
        call: &StreamId,
        stream: &StreamId,
        data: Option<&str>,
        by: &NodeId,
        ttl: Duration,
    ) -> Result<CallEnded, StoreError> {
        let mut inner = self.lock();
        let (left, life) = (inner.sessions.left(session), inner.life_of(by));
        let Some(of) = inner.sessions.get_mut(session) else {
            return Ok(CallEnded::Gone);
        };
        let own = of.calls.of(by, life.as_ref(), call);
        let Some(own) = own.filter(|own| own.record.stream == *stream) else {
            return Ok(CallEnded::Gone);
        };
        let data = data.filter(|_| !own.record.cancelled);
        if own.claimed {
            of.calls
                .ended
                .insert(call.clone(), after(Limits::ENDED_CALL_STAY));
        }
        of.calls.running.remove(call);
        // A standing one may not have been made yet, and lives on from now.
        if let Some(log) = of
            .logs
            .log_or_make(stream, ttl)
            .filter(|_| stream.is_session_stream())
        {
            log.renew_as_carried(ttl, left);
        }
        let number = data.and_then(|data| of.logs.append(stream, data));
        let Some(log) = of.logs.log(stream) else {
            return Ok(CallEnded::Gone);
        };
        let holder = if stream == call {
            log.done = true;
            log.renew(ttl);
            // Its carrier reads it to its end.
            log.holder.take()
        } else {
            log.holder.clone()
        };
        inner.tell_holder(holder.as_ref(), by, session, stream);
        Ok(match number {
            Some(number) => CallEnded::Answered { number, holder },
            None => CallEnded::Unanswered,
        })
    }

    async fn answer(
        &self,
        session: &SessionId,
        call: &StreamId,
        number: u64,
        response: &str,
    ) -> Result<Answered, StoreError> {
        let mut inner = self.lock();
        let Some(of) = inner.sessions.get_mut(session) else {
            return Ok(Answered::Gone);
        };
        let Some(to) = of.calls.running.get_mut(call) else {
            return Ok(of.calls.keep_early(call, number, response));
        };
        if to.answered.contains(&number) {
            return Ok(Answered::Unwanted);
        }
        if to.waiting.len() >= Limits::ANSWERS_WAITING_MAX || to.answered.len() >= Limits::ANSWERS_MAX {
            return Ok(Answered::Full);
        }
        let bytes: usize = to.waiting.iter().map(|(_, answer)| answer.len()).sum();
        if bytes > 0 && bytes + response.len() > Limits::ANSWERS_WAITING_BYTES_MAX {
            return Ok(Answered::Full);
        }
        to.answered.insert(number);
        to.waiting.push((number, response.to_owned()));
        let node = to.record.node.clone();
        inner.send(Recipients::One(&node), &NodeMessage::answer(session, call));
        Ok(Answered::Kept(node))
    }

    async fn inbox(
        &self,
        session: &SessionId,
        call: &StreamId,
        by: &NodeId,
        taken: &[u64],
        ttl: Duration,
    ) -> Result<Inbox, StoreError> {
        let mut inner = self.lock();
        let life = inner.life_of(by);
        let Some(of) = inner.sessions.get_mut(session) else {
            return Ok(Inbox::Gone);
        };
        let Some(own) = of.calls.of(by, life.as_ref(), call) else {
            return Ok(Inbox::Gone);
        };
        own.waiting.retain(|(number, _)| !taken.contains(number));
        if own.record.stream == own.record.name
            && let Some(log) = of.logs.log(call)
        {
            log.keep(ttl);
        }
        Ok(Inbox::Mail {
            answers: own.waiting.clone(),
            cancelled: own.record.cancelled,
        })
    }

    async fn cancel(
        &self,
        session: &SessionId,
        request: &str,
        reason: Option<&str>,
        ago: Duration,
        ttl: Duration,
    ) -> Result<Cancelled, StoreError> {
        let mut inner = self.lock();
        let Some(of) = inner.sessions.get_mut(session) else {
            return Ok(Cancelled::Gone);
        };
        let (calls, now) = (&mut of.calls, Instant::now());
        let since = now.checked_sub(ago).unwrap_or(now);
        // One that was on its way for longer takes nothing back.
        let later = calls.cancelled.remove(request).filter(|noted| noted.at > since);
        let noted = NotedCancel {
            ends: after(ttl),
            ..later.unwrap_or_else(|| NotedCancel {
                at: since,
                ends: now,
                reason: reason.map(str::to_owned),
            })
        };
        calls.cancelled.insert(request.to_owned(), noted);
        calls.bound_cancels();
        let same = calls.running.iter_mut().filter(|(_, call)| {
            !request.is_empty() && call.record.request == request && call.began <= Some(since)
        });
        let stopped = same.map(|(name, call)| {
            call.record.cancelled = true;
            (call.record.node.clone(), name.clone())
        });
        Ok(Cancelled::Noted(stopped.collect()))
    }

    async fn cancelled(
        &self,
        session: &SessionId,
        request: &str,
    ) -> Result<Option<Cancellation>, StoreError> {
        let inner = self.lock();
        let of = inner.sessions.get(session);
        let noted = of.and_then(|of| of.calls.cancelled.get(request));
        let noted = noted.filter(|noted| noted.ends > Instant::now());
        Ok(noted.map(|noted| Cancellation {
            ago: noted.at.elapsed(),
            reason: noted.reason.clone(),
        }))
    }

    async fn calls_of(&self, node: &NodeId) -> Result<Vec<(SessionId, StreamId)>, StoreError> {
        let inner = self.lock();
        let calls = inner.sessions.iter().flat_map(|(id, session)| {
            let calls = session.calls.running.iter();
            let own = calls.filter(|(_, call)| call.record.node == *node);
            own.map(move |(name, _)| (id.clone(), name.clone()))
        });
        Ok(calls.collect())
    }

    async fn claim(
        &self,
        session: &SessionId,
        call: &StreamId,
        from: &NodeId,
        to: &NodeId,
    ) -> Result<Option<CallRecord>, StoreError> {
        let mut inner = self.lock();
        let life = inner.life_of(to);
        let of = inner.sessions.get_mut(session);
        let call = of.and_then(|of| of.calls.running.get_mut(call));
        let Some(call) = call.filter(|call| call.record.node == *from) else {
            return Ok(None);
        };
        call.record.node = to.clone();
        call.life = life;
        call.claimed = true;
        Ok(Some(call.record.clone()))
    }

    async fn forget(&self, node: &NodeId) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if !inner.lease_lives(node) {
            inner.leases.remove(node);
        }
        Ok(())
    }
}
