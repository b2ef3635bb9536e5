//! Both stores keep one contract, and Redis may be set up, lost and found in any way. In Redis the store is the
//! user that deploy/README.md recommends (`support/redis/rights.rs`).

#![expect(
    clippy::expect_used,
    reason = "a test's helpers fail as the test itself would: at once, with words"
)]

mod connecting;
mod crowds;
mod failover;
mod outage;
mod rights;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anynode::Settings;
use anynode::config::StoreSettings;
use anynode::session::state::{Expected, StateError, StateRoom, StateScope, StateStore, Swapped};
use anynode::session::{Life, NodeId, Principal};
use anynode::store::memory::MemoryStore;
use anynode::store::redis::RedisStore;
use anynode::store::{Lease, NodeStore, Renewed, Store, contract};

use crate::support::process::until;
use crate::support::redis::Redis;
use crate::support::redis::topology::RedisCluster;

/// Settings with a prefix that no other test has.
fn settings() -> StoreSettings {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    StoreSettings {
        prefix: format!("it{}:", NEXT.fetch_add(1, Ordering::Relaxed)),
        timeout: Duration::from_secs(5),
        ..Settings::default().store
    }
}

async fn connect(url: &str) -> RedisStore {
    RedisStore::connect(url, &settings())
        .await
        .expect("Redis is there")
}

async fn keeps_the_contract(url: &str) {
    contract::run(async || connect(url).await).await;
}

/// Every key of a server must end by itself.
fn assert_that_all_keys_end(redis: &Redis) {
    let keys = redis.cli(&["--scan"]);
    assert!(!keys.is_empty(), "the suite leaves keys behind");
    for key in keys.lines() {
        let ttl: i64 = redis.cli(&["pttl", key]).parse().expect("PTTL is a number");
        assert!(ttl != -1, "{key} has no TTL");
    }
}

#[tokio::test]
async fn the_memory_store_keeps_the_contract() {
    contract::run(async || MemoryStore::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_the_contract_and_every_key_ends_by_itself() {
    let redis = Redis::start().await;
    keeps_the_contract(&redis.url()).await;
    assert_that_all_keys_end(&redis);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_the_contract_and_every_key_ends_by_itself() {
    let cluster = RedisCluster::start(0).await;
    keeps_the_contract(&cluster.url()).await;
    cluster.servers().iter().for_each(assert_that_all_keys_end);
    let report = connect(&cluster.url())
        .await
        .report()
        .await
        .expect("the cluster answers");
    assert_eq!(report.topology, "cluster");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_to_another_node_of_the_cluster_is_followed() {
    let cluster = RedisCluster::start(0).await;
    let nodes = cluster.servers();
    let store = connect(&cluster.url()).await;
    let handle = "moving";
    let principal = Principal("alice".into());
    let keys = async || {
        let key = format!("{}notebook:{handle}", store_prefix(nodes));
        (nodes[0].cli(&["cluster", "keyslot", &key]), key)
    };
    let scope = StateScope::Notebook(handle.into());
    let room = StateRoom {
        peer: "peer",
        peer_max: 1000,
    };
    let first = store
        .state_open(&scope, &principal, Duration::from_secs(60), room)
        .await;
    first.expect("the cluster answers");
    let (slot, key) = keys().await;
    for node in nodes.iter().chain(&nodes[..1]) {
        // An empty slot can be handed over in one step. The client still believes in the former owner.
        for node in nodes {
            node.cli(&["del", &key]);
        }
        let id = node.cli(&["cluster", "myid"]);
        // The newest epoch wins when nodes disagree: without it gossip may give the slot back.
        node.cli(&["cluster", "bumpepoch"]);
        for other in nodes {
            assert_eq!(other.cli(&["cluster", "setslot", &slot, "node", &id]), "OK");
        }
        // The nodes' gossip may move the slot to and fro for a moment, longer than a command follows it.
        until("MOVED is followed", async || {
            let opened = store
                .state_open(&scope, &principal, Duration::from_secs(60), room)
                .await;
            matches!(opened, Ok(()) | Err(StateError::Contended))
        })
        .await;
        let swapped = store.state_swap(&scope, "k", Expected::Absent, Some("1")).await;
        assert!(matches!(swapped, Ok(Swapped::Done(None))), "{swapped:?}");
        assert_eq!(node.cli(&["exists", &key]), "1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_session_has_ended_no_key_and_no_field_names_it() {
    let redis = Redis::start().await;
    let store: Arc<dyn Store> = Arc::new(connect(&redis.url()).await);
    contract::leaves_nothing_behind(Arc::clone(&store)).await;
    let keys = redis.cli(&["--scan"]);
    // Sets that count are beside all sessions, and name those that are there.
    let keys_of_one = keys.lines().filter(|key| !key.contains("sessions"));
    let (beside, own): (Vec<_>, Vec<_>) = keys_of_one.partition(|key| key.contains('{'));
    // One session is still there, with a call in flight.
    let sessions: Vec<_> = own.iter().filter(|key| key.contains("session:")).collect();
    assert_eq!(sessions.len(), 1, "{keys}");
    assert_eq!(beside.len(), 2, "its calls and one log: {keys}");
    let tag = format!("{{{}}}", sessions[0]);
    assert!(beside.iter().all(|key| key.contains(&tag)), "{keys}");
    let named = own.iter().find(|key| key.ends_with("node-calls:me"));
    let named = redis.cli(&["hkeys", named.expect("a call is in flight")]);
    let id = sessions[0].rsplit_once(':').expect("an id").1;
    assert_eq!(named, format!("{id}/call1"), "{keys}");
    for set in keys.lines().filter(|key| key.contains("sessions")) {
        assert_eq!(redis.cli(&["zrange", set, "0", "-1"]), id, "{set}");
    }
}

/// The prefix of the only store that wrote into this cluster.
fn store_prefix(nodes: &[Redis]) -> String {
    let keys: String = nodes
        .iter()
        .map(|node| node.cli(&["--scan", "--pattern", "*notebook:*"]))
        .collect();
    keys.split_once("notebook:")
        .expect("there is a notebook")
        .0
        .to_owned()
}

/// When the clock of Redis steps back, or a replica takes over whose clock is behind, leases would last longer
/// by that, and a node that has died would live on.
#[tokio::test(flavor = "multi_thread")]
async fn no_lease_outlasts_its_life_when_the_clock_steps_back() {
    const LIFE: Duration = Duration::from_secs(1);
    let redis = Redis::start().await;
    let settings = settings();
    let store = RedisStore::connect(&redis.url(), &settings)
        .await
        .expect("Redis is there");
    let lease = |node| Lease {
        node: NodeId::parse(node).expect("a node id"),
        life: Life::generate(),
        address: String::new(),
        version: String::new(),
        started_ms: 0,
    };
    let [dead, living, next] = ["dead", "living", "dead"].map(lease);
    assert!(matches!(
        store.lease_renew(&dead, LIFE).await,
        Ok(Renewed::Renewed { .. })
    ));
    let leases = format!("{}nodes", settings.prefix);
    let own = format!("{}node:dead", settings.prefix);
    redis.cli(&["zincrby", &leases, "3600000", "dead"]);
    redis.cli(&["pexpire", &own, "3600000"]);
    until("the dead node is dead", async || {
        let renewed = store.lease_renew(&living, LIFE).await;
        matches!(renewed, Ok(Renewed::Renewed { living, .. }) if living.len() == 1)
    })
    .await;
    until("its name is free again", async || {
        let renewed = store.lease_renew(&next, LIFE).await;
        matches!(renewed, Ok(Renewed::Renewed { .. }))
    })
    .await;
}
