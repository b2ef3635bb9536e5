//! Streams that break, nodes that die, and what becomes of what was under way.

use std::time::Duration;

use serde_json::json;

use super::{Client, countdown, open, text};
use crate::support::cluster::Cluster;
use crate::support::process::{eventually, within};

/// A lease lives 3 s, on Redis's clock.
const LEASE_ENDS: Duration = Duration::from_secs(15);

/// What came while nobody listened comes first, and a call that was running then answers.
#[tokio::test]
async fn a_stream_is_taken_up_on_another_node_where_it_broke_off() {
    for cluster in Cluster::stages().await {
        let mut client = Client::start(&cluster, 0, json!({})).await;
        for round in 0..6 {
            let id = client.send("tools/call", countdown(30, 20)).await;
            let mut steps = Vec::new();
            for _ in 0..=round {
                let told = client.stream.method("notifications/progress").await;
                steps.push(told["params"]["progress"].as_f64().expect("a number"));
            }
            let last = client.stream.last_id().expect("an id").to_owned();
            // The node that takes over is another one; the older connection waits, and then goes.
            let (newer, _) = open(&client.reconnect_url((round + 1) % 3), Some(&last)).await;
            let _older = std::mem::replace(&mut client.stream, newer);
            loop {
                let message = client.stream.next_message().await.expect("a message");
                if message["id"] == id {
                    break;
                }
                if message["method"] == "notifications/progress" {
                    steps.push(message["params"]["progress"].as_f64().expect("a number"));
                }
            }
            let expected: Vec<f64> = (1..=30).map(f64::from).collect();
            assert_eq!(steps, expected, "round {round}: a gap or a duplicate");
        }
    }
}

#[tokio::test]
async fn what_was_not_delivered_comes_after_a_reconnect_without_an_event_id() {
    for cluster in Cluster::stages().await {
        let mut client = Client::start(&cluster, 0, json!({})).await;
        let silent = json!({"name": "countdown", "arguments": {"from": 1, "interval_ms": 1000}});
        let id = client.send("tools/call", silent).await;
        // The session has no stream while the call ends.
        client.hang_up().await;
        tokio::time::sleep(Duration::from_millis(1300)).await;
        client.reconnect(2, None).await;
        client.stream.answer_to(&id).await;
        assert_eq!(text(&client.call("echo", json!({"text": "a"})).await), "a");
    }
}

/// The client has got 202 and nothing else: it must hear what became of its call.
#[tokio::test]
async fn a_call_whose_node_dies_is_answered_on_the_stream_of_another() {
    let cluster = Cluster::of(3).await;
    let mut client = Client::start(&cluster, 0, json!({})).await;
    let message = client.message("tools/call", countdown(100, 100));
    assert_eq!(client.post_to(1, &message).await.status, 202);
    client.stream.method("notifications/progress").await;
    cluster.node(1).kill9().await;
    let answer = client.stream.answer_to(&message["id"]).await;
    assert!(
        answer.get("result").is_some() || answer["error"]["code"] == -32000,
        "{answer}"
    );
}

#[tokio::test]
async fn a_session_without_a_stream_answers_410_and_says_where_to_go() {
    let cluster = Cluster::of(3).await;
    let mut client = Client::start(&cluster, 0, json!({})).await;
    let request = client.message("tools/list", json!({}));
    cluster.node(0).kill9().await;
    client.urls.remove(0);
    let refused = within(LEASE_ENDS, "410 once the lease has ended", || async {
        let answer = client.post_to(0, &request).await;
        (answer.status != 202).then_some(answer)
    })
    .await;
    let reconnect = format!("sse?sessionId={}", client.session());
    assert_eq!(refused.status, 410);
    assert_eq!(refused.header("content-type"), Some("application/json"));
    assert_eq!(refused.code(), -32000);
    assert_eq!(refused.messages[0]["id"], request["id"]);
    assert_eq!(refused.error()["data"]["reconnect"], reconnect.as_str());
    assert!(refused.error()["data"]["reason"].is_string());

    // What was taken before the lease ended is answered now.
    client.reconnect(1, None).await;
    client.stream.answer_to(&request["id"]).await;
    assert_eq!(text(&client.call("echo", json!({"text": "back"})).await), "back");
}

#[tokio::test]
async fn a_client_that_hangs_up_is_noticed_at_once() {
    for cluster in Cluster::stages().await {
        let mut client = Client::start(&cluster, 0, json!({})).await;
        let request = client.message("tools/list", json!({}));
        client.hang_up().await;
        let refused = eventually("410 without a connection", || async {
            let answer = client.post_to(1, &request).await;
            (answer.status == 410).then_some(answer)
        })
        .await;
        let reconnect = format!("sse?sessionId={}", client.session());
        assert_eq!(refused.error()["data"]["reconnect"], reconnect.as_str());
        client.reconnect(2, None).await;
        assert_eq!(text(&client.call("echo", json!({"text": "back"})).await), "back");
    }
}

/// Nobody was there to be told: the counts say what changed.
#[tokio::test]
async fn what_changed_without_a_stream_is_told_on_the_next_one() {
    for cluster in Cluster::stages().await {
        let mut client = Client::start(&cluster, 0, json!({})).await;
        let writer = cluster.client();
        let notebook = writer.open_notebook().await;
        let uri = format!("note://{}/colour", notebook);
        client.ask("resources/subscribe", json!({"uri": uri})).await;
        client.hang_up().await;
        let request = client.message("ping", json!({}));
        eventually("410 without a connection", || async {
            (client.post_to(1, &request).await.status == 410).then_some(())
        })
        .await;
        let write = json!({"key": "colour", "value": "teal", "notebook": notebook});
        writer.call("remember", write).await.ok();
        client.reconnect(2, None).await;
        let told = client.stream.method("notifications/resources/updated").await;
        assert_eq!(told["params"]["uri"], uri.as_str());
        assert_eq!(text(&client.call("echo", json!({"text": "a"})).await), "a");
    }
}

/// Its clients could come back nowhere.
#[tokio::test]
async fn a_node_without_others_says_what_its_calls_have_to_say_before_it_stops() {
    let cluster = Cluster::alone(&[("MCP_DRAIN__DELAY", "0s")]).await;
    let mut client = Client::start(&cluster, 0, json!({})).await;
    let id = client.send("tools/call", countdown(10, 200)).await;
    let (streamable_id, mut stream) = cluster.client().stream("tools/call", countdown(10, 200)).await;
    client.stream.method("notifications/progress").await;
    cluster.node(0).terminate();
    client.stream.answer_to(&id).await;
    stream.answer_to(&streamable_id).await;
    assert!(
        client.stream.next_message().await.is_none(),
        "then it closes the stream"
    );
    assert!(cluster.node(0).end().await.success());
}
