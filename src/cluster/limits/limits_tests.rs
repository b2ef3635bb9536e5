//! Limits of several nodes on one store that can be away, by a paused clock.

use async_trait::async_trait;
use futures::future::join_all;

use super::*;
use crate::session::{NodeId, Peer, Principal};
use crate::store::memory::MemoryStore;

/// A store that hangs, fails or works, and counts how often it was asked.
#[derive(Debug, Default)]
struct Watched {
    memory: MemoryStore,
    hangs: AtomicBool,
    fails: AtomicBool,
    asked: std::sync::atomic::AtomicUsize,
}

#[async_trait]
impl RateStore for Watched {
    async fn take(&self, bucket: &str, rate: Rate, least: u32, wanted: u32) -> Result<Granted, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        if self.fails.load(Ordering::Relaxed) {
            return Err(StoreError::Unreachable("gone".into()));
        }
        sleep(Duration::from_micros(300)).await;
        self.memory.take(bucket, rate, least, wanted).await
    }
}

/// An audit log that writes nothing.
fn silent() -> Audit {
    Audit::silent(&NodeId::generate(0))
}

fn rate(count: u32, burst: u32) -> Option<Rate> {
    Rate::new(count, Duration::from_secs(1), burst)
}

fn limits(store: &Arc<Watched>, settings: &LimitSettings) -> RateLimits {
    RateLimits::new(
        settings,
        Arc::<Watched>::clone(store),
        true,
        Supervisor::new("node"),
        silent(),
    )
}

fn of_principal(rate: Option<Rate>) -> LimitSettings {
    LimitSettings {
        principal: rate,
        ..LimitSettings::default()
    }
}

fn alice() -> LimitedBy {
    LimitedBy::Peer(Peer::Principal(Principal("alice".into())))
}

async fn ask(limits: &RateLimits, cost: u32) -> Result<(), Limited> {
    limits.admit(LimitKind::Principal, alice(), cost).await
}

/// How many of so many requests, at once, are let in.
async fn crowd(limits: &RateLimits, count: usize) -> usize {
    let all = join_all((0..count).map(|_| ask(limits, 1))).await;
    all.iter().filter(|asked| asked.is_ok()).count()
}

#[tokio::test(start_paused = true)]
async fn what_is_not_limited_asks_nothing() {
    let store = Arc::<Watched>::default();
    let off = limits(&store, &LimitSettings::default());
    assert!(!off.are_on());
    assert_eq!(off.are_local(), None);
    let on = limits(
        &store,
        &LimitSettings {
            address: rate(1, 10),
            ..LimitSettings::default()
        },
    );
    for limits in [off, on] {
        assert_eq!(crowd(&limits, 100).await, 100);
    }
    assert_eq!(store.asked.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_of_first_requests_costs_a_few_trips_and_gets_its_burst() {
    let store = Arc::<Watched>::default();
    let limits = limits(&store, &of_principal(rate(1, 200)));
    assert_eq!(crowd(&limits, 150).await, 150);
    assert!(store.asked.load(Ordering::Relaxed) <= 4);
    assert_eq!(crowd(&limits, 100).await, 50);
    let refused = ask(&limits, 1).await.unwrap_err();
    assert_eq!(refused.limit, "principal");
    assert!(
        refused.after > Duration::ZERO && refused.after <= Duration::from_secs(1),
        "{refused:?}"
    );
    sleep(refused.after).await;
    assert_eq!(ask(&limits, 1).await, Ok(()), "that was told");
}

#[tokio::test(start_paused = true)]
async fn a_busy_caller_does_not_wait_for_the_store() {
    let store = Arc::<Watched>::default();
    let limits = limits(&store, &of_principal(rate(1000, 1000)));
    let mut waited = 0;
    for _ in 0..1000 {
        let began = Instant::now();
        assert_eq!(ask(&limits, 1).await, Ok(()));
        waited += usize::from(began.elapsed() > Duration::ZERO);
        sleep(Duration::from_millis(5)).await;
    }
    assert!(waited <= 10, "{waited} of 1000 requests waited");
    let trips = store.asked.load(Ordering::Relaxed);
    assert!(trips <= 5 * 10, "{trips} trips in five seconds");
}

#[tokio::test(start_paused = true)]
async fn a_batch_takes_all_of_its_tokens_or_none() {
    let store = Arc::<Watched>::default();
    let limits = limits(&store, &of_principal(rate(1, 20)));
    assert_eq!(ask(&limits, 15).await, Ok(()));
    let refused = ask(&limits, 15).await.unwrap_err();
    assert!(refused.after > Duration::from_secs(9), "{refused:?}");
    for _ in 0..5 {
        assert_eq!(ask(&limits, 1).await, Ok(()), "five are left");
    }
    assert!(ask(&limits, 1).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_is_there_for_the_next() {
    let store = Arc::<Watched>::default();
    let limits = limits(&store, &of_principal(rate(1, 10)));
    for _ in 0..100 {
        assert_eq!(ask(&limits, 1).await, Ok(()));
        limits.give_back(LimitKind::Principal, alice(), 1);
    }
    assert_eq!(crowd(&limits, 20).await, 10);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_away_each_node_counts_for_itself() {
    for hangs in [false, true] {
        let store = Arc::<Watched>::default();
        let nodes = [(); 2].map(|()| limits(&store, &of_principal(rate(10, 20))));
        assert_eq!(crowd(&nodes[0], 5).await, 5);
        let away = if hangs { &store.hangs } else { &store.fails };
        away.store(true, Ordering::Relaxed);
        sleep(Duration::from_secs(2)).await;
        for limits in &nodes {
            assert_eq!(crowd(limits, 100).await, 20, "hangs: {hangs}");
            assert_eq!(limits.are_local(), Some(true));
            let began = Instant::now();
            assert!(ask(limits, 1).await.is_err());
            assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits for it any more");
        }
        sleep(Duration::from_secs(1)).await;
        assert_eq!(crowd(&nodes[1], 100).await, 10, "at the full rate");
        away.store(false, Ordering::Relaxed);
        sleep(Duration::from_secs(3)).await;
        assert_eq!(nodes.each_ref().map(RateLimits::are_local), [Some(false); 2]);
        let together = crowd(&nodes[0], 100).await + crowd(&nodes[1], 100).await;
        assert!((10..=20).contains(&together), "one bucket again: {together}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_alone_counts_exactly_and_asks_nobody() {
    let store = Arc::<Watched>::default();
    let settings = of_principal(rate(10, 20));
    let limits = RateLimits::new(
        &settings,
        Arc::<Watched>::clone(&store),
        false,
        Supervisor::new("node"),
        silent(),
    );
    assert_eq!(crowd(&limits, 100).await, 20);
    assert_eq!(
        ask(&limits, 1).await.unwrap_err().after,
        Duration::from_millis(100)
    );
    sleep(Duration::from_secs(1)).await;
    assert_eq!(crowd(&limits, 100).await, 10);
    assert_eq!(store.asked.load(Ordering::Relaxed), 0);
    assert_eq!(limits.are_local(), Some(false), "it is as it should be");
}

fn of_failures(failures_address: Option<Rate>, is_shared: bool) -> RateLimits {
    let settings = LimitSettings {
        failures_address,
        ..LimitSettings::default()
    };
    let store = Arc::<Watched>::default();
    RateLimits::new(&settings, store, is_shared, Supervisor::new("node"), silent())
}

#[tokio::test(start_paused = true)]
async fn wrong_credentials_are_looked_at_so_often_and_no_more() {
    for is_shared in [false, true] {
        let limits = of_failures(rate(1, 10), is_shared);
        let from = || LimitedBy::Peer(Peer::at([192, 0, 2, 1].into()));
        for _ in 0..10 {
            // Right ones count for nothing.
            assert_eq!(limits.failure(from()).await, Ok(()));
            limits.give_back(LimitKind::FailuresAddress, from(), 1);
            assert_eq!(limits.failure(from()).await, Ok(()));
        }
        let refused = limits.failure(from()).await.unwrap_err();
        assert_eq!(refused.limit, "failures_address");
        let other = LimitedBy::Peer(Peer::at([192, 0, 2, 2].into()));
        assert_eq!(limits.failure(other).await, Ok(()));
        sleep(refused.after + Duration::from_millis(1)).await;
        assert_eq!(limits.failure(from()).await, Ok(()));
    }
}

/// The token that one took is there for the next, also if that comes much later.
#[tokio::test(start_paused = true)]
async fn right_credentials_take_nothing_of_what_wrong_ones_may() {
    for is_shared in [false, true] {
        let limits = of_failures(Rate::new(1, Duration::from_secs(600), 10), is_shared);
        let from = || LimitedBy::Peer(Peer::at([192, 0, 2, 1].into()));
        for _ in 0..50 {
            assert_eq!(limits.failure(from()).await, Ok(()));
            limits.give_back(LimitKind::FailuresAddress, from(), 1);
            sleep(Duration::from_secs(2)).await;
        }
        for _ in 0..10 {
            assert_eq!(limits.failure(from()).await, Ok(()));
        }
    }
}

#[test]
fn a_key_tells_neither_names_nor_sessions() {
    let kind = LimitKind::Principal;
    let name = BucketKey { kind, of: alice() }.name();
    assert!(!name.contains("alice"), "{name}");
    let hex = name.strip_prefix("principal:").unwrap();
    assert!(
        hex.len() == 2 * DIGEST_BYTES && hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{name}"
    );
}
