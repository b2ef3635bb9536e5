//! What a store keeps of changes to lists and resources: a version of each, and what each session was told. A session that had no
//! stream is told of what changed meanwhile.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::StoreError;
use crate::session::SessionId;
pub use crate::session::announce::Topic;

/// The topics that never make room for others: every session wants to know of them.
pub const LISTS: [Topic; 3] = [Topic::Tools, Topic::Prompts, Topic::Resources];
/// The most topics that have a version of their own.
pub const TOPICS_MAX: usize = 65_536; // 65536 x 128 B = 8 MiB

/// Outcome of [`ChangeStore::note_own_change`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum OwnChange {
    /// It has a version now, and a connection carries the session's standing stream, on which it can be told.
    Carried,
    /// It has a version now: the session is told on its next standing stream.
    Noted,
    /// The session is not subscribed to it, or it is gone.
    Unwanted,
}

/// What a session was told of changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownVersions {
    /// Of each topic the version that it knows; `None` of one that it has just begun to want to know of.
    pub topics: Vec<Option<u64>>,
    /// Of each resource of its own the version now, 0 when it has not changed since it was subscribed to, and the one that the
    /// session knows.
    pub own: Vec<(u64, u64)>,
}

/// What is noted of one topic or resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToldVersion<'a> {
    /// The session begins to want to know of the topic, which has this version; unless it knew one before.
    First(&'a Topic, u64),
    /// It was told that the topic has this version; or a later one is known to have been told.
    Topic(&'a Topic, u64),
    /// The same of a resource of its own.
    Own(&'a str, u64),
}

/// Keeps versions of what changes. Those of a session end with it.
#[async_trait]
pub trait ChangeStore: fmt::Debug + Send + Sync + 'static {
    /// Gives a topic that has changed a version, higher than that of any change before. Versions live `ttl` from the last change
    /// of any. When there are more than [`TOPICS_MAX`], the quarter makes room that changed longest ago, but for [`LISTS`]: from
    /// then on these topics, and those that have never changed, have the version of the last of them.
    async fn note_change(&self, topic: &Topic, ttl: Duration) -> Result<(), StoreError>;

    /// The versions of these, in the order asked; 0 of what has not changed since any made room.
    async fn changes(&self, topics: &[Topic]) -> Result<Vec<u64>, StoreError>;

    /// Gives a resource of the session's own that has changed a version, if the session is subscribed to it. It ends with the
    /// subscription.
    async fn note_own_change(&self, session: &SessionId, uri: &str) -> Result<OwnChange, StoreError>;

    /// What the session was told of these topics, and of its own resources at these URIs, in the order asked.
    async fn told(
        &self,
        session: &SessionId,
        topics: &[Topic],
        own: &[String],
    ) -> Result<KnownVersions, StoreError>;

    /// Notes what the session was told, of each topic or resource for itself: nodes that do so at once take nothing back. Nothing
    /// is noted of what the session is not subscribed to (any longer), and nothing happens when it is gone.
    async fn note_told(&self, session: &SessionId, told: &[ToldVersion<'_>]) -> Result<(), StoreError>;
}
