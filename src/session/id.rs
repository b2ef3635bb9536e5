//! Names of sessions, of nodes and of their starts. A session id is a credential: it is never logged, only
//! its tag is.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::random;

/// The longest session id accepted, in bytes. Ours are UUIDs of 36; a configured client key may be longer.
pub(crate) const SESSION_ID_BYTES_MAX: usize = 128;

/// A session's id: 1 to 128 visible ASCII characters (2025-11-25, Transports, "Session Management"), of which
/// this server uses letters, digits, `-` and `_`.
///
/// The id is a credential, so `Debug` prints only the [tag](Self::tag).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(Arc<str>);

impl SessionId {
    /// A fresh, unguessable id (UUID v4).
    #[must_use]
    pub fn generate() -> Self {
        Self(random::uuid().to_string().into())
    }

    /// Reads an id from the wire. `None` when no session of this server can have it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=SESSION_ID_BYTES_MAX).contains(&text.len());
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (fits && plain).then(|| Self(text.into()))
    }

    /// The id as it goes over the wire. Not for logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A short hash of the id that is safe to log: 8 hex digits, the same on every node.
    #[must_use]
    pub fn tag(&self) -> String {
        let digest = Sha256::digest(self.0.as_bytes());
        digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId#{}", self.tag())
    }
}

/// The longest node id accepted, in bytes.
pub(crate) const NODE_ID_BYTES_MAX: usize = 128;

/// A node's name, unique among the nodes that share a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(Arc<str>);

impl NodeId {
    /// A fresh name: `node-<unix milliseconds>-<6 random letters and digits>`.
    #[must_use]
    pub fn generate(unix_ms: u64) -> Self {
        let random = random::uuid().simple().to_string();
        let suffix = random.get(..6).unwrap_or("000000");
        Self(format!("node-{unix_ms}-{suffix}").into())
    }

    /// Reads a configured name: 1 to 128 letters, digits, `-`, `_` and `.`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=NODE_ID_BYTES_MAX).contains(&text.len());
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        (fits && plain).then(|| Self(text.into()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One start of a node: unique among all that ever ran under its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Life(Arc<str>);

impl Life {
    /// A fresh one (UUID v4, without hyphens).
    #[must_use]
    pub fn generate() -> Self {
        Self(random::uuid().simple().to_string().into())
    }

    /// Reads a name: 1 to 32 letters and digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=32).contains(&text.len());
        (fits && text.bytes().all(|b| b.is_ascii_alphanumeric())).then(|| Self(text.into()))
    }

    /// Its name, letters and digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_never_shows_in_debug_output() {
        let id = SessionId::generate();
        assert!(!format!("{id:?}").contains(id.as_str()));
        assert_eq!(id.tag().len(), 8);
    }

    #[test]
    fn ids_that_could_not_be_ours_are_refused() {
        assert!(SessionId::parse("").is_none());
        assert!(SessionId::parse("a b").is_none());
        assert!(SessionId::parse("a\r\nb").is_none());
        assert!(SessionId::parse("{x}").is_none());
        assert!(SessionId::parse(&"a".repeat(SESSION_ID_BYTES_MAX + 1)).is_none());
        assert!(SessionId::parse(SessionId::generate().as_str()).is_some());
    }

    #[test]
    fn a_generated_node_id_has_the_documented_shape() {
        let id = NodeId::generate(1_700_000_000_000);
        assert!(id.as_str().starts_with("node-1700000000000-"));
        assert_eq!(id.as_str().len(), "node-1700000000000-".len() + 6);
        assert!(NodeId::parse(id.as_str()).is_some());
    }
}
