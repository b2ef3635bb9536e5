//! What a store must do for nodes: leases and messages.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::{LONG, PATIENCE, SHORT, eventually, node};
use crate::session::{Life, NodeId};
use crate::store::{
    KnownNode, Lease, NodeMessage, NodeStore, Received, Recipients, Renewed, Store, StoreError,
};

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
pub(super) async fn knows_who_lives(store: Arc<dyn Store>) {
    let [brief, renewed, ended, never] = ["brief", "renewed", "ended", "never"].map(node);
    let all = [brief.clone(), renewed.clone(), ended.clone(), never];
    let living = async || living(&*store, &all).await.expect("nodes must work");
    for node in [&brief, &renewed, &ended] {
        renew(&store, &lease(node), SHORT).await;
    }
    renew(&store, &lease(&renewed), LONG).await;
    let expected = [brief.clone(), renewed.clone(), ended.clone()];
    assert_eq!(
        living().await,
        expected,
        "nodes: those with a lease live, and no others"
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
    renew(&store, &lease(&brief), LONG).await;
    assert!(
        living().await.contains(&brief),
        "lease_renew: a node may come back"
    );
}

/// A node whose lease has ended, by time or by word, is dead until it comes back or is forgotten.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn knows_who_died(store: Arc<dyn Store>) {
    let [brief, ended, alive] = ["brief", "ended", "alive"].map(node);
    let dead = async || -> BTreeSet<_> {
        dead(&*store)
            .await
            .expect("nodes must work")
            .into_iter()
            .collect()
    };
    for (node, life) in [(&brief, SHORT), (&ended, LONG), (&alive, LONG)] {
        renew(&store, &lease(node), life).await;
    }
    let mut heard = store.listen(&alive).await.expect("listen must work");
    store.lease_end(&ended).await.expect("lease_end must work");
    assert_eq!(
        next(&mut heard).await,
        NodeMessage::left(&ended),
        "lease_end: all nodes are told"
    );
    assert!(
        dead().await.contains(&ended),
        "nodes: whose lease was ended is dead"
    );
    eventually("a node must be dead when its lease has ended", async || {
        dead().await == BTreeSet::from([brief.clone(), ended.clone()])
    })
    .await;
    renew(&store, &lease(&brief), LONG).await;
    for node in [&brief, &ended, &node("never")] {
        store.forget(node).await.expect("forget must work");
    }
    assert!(dead().await.is_empty(), "forget: the dead are forgotten");
    let mut known = store.nodes().await.expect("nodes must work");
    known.sort();
    let lives = |node| KnownNode { node, lives: true };
    assert_eq!(
        known,
        [lives(alive), lives(brief)],
        "forget: those who live are not"
    );
}

/// A message that no store sends by itself.
pub(super) fn mark(name: &str) -> NodeMessage {
    NodeMessage::Task { task: name.into() }
}

/// A message reaches the node it is meant for, or all, and nobody else.
///
/// # Panics
/// When the store breaks the contract.
pub(super) async fn sends_to_those_meant(store: Arc<dyn Store>) {
    let [a, b, nobody] = ["a", "b", "nobody"].map(node);
    let mut at_a = store.listen(&a).await.expect("listen must work");
    let mut at_b = store.listen(&b).await.expect("listen must work");
    let send = async |to, message: &NodeMessage| store.send(to, message).await.expect("send must work");
    let (to_a, to_b, to_all) = (mark("to a"), mark("to b: ünï {\"json\":1}\n"), mark("to all"));
    send(Recipients::One(&a), &to_a).await;
    // Nobody listens, which is no error.
    send(Recipients::One(&nobody), &mark("to nobody")).await;
    send(Recipients::One(&b), &to_b).await;
    send(Recipients::All, &to_all).await;
    for (listener, meant) in [(&mut at_a, &to_a), (&mut at_b, &to_b)] {
        // In any order: a message only ever says "look now".
        let heard = [next(listener).await, next(listener).await];
        assert!(
            heard.contains(meant) && heard.contains(&to_all),
            "send must reach the one it is meant for, or everyone: {heard:?}"
        );
    }
    let mut again = store.listen(&a).await.expect("listen: a second time is no error");
    let to_both = mark("to both");
    send(Recipients::One(&a), &to_both).await;
    assert_eq!(
        next(&mut at_a).await,
        to_both,
        "listen: the first listener must hear on"
    );
    assert_eq!(
        next(&mut again).await,
        to_both,
        "listen: a second listener must hear too"
    );
}

/// The next message. Gaps are a store's right at any time.
pub(super) async fn next(heard: &mut Receiver<Received>) -> NodeMessage {
    let message = async {
        loop {
            match heard.recv().await {
                Ok(Received::Message(text)) => return Some(NodeMessage::decode(&text)),
                Ok(Received::Gap | Received::Disconnected) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    };
    let message = timeout(PATIENCE, message)
        .await
        .expect("a message must reach who listens");
    message
        .expect("a listener must not be cut off while the store is open")
        .expect("a message must come as it was encoded")
}

/// Those of `nodes` whose lease has not ended.
async fn living(store: &dyn NodeStore, nodes: &[NodeId]) -> Result<Vec<NodeId>, StoreError> {
    if nodes.is_empty() {
        return Ok(vec![]);
    }
    let known = store.nodes().await?;
    let lives = |node: &&NodeId| known.iter().any(|known| known.lives && known.node == **node);
    Ok(nodes.iter().filter(lives).cloned().collect())
}

/// The nodes whose lease has ended, and that were not forgotten.
async fn dead(store: &dyn NodeStore) -> Result<Vec<NodeId>, StoreError> {
    let known = store.nodes().await?.into_iter();
    Ok(known
        .filter(|known| !known.lives)
        .map(|known| known.node)
        .collect())
}
