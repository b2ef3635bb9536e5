//! What a store must leave of a session that has ended, and of what comes too late for it: nothing.

use std::sync::Arc;

use super::calls::{answers, begin, call, step};
use super::{LONG, NEW, ROOM, SHORT, carrier, eventually, holder, node, record, session, stream};
use crate::session::SessionId;
use crate::store::calls::{Answered, Begun, CallEnded, Cancelled};
use crate::store::changes::{Topic, TopicNews};
use crate::store::streams::{Appended, Attached, Over, Read, StreamId};
use crate::store::{Created, Ended, Store};

async fn told_of_tools(store: &Arc<dyn Store>, id: &SessionId) -> Option<u64> {
    let told = store
        .told(id, &[Topic::Tools], &[])
        .await
        .expect("told must work");
    told.topics.into_iter().next().flatten()
}

/// A session ends with its streams and calls; nothing late brings any of it back, and its next life begins
/// empty.
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
    let noted = store.cancel(&id, "9", None, NEW, LONG).await;
    assert!(matches!(noted, Ok(Cancelled::Noted(_))), "cancel: {noted:?}");
    let news = [TopicNews::First(&Topic::Tools, 1)];
    let (get, me) = (stream(StreamId::STANDALONE), node("me"));
    let told = store.tell(&id, &get, &news, &me, LONG).await;
    told.expect("tell must work");
    assert_eq!(told_of_tools(&store, &id).await, Some(1), "told: what was noted");

    let ended = store.end(&id, None).await.expect("end must work");
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
        let holder = carrier(&store, &id, &stream).await;
        assert_eq!(holder, None, "end must take with it who carried them");
    }
    assert_eq!(
        told_of_tools(&store, &id).await,
        None,
        "end must take what was noted with it"
    );
    let ended = store.end(&id, None).await.expect("end must work");
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
pub(super) async fn begins_empty(store: Arc<dyn Store>) {
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

/// Every operation on the streams of a session that is not there answers that it is not, and makes nothing.
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
        let ended = store.call_end(id, &stream, &stream, Some("x"), &me, LONG).await;
        assert_eq!(
            ended.expect("call_end must work"),
            CallEnded::Gone,
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
        let held = carrier(store, id, &stream).await;
        assert_eq!(held, None, "holder: no session");
        let page = store.read(id, &stream, 0).await.expect("read must work");
        assert_eq!(page, Read::Gone, "read: no session");
    }
    let answered = store.answer(id, &name, 1, "x").await.expect("answer must work");
    assert_eq!(answered, Answered::Gone, "answer: no session");
    let waiting = answers(store, id, &name, &me).await;
    assert_eq!(waiting, None, "inbox: no session");
    let cancelled = store
        .cancel(id, "1", None, NEW, LONG)
        .await
        .expect("cancel must work");
    assert_eq!(cancelled, Cancelled::Gone, "cancel: no session");
    let claimed = store
        .claim(id, &name, &me, &node("b"))
        .await
        .expect("claim must work");
    assert_eq!(claimed, None, "claim: no session");
    let news = [TopicNews::First(&Topic::Tools, 1)];
    let (get, me) = (stream(StreamId::STANDALONE), node("me"));
    let told = store.tell(id, &get, &news, &me, LONG).await;
    told.expect("tell must work");
    assert_eq!(told_of_tools(store, id).await, None, "told: no session");
    let loaded = store.load(id, None).await.expect("load must work");
    assert_eq!(loaded, None, "an operation has brought a session into being");
}
