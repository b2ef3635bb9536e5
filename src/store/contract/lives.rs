//! What a store must do when a node is started again under its name, or twice.

use std::slice;
use std::sync::Arc;

use super::calls::{begin, in_flight, step};
use super::nodes::{lease, lease_of, renew};
use super::{LONG, SHORT, eventually, node, session};
use crate::session::LogLevel;
use crate::store::calls::{CallEnded, Inbox};
use crate::store::streams::Appended;
use crate::store::{Change, Changed, Renewed, Store};

/// While the lease of one life of a node lasts, another gets none, and is told whose it is.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn keeps_a_lease_to_one_life(store: Arc<dyn Store>) {
    let (twice, other) = (node("twice"), node("other"));
    renew(&store, &lease(&other), LONG).await;
    renew(&store, &lease(&twice), SHORT).await;
    let second = lease_of(&twice, "second");
    match store
        .lease_renew(&second, LONG)
        .await
        .expect("lease_renew must work")
    {
        Renewed::Taken { address, ends_in } => {
            assert_eq!(
                address, second.address,
                "lease_renew: it says where the other listens"
            );
            assert!(
                ends_in <= SHORT,
                "lease_renew: it says when the other ends, not {ends_in:?}"
            );
        }
        Renewed::Renewed { .. } => unreachable!("lease_renew: the lease is another life's"),
    }
    renew(&store, &lease(&twice), SHORT).await;
    eventually("the lease of a life that is not renewed must end", async || {
        let renewed = store
            .lease_renew(&second, LONG)
            .await
            .expect("lease_renew must work");
        matches!(renewed, Renewed::Renewed { .. })
    })
    .await;
    // A store may cut leases to the life of the one that is renewed.
    renew(&store, &lease(&other), LONG).await;
    match store
        .lease_renew(&second, LONG)
        .await
        .expect("lease_renew must work")
    {
        Renewed::Renewed { mut living, clock_ms } => {
            living.sort();
            assert_eq!(living, [other, twice.clone()], "lease_renew: it says who lives");
            assert!(
                clock_ms > 1_700_000_000_000,
                "lease_renew: it says what time it is"
            );
        }
        Renewed::Taken { .. } => unreachable!("lease_renew: the lease is this life's"),
    }
    let first = store.lease_renew(&lease(&twice), LONG).await;
    let first = first.expect("lease_renew must work");
    assert!(
        matches!(first, Renewed::Taken { .. }),
        "lease_renew: a life that was replaced must not come back"
    );
}

/// What a node began in a former life is its own only once it has claimed it.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn knows_a_call_of_a_former_life(store: Arc<dyn Store>) {
    let (id, again) = (session(&store).await, node("again"));
    renew(&store, &lease(&again), LONG).await;
    let name = begin(&store, &id, "call1", &again).await;
    let say = async |number| {
        let appended = store
            .append(&id, &name, "x", &again, step(&name, number), LONG)
            .await;
        appended.expect("append must work")
    };
    assert!(
        matches!(say(1).await, Appended::At { number: 1, .. }),
        "append: it is its own"
    );
    store.lease_end(&again).await.expect("lease_end must work");
    renew(&store, &lease_of(&again, "second"), LONG).await;
    assert_eq!(say(2).await, Appended::Gone, "append: it is a former life's");
    let mail = store.inbox(&id, &name, &again, &[], LONG).await;
    assert_eq!(
        mail.expect("inbox must work"),
        Inbox::Gone,
        "inbox: it is a former life's"
    );
    let ended = store
        .call_end(&id, &name, &name, Some("late"), &again, LONG)
        .await;
    assert_eq!(
        ended.expect("call_end must work"),
        CallEnded::Gone,
        "call_end: it is a former life's"
    );
    // Redis strikes it off the node when it is ended, or tries to be: who claims it is still told.
    let claimed = store.claim(&id, &name, &again, &again).await;
    assert!(
        claimed.expect("claim must work").is_some(),
        "claim: a node may claim from its former life"
    );
    assert_eq!(in_flight(&store, &again).await.len(), 1, "claim: and has it then");
    assert!(
        matches!(say(2).await, Appended::At { number: 2, .. }),
        "append: it is its own"
    );
}

/// Of two lives of a node, neither takes the other off a session that both keep: it would be told of no
/// change.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn releases_copies_of_one_life(store: Arc<dyn Store>) {
    let (id, twice) = (session(&store).await, node("twice"));
    let change = async |change| match store.change(&id, &change, LONG).await {
        Ok(Changed::Changed(nodes)) => nodes,
        other => unreachable!("change: the session is there, but it gave {other:?}"),
    };
    let load = async || {
        let loaded = store.load(&id, Some(&twice)).await.expect("load must work");
        assert!(loaded.is_some(), "load: the session is there");
    };
    let release = async || store.release(&id, &twice).await.expect("release must work");
    renew(&store, &lease(&twice), LONG).await;
    drop(change(Change::Initialized).await);
    load().await;
    store.lease_end(&twice).await.expect("lease_end must work");
    renew(&store, &lease_of(&twice, "second"), LONG).await;
    release().await;
    let told = change(Change::LogLevel(LogLevel::Info)).await;
    assert_eq!(
        told,
        slice::from_ref(&twice),
        "release: the copy is another life's"
    );
    load().await;
    release().await;
    let told = change(Change::LogLevel(LogLevel::Info)).await;
    assert_eq!(told, [], "release: the copy was its own");
}
