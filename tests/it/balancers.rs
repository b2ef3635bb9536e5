//! Streams and sessions through HAProxy, nginx, Caddy, Traefik and Envoy, configured as `deploy/` says.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use crate::support::client::{Client, LEGACY};
use crate::support::cluster::Cluster;
use crate::support::http::http_client;
use crate::support::process::within;
use crate::support::sse::EventStream;

mod below;
mod front;
mod refusals;
mod unconfigured;

use front::{Front, Kind, Spread};

const NODES: usize = 3;
/// How often a note is changed to see how long it takes to be told.
const CHANGES: usize = 50;
/// How long that may take, for nine of ten changes: the machine may be at something else for a moment.
const TOLD_WITHIN: Duration = Duration::from_millis(100);
/// What is not told by then is kept back for good.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(2);
/// How long a stream must stay open that says nothing but the comments that come each 15 s.
const COMMENTS: usize = 6;
const IDLE_FOR: Duration = Duration::from_secs(90);
const IDLE_PATIENCE: Duration = Duration::from_secs(150);
/// How often a session is asked which node serves it.
const TURNS: usize = 12;

/// Opens the session's standalone stream through the balancer, watching a note.
async fn watching(client: &Client) -> EventStream {
    let stream = client.listen(None).await;
    let uri = json!({"uri": "note://session/beat"});
    client.request("resources/subscribe", uri).await.ok();
    stream
}

async fn change_note(client: &Client, value: usize) {
    let note = json!({"key": "beat", "value": value});
    client.call("remember", note).await.ok();
}

/// Whether the stream tells of a change before it is given up.
async fn told(stream: &mut EventStream) -> bool {
    let deadline = Instant::now() + GIVEN_UP_AFTER;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(event) = stream.next_within(left).await else {
            return false;
        };
        let message = event.expect("the stream stays open").message();
        if message.is_some_and(|message| message["method"] == "notifications/resources/updated") {
            return true;
        }
    }
}

/// How long it takes from a change, made at a node, until it is told of through the balancer: the shortest
/// first. Ends with the first that is kept back.
#[expect(clippy::print_stdout, reason = "deploy/README.md names the figures")]
async fn delays(cluster: &Cluster, front: &Front) -> Vec<Duration> {
    let client = Client::legacy(&front.url());
    // What is kept back may be the very head of the answer: so the session and its note are made at a node.
    let beside = client.at(&cluster.node(0).url());
    change_note(&beside, 0).await;
    let stream = tokio::time::timeout(GIVEN_UP_AFTER, watching(&client)).await;
    let Ok(mut stream) = stream else {
        return vec![GIVEN_UP_AFTER];
    };
    let mut delays = Vec::new();
    for value in 1..=CHANGES {
        let begun = Instant::now();
        change_note(&beside, value).await;
        let told = told(&mut stream).await;
        delays.push(begun.elapsed());
        if !told {
            break;
        }
    }
    delays.sort();
    println!(
        "{:?}: of {} changes half are told within {:?}, the last within {:?}",
        front.kind,
        delays.len(),
        delays[delays.len() / 2],
        delays[delays.len() - 1]
    );
    delays
}

/// Whether these are the delays of a balancer that keeps nothing back.
fn at_once(delays: &[Duration]) -> bool {
    delays.len() == CHANGES && delays[CHANGES * 9 / 10] < TOLD_WITHIN
}

/// A test for each balancer: `$name::haproxy`, and so on.
macro_rules! through_each {
    ($name:ident, $check:ident) => {
        through_each!($name, $check: haproxy Haproxy, nginx Nginx, caddy Caddy, traefik Traefik, envoy Envoy);
    };
    ($name:ident, $check:ident: $($test:ident $kind:ident),*) => {
        mod $name {
            use super::Kind;

            $(
                #[tokio::test]
                async fn $test() {
                    super::$check(Kind::$kind).await;
                }
            )*
        }
    };
}

// After the macro, which they use.
mod metadata;
mod secure;

async fn tells_at_once(kind: Kind) {
    let cluster = Cluster::of(NODES).await;
    let front = Front::start(kind, Spread::RoundRobin, &cluster).await;
    let delays = delays(&cluster, &front).await;
    assert!(at_once(&delays), "{kind:?} keeps events back: {delays:?}");
}

through_each!(events_come_at_once, tells_at_once);

/// Nodes that trust the balancer know its clients apart, as it is configured in `deploy/`.
async fn clients_count_by_themselves(kind: Kind) {
    let env = [
        ("MCP_HTTP__TRUSTED_PROXIES", "127.0.0.1"),
        ("MCP_SESSION__PEER_MAX", "1"),
    ];
    let cluster = Cluster::with(NODES, &env).await;
    let front = Front::start(kind, Spread::RoundRobin, &cluster).await;
    let at = |address: &str| Client::legacy(&front.url()).from(address.parse().expect("an address"));
    for address in ["127.0.0.2", "127.0.0.3"] {
        at(address).initialize().await.ok();
        let refused = at(address).initialize().await;
        assert_eq!(refused.status, 429, "{kind:?}: {}", refused.body);
        assert!(refused.body.contains("session.peer_max"), "{}", refused.body);
    }
}

through_each!(clients_are_told_apart, clients_count_by_themselves);

/// A stream through this balancer says nothing but comments for a minute and a half, and then tells of a
/// change.
#[expect(clippy::print_stdout, reason = "how long it was is worth knowing")]
async fn stays_open(front: &Front) {
    let kind = front.kind;
    let client = Client::legacy(&front.url()).revision(LEGACY);
    let mut stream = watching(&client).await;
    let begun = Instant::now();
    while stream.comments() < COMMENTS || begun.elapsed() < IDLE_FOR {
        let ended = matches!(stream.next_within(Duration::from_secs(1)).await, Some(None));
        assert!(
            !ended,
            "{kind:?} closed an idle stream after {:?}: {}",
            begun.elapsed(),
            front.log()
        );
        assert!(
            begun.elapsed() < IDLE_PATIENCE,
            "{kind:?}: {} comments",
            stream.comments()
        );
    }
    println!("{kind:?}: open after {:?}", begun.elapsed());
    change_note(&client, 1).await;
    stream.method("notifications/resources/updated").await;
}

#[tokio::test]
async fn idle_streams_stay_open_through_all_balancers() {
    let cluster = Cluster::of(NODES).await;
    let starting = Kind::ALL.map(|kind| Front::start(kind, Spread::RoundRobin, &cluster));
    let fronts = join_all(starting).await;
    join_all(fronts.iter().map(stays_open)).await;
}

/// The nodes that serve this session, one for each turn.
async fn served_by(client: &Client) -> Vec<String> {
    let mut nodes = Vec::new();
    for _ in 0..TURNS {
        let who = client.call("whoami", json!({})).await.ok();
        nodes.push(who.structured()["node"].as_str().expect("a node").to_owned());
    }
    nodes
}

fn all_the_same(nodes: &[String]) -> bool {
    nodes.iter().all(|node| *node == nodes[0])
}

/// Each of some sessions has a node of its own while that is there, different sessions different nodes, and
/// goes on elsewhere after it.
async fn sessions_keep_to_their_node_while_it_is_there(kind: Kind) {
    let cluster = Cluster::of(NODES).await;
    let front = Front::start(kind, Spread::SessionHash, &cluster).await;
    let mut homes = Vec::new();
    let sessions: Vec<_> = (0..TURNS).map(|_| Client::legacy(&front.url())).collect();
    for client in &sessions {
        let nodes = served_by(client).await;
        assert!(all_the_same(&nodes), "{kind:?}: one session went to {nodes:?}");
        homes.push(nodes[0].clone());
    }
    assert!(
        !all_the_same(&homes),
        "{kind:?}: all sessions went to {}",
        homes[0]
    );

    let lost = &homes[0];
    let index = cluster.nodes().iter().position(|node| node.id() == lost);
    cluster.node(index.expect("it is one of them")).kill9().await;
    let client = &sessions[0];
    within(
        Duration::from_secs(20),
        "the session goes on elsewhere",
        || async {
            let who = client.call("whoami", json!({})).await;
            (who.status == 200 && who.structured()["node"] != lost.as_str()).then_some(())
        },
    )
    .await;
    let nodes = served_by(client).await;
    assert!(!nodes.contains(lost), "{kind:?}: {nodes:?}");
}

through_each!(
    sessions_keep_to_their_node,
    sessions_keep_to_their_node_while_it_is_there
);

/// Clients of 2024-11-05 name their session in the query.
async fn messages_keep_to_one_node(kind: Kind) {
    let cluster = Cluster::of(NODES).await;
    let front = Front::start(kind, Spread::SessionHash, &cluster).await;
    let http = http_client().build().expect("a client");
    let mut homes = Vec::new();
    for _ in 0..TURNS {
        let opened = http.get(format!("{}/sse", front.url())).send().await;
        let mut stream = EventStream::new(opened.expect("an answer"));
        let endpoint = stream.endpoint().await;
        let post = async |message: serde_json::Value| {
            let sent = http
                .post(format!("{}/{endpoint}", front.url()))
                .json(&message)
                .send();
            assert_eq!(sent.await.expect("an answer").status(), 202);
        };
        let info = json!({"name": "balancers", "version": "1"});
        let params = json!({"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": info});
        post(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})).await;
        stream.answer_to(&json!(0)).await;
        post(json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
        let mut nodes = Vec::new();
        for id in 1..=TURNS {
            let whoami = json!({"name": "whoami", "arguments": {}});
            post(json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": whoami})).await;
            let answer = stream.answer_to(&json!(id)).await;
            let node = &answer["result"]["structuredContent"]["node"];
            nodes.push(node.as_str().expect("a node").to_owned());
        }
        assert!(all_the_same(&nodes), "{kind:?}: one session went to {nodes:?}");
        homes.push(nodes[0].clone());
    }
    assert!(
        !all_the_same(&homes),
        "{kind:?}: all sessions went to {}",
        homes[0]
    );
}

through_each!(
    messages_of_2024_11_05_keep_to_their_node,
    messages_keep_to_one_node
);
