//! Calls that a draining node cannot finish: others carry them through, or say what is known of them.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::calls::{Called, Length};
use super::ledger::Ledger;
use super::load::Load;
use super::sse::{Resume, Sse};
use super::streamable::Streamable;
use super::wire::Wire;
use super::{ENOUGH_TO_NOTICE, Fleet, Names, check_that_it_was_busy};
use crate::support::client::LEGACY;

/// Three times what the node has left when it is told to stop. A node that runs a call again tells what was
/// not told yet.
const LONGER_THAN_THE_DEADLINE: Length = Length {
    steps: 30,
    interval_ms: 100,
    again: true,
};
const LOST: &str = "node lost, outcome unknown";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_outlive_the_drain_are_carried_through_by_other_nodes() {
    let mut fleet = Fleet::start("1s", Names::Fresh).await;
    let load = Load::start(&fleet.balancer.url(), LONGER_THAN_THE_DEADLINE).await;
    for node in [0, 1, 2, 0, 1, 2, 0, 1, 2] {
        fleet.stop(node).await;
        fleet.start_again(node).await;
        load.check(&fleet.cluster);
    }
    let figures = load.end(&fleet.cluster).await;
    let handed_over = fleet.handed_over();
    println!("9 restarts, {handed_over} calls handed over: {figures}");
    check_that_it_was_busy(&figures, 9);
    assert!(handed_over >= 9, "{handed_over} calls handed over");
}

/// `quote` may be run again and is always answered by a quote. `book` is answered by what is known, and never
/// twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_run_twice_is_answered_by_what_is_known() {
    let hints = Path::new(env!("CARGO_BIN_EXE_mcp-server")).with_file_name("examples/hints");
    assert!(hints.exists(), "{hints:?} is missing: cargo build --examples");
    let mut fleet = Fleet::running(&hints, ENOUGH_TO_NOTICE, "500ms", Names::Same).await;
    let (ledger, stop) = (Arc::new(Ledger::default()), CancellationToken::new());
    let mut work = JoinSet::new();
    for number in 0..NINE {
        let wire = Wire::new(&fleet.balancer.url(), &ledger);
        let traveller = Traveller::start(wire, number).await.expect("a client can begin");
        let stop = stop.clone();
        work.spawn(async move {
            for turn in 0.. {
                if stop.is_cancelled() {
                    return;
                }
                traveller.travel(turn).await;
            }
        });
    }
    for node in [0, 1, 2, 0, 1, 2] {
        fleet.stop(node).await;
        fleet.start_again(node).await;
    }
    stop.cancel();
    while let Some(ended) = work.join_next().await {
        ended.expect("a client does not panic");
    }
    let (failures, figures, handed_over) = (ledger.failures(), ledger.figures(), fleet.handed_over());
    assert!(
        failures.is_empty(),
        "{failures}\n{figures}\n{}",
        fleet.cluster.warnings()
    );
    println!("6 restarts, {handed_over} calls handed over: {figures}");
    assert!(figures.lost > 0 && figures.lost < figures.calls / 2, "{figures}");
    assert!(
        handed_over > figures.lost,
        "{handed_over} calls handed over: {figures}"
    );
}

/// Three of each revision that has sessions.
const NINE: usize = 9;

/// A client that asks for prices, and books.
struct Traveller {
    name: String,
    number: usize,
    ledger: Arc<Ledger>,
    voice: Voice,
}

enum Voice {
    Streamable(Streamable),
    Sse(Arc<Sse>),
}

impl Traveller {
    async fn start(wire: Wire, number: usize) -> Result<Self, String> {
        let ledger = Arc::clone(&wire.ledger);
        let revision = [LEGACY, "2025-06-18", "2024-11-05"][number % 3];
        let name = format!("client {number} of {revision}");
        let voice = match revision {
            "2024-11-05" => Voice::Sse(Sse::open(wire, &name, Resume::AfterTheLastEvent).await?.0),
            _ => Voice::Streamable(Streamable::open(wire, revision).await?),
        };
        Ok(Self {
            name,
            number,
            ledger,
            voice,
        })
    }

    async fn travel(&self, turn: usize) {
        let tool = ["quote", "book"][(self.number + turn) % 2];
        let trip = format!("place {turn}");
        let params = json!({"name": tool, "arguments": {"to": trip, "takes_ms": 2500}});
        let called = match &self.voice {
            Voice::Streamable(client) => client.call(params).await,
            Voice::Sse(client) => client.call(params).await,
        };
        let outcome = called.and_then(|called| self.check(&called, tool, &trip));
        if let Err(error) = outcome {
            self.ledger
                .fail(format!("{}: turn {turn}, {tool}: {error}", self.name));
        }
    }

    fn check(&self, called: &Called, tool: &str, trip: &str) -> Result<(), String> {
        let Called { response, nodes, .. } = called;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if text(&response["result"]["content"][0]["text"]).contains(trip) {
            return Ok(());
        }
        if tool == "book" && text(&response["error"]["message"]).contains(LOST) {
            self.ledger.count(|seen| seen.lost += 1);
            return Ok(());
        }
        Err(format!("{response} (by {nodes:?})"))
    }
}
