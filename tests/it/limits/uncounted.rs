//! What no limit refuses: what keeps a node going, and what must not be lost.

use serde_json::json;

use super::{answered, at, echo, node, told};
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::http::http_client;

#[tokio::test]
async fn health_preflights_answers_cancellations_and_ends_take_no_token() {
    let node = node(&[
        ("MCP_LIMIT__ADDRESS", "1/m burst 20"),
        ("MCP_LIMIT__SESSION", "1/m burst 30"),
    ])
    .await;
    let client = Client::legacy(&node.url());
    assert_eq!(answered(&client, 30, "address").await, 18);
    let http = http_client().build().expect("a client");
    let status =
        async |request: reqwest::RequestBuilder| request.send().await.expect("an answer").status().as_u16();
    for path in ["health", "livez", "readyz", "metrics"] {
        assert_eq!(
            status(http.get(format!("{}/{path}", node.url()))).await,
            200,
            "{path}"
        );
    }
    let preflight = http
        .request(reqwest::Method::OPTIONS, format!("{}/mcp", node.url()))
        .header("origin", "http://localhost:5173")
        .header("access-control-request-method", "POST");
    assert_eq!(status(preflight).await, 200);
    for _ in 0..40 {
        let cancelled = client
            .notify("notifications/cancelled", json!({"requestId": 99}))
            .await;
        assert_eq!(cancelled.status, 202);
        let answer = client.respond(&json!("0-1"), json!({})).await;
        assert_ne!(answer.status, 429, "{}", answer.body);
    }
    told(
        &client.notify("notifications/roots/list_changed", json!({})).await,
        "address",
    );
    told(&echo(&client).await, "address");
    assert_eq!(client.get(None).await.status(), 429);
    assert_eq!(client.delete().await.status, 204);
}

/// What takes no token takes none from those that do.
#[tokio::test]
async fn answers_and_cancellations_leave_the_tokens_for_others() {
    for cluster in [Cluster::alone(LIMITED).await, Cluster::with(1, LIMITED).await] {
        let client = cluster.client();
        client.session().await;
        for _ in 0..60 {
            client
                .notify("notifications/cancelled", json!({"requestId": 99}))
                .await;
            client.respond(&json!("0-1"), json!({})).await;
        }
        assert_eq!(answered(&client, 18, "address").await, 18);
    }
}

const LIMITED: &[(&str, &str)] = &[("MCP_LIMIT__ADDRESS", "1/m burst 20")];

/// One limit that refuses takes nothing of another.
#[tokio::test]
async fn what_one_limit_refuses_takes_no_tokens_of_another() {
    let node = node(&[
        ("MCP_LIMIT__ADDRESS", "1/m burst 40"),
        ("MCP_LIMIT__SESSION", "1/m burst 10"),
    ])
    .await;
    let client = at(Client::legacy(&node.url()), "192.0.2.1");
    assert_eq!(answered(&client, 100, "session").await, 9);
    // `initialize`, `notifications/initialized` and nine calls of forty.
    let other = at(Client::modern(&node.url()), "192.0.2.1");
    assert_eq!(answered(&other, 50, "address").await, 29);
}
