//! What a store must do with notebooks.

use std::sync::Arc;

use tokio::time::sleep;

use super::{LONG, SHORT, eventually};
use crate::session::Principal;
use crate::session::notebooks::Notebooks;
use crate::session::state::{Expected, Home, StateError};
use crate::store::Store;

/// A notebook is found by its owner, whoever asks where, and by nobody else.
///
/// # Panics
/// When the store breaks the contract.
pub async fn knows_owners(store: Arc<dyn Store>) {
    let of = |name: &str| Notebooks::new(Arc::<dyn Store>::clone(&store), Principal(name.into()), LONG);
    for (owner, stranger) in [("alice", "bob"), ("", "bob"), ("alice", "")] {
        let (handle, notes) = of(owner).open().await.expect("open must work");
        notes
            .set("k", &1)
            .await
            .expect("set: a notebook that was just opened is there");
        let found = of(owner).find(&handle).await.expect("find must work");
        let found = found.expect("find: the owner must find the notebook");
        let value: Option<u64> = found.get("k").await.expect("get must work");
        assert_eq!(value, Some(1), "get: what was set must be there");
        let found = of(stranger).find(&handle).await.expect("find must work");
        assert!(
            found.is_none(),
            "find: {stranger:?} must not find a notebook of {owner:?}"
        );
        let taken = store
            .notebook_open(&handle, &Principal(stranger.into()), LONG, ("peer", 1000))
            .await;
        assert!(
            taken.is_err(),
            "notebook_open: a handle that is taken must not be handed to another"
        );
    }
    let never = uuid::Uuid::new_v4().to_string();
    let found = of("alice").find(&never).await.expect("find must work");
    assert!(found.is_none(), "find: what was never opened is absent");
    let home = Home::Notebook(never.into());
    let wrote = store.state_swap(&home, "k", Expected::Anything, Some("1")).await;
    assert!(
        matches!(wrote, Err(StateError::Gone)),
        "state_swap must not make a notebook: {wrote:?}"
    );
}

/// Every use of a notebook renews its life; without use it ends.
///
/// # Panics
/// When the store breaks the contract.
pub async fn forgets_what_is_not_used(store: Arc<dyn Store>) {
    let owner = Principal("alice".into());
    let stranger = Principal("bob".into());
    let names = ["read", "written", "listed", "found", "idle", "asked"];
    for name in names {
        store
            .notebook_open(name, &owner, SHORT, ("peer", 1000))
            .await
            .expect("notebook_open must work");
    }
    let home = |name: &str| Home::Notebook(name.into());
    for _ in 0..8 {
        sleep(SHORT / 4).await;
        let used = async {
            store.state_get(&home("read"), "k").await?;
            let wrote = store
                .state_swap(&home("written"), "k", Expected::Anything, Some("1"))
                .await?;
            drop(wrote);
            store.state_entries(&home("listed")).await?;
            // A stranger learns whose it is at most, and does not keep it alive.
            store.notebook_owner("asked", &stranger, LONG).await?;
            store.notebook_owner("found", &owner, SHORT).await
        };
        let found = used.await.expect("each use of a notebook must renew its life");
        assert_eq!(
            found,
            Some(owner.clone()),
            "notebook_owner must renew the notebook's life"
        );
    }
    let idle = store.state_get(&home("idle"), "k").await;
    assert!(
        matches!(idle, Err(StateError::Gone)),
        "a notebook without use must end: {idle:?}"
    );
    let asked = store.state_get(&home("asked"), "k").await;
    assert!(
        matches!(asked, Err(StateError::Gone)),
        "notebook_owner: whoever may not read a notebook must not keep it alive: {asked:?}"
    );
    let idle = store
        .notebook_owner("idle", &owner, LONG)
        .await
        .expect("notebook_owner must work");
    assert_eq!(idle, None, "notebook_owner must not bring a notebook back");

    let renewed = store
        .notebook_owner("found", &owner, LONG)
        .await
        .expect("notebook_owner must work");
    assert_eq!(renewed, Some(owner), "notebook_owner: the notebook is there");
    eventually("a notebook must end when its life does", async || {
        sleep(SHORT).await;
        store.state_get(&home("read"), "k").await.is_err()
    })
    .await;
    let got = store.state_get(&home("found"), "k").await;
    assert!(
        got.is_ok(),
        "notebook_owner must let the notebook live as long as it says: {got:?}"
    );
}
