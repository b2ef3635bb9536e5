//! What is counted in Redis is what is there, however making it ends.

use std::time::Duration;

use anynode::config::StoreSettings;
use anynode::session::state::{StateRoom, StateScope, StateStore};
use anynode::session::{NodeId, Principal, SessionId, SessionRecord};
use anynode::store::redis::RedisStore;
use anynode::store::{Created, SessionRoom, SessionStore, StoreError, WhyRefused};

use super::settings;
use crate::support::process::until;
use crate::support::redis::Redis;
use crate::support::redis::rights::USER;
use crate::support::redis::topology::RedisCluster;

const LIFE: Duration = Duration::from_secs(60);
/// Room for one of each kind.
const ROOM: SessionRoom<'static> = SessionRoom {
    sessions_max: 1,
    peer: "peer",
    peer_max: 1,
    peer_uninitialized_max: 1,
};

fn record() -> SessionRecord {
    SessionRecord {
        revision: anynode::Revision::V2025_06_18,
        transport: anynode::session::TransportKind::Streamable,
        client_info: serde_json::from_str(r#"{"name":"test","version":"1"}"#).expect("it is well-formed"),
        capabilities: serde_json::from_str("{}").expect("it is well-formed"),
        initialized: false,
        created_at_ms: 1,
        last_activity_ms: 1,
        node_id: NodeId::parse("maker").expect("a node id"),
        principal: Principal::anonymous(),
        log_level: None,
        subscriptions: [].into(),
        agent: String::new(),
    }
}

async fn make_session(store: &RedisStore) -> Result<Created, StoreError> {
    store.create(&SessionId::generate(), &record(), LIFE, &ROOM).await
}

async fn open_notebook(store: &RedisStore, handle: &str) -> bool {
    let owner = Principal::anonymous();
    let (scope, room) = (
        StateScope::Notebook(handle.into()),
        StateRoom {
            peer: "peer",
            peer_max: 1,
        },
    );
    let opened = store.state_open(&scope, &owner, LIFE, room).await;
    opened.is_ok()
}

/// A store whose keys are known.
async fn store_of(url: &str) -> RedisStore {
    let settings = StoreSettings {
        prefix: "it-t:".into(),
        timeout: Duration::from_secs(1),
        ..settings()
    };
    RedisStore::connect(url, &settings).await.expect("Redis is there")
}

/// What Redis refuses was not made, and takes no place of what is made later.
async fn assert_that_refused_ones_take_no_place(on: &[&str], off: &[&str], why: WhyRefused) {
    let redis = Redis::start().await;
    let store = store_of(&redis.url()).await;
    redis.command(on).await;
    for n in 0..3 {
        let refused = make_session(&store).await;
        assert!(
            matches!(&refused, Err(StoreError::Refused { why: told, .. }) if *told == why),
            "{refused:?}"
        );
        assert!(!open_notebook(&store, &n.to_string()).await);
    }
    redis.command(off).await;
    let made = make_session(&store).await;
    assert!(matches!(made, Ok(Created::Created)), "{made:?}");
    assert!(open_notebook(&store, "a").await, "no notebook was opened before");
    assert!(!open_notebook(&store, "b").await, "there is room for one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_redis_refuses_takes_no_place() {
    let set = |bytes| ["CONFIG", "SET", "maxmemory", bytes];
    assert_that_refused_ones_take_no_place(&set("1"), &set("0"), WhyRefused::Full).await;
}

/// Here only the sets can be written.
#[tokio::test(flavor = "multi_thread")]
async fn what_could_be_counted_and_not_be_made_takes_no_place() {
    let user = ["ACL", "SETUSER", USER, "resetkeys"];
    let on = [&user[..], &["~it-t:sessions", "~it-t:peer-*"]].concat();
    let off = [&user[..], &["~*"]].concat();
    assert_that_refused_ones_take_no_place(&on, &off, WhyRefused::NotPermitted).await;
}

/// The sets of all sessions are in one slot of a cluster. While that is not served, sessions in others can be
/// opened.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_opened_while_the_slot_that_counts_them_is_not_served() {
    let cluster = RedisCluster::start(0).await;
    let servers = cluster.servers();
    let store = store_of(&cluster.url()).await;
    let slot = servers[0].cli(&["cluster", "keyslot", "it-t:sessions"]);
    for server in servers {
        server.cli(&["config", "set", "cluster-require-full-coverage", "no"]);
    }
    for server in servers {
        server.cli(&["cluster", "delslots", &slot]);
    }
    // There is room for one only, if they are counted.
    for _ in 0..2 {
        until("a session is opened", async || {
            matches!(make_session(&store).await, Ok(Created::Created))
        })
        .await;
    }
}
