//! The store as a simulated node has it: one store in memory for all, which delays, fails, loses answers and
//! messages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep};

use super::faults::{CommandKind, Faults};
use super::world::{NodeLife, World};
use crate::config::Rate;
use crate::session::secrets::{NewSecret, Secrets};
use crate::session::state::{Expected, StateRoom, StateScope, StateStore, Swapped};
use crate::session::{NodeId, Principal, SessionId, SessionRecord, StateError};
use crate::store::Limits;
use crate::store::calls::{Answered, Begun, CallEnded, CallRecord, Cancellation, Cancelled, Inbox};
use crate::store::changes::{KnownVersions, Noted, Subject, Told, Topic, TopicNews};
use crate::store::memory::MemoryStore;
use crate::store::nodes::{KnownNode, StoreProfile};
use crate::store::streams::{Appended, Attached, Holder, Over, Read, Step, StreamId};
use crate::store::{
    CallStore, Change, Changed, Created, Ended, Granted, Lease, NodeMessage, NodeStore, RateStore, Received,
    Recipients, Renewed, SessionRoom, SessionStore, StoreError, StoreReport, StreamStore, Touched,
};

/// How long after it was told that a lease has ended a node may claim calls: it may be held up meanwhile.
const JUDGED_WITHIN: Duration = Duration::from_secs(10);

/// The store as one node has it.
#[derive(Debug)]
pub(super) struct FaultyStore {
    memory: MemoryStore,
    faults: Arc<Faults>,
    world: World,
    life: NodeLife,
    /// When it last told this node of another that its lease had ended.
    seen_dead: Mutex<BTreeMap<NodeId, Instant>>,
}

impl FaultyStore {
    pub(super) fn new(memory: &MemoryStore, faults: &Arc<Faults>, world: &World, life: &NodeLife) -> Self {
        Self {
            memory: memory.clone(),
            faults: Arc::clone(faults),
            world: world.clone(),
            life: life.clone(),
            seen_dead: Mutex::default(),
        }
    }

    /// Which leases have ended, as this node is told now.
    async fn see_nodes(&self) -> Result<Vec<KnownNode>, StoreError> {
        let known = self.memory.nodes().await?;
        let mut seen = self.seen_dead.lock().unwrap_or_else(PoisonError::into_inner);
        for dead in known.iter().filter(|known| !known.lives) {
            seen.insert(dead.node.clone(), Instant::now());
        }
        Ok(known)
    }

    /// Claims a call. Its node must be a former life of this one, or one whose lease had ended when this node
    /// looked: between that and the claim it may have renewed it.
    async fn claim_checked(
        &self,
        session: &SessionId,
        call: &StreamId,
        from: &NodeId,
        to: &NodeId,
    ) -> Result<Option<CallRecord>, StoreError> {
        let former = self.memory.life_of_call(session, call);
        let claimed = self.memory.claim(session, call, from, to).await?;
        let now = self.memory.life_of_call(session, call);
        let Some(record) = claimed.as_ref().filter(|_| former != now) else {
            return Ok(claimed);
        };
        let seen = {
            let seen = self.seen_dead.lock().unwrap_or_else(PoisonError::into_inner);
            seen.get(from).is_some_and(|at| at.elapsed() <= JUDGED_WITHIN)
        };
        if from != to && !seen {
            let (life, call) = (&self.life, call.as_str());
            self.world.wrong(format!(
                "{life} claims call {call} from {from}, whose lease lasts"
            ));
        }
        if from != to && self.faults.judges_nobody() {
            let (life, call) = (&self.life, call.as_str());
            self.world.wrong(format!(
                "{life} claims call {call} from {from} though no node could renew its lease until just now"
            ));
        }
        let body = record.body.as_deref().unwrap_or("null");
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        if let Some(key) = body["request"]["params"]["arguments"]["key"].as_str() {
            self.world.claimed(key, &self.life);
        }
        Ok(claimed)
    }
}

/// Names what has changed as the world does.
fn named(subject: Subject<'_>) -> String {
    match subject {
        Subject::Topic(Topic::Resource(uri)) => uri.clone(),
        Subject::Topic(list) => format!("{list:?}"),
        Subject::Own(session, uri) => format!("{}|{uri}", session.as_str()),
    }
}

/// Asks the common store, with what may come before and after.
macro_rules! ask {
    ($self:ident, $kind:ident, $call:expr) => {{
        $self.faults.before(CommandKind::$kind).await?;
        let answer = $call.await;
        tracing::trace!(life = %$self.life, command = stringify!($call), ?answer);
        $self.faults.after(CommandKind::$kind).await?;
        answer
    }};
}

#[async_trait]
impl SessionStore for FaultyStore {
    async fn create(
        &self,
        id: &SessionId,
        record: &SessionRecord,
        ttl: Duration,
        room: &SessionRoom<'_>,
    ) -> Result<Created, StoreError> {
        ask!(self, Write, self.memory.create(id, record, ttl, room))
    }

    async fn load(&self, id: &SessionId, node: Option<&NodeId>) -> Result<Option<SessionRecord>, StoreError> {
        match node {
            Some(_) => ask!(self, Write, self.memory.load(id, node)),
            None => ask!(self, Read, self.memory.load(id, node)),
        }
    }

    async fn touch(&self, id: &SessionId, now_ms: u64, ttl: Duration) -> Result<Touched, StoreError> {
        ask!(self, Write, self.memory.touch(id, now_ms, ttl))
    }

    async fn change(&self, id: &SessionId, change: &Change, ttl: Duration) -> Result<Changed, StoreError> {
        ask!(self, Write, self.memory.change(id, change, ttl))
    }

    async fn end(&self, id: &SessionId, owner: Option<&Principal>) -> Result<Ended, StoreError> {
        ask!(self, Write, self.memory.end(id, owner))
    }

    async fn of_peer(&self, peer: &str) -> Result<Vec<(SessionId, Vec<NodeId>)>, StoreError> {
        ask!(self, Read, self.memory.of_peer(peer))
    }

    async fn release(&self, id: &SessionId, node: &NodeId) -> Result<(), StoreError> {
        ask!(self, Write, self.memory.release(id, node))
    }

    async fn sight(
        &self,
        id: &SessionId,
        kind: &'static str,
        what: &[&str],
        within: Duration,
    ) -> Result<Vec<String>, StoreError> {
        ask!(self, Write, self.memory.sight(id, kind, what, within))
    }

    async fn list(&self, limit: usize) -> Result<Vec<(SessionId, SessionRecord)>, StoreError> {
        ask!(self, Read, self.memory.list(limit))
    }
}

#[async_trait]
impl StreamStore for FaultyStore {
    async fn append(
        &self,
        session: &SessionId,
        stream: &StreamId,
        data: &str,
        by: &NodeId,
        step: Option<Step<'_>>,
        ttl: Duration,
    ) -> Result<Appended, StoreError> {
        ask!(
            self,
            Write,
            self.memory.append(session, stream, data, by, step, ttl)
        )
    }

    async fn attach(
        &self,
        session: &SessionId,
        stream: &StreamId,
        holder: &Holder,
        over: Over<'_>,
        ttl: Duration,
    ) -> Result<Attached, StoreError> {
        ask!(
            self,
            Write,
            self.memory.attach(session, stream, holder, over, ttl)
        )
    }

    async fn detach(
        &self,
        session: &SessionId,
        stream: &StreamId,
        holder: &Holder,
        ttl: Duration,
    ) -> Result<(), StoreError> {
        ask!(self, Write, self.memory.detach(session, stream, holder, ttl))
    }

    async fn read(&self, session: &SessionId, stream: &StreamId, after: u64) -> Result<Read, StoreError> {
        ask!(self, Read, self.memory.read(session, stream, after))
    }

    async fn delivered(&self, session: &SessionId, stream: &StreamId, number: u64) -> Result<(), StoreError> {
        ask!(self, Write, self.memory.delivered(session, stream, number))
    }

    async fn note_change(&self, subject: Subject<'_>, ttl: Duration) -> Result<Noted, StoreError> {
        let uri = named(subject);
        if let Err(error) = self.faults.before(CommandKind::Version).await {
            self.world.versioned(&uri, &self.life, false);
            return Err(error);
        }
        let noted = self.memory.note_change(subject, ttl).await;
        self.world.versioned(&uri, &self.life, noted.is_ok());
        self.faults.after(CommandKind::Version).await?;
        noted
    }

    async fn versions(&self, topics: &[Topic]) -> Result<Vec<u64>, StoreError> {
        ask!(self, Read, self.memory.versions(topics))
    }

    async fn told(
        &self,
        session: &SessionId,
        topics: &[Topic],
        own: &[String],
    ) -> Result<KnownVersions, StoreError> {
        ask!(self, Read, self.memory.told(session, topics, own))
    }

    async fn tell(
        &self,
        session: &SessionId,
        stream: &StreamId,
        news: &[TopicNews<'_>],
        by: &NodeId,
        ttl: Duration,
    ) -> Result<Told, StoreError> {
        ask!(self, Write, self.memory.tell(session, stream, news, by, ttl))
    }
}

#[async_trait]
impl CallStore for FaultyStore {
    async fn call_begin(
        &self,
        session: &SessionId,
        call: &CallRecord,
        age: Duration,
        holder: Option<&Holder>,
        ttl: Duration,
    ) -> Result<Begun, StoreError> {
        ask!(
            self,
            Write,
            self.memory.call_begin(session, call, age, holder, ttl)
        )
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
        ask!(
            self,
            Write,
            self.memory.call_end(session, call, stream, data, by, ttl)
        )
    }

    async fn answer(
        &self,
        session: &SessionId,
        call: &StreamId,
        number: u64,
        response: &str,
    ) -> Result<Answered, StoreError> {
        ask!(self, Write, self.memory.answer(session, call, number, response))
    }

    async fn inbox(
        &self,
        session: &SessionId,
        call: &StreamId,
        by: &NodeId,
        taken: &[u64],
        ttl: Duration,
    ) -> Result<Inbox, StoreError> {
        ask!(self, Write, self.memory.inbox(session, call, by, taken, ttl))
    }

    async fn cancel(
        &self,
        session: &SessionId,
        request: &str,
        reason: Option<&str>,
        ago: Duration,
        ttl: Duration,
    ) -> Result<Cancelled, StoreError> {
        ask!(
            self,
            Write,
            self.memory.cancel(session, request, reason, ago, ttl)
        )
    }

    async fn cancelled(
        &self,
        session: &SessionId,
        request: &str,
    ) -> Result<Option<Cancellation>, StoreError> {
        ask!(self, Read, self.memory.cancelled(session, request))
    }

    async fn calls_of(&self, node: &NodeId) -> Result<Vec<(SessionId, StreamId)>, StoreError> {
        ask!(self, Read, self.memory.calls_of(node))
    }

    async fn claim(
        &self,
        session: &SessionId,
        call: &StreamId,
        from: &NodeId,
        to: &NodeId,
    ) -> Result<Option<CallRecord>, StoreError> {
        ask!(self, Write, self.claim_checked(session, call, from, to))
    }

    async fn forget(&self, node: &NodeId) -> Result<(), StoreError> {
        ask!(self, Write, self.memory.forget(node))
    }
}

#[async_trait]
impl NodeStore for FaultyStore {
    async fn lease_renew(&self, lease: &Lease, ttl: Duration) -> Result<Renewed, StoreError> {
        ask!(self, Renewal, self.memory.lease_renew(lease, ttl))
    }

    async fn lease_end(&self, node: &NodeId) -> Result<(), StoreError> {
        ask!(self, Write, self.memory.lease_end(node))
    }

    async fn nodes(&self) -> Result<Vec<KnownNode>, StoreError> {
        ask!(self, Read, self.see_nodes())
    }

    async fn send(&self, to: Recipients<'_>, message: &NodeMessage) -> Result<(), StoreError> {
        ask!(self, Message, self.memory.send(to, message))
    }

    /// Forwards what is heard: late, twice, in another order or never.
    async fn listen(&self, node: &NodeId) -> Result<broadcast::Receiver<Received>, StoreError> {
        let mut heard = ask!(self, Read, self.memory.listen(node))?;
        let (forward, listener) = broadcast::channel(Limits::MESSAGES_WAITING_MAX);
        self.faults.add_listener(forward.clone());
        let faults = Arc::clone(&self.faults);
        let forwarding = async move {
            while let Ok(message) = heard.recv().await {
                if faults.is_dead() {
                    return;
                }
                if faults.is_away() {
                    continue;
                }
                let copies = match faults.is_calm() {
                    true => 1,
                    false if faults.loses && faults.random.chance(20) => 0,
                    false => 1 + u64::from(faults.random.chance(20)),
                };
                for _ in 0..copies {
                    let most = if !faults.is_calm() && faults.random.chance(50) {
                        80
                    } else {
                        2
                    };
                    let wait = faults.random.between(0, most);
                    let (forward, message) = (forward.clone(), message.clone());
                    spawn(async move {
                        sleep(wait).await;
                        drop(forward.send(message));
                    });
                }
            }
        };
        spawn(forwarding);
        Ok(listener)
    }

    fn profile(&self) -> StoreProfile {
        StoreProfile {
            kind: "simulated",
            is_shared: true,
        }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        ask!(self, Read, self.memory.ping())
    }

    async fn report(&self) -> Result<StoreReport, StoreError> {
        ask!(self, Read, self.memory.report())
    }

    async fn close(&self) {}
}

#[async_trait]
impl StateStore for FaultyStore {
    async fn state_get(&self, scope: &StateScope, key: &str) -> Result<Option<String>, StateError> {
        ask!(self, Read, self.memory.state_get(scope, key))
    }

    async fn state_entries(&self, scope: &StateScope) -> Result<Vec<(String, String)>, StateError> {
        ask!(self, Read, self.memory.state_entries(scope))
    }

    async fn state_swap(
        &self,
        scope: &StateScope,
        key: &str,
        expected: Expected<'_>,
        value: Option<&str>,
    ) -> Result<Swapped, StateError> {
        ask!(self, Write, self.memory.state_swap(scope, key, expected, value))
    }

    async fn state_open(
        &self,
        scope: &StateScope,
        owner: &Principal,
        ttl: Duration,
        room: StateRoom<'_>,
    ) -> Result<(), StateError> {
        ask!(self, Write, self.memory.state_open(scope, owner, ttl, room))
    }

    async fn state_owner(
        &self,
        scope: &StateScope,
        asker: &Principal,
        ttl: Duration,
    ) -> Result<Option<Principal>, StateError> {
        ask!(self, Read, self.memory.state_owner(scope, asker, ttl))
    }

    async fn secrets(
        &self,
        fresh: &NewSecret,
        rotate_after: Duration,
        ttl: Duration,
    ) -> Result<Secrets, StateError> {
        ask!(self, Write, self.memory.secrets(fresh, rotate_after, ttl))
    }
}

#[async_trait]
impl RateStore for FaultyStore {
    async fn take(&self, bucket: &str, rate: Rate, least: u32, wanted: u32) -> Result<Granted, StoreError> {
        ask!(self, Write, self.memory.take(bucket, rate, least, wanted))
    }
}

/// Runs what belongs to no node.
#[expect(
    clippy::disallowed_methods,
    reason = "nodes do not own what happens around them"
)]
pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(work));
}
