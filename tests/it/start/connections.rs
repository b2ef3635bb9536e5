//! How a stream of events is written: each client gets a form that it understands.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::client::Client;
use crate::support::node::{Node, NodeOptions};
use crate::support::process::PATIENCE;

/// Asks for the stream of 2024-11-05, whose first event comes at once.
fn asks_for_stream(method: &str, version: &str) -> String {
    format!("{method} /sse HTTP/{version}\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n")
}

/// Reads until `end` has come.
async fn read_until(connection: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let read = connection.read_buf(&mut text).await.expect("the connection");
        assert!(read > 0, "it ended: {}", String::from_utf8_lossy(&text));
    }
    String::from_utf8(text).expect("text")
}

async fn answer_to(node: &Node, request: &str, end: &str) -> String {
    let address = ("127.0.0.1", node.port());
    let mut connection = TcpStream::connect(address).await.expect("a connection");
    connection.write_all(request.as_bytes()).await.expect("a request");
    read_until(&mut connection, end).await
}

/// The standing stream of a session.
async fn asks_for_standing_stream(node: &Node) -> String {
    let headers = Client::legacy(&node.url()).session_headers().await;
    let mut request = "GET /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n".to_owned();
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request + "\r\n"
}

/// A stream of `/mcp` that breaks off must not look like one that has ended; one of HTTP+SSE ends with its connection.
#[tokio::test]
async fn a_stream_is_chunked_for_clients_that_know_chunks() {
    let node = Node::start(&NodeOptions::default()).await;
    let text = answer_to(&node, &asks_for_stream("GET", "1.1"), "\n\n").await;
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(!head.contains("transfer-encoding"), "{head}");
    for header in ["connection: close", "content-type: text/event-stream"] {
        assert!(head.contains(header), "no {header} in {head}");
    }
    assert!(body.starts_with("event: endpoint\n"), "{body}");

    let text = answer_to(&node, &asks_for_standing_stream(&node).await, "\n\n\r\n").await;
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    for header in [
        "transfer-encoding: chunked",
        "connection: close",
        "content-type: text/event-stream",
        "x-accel-buffering: no",
        "cache-control: no-store, no-transform",
    ] {
        assert!(head.contains(header), "no {header} in {head}");
    }
    let (size, event) = body.split_once("\r\n").expect("a chunk");
    let size = usize::from_str_radix(size, 16).expect("its size");
    assert_eq!(event.len(), size + "\r\n".len());
    assert!(event.starts_with("id: "), "{event}");

    let text = answer_to(&node, &asks_for_stream("GET", "1.0"), "\n\n").await;
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(!head.contains("chunked"), "{head}");
    assert!(body.starts_with("event: endpoint\n"), "{body}");

    let text = answer_to(&node, &asks_for_stream("HEAD", "1.1"), "\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 405"), "HEAD opens no stream: {text}");
}

/// `http.keep_alive`: how long a connection may be idle.
#[tokio::test]
async fn a_connection_is_closed_once_it_has_been_idle_for_long_enough() {
    const IDLE: Duration = Duration::from_millis(700);
    let node = Node::start(&NodeOptions::default().env("MCP_HTTP__KEEP_ALIVE", "700ms")).await;
    let mut connection = TcpStream::connect(("127.0.0.1", node.port()))
        .await
        .expect("a connection");
    let request = b"GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
    for _ in 0..3 {
        connection.write_all(request).await.expect("a request");
        let answer = read_until(&mut connection, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let began = Instant::now();
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, connection.read_to_end(&mut rest)).await;
    ended.expect("the node closes it").expect("in good order");
    assert!(began.elapsed() >= IDLE / 2, "{:?}", began.elapsed());
    assert!(rest.is_empty(), "{rest:?}");
}
