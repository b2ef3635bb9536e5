//! What a store must do with cancellations, and with what is over. Clients use ids again: what is meant for a
//! call must reach no other.

use std::sync::Arc;
use std::time::Duration;

use super::calls::{assert_answered, begin, call, in_flight, step};
use super::{LONG, NEW, ROOM, SHORT, holder, node, record, session, stream};
use crate::protocol::era::Revision;
use crate::session::{Clock, Introduction, NodeId, SessionId};
use crate::store::Limits;
use crate::store::calls::{Answered, Begun, CallEnded, CallRecord, Cancelled, Inbox};
use crate::store::streams::{Appended, Attached, Over, Read, StreamId};
use crate::store::{Change, Changed, Created, Store};

/// The age of a call that began long before all that the case does.
const OLD: Duration = Duration::from_secs(60);

fn named(name: &str, request: &str, runner: &NodeId) -> CallRecord {
    CallRecord {
        request: request.into(),
        started_ms: Clock::of_this_machine().now_ms(),
        ..call(name, runner)
    }
}

/// A cancellation is found by calls that began before it and are registered after it, and by no other; and
/// only while it lives.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn notes_cancellations(store: Arc<dyn Store>) {
    let (id, me) = (session(&store).await, node("me"));
    let begin_with = async |name: &str, request: &str, age| {
        let call = named(name, request, &me);
        let begun = store
            .call_begin(&id, &call, age, Some(&holder("me", 1)), LONG)
            .await;
        begun.expect("call_begin must work")
    };
    let cancel = async |request: &str, ttl| {
        let known = store
            .cancel(&id, request, None, NEW, ttl)
            .await
            .expect("cancel must work");
        let none = Cancelled::Noted(vec![]);
        assert_eq!(known, none, "cancel: no such call is registered");
    };
    let ago = async |request: &str| {
        let noted = store.cancelled(&id, request).await;
        noted.expect("cancelled must work").map(|noted| noted.ago)
    };
    assert_eq!(ago("\"1\"").await, None, "cancelled: nothing was");
    cancel("\"1\"", LONG).await;
    cancel("2", SHORT).await;
    let first = ago("\"1\"").await;
    assert!(
        first.is_some_and(|ago| ago < OLD),
        "cancelled: just now, not {first:?} ago"
    );
    let one = begin_with("a", "1", OLD).await;
    assert_eq!(one, Begun::Begun, "an id is more than its digits");
    let later = begin_with("b", "\"1\"", NEW).await;
    assert_eq!(later, Begun::Begun, "it began after the cancellation");
    for name in ["c", "d"] {
        let elder = begin_with(name, "\"1\"", OLD).await;
        assert_eq!(elder, Begun::Cancelled, "each that began before was cancelled");
    }
    let names = in_flight(&store, &me).await;
    assert_eq!(
        names.len(),
        2,
        "call_begin: one that was cancelled is not registered"
    );
    let page = store.read(&id, &stream("c"), 0).await.expect("read must work");
    assert_eq!(
        page,
        Read::Gone,
        "call_begin: one that was cancelled has no stream"
    );
    tokio::time::sleep(SHORT).await;
    let ended = begin_with("e", "2", OLD).await;
    assert_eq!(ended, Begun::Begun, "the note has ended");
    assert_eq!(ago("2").await, None, "cancelled: the note has ended");
    for n in 0..=Limits::CANCELS_NOTED_MAX {
        let life = LONG + Duration::from_secs(n as u64);
        cancel(&(100 + n).to_string(), life).await;
    }
    let first = begin_with("f", "100", OLD).await;
    assert_eq!(first, Begun::Begun, "notes are bounded");
    let second = begin_with("g", "101", OLD).await;
    assert_eq!(second, Begun::Cancelled, "as many as may be stay");
    let gone = store.cancel(&SessionId::generate(), "1", None, NEW, LONG).await;
    assert_eq!(
        gone.expect("cancel must work"),
        Cancelled::Gone,
        "cancel: no session"
    );
}

/// A cancellation that was on its way for long takes nothing back of one that came before it.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn keeps_the_latest_cancellation(store: Arc<dyn Store>) {
    let id = session(&store).await;
    let noted = async || {
        let noted = store.cancelled(&id, "1").await.expect("cancelled must work");
        noted.expect("cancelled: it is noted")
    };
    let cancel = async |reason, ago| {
        let noted = store.cancel(&id, "1", reason, ago, LONG).await;
        assert_eq!(noted.expect("cancel must work"), Cancelled::Noted(vec![]));
    };
    cancel(None, OLD).await;
    let first = noted().await;
    assert!(first.ago >= OLD, "cancelled: when it was, not when it came");
    assert_eq!(first.reason, None, "cancelled: no reason was given");
    // What is kept beside it must not be taken for a part of it.
    for reason in ["", "1/2", "zu spät,\n\"/%d+\""] {
        cancel(Some(reason), NEW).await;
        cancel(Some("elder"), OLD).await;
        let latest = noted().await;
        assert!(latest.ago < OLD, "cancel: the latest counts");
        assert_eq!(latest.reason.as_deref(), Some(reason), "cancel: and its reason");
    }
    cancel(None, NEW).await;
    assert_eq!(noted().await.reason, None, "cancel: the latest has none");
}

/// All calls of an id that are registered are cancelled, also the elder of two of which the younger has
/// ended.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn cancels_all_calls_of_an_id(store: Arc<dyn Store>) {
    let (id, [me, other]) = (session(&store).await, ["me", "other"].map(node));
    let begin = async |name: &str, runner: &NodeId| {
        let call = named(name, "1", runner);
        let begun = store.call_begin(&id, &call, NEW, None, LONG).await;
        assert_eq!(begun.expect("call_begin must work"), Begun::Begun);
    };
    let cancel = async |ago| match store
        .cancel(&id, "1", None, ago, LONG)
        .await
        .expect("cancel must work")
    {
        Cancelled::Noted(mut calls) => {
            calls.sort_by(|one, two| one.1.as_str().cmp(two.1.as_str()));
            calls
        }
        Cancelled::Gone => unreachable!("cancel: the session is there"),
    };
    begin("elder", &me).await;
    begin("younger", &me).await;
    begin("zother", &other).await;
    let ended = store
        .call_end(
            &id,
            &stream("younger"),
            &stream("younger"),
            Some("response"),
            &me,
            LONG,
        )
        .await;
    assert_answered(&ended);
    let expected = vec![(me.clone(), stream("elder")), (other.clone(), stream("zother"))];
    assert_eq!(
        cancel(OLD).await,
        vec![],
        "cancel: it was before any of them began"
    );
    for (runner, name) in &expected {
        let mail = store.inbox(&id, name, runner, &[], LONG).await;
        assert!(
            matches!(mail, Ok(Inbox::Mail { cancelled: false, .. })),
            "inbox: it was cancelled before it began"
        );
    }
    assert_eq!(cancel(NEW).await, expected, "cancel: all that run");
    for (runner, name) in expected {
        let mail = store
            .inbox(&id, &name, &runner, &[], LONG)
            .await
            .expect("inbox must work");
        assert!(
            matches!(mail, Inbox::Mail { cancelled: true, .. }),
            "inbox: each learns of it"
        );
        let ended = store.call_end(&id, &name, &name, None, &runner, LONG).await;
        assert!(matches!(ended, Ok(CallEnded::Unanswered)), "call_end: {ended:?}");
    }
    assert_eq!(cancel(NEW).await, vec![], "cancel: none is left");
    begin("next", &me).await;
    let mail = store
        .inbox(&id, &stream("next"), &me, &[], LONG)
        .await
        .expect("inbox must work");
    assert!(
        matches!(mail, Inbox::Mail { cancelled: false, .. }),
        "call_begin: what came before is not meant for it"
    );
}

/// What a call sends that was cancelled is for nobody, nor is its response.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn silences_calls_that_were_cancelled(store: Arc<dyn Store>) {
    let (id, me) = (session(&store).await, node("me"));
    let name = begin(&store, &id, "call1", &me).await;
    let append = async |number| {
        let appended = store
            .append(&id, &name, "x", &me, step(&name, number), LONG)
            .await;
        appended.expect("append must work")
    };
    assert!(
        matches!(append(1).await, Appended::At { number: 1, .. }),
        "append: it runs"
    );
    let request = call("call1", &me).request;
    let noted = store
        .cancel(&id, &request, None, NEW, LONG)
        .await
        .expect("cancel must work");
    assert_eq!(noted, Cancelled::Noted(vec![(me.clone(), name.clone())]));
    assert_eq!(append(2).await, Appended::Gone, "append: it was cancelled");
    let again = store.call_begin(&id, &call("call1", &me), NEW, None, LONG).await;
    assert_eq!(
        again.expect("call_begin must work"),
        Begun::Cancelled,
        "call_begin: a second time it is told"
    );
    let begun = begin(&store, &id, "call2", &me).await;
    let noted = store
        .cancel(&id, &call("call2", &me).request, None, NEW, LONG)
        .await;
    assert!(matches!(noted, Ok(Cancelled::Noted(_))), "cancel: {noted:?}");
    let ended = store
        .call_end(&id, &begun, &begun, Some("response"), &me, LONG)
        .await;
    assert!(
        matches!(ended, Ok(CallEnded::Unanswered)),
        "call_end: the response is not appended, but it gave {ended:?}"
    );
    let page = store.read(&id, &begun, 0).await.expect("read must work");
    assert!(
        matches!(
            &page,
            Read::Events {
                head: 0,
                done: true,
                ..
            }
        ),
        "call_end: the stream has ended, and is empty, not {page:?}"
    );
}

/// A client of HTTP+SSE that introduces itself once more was started again: nothing of its former life
/// reaches it.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn begins_a_new_life(store: Arc<dyn Store>) {
    let (id, me, sse) = (SessionId::generate(), node("me"), StreamId::sse());
    let mut record = record();
    record.client_info = Introduction::missing().client_info;
    let created = store.create(&id, &record, LONG, &ROOM).await;
    assert!(matches!(created, Ok(Created::Created)), "create: {created:?}");
    let introduce = async || introduce(store.as_ref(), &id).await;
    let read = async || standing(store.as_ref(), &id).await;
    let begin = async |name: &str| {
        let call = CallRecord {
            stream: sse.clone(),
            ..named(name, "1", &me)
        };
        let begun = store.call_begin(&id, &call, OLD, None, LONG).await;
        begun.expect("call_begin must work")
    };
    let said = store.append(&id, &sse, "x", &me, None, LONG).await;
    assert!(
        matches!(said, Ok(Appended::At { number: 1, .. })),
        "append: {said:?}"
    );
    introduce().await;
    assert_eq!(
        read().await,
        (1, 1, 1, 0),
        "change: the first time nothing was before"
    );
    assert_eq!(begin("call1").await, Begun::Begun);
    let noted = store.cancel(&id, "7", None, NEW, LONG).await;
    assert!(matches!(noted, Ok(Cancelled::Noted(_))), "cancel: {noted:?}");
    introduce().await;
    assert_eq!(
        read().await,
        (0, 2, 1, 1),
        "change: the events of the former life go, and count as delivered"
    );
    is_of_a_former_life(store.as_ref(), &id, &stream("call1"), &me).await;
    let noted = store.cancelled(&id, "7").await.expect("cancelled must work");
    assert_eq!(noted, None, "change: cancellations of the former life are over");
    assert_eq!(begin("call2").await, Begun::Begun, "call_begin: the new life's");
    let attached = store.attach(&id, &sse, &holder("me", 1), Over::Any, LONG).await;
    assert!(
        matches!(attached, Ok(Attached::Attached { delivered: 1, .. })),
        "attach: {attached:?}"
    );
    let gone = store
        .answer(&SessionId::generate(), &stream("call2"), 1, "x")
        .await;
    assert_eq!(
        gone.expect("answer must work"),
        Answered::Gone,
        "answer: no session"
    );
}

async fn introduce(store: &dyn Store, id: &SessionId) {
    let introduction = Introduction {
        revision: Revision::V2024_11_05,
        client_info: record().client_info,
        ..Introduction::missing()
    };
    let change = Change::Introduced(Box::new(introduction));
    let changed = store.change(id, &change, LONG).await;
    assert!(matches!(changed, Ok(Changed::Changed(_))), "change: {changed:?}");
}

/// How many events the standing stream holds, the first, the newest, and the last that was delivered.
async fn standing(store: &dyn Store, id: &SessionId) -> (usize, u64, u64, u64) {
    let read = store.read(id, &StreamId::sse(), 0).await;
    match read.expect("read must work") {
        Read::Events {
            events,
            first,
            head,
            delivered,
            ..
        } => (events.len(), first, head, delivered),
        Read::Gone => unreachable!("read: the stream is there"),
    }
}

/// A call of a former life is told to stop, and what it sends is for nobody.
async fn is_of_a_former_life(store: &dyn Store, id: &SessionId, call: &StreamId, me: &NodeId) {
    let late = store
        .append(id, &StreamId::sse(), "x", me, step(call, 1), LONG)
        .await;
    assert_eq!(
        late.expect("append must work"),
        Appended::Gone,
        "change: calls of the former life are silent"
    );
    let mail = store
        .inbox(id, call, me, &[], LONG)
        .await
        .expect("inbox must work");
    assert!(
        matches!(mail, Inbox::Mail { cancelled: true, .. }),
        "change: and stop"
    );
    let ended = store
        .call_end(id, call, &StreamId::sse(), Some("response"), me, LONG)
        .await;
    assert!(
        matches!(ended, Ok(CallEnded::Unanswered)),
        "call_end: nor is its response told, but it gave {ended:?}"
    );
}
