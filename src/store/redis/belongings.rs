//! What belongs to a session besides its record: for operators, and read only.

use std::collections::BTreeMap;
use std::time::Duration;

use fred::types::Value;

use super::{RedisStore, call_record, keys};
use crate::session::{NodeId, SessionId};
use crate::store::StoreError;
use crate::store::calls::CallRecord;
use crate::store::streams::StreamId;

/// What belongs to a session besides its record. It is read in several steps: what ends meanwhile is left
/// out.
#[derive(Debug, Default)]
pub(crate) struct Belongings {
    /// When it ends unless it is used.
    pub(crate) ends_in: Option<Duration>,
    /// Handlers' state: each key, and how many bytes its value has.
    pub(crate) state: Vec<(String, usize)>,
    /// The nodes that keep a copy.
    pub(crate) copies: Vec<NodeId>,
    /// The event logs.
    pub(crate) streams: Vec<StreamLog>,
    /// The calls in flight whose node has registered them. Those that answer at once never are.
    pub(crate) calls: Vec<CallRecord>,
}

/// The event log of a stream.
#[derive(Debug)]
pub(crate) struct StreamLog {
    pub(crate) name: StreamId,
    /// How many events it keeps.
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// Whether nothing comes any more.
    pub(crate) done: bool,
    /// The node whose connection carries it.
    pub(crate) carrier: Option<NodeId>,
}

/// A hash, or a part of one. Its values may be anything.
type Fields = BTreeMap<String, Value>;

impl RedisStore {
    /// What belongs to a session. Nothing of one that is gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn belongings(&self, id: &SessionId) -> Result<Belongings, StoreError> {
        let (key, calls_key) = (self.keys.session(id), self.keys.calls(id));
        let fields: Fields = self.ask("show", "HGETALL", &key, vec![(&*key).into()]).await?;
        let left: i64 = self.ask("show", "PTTL", &key, vec![(&*key).into()]).await?;
        let names: Vec<String> = self
            .ask("show", "HKEYS", &calls_key, vec![(&*calls_key).into()])
            .await?;
        let mut found = Belongings {
            ends_in: u64::try_from(left).ok().map(Duration::from_millis),
            ..Belongings::default()
        };
        for (field, value) in &fields {
            if let Some(state) = field.strip_prefix(keys::STATE) {
                found.state.push((state.to_owned(), bytes_of(value)));
            }
            found
                .copies
                .extend(field.strip_prefix(keys::HELD).and_then(NodeId::parse));
        }
        for name in &names {
            if let Some(stream) = name.strip_prefix(keys::STREAM).and_then(StreamId::parse) {
                let carrier = fields.get(&keys::attach(&stream)).and_then(Value::as_string);
                found.streams.extend(self.stream_log(id, stream, carrier).await?);
            // Fields beside the calls themselves have a colon in their names, which a call has not.
            } else if let Some(call) = StreamId::parse(name) {
                found.calls.extend(self.call_of(&calls_key, &call).await?);
            }
        }
        Ok(found)
    }

    async fn stream_log(
        &self,
        id: &SessionId,
        name: StreamId,
        carrier: Option<String>,
    ) -> Result<Option<StreamLog>, StoreError> {
        let log = self.keys.events(id, name.as_str());
        let args = [&*log, "first", "head", "bytes", "done"].map(Value::from).into();
        let values: Vec<Option<u64>> = self.ask("show", "HMGET", &log, args).await?;
        let [Some(first), Some(head), Some(bytes), done] = values[..] else {
            return Ok(None);
        };
        Ok(Some(StreamLog {
            name,
            events: (head + 1).saturating_sub(first),
            bytes,
            done: done.is_some(),
            carrier: carrier
                .and_then(|text| keys::parse_holder(&text))
                .map(|holder| holder.node),
        }))
    }

    /// The record of a call, unless it has ended or cannot be read.
    async fn call_of(&self, key: &str, call: &StreamId) -> Result<Option<CallRecord>, StoreError> {
        let args = vec![key.into(), call.as_str().into()];
        let text: Option<String> = self.ask("show", "HGET", key, args).await?;
        Ok(text.and_then(|text| call_record::decode(call, &text, None, None).ok()))
    }
}

fn bytes_of(value: &Value) -> usize {
    value.as_bytes().map_or(0, <[u8]>::len)
}
