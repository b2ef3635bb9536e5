//! Streams over TLS: every kind of them, taken up on another node, and clients that close a half.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::SecureNode;
use crate::support::client::{Client, on_the_wire};
use crate::support::cluster::Cluster;
use crate::support::process::eventually;
use crate::support::sse::EventStream;
use crate::support::tls::{Authority, PemFiles, borrowed, client_config, connect, http};

async fn secure_cluster(count: usize) -> (Cluster, Authority, PemFiles) {
    let authority = Authority::new("anynode test authority");
    let files = PemFiles::of(&authority.server(), &authority);
    let env = files.env();
    (Cluster::with(count, &borrowed(&env)).await, authority, files)
}

#[tokio::test]
async fn a_calls_stream_is_taken_up_on_another_node() {
    let (cluster, authority, _files) = secure_cluster(2).await;
    let client = cluster.client().over(http(&authority, None));
    let session = client.session().await.to_owned();
    let [one, other] = [0, 1].map(|index| client.at(&cluster.node(index).url()).in_session(&session));
    let (id, mut stream) = one
        .stream(
            "tools/call",
            json!({"name": "countdown", "arguments": {"from": 5, "interval_ms": 300}}),
        )
        .await;
    while stream.last_id().is_none() {
        stream.next().await.expect("an event");
    }
    let last = stream.last_id().expect("an id").to_owned();
    drop(stream);
    let mut again = other.listen(Some(&last)).await;
    let answer = again.answer_to(&id).await;
    assert_eq!(answer["result"]["isError"], json!(false), "{answer}");
}

#[tokio::test]
async fn standing_streams_go_on_over_tls() {
    let (cluster, authority, _files) = secure_cluster(2).await;
    let client = cluster.client().over(http(&authority, None));
    let mut stream = client.listen(None).await;
    let uri = json!({"uri": "note://session/beat"});
    client.request("resources/subscribe", uri).await.ok();
    client
        .call("remember", json!({"key": "beat", "value": 1}))
        .await
        .ok();
    stream.method("notifications/resources/updated").await;

    let modern = cluster.modern().over(http(&authority, None));
    let filter = json!({"notifications": {"toolsListChanged": true}});
    let (_, mut listening) = modern.stream("subscriptions/listen", filter).await;
    listening.method("notifications/subscriptions/acknowledged").await;
}

/// HTTP+SSE has no last chunk: the end of TLS says that the stream is whole.
#[tokio::test]
async fn http_with_sse_works_over_tls_and_its_end_is_said() {
    let secure = SecureNode::start().await;
    let http = http(&secure.authority, None);
    let opened = http.get(format!("{}/sse", secure.node.url())).send().await;
    let mut stream = EventStream::new(opened.expect("an answer"));
    let endpoint = stream.endpoint().await;
    let info = json!({"name": "tls", "version": "1"});
    let params = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": info});
    let message = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let posted = http
        .post(format!("{}/{endpoint}", secure.node.url()))
        .json(&message)
        .send()
        .await;
    assert_eq!(posted.expect("an answer").status(), 202);
    stream.answer_to(&json!(0)).await;

    let mut raw = connect(secure.node.port(), client_config(&secure.authority, None))
        .await
        .expect("TLS");
    let request = "GET /sse HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n\r\n";
    raw.write_all(request.as_bytes()).await.expect("a request");
    let mut text = Vec::new();
    while !text.windows(8).any(|bytes| bytes == b"endpoint") {
        assert!(raw.read_buf(&mut text).await.expect("an event") > 0);
    }
    secure.node.terminate();
    // An end without a close_notify would be an error here.
    raw.read_to_end(&mut text).await.expect("a whole stream");
}

/// A client that has sent its request and closed its half of TLS gets its answer.
#[tokio::test]
async fn a_half_closed_client_gets_its_answer() {
    let secure = SecureNode::start().await;
    let client = Client::modern(&secure.node.url()).over(http(&secure.authority, None));
    for (tool, arguments) in [
        ("echo", json!({"text": "hello"})),
        ("countdown", json!({"from": 2, "interval_ms": 300})),
    ] {
        let call = json!({"name": tool, "arguments": arguments});
        let (mut headers, body) = client.message("tools/call", call, Some(json!(1))).await;
        headers.push(("connection".into(), "close".into()));
        let mut stream = connect(secure.node.port(), client_config(&secure.authority, None))
            .await
            .expect("TLS");
        let request = on_the_wire(&headers, &body.to_string());
        stream.write_all(request.as_bytes()).await.expect("a request");
        stream.shutdown().await.expect("the end of a half");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .await
            .expect("the whole answer");
        assert!(answer.contains("\"result\""), "{tool}: {answer}");
    }
}

/// Streams whose clients have gone are noticed, however these went.
#[tokio::test]
async fn streams_of_clients_that_have_gone_are_closed() {
    let secure = SecureNode::start().await;
    let client = Client::legacy(&secure.node.url()).over(http(&secure.authority, None));
    let session = client.session().await.to_owned();
    for politely in [true, false] {
        let mut stream = connect(secure.node.port(), client_config(&secure.authority, None))
            .await
            .expect("TLS");
        let request = format!(
            "GET /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\nmcp-session-id: {session}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut some = [0; 4096];
        assert!(stream.read(&mut some).await.expect("an answer") > 0);
        let open = "anynode_streams_open{kind=\"standalone\"}";
        assert_eq!(secure.counted(open).await, 1);
        if politely {
            stream.shutdown().await.expect("the end");
        }
        drop(stream);
        eventually("the stream is closed", || async {
            (secure.counted(open).await == 0).then_some(())
        })
        .await;
    }
}

/// A client that asks and never reads loses its connection after 10 s, though TLS has a buffer of its own.
#[tokio::test]
async fn a_client_that_does_not_read_over_tls_is_given_up() {
    let secure = SecureNode::start().await;
    let client = Client::modern(&secure.node.url());
    let call = json!({"name": "echo", "arguments": {"text": "x".repeat(256 << 10)}});
    let (headers, body) = client.message("tools/call", call, Some(json!(1))).await;
    let request = on_the_wire(&headers, &body.to_string());
    let mut stream = connect(secure.node.port(), client_config(&secure.authority, None))
        .await
        .expect("TLS");
    let asks = async {
        // Until the systems' buffers are full both ways, and then until the node closes the connection.
        while stream.write_all(request.as_bytes()).await.is_ok() && stream.flush().await.is_ok() {}
    };
    timeout(Duration::from_secs(60), asks)
        .await
        .expect("the end of the connection");
    let client = client.over(http(&secure.authority, None));
    client.list().await.ok();
}
