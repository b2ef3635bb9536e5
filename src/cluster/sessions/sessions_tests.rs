//! Sessions through one node, by clocks that the tests move.

use rmcp::model::ClientCapabilities;
use tokio::time::advance;

use super::*;
use crate::cluster::registry::VERIFY_EVERY_MS;
use crate::protocol::era::Revision;
use crate::session::{Introduction, Peer, TransportKind};
use crate::store::SessionStore as _;
use crate::store::memory::MemoryStore;

const LIFETIME: Duration = Duration::from_secs(120);

fn record(created_at_ms: u64) -> SessionRecord {
    SessionRecord {
        revision: Revision::NEWEST_LEGACY,
        transport: TransportKind::Streamable,
        client_info: Introduction::missing().client_info,
        capabilities: ClientCapabilities::default(),
        initialized: true,
        created_at_ms,
        last_activity_ms: created_at_ms,
        node_id: NodeId::parse("a").unwrap(),
        principal: Principal::anonymous(),
        log_level: None,
        subscriptions: [].into(),
        agent: String::new(),
    }
}

/// A node with a lease, and its store.
async fn node() -> (Sessions, Arc<Membership>, MemoryStore) {
    let (store, node) = (MemoryStore::new(), NodeId::parse("a").unwrap());
    let membership = Arc::new(Membership::new(node, ""));
    membership.join(&store).await.unwrap();
    let mut settings = Settings::default();
    settings.session.lifetime = LIFETIME;
    settings.session.ttl = LIFETIME * 10;
    let sessions = Sessions::new(
        Arc::new(store.clone()),
        Arc::clone(&membership),
        &settings,
        Supervisor::new("a"),
        Audit::silent(membership.node()),
    );
    (sessions, membership, store)
}

/// M11: The store's clock is five hours away from this machine's. It is the one that counts.
#[tokio::test(start_paused = true)]
async fn a_lifetime_ends_by_the_clock_of_the_store() {
    let (sessions, membership, _store) = node().await;
    for (ahead, hours) in [(true, 5), (false, 5)] {
        let (here, away) = (unix_ms_here(), hours * 60 * 60 * 1000);
        let there = if ahead { here + away } else { here - away };
        membership.clock().set(there);
        let id = sessions.open(&record(there), &Peer::Unknown).await.unwrap();
        let find = async || sessions.find(&id, &Principal::anonymous()).await;
        advance(LIFETIME - Duration::from_secs(1)).await;
        assert!(find().await.is_ok());
        advance(Duration::from_secs(1)).await;
        assert!(matches!(find().await, Err(SessionError::NotFound)));
    }
}

fn unix_ms_here() -> u64 {
    Clock::of_this_machine().now_ms()
}

/// Finding 16: Ages are measured by the monotonic clock: this one moves, and the machine's does not.
#[tokio::test(start_paused = true)]
async fn copies_age_by_the_monotonic_clock() {
    let (sessions, membership, store) = node().await;
    let id = sessions
        .open(&record(membership.clock().now_ms()), &Peer::Unknown)
        .await
        .unwrap();
    let find = async || sessions.find(&id, &Principal::anonymous()).await;
    assert!(find().await.is_ok());
    // Gone from the store, and nobody has sent a message.
    let ended = store.end(&id, None).await.unwrap();
    assert!(matches!(ended, Ended::Ended(_)));
    for second in 0..VERIFY_EVERY_MS / 1000 {
        membership.looked_now();
        assert!(find().await.is_ok(), "{second}");
        advance(Duration::from_secs(1)).await;
        membership.renewed_now(&store).await;
    }
    membership.looked_now();
    assert!(matches!(find().await, Err(SessionError::NotFound)));
}

/// What is dropped to make room is read again when it is asked for.
#[tokio::test(start_paused = true)]
async fn a_node_keeps_so_many_sessions_and_reads_the_others_again() {
    const KEPT_MAX: usize = 128;
    let (store, node) = (MemoryStore::new(), NodeId::parse("a").unwrap());
    let membership = Arc::new(Membership::new(node, ""));
    membership.join(&store).await.unwrap();
    let mut settings = Settings::default();
    settings.session.kept_max = KEPT_MAX;
    let sessions = Sessions::new(
        Arc::new(store),
        Arc::clone(&membership),
        &settings,
        Supervisor::new("a"),
        Audit::silent(membership.node()),
    );
    let mut ids = Vec::new();
    for _ in 0..KEPT_MAX * 4 {
        let record = record(membership.clock().now_ms());
        ids.push(sessions.open(&record, &Peer::Unknown).await.unwrap());
    }
    for id in ids.iter().chain(&ids) {
        assert!(sessions.find(id, &Principal::anonymous()).await.is_ok());
        assert!(sessions.kept() <= KEPT_MAX, "{} are kept", sessions.kept());
    }
}
