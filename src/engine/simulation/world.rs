//! What is known of a simulated run from outside: what was done, what was seen, and what was wrong.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many of the last steps are printed of a run that fails.
const STEPS_SHOWN_MAX: usize = 400;
/// How long a node may be held up, or lose the store, before others may take its calls: its lease of 3 s was
/// last renewed at most 1.4 s before, because it is renewed each second, and a command is up to 400 ms late.
const LEASE_WITHOUT_RENEWAL: Duration = Duration::from_millis(1600);
/// How long ago that may have been when another node begins to run one of its calls.
const TAKEN_WITHIN: Duration = Duration::from_secs(70);

/// The run, as all parts of it see it. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct World(Arc<Mutex<WorldInner>>);

#[derive(Debug)]
struct WorldInner {
    began: Instant,
    loses_messages: bool,
    steps: Vec<String>,
    count: u64,
    digest: DefaultHasher,
    wrong: Vec<String>,
    runs: BTreeMap<String, Vec<PlayedRun>>,
    changes: BTreeMap<String, Vec<PlayedChange>>,
    nodes: BTreeMap<String, NodeSeen>,
}

/// One run of a call by a node.
#[derive(Debug)]
struct PlayedRun {
    node: String,
    over: bool,
}

/// One change of a resource.
#[derive(Debug, Clone)]
pub(crate) struct PlayedChange {
    /// When it was begun.
    pub(crate) began: Duration,
    /// When it was announced.
    pub(crate) announced: Option<Duration>,
    /// The node that makes it known.
    node: String,
}

/// What befell a node.
#[derive(Debug, Default)]
struct NodeSeen {
    killed: bool,
    /// When it was cut off last, alone, from when to when.
    cut_off: Option<(Instant, Option<Instant>)>,
}

impl World {
    /// A run in which messages between nodes may be lost that nobody is told of.
    pub(crate) fn new(loses_messages: bool) -> Self {
        Self(Arc::new(Mutex::new(WorldInner {
            began: Instant::now(),
            loses_messages,
            steps: Vec::new(),
            count: 0,
            digest: DefaultHasher::new(),
            wrong: Vec::new(),
            runs: BTreeMap::new(),
            changes: BTreeMap::new(),
            nodes: BTreeMap::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, WorldInner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn loses_messages(&self) -> bool {
        self.lock().loses_messages
    }

    /// How long the run has lasted.
    pub(crate) fn now(&self) -> Duration {
        self.lock().began.elapsed()
    }

    /// Notes a step.
    pub(crate) fn step(&self, what: impl AsRef<str>) {
        let mut inner = self.lock();
        let at = inner.began.elapsed().as_millis();
        let mut line = String::new();
        let _written = write!(line, "{at:>7} ms  {}", what.as_ref());
        tracing::debug!("{line}");
        line.hash(&mut inner.digest);
        inner.count += 1;
        inner.steps.push(line);
        if inner.steps.len() > 2 * STEPS_SHOWN_MAX {
            inner.steps.drain(..STEPS_SHOWN_MAX);
        }
    }

    /// Notes that an invariant does not hold.
    pub(crate) fn wrong(&self, what: impl AsRef<str>) {
        self.step(format!("WRONG: {}", what.as_ref()));
        self.lock().wrong.push(what.as_ref().to_owned());
    }

    /// What was wrong, with the steps before it.
    pub(crate) fn verdict(&self) -> Result<u64, String> {
        let inner = self.lock();
        if inner.wrong.is_empty() {
            return Ok(inner.digest.finish());
        }
        let from = inner.steps.len().saturating_sub(STEPS_SHOWN_MAX);
        let steps = inner.steps.get(from..).unwrap_or_default().join("\n");
        Err(format!("{steps}\n{}", inner.wrong.join("\n")))
    }

    /// A node was killed.
    pub(crate) fn killed(&self, node: &str) {
        self.lock().nodes.entry(node.to_owned()).or_default().killed = true;
    }

    /// A node alone is held up, or loses the store, from now on; or no longer.
    pub(crate) fn cut_off(&self, node: &str, begins: bool) {
        let mut inner = self.lock();
        let seen = inner.nodes.entry(node.to_owned()).or_default();
        let now = Instant::now();
        seen.cut_off = match (begins, seen.cut_off) {
            (true, Some((since, None))) => Some((since, None)),
            // It may not have renewed its lease in between.
            (true, Some((since, Some(until)))) if until.elapsed() < LEASE_WITHOUT_RENEWAL => {
                Some((since, None))
            }
            (true, _) => Some((now, None)),
            (false, Some((since, None))) => Some((since, Some(now))),
            (false, other) => other,
        };
    }

    /// A node begins to run a call; `once` if it must not be run twice. It runs until what is returned is
    /// dropped.
    pub(crate) fn run(&self, key: &str, node: &str, once: bool) -> RunGuard {
        let mut wrong = Vec::new();
        let mut inner = self.lock();
        let runs = inner.runs.get(key).map(Vec::as_slice).unwrap_or_default();
        if once && !runs.is_empty() {
            wrong.push(format!(
                "call {key}, which must not be repeated, is run again by {node}"
            ));
        }
        for run in runs.iter().filter(|run| !run.over) {
            if !inner
                .nodes
                .get(&run.node)
                .is_some_and(NodeSeen::may_be_thought_dead)
            {
                wrong.push(format!(
                    "{node} runs call {key}, which {} runs, and lives",
                    run.node
                ));
            }
        }
        let runs = inner.runs.entry(key.to_owned()).or_default();
        let index = runs.len();
        runs.push(PlayedRun {
            node: node.to_owned(),
            over: false,
        });
        drop(inner);
        self.step(format!("{node} begins to run call {key}"));
        wrong.into_iter().for_each(|what| self.wrong(what));
        RunGuard {
            world: self.clone(),
            key: key.to_owned(),
            index,
        }
    }

    /// Notes that a resource is about to change, on that node. Returns which change of it this is.
    pub(crate) fn change(&self, uri: &str, node: &str) -> usize {
        self.step(format!("{uri} changes on {node}"));
        let mut inner = self.lock();
        let began = inner.began.elapsed();
        let changes = inner.changes.entry(uri.to_owned()).or_default();
        changes.push(PlayedChange {
            began,
            announced: None,
            node: node.to_owned(),
        });
        changes.len() - 1
    }

    /// Notes that the change was announced.
    pub(crate) fn changed(&self, uri: &str, which: usize) {
        let mut inner = self.lock();
        let now = inner.began.elapsed();
        if let Some(change) = inner
            .changes
            .get_mut(uri)
            .and_then(|changes| changes.get_mut(which))
        {
            change.announced = Some(now);
        }
    }

    /// The changes of a resource until now. One was not announced that was made on a node which was lost,
    /// perhaps while the store was away.
    pub(crate) fn changes(&self, uri: &str) -> Vec<PlayedChange> {
        let inner = self.lock();
        let mut changes = inner.changes.get(uri).cloned().unwrap_or_default();
        for change in &mut changes {
            let lost = inner.nodes.get(&change.node).is_some_and(|node| node.killed);
            change.announced = change.announced.filter(|_| !lost);
        }
        changes
    }
}

impl NodeSeen {
    /// Whether others may have thought that the node is dead, not long ago.
    fn may_be_thought_dead(&self) -> bool {
        let cut_off = self.cut_off.is_some_and(|(since, until)| {
            let until = until.unwrap_or_else(Instant::now);
            until - since > LEASE_WITHOUT_RENEWAL && until.elapsed() < TAKEN_WITHIN
        });
        self.killed || cut_off
    }
}

/// A run of a call, until it is dropped.
pub(crate) struct RunGuard {
    world: World,
    key: String,
    index: usize,
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        let mut inner = self.world.lock();
        if let Some(run) = inner
            .runs
            .get_mut(&self.key)
            .and_then(|runs| runs.get_mut(self.index))
        {
            run.over = true;
        }
    }
}
