//! Streams through balancers as they are when nobody configures them for streams: nodes do what a server can.

use std::time::Duration;

use futures::future::try_join_all;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::front::{Front, Kind, Spread};
use super::{CHANGES, NODES, at_once, delays};
use crate::support::cluster::Cluster;
use crate::support::http::http_client;
use crate::support::process::PATIENCE;
use crate::support::sse::EventStream;

/// nginx as it is when nobody configures it: it asks by HTTP/1.0, and fills its buffers before it hands
/// anything on.
const BUFFERING: [(&str, &str); 2] = [
    ("proxy_http_version 1.1;", "proxy_http_version 1.0;"),
    ("proxy_buffering off;", "proxy_buffering on;"),
];
/// Nodes ask nginx not to. It does not heed them then.
const DEAF: (&str, &str) = ("gzip off;", "gzip off; proxy_ignore_headers X-Accel-Buffering;");
const COMPRESSING: (&str, &str) = ("gzip off;", "gzip on; gzip_types *; gzip_proxied any;");
/// HAProxy fills its packets: the system sends one that is not full after 200 ms.
const FILLING: (&str, &str) = ("option http-no-delay ", "no option http-no-delay ");
/// What that and a busy machine may take, for nine of ten changes.
const FILLED_WITHIN: Duration = Duration::from_millis(500);

async fn delays_through(kind: Kind, changes: &[(&str, &str)]) -> Vec<Duration> {
    let cluster = Cluster::of(NODES).await;
    let front = Front::start_with(kind, Spread::RoundRobin, &cluster, changes).await;
    delays(&cluster, &front).await
}

/// The check finds a balancer that buffers.
#[tokio::test]
async fn events_that_are_kept_back_are_noticed() {
    let delays = delays_through(Kind::Nginx, &[BUFFERING.as_slice(), &[DEAF]].concat()).await;
    assert!(!at_once(&delays), "nothing is noticed: {delays:?}");
}

/// Nothing is kept back of nodes that ask for that, also when nginx is told otherwise.
#[tokio::test]
async fn nodes_ask_nginx_not_to_buffer() {
    for changes in [
        BUFFERING.to_vec(),
        [BUFFERING.as_slice(), &[COMPRESSING]].concat(),
    ] {
        let delays = delays_through(Kind::Nginx, &changes).await;
        assert!(at_once(&delays), "nginx keeps events back: {delays:?}");
    }
}

/// A body in chunks goes to the client in full packets, or after 200 ms. That is all: nothing waits for the next
/// event.
#[tokio::test]
async fn haproxy_holds_an_event_back_for_a_moment_only() {
    let delays = delays_through(Kind::Haproxy, &[FILLING]).await;
    assert!(
        delays.len() == CHANGES && delays[CHANGES * 9 / 10] < FILLED_WITHIN,
        "HAProxy keeps events back: {delays:?}"
    );
}

/// Streams of HTTP+SSE, on which all answers come, are not in chunks, so that HAProxy holds nothing back of them.
#[tokio::test]
async fn haproxy_holds_nothing_back_of_http_with_sse() {
    let cluster = Cluster::of(NODES).await;
    let front = Front::start_with(Kind::Haproxy, Spread::RoundRobin, &cluster, &[FILLING]).await;
    let http = http_client().build().expect("a client");
    let opened = http.get(format!("{}/sse", front.url())).send().await;
    let mut stream = EventStream::new(opened.expect("an answer"));
    let endpoint = stream.endpoint().await;
    let url = format!("{}/{endpoint}", front.url());
    let post = async |message: serde_json::Value| {
        let answer = http.post(&url).json(&message).send().await.expect("an answer");
        assert_eq!(answer.status(), 202);
    };
    let info = json!({"name": "balancers", "version": "1"});
    let params = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": info});
    post(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})).await;
    stream.answer_to(&json!(0)).await;
    let mut delays = Vec::new();
    for id in 1..=CHANGES {
        let begun = Instant::now();
        post(json!({"jsonrpc": "2.0", "id": id, "method": "ping"})).await;
        stream.answer_to(&json!(id)).await;
        delays.push(begun.elapsed());
    }
    delays.sort();
    assert!(at_once(&delays), "HAProxy keeps events back: {delays:?}");
}

/// HAProxy does not compress what must come as it is, though it is told to compress all.
#[tokio::test]
async fn nodes_ask_not_to_be_compressed() {
    let compressing = "balance roundrobin\n    filter compression\n    compression algo gzip\n    compression type \
                       text/event-stream application/json";
    let cluster = Cluster::of(NODES).await;
    let changes = [("balance roundrobin", compressing)];
    let front = Front::start_with(Kind::Haproxy, Spread::RoundRobin, &cluster, &changes).await;
    let http = http_client().build().expect("a client");
    let info = json!({"name": "balancers", "version": "1"});
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info});
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let requests = [
        http.get(format!("{}/sse", front.url())),
        http.post(format!("{}/mcp", front.url())).json(&initialize),
    ];
    let answers = requests.map(|asked| asked.header("accept-encoding", "gzip").send());
    let answers = timeout(PATIENCE, try_join_all(answers)).await;
    let answers = answers.expect("in time").expect("answers");
    let coded = answers
        .iter()
        .map(|answer| answer.headers().get("content-encoding"));
    // The second is a body of JSON, which is compressed: so it would compress the first.
    assert_eq!(
        coded.map(|coding| coding.is_some()).collect::<Vec<_>>(),
        [false, true]
    );
}
