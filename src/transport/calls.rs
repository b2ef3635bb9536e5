//! The calls that this node is running: what a cancellation or a client's answer must find.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::quality::RandomState;
use rmcp::model::RequestId;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::session::SessionId;
use crate::store::streams::StreamId;

/// How many locks the table is spread over.
const SHARDS: usize = 64;
/// How many answers may wait for a call that has not taken them yet: one for each of its open requests.
pub const ANSWERS_WAITING_MAX: usize = 32;

/// How often it is looked whether calls are left, while a node waits for their ends.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A client's answer to a request that a call sent it.
#[derive(Debug)]
pub struct Answer {
    /// Which of the call's requests it answers.
    pub number: u64,
    /// The result's JSON text, or the error's.
    pub outcome: Outcome,
}

/// A result's JSON text, or an error's.
pub type Outcome = Result<Box<RawValue>, Box<RawValue>>;

#[derive(Debug)]
struct Entry {
    cancel: CancellationToken,
    name: Arc<str>,
}

/// A call's place in the table: its session, and the id that the client gave it.
type Key = (SessionId, RequestId);
/// Who may answer a call's requests, where the answers go, and what stops it.
#[derive(Debug)]
struct Asker {
    session: SessionId,
    /// None of a call that asks nothing.
    answers: Option<mpsc::Sender<Answer>>,
    cancel: CancellationToken,
}
// Not SipHash, though clients choose the ids of their requests: made to collide, they are at most `call.node_max`.
type Shard<K, V> = HashMap<K, V, RandomState>;
type Shards<K, V> = Vec<Mutex<Shard<K, V>>>;

/// All calls of sessions that this node is running.
pub struct Calls {
    by_request: Shards<Key, Entry>,
    by_name: Shards<Arc<str>, Asker>,
    in_flight: Shards<SessionId, usize>,
    /// Those that are registered in the store, or may be.
    kept: Mutex<HashSet<StreamId>>,
    hasher: RandomState,
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calls")
    }
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            by_request: shards(),
            by_name: shards(),
            in_flight: shards(),
            kept: Mutex::default(),
            hasher: RandomState::default(),
        }
    }
}

/// Takes a call off the table when dropped.
#[derive(Debug)]
pub struct Registered {
    calls: Arc<Calls>,
    key: Key,
    name: Arc<str>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.calls
            .shard(&self.calls.by_name, &self.name)
            .remove(&self.name);
        let mut shard = self.calls.shard(&self.calls.by_request, &self.key);
        // A client may have used the id again: only this call's own entry is removed.
        if shard
            .get(&self.key)
            .is_some_and(|entry| Arc::ptr_eq(&entry.name, &self.name))
        {
            shard.remove(&self.key);
        }
    }
}

/// A call that this node looks after, until this is dropped.
#[derive(Debug)]
pub struct Kept {
    calls: Arc<Calls>,
    call: StreamId,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.calls.kept().remove(&self.call);
    }
}

/// One call of a session in flight; counted out when dropped.
#[derive(Debug)]
pub struct InFlight {
    calls: Arc<Calls>,
    session: SessionId,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut shard = self.calls.shard(&self.calls.in_flight, &self.session);
        if let Some(count) = shard.get_mut(&self.session) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&self.session);
            }
        }
    }
}

impl Calls {
    /// Counts a call of a session in, unless `max` are in flight on this node.
    ///
    /// It is counted by the session's id: the session may be dropped from memory and restored while its calls run.
    #[must_use]
    pub fn begin(self: &Arc<Self>, session: &SessionId, max: usize) -> Option<InFlight> {
        let mut shard = self.shard(&self.in_flight, session);
        let running = shard.get(session).copied().unwrap_or(0);
        if running >= max {
            return None;
        }
        shard.insert(session.clone(), running + 1);
        drop(shard);
        Some(InFlight {
            calls: Arc::clone(self),
            session: session.clone(),
        })
    }

    /// Puts a call on the table, by the session and the id that the client gave it. `name` is what the ids of its own
    /// requests begin with, `answers` where what answers them goes, if it has any.
    #[must_use]
    pub fn register(
        self: &Arc<Self>,
        session: SessionId,
        request: RequestId,
        name: Arc<str>,
        cancel: CancellationToken,
        answers: Option<mpsc::Sender<Answer>>,
    ) -> Registered {
        let asker = Asker {
            session: session.clone(),
            answers,
            cancel: cancel.clone(),
        };
        self.shard(&self.by_name, &name).insert(Arc::clone(&name), asker);
        let key = (session, request);
        let entry = Entry {
            cancel,
            name: Arc::clone(&name),
        };
        self.shard(&self.by_request, &key).insert(key.clone(), entry);
        Registered {
            calls: Arc::clone(self),
            key,
            name,
        }
    }

    /// Cancels a call. False when this node does not run it.
    pub fn cancel(&self, session: &SessionId, request: &RequestId) -> bool {
        let key = (session.clone(), request.clone());
        let shard = self.shard(&self.by_request, &key);
        let entry = shard.get(&key);
        if let Some(entry) = entry {
            entry.cancel.cancel();
        }
        entry.is_some()
    }

    /// Stops the call of that name, if this node runs it.
    pub fn stop(&self, session: &SessionId, call: &StreamId) {
        let shard = self.shard(&self.by_name, call.as_str());
        if let Some(asker) = shard.get(call.as_str()).filter(|asker| asker.session == *session) {
            asker.cancel.cancel();
        }
    }

    /// Notes that this node looks after a call that is registered in the store, or may be.
    #[must_use]
    pub fn keep(self: &Arc<Self>, call: &StreamId) -> Kept {
        self.kept().insert(call.clone());
        Kept {
            calls: Arc::clone(self),
            call: call.clone(),
        }
    }

    /// Whether this node looks after the call.
    #[must_use]
    pub fn keeps(&self, call: &StreamId) -> bool {
        self.kept().contains(call)
    }

    /// Waits until this node looks after no call.
    pub async fn keeps_none(&self) {
        while !self.kept().is_empty() {
            sleep(LOOK_EVERY).await;
        }
    }

    fn kept(&self) -> MutexGuard<'_, HashSet<StreamId>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a client's answer to the call of this session that asked. False when this node does not run it.
    pub fn answer(&self, session: &SessionId, id: &RequestId, outcome: Outcome) -> bool {
        let RequestId::String(id) = id else { return false };
        let Some((name, number)) = id.rsplit_once('-') else {
            return false;
        };
        let Ok(number) = number.parse() else { return false };
        let sender = match self.shard(&self.by_name, name).get(name) {
            Some(asker) if asker.session == *session => asker.answers.clone(),
            _ => None,
        };
        let Some(sender) = sender else { return false };
        if sender.try_send(Answer { number, outcome }).is_err() {
            tracing::debug!(
                session = session.tag(),
                "a client's answer came when no more could be taken"
            );
        }
        true
    }

    fn shard<'a, K, V, Q: Hash + ?Sized>(
        &self,
        shards: &'a Shards<K, V>,
        key: &Q,
    ) -> MutexGuard<'a, Shard<K, V>> {
        let hash = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        #[expect(
            clippy::indexing_slicing,
            reason = "the hash is taken modulo the number of shards"
        )]
        shards[hash].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shards<K, V>() -> Shards<K, V> {
    (0..SHARDS).map(|_| Mutex::default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sessions_calls_are_counted_whichever_copy_of_it_they_run_with() {
        let calls = Arc::new(Calls::default());
        let (id, other) = (SessionId::generate(), SessionId::generate());
        let copy = SessionId::parse(id.as_str()).unwrap();
        let (first, second) = (calls.begin(&id, 2).unwrap(), calls.begin(&copy, 2).unwrap());
        assert!(calls.begin(&id, 2).is_none() && calls.begin(&copy, 2).is_none());
        assert!(
            calls.begin(&other, 2).is_some(),
            "sessions do not share the count"
        );
        drop(first);
        let third = calls.begin(&copy, 2).unwrap();
        assert!(calls.begin(&id, 2).is_none());
        drop((second, third));
        assert!(
            calls
                .in_flight
                .iter()
                .all(|shard| shard.lock().unwrap().is_empty()),
            "nothing is kept of sessions without calls"
        );
    }
}
