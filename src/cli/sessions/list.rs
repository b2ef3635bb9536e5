//! `mcp-server sessions list`: a table of sessions, the last used first.

use std::cmp::Reverse;
use std::fmt::Write;
use std::time::Duration;

use humantime_serde::re::humantime;
use serde_json::Value;

use super::fields;
use crate::cli::print;
use crate::cli::times::{about, span};
use crate::cluster::sessions::noted_within;
use crate::session::{SessionId, SessionRecord};
use crate::store::{Limits, SessionStore};

/// The longest client name or principal shown in the table, in characters.
const NAME_CHARS_MAX: usize = 40;

/// Which sessions to list, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArguments {
    /// List at most N sessions
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=Limits::SESSION_LIST_MAX as u64))]
    limit: usize,
    /// List only sessions of clients whose name has this in it
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// List only sessions of this principal; "" for those without one
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// List only sessions that were not used for this long, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    idle: Option<Duration>,
    /// Answer in JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// The list. All sessions are read, as far as the store lists them, so that those it names are the last used
/// indeed.
///
/// # Errors
/// When the store does not answer.
pub(super) async fn answer(
    arguments: &ListArguments,
    store: &dyn SessionStore,
    ttl: Duration,
    now_ms: u64,
) -> anyhow::Result<String> {
    let mut sessions = store.list(Limits::SESSION_LIST_MAX).await?;
    let read_all = sessions.len() < Limits::SESSION_LIST_MAX;
    sessions.retain(|(_, record)| arguments.wants(record, ttl, now_ms));
    sessions.sort_by_key(|(_, record)| Reverse(record.last_activity_ms));
    let more = sessions.len() > arguments.limit || !read_all;
    sessions.truncate(arguments.limit);
    if arguments.json {
        let json = |(id, record): &(_, _)| fields::to_json(id, record, ttl);
        let list: Vec<Value> = sessions.iter().map(json).collect();
        return Ok(format!("{:#}", Value::Array(list)));
    }
    let mut text = match &*sessions {
        [] => "no sessions".to_owned(),
        some => table(some, ttl, now_ms),
    };
    // Writing to a String cannot fail.
    let _written = match (more, read_all) {
        (false, _) => Ok(()),
        (true, true) => writeln!(text, "(there are more: --limit is {})", arguments.limit),
        (true, false) => writeln!(
            text,
            "(there are more: only {} sessions are read)",
            Limits::SESSION_LIST_MAX
        ),
    };
    Ok(text)
}

impl ListArguments {
    fn wants(&self, record: &SessionRecord, ttl: Duration, now_ms: u64) -> bool {
        let has = |name: &String| {
            let client = record.client_info.name.to_lowercase();
            client.contains(&name.to_lowercase())
        };
        let idle = |least: Duration| {
            // It may have been used later than was noted.
            let used_ms = record.last_activity_ms.saturating_add(noted_within(record, ttl));
            u128::from(now_ms.saturating_sub(used_ms)) >= least.as_millis()
        };
        self.client.as_ref().is_none_or(has)
            && self
                .principal
                .as_ref()
                .is_none_or(|name| record.principal.as_str() == name)
            && self.idle.is_none_or(idle)
    }
}

fn table(sessions: &[(SessionId, SessionRecord)], ttl: Duration, now_ms: u64) -> String {
    let head = [
        "SESSION",
        "REVISION",
        "CLIENT",
        "PRINCIPAL",
        "AGE",
        "LAST USED",
        "NODE",
        "SUBSCRIPTIONS",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(sessions.iter().map(|(id, record)| row(id, record, ttl, now_ms)));
    columns(&rows)
}

fn row(id: &SessionId, record: &SessionRecord, ttl: Duration, now_ms: u64) -> [String; 8] {
    let client = format!("{} {}", record.client_info.name, record.client_info.version);
    let principal = match record.principal.as_str() {
        "" => "-".to_owned(),
        name => print::plain(name, NAME_CHARS_MAX),
    };
    [
        id.as_str().to_owned(),
        record.revision.to_string(),
        print::plain(&client, NAME_CHARS_MAX),
        principal,
        span(now_ms.saturating_sub(record.created_at_ms)),
        about(record.last_activity_ms, noted_within(record, ttl), now_ms),
        record.node_id.to_string(),
        record.subscriptions.len().to_string(),
    ]
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
    use super::super::fields::testing::session;
    use super::*;

    const TTL: Duration = Duration::from_secs(30 * 60);

    #[test]
    fn the_table_lines_up_and_is_safe_to_look_at() {
        let text = table(&[session("evil\u{1b}[31m")], TTL, 8_205_000);
        assert_eq!(
            text,
            "SESSION  REVISION    CLIENT         PRINCIPAL  AGE  LAST USED     NODE    SUBSCRIPTIONS\n\
             abc-123  2025-06-18  evil?[31m 1.0  alice      2h   1m to 3m ago  node-a  1\n"
        );
    }

    #[test]
    fn what_is_listed_can_be_chosen() {
        let (_, record) = session("Claude Desktop");
        let all = || ListArguments {
            limit: 1,
            client: None,
            principal: None,
            idle: None,
            json: false,
        };
        let wants = |arguments: ListArguments| arguments.wants(&record, TTL, 8_205_000);
        assert!(wants(all()));
        let named = |name: &str| Some(name.to_owned());
        for (client, wanted) in [("claude", true), ("cursor", false)] {
            let client = named(client);
            assert_eq!(wants(ListArguments { client, ..all() }), wanted);
        }
        for (principal, wanted) in [("alice", true), ("ali", false), ("", false)] {
            let principal = named(principal);
            assert_eq!(wants(ListArguments { principal, ..all() }), wanted);
        }
        // Last noted 205 s ago, and used up to 90 s later.
        for (seconds, wanted) in [(115, true), (116, false)] {
            let idle = Some(Duration::from_secs(seconds));
            assert_eq!(wants(ListArguments { idle, ..all() }), wanted);
        }
    }
}
