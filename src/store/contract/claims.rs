//! What a store must do so that the calls of a dead node go on elsewhere, each at one node only.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::calls::{begin, call, in_flight, step};
use super::{LONG, NEW, holder, node, session};
use crate::session::NodeId;
use crate::store::Store;
use crate::store::calls::{Begun, CallEnded, CallRecord};
use crate::store::streams::{Appended, Step, StreamId};

/// How many claim one call at once.
const CLAIMERS: usize = 16;

fn claimer(n: usize) -> NodeId {
    node(&format!("claimer-{n}"))
}

/// Of those that claim a call at once, one gets it, with all that is needed to run it.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn lets_one_claim(store: Arc<dyn Store>) {
    let (id, old) = (session(&store).await, node("old"));
    let name = begin(&store, &id, "call1", &old).await;
    let mut claimers = JoinSet::new();
    for n in 0..CLAIMERS {
        let (store, id, name, old) = (Arc::clone(&store), id.clone(), name.clone(), old.clone());
        claimers.spawn(async move {
            let claimed = store.claim(&id, &name, &old, &claimer(n)).await;
            claimed.expect("claim must work")
        });
    }
    let won: Vec<_> = claimers.join_all().await.into_iter().flatten().collect();
    let [claimed] = won.as_slice() else {
        unreachable!("claim: one of {CLAIMERS} must get the call, not {}", won.len());
    };
    let new = claimed.node.clone();
    assert_eq!(
        *claimed,
        call("call1", &new),
        "claim: all of the record, and the new node"
    );
    let left = in_flight(&store, &old).await;
    assert!(left.is_empty(), "claim: the old node has it no longer");
    for n in 0..CLAIMERS {
        let has = usize::from(claimer(n) == new);
        assert_eq!(
            in_flight(&store, &claimer(n)).await.len(),
            has,
            "claim: only one has it"
        );
    }
    let own = store
        .claim(&id, &name, &new, &new)
        .await
        .expect("claim must work");
    assert_eq!(
        own.as_ref(),
        Some(claimed),
        "claim: a node may claim from its former life"
    );
    assert_eq!(in_flight(&store, &new).await.len(), 1, "claim: and has it still");
}

/// The same on a standing stream, to which other calls and nodes may go on writing.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn silences_the_former_node_on_a_standing_stream(store: Arc<dyn Store>) {
    let (id, [old, new], sse) = (session(&store).await, ["old", "new"].map(node), StreamId::sse());
    let shared = CallRecord {
        stream: sse.clone(),
        ..call("call1", &old)
    };
    let begun = store.call_begin(&id, &shared, NEW, None, LONG).await;
    assert_eq!(begun.expect("call_begin must work"), Begun::Begun);
    let say = async |step: Option<Step<'_>>, by: &NodeId| {
        let appended = store.append(&id, &sse, "x", by, step, LONG).await;
        appended.expect("append must work")
    };
    let at = |number| Appended::At { number, holder: None };
    let nth = |number| step(&shared.name, number);
    assert_eq!(say(nth(1), &old).await, at(1), "append: the call is its own");
    let claimed = store.claim(&id, &shared.name, &old, &new).await;
    assert!(claimed.expect("claim must work").is_some());
    let late = say(nth(2), &old).await;
    assert_eq!(late, Appended::Gone, "append: the call is another node's by now");
    assert_eq!(say(nth(2), &new).await, at(2), "append: nothing late was written");
    assert_eq!(
        say(None, &old).await,
        at(3),
        "append: what no call sends is for all"
    );
}

/// Once a call was claimed, only the new node may write to it, and end it.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn silences_the_former_node(store: Arc<dyn Store>) {
    let (id, [old, new]) = (session(&store).await, ["old", "new"].map(node));
    let name = begin(&store, &id, "call1", &old).await;
    let claimed = store
        .claim(&id, &name, &old, &new)
        .await
        .expect("claim must work");
    assert!(claimed.is_some(), "claim: the call is there");
    let late = store.append(&id, &name, "late", &old, step(&name, 1), LONG).await;
    let late = late.expect("append must work");
    assert_eq!(late, Appended::Gone, "append: the call is another node's by now");
    let late = store.call_end(&id, &name, &name, Some("late"), &old, LONG).await;
    let late = late.expect("call_end must work");
    assert_eq!(
        late,
        CallEnded::Gone,
        "call_end: the call is another node's by now"
    );

    let appended = store.append(&id, &name, "x", &new, step(&name, 1), LONG).await;
    let first = Appended::At {
        number: 1,
        holder: Some(holder("old", 7)),
    };
    assert_eq!(
        appended.expect("append must work"),
        first,
        "nothing late was written"
    );
    let ended = store
        .call_end(&id, &name, &name, Some("response"), &new, LONG)
        .await;
    assert!(
        matches!(ended, Ok(CallEnded::Answered { number: 2, .. })),
        "call_end: it is the claimer's"
    );
    let over = store
        .claim(&id, &name, &new, &old)
        .await
        .expect("claim must work");
    assert_eq!(over, None, "claim: there is no such call any longer");
    let left = in_flight(&store, &old).await;
    assert!(left.is_empty(), "claim: nobody has what has ended");
}
