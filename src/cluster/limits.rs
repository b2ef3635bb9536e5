//! How often clients may ask, over all nodes, without a trip to the store for each request.
//!
//! The store keeps a bucket of tokens for each principal, address or session. A node takes some of them in advance, and
//! spends those for itself: as many as were asked for in a quarter of a second, and a quarter of a full bucket at most. What it
//! does not spend within a second is gone. So what all nodes let in together is never more than one bucket allows; the
//! price is what lies unspent on nodes that fell silent. A node that is told that a bucket is empty believes that for a
//! while. It takes more in the background when half is spent, so that a request waits only if its caller was silent, or
//! asks less than five times a second.
//!
//! While the store does not answer, each node counts for itself at the full rate: that is N limits of N nodes, but it
//! protects each handler. To refuse everybody then is what an attacker would want.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::membership::LEASE_RENEWAL;
use crate::audit::{Act, Actor, Audit};
use crate::causes::causes;
use crate::config::{LimitSettings, Rate};
use crate::protocol::error::Limited;
use crate::store::{Granted, RateStore, StoreError};
use crate::supervisor::Supervisor;
use crate::telemetry::metrics;

mod bucket;
mod table;

use bucket::Spending;
use table::{BucketKey, Buckets, KnownBucket};

pub(crate) use table::LimitedBy;

/// How long a trip to the store may take: as long as the renewal of the node's lease.
const TRIP_WITHIN: Duration = LEASE_RENEWAL;
/// How often a node looks whether a store that was away counts again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a request waits for a trip before it is refused: others may take what the trip has brought.
const TRIPS_WAITED_MAX: usize = 16;
/// How much of a digest stands in a key, in bytes.
const DIGEST_BYTES: usize = 16;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LimitKind {
    /// Requests of a principal.
    Principal,
    /// Requests from an address.
    Address,
    /// Messages of a session.
    Session,
    /// Sessions that a principal opens.
    InitializePrincipal,
    /// Sessions that an address opens.
    InitializeAddress,
    /// Unknown credentials from an address.
    FailuresAddress,
}

impl LimitKind {
    /// All of them, in the order of [`RateLimits::new`].
    const ALL: [Self; 6] = [
        Self::Principal,
        Self::Address,
        Self::Session,
        Self::InitializePrincipal,
        Self::InitializeAddress,
        Self::FailuresAddress,
    ];

    /// The last part of its setting's name.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::Address => "address",
            Self::Session => "session",
            Self::InitializePrincipal => "initialize_principal",
            Self::InitializeAddress => "initialize_address",
            Self::FailuresAddress => "failures_address",
        }
    }

    fn rate(self, settings: &LimitSettings) -> Option<Rate> {
        match self {
            Self::Principal => settings.principal,
            Self::Address => settings.address,
            Self::Session => settings.session,
            Self::InitializePrincipal => settings.initialize_principal,
            Self::InitializeAddress => settings.initialize_address,
            Self::FailuresAddress => settings.failures_address,
        }
    }

    fn limited(self, wait_us: u64) -> Limited {
        Limited {
            limit: self.label(),
            after: Duration::from_micros(wait_us),
        }
    }
}

impl BucketKey {
    /// The bucket's name in the store. Digests, so that no name of a user stands there, and no session's id.
    fn name(&self) -> String {
        let digest = match &self.of {
            LimitedBy::Peer(peer) => Sha256::digest(peer.to_string().as_bytes()),
            LimitedBy::Session(id) => Sha256::digest(id.as_str().as_bytes()),
        };
        let hex = digest.iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}"));
        format!("{}:{}", self.kind.label(), hex.collect::<String>())
    }
}

/// The limits of this node, which holds them together with the others. Clones share one state.
#[derive(Debug, Clone)]
pub(crate) struct RateLimits {
    // None while all are off: then a request costs a look at that.
    inner: Option<Arc<LimitsInner>>,
}

#[derive(Debug)]
struct LimitsInner {
    rates: [Option<Rate>; LimitKind::ALL.len()],
    buckets: Buckets,
    store: Arc<dyn RateStore>,
    /// Whether there may be other nodes. Else this one's own buckets are all there is.
    is_shared: bool,
    /// Whether the store does not answer, so that this node counts for itself.
    away: AtomicBool,
    started: Instant,
    supervisor: Supervisor,
    audit: Audit,
}

impl RateLimits {
    /// Those that the settings ask for, which this node holds together with others if it shares the store.
    #[must_use]
    pub(crate) fn new(
        settings: &LimitSettings,
        store: Arc<dyn RateStore>,
        is_shared: bool,
        supervisor: Supervisor,
        audit: Audit,
    ) -> Self {
        let rates = LimitKind::ALL.map(|kind| kind.rate(settings));
        let inner = || {
            Arc::new(LimitsInner {
                rates,
                buckets: Buckets::default(),
                is_shared,
                store,
                away: AtomicBool::new(false),
                started: Instant::now(),
                supervisor,
                audit,
            })
        };
        Self {
            inner: rates.iter().any(Option::is_some).then(inner),
        }
    }

    /// None.
    #[cfg(test)]
    pub(crate) const fn off() -> Self {
        Self { inner: None }
    }

    /// Whether there is any limit.
    #[must_use]
    pub(crate) const fn are_on(&self) -> bool {
        self.inner.is_some()
    }

    /// The rate of this limit, if it is on.
    #[must_use]
    pub(crate) fn rate(&self, kind: LimitKind) -> Option<Rate> {
        let rates = &self.inner.as_ref()?.rates;
        rates.get(kind as usize).copied().flatten()
    }

    /// Whether this node counts for itself, because the store does not answer. `None` when there is no limit.
    #[must_use]
    pub(crate) fn are_local(&self) -> Option<bool> {
        self.inner
            .as_ref()
            .map(|inner| inner.away.load(Ordering::Relaxed))
    }

    /// Takes `cost` tokens of that bucket, which holds as many when it is full.
    ///
    /// # Errors
    /// [`Limited`]: it has fewer.
    pub(crate) async fn admit(&self, kind: LimitKind, of: LimitedBy, cost: u32) -> Result<(), Limited> {
        match self.admit_at_hand(kind, of.clone(), cost) {
            Some(admitted) => admitted,
            None => Box::pin(self.admit_later(kind, of, cost)).await,
        }
    }

    /// Waits for tokens that were [not at hand](Self::admit_at_hand).
    ///
    /// # Errors
    /// As [`RateLimits::admit`].
    pub(crate) async fn admit_later(&self, kind: LimitKind, of: LimitedBy, cost: u32) -> Result<(), Limited> {
        match (&self.inner, self.rate(kind)) {
            (Some(inner), Some(rate)) => inner.wait(BucketKey { kind, of }, rate, cost).await,
            _ => Ok(()),
        }
    }

    /// The same without waiting. `None`: this node has too few tokens at hand, and the store decides.
    pub(crate) fn admit_at_hand(
        &self,
        kind: LimitKind,
        of: LimitedBy,
        cost: u32,
    ) -> Option<Result<(), Limited>> {
        let (Some(inner), Some(rate)) = (&self.inner, self.rate(kind)) else {
            return Some(Ok(()));
        };
        match inner.spend(&BucketKey { kind, of }, rate, cost) {
            Spending::Spent => Some(Ok(())),
            Spending::Refused(wait_us) => Some(Err(kind.limited(wait_us))),
            Spending::Ask(_) => None,
        }
    }

    /// Gives tokens back that were taken for a request that another limit has refused.
    pub(crate) fn give_back(&self, kind: LimitKind, of: LimitedBy, cost: u32) {
        if let (Some(inner), Some(rate)) = (&self.inner, self.rate(kind)) {
            let now_us = inner.now_us();
            let kept_us = match kind {
                // Or each good token would cost the bucket one, if they come seldom.
                LimitKind::FailuresAddress => rate.time_us(rate.burst()),
                _ => 0,
            };
            inner.buckets.with(&BucketKey { kind, of }, |known| {
                known.bucket.give_back(rate, now_us, cost, kept_us);
            });
        }
    }

    /// Counts credentials from there that are not known, before they are verified. Those that prove right are
    /// [given back](Self::give_back).
    ///
    /// # Errors
    /// [`Limited`]: too many were wrong lately.
    pub(crate) async fn failure(&self, from: LimitedBy) -> Result<(), Limited> {
        self.admit(LimitKind::FailuresAddress, from, 1).await
    }
}

impl LimitsInner {
    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX / 2)
    }

    fn counts_alone(&self) -> bool {
        !self.is_shared || self.away.load(Ordering::Relaxed)
    }

    /// Spends what is here, and takes more in the background when half is spent.
    fn spend(self: &Arc<Self>, key: &BucketKey, rate: Rate, cost: u32) -> Spending {
        let now_us = self.now_us();
        if self.counts_alone() {
            return self
                .buckets
                .with(key, |known| known.bucket.spend_own(rate, now_us, cost));
        }
        let (spending, refill) = self.buckets.with(key, |known| {
            known.bucket.note_demand(now_us, cost);
            let spending = known.bucket.spend(rate, now_us, cost);
            let refill = match spending {
                Spending::Spent if !known.is_asking() => known.bucket.refill(rate, now_us),
                _ => None,
            };
            (spending, refill.map(|wanted| (wanted, known.begin_trip())))
        });
        if let Some((wanted, trip)) = refill {
            self.ask(key.clone(), rate, 1, wanted, trip);
        }
        spending
    }

    /// Waits for the store, together with all others that need this bucket.
    async fn wait(self: &Arc<Self>, key: BucketKey, rate: Rate, cost: u32) -> Result<(), Limited> {
        let waiting = Waiting::begin(self, &key, cost);
        for _ in 0..TRIPS_WAITED_MAX {
            let now_us = self.now_us();
            if self.counts_alone() {
                let spending = self
                    .buckets
                    .with(&key, |known| known.bucket.spend_own(rate, now_us, cost));
                return match spending {
                    Spending::Spent => Ok(()),
                    Spending::Refused(wait_us) => Err(key.kind.limited(wait_us)),
                    Spending::Ask(_) => Err(key.kind.limited(0)),
                };
            }
            let (trip, asks) = match self
                .buckets
                .with(&key, |known| known.spend_or_join(rate, now_us, cost))
            {
                Joined::Spent => return Ok(()),
                Joined::Refused(wait_us) => return Err(key.kind.limited(wait_us)),
                Joined::Waits(trip) => (trip, None),
                Joined::Asks { trip, need, wanted } => (trip, Some((need, wanted))),
            };
            if let Some((need, wanted)) = asks {
                self.ask(key.clone(), rate, need, wanted, trip.clone());
            }
            trip.cancelled().await;
        }
        drop(waiting);
        Err(key.kind.limited(0))
    }

    /// Asks the store for tokens, in a task of its own: what it brings is for all who wait.
    fn ask(self: &Arc<Self>, key: BucketKey, rate: Rate, need: u32, wanted: u32, trip: CancellationToken) {
        let inner = Arc::clone(self);
        self.supervisor.spawn("limits", async move {
            // Nobody waits for ever, also if this task is dropped.
            let _done = trip.drop_guard();
            let name = key.name();
            match inner.take(&name, rate, need, wanted).await {
                Ok(granted) => {
                    let now_us = inner.now_us();
                    inner.buckets.with(&key, |known| {
                        known.bucket.answered(rate, now_us, need, granted);
                        known.trip = None;
                    });
                }
                Err(error) => {
                    inner.count_alone(name, rate, &error);
                    inner.buckets.with(&key, |known| known.trip = None);
                }
            }
        });
    }

    async fn take(&self, name: &str, rate: Rate, need: u32, wanted: u32) -> Result<Granted, StoreError> {
        metrics::limit_trip();
        match timeout(TRIP_WITHIN, self.store.take(name, rate, need, wanted)).await {
            Ok(taken) => taken,
            Err(_late) => Err(StoreError::Unreachable("it did not answer in time".into())),
        }
    }

    /// Counts for itself until the store gives tokens of that bucket again.
    fn count_alone(self: &Arc<Self>, name: String, rate: Rate, error: &StoreError) {
        if self.away.swap(true, Ordering::Relaxed) {
            return;
        }
        warn!(error = %causes(error), "the store does not count requests: until it does, this node holds the limits for itself alone");
        self.audit
            .note(&Actor::default(), &Act::LimitsLocal { local: true });
        let (inner, counted) = (Arc::clone(self), metrics::limits_local());
        self.supervisor.spawn("limits", async move {
            loop {
                sleep(LOOK_EVERY).await;
                if inner.take(&name, rate, 1, 1).await.is_ok() {
                    break;
                }
            }
            inner.away.store(false, Ordering::Relaxed);
            info!("the store counts requests again: all nodes hold the limits together");
            inner
                .audit
                .note(&Actor::default(), &Act::LimitsLocal { local: false });
            drop(counted);
        });
    }
}

/// How a request gets its tokens.
#[derive(Debug)]
enum Joined {
    Spent,
    Refused(u64),
    /// Somebody asks the store already.
    Waits(CancellationToken),
    /// It has to ask the store itself.
    Asks {
        trip: CancellationToken,
        need: u32,
        wanted: u32,
    },
}

impl KnownBucket {
    fn is_asking(&self) -> bool {
        self.trip.as_ref().is_some_and(|trip| !trip.is_cancelled())
    }

    fn begin_trip(&mut self) -> CancellationToken {
        self.trip.insert(CancellationToken::new()).clone()
    }

    fn spend_or_join(&mut self, rate: Rate, now_us: u64, cost: u32) -> Joined {
        match self.bucket.spend(rate, now_us, cost) {
            Spending::Spent => Joined::Spent,
            Spending::Refused(wait_us) => Joined::Refused(wait_us),
            Spending::Ask(need) => match &self.trip {
                Some(trip) if !trip.is_cancelled() => Joined::Waits(trip.clone()),
                _ => Joined::Asks {
                    need,
                    wanted: self.bucket.wanted(rate, now_us, need),
                    trip: self.begin_trip(),
                },
            },
        }
    }
}

/// A request that waits for the store: what it needs is asked for together with what others need.
struct Waiting {
    inner: Arc<LimitsInner>,
    key: BucketKey,
    cost: u32,
}

impl Waiting {
    fn begin(inner: &Arc<LimitsInner>, key: &BucketKey, cost: u32) -> Self {
        inner.buckets.with(key, |known| known.bucket.begin_waiting(cost));
        Self {
            inner: Arc::clone(inner),
            key: key.clone(),
            cost,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let cost = self.cost;
        self.inner
            .buckets
            .with(&self.key, |known| known.bucket.end_waiting(cost));
    }
}

#[cfg(test)]
#[path = "limits/limits_tests.rs"]
mod tests;
