//! What a store must do with changes to a session, and with those who keep copies of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use rmcp::model::{ClientCapabilities, Implementation};

use super::{LONG, node, record, session};
use crate::protocol::era::Revision;
use crate::session::SessionRecord;
use crate::session::{Introduction, LogLevel};
use crate::store::{Change, Changed, Ended, Store};

/// Each change is in the record afterwards, and nothing else has changed.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn keeps_changes(store: Arc<dyn Store>) {
    let id = session(&store).await;
    let mut expected = record();
    let odd = "note://a/\"b\"\\ü?c=d&e".to_owned();
    let introduction = Introduction {
        revision: Revision::V2024_11_05,
        client_info: Implementation::new("newcomer \"ünï\"", "2"),
        capabilities: ClientCapabilities::default(),
        agent: "newcomer/2".into(),
    };
    let changes = [
        Change::Introduced(Box::new(introduction)),
        Change::Initialized,
        Change::LogLevel(LogLevel::Error),
        Change::Subscribe(odd.clone()),
        Change::Subscribe(odd.clone()),
        Change::Unsubscribe("note://first".into()),
        Change::Unsubscribe("note://never".into()),
        Change::LogLevel(LogLevel::Debug),
        Change::Unsubscribe(odd.clone()),
    ];
    for change in changes {
        match &change {
            Change::Initialized => expected.initialized = true,
            Change::Introduced(introduction) => {
                expected.revision = introduction.revision;
                expected.client_info = introduction.client_info.clone();
                expected.capabilities = introduction.capabilities.clone();
                expected.agent.clone_from(&introduction.agent);
            }
            Change::LogLevel(level) => expected.log_level = Some(*level),
            Change::Subscribe(uri) => drop(expected.subscriptions.insert(uri.clone())),
            Change::Unsubscribe(uri) => drop(expected.subscriptions.remove(uri)),
        }
        let changed = store.change(&id, &change, LONG).await.expect("change must work");
        assert_eq!(
            changed,
            Changed::Changed(vec![]),
            "change: the session is there, and nobody keeps it"
        );
        let read = store.load(&id, None).await.expect("load must work");
        assert_eq!(
            read.as_ref(),
            Some(&expected),
            "change: {change:?} must change that and nothing else"
        );
    }
}

/// Subscriptions are a set, of bounded size.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn bounds_subscriptions(store: Arc<dyn Store>) {
    let id = session(&store).await;
    let uri = |n: usize| format!("note://{n}");
    let subscribe = async |n| {
        let change = Change::Subscribe(uri(n));
        store.change(&id, &change, LONG).await.expect("change must work")
    };
    // The record starts with one.
    for n in 1..SessionRecord::SUBSCRIPTIONS_MAX {
        let changed = subscribe(n).await;
        assert_eq!(
            changed,
            Changed::Changed(vec![]),
            "change: subscription {n} must fit"
        );
    }
    let full = "change: a subscription beyond SessionRecord::SUBSCRIPTIONS_MAX must be refused as Full";
    assert_eq!(
        subscribe(SessionRecord::SUBSCRIPTIONS_MAX).await,
        Changed::Full,
        "{full}"
    );
    let known = "change: what is subscribed to already takes no room";
    assert_eq!(subscribe(1).await, Changed::Changed(vec![]), "{known}");
    let read = store
        .load(&id, None)
        .await
        .expect("load must work")
        .expect("the session is there");
    assert_eq!(
        read.subscriptions.len(),
        SessionRecord::SUBSCRIPTIONS_MAX,
        "change: what was refused must not be kept"
    );
    let change = Change::Unsubscribe(uri(1));
    let changed = store.change(&id, &change, LONG).await.expect("change must work");
    assert_eq!(changed, Changed::Changed(vec![]), "change: the session is there");
    let room = "change: after one has left there is room for one";
    assert_eq!(
        subscribe(SessionRecord::SUBSCRIPTIONS_MAX).await,
        Changed::Changed(vec![]),
        "{room}"
    );
}

/// A node that loads an initialized session is named as one that keeps a copy, once, until it releases it.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn knows_who_keeps_copies(store: Arc<dyn Store>) {
    let id = session(&store).await;
    let load = async |name| {
        let loaded = store.load(&id, Some(&node(name))).await.expect("load must work");
        assert!(loaded.is_some(), "load: the session is there");
    };
    let copies = async |change: Change| match store.change(&id, &change, LONG).await {
        Ok(Changed::Changed(nodes)) => {
            let set: BTreeSet<_> = nodes.iter().cloned().collect();
            assert_eq!(
                set.len(),
                nodes.len(),
                "change: each node that keeps a copy must be named once: {nodes:?}"
            );
            set
        }
        other => panic_with(&format!("change: the session is there, but it gave {other:?}")),
    };
    load("early").await;
    let told = copies(Change::Initialized).await;
    assert!(
        told.is_empty(),
        "load: nobody keeps a session that is not initialized, but {told:?} does"
    );
    for name in ["b.1", "a", "b.1"] {
        load(name).await;
    }
    let told = copies(Change::LogLevel(LogLevel::Info)).await;
    assert_eq!(
        told,
        [node("a"), node("b.1")].into(),
        "change must tell all who loaded the session"
    );
    store.release(&id, &node("a")).await.expect("release must work");
    store
        .release(&id, &node("stranger"))
        .await
        .expect("release: a stranger is no error");
    let told = copies(Change::LogLevel(LogLevel::Info)).await;
    assert_eq!(told, [node("b.1")].into(), "release must take one node away");
    let ended = store.end(&id, None).await.expect("end must work");
    assert_eq!(
        ended,
        Ended::Ended(vec![node("b.1")]),
        "end must tell who kept the session"
    );
}

#[expect(clippy::panic, reason = "it is a test: a store that fails must stop it")]
fn panic_with(message: &str) -> ! {
    panic!("{message}")
}
