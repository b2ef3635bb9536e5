//! Where a node listens: a port, an IPv6 address, a Unix socket; and what it says when it cannot.

use std::os::unix::net::UnixListener;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::greeting::paste;
use crate::support::process::{Signal, eventually};
use crate::support::program::{Done, Program};

fn host(socket: &Path) -> String {
    format!("unix:{}", socket.display())
}

async fn ask_health(host: &str) -> Done {
    Program::run(&["health"], &[("HOST", host)]).await
}

#[tokio::test]
async fn a_port_in_use_is_told_with_the_settings_to_change() {
    let node = Program::serve(&[], &[]).await;
    let url = node.url();
    let port = url.rsplit_once(':').expect("a port").1;
    let line = Program::run(&[], &[("PORT", port)]).await.one_line(1);
    for word in [&*format!("PORT={port}"), "HOST=127.0.0.1", "in use"] {
        assert!(line.contains(word), "no {word} in {line}");
    }
    assert_eq!(line.matches("in use").count(), 1, "its cause once: {line}");
}

#[tokio::test]
async fn an_address_of_another_machine_is_told_with_the_settings_to_change() {
    let env = [("HOST", "192.0.2.1"), ("PORT", "0")];
    let line = Program::run(&[], &env).await.one_line(1);
    assert!(line.contains("HOST=192.0.2.1"), "{line}");
}

#[tokio::test]
async fn ipv6_serves_as_well() {
    let node = Program::serve(&[], &[("HOST", "::1")]).await;
    let url = node.url();
    assert!(url.starts_with("http://[::1]:"), "{url}");
    assert!(paste(&node.try_it())["result"].is_object());
    let port = url.rsplit_once(':').expect("a port").1;
    let asked = Program::run(&["health"], &[("HOST", "::1"), ("PORT", port)]).await;
    assert_eq!(asked.ok(), "healthy\n");
}

#[tokio::test]
async fn a_unix_socket_serves_until_the_node_stops() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // A path that a shell would take for two words.
    let socket = dir.path().join("the node's.sock");
    let node = Program::serve(&[], &[("HOST", &host(&socket)), ("MCP_DRAIN__DELAY", "0s")]).await;
    assert_eq!(node.url(), host(&socket));
    assert!(node.try_it().contains("--unix-socket"), "{}", node.try_it());
    assert!(paste(&node.try_it())["result"].is_object());
    assert_eq!(ask_health(&host(&socket)).await.ok(), "healthy\n");
    node.signal(Signal::Terminate);
    assert_eq!(node.end().await.code, Some(0));
    assert!(!socket.exists(), "the socket's file is left behind");
    let line = ask_health(&host(&socket)).await.one_line(1);
    assert!(line.contains("nothing listens"), "{line}");
}

#[tokio::test]
async fn a_socket_that_a_crash_left_behind_is_replaced() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("mcp.sock");
    drop(UnixListener::bind(&socket).expect("a socket"));
    assert!(socket.exists(), "left behind");
    let node = Program::serve(&[], &[("HOST", &host(&socket))]).await;
    assert!(paste(&node.try_it())["result"].is_object());
}

#[tokio::test]
async fn a_socket_that_somebody_serves_is_left_to_them() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("mcp.sock");
    let node = Program::serve(&[], &[("HOST", &host(&socket))]).await;
    let line = Program::run(&[], &[("HOST", &host(&socket))]).await.one_line(1);
    for word in [&*format!("HOST={}", host(&socket)), "in use"] {
        assert!(line.contains(word), "no {word} in {line}");
    }
    assert!(
        paste(&node.try_it())["result"].is_object(),
        "the first still serves"
    );
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_never_removed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("notes.txt");
    std::fs::write(&file, "precious").expect("a file");
    let line = Program::run(&[], &[("HOST", &host(&file))]).await.one_line(1);
    assert!(line.contains(&host(&file)), "{line}");
    assert_eq!(std::fs::read_to_string(&file).expect("the file"), "precious");
}

#[tokio::test]
async fn the_next_node_can_take_the_socket_while_the_last_one_finishes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let socket = dir.path().join("mcp.sock");
    let env = [("HOST", &*host(&socket)), ("MCP_DRAIN__DELAY", "0s")];
    let last = Program::serve(&[], &env).await;
    let mut slow = SlowRequest::begin(&socket).await;
    last.signal(Signal::Terminate);
    eventually("the socket's file is gone", || async {
        (!socket.exists()).then_some(())
    })
    .await;
    let next = Program::serve(&[], &env).await;
    assert!(!last.ended(), "a request is in flight");
    assert!(slow.finish().await.contains("jsonrpc"), "it is answered");
    assert_eq!(last.end().await.code, Some(0));
    assert!(
        paste(&next.try_it())["result"].is_object(),
        "the file of the next is still there"
    );
}

/// A request whose client takes its time with the body.
struct SlowRequest(UnixStream);

impl SlowRequest {
    /// Sends the head, and waits until the node asks for the body.
    async fn begin(socket: &Path) -> Self {
        let mut stream = UnixStream::connect(socket).await.expect("a node listens");
        let head = "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                    Expect: 100-continue\r\nContent-Length: 2\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut asked = [0; 64];
        let count = stream.read(&mut asked).await.expect("an answer");
        let asked = String::from_utf8_lossy(&asked[..count]);
        assert!(asked.starts_with("HTTP/1.1 100 Continue"), "{asked}");
        Self(stream)
    }

    /// Sends the body, and reads the answer.
    async fn finish(&mut self) -> String {
        self.0.write_all(b"{}").await.expect("sent");
        let mut answer = String::new();
        self.0.read_to_string(&mut answer).await.expect("an answer");
        answer
    }
}
