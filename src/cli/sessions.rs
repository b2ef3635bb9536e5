//! `mcp-server sessions`: lists, shows and ends the sessions of all nodes.

use anyhow::{Context as _, bail};
use std::cmp::Reverse;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::exit::NoSharedStore;
use super::{Exit, print, unix_ms};
use crate::app::open;
use crate::cluster::{Membership, SessionError, Sessions};
use crate::config::Settings;
use crate::session::{NodeId, SessionId, SessionRecord};
use crate::store::Limits;
use crate::store::Store;
use crate::supervisor::Supervisor;

/// The longest client name shown in the table, in characters.
const CLIENT_CHARS_MAX: usize = 40;
/// How long the tasks of this process may take to stop.
const STOP_WITHIN: Duration = Duration::from_secs(1);

const NO_SESSION: &str = "there is no such session: it has ended or expired, or never was";

/// What to do with sessions.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum SessionsCommand {
    /// List sessions, the last used first. An id is a credential: with it, anybody can use the session
    List {
        /// The most sessions to list
        #[arg(long, value_name = "N", default_value_t = 100,
              value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=Limits::SESSION_LIST_MAX as u64))]
        limit: usize,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// Show everything that the store keeps of a session
    Show {
        /// The session's id
        id: String,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
    /// End a session on all nodes, for good; its client has to initialize again
    End {
        /// The session's id
        id: String,
        /// Answer in JSON
        #[arg(long)]
        json: bool,
    },
}

/// Does it, and prints what came of it.
///
/// # Errors
/// When no store is shared or it does not answer, or there is no such session.
pub(crate) async fn run(command: &SessionsCommand, settings: &Settings) -> anyhow::Result<Exit> {
    if settings.redis_url.is_empty() {
        return Err(NoSharedStore.into());
    }
    let store = open::store(settings).await?;
    let answer = answer(command, settings, &store).await;
    store.close().await;
    print::answer(&answer?).context("the answer could not be written")?;
    Ok(Exit::Ok)
}

async fn answer(
    command: &SessionsCommand,
    settings: &Settings,
    store: &Arc<dyn Store>,
) -> anyhow::Result<String> {
    match command {
        SessionsCommand::List { limit, json } => {
            let mut sessions = store.list(*limit).await?;
            sessions.sort_by_key(|(_, record)| Reverse(record.last_activity_ms));
            Ok(if *json {
                json_list(&sessions)
            } else {
                table(&sessions, *limit, unix_ms())
            })
        }
        SessionsCommand::Show { id, json } => {
            let id = SessionId::parse(id).context(NO_SESSION)?;
            let record = store.load(&id, None).await?.context(NO_SESSION)?;
            Ok(if *json {
                format!("{:#}", to_json(&id, &record))
            } else {
                fields(&id, &record)
            })
        }
        SessionsCommand::End { id, json } => {
            let id = SessionId::parse(id).context(NO_SESSION)?;
            end(settings, store, &id).await?;
            Ok(if *json {
                json!({ "ended": id.as_str() }).to_string()
            } else {
                format!("ended {}", id.as_str())
            })
        }
    }
}

/// Ends a session everywhere. For a moment this process is a node among the others: it sends messages to
/// those that keep a copy, and hears them acknowledge.
async fn end(settings: &Settings, store: &Arc<dyn Store>, id: &SessionId) -> anyhow::Result<()> {
    let node = NodeId::generate(unix_ms());
    let supervisor = Supervisor::new(node.as_str());
    let membership = Arc::new(Membership::outside(node.clone()));
    let messages = store.listen(&node).await?;
    let sessions = Sessions::new(Arc::clone(store), membership, settings, supervisor.clone());
    supervisor.spawn_vital("messages", sessions.clone().listen(messages, Arc::new(())));
    let ended = sessions.end(id).await;
    supervisor.stop(STOP_WITHIN).await;
    match ended {
        Ok(()) => Ok(()),
        Err(SessionError::Store(error)) => Err(error.into()),
        Err(SessionError::NotFound | SessionError::Full | SessionError::TooMany(_)) => {
            bail!(NO_SESSION)
        }
    }
}

fn json_list(sessions: &[(SessionId, SessionRecord)]) -> String {
    let list: Vec<Value> = sessions.iter().map(|(id, record)| to_json(id, record)).collect();
    format!("{:#}", Value::Array(list))
}

/// All that is kept, under the names that it has in the store, in the order of interest.
fn kept(id: &SessionId, record: &SessionRecord) -> [(&'static str, Value); 12] {
    [
        ("sessionId", json!(id.as_str())),
        ("protocolVersion", json!(record.revision.as_str())),
        ("transport", json!(record.transport)),
        ("clientInfo", json!(record.client_info)),
        ("capabilities", json!(record.capabilities)),
        ("initialized", json!(record.initialized)),
        ("createdAt", json!(record.created_at_ms)),
        ("lastActivity", json!(record.last_activity_ms)),
        ("nodeId", json!(record.node_id.as_str())),
        ("principal", json!(record.principal.as_str())),
        ("logLevel", json!(record.log_level)),
        ("subscriptions", json!(record.subscriptions)),
    ]
}

fn to_json(id: &SessionId, record: &SessionRecord) -> Value {
    let fields = kept(id, record).map(|(name, value)| (name.to_owned(), value));
    Value::Object(fields.into_iter().collect())
}

/// One line for each field.
fn fields(id: &SessionId, record: &SessionRecord) -> String {
    let mut text = String::new();
    for (name, value) in kept(id, record) {
        let shown = match value {
            Value::Null => "-".into(),
            Value::String(text) if text.is_empty() => "-".into(),
            Value::String(text) => print::plain(&text, usize::MAX),
            other => print::plain(&other.to_string(), usize::MAX),
        };
        // Writing to a String cannot fail.
        let _written = writeln!(text, "{name:<17}{shown}");
    }
    text
}

fn table(sessions: &[(SessionId, SessionRecord)], limit: usize, now_ms: u64) -> String {
    let head = [
        "SESSION",
        "REVISION",
        "CLIENT",
        "AGE",
        "LAST USED",
        "NODE",
        "SUBSCRIPTIONS",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(sessions.iter().map(|(id, record)| row(id, record, now_ms)));
    let mut text = columns(&rows);
    if sessions.is_empty() {
        text = "no sessions".into();
    } else if sessions.len() == limit {
        let _written = writeln!(text, "(there may be more: --limit is {limit})");
    }
    text
}

fn row(id: &SessionId, record: &SessionRecord, now_ms: u64) -> [String; 7] {
    let client = format!("{} {}", record.client_info.name, record.client_info.version);
    [
        id.as_str().to_owned(),
        record.revision.to_string(),
        print::plain(&client, CLIENT_CHARS_MAX),
        span(now_ms.saturating_sub(record.created_at_ms)),
        format!("{} ago", span(now_ms.saturating_sub(record.last_activity_ms))),
        record.node_id.to_string(),
        record.subscriptions.len().to_string(),
    ]
}

/// A time span in its largest unit, rounded down.
fn span(ms: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(86_400, "d"), (3600, "h"), (60, "m")];
    let seconds = ms / 1000;
    UNITS.into_iter().find(|(unit, _)| seconds >= *unit).map_or_else(
        || format!("{seconds}s"),
        |(unit, name)| format!("{}{name}", seconds / unit),
    )
}

/// Rows as columns, each as wide as its widest cell.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths);
        let line: Vec<String> = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _written = writeln!(text, "{}", line.join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use rmcp::model::{ClientCapabilities, Implementation};

    use super::*;
    use crate::protocol::era::Revision;
    use crate::session::{NodeId, Principal, TransportKind};

    fn session(client: &str) -> (SessionId, SessionRecord) {
        let record = SessionRecord {
            revision: Revision::V2025_06_18,
            transport: TransportKind::Streamable,
            client_info: Implementation::new(client, "1.0"),
            capabilities: ClientCapabilities::default(),
            initialized: true,
            created_at_ms: 1_000_000,
            last_activity_ms: 8_000_000,
            node_id: NodeId::parse("node-a").unwrap(),
            principal: Principal::anonymous(),
            log_level: None,
            subscriptions: ["note://1".to_owned()].into(),
        };
        (SessionId::parse("abc-123").unwrap(), record)
    }

    #[test]
    fn the_table_lines_up_and_is_safe_to_look_at() {
        let text = table(&[session("evil\u{1b}[31m")], 1, 8_205_000);
        assert_eq!(
            text,
            "SESSION  REVISION    CLIENT         AGE  LAST USED  NODE    SUBSCRIPTIONS\n\
             abc-123  2025-06-18  evil?[31m 1.0  2h   3m ago     node-a  1\n\
             (there may be more: --limit is 1)\n"
        );
        assert_eq!(table(&[], 10, 0), "no sessions");
    }

    #[test]
    fn show_names_every_field_as_the_store_does() {
        let (id, record) = session("client");
        let text = fields(&id, &record);
        for line in [
            "sessionId        abc-123",
            "nodeId           node-a",
            "logLevel         -",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        }
        assert!(text.contains("[\"note://1\"]"));
    }

    #[test]
    fn spans_are_told_in_their_largest_unit() {
        assert_eq!(span(999), "0s");
        assert_eq!(span(61_000), "1m");
        assert_eq!(span(7_200_000), "2h");
        assert_eq!(span(172_800_000), "2d");
    }
}
