//! Clients, unchanged, from the first 401 to a call that needs more than their token has: they find the authorization
//! server, make themselves known to it in each way that they can, and go on in their session with another token.
//!
//! Two of them never ask for more while they have a refresh token, which they use instead: the TypeScript client 1.x and
//! the Inspector. So these get none. The Inspector asks for what it had even then, and tells its user what it was refused.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tokio::time::Duration;

use super::{Guarded, SCOPE, WRITE};
use crate::official_clients::{clients, installed};
use crate::support::process::{Process, free_port, within};

/// Each takes some seconds; on a busy machine some more.
const CLIENT_PATIENCE: Duration = Duration::from_secs(120);
const NODE: &str = "node_modules/.bin/node";
/// How a client may be known to the authorization server: it registers; its id is a URL; it was registered before; it
/// has credentials of its own, and no person.
const WAYS: [&str; 4] = ["dcr", "cimd", "known", "machine"];

#[tokio::test]
async fn typescript_1_gets_a_token_and_then_a_better_one() {
    let guarded = Guarded::start(json!({"refreshTokens": false})).await;
    for how in WAYS {
        dances(&guarded, NODE, &["dance.mjs", "v1", "legacy", how], true).await;
    }
}

#[tokio::test]
async fn typescript_2_gets_a_token_and_then_a_better_one() {
    let guarded = Guarded::start(json!({})).await;
    for how in WAYS {
        dances(&guarded, NODE, &["dance.mjs", "v2", "legacy", how], true).await;
    }
}

#[tokio::test]
async fn typescript_2_does_so_without_a_session() {
    let guarded = Guarded::start(json!({})).await;
    for how in WAYS {
        dances(&guarded, NODE, &["dance.mjs", "v2", "modern", how], false).await;
    }
}

#[tokio::test]
async fn python_1_gets_a_token_and_then_a_better_one() {
    let guarded = Guarded::start(json!({})).await;
    for how in WAYS {
        dances(
            &guarded,
            ".venv/v1/bin/python",
            &["dance.py", "legacy", how],
            true,
        )
        .await;
    }
}

#[tokio::test]
async fn python_2_gets_a_token_and_then_a_better_one() {
    let guarded = Guarded::start(json!({})).await;
    for how in WAYS {
        dances(
            &guarded,
            ".venv/v2/bin/python",
            &["dance.py", "legacy", how],
            true,
        )
        .await;
    }
}

#[tokio::test]
async fn python_2_does_so_without_a_session() {
    let guarded = Guarded::start(json!({})).await;
    for how in WAYS {
        dances(
            &guarded,
            ".venv/v2/bin/python",
            &["dance.py", "modern", how],
            false,
        )
        .await;
    }
}

#[tokio::test]
async fn fastmcp_opens_a_browser_and_gets_tokens() {
    let guarded = Guarded::start(json!({})).await;
    for how in ["dcr", "cimd", "known"] {
        let seen = finished(
            &guarded,
            ".venv/fastmcp/bin/python",
            &["dance_fastmcp.py", how, &guarded.url()],
        )
        .await;
        went_well(&guarded, how, &seen);
        stepped_up(&seen);
        let scopes = [json!(SCOPE), json!(format!("{SCOPE} {WRITE}"))];
        assert_eq!(seen["scopes"], json!(scopes));
    }
    asked_as_it_should(&guarded).await;
}

/// It stands between a client of stdio and the nodes, opens a browser, and listens for its answer.
#[tokio::test]
async fn mcp_remote_opens_a_browser_and_gets_tokens() {
    let guarded = Guarded::start(json!({})).await;
    for how in WAYS {
        let seen = finished(&guarded, NODE, &["dance_remote.mjs", how, &guarded.url()]).await;
        went_well(&guarded, how, &seen);
        assert_eq!(seen.get("refused"), None, "{how}: the call waits for the login");
    }
    asked_as_it_should(&guarded).await;
}

/// The Inspector's command line logs in for each command, and says what a call lacks.
#[tokio::test]
async fn the_inspector_logs_in_and_tells_what_it_is_refused() {
    let guarded = Guarded::start(json!({"refreshTokens": false})).await;
    let cimd = ["--client-metadata-url", "https://client.example.com/client.json"];
    let echo = [
        "--method",
        "tools/call",
        "--tool-name",
        "echo",
        "--tool-arg",
        "text=hello",
    ];
    for registered in [&[][..], &cimd] {
        let (well, listed) = inspect(&guarded, &[registered, &["--method", "tools/list"]].concat()).await;
        assert!(well && listed.contains("\"remember\""), "{listed}");
        let (well, called) = inspect(&guarded, &[registered, &echo].concat()).await;
        assert!(well && called.contains("\"text\": \"hello\""), "{called}");
    }
    let note = r#"{"key": "colour", "value": "teal"}"#;
    let remember = [
        "--method",
        "tools/call",
        "--tool-name",
        "remember",
        "--tool-args-json",
        note,
    ];
    let (well, told) = inspect(&guarded, &remember).await;
    assert!(!well && told.contains("\"auth_required\""), "{told}");
    asked_as_it_should(&guarded).await;
}

/// Runs a client's script, and holds what came of it against what should.
async fn dances(guarded: &Guarded, interpreter: &str, script: &[&str], session: bool) {
    let before = guarded.balancer.served().await;
    let (url, issuer) = (guarded.url(), guarded.issuer.url().to_owned());
    let seen = finished(guarded, interpreter, &[script, &[&*url, &*issuer]].concat()).await;
    went_well(guarded, script.last().expect("how"), &seen);
    assert_eq!(seen["session"], session, "{script:?}");
    assert_eq!(seen["same_session"], true, "{script:?}");
    // The client of machines in TypeScript 1.x asks for all it may have at once.
    if script[1..] != ["v1", "legacy", "machine"] {
        stepped_up(&seen);
        assert_eq!(
            seen["scopes"][0], SCOPE,
            "{script:?}: the first challenge asks for little"
        );
    }
    let last = seen["scopes"].as_array().and_then(|scopes| scopes.last());
    assert_eq!(last, Some(&json!(format!("{SCOPE} {WRITE}"))), "{script:?}");
    for (node, (before, after)) in before
        .into_iter()
        .zip(guarded.balancer.served().await)
        .enumerate()
    {
        assert!(after > before, "{script:?}: node {node} served nothing");
    }
    asked_as_it_should(guarded).await;
}

/// The nodes know the person by the issuer's name for them, and a machine by a name that no person can have.
fn went_well(guarded: &Guarded, how: &str, seen: &Value) {
    let who = if how == "machine" { "##machine" } else { "#alice" };
    assert_eq!(seen["who"], format!("{}{who}", guarded.issuer.url()), "{seen}");
    let tools = seen["tools"].as_array().expect("a list of tools");
    // A tool that is hidden would never be asked for.
    assert!(
        tools.contains(&json!("echo")) && tools.contains(&json!("remember")),
        "{seen}"
    );
    assert_eq!(seen["echoed"], "with a token", "{seen}");
    assert_eq!(seen["recalled"], "teal", "{seen}");
}

fn stepped_up(seen: &Value) {
    assert_eq!(seen["stepped_up"], true, "{seen}");
}

/// Each login of a person was for these nodes, and proved by PKCE; and so was each token of all clients.
async fn asked_as_it_should(guarded: &Guarded) {
    for asked in guarded.issuer.seen("authorize").await {
        assert_eq!(asked["resource"], guarded.url(), "{asked}");
        assert_eq!(asked["challenge"], "S256", "{asked}");
    }
    let tokens = guarded.issuer.seen("token").await;
    assert!(!tokens.is_empty(), "{}", guarded.issuer.log());
    for token in tokens {
        assert_eq!(token["resource"], guarded.url(), "{token}");
        assert_eq!(
            token["verifier"],
            token["grant"] == "authorization_code",
            "{token}"
        );
    }
}

/// Runs a client's script to its end; what it prints as JSON on its last line.
pub(super) async fn finished(guarded: &Guarded, interpreter: &str, arguments: &[&str]) -> Value {
    let (well, log) = run(Command::new(installed(interpreter)), arguments, &[]).await;
    let nodes = guarded.cluster.warnings();
    assert!(
        well,
        "{arguments:?} failed:\n{log}\nThe authorization server said:\n{}\nThe nodes warned:\n{nodes}",
        guarded.issuer.log()
    );
    let last = log.lines().rev().find(|line| line.starts_with('{'));
    let last = last.unwrap_or_else(|| panic!("{arguments:?} printed no result:\n{log}"));
    serde_json::from_str(last).expect("the result is JSON")
}

/// Whether it ended well, and what it printed.
async fn inspect(guarded: &Guarded, arguments: &[&str]) -> (bool, String) {
    let callback = format!("http://127.0.0.1:{}/oauth/callback", free_port());
    let url = guarded.url();
    let all = [&["--cli", &*url, "--callback-url", &*callback], arguments].concat();
    let mut command = Command::new(installed(NODE));
    command.arg(installed("node_modules/.bin/mcp-inspector"));
    // It opens browsers at a terminal only, unless it is told to.
    let env = [
        ("MCP_AUTO_OPEN_ENABLED", "true"),
        ("MCP_INSPECTOR_SECRET_STORE", "memory"),
    ];
    run(command, &all, &env).await
}

/// Runs a program with a home of its own, and a browser in which a person consents to everything.
async fn run(mut command: Command, arguments: &[&str], env: &[(&str, &str)]) -> (bool, String) {
    let home = tempfile::tempdir().expect("a temporary directory");
    let person: &Path = &clients().join("person.sh");
    command
        .current_dir(clients())
        .args(arguments)
        .env("HOME", home.path())
        .env("BROWSER", person)
        .envs(env.iter().copied());
    let mut client = Process::spawn(command, &home.path().join("log"), "run `make setup`");
    let what = format!("the end of {arguments:?}");
    let status = within(CLIENT_PATIENCE, &what, || std::future::ready(client.ended())).await;
    (status.success(), client.log())
}
