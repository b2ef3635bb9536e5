//! Acts of authorization and of quotas.

use serde_json::{Value, json};

use super::{ALICE, Trail, tag, with};
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::issuer::Issuer;
use crate::support::issuer::keys::Algorithm;

#[tokio::test]
async fn a_tool_that_lacks_scopes_and_new_keys_of_an_issuer_are_noted() {
    let (trail, issuer) = (Trail::new(), Issuer::start().await);
    let path = trail.path().display().to_string();
    let mut env = issuer.env();
    for (name, value) in [
        ("MCP_AUDIT__TO", &*path),
        ("MCP_AUTH__SCOPES", "mcp:tools"),
        ("MCP_AUTH__TOOL_SCOPES__REMEMBER", "mcp:write"),
    ] {
        env.push((name, value.to_owned()));
    }
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let cluster = Cluster::with(1, &env).await;
    let token = issuer.token(|token| token.scope("mcp:tools"));
    let remember = json!({"key": "k", "value": "v"});
    let refused = with(cluster.client(), &token).call("remember", remember).await;
    assert_eq!(refused.status, 403, "{}", refused.body);
    let denied = trail.has("scope_denied", &[("tool", "remember")]).await;
    assert_eq!(denied["reason"], "mcp:tools mcp:write", "{denied}");
    assert_eq!(denied["principal"], format!("{}#alice", issuer.url()), "{denied}");

    // Those that a node began with are no change.
    assert_eq!(trail.count("keys_changed"), 0, "{}", trail.text());
    issuer.rotate("another", Algorithm::Es256);
    let fresh = issuer.token(|token| token.scope("mcp:tools"));
    with(cluster.client(), &fresh)
        .call("echo", json!({"text": "x"}))
        .await
        .ok();
    let changed = trail.has("keys_changed", &[]).await;
    assert_eq!(changed["reason"], issuer.url(), "{changed}");
    assert_eq!(changed["principal"], Value::Null, "{changed}");
    for token in [token, fresh] {
        assert!(!trail.text().contains(&token), "a token is in the audit log");
    }
}

#[tokio::test]
async fn a_session_that_makes_room_for_a_newer_one_is_noted() {
    let trail = Trail::new();
    let path = trail.path().display().to_string();
    let mut env = trail.env(&path).to_vec();
    env.extend([
        ("MCP_SESSION__PEER_MAX", "1"),
        ("MCP_SESSION__WHEN_FULL", "end_oldest"),
    ]);
    let cluster = Cluster::with(1, &env).await;
    let oldest: Client = with(cluster.client(), ALICE);
    let oldest = tag(oldest.session().await);
    with(cluster.client(), ALICE).session().await;
    let ended = trail.has("session_ended", &[("reason", "quota")]).await;
    assert_eq!(
        (&ended["session"], &ended["principal"]),
        (&json!(oldest), &json!("alice"))
    );
    assert_eq!(trail.count("session_ended"), 1, "{}", trail.text());
}
