//! What a store must do so that of several connections of a stream one carries it, and another does when that is gone.

use std::sync::Arc;

use serde_json::{Value, json};

use super::calls::begin;
use super::nodes::next;
use super::{LONG, holder, node, session};
use crate::store::Store;
use crate::store::streams::{Appended, Attached, Holder, Over, StreamId};

/// A connection that waits takes a stream only from nobody, or from the one that it has found to be gone.
///
/// # Panics
/// When the store breaks the contract.
pub async fn lets_those_that_wait_take_over(store: Arc<dyn Store>) {
    let (id, me, get) = (session(&store).await, node("me"), StreamId::standalone());
    let [one, two, three] = [holder("a", 1), holder("b", 1), holder("c", 1)];
    let attach = async |stream: &StreamId, holder: &Holder, over: Over<'_>| {
        let attached = store.attach(&id, stream, holder, over, LONG).await;
        attached.expect("attach must work")
    };
    let attached = |previous: Option<&Holder>| Attached::Attached {
        previous: previous.cloned(),
        delivered: 0,
    };
    let first = attach(&get, &one, Over::Only(None)).await;
    assert_eq!(first, attached(None), "attach: nobody carried it");
    let held = attach(&get, &two, Over::Only(None)).await;
    assert_eq!(
        held,
        Attached::Held(one.clone()),
        "attach: it is carried, and not taken"
    );
    let held = attach(&get, &two, Over::Only(Some(&three))).await;
    assert_eq!(
        held,
        Attached::Held(one.clone()),
        "attach: another carries it by now"
    );
    let again = attach(&get, &one, Over::Only(None)).await;
    assert_eq!(
        again,
        attached(Some(&one)),
        "attach: a second time changes nothing"
    );
    let taken = attach(&get, &two, Over::Only(Some(&one))).await;
    assert_eq!(taken, attached(Some(&one)), "attach: from that one");
    let newest = attach(&get, &three, Over::Any).await;
    assert_eq!(newest, attached(Some(&two)), "attach: the newest from any");
    let carried = store.holder(&id, &get).await.expect("holder must work");
    assert_eq!(carried, Some(three), "holder: the newest");

    let name = begin(&store, &id, "call1", &me).await;
    let ended = store.call_end(&id, &name, Some("response"), &me, LONG).await;
    assert!(matches!(ended, Ok(Appended::At { .. })), "call_end: {ended:?}");
    let over = attach(&name, &two, Over::Only(Some(&holder("me", 7)))).await;
    assert_eq!(
        over,
        Attached::NoStream,
        "attach: nobody waits for what has ended"
    );
}

/// When a connection goes that has taken a stream from another, all nodes are rung, once: the other may wait.
///
/// # Panics
/// When the store breaks the contract.
pub async fn rings_those_that_may_wait(store: Arc<dyn Store>) {
    let (id, [a, b], get) = (
        session(&store).await,
        ["a", "b"].map(node),
        StreamId::standalone(),
    );
    let mut at_a = store.listen(&a).await.expect("listen must work");
    let attach = async |holder: &Holder, over: Over<'_>| {
        let attached = store.attach(&id, &get, holder, over, LONG).await;
        assert!(
            matches!(attached, Ok(Attached::Attached { .. })),
            "attach: {attached:?}"
        );
    };
    let detach = async |holder: &Holder| {
        store
            .detach(&id, &get, holder, LONG)
            .await
            .expect("detach must work")
    };
    let mark = async |number: u32| {
        let text = json!({"mark": number}).to_string();
        store.ring(&a, &text).await.expect("ring must work");
    };
    let [one, two] = [holder("b", 1), holder("b", 2)];
    let bell = json!({"ring": "stream", "session": id.as_str(), "stream": "get"});

    attach(&one, Over::Any).await;
    detach(&one).await;
    mark(1).await;
    attach(&one, Over::Any).await;
    attach(&two, Over::Any).await;
    detach(&one).await;
    detach(&two).await;
    // One that waited has taken over, others may wait yet.
    attach(&one, Over::Only(None)).await;
    detach(&one).await;
    mark(2).await;
    store.ring(&b, "\"nobody\"").await.expect("ring must work");
    let mut heard: Vec<Value> = Vec::new();
    while heard.len() < 4 {
        heard.push(serde_json::from_str(&next(&mut at_a).await).expect("a ring is JSON"));
    }
    let bells = heard.iter().filter(|message| **message == bell).count();
    assert_eq!(
        bells, 2,
        "detach: rung when others may wait, and only then: {heard:?}"
    );
}
