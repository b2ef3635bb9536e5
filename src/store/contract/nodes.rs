//! What a store must do for nodes: leases, rings, secrets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::{LONG, PATIENCE, SHORT, eventually, node};
use crate::session::{Life, NodeId};
use crate::store::{Heard, Lease, NewSecret, Renewed, Secrets, Store};

pub(super) fn lease(node: &NodeId) -> Lease {
    lease_of(node, "first")
}

/// The lease of a node in that life.
pub(super) fn lease_of(node: &NodeId, life: &str) -> Lease {
    Lease {
        node: node.clone(),
        life: Life::parse(life).expect("the suite's own lives are well-formed"),
        address: "10.0.0.1:3000".into(),
        version: "0.1.0".into(),
        started_ms: 1_700_000_000_000,
    }
}

/// Renews a lease that nobody else has.
pub(super) async fn renew(store: &Arc<dyn Store>, lease: &Lease, ttl: Duration) {
    let renewed = store
        .lease_renew(lease, ttl)
        .await
        .expect("lease_renew must work");
    assert!(
        matches!(renewed, Renewed::Renewed { .. }),
        "lease_renew: it is nobody else's, but gave {renewed:?}"
    );
}

/// A node lives until its lease ends, by time or by word.
///
/// # Panics
/// When the store breaks the contract.
pub async fn knows_who_lives(store: Arc<dyn Store>) {
    let [brief, renewed, ended, never] = ["brief", "renewed", "ended", "never"].map(node);
    let all = [brief.clone(), renewed.clone(), ended.clone(), never];
    let living = async || {
        let mut living = store.living(&all).await.expect("living must work");
        living.sort();
        living
    };
    for node in [&brief, &renewed, &ended] {
        renew(&store, &lease(node), SHORT).await;
    }
    renew(&store, &lease(&renewed), LONG).await;
    let expected = [brief.clone(), ended.clone(), renewed.clone()];
    assert_eq!(
        living().await,
        expected,
        "living: those with a lease, and no others"
    );
    store.lease_end(&ended).await.expect("lease_end must work");
    assert!(
        !living().await.contains(&ended),
        "lease_end must end the lease at once"
    );
    store
        .lease_end(&node("never"))
        .await
        .expect("lease_end: no lease is no error");
    eventually("a lease must end when its life does", async || {
        !living().await.contains(&brief)
    })
    .await;
    assert_eq!(living().await, [renewed], "a renewed lease must live on");
    let nobody = store.living(&[]).await.expect("living must work");
    assert!(nobody.is_empty(), "living: of nobody, nobody lives");
    renew(&store, &lease(&brief), LONG).await;
    assert!(
        living().await.contains(&brief),
        "lease_renew: a node may come back"
    );
}

/// A ring reaches the node it is meant for, or all, and nobody else.
///
/// # Panics
/// When the store breaks the contract.
pub async fn rings_those_meant(store: Arc<dyn Store>) {
    let [a, b, nobody] = ["a", "b", "nobody"].map(node);
    let mut at_a = store.listen(&a).await.expect("listen must work");
    let mut at_b = store.listen(&b).await.expect("listen must work");
    store.ring(&a, "to a").await.expect("ring must work");
    store
        .ring(&nobody, "to nobody")
        .await
        .expect("ring: nobody listens, which is no error");
    store
        .ring(&b, "to b: ünï {\"json\":1}")
        .await
        .expect("ring must work");
    store.ring_all("to all").await.expect("ring_all must work");
    for (listener, meant) in [(&mut at_a, "to a"), (&mut at_b, "to b: ünï {\"json\":1}")] {
        // In any order: a ring only ever says "look now".
        let heard = BTreeSet::from([next(listener).await, next(listener).await]);
        let expected = BTreeSet::from([meant.to_owned(), "to all".to_owned()]);
        assert_eq!(
            heard, expected,
            "ring must reach the one it is meant for, ring_all everyone"
        );
    }
    let mut again = store.listen(&a).await.expect("listen: a second time is no error");
    store.ring(&a, "to both").await.expect("ring must work");
    assert_eq!(
        next(&mut at_a).await,
        "to both",
        "listen: the first listener must hear on"
    );
    assert_eq!(
        next(&mut again).await,
        "to both",
        "listen: a second listener must hear too"
    );
}

/// The next message. Gaps are a store's right at any time.
pub(super) async fn next(heard: &mut Receiver<Heard>) -> String {
    let message = async {
        loop {
            match heard.recv().await {
                Ok(Heard::Message(message)) => return Some(message.to_string()),
                Ok(Heard::Gap | Heard::Deaf) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    };
    let message = timeout(PATIENCE, message)
        .await
        .expect("a ring must reach who listens");
    message.expect("a listener must not be cut off while the store is open")
}

/// All nodes get the same secrets; the newest changes with age, and the one before stays valid for a while.
///
/// # Panics
/// When the store breaks the contract.
pub async fn shares_secrets(store: Arc<dyn Store>) {
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
