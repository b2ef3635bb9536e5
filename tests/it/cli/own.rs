//! The command line of a program that mounts a handler of its own: in its own clothes, with its own settings.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::http::http_get;
use crate::support::node::example;
use crate::support::process::Signal;
use crate::support::program::{Done, Program};

async fn run(arguments: &[&str], env: &[(&str, &str)]) -> Done {
    start(arguments, env).end().await
}

fn start(arguments: &[&str], env: &[(&str, &str)]) -> Program {
    Program::start_program(&example("own_settings"), arguments, env)
}

/// A12: its version, help and greeting were those of `mcp-server`.
#[tokio::test]
async fn a_program_speaks_under_its_own_name() {
    assert_eq!(run(&["--version"], &[]).await.ok(), "phrasebook 3.1.4\n");
    let help = run(&["--help"], &[]).await.ok();
    assert!(help.starts_with("Greets people in their own words\n"), "{help}");
    assert!(help.contains("Usage: phrasebook"), "{help}");
    let version: Value = serde_json::from_str(&run(&["version", "--json"], &[]).await.ok()).expect("JSON");
    assert_eq!(
        (&version["name"], &version["version"]),
        (&json!("phrasebook"), &json!("3.1.4"))
    );
    assert_eq!(version["anynode"], env!("CARGO_PKG_VERSION"));
    let script = run(&["completions", "bash"], &[]).await.ok();
    let page = run(&["man"], &[]).await.ok();
    for (what, text) in [("help", help), ("completions", script), ("manual", page)] {
        assert!(text.contains("phrasebook"), "{what}");
        assert!(!text.contains("mcp-server"), "{what}: {text}");
    }
    let wrong = run(&["serve"], &[("PORT", "http")]).await;
    assert_eq!(wrong.code, Some(78));
    assert!(wrong.stderr.starts_with("phrasebook: "), "{}", wrong.stderr);
}

#[tokio::test]
async fn its_settings_come_from_the_same_sources() {
    let node = start(
        &["--set", "phrasebook.greeting=Moin, {}!"],
        &[("PORT", "0"), ("MCP_PHRASEBOOK__NAME_CHARS_MAX", "3")],
    );
    node.greeted().await;
    assert!(
        node.stdout().starts_with("phrasebook 3.1.4, "),
        "{}",
        node.stdout()
    );
    let client = Client::legacy(&node.url());
    let greet = |name: &str| client.call("greet", json!({"name": name}));
    assert_eq!(greet("Ada").await.ok().text(), "Moin, Ada!");
    assert_eq!(greet("Grace").await.code(), -32602);
    let health = http_get(format!("{}/health", node.url()))
        .await
        .expect("an answer");
    let health: Value = health.json().await.expect("JSON");
    assert_eq!(health["version"], "3.1.4");
    node.signal(Signal::Terminate);
    assert_eq!(node.end().await.code, Some(0));
}

#[tokio::test]
async fn they_are_listed_and_shown_with_all_others() {
    let defaults = run(&["config", "default"], &[]).await.ok();
    assert!(
        defaults.contains("[session]") && defaults.contains("[phrasebook]"),
        "{defaults}"
    );
    let env = [("MCP_PHRASEBOOK__GREETING", "Hi, {}!")];
    let shown = run(&["config", "show", "--json"], &env).await.ok();
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let settings = shown["settings"].as_array().expect("a list");
    let found = |name: &str| {
        let found = settings.iter().find(|setting| setting["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}")).clone()
    };
    let greeting = found("phrasebook.greeting");
    assert_eq!(greeting["value"], "Hi, {}!");
    assert_eq!(greeting["source"], "MCP_PHRASEBOOK__GREETING");
    assert_eq!(found("phrasebook.name_chars_max")["source"], "default");
    assert_eq!(found("session.ttl")["value"], "30m");
}

#[tokio::test]
async fn mistakes_in_them_are_told_with_all_others() {
    let wrong = run(
        &[
            "check",
            "--json",
            "--set",
            "phrasebook.greting=a",
            "--set",
            "sesion.ttl=1m",
        ],
        &[],
    );
    let problems = wrong.await.problems(78);
    let told: Vec<_> = problems.iter().map(|problem| &problem["expected"]).collect();
    assert_eq!(
        told,
        [
            "there is no such setting; did you mean phrasebook.greeting?",
            "there is no such setting; did you mean session.ttl?"
        ]
    );
    let wrong = run(&["serve", "--set", "phrasebook.name_chars_max=many"], &[]).await;
    assert_eq!(wrong.code, Some(78), "{wrong:?}");
    assert!(wrong.stderr.contains("name_chars_max"), "{}", wrong.stderr);
}

#[tokio::test]
async fn a_program_that_cannot_be_made_says_why_and_serves_nothing() {
    let failed = run(
        &["--set", "phrasebook.unwelcome_file=/no/such/file"],
        &[("PORT", "0")],
    );
    let failed = failed.await;
    assert_eq!((failed.code, &*failed.stdout), (Some(1), ""));
    assert!(failed.stderr.contains("No such file"), "{}", failed.stderr);
}
