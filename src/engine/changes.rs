//! What changed for a session since it was last told: found by comparing versions, so that a session without
//! a stream misses nothing, and hears of each change once.

use serde_json::{Value, json};
use tracing::debug;

use super::Engine;
use super::local_streams::IsLast;
use crate::causes::causes;
use crate::cluster::CachedSession;
use crate::session::announce::Topic;
use crate::store::StoreError;
use crate::store::changes::{LISTS, Told, TopicNews};
use crate::store::streams::StreamId;

mod announce;
mod listeners;
mod notifier;

pub(crate) use listeners::{ListenStart, Listeners, Listening};

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
            debug!(session = cached.tag, error = %causes(&error), "could not tell a session of changes yet");
            self.listeners.notifier.tell_later(&cached.id);
        }
    }

    /// Begins to tell a session of changes to a resource that it has just subscribed to.
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
        // From now on nobody on this node misses a later version.
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
        for event in events {
            let event = (event.number, event.data.as_str());
            self.offer(&cached.id, stream, holder.as_ref(), event, IsLast::No);
        }
        Ok(())
    }

    /// Tells a session of its own resources that have changed: the node of the change may not have told it.
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
