//! What a store must do when something is done again because the answer to the first try was lost.

use std::sync::Arc;

use super::calls::{answers, assert_answered, begin, call, in_flight, step, take};
use super::{LONG, NEW, holder, node, session, stream};
use crate::store::Store;
use crate::store::calls::{Answered, Begun, CallRecord, Cancelled, Inbox};
use crate::store::streams::{Appended, Attached, Over, Read, Step, StreamId};

/// Each event of a run is appended once, to a stream of the call's own and to one that others write to. A run
/// that comes after it begins again.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn appends_each_step_once(store: Arc<dyn Store>) {
    let (id, me) = (session(&store).await, node("me"));
    let own = begin(&store, &id, "call1", &me).await;
    let shared = CallRecord {
        stream: StreamId::sse(),
        ..call("call2", &me)
    };
    let begun = store.call_begin(&id, &shared, NEW, None, LONG).await;
    assert_eq!(begun.expect("call_begin must work"), Begun::Begun);
    for (call, stream) in [(&own, &own), (&shared.name, &shared.stream)] {
        let append = async |run, number| {
            let step = Some(Step { call, run, number });
            let data = format!("{run} {number}");
            match store.append(&id, stream, &data, &me, step, LONG).await {
                Ok(Appended::At { number, .. }) => number,
                other => unreachable!("append: the call is there, but it gave {other:?}"),
            }
        };
        assert_eq!(append("first", 1).await, 1, "append: the first");
        assert_eq!(append("first", 1).await, 1, "append: it is there already");
        assert_eq!(append("first", 2).await, 2, "append: the next");
        assert_eq!(append("first", 2).await, 2, "append: it is there already");
        assert_eq!(append("second", 1).await, 3, "append: another run begins again");
        assert_eq!(append("second", 1).await, 3, "append: it is there already");
        let page = store.read(&id, stream, 0).await.expect("read must work");
        let Read::Events {
            events, holder: by, ..
        } = page
        else {
            unreachable!("read: the stream is there");
        };
        let told: Vec<_> = events.iter().map(|event| event.data.as_str()).collect();
        assert_eq!(told, ["first 1", "first 2", "second 1"], "append: each once");
        let carried = (stream == call).then(|| holder("me", 7));
        assert_eq!(by, carried, "read: who carries the stream");
    }
    let late = store
        .append(
            &id,
            &shared.stream,
            "late",
            &node("other"),
            step(&shared.name, 9),
            LONG,
        )
        .await;
    let late = late.expect("append must work");
    assert_eq!(late, Appended::Gone, "append: the call is not that node's");
}

/// A call that was claimed, or has ended, is not begun by a late second try.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn begins_no_call_that_was_claimed(store: Arc<dyn Store>) {
    let (id, [old, new]) = (session(&store).await, ["old", "new"].map(node));
    let shared = CallRecord {
        stream: StreamId::sse(),
        ..call("call2", &old)
    };
    let begun = store.call_begin(&id, &shared, NEW, None, LONG).await;
    assert_eq!(begun.expect("call_begin must work"), Begun::Begun);
    let claimed = store.claim(&id, &shared.name, &old, &new).await;
    assert!(matches!(claimed, Ok(Some(_))), "claim: {claimed:?}");
    let ended = store
        .call_end(&id, &shared.name, &shared.stream, Some("response"), &new, LONG)
        .await;
    assert_answered(&ended);
    let begun = store.call_begin(&id, &shared, NEW, None, LONG).await;
    assert_eq!(
        begun.expect("call_begin must work"),
        Begun::Gone,
        "it was claimed, and has ended"
    );

    let name = begin(&store, &id, "call1", &old).await;
    let again = async || {
        let (call, holder) = (call("call1", &old), holder("old", 8));
        let again = store.call_begin(&id, &call, NEW, Some(&holder), LONG).await;
        again.expect("call_begin must work")
    };
    assert_eq!(again().await, Begun::Begun, "call_begin: a second time is well");
    let claimed = store.claim(&id, &name, &old, &new).await;
    assert!(
        matches!(claimed, Ok(Some(_))),
        "claim: the call is there, but it gave {claimed:?}"
    );
    assert_eq!(again().await, Begun::Gone, "call_begin: it was claimed");
    assert!(
        in_flight(&store, &old).await.is_empty(),
        "call_begin: it is not its call"
    );
    assert_eq!(
        in_flight(&store, &new).await.len(),
        1,
        "call_begin: it is the claimer's"
    );
    let ended = store
        .call_end(&id, &name, &name, Some("response"), &new, LONG)
        .await;
    assert_answered(&ended);
    assert_eq!(again().await, Begun::Gone, "call_begin: it has ended");
    let page = store.read(&id, &name, 0).await.expect("read must work");
    assert!(
        matches!(
            &page,
            Read::Events {
                head: 1,
                done: true,
                ..
            }
        ),
        "call_begin: the stream stays as it was, not {page:?}"
    );
    let attached = store
        .attach(&id, &stream("call1"), &holder("b", 1), Over::Any, LONG)
        .await;
    assert!(
        matches!(attached, Ok(Attached::Attached { .. })),
        "attach: {attached:?}"
    );
}

/// Answers stay until they are taken off, and so does the note that the client has cancelled the call; the
/// claiming node learns of both.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn keeps_mail_until_it_is_taken(store: Arc<dyn Store>) {
    let (id, [old, new]) = (session(&store).await, ["old", "new"].map(node));
    let name = begin(&store, &id, "call1", &old).await;
    for number in [1, 2] {
        let kept = store.answer(&id, &name, number, "yes").await;
        assert_eq!(kept.expect("answer must work"), Answered::Kept(old.clone()));
    }
    let both = Some(vec![(1, "yes".to_owned()), (2, "yes".to_owned())]);
    assert_eq!(answers(&store, &id, &name, &old).await, both, "inbox: what came");
    assert_eq!(
        answers(&store, &id, &name, &old).await,
        both,
        "inbox: it is not taken off"
    );
    assert_eq!(
        answers(&store, &id, &name, &new).await,
        None,
        "inbox: it is another's"
    );
    assert_eq!(
        take(&store, &id, &name, &new, &[1]).await,
        None,
        "inbox: who does not run the call takes nothing off"
    );
    let one = Some(vec![(2, "yes".to_owned())]);
    for _ in 0..2 {
        let left = take(&store, &id, &name, &old, &[1, 7]).await;
        assert_eq!(left, one, "inbox: what was taken goes first, and only that");
    }
    assert_eq!(
        answers(&store, &id, &name, &old).await,
        one,
        "inbox: it stays off"
    );

    let request = call("call1", &old).request;
    let cancelled = store
        .cancel(&id, &request, None, NEW, LONG)
        .await
        .expect("cancel must work");
    assert_eq!(
        cancelled,
        Cancelled::Noted(vec![(old.clone(), name.clone())]),
        "cancel: the call is known"
    );
    let mail = store
        .inbox(&id, &name, &old, &[], LONG)
        .await
        .expect("inbox must work");
    assert!(
        matches!(mail, Inbox::Mail { cancelled: true, .. }),
        "cancel: the call must learn of it from its inbox"
    );
    let claimed = store
        .claim(&id, &name, &old, &new)
        .await
        .expect("claim must work");
    let claimed = claimed.expect("the call is there");
    assert!(claimed.cancelled, "claim: its client wants no answer");
    assert_eq!(
        answers(&store, &id, &name, &old).await,
        None,
        "inbox: it is another's now"
    );
}
