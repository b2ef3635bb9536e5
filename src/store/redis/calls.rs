//! Calls in flight in Redis: fields of a hash beside the session, and of one for each node, which names its
//! calls.
//!
//! The two hashes may be on different nodes of a cluster, so they cannot be written at once. The node's set
//! names a call before it is registered and until after it ends. Survivors may look for a call in vain, but
//! they miss none.

use std::time::Duration;

use async_trait::async_trait;
use fred::types::Value;
use tokio::time::Instant;

use super::nodes::ENDED_LEASE_STAY;
use super::sessions::{KeySet, unexpected};
use super::streams::session_most;
use super::{RedisStore, call_record, keys, millis, on_slot_of};
use crate::session::{NodeId, SessionId};
use crate::store::Limits;
use crate::store::calls::{
    Answered, Begun, CallEnded, CallRecord, CallStore, Cancellation, Cancelled, Inbox,
};
use crate::store::streams::{Holder, STREAMS_SWEPT_EVERY, StreamId};
use crate::store::{NodeMessage, StoreError};

#[async_trait]
impl CallStore for RedisStore {
    async fn call_begin(
        &self,
        session: &SessionId,
        call: &CallRecord,
        age: Duration,
        holder: Option<&Holder>,
        ttl: Duration,
    ) -> Result<Begun, StoreError> {
        let (record, holder) = (
            call_record::encode(call, &call.node, self.life_of(&call.node), false)?,
            holder.map_or_else(String::new, keys::holder),
        );
        let asked = Instant::now();
        let (life, [streams, in_all]) = (millis(ttl), session_most());
        let swept = millis(STREAMS_SWEPT_EVERY);
        let keys = self.log_keys(session, &call.stream);
        self.enroll(&call.node, session, &call.name, ttl).await?;
        let age = (age + asked.elapsed()).as_micros().to_string();
        let args = [
            call.name.as_str(),
            &life,
            &record,
            &call.request,
            call.stream.as_str(),
            &holder,
            &streams,
            &in_all,
            &swept,
            &age,
        ];
        let args = args.into_iter().chain(call.body.as_deref()).map(Value::from);
        let begun: String = self
            .script(&self.scripts.call_begin, &keys.each(), args.collect())
            .await?;
        let begun = match begun.as_str() {
            "begun" => return Ok(Begun::Begun),
            "cancelled" => Begun::Cancelled,
            "gone" => Begun::Gone,
            // It is rightly named among the calls of that node.
            "other" => return Ok(Begun::Gone),
            _ => return Err(unexpected("call_begin", &[begun])),
        };
        self.strike(&call.node, session, &call.name).await;
        Ok(begun)
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
        let (life, channel) = (millis(ttl), self.keys.node_start());
        let message = NodeMessage::stream(session, stream).encode();
        let (events, bytes) = (
            Limits::STREAM_EVENTS_MAX.to_string(),
            Limits::STREAM_BYTES_MAX.to_string(),
        );
        let ([streams, in_all], noted) = (session_most(), millis(Limits::ENDED_CALL_STAY));
        let acting = self.acting(by);
        let args = [
            call.as_str(),
            stream.as_str(),
            &life,
            &acting,
            &events,
            &bytes,
            &streams,
            &in_all,
            &channel,
            &message,
            &noted,
        ];
        let args = args.into_iter().chain(data).map(Value::from).collect();
        let keys = self.log_keys(session, stream);
        let answer: Vec<String> = self.script(&self.scripts.call_end, &keys.each(), args).await?;
        // The call is not `by`'s any longer; but it may be that of another life of the node.
        if !matches!(answer.as_slice(), [gone, node] if gone == "gone" && node == by.as_str()) {
            self.strike(by, session, call).await;
        }
        match answer.as_slice() {
            [word, number, holder] if word == "answered" => Ok(CallEnded::Answered {
                number: number.parse().map_err(|_error| unexpected("call_end", &answer))?,
                holder: keys::parse_holder(holder),
            }),
            [word] if word == "unanswered" => Ok(CallEnded::Unanswered),
            [word, ..] if word == "gone" => Ok(CallEnded::Gone),
            _ => Err(unexpected("call_end", &answer)),
        }
    }

    async fn answer(
        &self,
        session: &SessionId,
        call: &StreamId,
        number: u64,
        response: &str,
    ) -> Result<Answered, StoreError> {
        let (number, channel) = (number.to_string(), self.keys.node_start());
        let message = NodeMessage::answer(session, call).encode();
        let (waiting, most) = (
            Limits::ANSWERS_WAITING_MAX.to_string(),
            Limits::ANSWERS_MAX.to_string(),
        );
        let bytes = Limits::ANSWERS_WAITING_BYTES_MAX.to_string();
        let (early, early_max) = (
            millis(Limits::EARLY_ANSWERS_FOR),
            Limits::EARLY_ANSWERS_MAX.to_string(),
        );
        let early_bytes = Limits::EARLY_ANSWERS_BYTES_MAX.to_string();
        let args = [
            call.as_str(),
            &number,
            response,
            &waiting,
            &most,
            &channel,
            &message,
            &bytes,
            &early,
            &early_bytes,
            &early_max,
        ];
        let keys = self.call_keys(session);
        let answer: Vec<String> = self
            .script(&self.scripts.answer, &keys.each(), args.map(Value::from).into())
            .await?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["kept", node] => match NodeId::parse(node) {
                Some(node) => Ok(Answered::Kept(node)),
                None => Err(unexpected("answer", &answer)),
            },
            ["early"] => Ok(Answered::Early),
            ["unwanted"] => Ok(Answered::Unwanted),
            ["full"] => Ok(Answered::Full),
            ["gone"] => Ok(Answered::Gone),
            _ => Err(unexpected("answer", &answer)),
        }
    }

    async fn inbox(
        &self,
        session: &SessionId,
        call: &StreamId,
        by: &NodeId,
        taken: &[u64],
        ttl: Duration,
    ) -> Result<Inbox, StoreError> {
        let keys = self.log_keys(session, call);
        let args = [call.as_str(), &self.acting(by), &millis(ttl)].map(Value::from);
        let taken = taken.iter().map(|number| number.to_string().into());
        let args = args.into_iter().chain(taken).collect();
        let read: Vec<String> = self.script(&self.scripts.inbox, &keys.each(), args).await?;
        let mut read = read.into_iter();
        match (read.next().as_deref(), read.next()) {
            (Some("gone"), _) => Ok(Inbox::Gone),
            (Some("mail"), Some(stop)) => {
                let mut answers = Vec::new();
                while let (Some(number), Some(response)) = (read.next(), read.next()) {
                    match number.parse() {
                        Ok(number) => answers.push((number, response)),
                        Err(_) => return Err(unexpected("inbox", &[number])),
                    }
                }
                Ok(Inbox::Mail {
                    answers,
                    cancelled: stop == "1",
                })
            }
            (word, _) => Err(unexpected("inbox", &[word.unwrap_or_default().to_owned()])),
        }
    }

    async fn cancel(
        &self,
        session: &SessionId,
        request: &str,
        reason: Option<&str>,
        ago: Duration,
        ttl: Duration,
    ) -> Result<Cancelled, StoreError> {
        let keys = self.call_keys(session);
        let (most, ago) = (Limits::CANCELS_NOTED_MAX.to_string(), ago.as_micros().to_string());
        let mut args = Vec::from([request, &millis(ttl), &most, &ago].map(Value::from));
        args.extend(reason.map(Value::from));
        let found: Vec<String> = self.script(&self.scripts.cancel, &keys.each(), args).await?;
        let named = |pair: &[String]| match pair {
            [node, call] => Some((NodeId::parse(node)?, StreamId::parse(call)?)),
            _ => None,
        };
        match found.split_first() {
            Some((word, calls)) if word == "noted" => {
                let calls: Option<Vec<_>> = calls.chunks(2).map(named).collect();
                calls
                    .map(Cancelled::Noted)
                    .ok_or_else(|| unexpected("cancel", &found))
            }
            Some((word, _)) if word == "gone" => Ok(Cancelled::Gone),
            _ => Err(unexpected("cancel", &found)),
        }
    }

    async fn cancelled(
        &self,
        session: &SessionId,
        request: &str,
    ) -> Result<Option<Cancellation>, StoreError> {
        let key = self.keys.calls(session);
        let noted: Vec<String> = self
            .script(&self.scripts.cancelled, &[&key], vec![request.into()])
            .await?;
        let Some((ago, reason)) = noted.split_first() else {
            return Ok(None);
        };
        let ago = ago
            .parse()
            .map_err(|_no_number| unexpected("cancelled", &noted))?;
        Ok(Some(Cancellation {
            ago: Duration::from_micros(ago),
            reason: reason.first().cloned(),
        }))
    }

    async fn calls_of(&self, node: &NodeId) -> Result<Vec<(SessionId, StreamId)>, StoreError> {
        let key = self.keys.node_calls(node);
        let args = vec![key.as_str().into()];
        let fields: Vec<String> = self.ask("calls_of", "HKEYS", &key, args).await?;
        Ok(fields
            .iter()
            .filter_map(|field| keys::parse_call_of(field))
            .collect())
    }

    async fn claim(
        &self,
        session: &SessionId,
        call: &StreamId,
        from: &NodeId,
        to: &NodeId,
    ) -> Result<Option<CallRecord>, StoreError> {
        let [text, body, stop] = self.read_call(session, call).await?;
        let read = text
            .as_deref()
            .map(|text| call_record::decode(call, text, body, stop.as_deref()));
        let read = match read.transpose() {
            Err(error @ StoreError::Corrupt(_)) => {
                // Nobody can answer it, so no node need find it again.
                self.strike(from, session, call).await;
                return Err(error);
            }
            read => read?,
        };
        let (Some(text), Some(mut record)) = (text, read.filter(|record| record.node == *from)) else {
            self.strike(from, session, call).await;
            return Ok(None);
        };
        let claimed = call_record::encode(&record, to, self.life_of(to), true)?;
        self.enroll(to, session, call, Duration::ZERO).await?;
        let keys = self.call_keys(session);
        let args = [call.as_str(), &text, &claimed].map(Value::from).into();
        let other: Option<String> = self.script(&self.scripts.claim, &keys.each(), args).await?;
        let owner = other.as_deref().unwrap_or(to.as_str());
        // The owner's name for it stays: with a fixed name, a node may even claim from its own former life.
        for node in [from, to].into_iter().filter(|node| node.as_str() != owner) {
            self.strike(node, session, call).await;
        }
        record.node = to.clone();
        Ok(other.is_none().then_some(record))
    }

    async fn forget(&self, node: &NodeId) -> Result<(), StoreError> {
        // The names of its calls stay: the node may have come back just now.
        let set = self.keys.nodes();
        let args = vec![node.as_str().into()];
        self.script::<u64>(&self.scripts.forget, &[&set], args)
            .await
            .map(drop)
    }
}

impl RedisStore {
    /// The texts of a call's record and of its request, and the note that its client has cancelled it.
    async fn read_call(
        &self,
        session: &SessionId,
        call: &StreamId,
    ) -> Result<[Option<String>; 3], StoreError> {
        let key = self.keys.calls(session);
        let args = [&key, call.as_str(), &keys::body(call), &keys::stop(call)];
        let args = args.map(Value::from).into();
        self.ask("claim_read", "HMGET", &key, args)
            .await
            .and_then(|values: Vec<_>| values.try_into().map_err(|_values| unexpected("HMGET", &[])))
    }

    /// Names a call among those of a node.
    async fn enroll(
        &self,
        node: &NodeId,
        session: &SessionId,
        call: &StreamId,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        let key = self.keys.node_calls(node);
        // A call may outlast the life that its beginning gave the names. Only a node that died leaves names
        // behind.
        let life = millis(ttl.max(ENDED_LEASE_STAY));
        let args = vec![keys::call_of(session, call).into(), life.into()];
        let enrolled: Result<u64, _> = self.script(&self.scripts.enroll, &[&key], args).await;
        enrolled.map(drop)
    }

    /// Takes a call's name off a node. When that fails, the name stays: a node that looks for the call finds
    /// that it is gone.
    async fn strike(&self, node: &NodeId, session: &SessionId, call: &StreamId) {
        let key = self.keys.node_calls(node);
        let args = vec![key.as_str().into(), keys::call_of(session, call).into()];
        let strike = async { self.link.send("HDEL", on_slot_of(&key), args).await };
        drop::<Result<Value, _>>(self.measured::<Value>("strike", strike).await);
    }

    /// The session and its calls.
    fn call_keys(&self, session: &SessionId) -> KeySet<2> {
        KeySet([self.keys.session(session), self.keys.calls(session)])
    }
}
