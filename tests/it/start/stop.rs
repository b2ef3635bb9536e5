//! How a node stops: with patience when it is told to by SIGTERM, at once for Ctrl-C.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::support::client::Client;
use crate::support::http::http_get;
use crate::support::node::{Node, NodeOptions};
use crate::support::process::{Signal, eventually, free_port};
use crate::support::program::Program;
use crate::support::redis::Redis;

async fn get(node: &Program, path: &str) -> (u16, String) {
    let sent = http_get(format!("{}{path}", node.url()))
        .await
        .expect("an answer");
    (sent.status().as_u16(), sent.text().await.expect("a body"))
}

#[tokio::test]
async fn sigterm_lets_balancers_notice_and_calls_finish() {
    let redis = Redis::start().await;
    let env = [
        ("REDIS_URL", &*redis.url()),
        ("MCP_DRAIN__DELAY", "2s"),
        // A stream would be sent to another node.
        ("MCP_CALL__REPLY", "json"),
    ];
    let node = Program::serve(&[], &env).await;
    let client = Client::legacy(&node.url());
    client.session().await;
    assert_eq!(get(&node, "/readyz").await.0, 200);
    let before = client.call("echo", json!({"text": "hello"})).await.ok();
    assert_eq!(before.header("connection"), None, "connections stay open");
    // Longer than the delay: it is in flight when the listener closes.
    let caller = client.clone();
    let slow = async move {
        let arguments = json!({"from": 7, "interval_ms": 500});
        caller.call("countdown", arguments).await.ok()
    };
    let slow = tokio::spawn(slow);
    eventually("the call is in flight", || async {
        let metrics = get(&node, "/metrics").await.1;
        metrics.contains("\nanynode_calls_in_flight 1\n").then_some(())
    })
    .await;
    node.signal(Signal::Terminate);
    eventually("/readyz turns 503", || async {
        (get(&node, "/readyz").await.0 == 503).then_some(())
    })
    .await;
    let (status, health) = get(&node, "/health").await;
    let health: Value = serde_json::from_str(&health).expect("JSON");
    assert_eq!((status, &health["status"]), (503, &json!("draining")));
    assert_eq!(get(&node, "/livez").await.0, 200, "alive, or it would be killed");
    let served = client.call("echo", json!({"text": "still here"})).await.ok();
    let asked = served.header("connection");
    assert_eq!(asked, Some("close"), "the next request shall go elsewhere");
    Client::legacy(&node.url()).list().await.ok();
    let answer = slow.await.expect("no panic");
    assert_eq!(answer.result()["structuredContent"]["counted"], 7, "{answer:?}");
    let done = node.end().await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

/// A22: a node whose sessions nobody shares is the only one: there is no other that a balancer could notice to
/// send requests to. Its calls finish nevertheless.
#[tokio::test]
async fn a_lone_node_does_not_wait_for_balancers() {
    // Waiting for it would fail the test.
    let node = Program::serve(&[], &[("MCP_DRAIN__DELAY", "1h")]).await;
    let client = Client::legacy(&node.url());
    let slow = json!({"name": "countdown", "arguments": {"from": 3, "interval_ms": 400}});
    let (id, mut stream) = client.stream("tools/call", slow).await;
    node.signal(Signal::Terminate);
    let answer = stream.answer_to(&id).await;
    assert_eq!(answer["result"]["structuredContent"]["counted"], 3, "{answer}");
    let done = node.end().await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

#[tokio::test]
async fn a_node_that_waits_for_its_store_stops_when_it_is_told_to() {
    let url = format!("redis://127.0.0.1:{}", free_port());
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let env = [("REDIS_URL", &*url), ("MCP_STORE__WAIT", "1h"), ("PORT", "0")];
        let node = Program::start(&[], &env);
        eventually("the node waits", || async {
            node.stderr().contains("waiting for the store").then_some(())
        })
        .await;
        node.signal(signal);
        let done = node.end().await;
        assert_eq!((done.code, &*done.stdout), (Some(0), ""), "{}", done.stderr);
    }
}

#[tokio::test]
async fn calls_that_outlive_the_deadline_do_not_keep_the_node() {
    let env = [("MCP_DRAIN__DELAY", "0s"), ("MCP_DRAIN__DEADLINE", "300ms")];
    let node = Program::serve(&[], &env).await;
    let client = Client::legacy(&node.url());
    let slow = json!({"name": "countdown", "arguments": {"from": 100, "interval_ms": 10_000}});
    let (_id, _stream) = client.stream("tools/call", slow).await;
    node.signal(Signal::Terminate);
    assert_eq!(node.end().await.code, Some(0));
}

#[tokio::test]
async fn ctrl_c_stops_at_once_whatever_is_in_flight() {
    // Waiting for any of these would fail the test.
    let env = [("MCP_DRAIN__DELAY", "1h"), ("MCP_DRAIN__DEADLINE", "1h")];
    let node = Program::serve(&[], &env).await;
    let client = Client::legacy(&node.url());
    let slow = json!({"name": "countdown", "arguments": {"from": 100, "interval_ms": 10_000}});
    let (_id, _stream) = client.stream("tools/call", slow).await;
    node.signal(Signal::Interrupt);
    let done = node.end().await;
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

#[tokio::test]
async fn who_says_so_twice_does_not_wait_either() {
    for second in [Signal::Terminate, Signal::Interrupt] {
        for delay in ["1h", "0s"] {
            let env = [("MCP_DRAIN__DELAY", delay), ("MCP_DRAIN__DEADLINE", "1h")];
            let node = Program::serve(&[], &env).await;
            let client = Client::legacy(&node.url());
            let slow = json!({"name": "countdown", "arguments": {"from": 100, "interval_ms": 10_000}});
            let (_id, _stream) = client.stream("tools/call", slow).await;
            node.signal(Signal::Terminate);
            // What comes at once is not meant twice.
            node.signal(Signal::Terminate);
            eventually("it drains", || async {
                node.stderr().contains("draining").then_some(())
            })
            .await;
            sleep(Duration::from_millis(1500)).await;
            assert!(!node.stderr().contains("second signal"), "{}", node.stderr());
            node.signal(second);
            let done = node.end().await;
            assert_eq!(done.code, Some(0), "{}", done.stderr);
            assert!(done.stderr.contains("second signal"), "{}", done.stderr);
        }
    }
}

/// Longer than a node takes to accept a connection, or to notice a signal; shorter than it waits for the
/// request.
const A_WHILE: Duration = Duration::from_millis(300);

/// The client has connected, and what it asks is on its way.
#[tokio::test]
async fn a_connection_that_was_accepted_is_served_though_the_node_stops() {
    let node = Node::start(&NodeOptions::default().env("MCP_DRAIN__DELAY", "0s")).await;
    let mut early = TcpStream::connect(("127.0.0.1", node.port()))
        .await
        .expect("a connection");
    let silent = TcpStream::connect(("127.0.0.1", node.port()))
        .await
        .expect("a connection");
    sleep(A_WHILE).await;
    node.terminate();
    sleep(A_WHILE).await;
    early
        .write_all(b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        .await
        .expect("the connection is open");
    let mut answer = String::new();
    early.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    // A client that says nothing does not keep it from stopping.
    assert!(node.end().await.success());
    drop(silent);
}
