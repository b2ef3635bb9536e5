//! Nodes come and go under load, behind a real balancer without affinity, and no client loses a call or an
//! event.

use std::path::Path;

use serde_json::Value;

use crate::support::balancer::{Balancer, Server};
use crate::support::cluster::Cluster;

mod calls;
mod handover;
mod ledger;
mod load;
mod sse;
mod streamable;
mod watch;
mod wire;

use calls::Length;
use ledger::Figures;
use load::Load;

const NODES: usize = 3;
/// Three nodes each.
const ROLLS: usize = 10;
/// The balancer asks every 200 ms: after that delay it should know.
const ENOUGH_TO_NOTICE: &str = "500ms";
/// After that one it does not.
const TOO_SHORT_TO_NOTICE: &str = "20ms";
/// How much one node does before the others come back.
const CALLS_OF_ONE_NODE: usize = 200;
/// How long calls take: longer than the balancer needs to notice, shorter than the deadline.
const SHORTER_THAN_THE_DEADLINE: Length = Length {
    steps: 10,
    interval_ms: 100,
    again: false,
};

/// Under which names nodes come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// Each under its own, as in a set with fixed members.
    Same,
    /// Each under one that nobody has had before, so that only others can take up what it left behind.
    Fresh,
}

/// Nodes behind a balancer, which go and come back one by one.
struct Fleet {
    cluster: Cluster,
    balancer: Balancer,
}

impl Fleet {
    /// Starts them with this deadline.
    async fn start(deadline: &str, names: Names) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_mcp-server"));
        Self::running(program, ENOUGH_TO_NOTICE, deadline, names).await
    }

    /// The same of another program, with this delay.
    async fn running(program: &Path, delay: &str, deadline: &str, names: Names) -> Self {
        let mut env = vec![("MCP_DRAIN__DELAY", delay), ("MCP_DRAIN__DEADLINE", deadline)];
        if names == Names::Fresh {
            env.push(("NODE_ID", ""));
        }
        let cluster = Cluster::running(program, NODES, &env).await;
        let balancer = cluster.balancer().await;
        Self { cluster, balancer }
    }

    /// How many calls of a node that ended were taken over, by itself when it came back, or by another.
    fn handed_over(&self) -> usize {
        let said = self.cluster.said(&["took over calls"]);
        let counts = said.iter().map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            line["calls"].as_u64().expect("a count")
        });
        usize::try_from(counts.sum::<u64>()).expect("a count")
    }

    async fn check_that_each_node_served(&self) {
        let served = self.balancer.served().await;
        let all: u64 = served.iter().sum();
        let least = all / 10;
        assert!(
            served.iter().all(|count| *count > least),
            "not in turn: {served:?}"
        );
    }

    /// SIGTERM, and waits for exit code 0.
    async fn stop(&self, node: usize) {
        self.cluster.node(node).terminate();
        self.balancer.until(node, Server::Down).await;
        let status = self.cluster.node(node).end().await;
        let log = self.cluster.node(node).log();
        assert!(
            status.success(),
            "node {node} ended with {status}. It said:\n{log}"
        );
    }

    /// Starts it again, and waits until the balancer gives it requests.
    async fn start_again(&mut self, node: usize) {
        self.cluster.start_again(node).await;
        self.balancer.until(node, Server::Up).await;
    }
}

/// What there must have been, or the test proves little.
fn check_that_it_was_busy(figures: &Figures, restarts: usize) {
    assert!(
        figures.calls > 50 * restarts && figures.long > 5 * restarts,
        "{figures}"
    );
    // How many streams a node has when it stops is left to chance.
    assert!(
        figures.resumed >= restarts / 2 && figures.reopened >= restarts / 2,
        "{figures}"
    );
    assert!(figures.changes > restarts, "{figures}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_rolling_restarts_lose_no_call_and_no_event() {
    let mut fleet = Fleet::start("10s", Names::Same).await;
    let load = Load::start(&fleet.balancer.url(), SHORTER_THAN_THE_DEADLINE).await;
    for _ in 0..ROLLS {
        for node in 0..NODES {
            fleet.stop(node).await;
            fleet.start_again(node).await;
            load.check(&fleet.cluster);
        }
    }
    let figures = load.end(&fleet.cluster).await;
    println!("{} restarts: {figures}", ROLLS * NODES);
    check_that_it_was_busy(&figures, ROLLS * NODES);
    fleet.check_that_each_node_served().await;
    assert_eq!(
        figures.reissued, 0,
        "calls without a session may finish: {figures}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaling_from_three_to_one_and_back_loses_no_call_and_no_event() {
    let mut fleet = Fleet::start("10s", Names::Fresh).await;
    let load = Load::start(&fleet.balancer.url(), SHORTER_THAN_THE_DEADLINE).await;
    for last in [0, 1, 2, 0, 1, 2] {
        let others: Vec<usize> = (0..NODES).filter(|node| *node != last).collect();
        for node in &others {
            fleet.cluster.node(*node).terminate();
        }
        for node in &others {
            let status = fleet.cluster.node(*node).end().await;
            assert!(status.success(), "node {node} ended with {status}");
        }
        load.works(&fleet.cluster, CALLS_OF_ONE_NODE).await;
        for node in others {
            fleet.start_again(node).await;
        }
        load.works(&fleet.cluster, CALLS_OF_ONE_NODE).await;
    }
    let figures = load.end(&fleet.cluster).await;
    println!("6 times to one node and back: {figures}");
    check_that_it_was_busy(&figures, 12);
    fleet.check_that_each_node_served().await;
    assert_eq!(
        figures.reissued, 0,
        "calls without a session may finish: {figures}"
    );
}

/// It goes on sending requests after the delay. They are served like any others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balancer_that_is_slow_to_notice_loses_no_call() {
    let program = Path::new(env!("CARGO_BIN_EXE_mcp-server"));
    let mut fleet = Fleet::running(program, TOO_SHORT_TO_NOTICE, "10s", Names::Same).await;
    let load = Load::start(&fleet.balancer.url(), SHORTER_THAN_THE_DEADLINE).await;
    for node in [0, 1, 2, 0, 1, 2] {
        load.works(&fleet.cluster, CALLS_OF_ONE_NODE).await;
        fleet.stop(node).await;
        fleet.start_again(node).await;
    }
    let figures = load.end(&fleet.cluster).await;
    println!("6 restarts: {figures}");
    check_that_it_was_busy(&figures, 6);
}
