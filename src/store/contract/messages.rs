//! Which messages a store must send by itself: to the nodes of streams and calls.

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;

use super::calls::{begin, call, step};
use super::nodes::{mark, next};
use super::{LONG, NEW, holder, node, record, session, stream};
use crate::session::Introduction;
use crate::store::calls::{Answered, Begun, CallEnded, CallRecord};
use crate::store::streams::{Appended, Attached, Over, StreamId};
use crate::store::{Change, Changed, Ended, NodeMessage, Received, Recipients, Store};

/// Asserts that the next messages are these, in any order: they may overtake each other.
async fn assert_told<const N: usize>(heard: &mut Receiver<Received>, messages: [&NodeMessage; N], why: &str) {
    let mut told = Vec::with_capacity(N);
    for _ in 0..N {
        told.push(next(heard).await.encode());
    }
    told.sort();
    let mut expected = messages.map(NodeMessage::encode);
    expected.sort();
    assert_eq!(told, expected, "{why}");
}

/// Who appends tells the node that carries the stream, if it is another one; an answer tells the node of the
/// call.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn tells_of_streams(store: Arc<dyn Store>) {
    let (id, [a, b]) = (session(&store).await, ["a", "b"].map(node));
    let mut at_a = store.listen(&a).await.expect("listen must work");
    let mut at_b = store.listen(&b).await.expect("listen must work");
    let name = begin(&store, &id, "call1", &a).await;
    let of_stream = NodeMessage::stream(&id, &name);
    let of_answer = NodeMessage::answer(&id, &name);
    let append = async |number| {
        let appended = store.append(&id, &name, "x", &a, step(&name, number), LONG).await;
        assert!(
            matches!(appended, Ok(Appended::At { .. })),
            "append: {appended:?}"
        );
    };
    let attach = async |name, connection| {
        let attached = store
            .attach(&id, &stream("call1"), &holder(name, connection), Over::Any, LONG)
            .await;
        assert!(
            matches!(attached, Ok(Attached::Attached { .. })),
            "attach: {attached:?}"
        );
    };
    let marked = async || {
        for node in [&a, &b] {
            let sent = store.send(Recipients::One(node), &mark("mark")).await;
            sent.expect("send must work");
        }
    };
    let mark = mark("mark");

    append(1).await;
    attach("a", 8).await;
    marked().await;
    let own = "the node that appends or attaches is not told";
    assert_told(&mut at_a, [&mark], own).await;
    assert_told(&mut at_b, [&mark], "a node that carries nothing is not told").await;

    attach("b", 1).await;
    append(2).await;
    marked().await;
    let carried = "attach: who carried it is told; append: who appends is not";
    assert_told(&mut at_a, [&of_stream, &mark], carried).await;
    let carries = "append: who carries it is told, and once";
    assert_told(&mut at_b, [&of_stream, &mark], carries).await;

    let kept = store.answer(&id, &name, 1, "x").await.expect("answer must work");
    assert_eq!(kept, Answered::Kept(a.clone()), "answer: the call is there");
    let again = store.answer(&id, &name, 1, "x").await.expect("answer must work");
    assert_eq!(again, Answered::Unwanted, "answer: the first wins");
    let ended = store.call_end(&id, &name, &name, None, &a, LONG).await;
    assert!(matches!(ended, Ok(CallEnded::Unanswered)), "call_end: {ended:?}");
    marked().await;
    let answered = "answer: the node of the call is told, and once; who ends a call is not";
    assert_told(&mut at_a, [&of_answer, &mark], answered).await;
    let carries = "call_end: who carries it is told, and once";
    assert_told(&mut at_b, [&of_stream, &mark], carries).await;

    // Nor has any message come since.
    marked().await;
    for listener in [&mut at_a, &mut at_b] {
        assert_told(listener, [&mark], "nobody is told for nothing").await;
    }
}

/// A node that carries streams of a session, or runs calls of it, is told once of what concerns all of them.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn tells_of_sessions(store: Arc<dyn Store>) {
    let (id, [a, b]) = (session(&store).await, ["a", "b"].map(node));
    let mut at_a = store.listen(&a).await.expect("listen must work");
    let mut at_b = store.listen(&b).await.expect("listen must work");
    let (streams, calls) = (NodeMessage::session_streams(&id), NodeMessage::session_calls(&id));
    let marked = async || {
        for node in [&a, &b] {
            let sent = store.send(Recipients::One(node), &mark("mark")).await;
            sent.expect("send must work");
        }
    };
    let mark = mark("mark");
    let change = async |change| {
        let changed = store.change(&id, &change, LONG).await;
        assert!(matches!(changed, Ok(Changed::Changed(_))), "change: {changed:?}");
    };
    for name in [StreamId::STANDALONE, StreamId::SSE].map(stream) {
        let attached = store.attach(&id, &name, &holder("a", 1), Over::Any, LONG).await;
        assert!(
            matches!(attached, Ok(Attached::Attached { .. })),
            "attach: {attached:?}"
        );
    }
    for name in ["call1", "call2"] {
        let call = CallRecord {
            stream: StreamId::sse(),
            ..call(name, &b)
        };
        let begun = store.call_begin(&id, &call, NEW, None, LONG).await;
        assert!(matches!(begun, Ok(Begun::Begun)), "call_begin: {begun:?}");
    }
    change(Change::Initialized).await;
    marked().await;
    assert_told(
        &mut at_a,
        [&streams, &mark],
        "change: who carries streams is told once",
    )
    .await;
    assert_told(&mut at_b, [&mark], "change: who carries none is not told").await;

    let introduction = Introduction {
        client_info: record().client_info,
        ..Introduction::missing()
    };
    change(Change::Introduced(Box::new(introduction))).await;
    marked().await;
    assert_told(&mut at_a, [&mark], "change: who runs no calls is not told").await;
    assert_told(&mut at_b, [&calls, &mark], "change: who runs calls is told once").await;

    begin(&store, &id, "call3", &b).await;
    let ended = store.end(&id, None).await.expect("end must work");
    assert_eq!(ended, Ended::Ended(vec![]), "end: the session is there");
    marked().await;
    assert_told(
        &mut at_a,
        [&streams, &mark],
        "end: who carries streams is told once",
    )
    .await;
    assert_told(
        &mut at_b,
        [&streams, &mark],
        "end: who carries a call's stream too",
    )
    .await;
}
