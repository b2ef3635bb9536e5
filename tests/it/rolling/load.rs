//! Twenty clients of every revision, at work all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::calls::{Called, Length, countdown};
use super::ledger::{Figures, Ledger};
use super::sse::{Resume, Sse};
use super::streamable::Streamable;
use super::watch::{self, Beat};
use super::wire::Wire;
use crate::support::client::{LEGACY, MODERN};
use crate::support::cluster::Cluster;
use crate::support::process::eventually;

/// How many clients call tools, by what they speak; four more watch a note.
const CALLERS: [(Speaks, usize); 5] = [
    (Speaks::Streamable(LEGACY), 5),
    (Speaks::Streamable("2025-06-18"), 4),
    (Speaks::Streamable(MODERN), 4),
    (Speaks::Sse(Resume::AfterTheLastEvent), 2),
    (Speaks::Sse(Resume::WhereTheServerKnows), 1),
];
/// Between an answer and the next short call.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the last calls may take once the load stops.
const END_PATIENCE: Duration = Duration::from_secs(40);

#[derive(Debug, Clone, Copy)]
enum Speaks {
    Streamable(&'static str),
    Sse(Resume),
}

/// The clients at work.
#[derive(Debug)]
pub(super) struct Load {
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    work: JoinSet<()>,
}

impl Load {
    /// Starts them on that balancer.
    pub(super) async fn start(base: &str, length: Length) -> Self {
        let ledger = Arc::default();
        let mut load = Self {
            ledger,
            stop: CancellationToken::new(),
            work: JoinSet::new(),
        };
        for (speaks, count) in CALLERS {
            for number in 1..=count {
                let caller = Caller::start(load.wire(base), speaks, number).await;
                load.call(caller.expect("a client can begin"), length);
            }
        }
        load.watch(base).await.expect("watchers can begin");
        load
    }

    fn wire(&self, base: &str) -> Wire {
        Wire::new(base, &self.ledger)
    }

    /// One loop of short calls and one of long ones.
    fn call(&mut self, caller: Caller, length: Length) {
        let caller = Arc::new(caller);
        let (short, stop) = (Arc::clone(&caller), self.stop.clone());
        self.work.spawn(async move {
            let mut sum = 0;
            for turn in 0.. {
                if stop.is_cancelled() {
                    return;
                }
                short.short(turn, &mut sum).await;
                sleep(PAUSE).await;
            }
        });
        let stop = self.stop.clone();
        self.work.spawn(async move {
            while !stop.is_cancelled() {
                caller.long(length).await;
            }
        });
    }

    async fn watch(&mut self, base: &str) -> Result<(), String> {
        let writer = Streamable::open(self.wire(base), MODERN).await?;
        let beat = Beat::new(&writer).await?;
        let watchers = [
            watch::standalone(self.wire(base), "the watcher of 2025-11-25", LEGACY, &beat).await?,
            watch::standalone(self.wire(base), "the watcher of 2025-06-18", "2025-06-18", &beat).await?,
            watch::modern(self.wire(base), "the watcher of 2026-07-28", &beat).await?,
            watch::sse(self.wire(base), "the watcher of 2024-11-05", &beat).await?,
        ];
        let stop = self.stop.clone();
        self.work
            .spawn(async move { beat.keep(&writer, &watchers, &stop).await });
        Ok(())
    }

    /// Fails the test when anything has gone wrong so far.
    pub(super) fn check(&self, cluster: &Cluster) {
        let failures = self.ledger.failures();
        assert!(
            failures.is_empty(),
            "{failures}\nso far: {}\nnodes warned:\n{}",
            self.ledger.figures(),
            cluster.warnings()
        );
    }

    /// Waits until that many more calls are answered.
    pub(super) async fn works(&self, cluster: &Cluster, calls: usize) {
        let before = self.ledger.figures().calls;
        eventually("calls are answered all the time", || async {
            self.check(cluster);
            (self.ledger.figures().calls >= before + calls).then_some(())
        })
        .await;
    }

    /// Lets the calls in flight end, and fails the test when anything went wrong.
    pub(super) async fn end(mut self, cluster: &Cluster) -> Figures {
        self.stop.cancel();
        let ended = timeout(END_PATIENCE, async {
            while let Some(ended) = self.work.join_next().await {
                ended.expect("a client does not panic");
            }
        });
        if ended.await.is_err() {
            self.ledger.fail(format!("{} loops did not end", self.work.len()));
        }
        self.check(cluster);
        self.ledger.figures()
    }
}

/// A client that calls tools.
struct Caller {
    name: String,
    ledger: Arc<Ledger>,
    /// The notebook it counts in; none for the session's own.
    notebook: Option<Value>,
    broken: AtomicBool,
    speaks: Voice,
}

enum Voice {
    Streamable(Streamable),
    Sse(Arc<Sse>),
}

impl Caller {
    async fn start(wire: Wire, speaks: Speaks, number: usize) -> Result<Self, String> {
        let ledger = Arc::clone(&wire.ledger);
        let (name, speaks) = match speaks {
            Speaks::Streamable(revision) => {
                let client = Streamable::open(wire, revision).await?;
                (
                    format!("client {number} of {revision}"),
                    Voice::Streamable(client),
                )
            }
            Speaks::Sse(resume) => {
                let name = format!("client {number} of 2024-11-05 ({resume:?})");
                let (client, _) = Sse::open(wire, &name, resume).await?;
                (name, Voice::Sse(client))
            }
        };
        let mut caller = Self {
            name,
            ledger,
            notebook: None,
            broken: AtomicBool::new(false),
            speaks,
        };
        let opened = caller
            .call(json!({"name": "open_notebook", "arguments": {}}))
            .await?;
        caller.notebook = Some(opened.facts("notebook")?.clone());
        Ok(caller)
    }

    fn call(&self, params: Value) -> BoxFuture<'_, Result<Called, String>> {
        match &self.speaks {
            Voice::Streamable(client) => Box::pin(client.call(params)),
            Voice::Sse(client) => Box::pin(client.call(params)),
        }
    }

    /// One short call, of each kind in turn. What is counted must be counted once, also when nodes die.
    async fn short(&self, turn: u64, sum: &mut u64) {
        let outcome = match turn % 3 {
            0 => {
                let text = format!("turn {turn}");
                let called = self
                    .call(json!({"name": "echo", "arguments": {"text": text}}))
                    .await;
                called.and_then(|called| called.check_echo(&text))
            }
            1 => {
                let called = self.call(json!({"name": "whoami", "arguments": {}})).await;
                called.and_then(|called| called.facts("node").map(drop))
            }
            // A sum that is not known cannot be checked any longer. The failure is noted.
            _ if self.broken.load(Ordering::Relaxed) => return,
            _ => {
                let arguments = json!({"key": "sum", "notebook": self.notebook});
                let called = self
                    .call(json!({"name": "increment", "arguments": arguments}))
                    .await;
                let checked = called.and_then(|called| called.check_sum(*sum));
                self.broken.store(checked.is_err(), Ordering::Relaxed);
                checked.map(|now| *sum = now)
            }
        };
        let kind = ["echo", "whoami", "increment"][usize::try_from(turn % 3).expect("small")];
        self.note(outcome, &format!("call {turn}, {kind}"));
    }

    async fn long(&self, length: Length) {
        let called = self.call(countdown(length, "steps")).await;
        let outcome = called.and_then(|called| {
            let checked = called.check_countdown(length);
            checked.map_err(|error| format!("{error} (by {:?})", called.nodes))
        });
        self.ledger.count(|seen| seen.long += 1);
        self.note(outcome, "countdown");
    }

    fn note(&self, outcome: Result<(), String>, call: &str) {
        if let Err(error) = outcome {
            self.ledger.fail(format!("{}: {call}: {error}", self.name));
        }
    }
}
