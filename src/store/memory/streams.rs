//! Event logs and calls in flight in memory, beside their session.

use std::time::Duration;

use async_trait::async_trait;

use super::calls::Streams;
use super::log::Log;
use super::{Inner, MemoryStore};
use crate::session::{NodeId, SessionId};
use crate::store::StoreError;
use crate::store::streams::{
    Answered, Appended, Attached, Begun, CallRecord, Cancelled, Holder, Inbox, Over, Read, Step, StreamId,
    StreamStore, answer_bell, stream_bell,
};

impl Inner {
    pub(super) fn streams(&mut self, session: &SessionId) -> Option<&mut Streams> {
        self.sessions.get_mut(session).map(|session| &mut session.streams)
    }

    fn log(&mut self, session: &SessionId, stream: &StreamId) -> Option<&mut Log> {
        self.streams(session)?.log(stream)
    }

    /// Rings the nodes of those that carry a session's streams.
    pub(super) fn ring_carriers(&self, session: &SessionId, carriers: Vec<(StreamId, Holder)>) {
        for (stream, holder) in carriers {
            self.ring(&holder.node, &stream_bell(session, &stream));
        }
    }

    /// Rings the node of a holder, unless it is `by`.
    fn ring_holder(&self, holder: Option<&Holder>, by: &NodeId, session: &SessionId, stream: &StreamId) {
        if let Some(holder) = holder.filter(|holder| holder.node != *by) {
            self.ring(&holder.node, &stream_bell(session, stream));
        }
    }
}

#[async_trait]
impl StreamStore for MemoryStore {
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
        let streams = inner.streams(session);
        let begin = |streams: &mut Streams| streams.begin(call, life, age, holder, ttl);
        Ok(streams.map_or(Begun::Gone, begin))
    }

    async fn append(
        &self,
        session: &SessionId,
        stream: &StreamId,
        data: &str,
        by: &NodeId,
        step: Option<Step<'_>>,
        ttl: Duration,
    ) -> Result<Appended, StoreError> {
        let mut inner = self.lock();
        let (left, life) = (inner.sessions.left(session), inner.life_of(by));
        let streams = inner.streams(session).filter(|streams| match step {
            Some(step) => streams.runs(by, life.as_ref(), step.call) && !streams.is_cancelled(step.call),
            None => stream.stands(),
        });
        let Some(streams) = streams else {
            return Ok(Appended::Gone);
        };
        let before = step.and_then(|step| streams.wrote(step));
        let Some(log) = streams.log_or_make(stream, ttl).filter(|log| !log.done) else {
            return Ok(Appended::Gone);
        };
        let holder = log.holder.clone();
        if let Some(number) = before {
            return Ok(Appended::At { number, holder });
        }
        match stream.stands() {
            true => log.settle(ttl, left),
            false => log.renew(ttl),
        }
        let Some(number) = streams.append(stream, data) else {
            return Ok(Appended::Gone);
        };
        if let Some(step) = step {
            streams.note_written(step, number);
        }
        inner.ring_holder(holder.as_ref(), by, session, stream);
        Ok(Appended::At { number, holder })
    }

    async fn call_end(
        &self,
        session: &SessionId,
        call: &StreamId,
        data: Option<&str>,
        by: &NodeId,
        ttl: Duration,
    ) -> Result<Appended, StoreError> {
        let mut inner = self.lock();
        let (left, life) = (inner.sessions.left(session), inner.life_of(by));
        let runs = |streams: &&mut Streams| streams.runs(by, life.as_ref(), call);
        let streams = inner.streams(session).filter(runs);
        let Some(streams) = streams else {
            return Ok(Appended::Gone);
        };
        let data = data.filter(|_| !streams.is_cancelled(call));
        let stream = streams.finish(call).unwrap_or_else(|| call.clone());
        // A standing one may not have been made yet, and lives on from now.
        if let Some(log) = streams.log_or_make(&stream, ttl).filter(|_| stream.stands()) {
            log.settle(ttl, left);
        }
        let appended = data.map(|data| streams.append(&stream, data));
        let Some(log) = streams.log(&stream) else {
            return Ok(Appended::Gone);
        };
        let number = appended.flatten().unwrap_or(log.head());
        let holder = if stream == *call {
            log.done = true;
            log.renew(ttl);
            // Whoever carries it reads it to its end.
            log.holder.take()
        } else {
            log.holder.clone()
        };
        inner.ring_holder(holder.as_ref(), by, session, &stream);
        Ok(Appended::At { number, holder })
    }

    async fn attach(
        &self,
        session: &SessionId,
        stream: &StreamId,
        holder: &Holder,
        over: Over<'_>,
        ttl: Duration,
    ) -> Result<Attached, StoreError> {
        let mut inner = self.lock();
        let ttl = if stream.stands() {
            inner.sessions.left(session)
        } else {
            ttl
        };
        let Some(streams) = inner.streams(session) else {
            return Ok(Attached::Gone);
        };
        let Some(log) = streams.log_or_make(stream, ttl) else {
            return Ok(Attached::NoStream);
        };
        if let Over::Only(from) = over {
            let other = log.holder.as_ref().filter(|now| *now != holder);
            if let Some(other) = other.filter(|now| Some(*now) != from) {
                return Ok(Attached::Held(other.clone()));
            }
            if log.done {
                return Ok(Attached::NoStream);
            }
        }
        // One that is done is only read.
        let previous = match log.done {
            true => None,
            false => {
                log.keep(ttl);
                log.holder.replace(holder.clone())
            }
        };
        // Others may wait to carry it: the connection that did until now, and those that were not first just now.
        log.standby |= over != Over::Any || previous.as_ref().is_some_and(|before| before != holder);
        let delivered = log.delivered();
        inner.ring_holder(previous.as_ref(), &holder.node, session, stream);
        Ok(Attached::Attached { previous, delivered })
    }

    async fn detach(
        &self,
        session: &SessionId,
        stream: &StreamId,
        holder: &Holder,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let left = inner.sessions.left(session);
        if let Some(log) = inner.log(session, stream)
            && log.holder.take_if(|now| now == holder).is_some()
        {
            if stream.stands() {
                log.settle(ttl, left);
            }
            if std::mem::take(&mut log.standby) {
                inner.ring_all(&stream_bell(session, stream));
            }
        }
        Ok(())
    }

    async fn holder(&self, session: &SessionId, stream: &StreamId) -> Result<Option<Holder>, StoreError> {
        let mut inner = self.lock();
        Ok(inner.log(session, stream).and_then(|log| log.holder.clone()))
    }

    async fn read(&self, session: &SessionId, stream: &StreamId, after: u64) -> Result<Read, StoreError> {
        let mut inner = self.lock();
        let log = inner.log(session, stream).filter(|log| log.lives());
        Ok(log.map_or(Read::Gone, |log| log.read(after)))
    }

    async fn delivered(&self, session: &SessionId, stream: &StreamId, number: u64) -> Result<(), StoreError> {
        if let Some(log) = self.lock().log(session, stream) {
            log.note_delivered(number);
        }
        Ok(())
    }

    async fn answer(
        &self,
        session: &SessionId,
        call: &StreamId,
        number: u64,
        response: &str,
    ) -> Result<Answered, StoreError> {
        let mut inner = self.lock();
        let Some(streams) = inner.streams(session) else {
            return Ok(Answered::Gone);
        };
        let answered = streams.answer(call, number, response);
        if let Answered::Kept(node) = &answered {
            inner.ring(node, &answer_bell(session, call));
        }
        Ok(answered)
    }

    async fn inbox(
        &self,
        session: &SessionId,
        call: &StreamId,
        by: &NodeId,
        ttl: Duration,
    ) -> Result<Inbox, StoreError> {
        let mut inner = self.lock();
        let life = inner.life_of(by);
        let streams = inner.streams(session);
        Ok(streams.map_or(Inbox::Gone, |streams| streams.inbox(call, by, life.as_ref(), ttl)))
    }

    async fn answers_taken(
        &self,
        session: &SessionId,
        call: &StreamId,
        numbers: &[u64],
    ) -> Result<(), StoreError> {
        if let Some(streams) = self.lock().streams(session) {
            streams.take_off(call, numbers);
        }
        Ok(())
    }

    async fn cancel(
        &self,
        session: &SessionId,
        request: &str,
        ago: Duration,
        ttl: Duration,
    ) -> Result<Cancelled, StoreError> {
        let mut inner = self.lock();
        let streams = inner.streams(session);
        Ok(streams.map_or(Cancelled::Gone, |streams| {
            Cancelled::Noted(streams.cancel(request, ago, ttl))
        }))
    }

    async fn cancelled(&self, session: &SessionId, request: &str) -> Result<Option<Duration>, StoreError> {
        let mut inner = self.lock();
        Ok(inner
            .streams(session)
            .and_then(|streams| streams.cancelled(request)))
    }

    async fn calls_of(&self, node: &NodeId) -> Result<Vec<(SessionId, StreamId)>, StoreError> {
        let inner = self.lock();
        let calls = inner.sessions.iter().flat_map(|(id, session)| {
            let calls = session.streams.calls_of(node);
            calls.map(move |call| (id.clone(), call.clone()))
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
        Ok(inner
            .streams(session)
            .and_then(|streams| streams.claim(call, from, to, life)))
    }

    async fn dead(&self) -> Result<Vec<NodeId>, StoreError> {
        let inner = self.lock();
        let dead = inner.leases.keys().filter(|node| !inner.lease_lives(node));
        Ok(dead.cloned().collect())
    }

    async fn forget(&self, node: &NodeId) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if !inner.lease_lives(node) {
            inner.leases.remove(node);
        }
        Ok(())
    }
}
