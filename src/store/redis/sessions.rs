//! Sessions in Redis: one hash each.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use fred::error::{Error as FredError, ErrorKind};
use fred::types::Value;
use fred::types::config::Server;
use futures::future::join_all;
use tracing::warn;

use super::{RedisStore, keys, millis, on_slot_of, record};
use crate::causes::causes;
use crate::session::{Introduction, NodeId, Principal, SessionId, SessionRecord};
use crate::store::Limits;
use crate::store::changes::Topic;
use crate::store::streams::StreamId;
use crate::store::{
    Change, Changed, Created, Ended, NodeMessage, SessionRoom, SessionStore, StoreError, Touched, WhyRefused,
};
use crate::telemetry::seldom;

/// How many keys Redis looks at for one answer while sessions are listed: well under a millisecond.
const SCAN_COUNT: &str = "500";

#[async_trait]
impl SessionStore for RedisStore {
    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        ttl: Duration,
        room: &SessionRoom<'_>,
    ) -> Result<Created, StoreError> {
        let mut args = vec![millis(ttl).into()];
        args.extend(record::encode(record).map_err(|error| StoreError::Corrupt(error.to_string()))?);
        args.extend([keys::PEER.into(), room.peer.into()]);
        let keys = self.whole(id);
        let keys = keys.each();
        // At the same time, so that a session takes no longer to open: one for which there was no room is
        // ended again.
        let (made, entered) = tokio::join!(
            self.script::<u64>(&self.scripts.create, &keys, args),
            self.enter_session(id, ttl, record.initialized, room),
        );
        match (made, entered) {
            (Ok(1), Ok(None)) => Ok(Created::Created),
            (Ok(1), Ok(Some(full))) => {
                drop(self.end(id, None).await?);
                Ok(Created::Full(full))
            }
            // In a cluster the sets may be on a server that is away, and the session on one that is not.
            (Ok(1), Err(error)) if is_away(&error) => {
                let words = "could not count a new session; its next use counts it";
                seldom(
                    words,
                    |left_out| warn!(error = %causes(&error), left_out, "{words}"),
                );
                Ok(Created::Created)
            }
            (Ok(1), Err(error)) => {
                // Nobody learns its id.
                drop(self.end(id, None).await?);
                Err(error)
            }
            (Ok(_), entered) => entered.map(|_| Created::Collision),
            (Err(error), entered) => {
                // What was not made must not be counted for the whole of its life.
                if let Ok(None) = entered {
                    self.leave_sessions(id, room.peer).await;
                }
                Err(error)
            }
        }
    }

    async fn load(&self, id: &SessionId, node: Option<&NodeId>) -> Result<Option<SessionRecord>, StoreError> {
        let key = self.keys.session(id);
        let fields = record::FIELDS.map(Value::from);
        let work = async {
            let answer = match node {
                Some(node) => {
                    let held = [keys::held(node).into(), self.life_of(node).into()];
                    let args = held.into_iter().chain(fields).collect();
                    self.scripts.load.run(&self.link, &[&key], args).await?
                }
                None => self.read_fields(&key, fields).await?,
            };
            answer.convert()
        };
        // Text that is no text, or a key of another type, cannot be read here already.
        match self.measured("load", work).await.and_then(record::decode) {
            // Nobody can use it, so it counts as ended.
            Err(StoreError::Corrupt(why)) => {
                if self.unreadable.is_first(&key) {
                    warn!(
                        session = id.tag(),
                        why, "a session's record cannot be read: it counts as ended"
                    );
                }
                Ok(None)
            }
            read => read,
        }
    }

    async fn touch(&self, id: &SessionId, now_ms: u64, ttl: Duration) -> Result<Touched, StoreError> {
        let args = vec![millis(ttl).into(), now_ms.to_string().into()];
        let keys = self.living_with(id);
        let touched: Vec<String> = self.script(&self.scripts.touch, &keys.each(), args).await?;
        let Some(peer) = touched.first() else {
            return Ok(Touched::Gone);
        };
        self.keep_session(id, peer, ttl).await;
        Ok(Touched::Touched)
    }

    async fn change(&self, id: &SessionId, change: &Change, ttl: Duration) -> Result<Changed, StoreError> {
        let most = SessionRecord::SUBSCRIPTIONS_MAX.to_string();
        let (what, pairs) = match change {
            Change::Initialized => ("set", vec!["initialized".into(), "1".into()]),
            Change::Introduced(introduction) => return self.introduce(id, introduction, ttl).await,
            Change::LogLevel(level) => ("set", vec!["logLevel".into(), level.as_str().into()]),
            Change::Subscribe(uri) => (
                "subscribe",
                vec![record::encode_subscription(uri)?.into(), most.into()],
            ),
            Change::Unsubscribe(uri) => {
                let told = [
                    keys::told(&Topic::Resource(uri.clone())),
                    keys::told_own(uri),
                    keys::own(uri),
                ];
                let pairs = [record::encode_subscription(uri)?.into(), most.into()];
                (
                    "unsubscribe",
                    pairs.into_iter().chain(told.map(Value::from)).collect(),
                )
            }
        };
        let life = if ttl.is_zero() { "0".into() } else { millis(ttl) };
        let (channel, message) = (self.keys.node_start(), NodeMessage::session_streams(id).encode());
        let mut args: Vec<Value> = vec![life.into(), channel.into(), message.into(), what.into()];
        args.extend(pairs);
        let keys = self.living_with(id);
        let answer: Vec<String> = self.script(&self.scripts.change, &keys.each(), args).await?;
        match answer.as_slice() {
            [word, peer, held @ ..] if word == "changed" => {
                if *change == Change::Initialized && !peer.is_empty() {
                    tokio::join!(self.keep_session(id, peer, ttl), self.leave_newcomers(id, peer));
                }
                Ok(Changed::Changed(nodes_with_copies(held)))
            }
            [word] if word == "full" => Ok(Changed::Full),
            [word] if word == "gone" => Ok(Changed::Gone),
            _ => Err(unexpected("change", &answer)),
        }
    }

    async fn end(&self, id: &SessionId, owner: Option<&Principal>) -> Result<Ended, StoreError> {
        let keys = self.whole(id);
        let message = NodeMessage::session_streams(id).encode();
        let mut args = vec![self.keys.node_start().into(), message.into()];
        args.extend(owner.map(|owner| owner.as_str().into()));
        let answer: Vec<Value> = self.script(&self.scripts.end, &keys.each(), args).await?;
        // It has ended, also when some of what it held is no text.
        let answer: Vec<String> = answer
            .iter()
            .map(|value| value.as_string().unwrap_or_default())
            .collect();
        match answer.as_slice() {
            [word, peer, held @ ..] if word == "ended" => {
                if !peer.is_empty() {
                    self.leave_sessions(id, peer).await;
                }
                Ok(Ended::Ended(nodes_with_copies(held)))
            }
            [word] if word == "gone" => Ok(Ended::Gone),
            _ => Err(unexpected("end", &answer)),
        }
    }

    async fn of_peer(&self, peer: &str) -> Result<Vec<(SessionId, Vec<NodeId>)>, StoreError> {
        self.sessions_of(peer).await
    }

    async fn release(&self, id: &SessionId, node: &NodeId) -> Result<(), StoreError> {
        let (key, held, life) = (self.keys.session(id), keys::held(node), self.life_of(node));
        if life.is_empty() {
            // Another node's, which is dead: any life of it counts. Taking a field away cannot bring a hash
            // back.
            let args = vec![key.as_str().into(), held.into()];
            let take = self.link.send("HDEL", on_slot_of(&key), args);
            return self.measured("release", take).await.map(drop);
        }
        let args = vec![held.into(), life.into()];
        self.script::<u64>(&self.scripts.release, &[&key], args)
            .await
            .map(drop)
    }

    async fn sight(
        &self,
        id: &SessionId,
        kind: &'static str,
        what: &[&str],
        within: Duration,
    ) -> Result<Vec<String>, StoreError> {
        let most = Limits::SIGHTINGS_MAX.to_string();
        let args = [kind, &millis(within), &most];
        let args = args.iter().chain(what).map(|arg| Value::from(*arg)).collect();
        self.script(&self.scripts.sight, &[&self.keys.session(id)], args)
            .await
    }

    async fn list(&self, limit: usize) -> Result<Vec<(SessionId, SessionRecord)>, StoreError> {
        let limit = limit.min(Limits::SESSION_LIST_MAX);
        self.measured("list", async {
            let ids = self.scan(limit).await?;
            let loads = ids.into_iter().map(|id| async {
                let key = self.keys.session(&id);
                let values = self.read_fields(&key, record::FIELDS.map(Value::from)).await?;
                // One that has just gone, or cannot be read, does not spoil the list.
                let read = values
                    .convert()
                    .map(|values| record::decode(values).ok().flatten());
                Ok::<_, FredError>(read.ok().flatten().map(|record| (id, record)))
            });
            let loaded: Result<Vec<_>, _> = join_all(loads).await.into_iter().collect();
            Ok(loaded?.into_iter().flatten().collect())
        })
        .await
    }
}

/// Whether the store did not answer, or is only not ready.
const fn is_away(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Unreachable(_)
            | StoreError::Refused {
                why: WhyRefused::NotReady,
                ..
            }
    )
}

/// Keys in one slot.
pub(super) struct KeySet<const N: usize>(pub(super) [String; N]);

impl<const N: usize> KeySet<N> {
    pub(super) fn each(&self) -> [&str; N] {
        self.0.each_ref().map(String::as_str)
    }
}

/// What the scripts that change a record answer.
fn changed(answer: &[String]) -> Result<Changed, StoreError> {
    match answer.split_first() {
        Some((word, held)) if word == "changed" => Ok(Changed::Changed(nodes_with_copies(held))),
        Some((word, _)) if word == "full" => Ok(Changed::Full),
        Some((word, _)) if word == "gone" => Ok(Changed::Gone),
        _ => Err(unexpected("change", answer)),
    }
}

impl RedisStore {
    /// Writes who the client is. What there is of a former one is over.
    async fn introduce(
        &self,
        id: &SessionId,
        introduction: &Introduction,
        ttl: Duration,
    ) -> Result<Changed, StoreError> {
        let corrupt = |error: serde_json::Error| StoreError::Corrupt(error.to_string());
        let missing = serde_json::to_string(&Introduction::missing().client_info).map_err(corrupt)?;
        let life = if ttl.is_zero() { "0".into() } else { millis(ttl) };
        let mut args: Vec<Value> = vec![
            life.into(),
            missing.into(),
            self.keys.node_start().into(),
            NodeMessage::session_calls(id).encode().into(),
        ];
        args.extend(record::encode_introduction(introduction).map_err(corrupt)?);
        let keys = self.log_keys(id, &StreamId::sse());
        let answer: Vec<String> = self
            .script(&self.scripts.change_introduced, &keys.each(), args)
            .await?;
        changed(&answer)
    }

    /// The session, its calls, and what the keys of its logs start with.
    fn whole(&self, id: &SessionId) -> KeySet<3> {
        let keys = &self.keys;
        KeySet([keys.session(id), keys.calls(id), keys.events_start(id)])
    }

    /// The session, its calls, and the logs of its standing streams, which live as long while they are
    /// carried.
    fn living_with(&self, id: &SessionId) -> KeySet<4> {
        let (keys, log) = (&self.keys, |stream| self.keys.events(id, stream));
        let standing = (log(StreamId::STANDALONE), log(StreamId::SSE));
        KeySet([keys.session(id), keys.calls(id), standing.0, standing.1])
    }

    async fn read_fields(
        &self,
        key: &str,
        fields: [Value; record::FIELDS.len()],
    ) -> Result<Value, FredError> {
        let args = [Value::from(key)].into_iter().chain(fields).collect();
        self.link.send("HMGET", on_slot_of(key), args).await
    }

    /// Ids of sessions, `limit` at most, from every node that has some.
    async fn scan(&self, limit: usize) -> Result<HashSet<SessionId>, FredError> {
        let mut ids = HashSet::new();
        for master in self.link.masters() {
            let mut cursor = "0".to_owned();
            while ids.len() < limit {
                let (next, found) = self.scan_page(master.clone(), cursor).await?;
                let found = found.iter().filter_map(|key| self.keys.session_id(key));
                ids.extend(found.take(limit.saturating_sub(ids.len())));
                cursor = next;
                if cursor == "0" {
                    break;
                }
            }
        }
        Ok(ids)
    }

    async fn scan_page(
        &self,
        master: Option<Server>,
        cursor: String,
    ) -> Result<(String, Vec<String>), FredError> {
        let glob = self.keys.session_glob();
        let args: Vec<Value> = [&cursor, "MATCH", &glob, "COUNT", SCAN_COUNT, "TYPE", "hash"]
            .map(Value::from)
            .into();
        let answer = self.link.send_to(master, "SCAN", on_slot_of(""), args).await?;
        match <[Value; 2]>::try_from(answer.into_array()) {
            Ok([next, keys]) => Ok((next.convert()?, keys.convert()?)),
            Err(_) => Err(FredError::new(ErrorKind::Parse, "SCAN: unexpected answer")),
        }
    }
}

fn nodes_with_copies(fields: &[String]) -> Vec<NodeId> {
    let nodes = fields.iter().filter_map(|field| field.strip_prefix(keys::HELD));
    nodes.filter_map(NodeId::parse).collect()
}

pub(super) fn unexpected(script: &str, answer: &[String]) -> StoreError {
    StoreError::Corrupt(format!("the script `{script}` answered {:?}", answer.first()))
}
