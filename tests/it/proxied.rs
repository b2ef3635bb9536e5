//! The PROXY protocol, byte by byte: whose connection it is, and who may not say so. `balancers/secure.rs` has
//! real proxies.

use std::net::IpAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::client::on_the_wire;
use crate::support::node::{Node, NodeOptions};
use crate::support::process::PATIENCE;

/// A node that believes what comes from 127.0.0.1 and nobody else.
async fn believing(env: &[(&str, &str)]) -> Node {
    Node::start(&options(env)).await
}

fn options(env: &[(&str, &str)]) -> NodeOptions {
    let options = NodeOptions::default()
        .env("MCP_HTTP__TRUSTED_PROXIES", "127.0.0.1")
        .env("MCP_HTTP__PROXY_PROTOCOL", "true");
    env.iter()
        .fold(options, |options, (name, value)| options.env(name, *value))
}

/// A connection to it from that address of this machine.
async fn connected(node: &Node, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let from: IpAddr = from.parse().expect("an address");
    socket.bind((from, 0).into()).expect("an address of this machine");
    let there = ([127, 0, 0, 1], node.port()).into();
    socket.connect(there).await.expect("a connection")
}

/// What comes back for these bytes from that address: empty if the connection is closed without an answer.
async fn answer(node: &Node, from: &str, bytes: &[u8]) -> String {
    let mut stream = connected(node, from).await;
    // It may be closed while this is written.
    drop(stream.write_all(bytes).await);
    let mut answer = Vec::new();
    // A reset is an end too.
    drop(
        timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .expect("an end"),
    );
    String::from_utf8(answer).expect("text")
}

/// A request behind a header of version 1 for that client.
fn behind(client: &str, request: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 127.0.0.1 56324 3000\r\n{request}").into_bytes()
}

fn livez() -> &'static str {
    "GET /livez HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
}

async fn counted(node: &Node, outcome: &str) -> u64 {
    let metrics = "GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n";
    // From an address that is no proxy's.
    let text = answer(node, "127.0.0.9", metrics.as_bytes()).await;
    let series = format!("anynode_proxy_headers_total{{outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&series));
    line.map_or(0, |value| value.trim().parse().expect("a count"))
}

#[tokio::test]
async fn the_header_is_needed_from_proxies_and_refused_from_others() {
    let node = believing(&[]).await;
    assert!(
        answer(&node, "127.0.0.1", &behind("192.0.2.1", livez()))
            .await
            .contains("200 OK")
    );
    assert!(
        answer(&node, "127.0.0.2", livez().as_bytes())
            .await
            .contains("200 OK")
    );

    assert_eq!(answer(&node, "127.0.0.1", livez().as_bytes()).await, "");
    assert_eq!(answer(&node, "127.0.0.1", b"PROXY TCP4 nonsense\r\n").await, "");
    assert_eq!(
        answer(&node, "127.0.0.2", &behind("127.0.0.1", livez())).await,
        ""
    );
    let binary = [&b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"[..], livez().as_bytes()].concat();
    assert_eq!(answer(&node, "127.0.0.2", &binary).await, "");
    assert!(answer(&node, "127.0.0.1", &binary).await.contains("200 OK"));

    for (outcome, count) in [
        ("client", 1),
        ("own", 1),
        ("missing", 1),
        ("malformed", 1),
        ("untrusted", 2),
    ] {
        assert_eq!(counted(&node, outcome).await, count, "{outcome}");
    }
    let log = node.log();
    assert!(log.contains("http.trusted_proxies does not list it"), "{log}");
    assert!(log.contains("http.proxy_protocol asks for the header"), "{log}");
}

#[tokio::test]
async fn a_header_that_does_not_come_is_not_waited_for_for_ever() {
    let node = believing(&[]).await;
    let mut silent = connected(&node, "127.0.0.1").await;
    let mut slow = connected(&node, "127.0.0.1").await;
    slow.write_all(b"PROXY TCP4 192.0").await.expect("a part");
    for stream in [&mut silent, &mut slow] {
        let read = timeout(PATIENCE, stream.read(&mut [0; 16])).await;
        assert_eq!(read.expect("an end").expect("no reset"), 0);
    }
    assert_eq!(counted(&node, "late").await, 2);
}

/// Without the setting such a line is what it always was: bad HTTP.
#[tokio::test]
async fn without_the_setting_a_header_is_bad_http() {
    let node = Node::start(&NodeOptions::default().env("MCP_HTTP__TRUSTED_PROXIES", "127.0.0.1")).await;
    let answered = answer(&node, "127.0.0.1", &behind("192.0.2.1", livez())).await;
    assert!(answered.starts_with("HTTP/1.1 400"), "{answered}");
}

/// A connection counts for the client that the header names, and for nobody before.
#[tokio::test]
async fn connections_count_for_the_client_that_the_header_names() {
    let node = believing(&[("MCP_HTTP__CONNECTIONS_PEER_MAX", "2")]).await;
    let unnamed = [
        connected(&node, "127.0.0.1").await,
        connected(&node, "127.0.0.1").await,
    ];
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}
    }});
    let request = on_the_wire(&[("connection".into(), "keep-alive".into())], &body.to_string());
    let mut open = Vec::new();
    for (client, status) in [
        ("192.0.2.1", "200"),
        ("192.0.2.1", "200"),
        ("192.0.2.1", "429"),
        ("192.0.2.2", "200"),
    ] {
        let mut stream = connected(&node, "127.0.0.1").await;
        stream
            .write_all(&behind(client, &request))
            .await
            .expect("a request");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(answer, format!("HTTP/1.1 {status}").as_bytes(), "{client}");
        open.push(stream);
    }
    drop(unnamed);
}
