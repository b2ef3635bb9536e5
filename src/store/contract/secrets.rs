//! What a store must do with the secrets that nodes share.

use std::sync::Arc;
use std::time::Duration;

use super::LONG;
use crate::session::secrets::{NewSecret, Secrets};
use crate::store::Store;

/// All nodes get the same secrets; the newest changes with age, and the one before stays valid for a while.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn shares_secrets(store: Arc<dyn Store>) {
    const HOUR_MS: u64 = 60 * 60 * 1000;
    let start_ms = 1_700_000_000_000;
    let ask = async |name: &str, after_ms: u64| {
        let fresh = NewSecret {
            name: name.into(),
            text: format!("text of {name}"),
            now_ms: start_ms + after_ms,
        };
        let secrets = store.secrets(&fresh, Duration::from_millis(HOUR_MS), LONG).await;
        secrets.expect("secrets must work")
    };
    let secrets = |newest: &str, names: &[&str]| Secrets {
        newest: newest.into(),
        all: names
            .iter()
            .map(|name| ((*name).into(), format!("text of {name}")))
            .collect(),
    };
    assert_eq!(
        ask("one", 0).await,
        secrets("one", &["one"]),
        "secrets: the first that is offered is taken"
    );
    let same = "secrets: while the newest is young, all get the same";
    assert_eq!(ask("two", HOUR_MS).await, secrets("one", &["one"]), "{same}");
    let rotated = "secrets: when the newest is too old, a fresh one is taken beside it";
    assert_eq!(
        ask("three", HOUR_MS + 1).await,
        secrets("three", &["one", "three"]),
        "{rotated}"
    );
    assert_eq!(
        ask("four", 2 * HOUR_MS).await,
        secrets("three", &["one", "three"]),
        "{same}"
    );
    let dropped = "secrets: one that is twice too old is dropped";
    assert_eq!(
        ask("five", 2 * HOUR_MS + 1).await,
        secrets("three", &["three"]),
        "{dropped}"
    );
    let all_old = "secrets: when all are too old, a fresh one stands alone";
    assert_eq!(
        ask("six", 9 * HOUR_MS).await,
        secrets("six", &["six"]),
        "{all_old}"
    );
}
