//! The open `subscriptions/listen` requests of this node (2026-07-28).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rmcp::model::{RequestId, SubscriptionFilter};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::announce::Unannounced;
use super::notification;
use super::notifier::Notifier;
use crate::engine::Engine;
use crate::session::announce::Topic;
use crate::store::StoreError;

const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";

/// The open `subscriptions/listen` requests of this node.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    open: Mutex<OpenListeners>,
    /// Tells of changes.
    pub notifier: Arc<Notifier>,
    /// Changes that are not announced yet.
    pub(super) unannounced: Unannounced,
}

#[derive(Debug, Default)]
struct OpenListeners {
    next: u64,
    by_number: BTreeMap<u64, Listener>,
    /// Which of them want to know of a topic: a change costs those, and no others.
    by_topic: BTreeMap<Topic, BTreeSet<u64>>,
    /// Those that are still to be told of something.
    queued: BTreeSet<u64>,
}

#[derive(Debug)]
struct Listener {
    wanted: BTreeSet<Topic>,
    /// What it is still to be told of: at most all that it wants.
    queued: BTreeSet<Topic>,
    /// The version of each topic that it was told of, or is to be told of.
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
        self.listeners.lock().remove(self.number);
    }
}

/// Where a listener begins: the versions of its topics, read before the acknowledgement. A later change is
/// therefore never taken for the start.
#[derive(Debug)]
pub(crate) struct ListenStart {
    listeners: Arc<Listeners>,
    known: BTreeMap<Topic, u64>,
}

impl ListenStart {
    /// Reads where a listener with this filter begins.
    ///
    /// # Errors
    /// [`StoreError`]: without it no change can be promised.
    pub(crate) async fn read(engine: &Engine, filter: &SubscriptionFilter) -> Result<Self, StoreError> {
        let topics = wanted(filter);
        let versions = engine.store.versions(&topics).await?;
        Ok(Self {
            listeners: Arc::clone(&engine.listeners),
            known: topics.into_iter().zip(versions).collect(),
        })
    }

    /// Tells `out` from now on of what the filter wants, tagged with the id of the listen request.
    #[must_use]
    pub(crate) fn listen(
        &self,
        filter: &SubscriptionFilter,
        id: RequestId,
        out: mpsc::Sender<Bytes>,
    ) -> Listening {
        let wanted: BTreeSet<Topic> = wanted(filter).into_iter().collect();
        let known = self.known.iter().filter(|(topic, _)| wanted.contains(*topic));
        let listener = Listener {
            wanted: wanted.clone(),
            queued: BTreeSet::new(),
            known: known.map(|(topic, version)| (topic.clone(), *version)).collect(),
            id,
            out,
        };
        let (listeners, notifier) = (&self.listeners, &self.listeners.notifier);
        // Entered first: a change that comes from now on is read, because somebody here wants to know of it.
        // What has changed since the versions were read is found by comparing them.
        let number = listeners.lock().insert(listener);
        notifier.begin_with(self.known.iter().map(|(topic, version)| (topic, *version)));
        notifier.wanted(wanted);
        Listening {
            listeners: Arc::clone(listeners),
            number,
        }
    }
}

/// Whether all listeners were told what they want to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Flushed {
    /// They were.
    All,
    /// Some are still to be told: they read slowly.
    Some,
}

impl Listeners {
    /// What listeners want to know of.
    #[must_use]
    pub(super) fn topics(&self) -> BTreeSet<Topic> {
        self.lock().by_topic.keys().cloned().collect()
    }

    /// Whether a listener wants to know of this topic.
    #[must_use]
    pub(super) fn want(&self, topic: &Topic) -> bool {
        self.lock().by_topic.contains_key(topic)
    }

    /// Every listener that wants to know is to be told that the topic has this version, unless it knows:
    /// [`flush`](Self::flush) tells it.
    pub(super) fn queue(&self, topic: &Topic, version: u64) {
        let open = &mut *self.lock();
        for number in open.by_topic.get(topic).into_iter().flatten() {
            let Some(listener) = open.by_number.get_mut(number) else {
                continue;
            };
            let known = listener.known.entry(topic.clone()).or_default();
            if *known < version {
                *known = version;
                listener.queued.insert(topic.clone());
                open.queued.insert(*number);
            }
        }
    }

    /// Tells listeners what is queued for them, as far as their own queues have room.
    pub(super) fn flush(&self) -> Flushed {
        let OpenListeners {
            by_number, queued, ..
        } = &mut *self.lock();
        queued.retain(|number| by_number.get_mut(number).is_some_and(|listener| !listener.tell()));
        match queued.is_empty() {
            true => Flushed::All,
            false => Flushed::Some,
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        let open = self.lock();
        open.by_number.len() + open.by_topic.len() + open.queued.len()
    }

    /// How many changes are to be made known still.
    #[cfg(test)]
    pub(crate) fn unannounced_left(&self) -> usize {
        self.unannounced.left()
    }

    fn lock(&self) -> MutexGuard<'_, OpenListeners> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenListeners {
    fn insert(&mut self, listener: Listener) -> u64 {
        let number = self.next;
        self.next += 1;
        for topic in &listener.wanted {
            self.by_topic.entry(topic.clone()).or_default().insert(number);
        }
        self.by_number.insert(number, listener);
        number
    }

    fn remove(&mut self, number: u64) {
        self.queued.remove(&number);
        let Some(listener) = self.by_number.remove(&number) else {
            return;
        };
        for topic in listener.wanted {
            if let Some(numbers) = self.by_topic.get_mut(&topic) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.by_topic.remove(&topic);
                }
            }
        }
    }
}

impl Listener {
    /// Tells what is queued; false when not all of it found room. One that has gone is told nothing.
    fn tell(&mut self) -> bool {
        while let Some(topic) = self.queued.first() {
            match self.out.try_send(self.message(topic)) {
                Ok(()) => drop(self.queued.pop_first()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(uris: &[&str]) -> SubscriptionFilter {
        let mut filter = SubscriptionFilter::default();
        filter.resource_subscriptions = Some(uris.iter().map(|uri| (*uri).to_owned()).collect());
        filter
    }

    #[test]
    fn only_those_that_want_to_know_are_told_and_each_version_once() {
        let listeners = Arc::new(Listeners::default());
        let start = ListenStart {
            listeners: Arc::clone(&listeners),
            known: [(Topic::Resource("x".into()), 1)].into(),
        };
        let (x, y) = (Topic::Resource("x".into()), Topic::Resource("y".into()));
        let (out, mut a) = mpsc::channel(1);
        let of_a = start.listen(&filter(&["x", "y"]), RequestId::Number(1), out);
        let (out, mut b) = mpsc::channel(4);
        let of_b = start.listen(&filter(&["y"]), RequestId::Number(2), out);
        for version in [1, 2] {
            listeners.queue(&x, version);
            assert_eq!(listeners.flush(), Flushed::All);
            assert_eq!(a.try_recv().is_ok(), version == 2, "it began with version 1");
            assert!(b.try_recv().is_err(), "it does not want to know");
        }
        listeners.queue(&x, 2);
        assert_eq!(listeners.flush(), Flushed::All);
        assert!(a.try_recv().is_err(), "it knows that version");
        listeners.queue(&x, 3);
        listeners.queue(&y, 3);
        assert_eq!(listeners.flush(), Flushed::Some, "one place is too few for both");
        assert!(a.try_recv().is_ok() && b.try_recv().is_ok());
        assert_eq!(listeners.flush(), Flushed::All);
        assert!(a.try_recv().is_ok());
        drop((of_a, of_b));
        assert_eq!(listeners.left(), 0);
    }
}
