//! A client that does not read costs a node little, loses its connection, and misses nothing.

use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep};

use crate::support::client::{Client, on_the_wire};
use crate::support::cluster::Cluster;
use crate::support::node::Node;
use crate::support::process::within;
use crate::support::sse::{Event, Parser};
use anynode::store::Limits;

/// The bound on a write that makes no headway is 10 s, and a stream waits as long for its client.
const CLOSED_WITHIN: Duration = Duration::from_secs(30);
/// Little enough that the system takes next to nothing on the client's behalf.
const RECEIVE_BYTES: u32 = 4096;

/// A call whose messages are as large as its progress token.
fn large_countdown(from: u32, interval_ms: u32, bytes: usize) -> Value {
    json!({
        "name": "countdown", "arguments": {"from": from, "interval_ms": interval_ms},
        "_meta": {"progressToken": "t".repeat(bytes)}
    })
}

/// Makes a call and reads no more of its stream than the first event.
async fn begin_to_read(client: &Client, node: &Node, params: Value) -> (TcpStream, Event) {
    let (headers, body) = client.message("tools/call", params, Some(json!("slow"))).await;
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .set_recv_buffer_size(RECEIVE_BYTES)
        .expect("a small buffer");
    let address = SocketAddr::from(([127, 0, 0, 1], node.port()));
    let mut stream = socket.connect(address).await.expect("a connection");
    let request = on_the_wire(&headers, &body.to_string());
    stream.write_all(request.as_bytes()).await.expect("a request");
    // The priming event is short: it ends in the first chunk that has an id.
    let mut text = Vec::new();
    loop {
        let byte = stream.read_u8().await.expect("an answer");
        text.push(byte);
        let Some(at) = text.windows(4).position(|four| four == b"id: ") else {
            continue;
        };
        if let Some(event) = Parser::default().push(&text[at..]).pop() {
            return (stream, event);
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_connection_and_no_event() {
    let cluster = Cluster::of(2).await;
    let client = cluster.client();
    client.session().await;
    let node = cluster.node(0);
    let sockets = node.sockets();
    let params = large_countdown(100, 0, 36_000);
    let (stalled, first) = begin_to_read(&client, node, params).await;
    assert_eq!(
        node.sockets(),
        sockets + 1,
        "its connection is the one that is counted"
    );
    let began = Instant::now();
    within(CLOSED_WITHIN, "the node closes the connection", || async {
        (node.sockets() <= sockets).then_some(())
    })
    .await;
    let took = began.elapsed();
    assert!(took > Duration::from_secs(9), "it had time to read: {took:?}");
    let elsewhere = client.at(&cluster.node(1).url());
    let mut stream = elsewhere.listen(first.id.as_deref()).await;
    let mut steps = Vec::new();
    let answer = loop {
        let message = stream.next_message().await.expect("the answer comes");
        match message["method"].as_str() {
            Some("notifications/progress") => steps.push(message["params"]["progress"].as_f64()),
            Some(_) => {}
            None => break message,
        }
    };
    assert_eq!(answer["id"], "slow");
    let expected: Vec<_> = (1..=100).map(|step| Some(f64::from(step))).collect();
    assert_eq!(steps, expected);
    drop(stalled);
}

/// M9: what its log could not hold for a client that is slow, and stays, is named at the end of the call.
#[tokio::test]
async fn a_call_that_outruns_its_reader_ends_with_an_error_that_says_so() {
    let cluster = Cluster::of(1).await;
    let client = cluster.client();
    let (id, mut stream) = client
        .stream("tools/call", large_countdown(80, 0, EVENT_BYTES))
        .await;
    // The call is over before its client reads on.
    sleep(Duration::from_secs(4)).await;
    let mut notices = 0;
    let answer = loop {
        let message = stream.next_message().await.expect("the answer comes");
        notices += usize::from(message["params"]["data"]["lostMessages"].is_u64());
        if message["id"] == id {
            break message;
        }
    };
    assert!(notices >= 1, "it is told at once");
    let error = &answer["error"];
    assert!(error["data"]["lostMessages"].as_u64() >= Some(1), "{answer}");
    assert_eq!(
        error["data"]["response"]["result"]["structuredContent"]["counted"], 80,
        "{answer}"
    );
}

/// Silence is not slowness: a stream with nothing to tell stays open.
#[tokio::test]
async fn a_stream_with_nothing_to_tell_stays_open() {
    let cluster = Cluster::with(1, &[("MCP_CALL__KEEP_ALIVE", "1h")]).await;
    let client = cluster.client();
    let mut stream = client.listen(None).await;
    stream.next().await.expect("a priming event");
    let quiet = stream.next_within(Duration::from_secs(15)).await;
    assert_eq!(quiet, None, "nothing comes, and it does not end");
    assert_eq!(stream.comments(), 0);
    drop(stream);
}

const READERS: usize = 8;
const STEPS: u32 = 60;
const EVENT_BYTES: usize = 512 << 10;
/// 1 MiB of events that wait, what the log is read in at a time, and what allocators keep.
const GROWTH_KIB_MAX: u64 = 8 * 1024 * READERS as u64;

#[tokio::test]
async fn what_waits_for_clients_that_do_not_read_is_bounded_in_bytes() {
    // The store in memory has the logs in the node as well: as much of each as a stream keeps.
    let logs_kib = Limits::STREAM_BYTES_MAX / 1024 * READERS as u64;
    stays_below(&Cluster::of(1).await, GROWTH_KIB_MAX).await;
    stays_below(&Cluster::alone(&[]).await, GROWTH_KIB_MAX + logs_kib).await;
}

#[expect(clippy::print_stdout, reason = "the figures are worth knowing")]
async fn stays_below(cluster: &Cluster, growth_kib_max: u64) {
    let node = cluster.node(0);
    let mut clients = Vec::new();
    for _ in 0..READERS {
        let client = cluster.client();
        client.session().await;
        clients.push(client);
    }
    // What a first call of this size takes is taken for good.
    let warm = large_countdown(2, 0, EVENT_BYTES);
    clients[0].request("tools/call", warm).await.ok();
    let before = node.resident_kib();
    let mut stalled = Vec::new();
    for client in &clients {
        // 512 KiB each 100 ms: less than the store takes, so that nothing waits but for the client.
        let params = large_countdown(STEPS, 100, EVENT_BYTES);
        stalled.push(begin_to_read(client, node, params).await);
    }
    let mut most = before;
    let until = Instant::now() + Duration::from_millis(u64::from(STEPS) * 100 + 2000);
    while Instant::now() < until {
        most = most.max(node.resident_kib());
        sleep(Duration::from_millis(50)).await;
    }
    let grown = most - before;
    println!("{READERS} slow readers of {STEPS} x 512 KiB: {grown} KiB more than {before} KiB");
    assert!(grown < growth_kib_max, "{grown} KiB for {READERS} clients");
    drop(stalled);
}
