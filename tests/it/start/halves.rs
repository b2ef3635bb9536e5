//! Connections of which one half is closed before the other: by a client that has asked, and by a node that
//! has refused.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::support::calls::gauge;
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::node::{Node, NodeOptions};
use crate::support::process::{PATIENCE, within};
use crate::support::sse::Parser;

/// The node asks after a client that has closed its half at once, soon, and each second.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

async fn connect(node: &Node) -> TcpStream {
    let address = ("127.0.0.1", node.port());
    TcpStream::connect(address).await.expect("a connection")
}

fn head(path: &str, headers: &[(String, String)], length: usize) -> String {
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: application/json, text/event-stream\r\n\
         content-length: {length}\r\n"
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head + "\r\n"
}

/// Sends a call, and nothing more ever.
async fn send_and_close_half(client: &Client, node: &Node, params: Value) -> TcpStream {
    let (mut headers, body) = client.message("tools/call", params, Some(json!(7))).await;
    headers.push(("content-type".into(), "application/json".into()));
    let body = body.to_string();
    let mut connection = connect(node).await;
    let request = head("/mcp", &headers, body.len()) + &body;
    connection.write_all(request.as_bytes()).await.expect("a request");
    connection.shutdown().await.expect("the half of a connection");
    connection
}

async fn read(connection: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let all = timeout(PATIENCE, connection.read_to_end(&mut text)).await;
    all.expect("the connection is closed").expect("an answer");
    String::from_utf8(text).expect("text")
}

/// M6: a client that closes its half of the connection after its request still gets its answer.
#[tokio::test]
async fn a_client_that_has_closed_its_half_gets_its_answer() {
    for cluster in Cluster::stages().await {
        let node = cluster.node(0);
        for client in [cluster.client(), cluster.modern()] {
            let notebook = client.open_notebook().await;
            let note = json!({"key": "k", "value": "v", "notebook": notebook});
            let calls = [
                json!({"name": "echo", "arguments": {"text": "v"}}),
                json!({"name": "remember", "arguments": note}),
                // Its reply is a stream.
                json!({"name": "countdown", "arguments": {"from": 3, "interval_ms": 700}}),
            ];
            for params in calls {
                let mut connection = send_and_close_half(&client, node, params.clone()).await;
                let answer = read(&mut connection).await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{params}: {answer}");
                let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
                let message: Option<Value> = match body.starts_with('{') {
                    true => serde_json::from_str(body).ok(),
                    false => unchunked(body).into_iter().find(|message| message["id"] == 7),
                };
                let message = message.unwrap_or_else(|| panic!("{params}: no answer in {answer}"));
                assert_ne!(message["result"]["isError"], true, "{message}");
                assert!(message["result"].is_object(), "{message}");
            }
        }
    }
}

/// All of an answer, however slowly it is read.
#[tokio::test]
async fn a_client_that_has_closed_its_half_and_reads_slowly_gets_all_of_a_large_answer() {
    // Larger than what the system keeps for a connection, and than what a stream does.
    for (reply, bytes) in [("json", 12 << 20), ("sse", 3 << 20)] {
        let options = NodeOptions::default()
            .env("MCP_CALL__REPLY", reply)
            .env("MCP_HTTP__BODY_BYTES_MAX", "16MiB");
        let node = Node::start(&options).await;
        let client = Client::legacy(&node.url());
        let text = "x".repeat(bytes);
        let params = json!({"name": "echo", "arguments": {"text": text}});
        let mut connection = send_and_close_half(&client, &node, params).await;
        // Until the node has written what it can.
        sleep(Duration::from_secs(1)).await;
        let answer = read(&mut connection).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{reply}: {} B", answer.len());
        let read = answer.matches('x').count();
        assert!(read >= bytes, "{reply}: {read} B of {bytes} B");
    }
}

/// A stream that is taken up on a connection of which the client has closed its half is told to its end.
#[tokio::test]
async fn a_client_that_has_closed_its_half_resumes_a_stream() {
    for cluster in Cluster::stages().await {
        let (node, client) = (cluster.node(0), cluster.client());
        let params = json!({"name": "countdown", "arguments": {"from": 3, "interval_ms": 500}});
        let (id, mut stream) = client.stream("tools/call", params).await;
        let last = loop {
            let event = stream.next().await.expect("an event");
            if let Some(id) = event.id {
                break id;
            }
        };
        drop(stream);
        let mut connection = connect(node).await;
        let mut head = format!(
            "GET /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\nlast-event-id: {last}\r\n"
        );
        for (name, value) in client.session_headers().await {
            head += &format!("{name}: {value}\r\n");
        }
        connection
            .write_all(format!("{head}\r\n").as_bytes())
            .await
            .expect("a request");
        connection.shutdown().await.expect("the half of a connection");
        let answer = read(&mut connection).await;
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let told = unchunked(body).into_iter().any(|message| message["id"] == id);
        assert!(told, "no answer in {answer}");
    }
}

/// The messages of a stream that was written in chunks.
fn unchunked(mut body: &str) -> Vec<Value> {
    let mut events = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
        events += &rest[..size];
        body = rest[size..].trim_start_matches("\r\n");
    }
    let events = Parser::default().push(events.as_bytes());
    events.iter().filter_map(|event| event.message()).collect()
}

/// M6: a client that has closed both halves is not taken for one that waits: its call of 2026-07-28 is
/// cancelled.
#[tokio::test]
async fn a_client_that_has_gone_is_noticed() {
    let node = Node::start(&NodeOptions::default()).await;
    let client = Client::modern(&node.url());
    let params = json!({"name": "countdown", "arguments": {"from": 100, "interval_ms": 10_000}});
    let connection = send_and_close_half(&client, &node, params).await;
    let running = async || gauge(&node.url(), "anynode_calls_in_flight").await;
    within(NOTICED_WITHIN, "the call runs", || async {
        (running().await == 1.0).then_some(())
    })
    .await;
    drop(connection);
    within(NOTICED_WITHIN, "the call is cancelled", || async {
        (running().await == 0.0).then_some(())
    })
    .await;
}

/// Whether the system asks after the client of a connection to that port that has closed its half.
fn asks_after(port: u16) -> bool {
    const CLOSE_WAIT: &str = "08";
    const KEEPALIVE: &str = "02:";
    let connections = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let port = format!(":{port:04X}");
    connections.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        matches!(fields[..], [_, local, _, CLOSE_WAIT, _, timer, ..]
            if local.ends_with(&port) && timer.starts_with(KEEPALIVE))
    })
}

/// M6: the same when nothing can be written before the answer. The system asks after such a client, and tells
/// of its end.
#[tokio::test]
async fn a_client_that_waits_for_one_body_and_has_gone_is_noticed() {
    let node = Node::start(&NodeOptions::default().env("MCP_CALL__REPLY", "json")).await;
    let client = Client::modern(&node.url());
    let params = json!({"name": "countdown", "arguments": {"from": 100, "interval_ms": 10_000}});
    let connection = send_and_close_half(&client, &node, params).await;
    within(NOTICED_WITHIN, "the system asks after the client", || async {
        asks_after(node.port()).then_some(())
    })
    .await;
    let running = async || gauge(&node.url(), "anynode_calls_in_flight").await;
    assert_eq!(running().await, 1.0);
    // As if the system had been asked, and had forgotten the connection.
    let socket = socket2::SockRef::from(&connection);
    socket.set_linger(Some(Duration::ZERO)).expect("a reset");
    drop(connection);
    within(NOTICED_WITHIN, "the call is cancelled", || async {
        (running().await == 0.0).then_some(())
    })
    .await;
}

/// F13: who writes all of a request before it reads is told why it was refused.
#[tokio::test]
async fn a_refusal_reaches_a_client_that_is_still_writing() {
    let node =
        Node::start(&NodeOptions::default().env("MCP_AUTH__TOKENS__ALICE", "a-long-enough-token")).await;
    let json = ("content-type", "application/json");
    let token = ("authorization", "Bearer a-long-enough-token");
    let refusals = [
        (413, 6 << 20, "/mcp", vec![json, token]),
        (413, 6 << 20, "/messages?sessionId=x", vec![json, token]),
        (
            401,
            3 << 20,
            "/mcp",
            vec![json, ("authorization", "Bearer wrong")],
        ),
        (415, 3 << 20, "/mcp", vec![("content-type", "text/plain"), token]),
        (
            403,
            3 << 20,
            "/mcp",
            vec![json, token, ("origin", "https://evil.example")],
        ),
        (405, 3 << 20, "/sse", vec![json, token]),
        (404, 3 << 20, "/nowhere", vec![json, token]),
    ];
    for (status, size, path, headers) in refusals {
        let headers: Vec<_> = headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for _ in 0..5 {
            let mut connection = connect(&node).await;
            let sent = async {
                connection
                    .write_all(head(path, &headers, size).as_bytes())
                    .await?;
                let piece = vec![b'x'; 64 << 10];
                for _ in 0..size / piece.len() {
                    connection.write_all(&piece).await?;
                }
                Ok::<_, std::io::Error>(())
            };
            sent.await
                .unwrap_or_else(|error| panic!("{status}: {error} while it was written"));
            let answer = read(&mut connection).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
    }
}

/// The same of a head that is too large.
#[tokio::test]
async fn a_client_learns_that_its_headers_are_too_large() {
    let node = Node::start(&NodeOptions::default()).await;
    for _ in 0..3 {
        let mut connection = connect(&node).await;
        let sent = async {
            connection
                .write_all(b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\nx-long: ")
                .await?;
            let piece = vec![b'x'; 64 << 10];
            for turn in 0..32 {
                connection.write_all(&piece).await?;
                // Until the node has read more than it takes, and has answered.
                if turn == 16 {
                    sleep(Duration::from_millis(200)).await;
                }
            }
            connection.write_all(b"\r\n\r\n").await
        };
        sent.await
            .unwrap_or_else(|error| panic!("{error} while it was written"));
        let answer = read(&mut connection).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}
