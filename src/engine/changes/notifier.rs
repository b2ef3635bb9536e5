//! Tells the sessions and listeners of this node what has changed. One task does, so that a burst of changes is one look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::debug;

use super::{Settled, Tell, topics_of};
use crate::causes::causes;
use crate::cluster::CachedSession;
use crate::engine::Engine;
use crate::session::announce::Topic;
use crate::store::StoreError;
use crate::store::streams::StreamId;

/// How often all versions are compared though nobody rang: a lost ring delays, and never loses.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How many changed topics wait to be told. Beyond them, all versions are compared.
const TOPICS_WAITING_MAX: usize = 1024; // 1024 x 128 B = 128 KiB
/// How soon it is tried again to tell a listener whose queue was full.
const SETTLE_EVERY: Duration = Duration::from_millis(100);
/// How many versions are read at once.
const VERSIONS_READ_MAX: usize = 512;
/// How many sessions are told at once.
const TELLING_MAX: usize = 32;

/// What waits to be told on this node.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    waiting: Mutex<Waiting>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// These have changed.
    changed: BTreeSet<Topic>,
    /// Somebody wants to know of these from now on.
    wanted: BTreeSet<Topic>,
    /// Any may have changed.
    any: bool,
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

    /// Rings may have been missed.
    pub(crate) fn catch_up(&self) {
        self.note(|waiting| waiting.any = true);
    }

    fn note(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut waiting);
        if waiting.changed.len() + waiting.wanted.len() > TOPICS_WAITING_MAX {
            *waiting = Waiting {
                any: true,
                ..Waiting::default()
            };
        }
        drop(waiting);
        self.bell.notify_one();
    }

    fn take(&self) -> Waiting {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The version of each topic that somebody here wants to know of when it was last looked at.
type Known = BTreeMap<Topic, u64>;

impl Engine {
    /// Tells of changes for as long as the node runs.
    pub(crate) async fn keep_telling(self: Arc<Self>) {
        let mut known = Known::new();
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let mut settled = Settled::All;
        loop {
            tokio::select! {
                () = sleep(SETTLE_EVERY), if settled == Settled::Some => {}
                () = self.listeners.notifier.bell.notified() => {}
                _ = ticks.tick() => self.listeners.notifier.catch_up(),
            }
            let Waiting {
                mut changed,
                wanted,
                any,
            } = self.listeners.notifier.take();
            // Looked at first, told then: what changes in between is told now, or rings again.
            let looked = if any {
                self.compare(&mut known, &mut changed).await
            } else {
                self.look(&mut known, changed.iter().chain(&wanted)).await
            };
            if let Err(error) = looked {
                debug!(error = %causes(&error), "could not read versions: all are compared later");
                // The timer comes; what is known to have changed is told all the same.
            }
            for topic in &changed {
                self.listeners.owe(topic);
            }
            settled = self.listeners.settle();
            if self.tell_sessions(&changed).await == Settled::Some {
                // Those that are left are told at the next look.
                known.retain(|topic, _| !changed.contains(topic));
            }
            if any {
                self.tell_own().await;
            }
        }
    }

    /// Adds to `changed` what has changed since it was last looked at, of all that somebody here wants to know of.
    async fn compare(&self, known: &mut Known, changed: &mut BTreeSet<Topic>) -> Result<(), StoreError> {
        let mut wanted = self.listeners.topics();
        for live in self.listening() {
            wanted.extend(topics_of(&live));
        }
        let mut now = Known::new();
        self.look(&mut now, wanted.iter()).await?;
        let news = now
            .iter()
            .filter(|&(topic, version)| known.get(topic) != Some(version));
        changed.extend(news.map(|(topic, _)| topic.clone()));
        *known = now;
        Ok(())
    }

    /// Puts the versions of these into `known`.
    async fn look(&self, known: &mut Known, topics: impl Iterator<Item = &Topic>) -> Result<(), StoreError> {
        let topics: Vec<Topic> = topics.cloned().collect();
        for some in topics.chunks(VERSIONS_READ_MAX) {
            let versions = self.store.versions(some).await?;
            known.extend(some.iter().cloned().zip(versions));
        }
        Ok(())
    }

    async fn tell_sessions(&self, changed: &BTreeSet<Topic>) -> Settled {
        if changed.is_empty() {
            return Settled::All;
        }
        let left = AtomicBool::new(false);
        let left = &left;
        let tell = |carried: Arc<CachedSession>| async move {
            // A stream of HTTP+SSE is opened before its client is initialized: what it wants came later. Until then the session is
            // not kept, and reading it would ask the store for each that never says anything.
            if !carried.record.initialized && !self.sessions.keeps(&carried.id) {
                return;
            }
            let live = match self.sessions.recall(&carried.id).await {
                Ok(Some(live)) => live,
                Ok(None) => return,
                Err(_) => return left.store(true, Ordering::Relaxed),
            };
            let mut topics = topics_of(&live);
            topics.retain(|topic| changed.contains(topic));
            if topics.is_empty() {
                return;
            }
            if let Err(error) = self.sync_these(&live, Tell::Changes, &topics, &[]).await {
                debug!(session = live.tag, error = %causes(&error), "a session is told of a change later");
                left.store(true, Ordering::Relaxed);
            }
        };
        stream::iter(self.listening())
            .for_each_concurrent(TELLING_MAX, tell)
            .await;
        match left.load(Ordering::Relaxed) {
            true => Settled::Some,
            false => Settled::All,
        }
    }

    /// Tells sessions of changes to their own resources that the node on which they were made has not told of.
    async fn tell_own(&self) {
        let subscribed = self.listening().into_iter();
        let subscribed = subscribed.filter(|live| !live.subscriptions().is_empty());
        let tell = |live: Arc<CachedSession>| async move {
            if let Err(error) = self.sync_own(&live).await {
                debug!(session = live.tag, error = %causes(&error), "a session is told of a change later");
            }
        };
        stream::iter(subscribed)
            .for_each_concurrent(TELLING_MAX, tell)
            .await;
    }

    /// The sessions whose stream outside calls is carried here.
    fn listening(&self) -> Vec<Arc<CachedSession>> {
        let streams = [StreamId::STANDALONE, StreamId::SSE];
        let carried = streams.into_iter().map(|stream| self.streams.carrying(stream));
        carried.flatten().collect()
    }
}
