//! Tells the sessions and listeners of this node what has changed. One task does, so that a burst of changes
//! is one look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};
use tracing::debug;

use super::listeners::Flushed;
use super::{Tell, topics_of};
use crate::causes::causes;
use crate::cluster::{CachedSession, SessionError};
use crate::engine::Engine;
use crate::session::SessionId;
use crate::session::announce::Topic;
use crate::store::StoreError;
use crate::store::streams::StreamId;

/// How often all versions are compared without a message: a lost message delays, and never loses.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How many changed topics wait to be told. Beyond them, all versions are compared.
const TOPICS_WAITING_MAX: usize = 1024; // 1024 x 128 B = 128 KiB
/// How many sessions wait to be told. Beyond them, all are.
const SESSIONS_WAITING_MAX: usize = 1024; // 1024 x 64 B = 64 KiB
/// How soon it is tried again to tell a listener whose queue was full.
const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// How soon versions are read again that could not be.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How many versions are read at once.
const VERSIONS_READ_MAX: usize = 512;
/// How many sessions are told at once.
const TELLING_MAX: usize = 32;

/// Of each topic that somebody here wants to know of, the version that all have been told of.
type ToldVersions = BTreeMap<Topic, u64>;

/// What waits to be told on this node.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    waiting: Mutex<WaitingChanges>,
    notify: Notify,
    known: Mutex<ToldVersions>,
}

#[derive(Debug, Default)]
struct WaitingChanges {
    /// These have changed.
    changed: BTreeSet<Topic>,
    /// Somebody wants to know of these from now on.
    wanted: BTreeSet<Topic>,
    /// Any may have changed.
    any: bool,
    /// These sessions could not be told of what has changed for them.
    sessions: BTreeSet<SessionId>,
    /// Any session may have missed something.
    any_session: bool,
}

impl Notifier {
    /// A topic has changed.
    pub(crate) fn changed(&self, topic: Topic) {
        self.note(|waiting| {
            waiting.changed.insert(topic);
        });
    }

    /// Somebody on this node wants to know of these from now on.
    pub(crate) fn wanted(&self, topics: impl IntoIterator<Item = Topic>) {
        self.note(|waiting| waiting.wanted.extend(topics));
    }

    /// Messages may have been missed.
    pub(crate) fn catch_up(&self) {
        self.note(|waiting| waiting.any = true);
    }

    /// A session could not be told of what has changed for it.
    pub(crate) fn tell_later(&self, session: &SessionId) {
        self.note(|waiting| {
            waiting.sessions.insert(session.clone());
        });
    }

    fn note(&self, change: impl FnOnce(&mut WaitingChanges)) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut waiting);
        if waiting.changed.len() + waiting.wanted.len() > TOPICS_WAITING_MAX {
            (waiting.changed, waiting.wanted) = Default::default();
            waiting.any = true;
        }
        if waiting.sessions.len() > SESSIONS_WAITING_MAX {
            waiting.sessions.clear();
            waiting.any_session = true;
        }
        drop(waiting);
        self.notify.notify_one();
    }

    /// Notes a start version for topics that have none. Other subscribers may not know that version yet.
    pub(crate) fn begin_with<'a>(&self, versions: impl Iterator<Item = (&'a Topic, u64)>) {
        let mut known = self.known();
        for (topic, version) in versions {
            if !known.contains_key(topic) {
                known.insert(topic.clone(), version);
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, ToldVersions> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what could not be told yet.
    fn put_back(&self, back: WaitingChanges) {
        self.note(|waiting| {
            waiting.changed.extend(back.changed);
            waiting.wanted.extend(back.wanted);
            waiting.any |= back.any;
            waiting.sessions.extend(back.sessions);
            waiting.any_session |= back.any_session;
        });
    }

    fn take(&self) -> WaitingChanges {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Engine {
    /// Tells of changes for as long as the node runs.
    pub(crate) async fn keep_telling(self: Arc<Self>) {
        let notifier = &self.listeners.notifier;
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let (mut flushed, mut unread) = (Flushed::All, false);
        let mut left = UntoldSessions::default();
        loop {
            tokio::select! {
                biased;
                () = sleep(LOOK_AGAIN), if unread => {}
                () = sleep(FLUSH_EVERY), if !unread && flushed == Flushed::Some => {}
                () = left.due() => {}
                () = notifier.notify.notified(), if !unread => {}
                _ = ticks.tick() => notifier.catch_up(),
            }
            let waiting = notifier.take();
            // Looked at first, told then: what changes in between is told now, or another message comes.
            let changed = match self.changed_versions(&waiting).await {
                Ok(changed) => changed,
                Err(error) => {
                    debug!(error = %causes(&error), "could not read versions yet");
                    notifier.put_back(waiting);
                    unread = true;
                    continue;
                }
            };
            unread = false;
            flushed = self.listeners.flush();
            let mut untold = self.tell_sessions(&changed).await;
            if waiting.any {
                untold.extend(self.tell_own().await);
            }
            untold.extend(self.tell_all(self.to_tell(waiting, &mut left)).await);
            // A session that could not be told is tried again by itself.
            notifier.known().extend(changed);
            left.keep(untold);
        }
    }

    /// The sessions that are to be told of all that has changed for them.
    fn to_tell(&self, waiting: WaitingChanges, left: &mut UntoldSessions) -> BTreeSet<SessionId> {
        let mut sessions = waiting.sessions;
        sessions.extend(left.take_due());
        if waiting.any_session {
            sessions.extend(self.listening().iter().map(|cached| cached.id.clone()));
        }
        sessions
    }

    /// The versions of the topics that have changed, as far as somebody here wants to know.
    async fn changed_versions(&self, waiting: &WaitingChanges) -> Result<ToldVersions, StoreError> {
        let notifier = &self.listeners.notifier;
        let mut wanted = waiting.wanted.clone();
        for topic in &waiting.changed {
            match self.is_wanted(topic) {
                true => drop(wanted.insert(topic.clone())),
                // Nobody here wants its version, which may be another by the time somebody does.
                false => drop(notifier.known().remove(topic)),
            }
        }
        if waiting.any {
            wanted.extend(self.listeners.topics());
            for cached in self.listening() {
                wanted.extend(topics_of(&cached));
            }
        }
        let topics: Vec<Topic> = wanted.iter().cloned().collect();
        let mut now = ToldVersions::new();
        for some in topics.chunks(VERSIONS_READ_MAX) {
            let versions = self.store.versions(some).await?;
            now.extend(some.iter().cloned().zip(versions));
        }
        // Each listener knows the versions that it was told of.
        for (topic, version) in &now {
            self.listeners.queue(topic, *version);
        }
        notifier.begin_with(now.iter().map(|(topic, version)| (topic, *version)));
        let mut known = notifier.known();
        if waiting.any {
            // Nobody wants to know of the others any longer.
            known.retain(|topic, _| wanted.contains(topic));
        }
        now.retain(|topic, version| waiting.changed.contains(topic) || known.get(topic) != Some(version));
        Ok(now)
    }

    /// Tells sessions of topics that have changed. Returns those that could not be told.
    async fn tell_sessions(&self, changed: &ToldVersions) -> Vec<SessionId> {
        if changed.is_empty() {
            return vec![];
        }
        let tell = |carried: Arc<CachedSession>| async move {
            // A stream of HTTP+SSE is opened before its client is initialized: what it wants came later.
            // Until then this node keeps no copy, and would ask the store for each client that never sends
            // anything.
            if !carried.record.initialized && !self.sessions.keeps(&carried.id) {
                return Ok(());
            }
            let Some(cached) = self.sessions.recall(&carried.id).await? else {
                return Ok(());
            };
            let mut topics = topics_of(&cached);
            topics.retain(|topic| changed.contains_key(topic));
            match topics.is_empty() {
                true => Ok(()),
                false => Ok(self.sync_these(&cached, Tell::Changes, &topics, &[]).await?),
            }
        };
        let listening = self.listening_for(changed.keys()).into_iter();
        untold(
            listening
                .map(|cached| (cached.id.clone(), tell(cached).boxed()))
                .collect(),
        )
        .await
    }

    /// Tells sessions of changes to their own resources that the node of the change has not told. Returns
    /// those that could not be told.
    async fn tell_own(&self) -> Vec<SessionId> {
        let subscribed = self.listening().into_iter();
        let subscribed = subscribed.filter(|cached| !cached.subscriptions().is_empty());
        let tell = |cached: Arc<CachedSession>| async move { Ok(self.sync_own(&cached).await?) };
        untold(
            subscribed
                .map(|cached| (cached.id.clone(), tell(cached).boxed()))
                .collect(),
        )
        .await
    }

    /// Tells these sessions of all that has changed for them. Returns those that could not be told.
    async fn tell_all(&self, sessions: BTreeSet<SessionId>) -> Vec<SessionId> {
        let tell = |session: SessionId| async move {
            match self.sessions.recall(&session).await? {
                Some(cached) => Ok(self.sync(&cached, Tell::Changes).await?),
                None => Ok(()),
            }
        };
        let telling = sessions
            .into_iter()
            .map(|session| (session.clone(), tell(session).boxed()));
        untold(telling.collect()).await
    }

    /// Whether a session or a listener of this node may want to know of a topic.
    fn is_wanted(&self, topic: &Topic) -> bool {
        match topic {
            Topic::Tools | Topic::Prompts | Topic::Resources => true,
            Topic::Resource(uri) => self.sessions.subscribers().has(uri) || self.listeners.want(topic),
        }
    }

    /// The sessions that may want to know of one of these topics, and whose stream outside calls is carried
    /// here.
    fn listening_for<'a>(&self, topics: impl Iterator<Item = &'a Topic>) -> Vec<Arc<CachedSession>> {
        let mut sessions = BTreeSet::new();
        for topic in topics {
            match topic {
                Topic::Tools | Topic::Prompts | Topic::Resources => return self.listening(),
                Topic::Resource(uri) => sessions.extend(self.sessions.subscribers().of(uri)),
            }
        }
        self.streams.carrying_any(sessions)
    }

    /// The sessions whose stream outside calls is carried here.
    fn listening(&self) -> Vec<Arc<CachedSession>> {
        let streams = [StreamId::STANDALONE, StreamId::SSE];
        let carried = streams.into_iter().map(|stream| self.streams.carrying(stream));
        carried.flatten().collect()
    }
}

/// Sessions that could not be told. They are told a moment later, and delay nobody else.
#[derive(Debug, Default)]
struct UntoldSessions {
    sessions: BTreeSet<SessionId>,
    due: Option<Instant>,
}

impl UntoldSessions {
    fn keep(&mut self, untold: Vec<SessionId>) {
        self.sessions.extend(untold);
        if !self.sessions.is_empty() && self.due.is_none() {
            self.due = Some(Instant::now() + LOOK_AGAIN);
        }
    }

    /// Waits until they are to be told; for ever when there are none.
    async fn due(&self) {
        match self.due {
            Some(due) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    fn take_due(&mut self) -> BTreeSet<SessionId> {
        match self.due.take_if(|due| *due <= Instant::now()) {
            Some(_) => std::mem::take(&mut self.sessions),
            None => BTreeSet::new(),
        }
    }
}

/// Telling a session.
type Telling<'a> = (SessionId, BoxFuture<'a, Result<(), SessionError>>);

/// Tells sessions, some at once. Returns those that could not be told because the store did not answer.
async fn untold<'a>(telling: Vec<Telling<'a>>) -> Vec<SessionId> {
    let untold = &Mutex::new(Vec::new());
    let tell = |(session, told): Telling<'a>| async move {
        if let Err(error) = told.await {
            debug!(session = session.tag(), error = %causes(&error), "could not tell a session of a change yet");
            untold
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(session);
        }
    };
    stream::iter(telling).for_each_concurrent(TELLING_MAX, tell).await;
    std::mem::take(&mut *untold.lock().unwrap_or_else(PoisonError::into_inner))
}
