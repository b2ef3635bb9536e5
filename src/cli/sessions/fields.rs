//! What a session's record says, in the words of the store.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::sessions::noted_within;
use crate::session::{SessionId, SessionRecord};

/// The record's fields, under the names that they have in the store, in the order of interest. The last use
/// may be later than was noted: by how much is told beside it.
pub(super) fn kept(id: &SessionId, record: &SessionRecord, ttl: Duration) -> [(&'static str, Value); 14] {
    [
        ("sessionId", json!(id.as_str())),
        ("protocolVersion", json!(record.revision.as_str())),
        ("transport", json!(record.transport)),
        ("clientInfo", json!(record.client_info)),
        ("capabilities", json!(record.capabilities)),
        ("agent", json!(record.agent)),
        ("initialized", json!(record.initialized)),
        ("createdAt", json!(record.created_at_ms)),
        ("lastActivity", json!(record.last_activity_ms)),
        ("lastActivityWithinMs", json!(noted_within(record, ttl))),
        ("nodeId", json!(record.node_id.as_str())),
        ("principal", json!(record.principal.as_str())),
        ("logLevel", json!(record.log_level)),
        ("subscriptions", json!(record.subscriptions)),
    ]
}

pub(super) fn to_json(id: &SessionId, record: &SessionRecord, ttl: Duration) -> Value {
    let fields = kept(id, record, ttl).map(|(name, value)| (name.to_owned(), value));
    Value::Object(fields.into_iter().collect())
}

#[cfg(test)]
pub(super) mod testing {
    use rmcp::model::{ClientCapabilities, Implementation};

    use super::*;
    use crate::protocol::era::Revision;
    use crate::session::{NodeId, Principal, TransportKind};

    /// A session of alice's by that client.
    pub(in super::super) fn session(client: &str) -> (SessionId, SessionRecord) {
        let record = SessionRecord {
            revision: Revision::V2025_06_18,
            transport: TransportKind::Streamable,
            client_info: Implementation::new(client, "1.0"),
            capabilities: ClientCapabilities::default(),
            initialized: true,
            created_at_ms: 1_000_000,
            last_activity_ms: 8_000_000,
            node_id: NodeId::parse("node-a").unwrap(),
            principal: Principal("alice".into()),
            log_level: None,
            subscriptions: ["note://1".to_owned()].into(),
            agent: "agent/1".into(),
        };
        (SessionId::parse("abc-123").unwrap(), record)
    }
}
