//! A session's record as fields of a hash, and back.

use std::collections::BTreeSet;

use fred::types::Value;

use crate::protocol::era::Revision;
use crate::session::{Introduction, LogLevel, NodeId, Principal, SessionRecord, TransportKind};
use crate::store::StoreError;

/// The version of the record's shape. A node that finds a higher one leaves the session to nodes that know
/// it.
const VERSION: u32 = 2;
/// The former, of which `subscriptions` is a JSON list: who loads it makes it one of this version.
const VERSION_OF_LISTS: u32 = 1;

/// The fields of a record, the version first. [`decode`] takes their values in this order.
pub(super) const FIELDS: [&str; 13] = [
    "v",
    "protocolVersion",
    "transport",
    "clientInfo",
    "capabilities",
    "initialized",
    "createdAt",
    "lastActivity",
    "nodeId",
    "principal",
    "logLevel",
    "subscriptions",
    // Absent from records of before: then it is not known.
    "agent",
];

/// Fields and values by turns.
pub(super) fn encode(record: &SessionRecord) -> Result<Vec<Value>, serde_json::Error> {
    let mut values: Vec<Value> = vec![
        VERSION.to_string().into(),
        record.revision.as_str().into(),
        record.transport.as_str().into(),
        serde_json::to_string(&record.client_info)?.into(),
        serde_json::to_string(&record.capabilities)?.into(),
        if record.initialized { "1" } else { "0" }.into(),
        record.created_at_ms.to_string().into(),
        record.last_activity_ms.to_string().into(),
        record.node_id.as_str().into(),
        record.principal.as_str().into(),
    ];
    values.push(record.log_level.map_or("", LogLevel::as_str).into());
    values.push(encode_subscriptions(&record.subscriptions)?.into());
    values.push(record.agent.as_str().into());
    let fields = FIELDS.iter().map(|field| Value::from(*field));
    Ok(fields.zip(values).flat_map(<[Value; 2]>::from).collect())
}

/// The fields that `initialize` sets, and values, by turns.
pub(super) fn encode_introduction(introduction: &Introduction) -> Result<Vec<Value>, serde_json::Error> {
    Ok(vec![
        "protocolVersion".into(),
        introduction.revision.as_str().into(),
        "clientInfo".into(),
        serde_json::to_string(&introduction.client_info)?.into(),
        "capabilities".into(),
        serde_json::to_string(&introduction.capabilities)?.into(),
        "agent".into(),
        introduction.agent.as_str().into(),
    ])
}

/// Reads the values of [`FIELDS`]; `None` when there is no such session.
///
/// # Errors
/// [`StoreError::Newer`]; [`StoreError::Corrupt`] when no version could read it.
pub(super) fn decode(values: Vec<Option<String>>) -> Result<Option<SessionRecord>, StoreError> {
    let fields = <[Option<String>; FIELDS.len()]>::try_from(values)
        .map_err(|values| corrupt("the number of fields", &values.len().to_string()))?;
    if fields.iter().all(Option::is_none) {
        return Ok(None);
    }
    let [
        v,
        revision,
        transport,
        info,
        capabilities,
        initialized,
        created,
        activity,
        node,
        principal,
        level,
        uris,
        agent,
    ] = fields.map(Option::unwrap_or_default);
    match v.parse::<u32>() {
        Ok(VERSION | VERSION_OF_LISTS) => {}
        Ok(newer) if newer > VERSION => return Err(StoreError::Newer("a session")),
        Ok(_) | Err(_) => return Err(corrupt("v", &v)),
    }
    Ok(Some(SessionRecord {
        revision: Revision::parse(&revision).ok_or_else(|| corrupt("protocolVersion", &revision))?,
        transport: TransportKind::parse(&transport).ok_or_else(|| corrupt("transport", &transport))?,
        client_info: json("clientInfo", &info)?,
        capabilities: json("capabilities", &capabilities)?,
        initialized: initialized == "1",
        created_at_ms: json("createdAt", &created)?,
        last_activity_ms: json("lastActivity", &activity)?,
        node_id: NodeId::parse(&node).ok_or_else(|| corrupt("nodeId", &node))?,
        principal: Principal(principal.into()),
        log_level: (!level.is_empty())
            .then(|| LogLevel::parse(&level).ok_or_else(|| corrupt("logLevel", &level)))
            .transpose()?,
        subscriptions: match uris.starts_with('[') {
            true => json("subscriptions", &uris)?,
            false => decode_subscriptions(&uris)?,
        },
        agent,
    }))
}

/// How one of the subscriptions stands among them: each as JSON, in which no line ends, on a line of its own.
/// So scripts find one, and take it off, without reading the others.
pub(super) fn encode_subscription(uri: &str) -> Result<String, StoreError> {
    let quoted = serde_json::to_string(uri).map_err(|error| corrupt("subscriptions", &error.to_string()))?;
    Ok(format!("\n{quoted}\n"))
}

fn encode_subscriptions(uris: &BTreeSet<String>) -> Result<String, serde_json::Error> {
    let mut text = String::from(if uris.is_empty() { "" } else { "\n" });
    for uri in uris {
        text += &serde_json::to_string(uri)?;
        text.push('\n');
    }
    Ok(text)
}

fn decode_subscriptions(text: &str) -> Result<BTreeSet<String>, StoreError> {
    let lines = text.lines().filter(|line| !line.is_empty());
    lines.map(|line| json("subscriptions", line)).collect()
}

fn json<T: serde::de::DeserializeOwned>(field: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| corrupt(field, &error.to_string()))
}

fn corrupt(field: &str, what: &str) -> StoreError {
    StoreError::Corrupt(format!("a session's `{field}`: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(record: &SessionRecord) -> Vec<Option<String>> {
        let all = encode(record).unwrap();
        all.into_iter()
            .skip(1)
            .step_by(2)
            .map(|v| v.as_string())
            .collect()
    }

    fn record() -> SessionRecord {
        SessionRecord {
            revision: Revision::V2025_11_25,
            transport: TransportKind::Streamable,
            client_info: serde_json::from_str(r#"{"name":"ünï \"q\"","version":"1"}"#).unwrap(),
            capabilities: serde_json::from_str(r#"{"sampling":{}}"#).unwrap(),
            initialized: true,
            created_at_ms: 1_700_000_000_000,
            last_activity_ms: u64::MAX,
            node_id: NodeId::parse("node-1").unwrap(),
            principal: Principal::anonymous(),
            log_level: Some(LogLevel::Warning),
            subscriptions: ["note://a/b", "odd:\n\"[ü", ""].map(str::to_owned).into(),
            agent: "suite/1 (ünï)".into(),
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        assert_eq!(decode(values(&record())).unwrap(), Some(record()));
    }

    #[test]
    fn a_record_of_the_former_version_is_read() {
        let mut values = values(&record());
        values[0] = Some("1".into());
        let place = |name| FIELDS.iter().position(|field| *field == name).unwrap();
        values[place("subscriptions")] = Some(serde_json::to_string(&record().subscriptions).unwrap());
        values[place("agent")] = None;
        let read = SessionRecord {
            agent: String::new(),
            ..record()
        };
        assert_eq!(decode(values).unwrap(), Some(read));
    }

    #[test]
    fn a_record_of_another_version_is_not_guessed_at() {
        for (version, newer) in [("3", true), ("10", true), ("0", false), ("x", false), ("", false)] {
            let mut values = values(&record());
            values[0] = Some(version.into());
            let decoded = decode(values).unwrap_err();
            assert_eq!(
                matches!(decoded, StoreError::Newer(_)),
                newer,
                "{version}: {decoded}"
            );
        }
        assert_eq!(decode(vec![None; FIELDS.len()]).unwrap(), None);
    }
}
