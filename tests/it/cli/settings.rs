//! Settings from defaults, file, environment and flags: the last one wins, and all that is wrong is told in
//! one run.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::http::http_get;
use crate::support::program::Program;

/// Wrong settings.
const SETTINGS: i32 = 78;

fn file(text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("settings.toml");
    std::fs::write(&path, text).expect("a file");
    (dir, path)
}

async fn node_id(arguments: &[&str], env: &[(&str, &str)]) -> String {
    let node = Program::serve(arguments, env).await;
    let health = http_get(format!("{}/health", node.url())).await;
    let health: Value = health.expect("an answer").json().await.expect("JSON");
    health["nodeId"].as_str().expect("a name").to_owned()
}

#[tokio::test]
async fn flags_override_the_environment_that_overrides_the_file_that_overrides_defaults() {
    let (_dir, path) = file("node_id = \"of-the-file\"\n");
    let config = path.to_str().expect("a plain path");
    let default = node_id(&[], &[]).await;
    assert!(default.starts_with("node-"), "{default}");
    assert_eq!(node_id(&["--config", config], &[]).await, "of-the-file");
    assert_eq!(node_id(&[], &[("MCP_CONFIG", config)]).await, "of-the-file");
    let env = [("MCP_CONFIG", config), ("NODE_ID", "of-the-environment")];
    assert_eq!(node_id(&[], &env).await, "of-the-environment");
    assert_eq!(node_id(&["--node-id", "of-the-flag"], &env).await, "of-the-flag");
    assert_eq!(
        node_id(&["--set", "node_id=of-the-flag"], &env).await,
        "of-the-flag"
    );
    let flags = ["serve", "--node-id", "of-the-flag", "--set", "node_id=of-set"];
    assert_eq!(node_id(&flags, &env).await, "of-the-flag");
}

#[tokio::test]
async fn all_that_is_wrong_is_told_in_one_run() {
    let (_dir, path) =
        file("colour = \"teal\"\n[session]\nttl = \"soon\"\n[auth.tokens]\nalice = \"hunter2\"\n");
    let config = path.to_str().expect("a plain path");
    let arguments = [
        "--config",
        config,
        "--set",
        "log.format=xml",
        "--set",
        "drain.dely=1s",
    ];
    let env = [
        ("PORT", "http"),
        ("MCP_STORE__CONNECTIONS", "0"),
        ("MCP_SESION__TTL", "1m"),
    ];
    let done = Program::run(&arguments, &env).await;
    assert_eq!(done.code, Some(SETTINGS), "{done:?}");
    assert_eq!(done.stdout, "");
    assert!(
        done.stderr.starts_with("mcp-server: 8 settings are wrong:\n"),
        "{}",
        done.stderr
    );
    // What, its value, where it comes from, what is allowed.
    let expected = [
        ["port", "\"http\"", "PORT", "0 to 65535"],
        ["store.connections", "\"0\"", "MCP_STORE__CONNECTIONS", "1 to 256"],
        ["session.ttl", "\"soon\"", config, "10ms to 365d"],
        ["auth.tokens.alice", "\"***\"", config, "16 or more"],
        ["log.format", "\"xml\"", "--set log.format", "auto, text or json"],
        ["colour", "", config, "no such setting"],
        ["drain.dely", "", "--set drain.dely", "did you mean drain.delay?"],
        [
            "MCP_SESION__TTL",
            "",
            "environment",
            "did you mean MCP_SESSION__TTL?",
        ],
    ];
    let lines: Vec<_> = done.stderr.lines().skip(1).map(str::trim).collect();
    assert_eq!(lines.len(), expected.len(), "{}", done.stderr);
    for [setting, value, source, allowed] in expected {
        let line = lines.iter().find(|line| line.starts_with(setting));
        let line = line.unwrap_or_else(|| panic!("nothing on {setting} in:\n{}", done.stderr));
        for part in [value, source, allowed] {
            assert!(line.contains(part), "no `{part}` in {line}");
        }
    }
    assert!(!done.stderr.contains("hunter2"), "a token in {}", done.stderr);
}

#[tokio::test]
async fn every_command_refuses_wrong_settings() {
    for command in [&["serve"][..], &["check"], &["health"], &["sessions", "list"]] {
        let line = Program::run(command, &[("PORT", "http")])
            .await
            .one_line(SETTINGS);
        assert!(line.contains("PORT") && line.contains("0 to 65535"), "{line}");
    }
}

#[tokio::test]
async fn what_nobody_knows_is_an_error() {
    let (_dir, path) = file("[session]\ntll = \"1m\"\n");
    let config = path.to_str().expect("a plain path");
    let line = Program::run(&[], &[("MCP_CONFIG", config)])
        .await
        .one_line(SETTINGS);
    assert!(
        line.contains("session.tll") && line.contains("session.ttl?"),
        "{line}"
    );
    let line = Program::run(&[], &[("MCP_REDIS_URL", "redis://:hunter2@h")]).await;
    let line = line.one_line(SETTINGS);
    assert!(
        line.contains("MCP_REDIS_URL") && line.contains("did you mean REDIS_URL?"),
        "{line}"
    );
    assert!(!line.contains("hunter2"), "{line}");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    let missing = Program::run(&["--config", "/nowhere/settings.toml"], &[]).await;
    let line = missing.one_line(SETTINGS);
    assert!(
        line.contains("/nowhere/settings.toml") && line.contains("No such file"),
        "{line}"
    );
    let (_dir, path) = file("[auth.tokens]\nalice = \"hunter2\n");
    let config = path.to_str().expect("a plain path");
    let line = Program::run(&["--config", config], &[]).await.one_line(SETTINGS);
    assert!(line.contains(config) && line.contains("line 2"), "{line}");
    assert!(!line.contains("hunter2"), "{line}");
}
