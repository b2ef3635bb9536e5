//! What a store must do with handlers' state.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{WRITERS, session};
use crate::session::state::{Expected, State, StateError, StateScope, StateStore, Swapped};
use crate::store::{Ended, Store};

/// How many times each writer adds one.
const ROUNDS: u64 = 5;

/// What is set is there, what is removed is not, and all of it comes sorted.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn keeps_values(store: Arc<dyn Store>) {
    let scope = StateScope::Session(session(&store).await);
    let state = State::new(Arc::<dyn Store>::clone(&store), scope.clone());
    let got: Option<u64> = state.get("absent").await.expect("get must work");
    assert_eq!(got, None, "get: what was never set is absent");
    let values = [
        ("b", "two"),
        ("a", "ünï \"q\" \u{0}"),
        ("v", ""),
        ("held:x", "no"),
        ("ttl", "1"),
    ];
    for (key, value) in values {
        state.set(key, &value).await.expect("set must work");
        let got: Option<String> = state.get(key).await.expect("get must work");
        assert_eq!(
            got.as_deref(),
            Some(value),
            "get: the value of {key:?} must come back as it was set"
        );
    }
    let keys: Vec<_> = state.entries().await.expect("entries must work");
    let keys: Vec<_> = keys.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        keys,
        ["a", "b", "held:x", "ttl", "v"],
        "entries: all keys, and nothing else, sorted"
    );
    let removed = state.remove("b").await.expect("remove must work");
    assert_eq!(removed, Some("two".into()), "remove must return what was there");
    let removed = state.remove("b").await.expect("remove must work");
    assert_eq!(removed, None, "remove: what is removed is absent");
    assert_eq!(
        state.entries().await.expect("entries must work").len(),
        4,
        "remove must take one away"
    );
}

/// A swap happens only when what it expects is there, and says what was there either way.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn swaps_only_what_is_expected(store: Arc<dyn Store>) {
    let scope = StateScope::Session(session(&store).await);
    let some = |text: &str| Some(text.to_owned());
    let steps = [
        (Expected::Text("1"), Some("9"), Swapped::Conflict(None)),
        (Expected::Absent, None, Swapped::Done(None)),
        (Expected::Absent, Some("1"), Swapped::Done(None)),
        (Expected::Absent, Some("9"), Swapped::Conflict(some("1"))),
        (Expected::Text("2"), Some("9"), Swapped::Conflict(some("1"))),
        (Expected::Text("2"), None, Swapped::Conflict(some("1"))),
        (Expected::Text("1"), Some("2"), Swapped::Done(some("1"))),
        (Expected::Anything, Some("3"), Swapped::Done(some("2"))),
        (Expected::Text("3"), None, Swapped::Done(some("3"))),
        (Expected::Anything, None, Swapped::Done(None)),
    ];
    for (step, (expected, value, outcome)) in steps.into_iter().enumerate() {
        let swapped = store
            .state_swap(&scope, "k", expected, value)
            .await
            .expect("state_swap must work");
        assert_eq!(
            swapped, outcome,
            "state_swap: step {step}, {expected:?} to {value:?}"
        );
    }
}

/// Many writers that add to one number at once lose nothing.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn loses_no_update(store: Arc<dyn Store>) {
    let scope = StateScope::Session(session(&store).await);
    let state = State::new(Arc::<dyn Store>::clone(&store), scope);
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let state = state.clone();
        writers.spawn(async move {
            for _ in 0..ROUNDS {
                let add = |count: Option<u64>| Some(count.unwrap_or(0) + 1);
                state
                    .update("count", add)
                    .await
                    .expect("update must succeed in the end");
            }
        });
    }
    writers.join_all().await;
    let count: Option<u64> = state.get("count").await.expect("get must work");
    let all = WRITERS as u64 * ROUNDS;
    assert_eq!(
        count,
        Some(all),
        "update: {WRITERS} writers added 1 {ROUNDS} times each"
    );
}

/// One key too many is refused; what is there may still be changed, and a removed key makes room.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn bounds_keys(store: Arc<dyn Store>) {
    let scope = StateScope::Session(session(&store).await);
    let set = async |n: usize, value| {
        let key = format!("key-{n}");
        store.state_swap(&scope, &key, Expected::Anything, value).await
    };
    // Many at once, because the bound must hold for concurrent writers too.
    let mut writers = JoinSet::new();
    for n in 0..State::KEYS_MAX + WRITERS {
        let (store, scope) = (Arc::clone(&store), scope.clone());
        writers.spawn(async move {
            let key = format!("first-{n}");
            store
                .state_swap(&scope, &key, Expected::Anything, Some("1"))
                .await
        });
    }
    let outcomes = writers.join_all().await;
    let fit = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(
        fit,
        State::KEYS_MAX,
        "state_swap: just State::KEYS_MAX keys must fit"
    );
    let refused = |outcome: &Result<Swapped, _>| matches!(outcome, Err(StateError::TooManyKeys) | Ok(_));
    assert!(
        outcomes.iter().all(refused),
        "state_swap: a key too many must be refused as TooManyKeys"
    );
    let entries = store
        .state_entries(&scope)
        .await
        .expect("state_entries must work");
    assert_eq!(
        entries.len(),
        State::KEYS_MAX,
        "state_swap: what was refused must not be kept"
    );

    let (known, _) = entries.first().expect("there are entries");
    let changed = store
        .state_swap(&scope, known, Expected::Anything, Some("2"))
        .await;
    assert!(
        changed.is_ok(),
        "state_swap: a key that is there may change when all keys are taken: {changed:?}"
    );
    let removed = store.state_swap(&scope, known, Expected::Anything, None).await;
    assert!(
        removed.is_ok(),
        "state_swap: a key may be removed when all are taken: {removed:?}"
    );
    let room = set(1, Some("1")).await;
    assert!(
        room.is_ok(),
        "state_swap: a removed key makes room for another: {room:?}"
    );
    let full = set(2, Some("1")).await;
    assert!(
        matches!(full, Err(StateError::TooManyKeys)),
        "state_swap: all keys are taken again: {full:?}"
    );
}

/// Keys and values together have a bound in bytes, kept through changes and removals.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn bounds_bytes(store: Arc<dyn Store>) {
    let scope = StateScope::Session(session(&store).await);
    let set = async |key: &str, bytes: usize| {
        let value = format!("\"{}\"", "x".repeat(bytes.saturating_sub(key.len() + 2)));
        store
            .state_swap(&scope, key, Expected::Anything, Some(&value))
            .await
    };
    let fits = set("big", State::BYTES_MAX).await;
    assert!(
        fits.is_ok(),
        "state_swap: just State::BYTES_MAX bytes must fit, key included: {fits:?}"
    );
    let over = set("big", State::BYTES_MAX + 1).await;
    assert!(
        matches!(over, Err(StateError::TooLarge)),
        "state_swap: one byte more must not: {over:?}"
    );
    let over = set("small", 10).await;
    assert!(
        matches!(over, Err(StateError::TooLarge)),
        "state_swap: another key must not fit: {over:?}"
    );
    let shrunk = set("big", State::BYTES_MAX - 10).await;
    assert!(shrunk.is_ok(), "state_swap: what is there may shrink: {shrunk:?}");
    let fits = set("small", 10).await;
    assert!(fits.is_ok(), "state_swap: what shrank makes room: {fits:?}");
    let removed = store.state_swap(&scope, "big", Expected::Anything, None).await;
    assert!(
        removed.is_ok(),
        "state_swap: what is there may be removed: {removed:?}"
    );
    let fits = set("next", State::BYTES_MAX - 10).await;
    assert!(fits.is_ok(), "state_swap: what was removed makes room: {fits:?}");
    let entries = store
        .state_entries(&scope)
        .await
        .expect("state_entries must work");
    let bytes: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
    assert_eq!(
        bytes,
        State::BYTES_MAX,
        "state_swap: what was refused must not be kept"
    );
}

/// State is gone with its session, and a session's and a notebook's never mix.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn ends_with_its_session(store: Arc<dyn Store>) {
    let (one, other) = (session(&store).await, session(&store).await);
    let scope = |id| StateScope::Session(id);
    let write: &dyn StateStore = &*store;
    for id in [&one, &other] {
        let wrote = write
            .state_swap(&scope(id.clone()), "k", Expected::Absent, Some("1"))
            .await;
        assert!(
            matches!(wrote, Ok(Swapped::Done(None))),
            "state_swap: each session has its own state: {wrote:?}"
        );
    }
    let handle = StateScope::Notebook(one.as_str().into());
    let got = write.state_get(&handle, "k").await;
    assert!(
        matches!(got, Err(StateError::Gone)),
        "state_get: a session is not a notebook: {got:?}"
    );
    let ended = store.end(&one, None).await.expect("end must work");
    assert_eq!(ended, Ended::Ended(vec![]), "end: the session is there");
    let got = write.state_get(&scope(one), "k").await;
    assert!(
        matches!(got, Err(StateError::Gone)),
        "state_get: the session has ended: {got:?}"
    );
    let got = write
        .state_get(&scope(other), "k")
        .await
        .expect("state_get must work");
    assert_eq!(got.as_deref(), Some("1"), "end must leave other sessions alone");
}
