//! Ten thousand clients that only listen: what each of them takes.

use futures::StreamExt as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::{Client, LEGACY};
use crate::support::node::{Node, NodeOptions};
use crate::support::process::eventually;
use crate::support::redis::Redis;
use crate::support::tls::{Authority, PemFiles, client_config, connect, http};

const STREAMS: usize = 10_000;
/// The bound on what a client takes that listens and does nothing else: its session, its stream, its
/// connection.
const BYTES_MAX: u64 = 12 * 1024;
/// The same over TLS, whose state and buffer it has besides: 9 KiB in a release build.
const TLS_BYTES_MAX: u64 = 24 * 1024;
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

/// A connection, with TLS or without.
trait Connection: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection for S {}

/// Opens the standalone stream of a session, and reads its first event.
async fn listen(port: u16, session: &str, trusted: Option<&Authority>) -> Box<dyn Connection> {
    let mut stream: Box<dyn Connection> = match trusted {
        Some(trusted) => Box::new(connect(port, client_config(trusted, None)).await.expect("TLS")),
        None => {
            let connected = TcpStream::connect(("127.0.0.1", port)).await;
            Box::new(connected.expect("a connection"))
        }
    };
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
async fn ten_thousand_streams_take_little(options: NodeOptions, trusted: Option<&Authority>, bytes_max: u64) {
    raise_the_limit_on_open_files();
    let node = Node::start(&options).await;
    let client = trusted.map_or_else(reqwest::Client::new, |trusted| http(trusted, None));
    let first = Client::legacy(&node.url()).over(client.clone());
    // What the first client takes is taken once.
    drop(listen(node.port(), first.session().await, trusted).await);
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
    let streams: Vec<Box<dyn Connection>> = futures::stream::iter(&sessions)
        .map(|session| listen(port, session, trusted))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let with_streams = node.resident_kib();
    let open = format!("anynode_streams_open{{kind=\"standalone\"}} {STREAMS}");
    let metrics = client.get(format!("{}/metrics", node.url())).send().await;
    let metrics = metrics.expect("metrics").text().await.expect("text");
    assert!(metrics.contains(&open), "all of them are open");
    let each = |kib: u64| kib * 1024 / STREAMS as u64;
    let (session, stream) = (each(with_sessions - before), each(with_streams - with_sessions));
    println!("{STREAMS} idle streams: {session} B a session, {stream} B a stream, in {with_streams} KiB");
    assert!(
        session + stream <= bytes_max,
        "{session} B + {stream} B, more than {bytes_max} B"
    );
    drop(streams);
    eventually("the streams are closed", || async {
        (node.sockets() < STREAMS / 10).then_some(())
    })
    .await;
}

#[tokio::test]
async fn ten_thousand_idle_streams_take_little_with_the_store_in_memory() {
    ten_thousand_streams_take_little(NodeOptions::default(), None, BYTES_MAX).await;
}

#[tokio::test]
async fn ten_thousand_idle_streams_take_little_with_redis() {
    let redis = Redis::start().await;
    ten_thousand_streams_take_little(NodeOptions::on(redis.url()), None, BYTES_MAX).await;
}

#[tokio::test]
async fn ten_thousand_idle_streams_take_little_over_tls() {
    let authority = Authority::new("anynode test authority");
    let files = PemFiles::of(&authority.server(), &authority);
    let options = NodeOptions {
        env: files.env(),
        ..NodeOptions::default()
    };
    ten_thousand_streams_take_little(options, Some(&authority), TLS_BYTES_MAX).await;
}
