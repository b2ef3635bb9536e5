//! Event logs in Redis: a hash for each stream, beside its session.

use std::time::Duration;

use async_trait::async_trait;
use fred::types::{FromValue, Value};

use super::sessions::{KeySet, unexpected};
use super::{RedisStore, keys, millis, on_slot_of};
use crate::session::{NodeId, SessionId};
use crate::store::StoreError;
use crate::store::streams::{
    Answered, Appended, Attached, Begun, CallRecord, Cancelled, Event, Holder, Inbox, Over, READ_BYTES_MAX,
    READ_EVENTS_MAX, Read, SESSION_BYTES_MAX, SESSION_STREAMS_MAX, STREAM_BYTES_MAX, STREAM_EVENTS_MAX, Step,
    StreamId, StreamStore, stream_bell,
};

#[async_trait]
impl StreamStore for RedisStore {
    async fn call_begin(
        &self,
        session: &SessionId,
        call: &CallRecord,
        age: Duration,
        holder: Option<&Holder>,
        ttl: Duration,
    ) -> Result<Begun, StoreError> {
        self.begin_call(session, call, age, holder, ttl).await
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
        let (life, channel, bell) = (millis(ttl), self.keys.node_start(), stream_bell(session, stream));
        let by = self.acting(by);
        let events = STREAM_EVENTS_MAX.to_string();
        let (bytes, [streams, in_all]) = (STREAM_BYTES_MAX.to_string(), session_most());
        let args = [
            stream.as_str(),
            &life,
            &by,
            data,
            kind(stream),
            &events,
            &bytes,
            &streams,
            &in_all,
            &channel,
            &bell,
        ];
        let number = step.map(|step| step.number.to_string()).unwrap_or_default();
        let of_call = step.map(|step| [step.call.as_str(), step.run, &number]);
        let args = args.into_iter().chain(of_call.into_iter().flatten());
        let (keys, args) = (self.log_keys(session, stream), args.map(Value::from).collect());
        let answer: Vec<String> = self
            .script("append", &self.scripts.append, &keys.each(), args)
            .await?;
        appended("append", &answer)
    }

    async fn call_end(
        &self,
        session: &SessionId,
        call: &StreamId,
        data: Option<&str>,
        by: &NodeId,
        ttl: Duration,
    ) -> Result<Appended, StoreError> {
        self.end_call(session, call, data, by, ttl).await
    }

    async fn attach(
        &self,
        session: &SessionId,
        stream: &StreamId,
        holder: &Holder,
        over: Over<'_>,
        ttl: Duration,
    ) -> Result<Attached, StoreError> {
        let (life, channel, bell) = (millis(ttl), self.keys.node_start(), stream_bell(session, stream));
        let (connection, [streams, in_all]) = (keys::holder(holder), session_most());
        let (over, from) = match over {
            Over::Any => ("any", String::new()),
            Over::Only(from) => ("only", from.map_or_else(String::new, keys::holder)),
        };
        let args = [
            stream.as_str(),
            &life,
            &connection,
            holder.node.as_str(),
            kind(stream),
            &streams,
            &in_all,
            &channel,
            &bell,
            over,
            &from,
        ];
        let (keys, args) = (self.log_keys(session, stream), args.map(Value::from).into());
        let answer: Vec<String> = self
            .script("attach", &self.scripts.attach, &keys.each(), args)
            .await?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["attached", delivered, previous] => Ok(Attached::Attached {
                previous: keys::read_holder(previous),
                delivered: delivered
                    .parse()
                    .map_err(|_error| unexpected("attach", &answer))?,
            }),
            ["held", by] => match keys::read_holder(by) {
                Some(holder) => Ok(Attached::Held(holder)),
                None => Err(unexpected("attach", &answer)),
            },
            ["none"] => Ok(Attached::NoStream),
            ["gone"] => Ok(Attached::Gone),
            _ => Err(unexpected("attach", &answer)),
        }
    }

    async fn detach(
        &self,
        session: &SessionId,
        stream: &StreamId,
        holder: &Holder,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let args = [
            stream.as_str().to_owned(),
            keys::holder(holder),
            millis(ttl),
            self.keys.nodes(),
            stream_bell(session, stream),
        ];
        let (keys, args) = (self.log_keys(session, stream), args.map(Value::from).into());
        self.script::<u64>("detach", &self.scripts.detach, &keys.each(), args)
            .await
            .map(drop)
    }

    async fn holder(&self, session: &SessionId, stream: &StreamId) -> Result<Option<Holder>, StoreError> {
        let key = self.keys.session(session);
        let args = vec![key.as_str().into(), keys::attach(stream).into()];
        let holder: Option<String> = self.ask("holder", "HGET", &key, args).await?;
        Ok(holder.as_deref().and_then(keys::read_holder))
    }

    async fn read(&self, session: &SessionId, stream: &StreamId, after: u64) -> Result<Read, StoreError> {
        let keys = KeySet([
            self.keys.session(session),
            self.keys.events(session, stream.as_str()),
        ]);
        let args = [
            after.to_string(),
            READ_EVENTS_MAX.to_string(),
            keys::attach(stream),
            READ_BYTES_MAX.to_string(),
        ];
        let args = args.map(Value::from).into();
        let answer: Vec<String> = self
            .script("read", &self.scripts.stream_read, &keys.each(), args)
            .await?;
        if answer.is_empty() {
            return Ok(Read::Gone);
        }
        read_page(answer).ok_or_else(|| unexpected("stream_read", &[]))
    }

    async fn delivered(&self, session: &SessionId, stream: &StreamId, number: u64) -> Result<(), StoreError> {
        let keys = KeySet([
            self.keys.session(session),
            self.keys.events(session, stream.as_str()),
        ]);
        let args = vec![number.to_string().into()];
        self.script::<u64>("delivered", &self.scripts.delivered, &keys.each(), args)
            .await
            .map(drop)
    }

    async fn answer(
        &self,
        session: &SessionId,
        call: &StreamId,
        number: u64,
        response: &str,
    ) -> Result<Answered, StoreError> {
        self.keep_answer(session, call, number, response).await
    }

    async fn inbox(
        &self,
        session: &SessionId,
        call: &StreamId,
        by: &NodeId,
        ttl: Duration,
    ) -> Result<Inbox, StoreError> {
        self.read_inbox(session, call, by, ttl).await
    }

    async fn answers_taken(
        &self,
        session: &SessionId,
        call: &StreamId,
        numbers: &[u64],
    ) -> Result<(), StoreError> {
        self.take_off_answers(session, call, numbers).await
    }

    async fn cancel(
        &self,
        session: &SessionId,
        request: &str,
        ago: Duration,
        ttl: Duration,
    ) -> Result<Cancelled, StoreError> {
        self.note_cancel(session, request, ago, ttl).await
    }

    async fn cancelled(&self, session: &SessionId, request: &str) -> Result<Option<Duration>, StoreError> {
        let key = self.keys.calls(session);
        let age: Option<u64> = self
            .script(
                "cancelled",
                &self.scripts.cancelled,
                &[&key],
                vec![request.into()],
            )
            .await?;
        Ok(age.map(Duration::from_micros))
    }

    async fn calls_of(&self, node: &NodeId) -> Result<Vec<(SessionId, StreamId)>, StoreError> {
        self.list_calls(node).await
    }

    async fn claim(
        &self,
        session: &SessionId,
        call: &StreamId,
        from: &NodeId,
        to: &NodeId,
    ) -> Result<Option<CallRecord>, StoreError> {
        self.claim_call(session, call, from, to).await
    }

    async fn dead(&self) -> Result<Vec<NodeId>, StoreError> {
        let set = self.keys.nodes();
        let dead: Vec<String> = self.script("dead", &self.scripts.dead, &[&set], vec![]).await?;
        Ok(dead.iter().filter_map(|node| NodeId::parse(node)).collect())
    }

    async fn forget(&self, node: &NodeId) -> Result<(), StoreError> {
        self.forget_node(node).await
    }
}

impl RedisStore {
    /// The keys of the scripts that `log.lua` stands in front of.
    pub(super) fn log_keys(&self, session: &SessionId, stream: &StreamId) -> KeySet<4> {
        let keys = &self.keys;
        KeySet([
            keys.session(session),
            keys.calls(session),
            keys.events_start(session),
            keys.events(session, stream.as_str()),
        ])
    }

    /// Sends a command about `key`, and reads its answer.
    pub(super) async fn ask<T: FromValue>(
        &self,
        operation: &'static str,
        command: &'static str,
        key: &str,
        args: Vec<Value>,
    ) -> Result<T, StoreError> {
        let ask = async {
            let answer = self.link.send(command, on_slot_of(key), args).await?;
            answer.convert()
        };
        self.measured(operation, ask).await
    }
}

/// Whether a stream is made by whoever needs it first, as scripts call it.
fn kind(stream: &StreamId) -> &'static str {
    if stream.stands() { "make" } else { "call" }
}

/// The most streams of one session, and the most bytes in all of them.
pub(super) fn session_most() -> [String; 2] {
    [SESSION_STREAMS_MAX.to_string(), SESSION_BYTES_MAX.to_string()]
}

/// What the scripts that append answer.
pub(super) fn appended(script: &str, answer: &[String]) -> Result<Appended, StoreError> {
    match answer {
        [word, number, holder] if word == "at" => Ok(Appended::At {
            number: number.parse().map_err(|_error| unexpected(script, answer))?,
            holder: keys::read_holder(holder),
        }),
        [word] if word == "gone" => Ok(Appended::Gone),
        _ => Err(unexpected(script, answer)),
    }
}

fn read_page(answer: Vec<String>) -> Option<Read> {
    let mut answer = answer.into_iter();
    let mut number = || answer.next()?.parse::<u64>().ok();
    let (first, head, done, from) = (number()?, number()?, number()?, number()?);
    let holder = keys::read_holder(&answer.next()?);
    let delivered = answer.next()?.parse().ok()?;
    let events = (from..).zip(answer);
    Some(Read::Events {
        events: events.map(|(number, data)| Event { number, data }).collect(),
        first,
        head,
        done: done == 1,
        holder,
        delivered,
    })
}
