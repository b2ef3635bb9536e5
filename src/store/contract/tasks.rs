//! What a store must do with tasks.

use std::sync::Arc;

use tokio::time::sleep;

use super::{LONG, SHORT, eventually};
use crate::session::state::{Expected, Home, StateError, Swapped};
use crate::store::Store;

/// More tasks of a peer than any case keeps.
const ROOM: (&str, usize) = ("peer", 1000);

/// A task is made once, and keeps state as a session does.
///
/// # Panics
/// When the store breaks the contract.
pub async fn keeps_what_is_known(store: Arc<dyn Store>) {
    let home = Home::Task("a".into());
    let swap = async |value| {
        store
            .state_swap(&home, "k", Expected::Anything, Some(value))
            .await
    };
    let early = swap("0").await;
    assert!(
        matches!(early, Err(StateError::Gone)),
        "state_swap must not make a task: {early:?}"
    );
    store
        .task_open("a", LONG, ROOM)
        .await
        .expect("task_open must work");
    let before = swap("1").await.expect("a task that was made is there");
    assert_eq!(before, Swapped::Done(None), "a new task is empty");
    let got = store.state_get(&home, "k").await.expect("state_get must work");
    assert_eq!(got.as_deref(), Some("1"), "state_get: what was set must be there");
    let entries = store.state_entries(&home).await.expect("state_entries must work");
    assert_eq!(
        entries,
        [("k".to_owned(), "1".to_owned())],
        "state_entries: that and no more"
    );
    let taken = store.task_open("a", LONG, ROOM).await;
    assert!(
        matches!(taken, Err(StateError::Contended)),
        "task_open: an id that is taken must not be handed out again: {taken:?}"
    );
    // The same name means another thing among notebooks.
    let notebook = store.state_get(&Home::Notebook("a".into()), "k").await;
    assert!(
        matches!(notebook, Err(StateError::Gone)),
        "a task is no notebook: {notebook:?}"
    );
}

/// A task's life is counted from its beginning, however much it is used.
///
/// # Panics
/// When the store breaks the contract.
pub async fn ends_when_its_life_does(store: Arc<dyn Store>) {
    let home = Home::Task("a".into());
    store
        .task_open("a", SHORT, ROOM)
        .await
        .expect("task_open must work");
    let here = store.state_swap(&home, "k", Expected::Anything, Some("1")).await;
    assert!(here.is_ok(), "a task must be there for all of its life: {here:?}");
    eventually("a task must end though it is used", async || {
        sleep(SHORT / 8).await;
        let used = store.state_swap(&home, "k", Expected::Anything, Some("1")).await;
        matches!(used, Err(StateError::Gone)) && store.state_get(&home, "k").await.is_err()
    })
    .await;
}

/// Of one peer so many tasks are kept, whether they run or have ended. One whose life ends makes room.
///
/// # Panics
/// When the store breaks the contract.
pub async fn bounds_those_of_a_peer(store: Arc<dyn Store>) {
    let open = async |id: &str, peer| match store.task_open(id, SHORT, (peer, 2)).await {
        Ok(()) => true,
        Err(StateError::TooManyTasks) => false,
        Err(error) => unreachable!("task_open must work: {error}"),
    };
    assert!(
        open("first", "one").await && open("second", "one").await,
        "task_open: there is room"
    );
    assert!(!open("third", "one").await, "task_open: the peer has two");
    let left = store.state_get(&Home::Task("third".into()), "k").await;
    assert!(
        matches!(left, Err(StateError::Gone)),
        "task_open: nothing is left of one for which there is no room: {left:?}"
    );
    assert!(open("other", "two").await, "task_open: another peer has room");
    eventually("a task whose life ends must make room", async || {
        sleep(SHORT / 8).await;
        open("third", "one").await
    })
    .await;
}
