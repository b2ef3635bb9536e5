//! What a store must do around streams: whom it rings, who is dead, what changed, and what is left of a session.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;
use tokio::sync::broadcast::Receiver;

use super::calls::{answers, begin, call, step};
use super::nodes::{lease, next, renew};
use super::{LONG, NEW, ROOM, SHORT, eventually, holder, node, record, session, stream};
use crate::session::SessionId;
use crate::store::changes::{ToldVersion, Topic};
use crate::store::streams::{Answered, Appended, Attached, Begun, Cancelled, Over, Read, StreamId};
use crate::store::{Created, Ended, Heard, Store};

/// Asserts that the next messages are these, in any order: rings may overtake each other.
async fn assert_rung<const N: usize>(heard: &mut Receiver<Heard>, messages: [&Value; N], why: &str) {
    let mut rung = Vec::with_capacity(N);
    for _ in 0..N {
        let message: Value = serde_json::from_str(&next(heard).await).expect("a ring is JSON");
        rung.push(message.to_string());
    }
    rung.sort();
    let mut expected = messages.map(Value::to_string);
    expected.sort();
    assert_eq!(rung, expected, "{why}");
}

/// Whoever appends rings who carries the stream, if it is another node; an answer rings the node of the call.
///
/// # Panics
/// When the store breaks the contract.
pub async fn rings_for_streams(store: Arc<dyn Store>) {
    let (id, [a, b]) = (session(&store).await, ["a", "b"].map(node));
    let mut at_a = store.listen(&a).await.expect("listen must work");
    let mut at_b = store.listen(&b).await.expect("listen must work");
    let name = begin(&store, &id, "call1", &a).await;
    let stream_bell = serde_json::json!({"ring": "stream", "session": id.as_str(), "stream": "call1"});
    let answer_bell = serde_json::json!({"ring": "answer", "session": id.as_str(), "call": "call1"});
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
            store.ring(node, "\"mark\"").await.expect("ring must work");
        }
    };
    let mark = serde_json::json!("mark");

    append(1).await;
    attach("a", 8).await;
    marked().await;
    let own = "the node that appends or attaches is not rung";
    assert_rung(&mut at_a, [&mark], own).await;
    assert_rung(&mut at_b, [&mark], "a node that carries nothing is not rung").await;

    attach("b", 1).await;
    append(2).await;
    marked().await;
    let carried = "attach: who carried it is rung; append: who appends is not";
    assert_rung(&mut at_a, [&stream_bell, &mark], carried).await;
    let carries = "append: who carries it is rung, and once";
    assert_rung(&mut at_b, [&stream_bell, &mark], carries).await;

    let kept = store.answer(&id, &name, 1, "x").await.expect("answer must work");
    assert_eq!(kept, Answered::Kept(a.clone()), "answer: the call is there");
    let again = store.answer(&id, &name, 1, "x").await.expect("answer must work");
    assert_eq!(again, Answered::Unwanted, "answer: the first wins");
    let ended = store.call_end(&id, &name, None, &a, LONG).await;
    assert!(matches!(ended, Ok(Appended::At { .. })), "call_end: {ended:?}");
    marked().await;
    let answered = "answer: the node of the call is rung, and once; who ends a call is not";
    assert_rung(&mut at_a, [&answer_bell, &mark], answered).await;
    let carries = "call_end: who carries it is rung, and once";
    assert_rung(&mut at_b, [&stream_bell, &mark], carries).await;

    // Nor has any ring come since.
    marked().await;
    for listener in [&mut at_a, &mut at_b] {
        assert_rung(listener, [&mark], "nobody is rung for nothing").await;
    }
}

/// A node whose lease has ended, by time or by word, is dead until it comes back or is forgotten.
///
/// # Panics
/// When the store breaks the contract.
pub async fn knows_who_died(store: Arc<dyn Store>) {
    let [brief, ended, alive] = ["brief", "ended", "alive"].map(node);
    let dead = async || -> BTreeSet<_> { store.dead().await.expect("dead must work").into_iter().collect() };
    for (node, life) in [(&brief, SHORT), (&ended, LONG), (&alive, LONG)] {
        renew(&store, &lease(node), life).await;
    }
    store.lease_end(&ended).await.expect("lease_end must work");
    store
        .lease_end(&node("never"))
        .await
        .expect("lease_end must work");
    assert!(dead().await.contains(&ended), "dead: whose lease was ended");
    eventually("a node must be dead when its lease has ended", async || {
        dead().await == BTreeSet::from([brief.clone(), ended.clone()])
    })
    .await;
    renew(&store, &lease(&brief), LONG).await;
    for node in [&brief, &ended, &node("never")] {
        store.forget(node).await.expect("forget must work");
    }
    assert!(dead().await.is_empty(), "forget: the dead are forgotten");
    let living = store
        .living(&[alive.clone(), brief.clone()])
        .await
        .expect("living must work");
    assert_eq!(living, [alive, brief], "forget: those who live are not");
}

async fn told_of_tools(store: &Arc<dyn Store>, id: &SessionId) -> Option<u64> {
    let told = store
        .told(id, &[Topic::Tools], &[])
        .await
        .expect("told must work");
    told.topics.into_iter().next().flatten()
}

/// A session ends with its streams and calls; nothing late brings any of it back, and its next life begins empty.
///
/// # Panics
/// When the store breaks the contract.
pub async fn leaves_nothing_behind(store: Arc<dyn Store>) {
    let (id, me) = (session(&store).await, node("me"));
    let other = session(&store).await;
    let kept = begin(&store, &other, "call1", &me).await;
    nothing_streams(&store, &SessionId::generate()).await;

    let name = begin(&store, &id, "call1", &me).await;
    for stream in [StreamId::STANDALONE, StreamId::SSE].map(stream) {
        let appended = store.append(&id, &stream, "x", &me, None, LONG).await;
        assert!(
            matches!(appended, Ok(Appended::At { .. })),
            "append: {appended:?}"
        );
    }
    let answered = store.answer(&id, &name, 1, "x").await;
    assert!(matches!(answered, Ok(Answered::Kept(_))), "answer: {answered:?}");
    let noted = store.cancel(&id, "9", NEW, LONG).await;
    assert!(matches!(noted, Ok(Cancelled::Noted(_))), "cancel: {noted:?}");
    let told = [ToldVersion::Topic(&Topic::Tools, 1)];
    store.note_told(&id, &told).await.expect("note_told must work");
    assert_eq!(told_of_tools(&store, &id).await, Some(1), "told: what was noted");

    let ended = store.end(&id).await.expect("end must work");
    assert_eq!(ended, Ended::Ended(vec![]), "end: the session is there");
    nothing_streams(&store, &id).await;
    let created = store
        .create(&id, &record(), LONG, &ROOM)
        .await
        .expect("create must work");
    assert_eq!(created, Created::Created, "create: the id is free");
    for stream in ["call1", StreamId::STANDALONE, StreamId::SSE].map(stream) {
        let page = store.read(&id, &stream, 0).await.expect("read must work");
        assert_eq!(page, Read::Gone, "end must take the streams with it");
        let holder = store.holder(&id, &stream).await.expect("holder must work");
        assert_eq!(holder, None, "end must take with it who carried them");
    }
    assert_eq!(
        told_of_tools(&store, &id).await,
        None,
        "end must take what was noted with it"
    );
    let ended = store.end(&id).await.expect("end must work");
    assert_eq!(ended, Ended::Ended(vec![]), "end: the session is there");

    let page = store.read(&other, &kept, 0).await.expect("read must work");
    assert!(page != Read::Gone, "end must leave other sessions alone");
    let calls = store.calls_of(&me).await.expect("calls_of must work");
    assert!(
        calls.contains(&(other, kept)),
        "end must leave other sessions alone"
    );
}

/// An id whose session expired, with streams that outlived it, begins empty.
///
/// # Panics
/// When the store breaks the contract.
pub async fn begins_empty(store: Arc<dyn Store>) {
    let (id, me) = (SessionId::generate(), node("me"));
    let created = store
        .create(&id, &record(), SHORT, &ROOM)
        .await
        .expect("create must work");
    assert_eq!(created, Created::Created, "create: a new id must do");
    let name = begin(&store, &id, "call1", &me).await;
    eventually("a session must end when its life does", async || {
        store.load(&id, None).await.expect("load must work").is_none()
    })
    .await;
    nothing_streams(&store, &id).await;
    let created = store
        .create(&id, &record(), LONG, &ROOM)
        .await
        .expect("create must work");
    assert_eq!(created, Created::Created, "create: the id is free");
    let page = store.read(&id, &name, 0).await.expect("read must work");
    assert_eq!(
        page,
        Read::Gone,
        "create: the streams of a former session are not its"
    );
    let claimed = store
        .claim(&id, &name, &me, &node("b"))
        .await
        .expect("claim must work");
    assert_eq!(claimed, None, "create: the calls of a former session are not its");
}

/// Every operation on the streams of a session that is not there says so, and makes nothing.
async fn nothing_streams(store: &Arc<dyn Store>, id: &SessionId) {
    let (me, name) = (node("me"), stream("call1"));
    let begun = store
        .call_begin(id, &call("call1", &me), NEW, Some(&holder("me", 1)), LONG)
        .await;
    assert_eq!(
        begun.expect("call_begin must work"),
        Begun::Gone,
        "call_begin: no session"
    );
    for stream in [name.clone(), stream(StreamId::STANDALONE), stream(StreamId::SSE)] {
        let appended = store.append(id, &stream, "x", &me, step(&name, 1), LONG).await;
        assert_eq!(
            appended.expect("append must work"),
            Appended::Gone,
            "append: no session"
        );
        let ended = store.call_end(id, &stream, Some("x"), &me, LONG).await;
        assert_eq!(
            ended.expect("call_end must work"),
            Appended::Gone,
            "call_end: no session"
        );
        let attached = store.attach(id, &stream, &holder("me", 1), Over::Any, LONG).await;
        assert_eq!(
            attached.expect("attach must work"),
            Attached::Gone,
            "attach: no session"
        );
        store
            .delivered(id, &stream, 1)
            .await
            .expect("delivered must work");
        store
            .detach(id, &stream, &holder("me", 1), LONG)
            .await
            .expect("detach must work");
        let held = store.holder(id, &stream).await.expect("holder must work");
        assert_eq!(held, None, "holder: no session");
        let page = store.read(id, &stream, 0).await.expect("read must work");
        assert_eq!(page, Read::Gone, "read: no session");
    }
    let answered = store.answer(id, &name, 1, "x").await.expect("answer must work");
    assert_eq!(answered, Answered::Gone, "answer: no session");
    let waiting = answers(store, id, &name, &me).await;
    assert_eq!(waiting, None, "inbox: no session");
    let taken = store.answers_taken(id, &name, &[1]).await;
    taken.expect("answers_taken must work");
    let cancelled = store.cancel(id, "1", NEW, LONG).await.expect("cancel must work");
    assert_eq!(cancelled, Cancelled::Gone, "cancel: no session");
    let claimed = store
        .claim(id, &name, &me, &node("b"))
        .await
        .expect("claim must work");
    assert_eq!(claimed, None, "claim: no session");
    let told = [ToldVersion::Topic(&Topic::Tools, 1)];
    store.note_told(id, &told).await.expect("note_told must work");
    assert_eq!(told_of_tools(store, id).await, None, "told: no session");
    let loaded = store.load(id, None).await.expect("load must work");
    assert_eq!(loaded, None, "an operation has brought a session into being");
}
