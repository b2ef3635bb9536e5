//! One limit over all nodes: never more than it allows, and no less when the traffic moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{ALICE, BOB, echo, with_token};
use crate::support::calls::gauge;
use crate::support::client::Client;
use crate::support::cluster::Cluster;
use crate::support::http::http_client;

/// A token where nodes ask for none.
const NOBODY: &str = "nobody";
const RATE: f64 = 40.0;
const BURST: f64 = 60.0;

/// Asks one node as fast as it answers, with so many at once, until that time or until the node is gone.
async fn flood(url: String, token: &str, at_once: usize, until: Instant, answered: Arc<AtomicU64>) {
    let http = http_client().build().expect("a client");
    let (headers, body) = Client::modern(&url)
        .message(
            "tools/call",
            json!({"name": "echo", "arguments": {"text": "x"}}),
            Some(json!(1)),
        )
        .await;
    let ask = || async {
        while Instant::now() < until {
            let sent = http
                .post(format!("{url}/mcp"))
                .bearer_auth(token)
                .body(body.to_string());
            let sent = headers
                .iter()
                .fold(sent, |sent, (name, value)| sent.header(name, value));
            let sent = sent
                .header("content-type", "application/json")
                .header("accept", "application/json, text/event-stream");
            match sent.send().await {
                Ok(answer) if answer.status() == 200 => {
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                Ok(answer) => {
                    assert_eq!(answer.status(), 429);
                    sleep(Duration::from_millis(10)).await;
                }
                Err(_gone) => return,
            }
        }
    };
    join_all((0..at_once).map(|_| ask())).await;
}

/// Two of three nodes are killed in turn. What all let in together is within the limit all the time, and what the last one lets in is
/// nearly all of the rate.
#[tokio::test]
async fn nodes_together_let_in_what_one_limit_allows() {
    let limit = format!("{RATE}/s burst {BURST}");
    let cluster = Cluster::with(3, &[("MCP_LIMIT__ADDRESS", &limit)]).await;
    let (answered, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let until = began + Duration::from_secs(12);
    let floods = cluster
        .nodes()
        .iter()
        .map(|node| flood(node.url(), NOBODY, 4, until, Arc::clone(&answered)));
    let watch = async {
        let within = async || {
            // The time first: what is let in meanwhile is more.
            let let_in = answered.load(Ordering::Relaxed) as f64;
            let most = BURST + RATE * began.elapsed().as_secs_f64();
            assert!(let_in <= most, "{let_in} were let in, of at most {most}");
            let_in
        };
        for node in [0, 1] {
            sleep(Duration::from_secs(3)).await;
            within().await;
            cluster.node(node).kill9().await;
        }
        // What the dead have taken in advance is lost.
        sleep(Duration::from_secs(1)).await;
        let (before, since) = (within().await, Instant::now());
        sleep(Duration::from_secs(4)).await;
        let each_second = (within().await - before) / since.elapsed().as_secs_f64();
        assert!(
            each_second >= 0.9 * RATE,
            "one node lets in {each_second} of {RATE} a second"
        );
    };
    tokio::join!(join_all(floods), watch);
    let let_in = answered.load(Ordering::Relaxed) as f64;
    let most = BURST + RATE * began.elapsed().as_secs_f64();
    assert!(let_in <= most, "{let_in} were let in, of at most {most}");
    assert!(let_in >= BURST, "only {let_in} were let in");
}

/// A busy caller costs a few trips a second on each node, and not one for each call.
#[tokio::test]
async fn trips_to_redis_are_few() {
    let cluster = Cluster::with(3, &[("MCP_LIMIT__ADDRESS", "100000/s burst 100000")]).await;
    let (answered, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let until = began + Duration::from_secs(4);
    let floods = cluster
        .nodes()
        .iter()
        .map(|node| flood(node.url(), NOBODY, 2, until, Arc::clone(&answered)));
    join_all(floods).await;
    let seconds = began.elapsed().as_secs_f64();
    let mut trips = 0.0;
    for node in cluster.nodes() {
        trips += gauge(&node.url(), "anynode_limit_trips_total").await;
    }
    let calls = answered.load(Ordering::Relaxed);
    assert!(calls > 300, "only {calls} calls: this shows nothing");
    // Four leases a second of a steady caller, some more of one that grows faster.
    assert!(
        trips / seconds <= 3.0 * 12.0,
        "{trips} trips for {calls} calls in {seconds} s"
    );
    assert!(trips >= 3.0, "each node has asked");
}

/// One caller over its limit takes nothing from another.
#[tokio::test]
async fn a_caller_over_its_limit_takes_nothing_from_another() {
    let cluster = Cluster::with(
        3,
        &[
            ("MCP_AUTH__TOKENS__ALICE", ALICE),
            ("MCP_AUTH__TOKENS__BOB", BOB),
            ("MCP_LIMIT__PRINCIPAL", "20/s burst 30"),
        ],
    )
    .await;
    let (greedy, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let until = began + Duration::from_secs(5);
    let floods = cluster
        .nodes()
        .iter()
        .map(|node| flood(node.url(), ALICE, 2, until, Arc::clone(&greedy)));
    let modest = async {
        let bob = with_token(cluster.modern(), BOB);
        let mut answered = 0;
        while Instant::now() < until {
            echo(&bob).await.ok();
            answered += 1;
            sleep(Duration::from_millis(100)).await;
        }
        answered
    };
    let (_, answered) = tokio::join!(join_all(floods), modest);
    assert!(answered >= 10, "only {answered} of the other's");
    let most = 30.0 + 20.0 * began.elapsed().as_secs_f64();
    let let_in = greedy.load(Ordering::Relaxed) as f64;
    assert!(let_in <= most, "{let_in} of at most {most}");
}
