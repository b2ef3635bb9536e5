//! The commands that need neither a store nor a node: settings in full, completions, manual pages.

use anynode::Settings;
use anynode::config::Sources;
use serde_json::Value;

use crate::support::program::Program;

const DEFAULTS_TOML: &str = include_str!("../../../settings.default.toml");

/// A25: the defaults are in the program itself, and are a settings file.
#[tokio::test]
async fn the_default_settings_are_printed_as_a_file() {
    let printed = Program::run(&["config", "default"], &[]).await.ok();
    assert_eq!(printed.trim_end(), DEFAULTS_TOML.trim_end());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("settings.toml");
    std::fs::write(&file, printed).expect("a file");
    let settings = Settings::load(Sources {
        file: Some(file),
        ..Sources::default()
    });
    assert_eq!(settings.expect("settings"), Settings::default());
    // It is of use when settings are wrong.
    Program::run(&["config", "default"], &[("PORT", "http")])
        .await
        .ok();
}

/// A25: what is in force, where each comes from, and no secret.
#[tokio::test]
async fn the_settings_in_force_are_shown_with_their_sources() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("settings.toml");
    std::fs::write(&file, "[session]\nttl = \"2m\"\n").expect("a file");
    let config = file.to_str().expect("a plain path");
    let env = [
        ("MCP_CONFIG", config),
        ("REDIS_URL", "redis://app:hunter2@host"),
        ("MCP_AUTH__TOKENS__ALICE", "hunter2hunter2hunter2"),
        ("MCP_TIMEOUT", "60000"),
    ];
    let arguments = ["config", "show", "--set", "drain.delay=1s"];
    let text = Program::run(&arguments, &env).await.ok();
    let printed = Program::run(&[&arguments[..], &["--json"]].concat(), &env)
        .await
        .ok();
    assert!(!(text.clone() + &printed).contains("hunter2"), "{text}{printed}");
    let shown: Value = serde_json::from_str(&printed).expect("JSON");
    let all = shown["settings"].as_array().expect("settings");
    for (name, value, source) in [
        ("port", "3000", "default"),
        ("session.ttl", "2m", config),
        ("stream.ttl", "2m", "default, fitted to other settings"),
        ("redis_url", "redis://app:***@host", "REDIS_URL"),
        ("auth.tokens.alice", "***", "MCP_AUTH__TOKENS__ALICE"),
        ("drain.delay", "1s", "--set drain.delay"),
    ] {
        let found = all.iter().find(|setting| setting["name"] == name).expect(name);
        assert_eq!(
            (&found["value"], &found["source"]),
            (&value.into(), &source.into())
        );
        let line = text
            .lines()
            .find(|line| line.contains(value) && line.ends_with(&format!("# {source}")));
        assert!(line.is_some(), "{name} is not in\n{text}");
    }
    assert_eq!(shown["foreignVariables"], serde_json::json!(["MCP_TIMEOUT"]));
    assert!(text.ends_with("left alone: MCP_TIMEOUT\n"), "{text}");
    let line = Program::run(&["config", "show"], &[("PORT", "http")])
        .await
        .one_line(78);
    assert!(line.contains("0 to 65535"), "{line}");
    let problems = Program::run(&["config", "show", "--json"], &[("PORT", "http")]).await;
    assert_eq!(problems.problems(78)[0]["setting"], "port");
}

#[tokio::test]
async fn shells_complete_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Program::run(&["completions", shell], &[]).await.ok();
        for word in [
            "mcp-server",
            "serve",
            "sessions",
            "principal",
            "redis-url",
            "completions",
        ] {
            assert!(script.contains(word), "no {word} for {shell}");
        }
    }
    let done = Program::run(&["completions", "cmd"], &[]).await;
    assert_eq!(done.code, Some(2), "{done:?}");
    assert!(done.stderr.contains("bash"), "{}", done.stderr);
}

/// What the shell itself makes of the script.
#[tokio::test]
async fn bash_completes_what_is_begun() {
    let script = Program::run(&["completions", "bash"], &[]).await.ok();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("completions.bash");
    std::fs::write(&file, script).expect("a file");
    let ask = format!(
        "source '{}'; complete=$(complete -p mcp-server); complete=${{complete##*-F }}; COMP_WORDS=(mcp-server sess); \
         COMP_CWORD=1; ${{complete%% *}} mcp-server sess mcp-server; echo \"${{COMPREPLY[@]}}\"",
        file.display()
    );
    let asked = std::process::Command::new("bash").args(["-c", &ask]).output();
    let asked = asked.expect("bash runs: apt-get install bash");
    assert_eq!(String::from_utf8_lossy(&asked.stdout), "sessions\n", "{asked:?}");
}

#[tokio::test]
async fn manual_pages_are_those_of_man() {
    let page = Program::run(&["man"], &[]).await.ok();
    for part in [
        ".TH mcp-server 1",
        ".SH NAME",
        ".SH OPTIONS",
        "redis\\-url",
        "EXAMPLES",
        "Exit codes",
    ] {
        assert!(page.contains(part), "no `{part}` in\n{page}");
    }
    let page = Program::run(&["man", "sessions", "list"], &[]).await.ok();
    assert!(page.contains("principal") && page.contains("idle"), "{page}");
    let line = Program::run(&["man", "sesions"], &[]).await.one_line(1);
    assert!(line.contains("no command sesions"), "{line}");
}
