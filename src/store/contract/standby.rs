//! What a store must do so that of several connections of a stream one carries it, and another does when that
//! is gone.

use std::sync::Arc;

use super::calls::{assert_answered, begin};
use super::nodes::{mark, next};
use super::{LONG, carrier, holder, node, session};
use crate::store::streams::{Attached, Holder, Over, StreamId};
use crate::store::{NodeMessage, Recipients, Store};

/// A connection that waits takes a stream only from nobody, or from the one that it has found to be gone.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn lets_those_that_wait_take_over(store: Arc<dyn Store>) {
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
    let carried = carrier(&store, &id, &get).await;
    assert_eq!(carried, Some(three), "holder: the newest");

    let name = begin(&store, &id, "call1", &me).await;
    let ended = store
        .call_end(&id, &name, &name, Some("response"), &me, LONG)
        .await;
    assert_answered(&ended);
    let over = attach(&name, &two, Over::Only(Some(&holder("me", 7)))).await;
    assert_eq!(
        over,
        Attached::NoStream,
        "attach: nobody waits for what has ended"
    );
}

/// When a connection goes that has taken a stream from another, all nodes are told, once: the other may wait.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn tells_those_that_may_wait(store: Arc<dyn Store>) {
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
    let send = async |to, name| {
        let sent = store.send(Recipients::One(to), &mark(name)).await;
        sent.expect("send must work");
    };
    let [one, two] = [holder("b", 1), holder("b", 2)];
    let look = NodeMessage::stream(&id, &get);

    attach(&one, Over::Any).await;
    detach(&one).await;
    send(&a, "1").await;
    attach(&one, Over::Any).await;
    attach(&two, Over::Any).await;
    detach(&one).await;
    detach(&two).await;
    // One that waited has taken over, others may wait yet.
    attach(&one, Over::Only(None)).await;
    detach(&one).await;
    send(&a, "2").await;
    send(&b, "nobody").await;
    let mut heard = Vec::new();
    while heard.len() < 4 {
        heard.push(next(&mut at_a).await);
    }
    let looks = heard.iter().filter(|message| **message == look).count();
    assert_eq!(
        looks, 2,
        "detach: they are told when others may wait, and only then: {heard:?}"
    );
}
