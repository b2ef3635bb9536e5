//! Redis goes away and comes back.

use std::time::Duration;

use anynode::config::StoreSettings;
use anynode::session::{NodeId, SessionId};
use anynode::store::redis::RedisStore;
use anynode::store::{NodeMessage, NodeStore, Received, Recipients, SessionStore, StoreError};
use tokio::sync::broadcast::Receiver;
use tokio::time::{Instant, sleep, timeout};

use super::settings;
use crate::support::process::until;
use crate::support::redis::Redis;

fn quick() -> StoreSettings {
    StoreSettings {
        timeout: Duration::from_secs(1),
        ..settings()
    }
}

async fn hear(heard: &mut Receiver<Received>) -> Received {
    let next = timeout(Duration::from_secs(30), heard.recv()).await;
    next.expect("something must be heard")
        .expect("the ring stays open")
}

async fn hear_message(heard: &mut Receiver<Received>) -> String {
    loop {
        if let Received::Message(message) = hear(heard).await {
            return message.to_string();
        }
    }
}

async fn answers(store: &RedisStore) -> bool {
    store
        .touch(&SessionId::generate(), 1, Duration::from_secs(9))
        .await
        .is_ok()
}

async fn assert_that_calls_fail_quickly(store: &RedisStore) {
    let started = Instant::now();
    for _ in 0..20 {
        let failed = store.load(&SessionId::generate(), None).await;
        assert!(matches!(failed, Err(StoreError::Unreachable(_))), "{failed:?}");
    }
    // Twenty waits for the timeout of a second would be twenty seconds.
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
}

fn again() -> NodeMessage {
    NodeMessage::Task { task: "again".into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_of_redis_everything_resumes_and_listeners_hear_of_the_gap() {
    let redis = Redis::start().await;
    let store = RedisStore::connect(&redis.url(), &quick())
        .await
        .expect("Redis is there");
    assert!(!store.subscribed());
    let me = NodeId::parse("me").expect("a node id");
    let mut heard = store.listen(&me).await.expect("Redis answers");
    assert!(store.subscribed());

    redis.kill().await;
    assert_eq!(hear(&mut heard).await, Received::Disconnected);
    assert!(!store.subscribed());
    assert_that_calls_fail_quickly(&store).await;

    redis.run().await;
    // Its memory is empty, so this also shows that scripts are loaded again.
    until("the store works again", async || answers(&store).await).await;
    until("messages are heard again", async || store.subscribed()).await;
    assert_eq!(hear(&mut heard).await, Received::Gap);
    store
        .send(Recipients::One(&me), &again())
        .await
        .expect("Redis answers");
    assert_eq!(hear_message(&mut heard).await, again().encode());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_falls_silent_is_noticed_and_one_that_wakes_is_used_again() {
    let redis = Redis::start().await;
    let store = RedisStore::connect(&redis.url(), &quick())
        .await
        .expect("Redis is there");
    let me = NodeId::parse("me").expect("a node id");
    let mut heard = store.listen(&me).await.expect("Redis answers");

    redis.pause();
    let started = Instant::now();
    let failed = store.ping().await;
    assert!(matches!(failed, Err(StoreError::Unreachable(_))), "{failed:?}");
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "a command is bounded by its timeout"
    );
    assert_eq!(
        hear(&mut heard).await,
        Received::Disconnected,
        "silence must be noticed"
    );
    assert!(started.elapsed() < Duration::from_secs(10), "and soon");
    sleep(Duration::from_secs(2)).await;
    assert_that_calls_fail_quickly(&store).await;

    redis.resume();
    until("the store works again", async || answers(&store).await).await;
    until("messages are heard again", async || store.subscribed()).await;
    store
        .send(Recipients::One(&me), &again())
        .await
        .expect("Redis answers");
    assert_eq!(hear_message(&mut heard).await, again().encode());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_is_replaced() {
    let redis = Redis::start().await;
    let store = RedisStore::connect(&redis.url(), &quick())
        .await
        .expect("Redis is there");
    let me = NodeId::parse("me").expect("a node id");
    let mut heard = store.listen(&me).await.expect("Redis answers");
    redis.cli(&["client", "kill", "type", "pubsub"]);
    redis.cli(&["client", "kill", "type", "normal"]);
    assert_eq!(hear(&mut heard).await, Received::Disconnected);
    until("messages are heard again", async || store.subscribed()).await;
    until("the store works again", async || answers(&store).await).await;
    assert_eq!(hear(&mut heard).await, Received::Gap);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_answers_at_once_and_leaves_no_connection() {
    let redis = Redis::start().await;
    let clients = || redis.cli(&["client", "list"]).lines().count();
    let own = clients();
    let store = RedisStore::connect(&redis.url(), &quick())
        .await
        .expect("Redis is there");
    assert!(clients() > own);
    store.close().await;
    assert_that_calls_fail_quickly(&store).await;
    until("closing closes connections", async || clients() == own).await;

    let dropped = RedisStore::connect(&redis.url(), &quick())
        .await
        .expect("Redis is there");
    drop(dropped);
    until("dropping closes connections", async || clients() == own).await;
}
