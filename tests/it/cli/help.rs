//! What `--help` teaches, and what a typing mistake is answered with.

use crate::support::program::Program;

async fn help(command: &[&str]) -> String {
    let arguments = [command, &["--help"]].concat();
    Program::run(&arguments, &[]).await.ok()
}

#[tokio::test]
async fn help_teaches_by_example() {
    let text = help(&[]).await;
    for part in [
        "Usage: mcp-server",
        "Examples:",
        "mcp-server --redis-url redis://",
        "mcp-server sessions list",
        "defaults, then the file, then the environment, then flags",
        "Exit codes: 0 done, 1 failed, 2 wrong usage, 69",
        "75 another process has this NODE_ID",
        "[env: REDIS_URL]",
        "mcp-server config default",
        "serve",
        "check",
        "health",
        "sessions",
        "config",
        "version",
        "completions",
        "man",
    ] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
}

#[tokio::test]
async fn every_command_says_what_it_does_and_how_it_is_written() {
    for (command, what) in [
        (&["serve"][..], "until a signal to stop"),
        (&["check"], "report what is wrong"),
        (&["health"], "container health checks"),
        (&["sessions"], "List, show and end sessions"),
        (&["sessions", "list"], "credential"),
        (&["sessions", "show"], "everything that the store keeps"),
        (&["sessions", "end"], "on all nodes, for good"),
        (&["config", "default"], "its range and its meaning"),
        (&["config", "show"], "where it comes from"),
        (&["version"], "built into this program"),
        (&["completions"], "in a shell"),
        (&["man"], "manual page"),
    ] {
        let text = help(command).await;
        assert!(text.contains(what), "no `{what}` in\n{text}");
        let usage = format!("Usage: mcp-server {}", command.join(" "));
        assert!(text.contains(&usage), "no `{usage}` in\n{text}");
        // A name alone on its line says nothing.
        let bare = text.lines().find(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            words.len() == 1 && line.starts_with(' ') && words[0].starts_with('[')
        });
        assert_eq!(bare, None, "in\n{text}");
    }
}

#[tokio::test]
async fn the_version_is_told() {
    let version = format!("mcp-server {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(Program::run(&["--version"], &[]).await.ok(), version);
}

#[tokio::test]
async fn a_mistyped_command_is_answered_with_what_was_meant() {
    for (arguments, hint) in [
        (&["chek"][..], "'check'"),
        (&["sesions", "list"], "'sessions'"),
        (&["sessions", "lst"], "'list'"),
        (&["confg"], "'config'"),
        (&["verison"], "'version'"),
        (&["--stdio"], "this server speaks HTTP"),
        (&["sessions", "kill", "id"], "--help"),
        (&["--prot", "1"], "'--port'"),
        (&["--set", "session.ttl"], "NAME=VALUE"),
        (&["sessions", "list", "--limit", "0"], "--limit"),
    ] {
        let done = Program::run(arguments, &[]).await;
        assert_eq!(done.code, Some(2), "{done:?}");
        assert_eq!(done.stdout, "");
        assert!(done.stderr.contains(hint), "no {hint} in\n{}", done.stderr);
    }
}
