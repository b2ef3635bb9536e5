//! Whether this node is a member of the cluster, and who else is: the one truth about leases.
//!
//! A node renews its lease each second. That write also tells the health of the store, because everything
//! else depends on it: a store that can be read and not written is as good as away. How long its own lease
//! lasts, a node knows by the monotonic clock. One whose lease may have ended is thought dead by others, who
//! take it off what it keeps and take over its calls. So until it is renewed it trusts no copy, and because a
//! store that took no writes has let all leases end, it thinks nobody dead for a while after.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::{error, info, warn};

use super::{millis, monotonic_ms};
use crate::causes::causes;
use crate::session::{Clock, Life, NodeId};
use crate::store::{Lease, NodeStore, Renewed, Store, StoreError};

/// How long a lease lasts after it was last renewed.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(3);
/// How often it is renewed: two renewals may be lost before it ends.
pub(crate) const LEASE_RENEWAL: Duration = Duration::from_secs(1);
/// How long renewals must have worked before anybody is thought dead: leases live in the store, so an outage
/// ends all of them, and the living need a moment to renew theirs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// The same for a node that has just joined. It knows of no outage, and one may have ended just before: each
/// living node renews its lease within two renewals, one of which may be given up.
const PATIENCE_OF_NEW: Duration = Duration::from_secs(3);
/// How far the store's clock may be from where it was expected, before it is taken for one that has stepped: how
/// long a renewal may take, and more than clocks drift in a second.
const CLOCK_STEP_MAX: Duration = Duration::from_secs(1);
/// Renewals that are further apart than this were held up, whether or not one failed.
const RENEWALS_APART_MAX: Duration = Duration::from_secs(2);
/// How often a node that starts looks whether the lease of its name has ended, or was renewed.
const TAKEN_LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a node looks whether it was held up: paused, or without a processor.
const STALL_LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long it may be held up and still trust its copies. The node that changes a session waits 250 ms for it
/// to acknowledge.
const STALL_MS_MAX: u64 = 200; // 250 ms, less one look

/// Why a node does not join the others.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Another process has the node's name.
    #[error(
        "another process lives under the name {node} (NODE_ID): it listens on {address}. Give each node a name of its own, \
         leave NODE_ID unset, or stop the other first"
    )]
    Taken {
        /// The name.
        node: NodeId,
        /// Where the other listens.
        address: String,
    },
    /// The store did not take the lease.
    #[error("the store failed while the node started")]
    Store(#[from] StoreError),
}

/// What is known of the store, and through it of other nodes.
#[derive(Debug)]
struct ClusterView {
    /// Whether the last renewal worked.
    renews: bool,
    /// Whether the store answered when it was last asked for a sign of life.
    answers: bool,
    /// When a renewal worked last.
    renewed: Instant,
    /// Until when nobody is thought dead.
    patient_until: Instant,
    /// How long the last one took.
    latency: Duration,
    /// Who lived then.
    living: HashSet<NodeId>,
    /// Where another process listens that has taken this node's name.
    displaced_by: Option<String>,
}

/// This node's membership.
#[derive(Debug)]
pub(crate) struct Membership {
    lease: Lease,
    clock: Clock,
    known: Mutex<ClusterView>,
    // What each request asks, by the monotonic clock: until when the lease is valid; when this node last
    // looked whether it was held up; and since when what was read can be trusted.
    valid_until_ms: AtomicU64,
    looked_ms: AtomicU64,
    trusted_since_ms: AtomicU64,
}

/// How the store does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StoreHealth {
    /// Whether it answers.
    pub answers: bool,
    /// Whether it takes writes: the renewal of this node's lease at least.
    pub writable: bool,
    /// For how long it has taken none; zero while it does.
    pub away_for: Duration,
    /// How long the last write took.
    pub latency: Duration,
}

impl Membership {
    /// The membership of a node that is about to [join](Self::join). Its lease begins only then.
    #[must_use]
    pub(crate) fn new(node: NodeId, address: &str) -> Self {
        let (clock, now) = (Clock::of_this_machine(), Instant::now());
        Self {
            lease: Lease {
                node,
                life: Life::generate(),
                address: address.to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                started_ms: clock.now_ms(),
            },
            clock,
            known: Mutex::new(ClusterView {
                renews: false,
                answers: true,
                renewed: now,
                patient_until: now,
                latency: Duration::ZERO,
                living: HashSet::new(),
                displaced_by: None,
            }),
            valid_until_ms: AtomicU64::new(0),
            looked_ms: AtomicU64::new(monotonic_ms()),
            trusted_since_ms: AtomicU64::new(0),
        }
    }

    /// That of a process that never joins: one that only sends messages.
    #[must_use]
    pub(crate) fn outside(node: NodeId) -> Self {
        Self::new(node, "")
    }

    /// This node.
    #[must_use]
    pub(crate) const fn node(&self) -> &NodeId {
        &self.lease.node
    }

    /// The store's clock.
    #[must_use]
    pub(crate) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Takes the lease of this node's name. That of a process that was killed ends within [`LEASE_TTL`], and
    /// is waited for; one that is renewed meanwhile is somebody else's.
    ///
    /// # Errors
    /// [`JoinError`].
    pub(crate) async fn join(&self, store: &dyn Store) -> Result<(), JoinError> {
        let mut ended_in = None;
        while let Some((address, ends_in)) = self.renew(store).await? {
            if ended_in.is_some_and(|before| ends_in > before) {
                let node = self.lease.node.clone();
                return Err(JoinError::Taken { node, address });
            }
            if ended_in.is_none() {
                info!(node = %self.lease.node, address, "waiting for the lease of this node's former life to end");
            }
            ended_in = Some(ends_in);
            sleep(TAKEN_LOOK_EVERY.min(ends_in)).await;
        }
        Ok(())
    }

    /// Renews the lease for as long as the node runs. Returns when another process has taken the node's name.
    pub(crate) async fn keep(self: Arc<Self>, store: Arc<dyn Store>) {
        let mut ticks = interval(LEASE_RENEWAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // An attempt that takes longer than a renewal is given up, or it would cost the next one its
            // turn. The lease is on one server of a cluster; the sign of life is asked of each.
            let renewal = timeout(LEASE_RENEWAL, self.renew(store.as_ref()));
            let sign = timeout(LEASE_RENEWAL, store.ping());
            let (renewal, sign) = tokio::join!(renewal, sign);
            self.note_sign(matches!(sign, Ok(Ok(()))));
            match renewal {
                Ok(Ok(None)) => {}
                Ok(Ok(Some((address, _)))) => {
                    error!(
                        node = %self.lease.node,
                        address,
                        "another process has taken this node's name (NODE_ID) while it was held up: this one stops"
                    );
                    self.known().displaced_by = Some(address);
                    return;
                }
                Ok(Err(error)) => self.note_failure(Some(&error)),
                Err(_late) => self.note_failure(None),
            }
        }
    }

    /// Looks for as long as the node runs whether it was held up: messages of that time may be unread, and
    /// their senders do not wait for long.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut ticks = interval(STALL_LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let now_ms = monotonic_ms();
            let looked_ms = self.looked_ms.swap(now_ms, Ordering::AcqRel);
            if now_ms.saturating_sub(looked_ms) > STALL_MS_MAX {
                self.trusted_since_ms.store(now_ms, Ordering::Release);
            }
        }
    }

    /// Since when what was read of a session can be trusted, in milliseconds by the monotonic clock. `None`
    /// while nothing can: this node's lease may have ended, or it was held up just now.
    #[must_use]
    pub(crate) fn trusts_since_ms(&self, now_ms: u64) -> Option<u64> {
        let valid = now_ms < self.valid_until_ms.load(Ordering::Acquire);
        let held_up_ms = now_ms.saturating_sub(self.looked_ms.load(Ordering::Acquire));
        (valid && held_up_ms <= STALL_MS_MAX).then(|| self.trusted_since_ms.load(Ordering::Acquire))
    }

    /// Whether this node can tell who is dead: its own renewals have worked for [`PATIENCE`], or, when it has
    /// just joined, since long enough.
    #[must_use]
    pub(crate) fn can_judge(&self) -> bool {
        let known = self.known();
        known.renews && self.is_valid() && Instant::now() >= known.patient_until
    }

    /// Those of `nodes` that are dead for certain.
    ///
    /// # Errors
    /// [`StoreError`]: nobody can say.
    pub(crate) async fn dead_among(
        &self,
        store: &dyn NodeStore,
        nodes: &[NodeId],
    ) -> Result<Vec<NodeId>, StoreError> {
        if nodes.is_empty() {
            return Ok(vec![]);
        }
        let known = store.nodes().await?;
        let lives = |node: &NodeId| known.iter().any(|known| known.lives && known.node == *node);
        let candidates = nodes.iter().filter(|node| !lives(node)).cloned();
        self.confirm(store, candidates.collect()).await
    }

    /// All nodes that are dead for certain, and were not forgotten.
    ///
    /// # Errors
    /// [`StoreError`]: from now on nobody is thought dead for [`PATIENCE`].
    pub(crate) async fn dead(&self, store: &dyn NodeStore) -> Result<Vec<NodeId>, StoreError> {
        let asked = async {
            let known = store.nodes().await?.into_iter();
            let candidates = known.filter(|known| !known.lives).map(|known| known.node);
            self.confirm(store, candidates.collect()).await
        };
        let dead = asked.await;
        if dead.is_err() {
            self.doubt();
        }
        dead
    }

    /// From now on nobody is thought dead for [`PATIENCE`].
    fn doubt(&self) {
        self.known().patient_until = Instant::now() + PATIENCE;
    }

    /// Those of the candidates whose leases have not been renewed, if this node [can judge](Self::can_judge)
    /// that. The living look dead as well when the store's clock steps forward, which a renewal shows.
    async fn confirm(
        &self,
        store: &dyn NodeStore,
        mut candidates: Vec<NodeId>,
    ) -> Result<Vec<NodeId>, StoreError> {
        if candidates.is_empty() || !self.can_judge() {
            return Ok(vec![]);
        }
        let displaced = self.renew(store).await?.is_some();
        if displaced || !self.can_judge() {
            return Ok(vec![]);
        }
        candidates.retain(|node| !self.lives(node));
        Ok(candidates)
    }

    /// Whether a node lived when this one last renewed its lease.
    #[must_use]
    pub(crate) fn lives(&self, node: &NodeId) -> bool {
        self.known().living.contains(node)
    }

    /// Notes that a node has ended its lease.
    pub(crate) fn note_left(&self, node: &NodeId) {
        self.known().living.remove(node);
    }

    /// How the store does.
    #[must_use]
    pub(crate) fn store_health(&self) -> StoreHealth {
        let known = self.known();
        let writable = known.renews && self.is_valid();
        StoreHealth {
            answers: known.answers,
            writable,
            away_for: if writable {
                Duration::ZERO
            } else {
                known.renewed.elapsed()
            },
            latency: known.latency,
        }
    }

    /// The error to stop with, when another process has taken this node's name.
    #[must_use]
    pub(crate) fn displaced(&self) -> Option<JoinError> {
        let address = self.known().displaced_by.clone()?;
        let node = self.lease.node.clone();
        Some(JoinError::Taken { node, address })
    }

    /// Renews the lease once. Says who has it, and for how long at least, when that is another process.
    async fn renew(&self, store: &dyn NodeStore) -> Result<Option<(String, Duration)>, StoreError> {
        // Counted from before it was asked for: the store may take its time to answer.
        let asked = Instant::now();
        let valid_until_ms = monotonic_ms() + millis(LEASE_TTL);
        match store.lease_renew(&self.lease, LEASE_TTL).await? {
            Renewed::Renewed { clock_ms, living } => {
                let now_ms = clock_ms + millis(asked.elapsed() / 2);
                let stepped = now_ms.abs_diff(self.clock.now_ms()) > millis(CLOCK_STEP_MAX);
                self.clock.set(now_ms);
                self.note_renewal(asked, valid_until_ms, living, stepped);
                Ok(None)
            }
            Renewed::Taken { address, ends_in } => Ok(Some((address, ends_in))),
        }
    }

    fn note_renewal(&self, asked: Instant, valid_until_ms: u64, living: Vec<NodeId>, stepped: bool) {
        let (mut known, now) = (self.known(), Instant::now());
        let (lapsed, joins) = (!self.is_valid(), self.valid_until_ms.load(Ordering::Acquire) == 0);
        if lapsed {
            // Others may have thought this node dead, and have taken it off what it keeps.
            self.trusted_since_ms.store(monotonic_ms(), Ordering::Release);
        }
        let apart = now.duration_since(known.renewed);
        if joins {
            known.patient_until = now + PATIENCE_OF_NEW;
        } else if lapsed || stepped || !known.renews || apart > RENEWALS_APART_MAX {
            known.patient_until = now + PATIENCE;
        }
        // After that, or this node might judge in between. Of two renewals at once the later one counts.
        self.valid_until_ms.fetch_max(valid_until_ms, Ordering::AcqRel);
        let again = !std::mem::replace(&mut known.renews, true);
        known.renewed = now;
        known.latency = asked.elapsed();
        known.living = living.into_iter().collect();
        drop(known);
        if again && lapsed {
            info!(node = %self.lease.node, "this node has its lease");
        } else if again {
            info!("the store takes writes again: this node's lease is renewed");
        }
    }

    fn note_failure(&self, error: Option<&StoreError>) {
        if !std::mem::replace(&mut self.known().renews, false) {
            return;
        }
        const WORDS: &str =
            "could not renew this node's lease: serving what it knows, and taking nothing over";
        match error {
            Some(error) => warn!(error = %causes(error), "{WORDS}"),
            None => warn!("the store is too slow: {WORDS}"),
        }
    }

    fn note_sign(&self, answers: bool) {
        let answered = std::mem::replace(&mut self.known().answers, answers);
        match (answered, answers) {
            (true, false) => warn!("the store does not answer: serving what this node knows"),
            (false, true) => info!("the store answers again"),
            _ => {}
        }
    }

    /// As [`Self::watch`] does.
    #[cfg(test)]
    pub(super) fn looked_now(&self) {
        self.looked_ms.store(monotonic_ms(), Ordering::Release);
    }

    /// As [`Self::keep`] does.
    #[cfg(test)]
    pub(super) async fn renewed_now(&self, store: &dyn Store) {
        assert!(matches!(self.renew(store).await, Ok(None)));
    }

    /// Whether this node's lease lasts, by the monotonic clock: while it does, nobody has taken over what the
    /// node has registered.
    #[must_use]
    pub(crate) fn is_valid(&self) -> bool {
        monotonic_ms() < self.valid_until_ms.load(Ordering::Acquire)
    }

    fn known(&self) -> MutexGuard<'_, ClusterView> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod membership_tests;
