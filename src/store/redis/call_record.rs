//! A call's record as JSON text, and back.

use serde::{Deserialize, Serialize};

use crate::session::NodeId;
use crate::store::StoreError;
use crate::store::calls::CallRecord;
use crate::store::streams::StreamId;

/// The version of a call's record. A node that finds a higher one leaves the call to nodes that know it.
const VERSION: u32 = 1;

/// A call's record as JSON. The request's text is in a field of its own, because scripts read this at every
/// event.
#[derive(Serialize, Deserialize)]
struct StoredCall {
    #[serde(default = "unnumbered")]
    v: u32,
    node: String,
    /// In which life the node runs it.
    #[serde(default)]
    life: String,
    stream: String,
    method: String,
    started: u64,
    request: String,
    replayable: bool,
    /// Whether it was another node's before.
    #[serde(default)]
    claimed: bool,
}

/// The version of records that do not say theirs.
const fn unnumbered() -> u32 {
    VERSION
}

/// What any version of a record says.
#[derive(Deserialize)]
struct Numbered {
    #[serde(default = "unnumbered")]
    v: u32,
}

/// The text of a record: that of the call, as `node` runs it in that life.
pub(super) fn encode(
    call: &CallRecord,
    node: &NodeId,
    life: String,
    claimed: bool,
) -> Result<String, StoreError> {
    let stored = StoredCall {
        v: VERSION,
        node: node.as_str().into(),
        life,
        stream: call.stream.as_str().into(),
        method: call.method.clone(),
        started: call.started_ms,
        request: call.request.clone(),
        replayable: call.body.is_some(),
        claimed,
    };
    serde_json::to_string(&stored).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// The call of a record.
///
/// # Errors
/// [`StoreError::Newer`]; [`StoreError::Corrupt`] when no version could read it.
pub(super) fn decode(
    name: &StreamId,
    text: &str,
    body: Option<String>,
    stop: Option<&str>,
) -> Result<CallRecord, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("a call's record: {what}"));
    let unreadable = |error: serde_json::Error| corrupt(&error.to_string());
    let Numbered { v } = serde_json::from_str(text).map_err(unreadable)?;
    if v > VERSION {
        return Err(StoreError::Newer("a call"));
    }
    let stored: StoredCall = serde_json::from_str(text).map_err(unreadable)?;
    Ok(CallRecord {
        name: name.clone(),
        stream: StreamId::parse(&stored.stream).ok_or_else(|| corrupt("stream"))?,
        node: NodeId::parse(&stored.node).ok_or_else(|| corrupt("node"))?,
        request: stored.request,
        method: stored.method,
        started_ms: stored.started,
        body,
        cancelled: stop.is_some(),
    })
}
