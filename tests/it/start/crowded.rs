//! A node whose connections are all taken: it still says how it is, and one address does not get all of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::node::{Node, NodeOptions};
use crate::support::process::within;

/// A connection on which nothing comes is closed after 10 s.
const SILENCE_ENDS_WITHIN: Duration = Duration::from_secs(20);

async fn node(env: &[(&str, &str)]) -> Node {
    let options = NodeOptions::default().env("MCP_HTTP__CONNECTIONS_MAX", "5");
    let options = env
        .iter()
        .fold(options, |options, (name, value)| options.env(name, *value));
    Node::start(&options).await
}

/// A connection from 127.0.0.`last`.
async fn connect(node: &Node, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
    socket.bind(from).expect("an address of this machine");
    let address = SocketAddr::from(([127, 0, 0, 1], node.port()));
    socket.connect(address).await.expect("a connection")
}

/// What a request on a connection of its own is answered, if it is.
async fn ask(node: &Node, last: u8, request: &str) -> String {
    let mut connection = connect(node, last).await;
    let request =
        format!("{request} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    let mut answer = String::new();
    if connection.write_all(request.as_bytes()).await.is_ok() {
        connection.read_to_string(&mut answer).await.ok();
    }
    answer
}

#[track_caller]
fn answers(answer: &str, status: u16, words: &str) {
    let line = format!("HTTP/1.1 {status} ");
    assert!(answer.starts_with(&line) && answer.contains(words), "{answer}");
}

async fn says_how_it_is(node: &Node, last: u8) {
    for path in ["/livez", "/readyz", "/health", "/metrics"] {
        answers(&ask(node, last, &format!("GET {path}")).await, 200, "");
    }
}

/// F10: connections that never say anything take neither the health of a node away nor the places of others,
/// and are closed.
#[tokio::test]
async fn silent_connections_leave_room_for_health_and_for_other_addresses() {
    let node = node(&[]).await;
    let mut silent = Vec::new();
    // The connection by which it was found that the node lives may still be counted.
    let refused = loop {
        silent.push(connect(&node, 1).await);
        let answer = ask(&node, 1, "POST /mcp").await;
        if silent.len() > 4 && !answer.starts_with("HTTP/1.1 415 ") {
            break answer;
        }
        assert!(silent.len() < 10, "{answer}");
    };
    says_how_it_is(&node, 1).await;
    answers(&refused, 429, "http.connections_peer_max");
    assert!(
        refused.contains("retry-after: 1") && refused.contains("connection: close"),
        "{refused}"
    );
    // The last fifth is for others.
    answers(&ask(&node, 2, "POST /mcp").await, 415, "");
    // A connection that has just been closed may still be counted: a node is full when it refuses again and
    // again.
    let mut refusals = 0;
    while refusals < 10 {
        let answer = ask(&node, 3, "POST /mcp").await;
        if answer.starts_with("HTTP/1.1 415 ") {
            silent.push(connect(&node, 2).await);
            assert!(silent.len() < 20, "a node has 5 places");
            refusals = 0;
        } else {
            answers(&answer, 503, "http.connections_max");
            refusals += 1;
        }
    }
    says_how_it_is(&node, 3).await;
    within(SILENCE_ENDS_WITHIN, "silent connections are closed", || async {
        ask(&node, 1, "POST /mcp")
            .await
            .starts_with("HTTP/1.1 415 ")
            .then_some(())
    })
    .await;
    drop(silent);
}

/// F10: a trusted proxy's connections are many clients'.
#[tokio::test]
async fn a_trusted_proxy_may_have_all_connections() {
    let node = node(&[("MCP_HTTP__TRUSTED_PROXIES", "127.0.0.1")]).await;
    let mut silent = Vec::new();
    // A share would be refused by 429.
    let refused = loop {
        let answer = ask(&node, 1, "POST /mcp").await;
        if !answer.starts_with("HTTP/1.1 415 ") {
            break answer;
        }
        silent.push(connect(&node, 1).await);
        assert!(silent.len() < 20, "a node has 5 places");
    };
    answers(&refused, 503, "http.connections_max");
    says_how_it_is(&node, 1).await;
    drop(silent);
}

/// F10: a node raises the limit on open files as far as it may, and tells when that is not enough.
#[tokio::test]
async fn a_node_tells_when_it_may_open_too_few_files() {
    let node = Node::start(&NodeOptions::default().env("MCP_HTTP__CONNECTIONS_MAX", "1000000")).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.process_id())).expect("limits");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .expect("a limit");
    let mut words = line.trim_start_matches("Max open files").split_whitespace();
    let (soft, hard) = (words.next().expect("soft"), words.next().expect("hard"));
    assert_eq!(soft, hard, "{line}");
    let enough = hard.parse::<u64>().is_ok_and(|hard| hard > 1_001_000);
    assert_eq!(
        node.log().contains("http.connections_max"),
        !enough,
        "{line}\n{}",
        node.log()
    );
}
