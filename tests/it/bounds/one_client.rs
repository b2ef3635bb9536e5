//! One client gets a share of what a node has, and others go on; what is not a call takes no place of one.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::support::calls::gauge;
use crate::support::client::{Answer, Client, on_the_wire};
use crate::support::cluster::Cluster;
use crate::support::http::http_client;
use crate::support::node::{Node, NodeOptions};
use crate::support::process::within;
use crate::support::sse::EventStream;

/// A call whose client has gone has some seconds to finish what it is at, and its handler one more to stop.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(15);

/// A node that tells its clients apart by what they say in `X-Forwarded-For`.
async fn node(env: &[(&str, &str)]) -> Node {
    let options = NodeOptions::default().env("MCP_HTTP__TRUSTED_PROXIES", "127.0.0.1");
    let options = env
        .iter()
        .fold(options, |options, (name, value)| options.env(name, *value));
    Node::start(&options).await
}

/// The same client at an address of its own.
fn at(client: Client, last: u8) -> Client {
    client.header("x-forwarded-for", &format!("192.0.2.{last}"))
}

#[track_caller]
fn told(answer: &Answer, setting: &str) {
    assert_eq!(answer.status, 429, "{}", answer.body);
    assert_eq!(answer.header("retry-after"), Some("1"));
    let message = answer.error()["message"].as_str().unwrap_or_default();
    assert!(message.contains(setting), "expected {setting} in {message:?}");
}

/// A call that lasts.
fn long() -> Value {
    json!({"name": "countdown", "arguments": {"from": 100, "interval_ms": 10_000}})
}

async fn begin(client: &Client) -> EventStream {
    client.stream("tools/call", long()).await.1
}

async fn echoes(client: &Client) -> Answer {
    client.call("echo", json!({"text": "x"})).await
}

/// F7: one client cannot take all the places for calls, and a node that has none left still says that it
/// lives.
#[tokio::test]
async fn one_client_gets_its_share_of_calls_and_others_go_on() {
    let node = node(&[("MCP_CALL__NODE_MAX", "5")]).await;
    let (greedy, other) = (
        at(Client::legacy(&node.url()), 1),
        at(Client::legacy(&node.url()), 2),
    );
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(begin(&greedy).await);
    }
    told(&echoes(&greedy).await, "call.peer_max");
    // Another session is no other client, nor is one of the other era.
    let again = at(Client::legacy(&node.url()), 1);
    told(&echoes(&again).await, "call.peer_max");
    told(&echoes(&again.clone().into_modern()).await, "call.peer_max");
    echoes(&other).await.ok();
    held.push(begin(&other).await);
    told(
        &echoes(&at(Client::legacy(&node.url()), 3)).await,
        "call.node_max",
    );
    for client in [&greedy, &other] {
        client.request("ping", json!({})).await.ok();
        client.initialize().await.ok();
        let notified = client.notify("notifications/roots/list_changed", json!({})).await;
        assert_eq!(notified.status, 202);
        client
            .clone()
            .into_modern()
            .request("server/discover", json!({}))
            .await
            .ok();
    }
    let cancelled = json!({"requestId": 999});
    assert_eq!(
        greedy.notify("notifications/cancelled", cancelled).await.status,
        202
    );
    drop(held);
}

/// F6: subscriptions have places of their own.
#[tokio::test]
async fn subscriptions_take_no_places_of_calls() {
    let node = node(&[("MCP_CALL__NODE_MAX", "5"), ("MCP_LISTEN__NODE_MAX", "10")]).await;
    let (greedy, other) = (
        at(Client::modern(&node.url()), 1),
        at(Client::modern(&node.url()), 2),
    );
    let listen = || json!({"notifications": {"toolsListChanged": true}});
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(greedy.stream("subscriptions/listen", listen()).await.1);
    }
    told(
        &greedy.request("subscriptions/listen", listen()).await,
        "listen.peer_max",
    );
    for _ in 0..2 {
        open.push(other.stream("subscriptions/listen", listen()).await.1);
    }
    told(
        &other.request("subscriptions/listen", listen()).await,
        "listen.node_max",
    );
    echoes(&greedy).await.ok();
    assert_eq!(gauge(&node.url(), "anynode_calls_in_flight").await, 0.0);
    assert_eq!(
        gauge(&node.url(), "anynode_streams_open{kind=\"listen\"}").await,
        10.0
    );
    open.clear();
    within(GIVEN_UP_WITHIN, "the places are given back", || async {
        (gauge(&node.url(), "anynode_streams_open").await == 0.0).then_some(())
    })
    .await;
    open.push(greedy.stream("subscriptions/listen", listen()).await.1);
}

/// F7: streams, too, are shared out.
#[tokio::test]
async fn one_client_gets_its_share_of_streams() {
    let node = node(&[("MCP_STREAM__NODE_MAX", "5")]).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let client = at(Client::legacy(&node.url()), 1);
        open.push(client.listen(None).await);
    }
    let client = at(Client::legacy(&node.url()), 1);
    told(&Answer::read(client.get(None).await).await, "stream.peer_max");
    let sse = async |last: u8| {
        let http = http_client().build().expect("a client");
        let request = http.get(format!("{}/sse", node.url()));
        let request = request.header("x-forwarded-for", format!("192.0.2.{last}"));
        request.send().await.expect("an answer")
    };
    told(&Answer::read(sse(1).await).await, "stream.peer_max");
    open.push(EventStream::new(sse(2).await));
    told(&Answer::read(sse(2).await).await, "stream.node_max");
    open.clear();
}

/// F7: a call whose client has gone, and was given no event id to come back with, does not run to
/// `call.timeout`.
#[tokio::test]
async fn a_call_is_given_up_whose_client_has_gone_for_good() {
    for (env, revision) in [
        // It is not answered yet, when its client goes.
        (&[("MCP_CALL__REPLY", "json")][..], "2025-11-25"),
        (&[("MCP_CALL__REPLY_GRACE", "30s")][..], "2025-11-25"),
        // It is answered by a stream, on which nothing came.
        (&[][..], "2025-06-18"),
    ] {
        let node = node(env).await;
        let client = Client::legacy(&node.url()).revision(revision);
        let (headers, body) = client.message("tools/call", long(), Some(json!(7))).await;
        let mut connection = send(&node, &headers, &body.to_string()).await;
        within(GIVEN_UP_WITHIN, "the call runs", || async {
            (gauge(&node.url(), "anynode_calls_in_flight").await == 1.0).then_some(())
        })
        .await;
        if env.is_empty() {
            connection.read_u8().await.expect("the head of a stream");
        }
        connection.set_zero_linger().expect("a reset");
        drop(connection);
        within(GIVEN_UP_WITHIN, "the call is given up", || async {
            (gauge(&node.url(), "anynode_calls_in_flight").await == 0.0).then_some(())
        })
        .await;
    }
}

/// F7, and what a full or absent store does to it: the call has no log from which its client could have an
/// id.
#[tokio::test]
async fn a_call_without_a_log_is_given_up_whose_client_has_gone() {
    let cluster = Cluster::of(1).await;
    let node = cluster.node(0);
    let client = cluster.client();
    client.list().await.ok();
    cluster.redis().pause();
    let (headers, body) = client.message("tools/call", long(), Some(json!(7))).await;
    let mut connection = send(node, &headers, &body.to_string()).await;
    connection.read_u8().await.expect("the head of a stream");
    assert_eq!(gauge(&node.url(), "anynode_calls_in_flight").await, 1.0);
    connection.set_zero_linger().expect("a reset");
    drop(connection);
    within(GIVEN_UP_WITHIN, "the call is given up", || async {
        (gauge(&node.url(), "anynode_calls_in_flight").await == 0.0).then_some(())
    })
    .await;
    cluster.redis().resume();
}

/// Sends a request on a connection of its own.
async fn send(node: &Node, headers: &[(String, String)], body: &str) -> TcpStream {
    let mut connection = TcpStream::connect(("127.0.0.1", node.port()))
        .await
        .expect("a connection");
    let request = on_the_wire(headers, body);
    connection.write_all(request.as_bytes()).await.expect("a request");
    connection
}

/// F15: who holds all the room for bodies that one client has keeps nobody else from sending theirs.
#[tokio::test]
async fn one_clients_bodies_leave_room_for_others() {
    let node = node(&[
        ("MCP_HTTP__BODY_BYTES_MAX", "1MiB"),
        ("MCP_HTTP__BODIES_PEER_BYTES_MAX", "1MiB"),
    ])
    .await;
    let (greedy, other) = (
        at(Client::legacy(&node.url()), 1),
        at(Client::legacy(&node.url()), 2),
    );
    let large = "x".repeat((1 << 20) - 1000);
    let (mut headers, _) = greedy.message("ping", json!({}), None).await;
    headers.push(("x-forwarded-for".into(), "192.0.2.1".into()));
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         x-forwarded-for: 192.0.2.1\r\n\r\n{large}",
        large.len() + 1
    );
    let note = json!({"key": "k", "value": "x".repeat(200_000)});
    let stalled = within(GIVEN_UP_WITHIN, "the room of one client is full", || async {
        let mut stalled = send(&node, &headers, "").await;
        stalled
            .write_all(request.as_bytes())
            .await
            .expect("most of a body");
        // If it has not come by then, the two share the room: it is sent once more.
        sleep(Duration::from_millis(500)).await;
        let answer = greedy.call("remember", note.clone()).await;
        (answer.status == 429).then(|| {
            told(&answer, "http.bodies_peer_bytes_max");
            stalled
        })
    })
    .await;
    greedy.request("ping", json!({})).await.ok();
    other.call("remember", note).await.ok();
    drop(stalled);
}
