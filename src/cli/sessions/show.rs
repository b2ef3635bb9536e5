//! `mcp-server sessions show`: all that is kept of one session.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{NO_SESSION, fields};
use crate::cli::print;
use crate::cli::times::{about, moment, span};
use crate::cluster::sessions::noted_within;
use crate::session::{SessionId, SessionRecord};
use crate::store::SessionStore as _;
use crate::store::redis::RedisStore;
use crate::store::redis::belongings::Belongings;

/// Which session to show, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArguments {
    /// The session's id
    id: String,
    /// Answer in JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// All that is kept of it.
///
/// # Errors
/// When there is no such session, or the store does not answer.
pub(super) async fn answer(
    arguments: &ShowArguments,
    store: &RedisStore,
    ttl: Duration,
    now_ms: u64,
) -> anyhow::Result<String> {
    let id = SessionId::parse(&arguments.id).context(NO_SESSION)?;
    let record = store.load(&id, None).await?.context(NO_SESSION)?;
    let belongings = store.belongings(&id).await?;
    Ok(match arguments.json {
        true => format!("{:#}", to_json(&id, &record, &belongings, ttl)),
        false => to_text(&id, &record, &belongings, ttl, now_ms),
    })
}

fn to_json(id: &SessionId, record: &SessionRecord, belongings: &Belongings, ttl: Duration) -> Value {
    let mut shown = fields::to_json(id, record, ttl);
    let of_state = |(key, bytes): &(String, usize)| json!({ "key": key, "bytes": bytes });
    let all = [
        ("endsInMs", json!(belongings.ends_in.map(|ends| ends.as_millis()))),
        ("copies", names(&belongings.copies)),
        ("state", belongings.state.iter().map(of_state).collect()),
        (
            "streams",
            belongings
                .streams
                .iter()
                .map(|log| {
                    json!({
                        "name": log.name.as_str(),
                        "events": log.events,
                        "bytes": log.bytes,
                        "done": log.done,
                        "carrier": log.carrier.as_ref().map(ToString::to_string),
                    })
                })
                .collect(),
        ),
        (
            "calls",
            belongings
                .calls
                .iter()
                .map(|call| {
                    json!({
                        "name": call.name.as_str(),
                        "method": call.method,
                        "nodeId": call.node.as_str(),
                        "startedAt": call.started_ms,
                    })
                })
                .collect(),
        ),
    ];
    if let Some(shown) = shown.as_object_mut() {
        shown.extend(all.map(|(name, value)| (name.to_owned(), value)));
    }
    shown
}

fn names(all: &[impl ToString]) -> Value {
    all.iter().map(ToString::to_string).collect()
}

/// One line for each field, and for each of what there may be several of.
fn to_text(
    id: &SessionId,
    record: &SessionRecord,
    belongings: &Belongings,
    ttl: Duration,
    now_ms: u64,
) -> String {
    let mut lines = Vec::new();
    for (name, value) in fields::kept(id, record, ttl) {
        let shown = match (name, value) {
            ("createdAt", _) => moment(record.created_at_ms, now_ms),
            // One line tells both.
            ("lastActivityWithinMs", _) => continue,
            ("lastActivity", _) => about(record.last_activity_ms, noted_within(record, ttl), now_ms),
            (_, Value::Null) => "-".into(),
            (_, Value::String(text)) if text.is_empty() => "-".into(),
            (_, Value::String(text)) => text,
            (_, other) => other.to_string(),
        };
        lines.push((name, shown));
    }
    let ends = belongings.ends_in.map_or_else(
        || "-".to_owned(),
        |left| {
            let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            format!("in {} unless it is used", span(left))
        },
    );
    lines.push(("ends", ends));
    lines.extend(several("copies", &belongings.copies, ToString::to_string));
    lines.extend(several("state", &belongings.state, |(key, bytes)| {
        format!("{key:?} {bytes} bytes")
    }));
    lines.extend(several("streams", &belongings.streams, |log| {
        let carrier = log.carrier.as_ref().map(|node| format!(", carried by {node}"));
        let done = if log.done { ", done" } else { "" };
        let carrier = carrier.unwrap_or_default();
        format!(
            "{} {} events, {} bytes{done}{carrier}",
            log.name.as_str(),
            log.events,
            log.bytes
        )
    }));
    lines.extend(several("calls", &belongings.calls, |call| {
        let since = span(now_ms.saturating_sub(call.started_ms));
        format!(
            "{} {} on {} for {since}",
            call.name.as_str(),
            call.method,
            call.node
        )
    }));
    let mut text = String::new();
    for (name, shown) in lines {
        // Writing to a String cannot fail.
        let _written = writeln!(text, "{name:<17}{}", print::plain(&shown, usize::MAX));
    }
    text
}

/// The lines of what there may be several of: the first names it.
fn several<T>(name: &'static str, all: &[T], shown: impl Fn(&T) -> String) -> Vec<(&'static str, String)> {
    if all.is_empty() {
        return vec![(name, "-".to_owned())];
    }
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    names.zip(all.iter().map(shown)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fields::testing::session;
    use super::*;
    use crate::session::NodeId;
    use crate::store::redis::belongings::StreamLog;
    use crate::store::streams::StreamId;

    const TTL: Duration = Duration::from_secs(30 * 60);

    #[test]
    fn show_names_every_field_as_the_store_does_and_what_belongs_to_it() {
        let (id, record) = session("client");
        let belongings = Belongings {
            ends_in: Some(Duration::from_secs(600)),
            state: vec![("evil\u{1b}".into(), 12), ("notes".into(), 7)],
            copies: vec![NodeId::parse("node-a").unwrap()],
            streams: vec![StreamLog {
                name: StreamId::standalone(),
                events: 3,
                bytes: 90,
                done: false,
                carrier: NodeId::parse("node-b"),
            }],
            calls: vec![],
        };
        let text = to_text(&id, &record, &belongings, TTL, 8_012_000);
        for line in [
            "sessionId        abc-123",
            "createdAt        1970-01-01T00:16:40Z (1h ago)",
            "lastActivity     at most 12s ago",
            "nodeId           node-a",
            "logLevel         -",
            "agent            agent/1",
            "subscriptions    [\"note://1\"]",
            "ends             in 10m unless it is used",
            "copies           node-a",
            "state            \"evil\\u{1b}\" 12 bytes",
            "                 \"notes\" 7 bytes",
            "streams          get 3 events, 90 bytes, carried by node-b",
            "calls            -",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        let json = to_json(&id, &record, &belongings, TTL);
        assert_eq!(json["state"][1], json!({ "key": "notes", "bytes": 7 }));
        assert_eq!(json["copies"], json!(["node-a"]));
        assert_eq!(json["streams"][0]["carrier"], "node-b");
        assert_eq!(json["endsInMs"], 600_000);
        assert_eq!(json["lastActivityWithinMs"], 90_000);
    }
}
