//! Ten thousand clients that only listen: what each of them takes.

use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::{Client, LEGACY};
use crate::support::node::{Node, NodeOptions};
use crate::support::process::eventually;
use crate::support::redis::Redis;

const STREAMS: usize = 10_000;
/// The bound on what a client takes that listens and does nothing else: its session, its stream, its
/// connection.
const BYTES_MAX: u64 = 12 * 1024;
/// One for each stream, and some for everything else. The node inherits the limit.
const FILES: u64 = STREAMS as u64 + 1000;
/// How many clients come at once.
const AT_ONCE: usize = 16;

fn raise_the_limit_on_open_files() {
    let limit = rlimit::increase_nofile_limit(FILES).expect("Linux has a limit on open files");
    assert!(
        limit >= FILES,
        "this test needs {FILES} open files, and at most {limit} are allowed: raise the hard limit (ulimit -Hn)"
    );
}

/// Opens the standalone stream of a session, and reads its first event.
async fn listen(port: u16, session: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a connection");
    let request = format!(
        "GET /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\nmcp-session-id: {session}\r\n\
         mcp-protocol-version: {LEGACY}\r\nuser-agent: a client like any other\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("a request");
    let mut answer = Vec::new();
    while !answer.windows(8).any(|bytes| bytes == b"data:\n\n\r") {
        let read = stream.read_buf(&mut answer).await.expect("an answer");
        assert!(read > 0, "it ended: {}", String::from_utf8_lossy(&answer));
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    stream
}

#[expect(clippy::print_stdout, reason = "the figures are worth knowing")]
async fn ten_thousand_streams_take_little(options: NodeOptions) {
    raise_the_limit_on_open_files();
    let node = Node::start(&options).await;
    let first = Client::legacy(&node.url());
    // What the first client takes is taken once.
    drop(listen(node.port(), first.session().await).await);
    let before = node.resident_kib();
    let sessions: Vec<String> = futures::stream::iter(0..STREAMS)
        .map(|_| {
            // Its session is its own, its connections are shared.
            let client = first.clone().revision(LEGACY);
            async move { client.session().await.to_owned() }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let with_sessions = node.resident_kib();
    let port = node.port();
    let streams: Vec<TcpStream> = futures::stream::iter(&sessions)
        .map(|session| listen(port, session))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let with_streams = node.resident_kib();
    let open = format!("anynode_streams_open{{kind=\"standalone\"}} {STREAMS}");
    let metrics = reqwest::get(format!("{}/metrics", node.url())).await;
    let metrics = metrics.expect("metrics").text().await.expect("text");
    assert!(metrics.contains(&open), "all of them are open");
    let each = |kib: u64| kib * 1024 / STREAMS as u64;
    let (session, stream) = (each(with_sessions - before), each(with_streams - with_sessions));
    println!("{STREAMS} idle streams: {session} B a session, {stream} B a stream, in {with_streams} KiB");
    assert!(
        session + stream <= BYTES_MAX,
        "{session} B + {stream} B, more than {BYTES_MAX} B"
    );
    drop(streams);
    eventually("the streams are closed", || async {
        (node.sockets() < STREAMS / 10).then_some(())
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_idle_streams_take_little_with_the_store_in_memory() {
    ten_thousand_streams_take_little(NodeOptions::default()).await;
}

#[tokio::test]
async fn ten_thousand_idle_streams_take_little_with_redis() {
    let redis = Redis::start().await;
    ten_thousand_streams_take_little(NodeOptions::on(redis.url())).await;
}
