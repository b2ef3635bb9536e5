//! What systemd and the like are told (`NOTIFY_SOCKET`), and the socket that they pass (`LISTEN_FDS`).

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixDatagram};
use tokio::time::timeout;

use crate::support::client::Client;
use crate::support::http::http_get;
use crate::support::process::{PATIENCE, Signal, eventually};
use crate::support::program::Program;
use crate::support::redis::Redis;

/// What a node says next, in a datagram of its own.
async fn told(socket: &UnixDatagram) -> String {
    let mut message = [0; 256];
    let count = timeout(PATIENCE, socket.recv(&mut message)).await;
    let count = count.expect("the node tells").expect("a datagram");
    String::from_utf8_lossy(&message[..count]).trim().to_owned()
}

async fn status(node: &Program, path: &str) -> u16 {
    let answer = http_get(format!("{}{path}", node.url())).await;
    answer.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn systemd_is_told_when_the_node_serves_and_when_it_stops() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let redis = Redis::prepare(&[]);
    let env = [
        ("NOTIFY_SOCKET", path.to_str().expect("a plain path")),
        ("REDIS_URL", &redis.url()),
        ("MCP_STORE__WAIT", "1m"),
        ("MCP_DRAIN__DELAY", "1s"),
        ("PORT", "0"),
    ];
    let node = Program::start(&[], &env);
    eventually("the node waits for its store", || async {
        node.stderr().contains("waiting for the store").then_some(())
    })
    .await;
    let early = timeout(Duration::from_millis(300), socket.recv(&mut [0; 256])).await;
    assert!(early.is_err(), "it says that it serves, and has no store");

    redis.run().await;
    assert_eq!(told(&socket).await, "READY=1");
    // No waiting for the port: that is what it has just said.
    assert_eq!(status(&node, "/readyz").await, 200);

    node.signal(Signal::Terminate);
    assert_eq!(told(&socket).await, "STOPPING=1");
    assert_eq!(status(&node, "/livez").await, 200, "it serves on while it drains");
    assert_eq!(node.end().await.code, Some(0), "{}", node.stderr());
}

#[tokio::test]
async fn a_node_serves_the_socket_that_is_passed_to_it() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    let redis = Redis::start().await;
    // A port of its own that nobody could listen on: PORT is not looked at.
    let env = [
        ("REDIS_URL", &*redis.url()),
        ("PORT", "1"),
        ("MCP_DRAIN__DELAY", "0s"),
    ];
    let node = Program::serve_passed(&socket, &env).await;
    assert_eq!(node.url(), format!("http://{address}"));
    let client = Client::legacy(&node.url());
    client.session().await;

    node.signal(Signal::Terminate);
    assert_eq!(node.end().await.code, Some(0), "{}", node.stderr());
    // Nobody serves, and nobody is refused: the socket stays open, and who comes waits in it.
    let mut early = TcpStream::connect(address).await.expect("the port is open");
    early
        .write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await
        .expect("sent");

    let next = Program::serve_passed(&socket, &env).await;
    let mut answer = String::new();
    timeout(PATIENCE, early.read_to_string(&mut answer))
        .await
        .expect("who waited is served")
        .expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(next.url(), node.url());
    let text = json!({"text": "the session is still there"});
    client.call("echo", text).await.ok();
}

#[tokio::test]
async fn a_socket_that_was_passed_to_another_process_is_left_alone() {
    let env = [("LISTEN_FDS", "1"), ("LISTEN_PID", "1")];
    let node = Program::serve(&[], &env).await;
    assert_eq!(status(&node, "/livez").await, 200);
}
