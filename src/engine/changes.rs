//! What changed for a session since it was last told: compared by versions, so that nothing is missed while
//! it had no stream, and nothing is told again that has not changed again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rmcp::model::{RequestId, SubscriptionFilter};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use tracing::debug;

use super::Engine;
use crate::causes::causes;
use crate::cluster::CachedSession;
use crate::session::announce::Topic;
use crate::store::StoreError;
use crate::store::changes::{LISTS, Told, TopicNews};
use crate::store::streams::StreamId;

mod announce;
mod notifier;

use announce::Unannounced;
use notifier::Notifier;

const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// The open `subscriptions/listen` requests of this node (2026-07-28).
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    open: Mutex<BTreeMap<u64, Listener>>,
    next: AtomicU64,
    /// Who tells of changes.
    pub notifier: Arc<Notifier>,
    /// What is to be made known still.
    unannounced: Unannounced,
}

#[derive(Debug)]
struct Listener {
    wanted: BTreeSet<Topic>,
    /// What it is still to be told of: at most all that it wants.
    queued: BTreeSet<Topic>,
    /// The version of each that it was told of, or is owed.
    known: BTreeMap<Topic, u64>,
    id: RequestId,
    out: mpsc::Sender<Bytes>,
}

/// Takes a listener off when dropped.
#[derive(Debug)]
pub(crate) struct Listening {
    listeners: Arc<Listeners>,
    number: u64,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.listeners.lock().remove(&self.number);
    }
}

impl Listeners {
    /// Tells `out` of what the filter wants, tagged with the id of the listen request.
    #[must_use]
    pub(crate) fn listen(
        self: &Arc<Self>,
        filter: SubscriptionFilter,
        id: RequestId,
        out: mpsc::Sender<Bytes>,
    ) -> Listening {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let wanted: BTreeSet<Topic> = wanted(&filter).into_iter().collect();
        self.notifier.wanted(wanted.iter().cloned());
        let listener = Listener {
            wanted,
            queued: BTreeSet::new(),
            known: BTreeMap::new(),
            id,
            out,
        };
        self.lock().insert(number, listener);
        Listening {
            listeners: Arc::clone(self),
            number,
        }
    }

    /// What listeners want to know of.
    #[must_use]
    pub(super) fn topics(&self) -> BTreeSet<Topic> {
        let open = self.lock();
        open.values()
            .flat_map(|listener| listener.wanted.iter().cloned())
            .collect()
    }

    /// Every listener that wants to know is to be told that the topic has this version, unless it knows:
    /// [`flush`](Self::flush) tells it.
    pub(crate) fn queue(&self, topic: &Topic, version: u64) {
        let mut open = self.lock();
        for listener in open
            .values_mut()
            .filter(|listener| listener.wanted.contains(topic))
        {
            let known = listener.known.entry(topic.clone()).or_default();
            if *known < version {
                *known = version;
                listener.queued.insert(topic.clone());
            }
        }
    }

    /// Tells listeners what is owed to them, as far as their queues have room.
    pub(crate) fn flush(&self) -> Flushed {
        let mut open = self.lock();
        let owing = open.values_mut().filter(|listener| !listener.queued.is_empty());
        let left = owing.filter_map(|listener| (!listener.tell()).then_some(()));
        match left.count() {
            0 => Flushed::All,
            _ => Flushed::Some,
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Listener>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether all who want to know were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Flushed {
    /// They were.
    All,
    /// Some are still to be told: they read slowly, or the store did not answer.
    Some,
}

impl Listener {
    /// Tells what is owed; false when not all of it found room. To one that has gone nothing is owed.
    fn tell(&mut self) -> bool {
        let owed: Vec<Topic> = self.queued.iter().cloned().collect();
        for topic in owed {
            match self.out.try_send(self.message(&topic)) {
                Ok(()) => {
                    self.queued.remove(&topic);
                }
                Err(TrySendError::Full(_)) => return false,
                Err(TrySendError::Closed(_)) => self.queued.clear(),
            }
        }
        true
    }

    fn message(&self, topic: &Topic) -> Bytes {
        let mut message = notification(topic);
        if let Some(params) = message.get_mut("params").and_then(Value::as_object_mut) {
            let id = self.id.clone().into_json_value();
            params.insert("_meta".into(), json!({ SUBSCRIPTION_ID: id }));
        }
        message.to_string().into()
    }
}

fn wanted(filter: &SubscriptionFilter) -> Vec<Topic> {
    let plain = [
        (filter.tools_list_changed, Topic::Tools),
        (filter.prompts_list_changed, Topic::Prompts),
        (filter.resources_list_changed, Topic::Resources),
    ];
    let plain = plain.into_iter().filter(|(wanted, _)| *wanted == Some(true));
    let resources = filter.resource_subscriptions.iter().flatten();
    let resources = resources.map(|uri| Topic::Resource(uri.clone()));
    plain.map(|(_, topic)| topic).chain(resources).collect()
}

fn notification(topic: &Topic) -> Value {
    let plain = |method: &str| json!({"jsonrpc": "2.0", "method": method, "params": {}});
    match topic {
        Topic::Tools => plain("notifications/tools/list_changed"),
        Topic::Prompts => plain("notifications/prompts/list_changed"),
        Topic::Resources => plain("notifications/resources/list_changed"),
        Topic::Resource(uri) => updated(uri),
    }
}

fn updated(uri: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": uri}})
}

/// Whether a session is told of what changed, or only where to compare from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tell {
    /// It is told.
    Changes,
    /// It is not: it has just begun to want to know.
    Nothing,
}

impl Engine {
    /// Compares what a session was told with what has changed, tells it of the difference on its standing
    /// stream, and notes what it has been told now.
    ///
    /// # Errors
    /// [`StoreError`]: the session is told next time.
    pub(crate) async fn sync(&self, cached: &CachedSession, tell: Tell) -> Result<(), StoreError> {
        let own: Vec<String> = cached.subscriptions().iter().cloned().collect();
        self.sync_these(cached, tell, &topics_of(cached), &own).await
    }

    /// The same; when the store does not answer, the session is told later.
    pub(crate) async fn sync_or_later(&self, cached: &CachedSession, tell: Tell) {
        if let Err(error) = self.sync(cached, tell).await {
            debug!(session = cached.tag, error = %causes(&error), "a session is told of changes later");
            self.listeners.notifier.tell_later(&cached.id);
        }
    }

    /// From here on a session that has just subscribed to that is told of its changes.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn begin_telling(&self, cached: &CachedSession, uri: &str) -> Result<(), StoreError> {
        let topics = [Topic::Resource(uri.to_owned())];
        // Of its own resources only what changes from here on has a version.
        self.sync_these(cached, Tell::Nothing, &topics, &[]).await
    }

    /// The same of these topics, and of the session's own resources at these URIs.
    pub(super) async fn sync_these(
        &self,
        cached: &CachedSession,
        tell: Tell,
        topics: &[Topic],
        own: &[String],
    ) -> Result<(), StoreError> {
        // One at a time for a session on this node: messages and a new stream may come together.
        let _turn = cached.telling.lock().await;
        let versions = self.store.versions(topics).await?;
        // From here on a later version is missed by nobody here.
        let begins = topics.iter().zip(versions.iter().copied());
        self.listeners.notifier.begin_with(begins);
        let known = self.store.told(&cached.id, topics, own).await?;
        let messages: Vec<String> = topics
            .iter()
            .map(|topic| notification(topic).to_string())
            .collect();
        let own_messages: Vec<String> = own.iter().map(|uri| updated(uri).to_string()).collect();
        let mut news = Vec::new();
        for (((topic, version), known), message) in
            topics.iter().zip(versions).zip(known.topics).zip(&messages)
        {
            match known {
                None => news.push(TopicNews::First(topic, version)),
                Some(known) if version > known && tell == Tell::Changes => {
                    news.push(TopicNews::Topic(topic, version, message));
                }
                Some(_) => {}
            }
        }
        for ((uri, (version, known)), message) in own.iter().zip(known.own).zip(&own_messages) {
            if version > known && tell == Tell::Changes {
                news.push(TopicNews::Own(uri, version, message));
            }
        }
        if news.is_empty() {
            return Ok(());
        }
        let stream = &StreamId::standing(cached.record.transport);
        let told = self
            .store
            .tell(&cached.id, stream, &news, &self.node, self.stream_ttl());
        let Told { events, holder } = told.await?;
        if let Some(holder) = holder.filter(|holder| holder.node == self.node) {
            for event in events {
                self.streams
                    .offer(&cached.id, stream, holder.connection, event, false);
            }
        }
        Ok(())
    }

    /// Tells a session of its own resources that have changed: the node on which one did may not have come to
    /// it.
    pub(super) async fn sync_own(&self, cached: &CachedSession) -> Result<(), StoreError> {
        let own: Vec<String> = cached.subscriptions().iter().cloned().collect();
        self.sync_these(cached, Tell::Changes, &[], &own).await
    }
}

/// What a session wants to know of, beside its own resources.
pub(super) fn topics_of(cached: &CachedSession) -> Vec<Topic> {
    let subscriptions = cached.subscriptions();
    let resources = subscriptions.iter().cloned().map(Topic::Resource);
    LISTS.into_iter().chain(resources).collect()
}
