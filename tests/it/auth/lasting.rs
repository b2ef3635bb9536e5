//! Clients under load while what they come with changes: tokens that end after seconds, and keys that are exchanged.

use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

use super::Guarded;
use super::dance::finished;
use crate::support::process::until;

const TOKEN_SECONDS: u64 = 3;
const LOAD_SECONDS: &str = "15";
/// Clients of one script.
const CLIENTS: u64 = 3;

/// Nodes that take a token for no longer than it says, and end streams a second after it.
async fn strict(token_seconds: u64) -> Guarded {
    // The clients use one refresh token in several requests at once.
    let options = json!({"tokenSeconds": token_seconds, "rotateRefreshTokens": false});
    let env = [("MCP_AUTH__CLOCK_SKEW", "0s"), ("MCP_AUTH__STREAM_GRACE", "1s")];
    Guarded::with(options, &env).await
}

#[tokio::test]
async fn typescript_1_loses_nothing_while_its_tokens_end() {
    tokens_end("node_modules/.bin/node", &["lasting.mjs", "v1"]).await;
}

#[tokio::test]
async fn typescript_2_loses_nothing_while_its_tokens_end() {
    tokens_end("node_modules/.bin/node", &["lasting.mjs", "v2"]).await;
}

#[tokio::test]
async fn python_1_loses_nothing_while_its_tokens_end() {
    tokens_end(".venv/v1/bin/python", &["lasting.py"]).await;
}

#[tokio::test]
async fn python_2_loses_nothing_while_its_tokens_end() {
    tokens_end(".venv/v2/bin/python", &["lasting.py"]).await;
}

async fn tokens_end(interpreter: &str, script: &[&str]) {
    let guarded = strict(TOKEN_SECONDS).await;
    let seen = loads(&guarded, interpreter, script).await;
    lost_nothing(&seen);
    // Each client had several: as many as the time has lives of them, and some slack.
    assert!(seen["tokens"].as_u64() >= Some(3 * CLIENTS), "{seen}");
    guarded.cluster.no_call_is_left().await;
}

/// The key is another in the midst of sessions, and tokens by the old one are not renewed before they end.
#[tokio::test]
async fn typescript_2_loses_nothing_when_the_key_is_another() {
    let guarded = strict(TOKEN_SECONDS).await;
    let script = ["lasting.mjs", "v2"];
    let rotated = async {
        // The clients are at it: each has a token.
        until("all clients have tokens", async || {
            guarded.issuer.seen("token").await.len() as u64 >= CLIENTS
        })
        .await;
        sleep(Duration::from_secs(TOKEN_SECONDS)).await;
        guarded.issuer.rotate().await;
        guarded.issuer.seen("token").await.len()
    };
    let (seen, before) = tokio::join!(loads(&guarded, "node_modules/.bin/node", &script), rotated);
    lost_nothing(&seen);
    assert!(
        guarded.issuer.seen("token").await.len() > before,
        "tokens by the new key"
    );
}

async fn loads(guarded: &Guarded, interpreter: &str, script: &[&str]) -> Value {
    let (url, issuer) = (guarded.url(), guarded.issuer.url().to_owned());
    let arguments = [script, &[&*url, &*issuer, LOAD_SECONDS]].concat();
    finished(guarded, interpreter, &arguments).await
}

#[track_caller]
fn lost_nothing(seen: &Value) {
    assert_eq!(seen["failed"], json!([]), "{seen}");
    assert!(seen["calls"].as_u64() >= Some(10), "{seen}");
    assert!(seen["counted"].as_u64() >= Some(CLIENTS), "{seen}");
    // Python's script watches nothing.
    if let Some(told) = seen["told"].as_u64() {
        assert!(told >= CLIENTS, "{seen}");
    }
}
