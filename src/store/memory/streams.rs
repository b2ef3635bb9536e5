//! Event logs in memory, beside their session, and what it was told of changes.

use std::time::Duration;

use async_trait::async_trait;

use super::changes::SessionChanges;
use super::sessions::MemorySession;
use super::{MemoryInner, MemoryStore};
use crate::session::{NodeId, SessionId};
use crate::store::changes::{KnownVersions, Noted, Subject, Told, Topic, TopicNews};
use crate::store::streams::{Appended, Attached, Event, Holder, Over, Read, Step, StreamId, StreamStore};
use crate::store::{NodeMessage, Recipients, StoreError};

impl MemoryInner {
    /// Tells the node of a holder to look at the stream, unless it is `by`.
    pub(super) fn tell_holder(
        &self,
        holder: Option<&Holder>,
        by: &NodeId,
        session: &SessionId,
        stream: &StreamId,
    ) {
        if let Some(holder) = holder.filter(|holder| holder.node != *by) {
            self.send(
                Recipients::One(&holder.node),
                &NodeMessage::stream(session, stream),
            );
        }
    }
}

#[async_trait]
impl StreamStore for MemoryStore {
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
        let Some(of) = inner.sessions.get_mut(session) else {
            return Ok(Appended::Gone);
        };
        let may = match step {
            Some(step) => of.calls.may_append(by, life.as_ref(), step.call),
            None => stream.is_session_stream(),
        };
        if !may {
            return Ok(Appended::Gone);
        }
        let Some(log) = of.logs.log_or_make(stream, ttl).filter(|log| !log.done) else {
            return Ok(Appended::Gone);
        };
        let holder = log.holder.clone();
        if let Some(number) = step.and_then(|step| of.calls.appended(step)) {
            return Ok(Appended::At { number, holder });
        }
        match stream.is_session_stream() {
            true => log.renew_as_carried(ttl, left),
            false => log.renew(ttl),
        }
        let Some(number) = of.logs.append(stream, data) else {
            return Ok(Appended::Gone);
        };
        if let Some(step) = step {
            of.calls.note_appended(step, number);
        }
        inner.tell_holder(holder.as_ref(), by, session, stream);
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
        let ttl = if stream.is_session_stream() {
            inner.sessions.left(session)
        } else {
            ttl
        };
        let Some(of) = inner.sessions.get_mut(session) else {
            return Ok(Attached::Gone);
        };
        let Some(log) = of.logs.log_or_make(stream, ttl) else {
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
        // Others may wait to carry it: the connection that did until now, and those that were not first just
        // now.
        log.standby |= over != Over::Any || previous.as_ref().is_some_and(|before| before != holder);
        let delivered = log.delivered();
        inner.tell_holder(previous.as_ref(), &holder.node, session, stream);
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
        let of = inner.sessions.get_mut(session);
        if let Some(log) = of.and_then(|of| of.logs.log(stream))
            && log.holder.take_if(|now| now == holder).is_some()
        {
            if stream.is_session_stream() {
                log.renew_as_carried(ttl, left);
            }
            if std::mem::take(&mut log.standby) {
                inner.send(Recipients::All, &NodeMessage::stream(session, stream));
            }
        }
        Ok(())
    }

    async fn read(&self, session: &SessionId, stream: &StreamId, after: u64) -> Result<Read, StoreError> {
        let mut inner = self.lock();
        let of = inner.sessions.get_mut(session);
        let log = of.and_then(|of| of.logs.log(stream)).filter(|log| log.lives());
        Ok(log.map_or(Read::Gone, |log| log.read(after)))
    }

    async fn delivered(&self, session: &SessionId, stream: &StreamId, number: u64) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let of = inner.sessions.get_mut(session);
        if let Some(log) = of.and_then(|of| of.logs.log(stream)) {
            log.note_delivered(number);
        }
        Ok(())
    }

    async fn note_change(&self, subject: Subject<'_>, ttl: Duration) -> Result<Noted, StoreError> {
        let mut inner = self.lock();
        let (id, uri) = match subject {
            Subject::Topic(topic) => {
                inner.changes.note(topic, ttl);
                return Ok(Noted::Noted);
            }
            Subject::Own(id, uri) => (id, uri),
        };
        let version = inner.changes.next();
        let session = inner.sessions.get_mut(id);
        let Some(session) = session.filter(|session| session.record.subscriptions.contains(uri)) else {
            return Ok(Noted::Unwanted);
        };
        session.changes.note_own(uri, version);
        Ok(match session.logs.is_carried() {
            true => Noted::Carried,
            false => Noted::Noted,
        })
    }

    async fn versions(&self, topics: &[Topic]) -> Result<Vec<u64>, StoreError> {
        let inner = self.lock();
        let versions = topics.iter().map(|topic| inner.changes.version(topic));
        Ok(versions.collect())
    }

    async fn told(
        &self,
        session: &SessionId,
        topics: &[Topic],
        own: &[String],
    ) -> Result<KnownVersions, StoreError> {
        let inner = self.lock();
        let nothing = SessionChanges::default();
        let known = inner.sessions.get(session).map_or(&nothing, |of| &of.changes);
        let topics = topics.iter().map(|topic| known.told(topic));
        let own = own.iter().map(|uri| known.own(uri));
        Ok(KnownVersions {
            topics: topics.collect(),
            own: own.collect(),
        })
    }

    async fn tell(
        &self,
        session: &SessionId,
        stream: &StreamId,
        news: &[TopicNews<'_>],
        by: &NodeId,
        ttl: Duration,
    ) -> Result<Told, StoreError> {
        let mut inner = self.lock();
        let left = inner.sessions.left(session);
        let mut told = Told::default();
        let Some(of) = inner.sessions.get_mut(session) else {
            return Ok(told);
        };
        let new: Vec<&str> = news.iter().filter_map(|news| of.note_told(news)).collect();
        for data in new {
            if of.logs.log_or_make(stream, ttl).is_some()
                && let Some(number) = of.logs.append(stream, data)
            {
                let data = data.to_owned();
                told.events.push(Event { number, data });
            }
        }
        if !told.events.is_empty()
            && let Some(log) = of.logs.log(stream)
        {
            log.renew_as_carried(ttl, left);
            told.holder = log.holder.clone();
            inner.tell_holder(told.holder.as_ref(), by, session, stream);
        }
        Ok(told)
    }
}

impl MemorySession {
    /// Notes what the session is told, and returns the message if that is news.
    fn note_told<'a>(&mut self, news: &TopicNews<'a>) -> Option<&'a str> {
        let subscriptions = &self.record.subscriptions;
        let wanted = |topic: &Topic| !matches!(topic, Topic::Resource(uri) if !subscriptions.contains(uri));
        let known = &mut self.changes;
        match *news {
            TopicNews::First(topic, version) => {
                if wanted(topic) && known.told(topic).is_none() {
                    known.note_told(topic, version);
                }
                None
            }
            TopicNews::Topic(topic, version, data) => {
                let new = wanted(topic) && known.told(topic) < Some(version);
                new.then(|| known.note_told(topic, version)).map(|()| data)
            }
            TopicNews::Own(uri, version, data) => {
                let new = subscriptions.contains(uri) && known.own(uri).1 < version;
                new.then(|| known.note_told_own(uri, version)).map(|()| data)
            }
        }
    }
}
