//! README.md and deploy/ agree with the program: settings, errors, metrics, tools, exit codes, and the
//! example.

use std::collections::BTreeSet;
use std::path::Path;

use anynode::cli::Exit;
use serde_json::json;

use crate::support::client::{Client, LEGACY};
use crate::support::http::http_get;
use crate::support::node::{Node, NodeOptions};

const DEFAULTS_TOML: &str = include_str!("../../settings.default.toml");

mod deploy;
mod limits;
mod walk;

const README: &str = include_str!("../../README.md");
const EXAMPLE: &str = include_str!("../../examples/own_tools.rs");
const REFUSALS: &str = include_str!("../../src/protocol/error.rs");
const METRIC_NAMES: &str = include_str!("../../src/telemetry/metrics/names.rs");

/// The rows of the one table that has this head, cell by cell, without backticks.
fn table(head: &str) -> Vec<Vec<String>> {
    let mut lines = README.lines().skip_while(|line| *line != head);
    assert!(
        lines.next().is_some(),
        "README.md has no table with the head {head}"
    );
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    let cell = |cell: &str| cell.trim().trim_matches('`').to_owned();
    rows.map(|row| row.trim_matches('|').split('|').map(cell).collect())
        .collect()
}

fn first_cells(head: &str) -> BTreeSet<String> {
    table(head).into_iter().map(|row| row[0].clone()).collect()
}

/// Every setting of `settings.default.toml` with its default, as README.md shows it.
fn defaults(tree: &toml::Table, before: &str, found: &mut BTreeSet<(String, String)>) {
    for (key, value) in tree {
        let name = format!("{before}{key}");
        let shown = match value {
            toml::Value::Table(inner) if !inner.is_empty() => {
                defaults(inner, &format!("{name}."), found);
                continue;
            }
            toml::Value::Table(_) => "none".to_owned(),
            toml::Value::Array(items) if items.is_empty() => "none".to_owned(),
            toml::Value::String(text) if text.is_empty() => "empty".to_owned(),
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        found.insert((name, shown));
    }
}

#[test]
fn every_setting_is_named_with_its_default_and_its_variable() {
    let rows = table("| setting | variable | default | meaning |");
    let shown: BTreeSet<_> = rows.iter().map(|row| (row[0].clone(), row[2].clone())).collect();
    assert_eq!(shown.len(), rows.len(), "a setting is there twice");
    let mut expected = BTreeSet::new();
    defaults(
        &DEFAULTS_TOML.parse().expect("settings.default.toml"),
        "",
        &mut expected,
    );
    assert_eq!(shown, expected);
    for row in &rows {
        let variable = match row[0].split_once('.') {
            Some((area, name)) => format!("MCP_{area}__{name}").to_uppercase(),
            None => row[0].to_uppercase(),
        };
        let named = row[1].split("__<").next().expect("a first part");
        assert_eq!(named, variable, "{}", row[0]);
        let line = format!("\n# {named}");
        assert!(
            DEFAULTS_TOML.contains(&line),
            "settings.default.toml does not name {named}"
        );
    }
}

#[test]
fn every_metric_is_named_with_its_kind() {
    let quoted: BTreeSet<_> = METRIC_NAMES
        .split('"')
        .filter(|text| text.starts_with("anynode_"))
        .map(str::to_owned)
        .collect();
    assert_eq!(first_cells("| metric | kind | labels | what it tells |"), quoted);
}

#[tokio::test]
async fn metrics_have_the_kinds_and_labels_that_are_promised() {
    let node = Node::start(&NodeOptions::default()).await;
    let client = Client::legacy(&node.url());
    client
        .call("countdown", json!({"from": 1, "interval_ms": 150}))
        .await
        .ok();
    client.clone().in_session("unknown").list().await;
    let metrics = http_get(format!("{}/metrics", node.url()))
        .await
        .expect("an answer")
        .text()
        .await
        .expect("metrics as text");
    for row in table("| metric | kind | labels | what it tells |") {
        let (name, kind) = (&row[0], &row[1]);
        let typed = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&format!("# TYPE {name} ")));
        // What a node in memory has nothing to tell of is absent.
        let Some(typed) = typed else { continue };
        assert_eq!(typed, kind, "{name}");
        let line = metrics.lines().find(|line| {
            let rest = line.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.starts_with(['{', ' ', '_']))
        });
        let line = line.unwrap_or_else(|| panic!("no value of {name}"));
        for label in row[2].split(", ").map(|label| label.trim_matches('`')) {
            assert!(
                label.is_empty() || line.contains(&format!("{label}=\"")),
                "{label} in {line}"
            );
        }
    }
    for described in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = described.split(' ').next().unwrap_or_default();
        assert!(
            README.contains(&format!("`{name}`")),
            "README.md does not name {name}"
        );
    }
}

#[tokio::test]
async fn the_tools_are_those_of_the_server_in_its_order() {
    let node = Node::start(&NodeOptions::default()).await;
    let listed = Client::legacy(&node.url()).list().await.ok();
    let tools = listed.result()["tools"].as_array().expect("tools").clone();
    let served: Vec<_> = tools
        .iter()
        .map(|tool| tool["name"].as_str().expect("a name").to_owned())
        .collect();
    let shown: Vec<_> = table("| tool | what it does |")
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    assert_eq!(shown, served);
}

#[tokio::test]
async fn health_answers_what_is_shown() {
    let node = Node::start(&NodeOptions::default()).await;
    let answer: serde_json::Value = http_get(format!("{}/health", node.url()))
        .await
        .expect("an answer")
        .json()
        .await
        .expect("health as JSON");
    let shown = README
        .lines()
        .find(|line| line.starts_with("{\"status\":"))
        .expect("health in README.md");
    let shown: serde_json::Value = serde_json::from_str(shown).expect("JSON");
    let names = |value: &serde_json::Value| {
        let object = value.as_object().expect("an object");
        object.keys().cloned().collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&shown), names(&answer));
    assert_eq!(names(&shown["store"]), names(&answer["store"]));
}

#[test]
fn exit_codes_are_those_of_the_program() {
    let shown = first_cells("| exit code | meaning |");
    let wrong_usage = 2; // clap's own
    let codes = [
        Exit::Ok as u8,
        Exit::Failure as u8,
        Exit::Unreachable as u8,
        Exit::NameTaken as u8,
        Exit::Settings as u8,
        wrong_usage,
    ];
    assert_eq!(shown, codes.map(|code| code.to_string()).into());
}

#[test]
fn the_example_is_the_one_that_is_built() {
    let (_, code) = EXAMPLE.split_once("\n\n").expect("an opening line, then code");
    assert!(
        README.contains(&format!("```rust\n{code}```")),
        "README.md shows another examples/own_tools.rs"
    );
}

#[test]
fn curl_opens_sessions_of_the_newest_revision_that_has_them() {
    let named = format!("\"protocolVersion\":\"{LEGACY}\"");
    assert!(README.contains(&named), "README.md opens no session of {LEGACY}");
}

/// What is said of speed is what was measured, whole: the misses too.
#[test]
fn the_figures_are_those_of_the_last_benchmark() {
    let summary = include_str!("../../benches/results/summary.md");
    assert!(summary.contains("| target | measured | |") && summary.lines().count() > 15);
    assert!(
        README.contains(summary.trim()),
        "put benches/results/summary.md into the README"
    );
}

#[test]
fn files_and_headings_that_are_linked_exist() {
    assert_links("README.md");
    assert_links("deploy/README.md");
}

/// Each link of this page leads somewhere: to a file, and to a heading of it.
fn assert_links(page: &str) {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = read(&page);
    for part in text.split("](").skip(1) {
        let target = part.split(')').next().unwrap_or_default();
        if target.starts_with("https://") {
            continue;
        }
        let (file, heading) = target.split_once('#').unwrap_or((target, ""));
        let file = match file {
            "" => page.clone(),
            file => page.with_file_name(file),
        };
        assert!(file.exists(), "{target} is not there");
        let found = heading.is_empty() || headings(&read(&file)).contains(heading);
        assert!(found, "no heading for {target}");
    }
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn headings(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        line.trim_start_matches(['#', ' '])
            .to_lowercase()
            .replace(' ', "-")
    };
    lines.map(anchor).collect()
}
