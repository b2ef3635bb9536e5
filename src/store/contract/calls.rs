//! What a store must do with calls in flight.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{LONG, NEW, SHORT, WRITERS, carrier, eventually, holder, node, session, stream};
use crate::session::{NodeId, SessionId};
use crate::store::Limits;
use crate::store::calls::{Answered, Begun, CallEnded, CallRecord, Inbox};
use crate::store::streams::{Appended, Attached, Over, Read, Step, StreamId};
use crate::store::{Store, StoreError};

pub(super) fn call(name: &str, runner: &NodeId) -> CallRecord {
    CallRecord {
        name: stream(name),
        stream: stream(name),
        node: runner.clone(),
        request: format!("\"request \\\"{name}\\\"\""),
        method: "tools/call".into(),
        started_ms: 1_700_000_000_000,
        body: Some(r#"{"jsonrpc":"2.0","params":{"text":"ünï \"q\" \\u0000"}}"#.into()),
        cancelled: false,
    }
}

/// That event of the call's first run.
pub(super) fn step(call: &StreamId, number: u64) -> Option<Step<'_>> {
    let run = "first";
    Some(Step { call, run, number })
}

/// The answers that wait for a call of `by`; `None` when it is not.
pub(super) async fn answers(
    store: &Arc<dyn Store>,
    id: &SessionId,
    call: &StreamId,
    by: &NodeId,
) -> Option<Vec<(u64, String)>> {
    take(store, id, call, by, &[]).await
}

/// Takes these off, and returns what else waits for a call of `by`; `None` when it is not.
pub(super) async fn take(
    store: &Arc<dyn Store>,
    id: &SessionId,
    call: &StreamId,
    by: &NodeId,
    taken: &[u64],
) -> Option<Vec<(u64, String)>> {
    match store
        .inbox(id, call, by, taken, LONG)
        .await
        .expect("inbox must work")
    {
        Inbox::Mail { answers, .. } => Some(answers),
        Inbox::Gone => None,
    }
}

/// Registers a call of `runner`, and returns its name.
pub(super) async fn begin(store: &Arc<dyn Store>, id: &SessionId, name: &str, runner: &NodeId) -> StreamId {
    let call = call(name, runner);
    let begun = store
        .call_begin(id, &call, NEW, Some(&holder(runner.as_str(), 7)), LONG)
        .await;
    let begun = begun.expect("call_begin must work");
    assert_eq!(begun, Begun::Begun, "call_begin: the session is there");
    call.name
}

#[track_caller]
pub(super) fn assert_answered(ended: &Result<CallEnded, StoreError>) {
    assert!(
        matches!(ended, Ok(CallEnded::Answered { .. })),
        "call_end: its response is appended, but it gave {ended:?}"
    );
}

pub(super) async fn in_flight(store: &Arc<dyn Store>, runner: &NodeId) -> Vec<(SessionId, StreamId)> {
    store.calls_of(runner).await.expect("calls_of must work")
}

/// A call is found while it is in flight; its response ends its stream, and takes it off.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn registers_calls(store: Arc<dyn Store>) {
    let (id, me) = (session(&store).await, node("me"));
    let name = begin(&store, &id, "call1", &me).await;
    let again = begin(&store, &id, "call1", &me).await;
    assert_eq!(name, again, "call_begin: a second time changes nothing");
    let known = vec![(id.clone(), name.clone())];
    assert_eq!(
        in_flight(&store, &me).await,
        known,
        "calls_of: what was registered"
    );
    let at = |number| Appended::At {
        number,
        holder: Some(holder("me", 7)),
    };
    let progress = store
        .append(&id, &name, "progress", &me, step(&name, 1), LONG)
        .await;
    assert_eq!(
        progress.expect("append must work"),
        at(1),
        "append: the first event"
    );
    let ended = store
        .call_end(&id, &name, &name, Some("response"), &me, LONG)
        .await;
    assert_eq!(
        ended.expect("call_end must work"),
        CallEnded::Answered {
            number: 2,
            holder: Some(holder("me", 7)),
        },
        "call_end: the last event"
    );

    assert!(
        in_flight(&store, &me).await.is_empty(),
        "call_end takes the call off"
    );
    for data in [Some("again"), None] {
        let again = store.call_end(&id, &name, &name, data, &me, LONG).await;
        let again = again.expect("call_end must work");
        assert_eq!(again, CallEnded::Gone, "call_end: it has ended already");
    }
    let late = store.append(&id, &name, "late", &me, step(&name, 2), LONG).await;
    let late = late.expect("append must work");
    assert_eq!(late, Appended::Gone, "append: the stream has ended");
    let page = store.read(&id, &name, 1).await.expect("read must work");
    let Read::Events {
        events, head, done, ..
    } = page
    else {
        unreachable!("read: the log of a call that ended stays for its life");
    };
    assert_eq!(
        (events.len(), head, done),
        (1, 2, true),
        "read: the stream has ended"
    );
    is_only_read(&store, &id, &name).await;
}

/// The stream of a call that has ended: a client that resumes may read it, and nobody carries it.
async fn is_only_read(store: &Arc<dyn Store>, id: &SessionId, name: &StreamId) {
    let attached = store.attach(id, name, &holder("b", 1), Over::Any, LONG).await;
    let attached = attached.expect("attach must work");
    let expected = Attached::Attached {
        previous: None,
        delivered: 0,
    };
    assert_eq!(attached, expected, "attach: a client that resumes may read it");
    let carried = carrier(store, id, name).await;
    assert_eq!(
        carried, None,
        "call_end, attach: one that is done is carried by nobody"
    );
}

/// A call may end without a response, and its log ends with its life.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn ends_calls(store: Arc<dyn Store>) {
    let (id, me) = (session(&store).await, node("me"));
    let name = begin(&store, &id, "call1", &me).await;
    let other = store
        .call_end(&id, &name, &name, None, &node("other"), LONG)
        .await;
    let other = other.expect("call_end must work");
    assert_eq!(other, CallEnded::Gone, "call_end: the call is another node's");
    let elsewhere = StreamId::standalone();
    let elsewhere = store.call_end(&id, &name, &elsewhere, Some("x"), &me, LONG).await;
    let elsewhere = elsewhere.expect("call_end must work");
    assert_eq!(
        elsewhere,
        CallEnded::Gone,
        "call_end: it writes to another stream"
    );
    let stray = store
        .append(&id, &name, "x", &node("other"), step(&name, 1), LONG)
        .await;
    let stray = stray.expect("append must work");
    assert_eq!(stray, Appended::Gone, "append: the call is another node's");
    let unknown = stream("nocall");
    for step in [step(&unknown, 1), None] {
        let unknown = store.append(&id, &unknown, "x", &me, step, LONG).await;
        let unknown = unknown.expect("append must work");
        assert_eq!(unknown, Appended::Gone, "append: there is no such call");
    }
    let nameless = store.append(&id, &name, "x", &me, None, LONG).await;
    let nameless = nameless.expect("append must work");
    assert_eq!(
        nameless,
        Appended::Gone,
        "append: only the call itself writes to its stream"
    );
    let standing = store
        .call_end(
            &id,
            &stream(StreamId::SSE),
            &stream(StreamId::SSE),
            None,
            &me,
            LONG,
        )
        .await;
    let standing = standing.expect("call_end must work");
    assert_eq!(
        standing,
        CallEnded::Gone,
        "call_end: a standing stream is no call"
    );

    let ended = store.call_end(&id, &name, &name, None, &me, SHORT).await;
    assert_eq!(
        ended.expect("call_end must work"),
        CallEnded::Unanswered,
        "call_end: without a response"
    );
    eventually("the log of a call must end when its life does", async || {
        store.read(&id, &name, 0).await.expect("read must work") == Read::Gone
    })
    .await;
}

/// Calls may write to a standing stream in place of one of their own: it goes on after each, with the same
/// carrier.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn lets_calls_share_a_standing_stream(store: Arc<dyn Store>) {
    let (id, me, sse) = (session(&store).await, node("me"), StreamId::sse());
    let carrier = holder("carrier", 3);
    let attached = store.attach(&id, &sse, &carrier, Over::Any, LONG).await;
    assert!(
        matches!(attached, Ok(Attached::Attached { .. })),
        "attach: a standing stream is made if need be, but it gave {attached:?}"
    );
    for name in ["call1", "call2"] {
        let shared = CallRecord {
            stream: sse.clone(),
            ..call(name, &me)
        };
        let begun = store.call_begin(&id, &shared, NEW, None, LONG).await;
        assert_eq!(begun.expect("call_begin must work"), Begun::Begun);
    }
    let at = |number| Appended::At {
        number,
        holder: Some(carrier.clone()),
    };
    let claimed = store.claim(&id, &stream("call2"), &me, &node("heir")).await;
    let claimed = claimed.expect("claim must work").expect("the call is there");
    assert_eq!(
        (claimed.name.as_str(), &claimed.stream),
        ("call2", &sse),
        "claim: a call keeps its name and its stream"
    );
    for (name, by, number) in [("call1", "me", 1), ("call2", "heir", 2)] {
        let ended = store
            .call_end(&id, &stream(name), &sse, Some(name), &node(by), LONG)
            .await;
        let ended = ended.expect("call_end must work");
        assert_eq!(
            ended,
            CallEnded::Answered {
                number,
                holder: Some(carrier.clone()),
            },
            "call_end: the response goes to the call's stream"
        );
    }
    let appended = store.append(&id, &sse, "more", &me, None, LONG).await;
    let appended = appended.expect("append must work");
    assert_eq!(appended, at(3), "call_end: a standing stream goes on");
    let read = store.read(&id, &sse, 0).await.expect("read must work");
    let told = match &read {
        Read::Events { events, done, .. } if !done => {
            let data = events.iter().map(|event| event.data.as_str());
            data.collect::<Vec<_>>()
        }
        _ => vec![],
    };
    assert_eq!(
        told,
        ["call1", "call2", "more"],
        "read: what was sent, and no end"
    );
    for name in ["call1", "call2"] {
        let own = store.read(&id, &stream(name), 0).await.expect("read must work");
        assert_eq!(
            own,
            Read::Gone,
            "call_begin: such a call has no stream of its own"
        );
    }
}

/// The first answer to a request wins, even once it was taken; nobody gets one twice, and there are only so
/// many.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn keeps_first_answers(store: Arc<dyn Store>) {
    let (id, me) = (session(&store).await, node("me"));
    let name = begin(&store, &id, "call1", &me).await;
    let answer = async |number, text: &str| {
        let answered = store.answer(&id, &name, number, text).await;
        answered.expect("answer must work")
    };
    let waiting = async || answers(&store, &id, &name, &me).await;
    let take_all = async || {
        let answers = waiting().await.unwrap_or_default();
        let numbers: Vec<u64> = answers.iter().map(|(number, _)| *number).collect();
        let left = take(&store, &id, &name, &me, &numbers).await;
        assert_eq!(left, Some(vec![]), "inbox: none is left");
        answers
    };
    let kept = Answered::Kept(me.clone());
    assert_eq!(answer(2, "two").await, kept, "answer: the call is there");
    assert_eq!(answer(1, "öne").await, kept, "answer: the call is there");
    assert_eq!(answer(12, "twelve").await, kept, "answer: 12 is neither 1 nor 2");
    assert_eq!(answer(1, "late").await, Answered::Unwanted, "the first wins");
    let expected = [(2, "two"), (1, "öne"), (12, "twelve")].map(|(n, text)| (n, text.to_owned()));
    assert_eq!(take_all().await, expected, "inbox: in order");
    assert_eq!(
        answer(1, "late").await,
        Answered::Unwanted,
        "the first wins for good"
    );

    let mut answerers = JoinSet::new();
    for n in 0..WRITERS {
        let (store, id, name) = (Arc::clone(&store), id.clone(), name.clone());
        answerers.spawn(async move { store.answer(&id, &name, 50, &n.to_string()).await });
    }
    let all = answerers.join_all().await;
    let won = all
        .iter()
        .filter(|outcome| matches!(outcome, Ok(Answered::Kept(_))));
    assert_eq!(won.count(), 1, "answer: of {WRITERS} at once, one must win");
    for number in 100..100 + Limits::ANSWERS_WAITING_MAX as u64 - 1 {
        assert_eq!(answer(number, "x").await, kept, "answer: there is room");
    }
    assert_eq!(
        answer(999, "x").await,
        Answered::Full,
        "answers are bounded, and who asked still waits"
    );
    assert_eq!(
        take_all().await.len(),
        Limits::ANSWERS_WAITING_MAX,
        "inbox: all that wait"
    );
    assert_eq!(answer(999, "x").await, kept, "answer: there is room again");

    let ended = store.call_end(&id, &name, &name, None, &me, LONG).await;
    assert!(
        matches!(ended, Ok(CallEnded::Unanswered)),
        "call_end: the call is there"
    );
    assert_eq!(answer(3, "x").await, Answered::Early, "there is no such call");
    assert_eq!(waiting().await, None, "call_end takes the answers with it");
}

/// What answers a call that is not registered is kept, for when it is registered again: so many of them, the
/// newest.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn keeps_early_answers(store: Arc<dyn Store>) {
    let (id, me) = (session(&store).await, node("me"));
    let gone = store
        .answer(&SessionId::generate(), &stream("call1"), 1, "x")
        .await;
    assert_eq!(
        gone.expect("answer must work"),
        Answered::Gone,
        "answer: no session"
    );
    let answer = async |call: &str, number, text: &str| {
        let answered = store.answer(&id, &stream(call), number, text).await;
        answered.expect("answer must work")
    };
    let most = Limits::EARLY_ANSWERS_MAX as u64;
    // With one more the first makes room.
    for number in 1..=most - 1 {
        assert_eq!(answer("other", number, "x").await, Answered::Early);
    }
    assert_eq!(answer("call1", 12, "twelve").await, Answered::Early);
    assert_eq!(answer("call1", 1, "öne").await, Answered::Early);
    assert_eq!(
        answer("call1", 1, "late").await,
        Answered::Unwanted,
        "the first wins"
    );
    let name = begin(&store, &id, "call1", &me).await;
    let expected = [(12, "twelve"), (1, "öne")].map(|(n, text)| (n, text.to_owned()));
    assert_eq!(
        answers(&store, &id, &name, &me).await,
        Some(expected.into()),
        "inbox: what came before the call was registered"
    );
    assert_eq!(
        answer("call1", 12, "late").await,
        Answered::Unwanted,
        "the first wins for good"
    );
    let other = begin(&store, &id, "other", &me).await;
    let kept = answers(&store, &id, &other, &me)
        .await
        .expect("the call is there");
    let numbers: Vec<_> = kept.iter().map(|(number, _)| *number).collect();
    assert_eq!(
        numbers,
        (2..=most - 1).collect::<Vec<_>>(),
        "answer: the oldest makes room"
    );

    let large = "x".repeat(Limits::EARLY_ANSWERS_BYTES_MAX);
    for call in ["call2", "call3"] {
        assert_eq!(answer(call, 1, &large).await, Answered::Early);
    }
    for (call, expected) in [("call2", 0), ("call3", 1)] {
        let name = begin(&store, &id, call, &me).await;
        let kept = answers(&store, &id, &name, &me).await.expect("the call is there");
        assert_eq!(kept.len(), expected, "answer: their bytes are bounded");
    }
}

/// The answers that wait for a call are so many bytes together, but for a single one.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn bounds_bytes_of_answers(store: Arc<dyn Store>) {
    let (id, me) = (session(&store).await, node("me"));
    let name = begin(&store, &id, "call1", &me).await;
    let answer = async |number, bytes| {
        let answered = store.answer(&id, &name, number, &"x".repeat(bytes)).await;
        answered.expect("answer must work")
    };
    let take = async |number| take(&store, &id, &name, &me, &[number]).await;
    let kept = Answered::Kept(me.clone());
    let most = Limits::ANSWERS_WAITING_BYTES_MAX;
    assert_eq!(answer(1, most + 1).await, kept, "answer: one is kept in any case");
    assert_eq!(
        answer(2, 1).await,
        Answered::Full,
        "answer: and no other beside it"
    );
    assert_eq!(take(1).await, Some(vec![]), "inbox: it was taken off");
    assert_eq!(answer(2, most - 1).await, kept, "answer: there is room again");
    assert_eq!(answer(3, 1).await, kept, "answer: there is room for just this");
    assert_eq!(
        answer(4, 1).await,
        Answered::Full,
        "answer: their bytes are bounded"
    );
    assert!(take(3).await.is_some(), "inbox: the call is there");
    assert_eq!(answer(4, 1).await, kept, "answer: there is room again");
}
