//! A page of another origin that logs in: it reads that it needs a token, where to get one, and what a token lacks.

use serde_json::{Value, json};

use super::{ALLOWED_ORIGINS, Origins, run};
use crate::auth::Guarded;

#[tokio::test]
async fn typescript_1_in_a_page_logs_in_and_asks_for_more() {
    logs_in("v1").await;
}

#[tokio::test]
async fn typescript_2_in_a_page_logs_in_and_asks_for_more() {
    logs_in("v2").await;
}

/// Of the origins here a browser takes this machine's names alone for safe enough to log in from.
async fn logs_in(line: &str) {
    let origin = Origins::new().loopback();
    // With a refresh token the 1.x line would never ask for more.
    let guarded = Guarded::start(json!({"refreshTokens": false})).await;
    let options = json!({"server": guarded.balancer.url(), "origin": origin, "client": {"line": line}});
    let seen = run("login", options).await;
    assert_eq!(seen["echoed"], "from a page", "{seen}");
    assert_eq!(seen["recalled"], "teal", "{seen}");
    assert_eq!(seen["same_session"], true, "{seen}");
    assert_eq!(seen["scopes"], json!(["mcp:tools", "mcp:tools mcp:write"]));
    let refused = seen["refused"].as_array().expect("a list");
    assert_eq!(refused.len(), 2, "{seen}");
    let metadata = format!(
        "resource_metadata=\"{}/.well-known/oauth-protected-resource/mcp\"",
        guarded.balancer.url()
    );
    says(&refused[0], 401, &["scope=\"mcp:tools\"", &metadata]);
    let more = [
        "error=\"insufficient_scope\"",
        "scope=\"mcp:tools mcp:write\"",
        &*metadata,
    ];
    says(&refused[1], 403, &more);
}

/// A page whose token is not good reads that it has to get another.
#[tokio::test]
async fn a_page_reads_that_its_token_is_not_good() {
    let origin = Origins::new().allowed();
    for nodes in [1, 3] {
        let guarded = Guarded::of(nodes, json!({}), &[(ALLOWED_ORIGINS, &origin)]).await;
        let options = json!({
            "server": guarded.balancer.url(), "origin": origin, "url": guarded.url(),
            "headers": {"Authorization": "Bearer not-a-token"}, "asks": ["initialize"],
        });
        let read = run("answers", options).await;
        let challenge = &read[0]["headers"]["www-authenticate"];
        says(
            &json!({"status": read[0]["status"], "challenge": challenge}),
            401,
            &["error=\"invalid_token\"", "resource_metadata="],
        );
    }
}

#[track_caller]
fn says(refused: &Value, status: u16, words: &[&str]) {
    assert_eq!(refused["status"], status, "{refused}");
    let challenge = refused["challenge"]
        .as_str()
        .expect("a challenge that the page can read");
    assert!(challenge.starts_with("Bearer "), "{challenge}");
    for word in words {
        assert!(challenge.contains(word), "no {word} in {challenge}");
    }
}
