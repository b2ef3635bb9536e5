//! A client that was started again, under a key of its own: nothing of its former life reaches it. And
//! connections that wait.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Client, countdown, http, open};
use crate::support::cluster::Cluster;

/// Longer than a message takes from node to node.
const SOON: Duration = Duration::from_millis(500);
const KEY: &str = "9d1f0a77d2be4e5f9a6b8c0d1e2f3a4b5c6d7e8f";

/// The client that has this key, at that node: its stream is open, and it has introduced itself.
async fn start(cluster: &Cluster, node: usize) -> Client {
    let urls = cluster.urls();
    let url = format!("{}/sse?sessionId={KEY}", urls[node % urls.len()]);
    let (stream, endpoint) = open(&url, None).await;
    let mut client = Client {
        http: http(),
        urls,
        turn: node,
        endpoint,
        stream,
        next_id: 0,
    };
    client.initialize(json!({})).await;
    client
}

/// Finding 5: ids begin again with each life, so neither answers nor cancellations of the former may be taken
/// for its own.
#[tokio::test]
async fn a_client_that_introduces_itself_again_hears_nothing_of_its_former_life() {
    let cluster = Cluster::with(3, &[("MCP_SSE__CLIENT_KEYS", "true")]).await;
    let mut former = start(&cluster, 0).await;
    let long = former.send("tools/call", countdown(60, 50)).await;
    former.stream.method("notifications/progress").await;
    // What it cancels is in no call's place yet.
    let unknown = json!({"requestId": 4});
    assert_eq!(
        former.notify("notifications/cancelled", unknown).await.status,
        202
    );
    drop(former);

    let mut client = start(&cluster, 1).await;
    client.next_id = 1;
    let mut answered = Vec::new();
    for _ in 0..4 {
        let id = client
            .send("tools/call", json!({"name": "echo", "arguments": {"text": "a"}}))
            .await;
        let answer = client.stream.answer_to(&id).await;
        assert!(answer["result"].to_string().contains("\"a\""), "{answer}");
        answered.push(id);
    }
    assert!(answered.contains(&long), "the id is used again");
    cluster.no_call_is_left().await;
    // Nor does anything come late.
    let id = client.send("ping", json!({})).await;
    loop {
        let message: Value = client.stream.next_message().await.expect("the stream goes on");
        if message["id"] == id {
            break;
        }
        assert!(
            message.get("method").is_some(),
            "an answer of the former life: {message}"
        );
    }
}

/// Finding 10: a stream is not lost because the store has forgotten who carries it.
#[tokio::test]
async fn a_stream_whose_connection_is_forgotten_is_not_410() {
    let cluster = Cluster::of(2).await;
    let mut client = Client::start(&cluster, 0, json!({})).await;
    let session = format!("session:{}", client.session());
    for _ in 0..3 {
        cluster.redis().command(&["HDEL", &session, "attach:sse"]).await;
        let request = client.message("ping", json!({}));
        assert_eq!(client.post_to(1, &request).await.status, 202);
        client.stream.answer_to(&request["id"]).await;
    }
}

/// Case `cancelled_call`: the older of two connections waits, and takes over when the newer goes.
#[tokio::test]
async fn of_two_connections_of_a_session_the_newer_carries_and_the_older_waits() {
    for cluster in Cluster::stages().await {
        let mut client = Client::start(&cluster, 0, json!({})).await;
        let (mut newer, _) = open(&client.reconnect_url(1), None).await;
        let id = client.send("ping", json!({})).await;
        newer.answer_to(&id).await;
        drop(newer);
        // Until it is noticed that the newer has gone, messages are written to it.
        loop {
            let request = client.message("ping", json!({}));
            assert_eq!(client.post_to(1, &request).await.status, 202);
            let told = client.stream.next_within(SOON).await;
            if let Some(event) = told {
                assert!(event.is_some(), "the older stays open");
                break;
            }
        }
    }
}
