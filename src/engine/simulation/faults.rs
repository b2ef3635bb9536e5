//! What befalls a simulated node's way to the store.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::{Instant, sleep};

use super::random::Random;
use crate::store::{Received, StoreError, WhyRefused};

/// How long a node serves a session as it knows it after a command for it has failed, before it asks again.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// An outage in which each node has failed to renew its lease.
const FAILS_RENEWALS: Duration = Duration::from_millis(2500);
/// How soon after such an outage nobody can tell yet who has died: a node that has just joined waits for 3 s.
const JUDGES_NOBODY: Duration = Duration::from_millis(2500);

/// How the common store does, for all nodes.
#[derive(Debug, Default)]
pub(super) struct Weather {
    sky: AtomicU8,
    /// Since when it takes no writes.
    since: Mutex<Option<Instant>>,
    /// When an outage ended in which leases could not be renewed.
    cleared: Mutex<Option<Instant>>,
}

/// What the store does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Sky {
    /// It answers.
    Clear = 0,
    /// It answers reads, and refuses writes.
    Full = 1,
    /// It does not answer.
    Away = 2,
}

impl Weather {
    pub(super) fn set(&self, sky: Sky) {
        self.sky.store(sky as u8, Ordering::Relaxed);
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if sky != Sky::Clear {
            since.get_or_insert_with(Instant::now);
        } else if since
            .take()
            .is_some_and(|since| since.elapsed() >= FAILS_RENEWALS)
        {
            *self.cleared.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
    }

    pub(super) fn is(&self, sky: Sky) -> bool {
        self.sky.load(Ordering::Relaxed) == sky as u8
    }
}

/// What befalls one node's way to the store.
#[derive(Debug)]
pub(super) struct Faults {
    pub(super) random: Random,
    weather: Arc<Weather>,
    calm: Arc<AtomicBool>,
    /// Whether messages between nodes are lost that nobody is told of.
    pub(super) loses: bool,
    cut: AtomicBool,
    /// When a command failed last.
    failed: Mutex<Option<Instant>>,
    dead: AtomicBool,
    listeners: Mutex<Vec<broadcast::Sender<Received>>>,
}

impl Faults {
    pub(super) fn new(
        random: Random,
        weather: &Arc<Weather>,
        calm: &Arc<AtomicBool>,
        loses: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            random,
            weather: Arc::clone(weather),
            calm: Arc::clone(calm),
            loses,
            cut: AtomicBool::new(false),
            failed: Mutex::default(),
            dead: AtomicBool::new(false),
            listeners: Mutex::default(),
        })
    }

    /// The node is dead: nothing that it asks takes effect, or is answered.
    pub(super) fn kill(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Another listener, which hears of outages too.
    pub(super) fn add_listener(&self, listener: broadcast::Sender<Received>) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.push(listener);
    }

    /// Cuts its connections to the store, or lets it make new ones.
    pub(super) fn cut(&self, cut: bool) {
        let changes = self.cut.swap(cut, Ordering::Relaxed) != cut;
        // While the store is away for all, it has gone before, and comes back later.
        if changes && !self.weather.is(Sky::Away) {
            self.receive(if cut {
                &Received::Disconnected
            } else {
                &Received::Gap
            });
        }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// The same for all nodes: the store has gone, or is back.
    pub(super) fn receive(&self, heard: &Received) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        for listener in &*listeners {
            drop(listener.send(heard.clone()));
        }
    }

    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    async fn rest_if_dead(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.cut.load(Ordering::Relaxed) || self.weather.is(Sky::Away)
    }

    /// Whether leases have ended just now because none could be renewed, so that nobody can tell who has died.
    pub(super) fn judges_nobody(&self) -> bool {
        let cleared = *self
            .weather
            .cleared
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        cleared.is_some_and(|cleared| cleared.elapsed() < JUDGES_NOBODY)
    }

    /// Whether the node may serve what it knows: it has lost the store, or a command has just failed.
    pub(super) fn serves_last_known(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_away() || failed.is_some_and(|failed| failed.elapsed() < ASKED_AGAIN_AFTER)
    }

    fn away(&self) -> StoreError {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        StoreError::Unreachable("the simulated store is away".into())
    }

    /// What comes before a command has taken effect.
    pub(super) async fn before(&self, kind: CommandKind) -> Result<(), StoreError> {
        let calm = self.is_calm();
        let late = kind != CommandKind::Message && !calm && self.random.chance(20);
        let most = if late { 400 } else { 3 };
        sleep(self.random.between(0, most)).await;
        self.rest_if_dead().await;
        if self.is_away() {
            sleep(self.random.between(0, 300)).await;
            return Err(self.away());
        }
        if !matches!(kind, CommandKind::Read | CommandKind::Message) && self.weather.is(Sky::Full) {
            return Err(StoreError::Refused {
                why: WhyRefused::Full,
                source: "the simulated store is full".into(),
            });
        }
        match kind != CommandKind::Renewal && !calm && self.random.chance(5) {
            true => Err(self.away()),
            false => Ok(()),
        }
    }

    /// What comes after it.
    pub(super) async fn after(&self, kind: CommandKind) -> Result<(), StoreError> {
        let calm = self.is_calm();
        let late = kind != CommandKind::Message && !calm && self.random.chance(20);
        let most = if late { 400 } else { 3 };
        sleep(self.random.between(0, most)).await;
        self.rest_if_dead().await;
        let whole = matches!(kind, CommandKind::Renewal | CommandKind::Version);
        let lost = !whole && !calm && self.random.chance(5);
        match self.is_away() && kind != CommandKind::Version || lost {
            true => Err(self.away()),
            false => Ok(()),
        }
    }
}

/// What kind of command it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandKind {
    Read,
    Write,
    /// That of a lease, which a single fault does not hit.
    Renewal,
    /// That of a message to other nodes. A node that changes a session waits for them 250 ms at most.
    Message,
    /// That of a change's version. When its answer is lost it is asked for again, so the change has two, and
    /// may be told twice.
    Version,
}
