//! The messages that nodes send each other through the store. A message only says where to look: the truth is
//! in the store.

use serde::{Deserialize, Serialize};

use crate::session::announce::Topic;
use crate::session::{NodeId, SessionId};
use crate::store::streams::StreamId;

/// What happened to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionNews {
    /// Its record changed.
    Changed,
    /// It was ended.
    Ended,
}

/// A message between nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub enum NodeMessage {
    /// Look at this session again, then acknowledge.
    Session {
        /// What happened.
        news: SessionNews,
        /// To which session.
        session: String,
        /// Who wants the acknowledgement.
        from: String,
        /// The number to acknowledge.
        number: u64,
    },
    /// Look at every stream of this session that is carried here. Sent by the store.
    SessionStreams {
        /// The session.
        session: String,
    },
    /// Look what came for every call of this session that runs here. Sent by the store.
    SessionCalls {
        /// The session.
        session: String,
    },
    /// An event was appended to a stream that this node carries, or another connection carries it now: read
    /// its log. Sent by the store.
    Stream {
        /// The session.
        session: String,
        /// The stream.
        stream: String,
    },
    /// A client's answer came for a call that this node runs: take it from the store. Sent by the store.
    Answer {
        /// The session.
        session: String,
        /// The call.
        call: String,
    },
    /// A client cancels a call that this node runs, or may be about to register.
    Cancel {
        /// The session.
        session: String,
        /// The request's id, as JSON text.
        request: String,
    },
    /// Something changed that sessions may want to know of: compare the versions.
    Topic {
        /// What changed.
        topic: Topic,
    },
    /// Somebody changed a task that this node runs, or wonders whether it does: look at its record.
    Task {
        /// The task.
        task: String,
    },
    /// A node has ended its lease: nobody need wait for it any longer. Sent by the store.
    Left {
        /// The node.
        node: String,
    },
    /// A node has stopped trusting its copy.
    Acknowledged {
        /// The number of the message.
        number: u64,
        /// The node that heard it.
        by: String,
    },
}

impl NodeMessage {
    /// To the nodes that carry streams of a session.
    #[must_use]
    pub fn session_streams(session: &SessionId) -> Self {
        let session = session.as_str().to_owned();
        Self::SessionStreams { session }
    }

    /// To the nodes that run calls of a session.
    #[must_use]
    pub fn session_calls(session: &SessionId) -> Self {
        let session = session.as_str().to_owned();
        Self::SessionCalls { session }
    }

    /// To the node that carries a stream.
    #[must_use]
    pub fn stream(session: &SessionId, stream: &StreamId) -> Self {
        Self::Stream {
            session: session.as_str().to_owned(),
            stream: stream.as_str().to_owned(),
        }
    }

    /// To the node that runs a call.
    #[must_use]
    pub fn answer(session: &SessionId, call: &StreamId) -> Self {
        Self::Answer {
            session: session.as_str().to_owned(),
            call: call.as_str().to_owned(),
        }
    }

    /// To all nodes, when this one leaves.
    #[must_use]
    pub fn left(node: &NodeId) -> Self {
        let node = node.as_str().to_owned();
        Self::Left { node }
    }

    /// The message as the text that goes between nodes: JSON, on one line.
    #[must_use]
    pub fn encode(&self) -> String {
        // It cannot fail: a message has texts and numbers only. An empty text would be a message that no
        // version knows.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The message in that text.
    ///
    /// # Errors
    /// It is none, or one that only a newer version knows.
    pub fn decode(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_was() {
        let (session, stream) = (SessionId::generate(), StreamId::sse());
        for message in [
            NodeMessage::session_streams(&session),
            NodeMessage::session_calls(&session),
            NodeMessage::stream(&session, &stream),
            NodeMessage::answer(&session, &stream),
            NodeMessage::Cancel {
                session: session.as_str().to_owned(),
                request: r#""a \"b\"\n""#.into(),
            },
            NodeMessage::Topic {
                topic: Topic::Resource("note://ünï".into()),
            },
        ] {
            let text = message.encode();
            assert!(!text.contains('\n'), "{text}");
            assert_eq!(NodeMessage::decode(&text).ok(), Some(message), "{text}");
        }
    }

    /// Nodes of this version and of the former one run side by side during an update.
    #[test]
    fn messages_are_written_as_before() {
        let (session, stream) = (SessionId::parse("abc").unwrap(), StreamId::sse());
        let text = NodeMessage::stream(&session, &stream).encode();
        assert_eq!(text, r#"{"message":"stream","session":"abc","stream":"sse"}"#);
        assert!(NodeMessage::decode(r#"{"message":"of a newer version"}"#).is_err());
    }
}
