//! Membership, by a clock that the tests move.

use futures::poll;
use tokio::time::advance;

use super::*;
use crate::store::StoreError;
use crate::store::memory::MemoryStore;

fn member(name: &str) -> Membership {
    let node = NodeId::parse(name).expect("a name");
    Membership::new(node, "http://127.0.0.1:3000")
}

/// Renews once a second, for so long.
async fn renewed_for(members: &[&Membership], store: &MemoryStore, time: Duration) {
    for _ in 0..time.as_secs() {
        advance(LEASE_RENEWAL).await;
        for member in members {
            assert_eq!(member.renew(store).await.expect("a store"), None);
        }
    }
}

/// Seconds in which the store refuses to renew anything.
async fn refused_for(members: &[&Membership], time: Duration) {
    for _ in 0..time.as_secs() {
        advance(LEASE_RENEWAL).await;
        for member in members {
            member.note_failure(Some(&StoreError::Unreachable("it takes no writes".into())));
        }
    }
}

fn trusts(member: &Membership, read_ms: u64) -> bool {
    member.looked_ms.store(monotonic_ms(), Ordering::Release);
    member
        .trusts_since_ms(monotonic_ms())
        .is_some_and(|since| read_ms >= since)
}

/// F5: A Redis that can be read and not written lets all leases end. Nobody is thought dead for it, neither
/// then nor as soon as it can be written again.
#[tokio::test(start_paused = true)]
async fn nobody_is_thought_dead_while_leases_cannot_be_renewed_nor_for_five_seconds_after() {
    let (store, a, b) = (MemoryStore::new(), member("a"), member("b"));
    for member in [&a, &b] {
        member.join(&store).await.expect("a lease");
        assert!(!member.can_judge(), "what was before it started it does not know");
    }
    renewed_for(&[&a, &b], &store, PATIENCE).await;
    assert!(a.can_judge());
    refused_for(&[&a, &b], Duration::from_secs(1)).await;
    assert!(!a.can_judge(), "from the first failure on");
    refused_for(&[&a, &b], Duration::from_secs(5)).await;
    let known = store.nodes().await.expect("a store");
    assert!(
        known.len() == 2 && known.iter().all(|known| !known.lives),
        "{known:?}"
    );
    assert_eq!(a.dead(&store).await.expect("a store"), []);
    // The first to renew sees all others among the dead.
    renewed_for(&[&a], &store, Duration::from_secs(1)).await;
    assert!(!a.lives(b.node()) && !a.can_judge());
    renewed_for(&[&a, &b], &store, Duration::from_secs(4)).await;
    assert!(!a.can_judge());
    renewed_for(&[&a, &b], &store, Duration::from_secs(1)).await;
    assert!(a.can_judge() && a.lives(b.node()));
}

/// When the store's clock steps forward, or a replica takes over whose clock is ahead, all leases have ended.
#[tokio::test(start_paused = true)]
async fn nobody_is_thought_dead_when_the_stores_clock_has_stepped() {
    let (store, a, b) = (MemoryStore::new(), member("a"), member("b"));
    for member in [&a, &b] {
        member.join(&store).await.expect("a lease");
    }
    renewed_for(&[&a, &b], &store, PATIENCE).await;
    renewed_for(&[&a], &store, Duration::from_secs(4)).await;
    let nodes = [b.node().clone()];
    assert_eq!(a.dead_among(&store, &nodes).await.expect("a store"), nodes);
    for step in [3_600_000, -3_600_000] {
        renewed_for(&[&a], &store, PATIENCE).await;
        assert_eq!(a.dead(&store).await.expect("a store"), nodes);
        store.step_clock(step);
        assert_eq!(a.dead(&store).await.expect("a store"), [], "a step of {step} ms");
        assert!(!a.can_judge());
    }
}

#[tokio::test(start_paused = true)]
async fn renewals_that_were_held_up_count_as_an_outage_though_none_failed() {
    let (store, a) = (MemoryStore::new(), member("a"));
    a.join(&store).await.expect("a lease");
    renewed_for(&[&a], &store, PATIENCE).await;
    assert!(a.can_judge());
    advance(Duration::from_millis(2_500)).await;
    assert_eq!(a.renew(&store).await.expect("a store"), None);
    assert!(!a.can_judge());
    renewed_for(&[&a], &store, PATIENCE).await;
    a.doubt();
    assert!(!a.can_judge(), "who lives could not be asked");
}

/// F5: The renewal tells of a store that answers and takes no writes.
#[tokio::test(start_paused = true)]
async fn the_pulse_is_the_renewal_and_tells_for_how_long_it_fails() {
    let (store, a) = (MemoryStore::new(), member("a"));
    a.join(&store).await.expect("a lease");
    assert!(a.store_health().writable && a.store_health().answers);
    assert_eq!(a.store_health().away_for, Duration::ZERO);
    refused_for(&[&a], Duration::from_secs(4)).await;
    let health = a.store_health();
    assert!(!health.writable && health.answers);
    assert_eq!(health.away_for, Duration::from_secs(4));
    renewed_for(&[&a], &store, Duration::from_secs(1)).await;
    assert!(a.store_health().writable);
}

/// Finding 15: a node whose lease has ended trusts no copy before it has a lease, and none from before.
#[tokio::test(start_paused = true)]
async fn copies_are_trusted_only_while_the_lease_they_were_read_under_lasts() {
    let (store, a) = (MemoryStore::new(), member("a"));
    assert!(!trusts(&a, monotonic_ms()), "it has no lease yet");
    a.join(&store).await.expect("a lease");
    let read_ms = monotonic_ms();
    assert!(trusts(&a, read_ms));
    advance(LEASE_TTL - Duration::from_millis(1)).await;
    assert!(trusts(&a, read_ms));
    advance(Duration::from_millis(1)).await;
    assert!(!trusts(&a, monotonic_ms()));
    assert_eq!(a.renew(&store).await.expect("a store"), None);
    assert!(!trusts(&a, read_ms), "others may have taken it off the session");
    assert!(trusts(&a, monotonic_ms()));
}

/// Finding 15: a node that was paused trusts nothing that it read before: it may not have received yet what
/// was sent meanwhile, and the sender has not waited.
#[tokio::test(start_paused = true)]
async fn a_node_that_was_held_up_reads_its_copies_again() {
    let (store, a) = (MemoryStore::new(), Arc::new(member("a")));
    a.join(&store).await.expect("a lease");
    let mut watch = Box::pin(Arc::clone(&a).watch());
    assert!(poll!(&mut watch).is_pending());
    let read_ms = monotonic_ms();
    for _ in 0..20 {
        advance(STALL_LOOK_EVERY).await;
        assert!(poll!(&mut watch).is_pending());
        assert!(
            a.trusts_since_ms(monotonic_ms())
                .is_some_and(|since| since <= read_ms)
        );
    }
    // The request comes first, then the watch.
    advance(Duration::from_millis(400)).await;
    assert_eq!(a.trusts_since_ms(monotonic_ms()), None);
    assert!(poll!(&mut watch).is_pending());
    let since_ms = a.trusts_since_ms(monotonic_ms()).expect("it looks again");
    assert!(since_ms > read_ms);
}

/// F9: A second process of a name does not start. One that was killed is waited for.
#[tokio::test(start_paused = true)]
async fn a_name_belongs_to_one_process_at_a_time() {
    let (store, first) = (MemoryStore::new(), Arc::new(member("same")));
    first.join(&store).await.expect("a lease");
    let same = member("same");
    let refused = tokio::select! {
        refused = same.join(&store) => refused.expect_err("it is taken"),
        () = Arc::clone(&first).keep(Arc::new(store.clone())) => unreachable!("nobody has taken its name"),
    };
    let words = refused.to_string();
    assert!(
        words.contains("same (NODE_ID)") && words.contains("http://127.0.0.1:3000"),
        "{words}"
    );

    let (started, second) = (Instant::now(), member("same"));
    second
        .join(&store)
        .await
        .expect("the former life's lease has ended");
    assert!(started.elapsed() <= LEASE_TTL);
    // Should the first only have been paused, it finds that out, and stops.
    Arc::clone(&first).keep(Arc::new(store.clone())).await;
    assert!(matches!(first.displaced(), Some(JoinError::Taken { .. })));
    assert!(!first.can_judge());
}

/// M11: The store's clock counts, and not the machine's.
#[tokio::test(start_paused = true)]
async fn the_clock_is_the_stores() {
    let (store, a) = (MemoryStore::new(), member("a"));
    a.clock().set(1_000);
    a.join(&store).await.expect("a lease");
    assert!(a.clock().now_ms() > 1_700_000_000_000);
}
