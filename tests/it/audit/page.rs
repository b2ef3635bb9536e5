//! docs/audit.md lists every event, member and pattern, and its lines are what a node writes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{ALICE, BOB, Trail, tag, with};
use crate::support::cluster::Cluster;

const PAGE: &str = include_str!("../../../docs/audit.md");
const ACTS: &str = include_str!("../../../src/audit/act.rs");
const LINE: &str = include_str!("../../../src/audit/line.rs");
const ALARMS: &str = include_str!("../../../src/audit/alarms.rs");

/// The first cells of the table with this head, without backticks.
fn first_cells(head: &str) -> BTreeSet<&'static str> {
    let rows = PAGE.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('|').nth(1))
        .map(|cell| cell.trim().trim_matches('`'))
        .collect()
}

/// What is in quotes behind an arrow, in the function of that name.
fn labels(source: &'static str, function: &str) -> BTreeSet<&'static str> {
    let (_, body) = source.split_once(function).expect("the function is there");
    let (body, _) = body.split_once("\n    }\n").expect("it ends");
    body.lines()
        .filter_map(|line| line.split("=> \"").nth(1)?.split('"').next())
        .collect()
}

#[test]
fn the_page_names_all_there_is() {
    let mut events = labels(ACTS, "fn event(");
    events.insert("lines_dropped");
    assert_eq!(first_cells("| event |"), events);
    assert_eq!(first_cells("| pattern |"), labels(ALARMS, "fn label("));
    let (_, members) = LINE.split_once("struct AuditLine<'a> {").expect("the line");
    let (members, _) = members.split_once("\n}\n").expect("it ends");
    let members = members.lines().filter(|line| !line.contains("#["));
    let members: BTreeSet<_> = members
        .filter_map(|line| line.trim().split_once(':'))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(first_cells("| member |"), members);
}

#[tokio::test]
async fn the_lines_of_the_page_are_such_as_a_node_writes() {
    let trail = Trail::new();
    let path = trail.path().display().to_string();
    let cluster = Cluster::alone(&trail.env(&path)).await;
    let (alice, bob) = (with(cluster.client(), ALICE), with(cluster.client(), BOB));
    let session = alice.session().await.to_owned();
    alice.call("echo", json!({"text": "x"})).await.ok();
    bob.in_session(&session).call("echo", json!({"text": "x"})).await;
    alice.delete().await;
    trail.has("session_ended", &[]).await;
    let written: BTreeMap<_, _> = trail
        .text()
        .lines()
        .map(|line| {
            let mut value: Value = serde_json::from_str(line).expect("JSON");
            let line = line.replace(value["at"].as_str().expect("a time"), "2026-01-31T12:00:00.000Z");
            let line = line.replace(value["node"].as_str().expect("a node"), "node-1");
            let line = line
                .replace(&tag(&session), "5f0c1a2b")
                .replace("anynode-tests", "an-agent");
            (value["event"].take().as_str().expect("an event").to_owned(), line)
        })
        .collect();
    let (_, block) = PAGE.split_once("```json\n").expect("a block of lines");
    let (block, _) = block.split_once("```").expect("it ends");
    let shown: BTreeSet<_> = block.lines().map(str::to_owned).collect();
    assert_eq!(shown, written.into_values().collect::<BTreeSet<_>>());
}
