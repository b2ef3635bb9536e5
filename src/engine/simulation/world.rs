//! What is known of a simulated run from outside: what was done, what was seen, and what was wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter, Write as _};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::store::memory::MemoryStore;

/// How many of the last steps are printed of a run that fails.
const STEPS_SHOWN_MAX: usize = 400;
/// The run, as all parts of it see it. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct World(Arc<Mutex<WorldInner>>);

#[derive(Debug)]
struct WorldInner {
    began: Instant,
    loses_messages: bool,
    /// How long nodes wait for a store that is away.
    grace: Duration,
    store: MemoryStore,
    steps: Vec<String>,
    count: u64,
    digest: DefaultHasher,
    wrong: Vec<String>,
    runs: BTreeMap<String, Vec<PlayedRun>>,
    claims: BTreeMap<String, Vec<PlayedClaim>>,
    changes: BTreeMap<String, Vec<PlayedChange>>,
    /// The calls that clients have cancelled.
    cancelled: BTreeSet<String>,
    /// How often each node has run a request of a session, less how often its handler was told that it was
    /// cancelled.
    untold: BTreeMap<String, u64>,
    /// How often each node was started.
    starts: BTreeMap<String, u64>,
    /// The lives that have ended.
    over: BTreeSet<NodeLife>,
}

/// One start of a node: its name, and which of its starts it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeLife(String);

impl Display for NodeLife {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One run of a call by a node.
#[derive(Debug)]
struct PlayedRun {
    life: NodeLife,
    over: bool,
}

/// A call was claimed from a node whose lease had ended.
#[derive(Debug)]
struct PlayedClaim {
    by: NodeLife,
    /// How many runs of it had begun then.
    runs: usize,
}

/// One change of a resource.
#[derive(Debug, Clone)]
pub(crate) struct PlayedChange {
    /// When it was begun.
    pub(crate) began: Duration,
    /// When it was announced.
    pub(crate) announced: Option<Duration>,
    /// The node that makes it known.
    life: NodeLife,
    /// Whether the store has a version that is no older.
    noted: bool,
    /// When the store last refused it one.
    refused: Option<Duration>,
    /// Whether its node was gone before it had one.
    lost: bool,
}

impl PlayedChange {
    /// Whether who is subscribed is told of it. One is not known that had no version yet when its node was
    /// lost, or got none for as long as a node tries.
    pub(crate) fn must_be_told(&self, grace: Duration) -> bool {
        let given_up = self.refused.is_some_and(|at| at >= self.began + grace);
        self.noted || !self.lost && !given_up
    }
}

impl World {
    /// A run in which messages between nodes may be lost that nobody is told of.
    pub(crate) fn new(loses_messages: bool, grace: Duration, store: &MemoryStore) -> Self {
        Self(Arc::new(Mutex::new(WorldInner {
            began: Instant::now(),
            loses_messages,
            grace,
            store: store.clone(),
            steps: Vec::new(),
            count: 0,
            digest: DefaultHasher::new(),
            wrong: Vec::new(),
            runs: BTreeMap::new(),
            claims: BTreeMap::new(),
            changes: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            untold: BTreeMap::new(),
            starts: BTreeMap::new(),
            over: BTreeSet::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, WorldInner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn loses_messages(&self) -> bool {
        self.lock().loses_messages
    }

    /// The store of all nodes.
    pub(crate) fn store(&self) -> MemoryStore {
        self.lock().store.clone()
    }

    pub(crate) fn grace(&self) -> Duration {
        self.lock().grace
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

    /// A node is started.
    pub(crate) fn started(&self, node: &str) -> NodeLife {
        let mut inner = self.lock();
        let starts = inner.starts.entry(node.to_owned()).or_default();
        *starts += 1;
        NodeLife(match *starts {
            1 => node.to_owned(),
            again => format!("{node} (start {again})"),
        })
    }

    /// A node is gone, and all that it ran.
    pub(crate) fn ended(&self, life: &NodeLife) {
        let mut inner = self.lock();
        inner.over.insert(life.clone());
        let changes = inner.changes.values_mut().flatten();
        for change in changes.filter(|change| change.life == *life && !change.noted) {
            change.lost = true;
        }
    }

    /// A node has claimed a call from one whose lease had ended.
    pub(crate) fn claimed(&self, key: &str, by: &NodeLife) {
        self.step(format!("{by} has claimed call {key}"));
        let mut inner = self.lock();
        let runs = inner.runs.get(key).map_or(0, Vec::len);
        let by = by.clone();
        let claims = inner.claims.entry(key.to_owned()).or_default();
        claims.push(PlayedClaim { by, runs });
    }

    /// A node begins to run a call; `once` if it must not be run twice. It runs until what is returned is
    /// dropped.
    pub(crate) fn run(&self, key: &str, by: &NodeLife, once: bool) -> RunGuard {
        let mut wrong = Vec::new();
        let mut inner = self.lock();
        let runs = inner.runs.get(key).map(Vec::as_slice).unwrap_or_default();
        if once && !runs.is_empty() {
            wrong.push(format!(
                "call {key}, which must not be repeated, is run again by {by}"
            ));
        }
        let claims = inner.claims.get(key).map(Vec::as_slice).unwrap_or_default();
        for (index, run) in runs.iter().enumerate().filter(|(_, run)| !run.over) {
            let claimed = |claim: &PlayedClaim| claim.by == *by && claim.runs > index;
            if !inner.over.contains(&run.life) && !claims.iter().any(claimed) {
                let life = &run.life;
                wrong.push(format!("{by} runs call {key}, which {life} runs, and lives"));
            }
        }
        let runs = inner.runs.entry(key.to_owned()).or_default();
        let index = runs.len();
        runs.push(PlayedRun {
            life: by.clone(),
            over: false,
        });
        drop(inner);
        self.step(format!("{by} begins to run call {key}"));
        wrong.into_iter().for_each(|what| self.wrong(what));
        RunGuard {
            world: self.clone(),
            key: key.to_owned(),
            index,
        }
    }

    /// A client cancels a call.
    pub(crate) fn cancels(&self, key: &str) {
        self.step(format!("call {key} is cancelled by its client"));
        self.lock().cancelled.insert(key.to_owned());
    }

    /// A node runs that request of a session.
    pub(crate) fn runs_request(&self, request: &str, by: &NodeLife) {
        let mut inner = self.lock();
        *inner.untold.entry(format!("{by} {request}")).or_default() += 1;
    }

    /// A handler is told that the client has cancelled that request, and why: the key of a call.
    pub(crate) fn told_cancelled(&self, request: &str, reason: &str, life: &NodeLife) {
        self.step(format!("{life} is told that call {reason} is cancelled"));
        let mut inner = self.lock();
        let known = reason.is_empty() || inner.cancelled.contains(reason);
        let untold = inner.untold.get_mut(&format!("{life} {request}"));
        let runs = untold.is_some_and(|untold| match untold.checked_sub(1) {
            Some(left) => {
                *untold = left;
                true
            }
            None => false,
        });
        drop(inner);
        if !known || !runs {
            self.wrong(format!(
                "{life} is told once too often that call {reason} is cancelled"
            ));
        }
    }

    /// Notes that a resource is about to change, on that node. Returns which change of it this is.
    pub(crate) fn change(&self, uri: &str, life: &NodeLife) -> usize {
        self.step(format!("{uri} changes on {life}"));
        let mut inner = self.lock();
        let began = inner.began.elapsed();
        let changes = inner.changes.entry(uri.to_owned()).or_default();
        changes.push(PlayedChange {
            began,
            announced: None,
            life: life.clone(),
            noted: false,
            refused: None,
            lost: false,
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

    /// A node has asked the store for a version of what has changed there: whether it `noted` one.
    pub(crate) fn versioned(&self, uri: &str, life: &NodeLife, noted: bool) {
        let mut inner = self.lock();
        let now = inner.began.elapsed();
        let changes = inner.changes.get_mut(uri).into_iter().flatten();
        for change in changes.filter(|change| change.life == *life) {
            change.noted |= noted;
            if !noted {
                change.refused = Some(now);
            }
        }
    }

    /// The changes of a resource until now.
    pub(crate) fn changes(&self, uri: &str) -> Vec<PlayedChange> {
        self.lock().changes.get(uri).cloned().unwrap_or_default()
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
