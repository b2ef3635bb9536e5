//! Announcing that something changed: once, from any node, to every client that wants to know.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::id::SessionId;

/// What may change for many sessions at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// `notifications/tools/list_changed`
    Tools,
    /// `notifications/prompts/list_changed`
    Prompts,
    /// `notifications/resources/list_changed`
    Resources,
    /// `notifications/resources/updated` of this URI, which means the same to every session.
    Resource(String),
}

/// Tells clients of changes, wherever they are connected.
#[async_trait]
pub(crate) trait Announce: fmt::Debug + Send + Sync + 'static {
    /// Announces a change. That clients cannot be told just now is logged, not returned: the change has
    /// happened.
    async fn announce(self: Arc<Self>, topic: Topic);

    /// Announces that a resource of the session's own has changed, to that session alone.
    async fn announce_own(self: Arc<Self>, session: &SessionId, uri: &str);
}

/// Announces changes for a handler.
#[derive(Debug, Clone)]
pub struct Announcer(Arc<dyn Announce>);

impl Announcer {
    /// Announces through `announce`.
    #[must_use]
    pub(crate) fn new(announce: Arc<dyn Announce>) -> Self {
        Self(announce)
    }

    /// Announces a change.
    pub async fn announce(&self, topic: Topic) {
        Arc::clone(&self.0).announce(topic).await;
    }

    /// The list of tools changed.
    pub async fn tools_changed(&self) {
        Arc::clone(&self.0).announce(Topic::Tools).await;
    }

    /// The list of prompts changed.
    pub async fn prompts_changed(&self) {
        Arc::clone(&self.0).announce(Topic::Prompts).await;
    }

    /// The list of resources changed.
    pub async fn resources_changed(&self) {
        Arc::clone(&self.0).announce(Topic::Resources).await;
    }

    /// A resource changed, for all who subscribed to its URI.
    pub async fn resource_updated(&self, uri: &str) {
        Arc::clone(&self.0)
            .announce(Topic::Resource(uri.to_owned()))
            .await;
    }

    /// A resource of this session's own changed, for the session alone: in others the URI means something
    /// else.
    pub async fn own_resource_updated(&self, session: &SessionId, uri: &str) {
        Arc::clone(&self.0).announce_own(session, uri).await;
    }
}
