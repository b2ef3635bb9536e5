//! The calls that this node is running: what a cancellation or a client's answer must find.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rmcp::model::RequestId;
use smallvec::SmallVec;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::open_requests::{Answers, Handed, ResponseOutcome};
use crate::random::HashState;
use crate::session::{Peer, SessionId};
use crate::store::streams::StreamId;

/// How many locks the table is spread over.
const SHARDS: usize = 64;

/// How often a node looks whether calls are left, while it waits for them to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A call of a session that runs here, and since when.
#[derive(Debug)]
struct CallEntry {
    began: Instant,
    /// What stops it.
    cancel: CancellationToken,
    name: Arc<str>,
    /// The peer it counts for; `None` if it is no request of the client's.
    peer: Option<Peer>,
    /// Whether its client has cancelled it. Its handler is told of that once, however often it is said.
    cancelled: bool,
}

impl CallEntry {
    /// Stops the call because its client said so. Returns its peer the first time, if it has one.
    fn cancel(&mut self) -> Option<Peer> {
        self.cancel.cancel();
        let first = !std::mem::replace(&mut self.cancelled, true);
        self.peer.clone().filter(|_| first)
    }
}

/// What a client's cancellation found on this node.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct CancelledHere {
    /// Whether any call was meant.
    pub any: bool,
    /// The peers of those calls whose handler has not been told yet.
    pub untold: SmallVec<[Peer; 1]>,
}

/// A call's place in the table: its session, and the id that the client gave it.
type CallKey = (SessionId, RequestId);
/// Who may answer a call's requests, where the answers go, and the id that the client gave it.
#[derive(Debug)]
struct Asker {
    session: SessionId,
    request: RequestId,
    /// None of a call that asks nothing.
    answers: Option<Answers>,
}
// Not SipHash, though clients choose the ids of their requests. Ids that are made to collide are at most
// `call.node_max`.
type CallShard<K, V> = HashMap<K, V, HashState>;
type CallShards<K, V> = Vec<Mutex<CallShard<K, V>>>;

/// All calls of sessions that this node is running.
pub(crate) struct RunningCalls {
    /// Several calls may have one id: clients share sessions among workers, and each counts from the start.
    by_request: CallShards<CallKey, SmallVec<[CallEntry; 1]>>,
    by_name: CallShards<Arc<str>, Asker>,
    in_flight: CallShards<SessionId, usize>,
    /// Those that are registered in the store, or may be.
    kept: Mutex<HashSet<StreamId>>,
    hasher: HashState,
}

impl fmt::Debug for RunningCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calls")
    }
}

impl Default for RunningCalls {
    fn default() -> Self {
        Self {
            by_request: shards(),
            by_name: shards(),
            in_flight: shards(),
            kept: Mutex::default(),
            hasher: HashState::default(),
        }
    }
}

/// Takes a call off the table when dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    calls: Arc<RunningCalls>,
    key: CallKey,
    name: Arc<str>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.calls
            .shard(&self.calls.by_name, &self.name)
            .remove(&self.name);
        let mut shard = self.calls.shard(&self.calls.by_request, &self.key);
        if let Some(entries) = shard.get_mut(&self.key) {
            entries.retain(|entry: &mut CallEntry| !Arc::ptr_eq(&entry.name, &self.name));
            if entries.is_empty() {
                shard.remove(&self.key);
            }
        }
    }
}

/// A call that this node looks after, until this is dropped.
#[derive(Debug)]
pub(crate) struct CallGuard {
    calls: Arc<RunningCalls>,
    call: StreamId,
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.calls.kept().remove(&self.call);
    }
}

/// One call of a session in flight; counted out when dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    calls: Arc<RunningCalls>,
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

impl RunningCalls {
    /// Counts a call of a session in, unless `max` are in flight on this node.
    ///
    /// It is counted by the session's id: the session may be dropped from memory and restored while its calls
    /// run.
    #[must_use]
    pub(crate) fn begin(self: &Arc<Self>, session: &SessionId, max: usize) -> Option<InFlight> {
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

    /// Puts a call on the table, by the session and the id that the client gave it. The ids of its own
    /// requests begin with `name`. The client's answers go to `answers`, if it asks any. It counts for `peer`,
    /// unless it is no request of the client's.
    #[must_use]
    pub(crate) fn register(
        self: &Arc<Self>,
        (session, request): CallKey,
        name: Arc<str>,
        began: Instant,
        cancel: CancellationToken,
        answers: Option<Answers>,
        peer: Option<Peer>,
    ) -> Registered {
        let asker = Asker {
            session: session.clone(),
            request: request.clone(),
            answers,
        };
        self.shard(&self.by_name, &name).insert(Arc::clone(&name), asker);
        let key = (session, request);
        let entry = CallEntry {
            began,
            cancel,
            name: Arc::clone(&name),
            peer,
            cancelled: false,
        };
        self.shard(&self.by_request, &key)
            .entry(key.clone())
            .or_default()
            .push(entry);
        Registered {
            calls: Arc::clone(self),
            key,
            name,
        }
    }

    /// Whether calls of a session run here under that id.
    #[must_use]
    pub(crate) fn has(&self, session: &SessionId, request: &RequestId) -> bool {
        let key = (session.clone(), request.clone());
        self.shard(&self.by_request, &key).contains_key(&key)
    }

    /// Cancels, because the client said so, all calls of that id that are `meant` by when they began.
    pub(crate) fn cancel(
        &self,
        session: &SessionId,
        request: &RequestId,
        meant: impl Fn(Instant) -> bool,
    ) -> CancelledHere {
        let mut here = CancelledHere::default();
        let key = (session.clone(), request.clone());
        let mut shard = self.shard(&self.by_request, &key);
        let entries = shard.get_mut(&key).into_iter().flatten();
        for entry in entries.filter(|entry| meant(entry.began)) {
            here.any = true;
            here.untold.extend(entry.cancel());
        }
        here
    }

    /// The same of the call of that name, if this node runs it. Returns the id that the client gave it, and
    /// its peer, if its handler has not been told yet.
    #[must_use]
    pub(crate) fn cancel_named(&self, session: &SessionId, call: &StreamId) -> Option<(RequestId, Peer)> {
        self.with_entry(session, call, |request, entry| Some((request, entry.cancel()?)))?
    }

    /// Stops the call of that name, if this node runs it.
    pub(crate) fn stop(&self, session: &SessionId, call: &StreamId) {
        self.with_entry(session, call, |_request, entry| entry.cancel.cancel());
    }

    fn with_entry<T>(
        &self,
        session: &SessionId,
        call: &StreamId,
        act: impl FnOnce(RequestId, &mut CallEntry) -> T,
    ) -> Option<T> {
        let request = {
            let shard = self.shard(&self.by_name, call.as_str());
            let asker = shard
                .get(call.as_str())
                .filter(|asker| asker.session == *session)?;
            asker.request.clone()
        };
        let key = (session.clone(), request);
        let mut shard = self.shard(&self.by_request, &key);
        let mut entries = shard.get_mut(&key)?.iter_mut();
        let entry = entries.find(|entry| *entry.name == *call.as_str())?;
        Some(act(key.1, entry))
    }

    /// The names of the calls of a session that this node runs.
    #[must_use]
    pub(crate) fn of_session(&self, session: &SessionId) -> Vec<StreamId> {
        let mut names = Vec::new();
        for shard in &self.by_name {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let own = shard.iter().filter(|(_, asker)| asker.session == *session);
            names.extend(own.filter_map(|(name, _)| StreamId::parse(name)));
        }
        names
    }

    /// Notes that this node looks after a call that is registered in the store, or may be.
    #[must_use]
    pub(crate) fn keep(self: &Arc<Self>, call: &StreamId) -> CallGuard {
        self.kept().insert(call.clone());
        CallGuard {
            calls: Arc::clone(self),
            call: call.clone(),
        }
    }

    /// Whether this node looks after the call.
    #[must_use]
    pub(crate) fn keeps(&self, call: &StreamId) -> bool {
        self.kept().contains(call)
    }

    /// Waits until this node looks after no call.
    pub(crate) async fn keeps_none(&self) {
        while !self.kept().is_empty() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        let of = |sizes: &mut dyn Iterator<Item = usize>| sizes.sum::<usize>();
        of(&mut self.by_request.iter().map(|shard| shard.lock().unwrap().len()))
            + of(&mut self.by_name.iter().map(|shard| shard.lock().unwrap().len()))
            + of(&mut self.in_flight.iter().map(|shard| shard.lock().unwrap().len()))
            + self.kept().len()
    }

    fn kept(&self) -> MutexGuard<'_, HashSet<StreamId>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a client's answer to the call of this session that asked, if that is one of this node, and this
    /// run of it.
    pub(crate) fn answer(&self, session: &SessionId, id: &RequestId, outcome: ResponseOutcome) -> Handed {
        let RequestId::String(id) = id else {
            return Handed::NotOpen;
        };
        let Some((name, Ok(number))) = id.rsplit_once('-').map(|(name, number)| (name, number.parse()))
        else {
            return Handed::NotOpen;
        };
        let Some(answers) = self.answers_of(session, name) else {
            return Handed::NotOpen;
        };
        answers.hand_over(number, outcome)
    }

    /// The numbers of the requests that the call of that name has open at its client.
    #[must_use]
    pub(crate) fn open_requests(&self, session: &SessionId, call: &StreamId) -> Vec<u64> {
        let answers = self.answers_of(session, call.as_str());
        answers.map_or_else(Vec::new, |answers| answers.open.numbers())
    }

    fn answers_of(&self, session: &SessionId, name: &str) -> Option<Answers> {
        let shard = self.shard(&self.by_name, name);
        let asker = shard.get(name).filter(|asker| asker.session == *session)?;
        asker.answers.clone()
    }

    fn shard<'a, K, V, Q: Hash + ?Sized>(
        &self,
        shards: &'a CallShards<K, V>,
        key: &Q,
    ) -> MutexGuard<'a, CallShard<K, V>> {
        let hash = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        #[expect(
            clippy::indexing_slicing,
            reason = "the hash is taken modulo the number of shards"
        )]
        shards[hash].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn shards<K, V>() -> CallShards<K, V> {
    (0..SHARDS).map(|_| Mutex::default()).collect()
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::engine::open_requests::{OpenRequests, RequestKind};

    /// F3: the run that another node's claim has made a former one takes no answer that is not its own.
    #[test]
    fn an_answer_goes_only_to_the_run_that_asked_for_it() {
        let (calls, session) = (Arc::new(RunningCalls::default()), SessionId::generate());
        let (sender, mut came) = mpsc::channel(1);
        let open = OpenRequests::default();
        let answers = Answers {
            sender,
            open: open.clone(),
        };
        let _registered = calls.register(
            (session.clone(), RequestId::Number(1)),
            "call".into(),
            Instant::now(),
            CancellationToken::new(),
            Some(answers),
            Some(Peer::Local),
        );
        let answer = |session: &SessionId, id: &str| {
            let yes = serde_json::value::to_raw_value("yes").unwrap();
            calls.answer(session, &RequestId::String(id.into()), Ok(yes))
        };
        let later = Instant::now() + Duration::from_secs(60);
        let ask = |number| open.insert(number, RequestKind::Ping, later);
        ask(0);
        ask(1);
        assert_eq!(answer(&session, "call-1700000000000"), Handed::NotOpen);
        assert_eq!(answer(&SessionId::generate(), "call-0"), Handed::NotOpen);
        assert_eq!(answer(&session, "call-0"), Handed::Over);
        assert_eq!(answer(&session, "call-0"), Handed::NotOpen, "it was answered");
        assert_eq!(answer(&session, "call-1"), Handed::Full, "it is not thrown away");
        assert_eq!(came.try_recv().unwrap().number, 0);
        assert_eq!(answer(&session, "call-1"), Handed::Over);
        ask(2);
        drop(came);
        assert_eq!(
            answer(&session, "call-2"),
            Handed::NotOpen,
            "nobody takes it here"
        );
    }

    /// Case `late_cancel`: clients use an id again while a call of that id runs.
    #[test]
    fn calls_of_one_id_are_all_cancelled_and_each_goes_alone() {
        let (calls, session) = (Arc::new(RunningCalls::default()), SessionId::generate());
        let one = RequestId::Number(1);
        let begin = |name: &str| {
            let (key, cancel) = ((session.clone(), one.clone()), CancellationToken::new());
            let now = Instant::now();
            let registered = calls.register(key, name.into(), now, cancel.clone(), None, Some(Peer::Local));
            (cancel, registered)
        };
        let cancel = |id: &RequestId, then: Instant| {
            let here = calls.cancel(&session, id, |began| began <= then);
            (here.any, here.untold.len())
        };
        let (elder, _elder) = begin("elder");
        let (younger, registered) = begin("younger");
        drop(registered);
        let (third, _third) = begin("third");
        let earlier = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(cancel(&one, earlier), (false, 0), "it was of another call");
        assert_eq!(calls.of_session(&session).len(), 2, "one has ended");
        assert!(calls.of_session(&SessionId::generate()).is_empty());
        assert_eq!(cancel(&one, Instant::now()), (true, 2));
        assert!(elder.is_cancelled() && third.is_cancelled() && !younger.is_cancelled());
        assert_eq!(cancel(&one, Instant::now()), (true, 0), "each is told once");
        assert_eq!(cancel(&RequestId::Number(2), Instant::now()), (false, 0));
        drop((_elder, _third));
        assert!(!calls.has(&session, &one), "nothing is kept");
        assert_eq!(cancel(&one, Instant::now()), (false, 0));
    }

    /// A node that loses a call to another stops it, which its client has not asked for.
    #[test]
    fn a_call_that_was_stopped_may_still_be_cancelled_by_its_client_once() {
        let (calls, session) = (Arc::new(RunningCalls::default()), SessionId::generate());
        let (call, id, cancel) = (
            StreamId::generate(),
            RequestId::Number(1),
            CancellationToken::new(),
        );
        let (name, key) = (call.as_str().into(), (session.clone(), id.clone()));
        let _kept = calls.register(key, name, Instant::now(), cancel.clone(), None, Some(Peer::Local));
        let other = SessionId::generate();
        calls.stop(&other, &call);
        assert!(calls.cancel_named(&other, &call).is_none() && !cancel.is_cancelled());
        calls.stop(&session, &call);
        assert!(cancel.is_cancelled());
        let untold = calls.cancel_named(&session, &call);
        assert_eq!(untold, Some((id.clone(), Peer::Local)));
        assert!(calls.cancel_named(&session, &call).is_none());
        assert!(calls.cancel(&session, &id, |_| true).untold.is_empty());
    }

    #[test]
    fn a_sessions_calls_are_counted_whichever_copy_of_it_they_run_with() {
        let calls = Arc::new(RunningCalls::default());
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
