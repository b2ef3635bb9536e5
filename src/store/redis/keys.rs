//! The names of keys and channels in Redis, and of fields that several files share. No other Rust code
//! formats a key or channel. Scripts complete three whose start they get from here: a stream's log, a
//! session's early answers, and a node's channel. Other fields are named where they are used: in the scripts,
//! and in `record`, `state` and `nodes`.
//!
//! Everything of one session lives in one cluster slot, so that one script may touch all of it. Redis hashes
//! what stands in the first `{…}` of a key, or the whole key when there is none. The session's own key has no
//! braces (that is the documented name, and with a prefix it is `<prefix>session:<id>`), and what belongs to
//! it carries that *whole key*, prefix included, in braces: `<prefix>events:{<prefix>session:<id>}:<stream>`.
//! The same text is hashed in both cases. When the prefix itself holds a complete `{…}`, that is what counts
//! in every key. Only a brace that is not part of one would break the rule, so [`Keys::new`] refuses such a
//! prefix.

use std::sync::Arc;

use crate::session::{NodeId, SessionId};
use crate::store::changes::Topic;
use crate::store::streams::{Holder, StreamId};

/// How many slots a cluster has (Redis cluster specification, "Key distribution model").
#[cfg(test)]
const SLOTS: u16 = 16_384;

/// Names keys, all of which start with one prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: Arc<str>,
}

impl Keys {
    /// Keys that start with `prefix`; `None` when its braces would scatter a session over several slots.
    pub(super) fn new(prefix: &str) -> Option<Self> {
        let whole_tag = prefix
            .split_once('{')
            .and_then(|(_, rest)| rest.split_once('}'))
            .is_some_and(|(tag, _)| !tag.is_empty());
        let fits = whole_tag || !prefix.contains(['{', '}']);
        fits.then(|| Self {
            prefix: prefix.into(),
        })
    }

    pub(super) fn session(&self, id: &SessionId) -> String {
        format!("{}session:{}", self.prefix, id.as_str())
    }

    /// The event log of a stream, in the slot of the session's own key.
    pub(super) fn events(&self, id: &SessionId, stream: &str) -> String {
        self.of_session("events", id, &format!(":{stream}"))
    }

    /// What the keys of a session's event logs start with; the stream follows.
    pub(super) fn events_start(&self, id: &SessionId) -> String {
        self.of_session("events", id, ":")
    }

    /// A session's calls in flight, in the slot of the session's own key.
    pub(super) fn calls(&self, id: &SessionId) -> String {
        self.of_session("calls", id, "")
    }

    /// A key beside the session's own, in the same slot.
    fn of_session(&self, kind: &str, id: &SessionId, rest: &str) -> String {
        format!(
            "{prefix}{kind}:{{{prefix}session:{id}}}{rest}",
            prefix = self.prefix,
            id = id.as_str()
        )
    }

    /// The calls that a node has in flight, by [`call_of`].
    pub(super) fn node_calls(&self, node: &NodeId) -> String {
        format!("{}node-calls:{node}", self.prefix)
    }

    /// The versions of what all sessions see.
    pub(super) fn versions(&self) -> String {
        format!("{}versions", self.prefix)
    }

    pub(super) fn notebook(&self, handle: &str) -> String {
        format!("{}notebook:{handle}", self.prefix)
    }

    pub(super) fn task(&self, id: &str) -> String {
        format!("{}task:{id}", self.prefix)
    }

    /// Both the key of a node's lease and the channel on which the node is told.
    pub(super) fn node(&self, node: &NodeId) -> String {
        format!("{}node:{node}", self.prefix)
    }

    /// What the channel of a node starts with; the node follows.
    pub(super) fn node_start(&self) -> String {
        format!("{}node:", self.prefix)
    }

    /// Both the key of the set of leases and the channel on which all nodes are told.
    pub(super) fn nodes(&self) -> String {
        format!("{}{NODES}", self.prefix)
    }

    /// The prefixes under which other nodes listen, by their channels.
    pub(super) fn other_prefixes(&self, channels: &[String]) -> Vec<String> {
        let of_all = channels.iter().filter_map(|channel| channel.strip_suffix(NODES));
        // Each node has a channel of its own beside that of all: a channel of some other program's has not.
        let has_nodes = |prefix: &str| {
            let start = format!("{prefix}node:");
            channels.iter().any(|channel| channel.starts_with(&start))
        };
        let others = of_all.filter(|prefix| **prefix != *self.prefix && has_nodes(prefix));
        others.map(str::to_owned).collect()
    }

    pub(super) fn secret(&self) -> String {
        format!("{}secret", self.prefix)
    }

    /// The set of all sessions.
    pub(super) fn sessions(&self) -> String {
        format!("{}sessions", self.prefix)
    }

    /// The sessions of a peer, in the slot of the set of all.
    pub(super) fn peer_sessions(&self, peer: &str) -> String {
        self.beside_sessions("peer-sessions", peer)
    }

    /// Those of a peer whose client has not said that it is initialized, in the same slot.
    pub(super) fn peer_newcomers(&self, peer: &str) -> String {
        self.beside_sessions("peer-newcomers", peer)
    }

    fn beside_sessions(&self, kind: &str, peer: &str) -> String {
        format!("{prefix}{kind}:{{{prefix}sessions}}:{peer}", prefix = self.prefix)
    }

    /// The notebooks of a peer.
    pub(super) fn peer_notebooks(&self, peer: &str) -> String {
        format!("{}peer-notebooks:{peer}", self.prefix)
    }

    /// The tasks of a peer.
    pub(super) fn peer_tasks(&self, peer: &str) -> String {
        format!("{}peer-tasks:{peer}", self.prefix)
    }

    /// A bucket of tokens.
    pub(super) fn rate(&self, bucket: &str) -> String {
        format!("{}rate:{bucket}", self.prefix)
    }

    /// A glob that matches every session's key. The prefix is taken literally.
    pub(super) fn session_glob(&self) -> String {
        let mut glob = String::with_capacity(self.prefix.len() + 9);
        for c in self.prefix.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '^' | '\\') {
                glob.push('\\');
            }
            glob.push(c);
        }
        glob.push_str("session:*");
        glob
    }

    /// The id in a session's key; `None` when the key is not one of ours.
    pub(super) fn session_id(&self, key: &str) -> Option<SessionId> {
        let id = key.strip_prefix(&*self.prefix)?.strip_prefix("session:")?;
        SessionId::parse(id)
    }
}

/// The set of leases, and the channel on which all nodes are told.
const NODES: &str = "nodes";

/// A glob that matches the channels of nodes under any prefix.
pub(super) const fn any_nodes_glob() -> &'static str {
    "*node[s:]*"
}

/// What the fields of a session's handlers' state start with.
pub(super) const STATE: &str = "state:";
/// What the fields of a task start with that tell how it stands.
pub(super) const TASK: &str = "task:";
/// What the fields of a notebook's notes start with.
pub(super) const NOTE: &str = "note:";

/// What the fields start with that say which nodes keep a copy of the session.
pub(super) const HELD: &str = "held:";
/// What the fields of the calls start with that say which streams have a log.
pub(super) const STREAM: &str = "stream:";

/// The field that says that a node keeps a copy of the session.
pub(super) fn held(node: &NodeId) -> String {
    format!("{HELD}{node}")
}

/// The field of a session, or a notebook, that says which peer it counts for.
pub(super) const PEER: &str = "peer";
/// The field of a session that says what it was told of a topic.
pub(super) fn told(topic: &Topic) -> String {
    format!("told:{}", self::topic(topic))
}

/// The field of a session that says what it was told of a resource of its own.
pub(super) fn told_own(uri: &str) -> String {
    format!("told:own:{uri}")
}

/// The field of a session that has the version of a resource of its own.
pub(super) fn own(uri: &str) -> String {
    format!("own:{uri}")
}

/// The field of a session that says who carries a stream.
pub(super) fn attach(stream: &StreamId) -> String {
    format!("attach:{}", stream.as_str())
}

/// A connection as text.
pub(super) fn holder(holder: &Holder) -> String {
    format!("{}/{}", holder.node, holder.connection)
}

/// The connection that [`holder`] wrote.
pub(super) fn parse_holder(text: &str) -> Option<Holder> {
    let (node, connection) = text.split_once('/')?;
    Some(Holder {
        node: NodeId::parse(node)?,
        connection: connection.parse().ok()?,
    })
}

/// The field of the calls that says what else is needed to run a call again.
pub(super) fn body(call: &StreamId) -> String {
    format!("body:{}", call.as_str())
}

/// The field of the calls that notes that a call's client has cancelled it.
pub(super) fn stop(call: &StreamId) -> String {
    format!("stop:{}", call.as_str())
}

/// The field that stands for a call among those of a node.
pub(super) fn call_of(session: &SessionId, call: &StreamId) -> String {
    format!("{}/{}", session.as_str(), call.as_str())
}

/// The call that [`call_of`] wrote.
pub(super) fn parse_call_of(field: &str) -> Option<(SessionId, StreamId)> {
    let (session, call) = field.split_once('/')?;
    Some((SessionId::parse(session)?, StreamId::parse(call)?))
}

/// How a topic is named among the versions.
pub(super) fn topic(topic: &Topic) -> String {
    match topic {
        Topic::Tools => "tools".into(),
        Topic::Prompts => "prompts".into(),
        Topic::Resources => "resources".into(),
        Topic::Resource(uri) => format!("resource:{uri}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC16 of XMODEM, of what Redis hashes of a key (Redis cluster specification, appendix A).
    fn slot(key: &str) -> u16 {
        let tag = key
            .split_once('{')
            .and_then(|(_, rest)| rest.split_once('}'))
            .map(|(tag, _)| tag)
            .filter(|tag| !tag.is_empty())
            .unwrap_or(key);
        let crc = tag.bytes().fold(0u16, |crc, byte| {
            (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
                if crc & 0x8000 == 0 {
                    crc << 1
                } else {
                    (crc << 1) ^ 0x1021
                }
            })
        });
        crc % SLOTS
    }

    #[test]
    fn the_slot_of_a_key_is_what_redis_says_it_is() {
        // CLUSTER KEYSLOT of 7.0.15.
        assert_eq!(slot("123456789"), 12739);
        assert_eq!(slot("foo{hash_tag}"), 2515);
    }

    #[test]
    fn all_of_a_session_is_in_one_slot_whatever_the_prefix() {
        let id = SessionId::parse("0b7c5f2e-3a55-4b6e-9a37-6b1c0a3d8a11").unwrap();
        for prefix in ["", "app:", "a b*", "{app}:", "x{y}z{", "ünï:"] {
            let keys = Keys::new(prefix).unwrap();
            let own = slot(&keys.session(&id));
            for sibling in [keys.events(&id, "7f"), keys.events_start(&id), keys.calls(&id)] {
                assert_eq!(slot(&sibling), own, "{sibling}");
            }
            let all = slot(&keys.sessions());
            for sibling in [keys.peer_sessions("7f"), keys.peer_newcomers("7f")] {
                assert_eq!(slot(&sibling), all, "{sibling}");
            }
        }
    }

    #[test]
    fn without_a_prefix_the_keys_are_the_documented_ones() {
        let keys = Keys::new("").unwrap();
        let id = SessionId::parse("abc").unwrap();
        assert_eq!(keys.session(&id), "session:abc");
        assert_eq!(keys.events(&id, "s1"), "events:{session:abc}:s1");
        assert_eq!(keys.calls(&id), "calls:{session:abc}");
        assert_eq!(keys.session_glob(), "session:*");
        assert_eq!(keys.session_id("session:abc"), Some(id));
        assert_eq!(keys.session_id("session:"), None);
        assert_eq!(keys.session_id("other:abc"), None);
    }

    /// M14: Nodes under another prefix are told from other programs, and from nodes of this one.
    #[test]
    fn other_prefixes_are_those_under_which_nodes_listen() {
        let keys = Keys::new("a:").unwrap();
        let channels = [
            "a:nodes", "a:node:1", "nodes", "node:2", "b:nodes", "b:node:3", "my-nodes", "x",
        ];
        let channels: Vec<_> = channels.map(str::to_owned).into();
        assert_eq!(keys.other_prefixes(&channels), ["", "b:"]);
    }

    #[test]
    fn a_prefix_whose_braces_scatter_keys_is_refused() {
        for prefix in ["a{", "a}", "{}", "}{"] {
            assert!(Keys::new(prefix).is_none(), "{prefix}");
        }
        assert_eq!(Keys::new("a[b]*").unwrap().session_glob(), "a\\[b\\]\\*session:*");
    }
}
