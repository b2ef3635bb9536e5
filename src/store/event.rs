//! What a stream's log and the change of a topic both name: an event, and the connection that carries it.

use crate::session::NodeId;

/// The connection that carries a stream: the node, and a number that is unique on it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Holder {
    /// The node.
    pub node: NodeId,
    /// The connection's number on the node.
    pub connection: u64,
}

/// One event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the stream, from 1.
    pub number: u64,
    /// A JSON-RPC message as JSON text.
    pub data: String,
}
