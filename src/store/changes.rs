//! Changes to lists and resources, as a store keeps them: a version of each, and what each session was told.
//! A session that had no stream is told of what changed meanwhile.

use super::event::{Event, Holder};
use crate::session::SessionId;
pub use crate::session::announce::Topic;

/// The topics that never make room for others: every session wants to know of them.
pub(crate) const LISTS: [Topic; 3] = [Topic::Tools, Topic::Prompts, Topic::Resources];

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject<'a> {
    /// Something that means the same to every session.
    Topic(&'a Topic),
    /// A resource of that session's own, at this URI.
    Own(&'a SessionId, &'a str),
}

/// Outcome of [`note_change`](super::StreamStore::note_change).
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Noted {
    /// It is a session's own and has a version now. A connection carries the session's standing stream, so
    /// the session can be told there.
    Carried,
    /// It has a version now: a node whose clients want to know compares it.
    Noted,
    /// It is a session's own, and that session is not subscribed to it, or is gone.
    Unwanted,
}

/// What a session was told of changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownVersions {
    /// For each topic, the version that the session knows; `None` where it has only begun to want to know.
    pub topics: Vec<Option<u64>>,
    /// For each own resource, its version now (0 when it has not changed since it was subscribed to), and the
    /// version that the session knows.
    pub own: Vec<(u64, u64)>,
}

/// What a session is told of one topic or resource, with the message that tells it (a JSON-RPC notification,
/// as JSON text).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicNews<'a> {
    /// Nothing: it begins to want to know of the topic, which has this version; unless it knew one before.
    First(&'a Topic, u64),
    /// That the topic has this version.
    Topic(&'a Topic, u64, &'a str),
    /// The same of a resource of its own.
    Own(&'a str, u64, &'a str),
}

/// Outcome of [`tell`](super::StreamStore::tell).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// The events that were appended, in order.
    pub events: Vec<Event>,
    /// Who carries the stream, and was sent a message if it is on another node.
    pub holder: Option<Holder>,
}
