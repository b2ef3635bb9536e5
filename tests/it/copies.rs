//! Copies stay true: through outages, lost rings, hung-up clients, and floods of requests.

use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use tokio::time::Instant;

use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::http::http_get;
use crate::support::node::{Node, NodeOptions};
use crate::support::process::eventually;
use crate::support::redis::Redis;

/// How long a node that changes a session waits for others to acknowledge (`cluster/ring.rs`).
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_millis(250);

async fn health(node: &Node) -> Value {
    let sent = http_get(format!("{}/health", node.url()))
        .await
        .expect("an answer");
    sent.json().await.expect("health as JSON")
}

/// The grace counts from the outage, not from when the session was last read.
#[tokio::test]
async fn an_old_session_is_served_through_an_outage_and_only_for_its_grace() {
    let redis = Redis::start().await;
    let options = NodeOptions::on(redis.url())
        .env("MCP_STORE__OUTAGE_GRACE", "2s")
        .env("MCP_STORE__TIMEOUT", "300ms");
    let node = Node::start(&options).await;
    let client = Client::legacy(&node.url());
    client.list().await.ok();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    redis.kill().await;
    client
        .call("echo", json!({"text": "older than the grace"}))
        .await
        .ok();
    eventually("the grace ends", || async {
        (client.list().await.status == 503).then_some(())
    })
    .await;
    redis.restart().await;
    // It was restarted empty: the session is gone, and now that is known.
    eventually("the session is known to be gone", || async {
        (client.list().await.status == 404).then_some(())
    })
    .await;
}

/// A store that hangs makes one request wait, not each in turn.
#[tokio::test]
async fn requests_do_not_queue_for_a_store_that_hangs() {
    let redis = Redis::start().await;
    let node = Node::start(&NodeOptions::on(redis.url()).env("MCP_STORE__TIMEOUT", "1s")).await;
    let client = Client::legacy(&node.url());
    client.list().await.ok();
    redis.pause();
    eventually("the outage is noticed", || async {
        (health(&node).await["store"]["reachable"] == false).then_some(())
    })
    .await;
    let began = Instant::now();
    for answer in join_all((0..20).map(|_| client.call("echo", json!({"text": "a"})))).await {
        answer.ok();
    }
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "20 requests took {:?}",
        began.elapsed()
    );
    redis.resume();
}

#[tokio::test]
async fn a_session_that_was_ended_stays_ended_in_an_outage() {
    let cluster = Cluster::with(2, &[("MCP_STORE__TIMEOUT", "300ms")]).await;
    let (mut proven, mut late) = (0, 0);
    while proven < 20 {
        let client = cluster.client();
        client.session().await;
        let at = |index: usize| client.at(&cluster.node(index).url());
        at(1).list().await.ok();
        at(0).list().await.ok();
        let began = Instant::now();
        assert_eq!(at(0).delete().await.status, 204);
        // On a machine that is busy a node may take longer to acknowledge than others wait for it.
        let unacknowledged = began.elapsed() >= ACKNOWLEDGE_WITHIN;
        cluster.redis().pause();
        let answer = at(1).list().await;
        cluster.redis().resume();
        if unacknowledged {
            late += 1;
            assert!(late < 10, "{}", cluster.node(0).log());
        } else {
            proven += 1;
            assert!(
                [404, 503].contains(&answer.status),
                "an ended session was served: {}",
                answer.body
            );
        }
        eventually("the store is back", || async {
            (at(0).initialize().await.status == 200).then_some(())
        })
        .await;
    }
}

/// A node that hears no rings reads a session before each use, until it hears again.
#[tokio::test]
async fn a_node_that_is_deaf_does_not_trust_its_copies() {
    let cluster = Cluster::of(2).await;
    for round in 0..20 {
        let client = cluster.client();
        client.session().await;
        let at = |index: usize| client.at(&cluster.node(index).url());
        at(0).list().await.ok();
        at(1).list().await.ok();
        cluster
            .redis()
            .command(&["CLIENT", "KILL", "TYPE", "pubsub"])
            .await;
        // The loss is noticed when the socket closes, long before this request has been read back and forth.
        tokio::time::sleep(Duration::from_millis(20)).await;
        at(1).list().await.ok();
        assert_eq!(at(0).delete().await.status, 204);
        assert_eq!(
            at(1).list().await.status,
            404,
            "round {round}: a deaf node served a stale copy"
        );
        eventually("both nodes hear again", || async {
            let subscribed = cluster.redis().command(&["PUBSUB", "NUMSUB", "nodes"]).await;
            format!("{subscribed:?}").contains("Int(2)").then_some(())
        })
        .await;
    }
}

/// Clients that are shut down often send DELETE and hang up at once.
#[tokio::test]
async fn a_client_that_hangs_up_after_delete_has_ended_its_session_everywhere() {
    let cluster = Cluster::of(3).await;
    for round in 0..40 {
        let client = cluster.client();
        let session = client.session().await.to_owned();
        for index in 0..3 {
            client.at(&cluster.node(index).url()).list().await.ok();
        }
        let node = cluster.node(round % 3);
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", node.port()))
            .await
            .expect("a connection");
        let request = format!("DELETE /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: {session}\r\n\r\n");
        socket.write_all(request.as_bytes()).await.expect("sent");
        // Sooner or later in the request's way.
        tokio::time::sleep(Duration::from_micros(100 * (round as u64 % 20))).await;
        drop(socket);
        let key = format!("session:{session}");
        let ended = eventually(
            "the session ends, or the server never read the request",
            || async {
                let left = cluster.redis().command(&["EXISTS", &key]).await.int();
                (left == 0).then_some(true)
            },
        );
        let Ok(_) = tokio::time::timeout(Duration::from_millis(500), ended).await else {
            continue;
        };
        // The bound on how long other nodes may take to hear of it.
        tokio::time::sleep(Duration::from_millis(300)).await;
        for index in 0..3 {
            let answer = client.at(&cluster.node(index).url()).list().await;
            assert_eq!(answer.status, 404, "round {round}, node {index}");
        }
    }
}

#[tokio::test]
async fn many_requests_before_the_client_is_initialized_are_all_served() {
    let cluster = Cluster::of(2).await;
    let opened = cluster.client().initialize().await.ok();
    let id = opened.header("mcp-session-id").expect("a session id");
    let client = cluster.client().in_session(id);
    for answer in join_all((0..100).map(|_| client.list())).await {
        answer.ok();
    }
    let unknown = cluster
        .client()
        .in_session("6b2a6cbe-0f5f-4f0c-9a39-9f3f5e7f0d55");
    for answer in join_all((0..100).map(|_| unknown.list())).await {
        assert_eq!(answer.status, 404);
    }
}

/// `notifications/initialized` gives a session its full life, and so does its first call: clients written by
/// hand leave the notification out. A ping does not.
#[tokio::test]
async fn a_session_is_initialized_by_its_clients_word_or_by_its_first_call() {
    let cluster = Cluster::of(2).await;
    let ttl = async |id: &str| {
        let command = ["TTL", &format!("session:{id}")];
        cluster.redis().command(&command).await.int()
    };
    for calls in [false, true] {
        let opened = cluster.client().initialize().await.ok();
        let id = opened.header("mcp-session-id").expect("a session id");
        let client = cluster.client().in_session(id);
        client.request("ping", json!({})).await.ok();
        assert!(ttl(id).await <= 60, "an uninitialized session got a full life");
        match calls {
            true => drop(client.list().await.ok()),
            false => drop(client.notify("notifications/initialized", json!({})).await),
        }
        assert!(ttl(id).await > 60, "calls: {calls}");
    }
}

/// A call in flight on the node that takes the change sees it too.
#[tokio::test]
async fn a_running_call_obeys_a_level_set_meanwhile() {
    let node = Node::start(&NodeOptions::default()).await;
    let client = Client::legacy(&node.url());
    let slow = json!({"name": "countdown", "arguments": {"from": 60, "interval_ms": 50}, "_meta": {"progressToken": 1}});
    let (_, mut stream) = client.stream("tools/call", slow).await;
    stream.method("notifications/message").await;
    client
        .request("logging/setLevel", json!({"level": "error"}))
        .await
        .ok();
    // What was under way may still come; after that, progress only.
    let (mut logs, mut progress) = (0, 0);
    while let Some(message) = stream.next_message().await {
        match message["method"].as_str() {
            Some("notifications/message") => logs += 1,
            Some("notifications/progress") => progress += 1,
            _ => break,
        }
    }
    assert!(
        progress > 20 && logs <= 3,
        "{logs} log messages after the level was raised, {progress} of progress"
    );
}
