//! How simulated clients end their sessions, and what is left of them then.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, sleep, timeout};

use super::client::{SHARED, SimulatedClient};
use super::store::spawn;
use crate::cluster::messenger::ACKNOWLEDGE_WITHIN;
use crate::cluster::registry::VERIFY_EVERY_MS;
use crate::protocol::error::Refusal;
use crate::session::{SessionId, TransportKind};

/// When each node has read a session again, also without a message.
const LOOKED_AGAIN: Duration = Duration::from_millis(VERIFY_EVERY_MS + 5000);

/// How long calls and streams may last in a session that has ended.
const OVER_WITHIN: Duration = Duration::from_secs(120);

impl SimulatedClient {
    /// Ends its session, after which no node knows it. Those of HTTP+SSE cannot be ended.
    pub(super) async fn end(self: &Arc<Self>) {
        let Some(session) = self
            .session()
            .filter(|_| self.transport != Some(TransportKind::Sse))
        else {
            return;
        };
        // A try that was refused, or broke off, may have ended it.
        let (mut tried, mut excused) = (false, false);
        loop {
            let (node, began) = (self.node().await, Instant::now());
            match node.end(&self.principal, &session).await {
                Some(Err(Refusal::SessionNotFound)) if !tried => {
                    let name = &self.name;
                    self.world.wrong(format!(
                        "{} does not know the session that {name} ends",
                        node.name
                    ));
                    return;
                }
                Some(Ok(()) | Err(Refusal::SessionNotFound)) => {
                    // One that has just lost the store tells other nodes when it has it again.
                    excused |= node.faults.serves_last_known();
                    // One that was held up has not waited for others to hear of it: it does for 250 ms.
                    excused |= node.was_held_up_since(began) && began.elapsed() >= ACKNOWLEDGE_WITHIN;
                    break;
                }
                Some(Err(refusal)) if refusal.retry_after_seconds().is_none() => {
                    return self.world.wrong(format!("{} cannot end: {refusal}", self.name));
                }
                _ => sleep(Duration::from_millis(500)).await,
            }
            tried = true;
        }
        self.world.step(format!("{} has ended its session", self.name));
        // A node that lost the store's answer does not know which nodes to tell, and where messages are lost
        // that nobody is told of, a node learns of it only when it looks.
        if !tried && !excused && !self.world.loses_messages() {
            self.check_ended(&session).await;
        }
        let client = Arc::clone(self);
        spawn(async move {
            sleep(LOOKED_AGAIN).await;
            client.check_ended(&session).await;
        });
    }

    /// Ends its session while calls run, streams are open, and it is subscribed. All of them end then.
    pub(super) async fn end_amid_calls(self: &Arc<Self>) {
        let mut under_way: Vec<BoxFuture<'static, ()>> = vec![Box::pin(Arc::clone(self).listen(false))];
        let own = self.own();
        futures::future::join_all([SHARED[0], &own].map(|uri| self.subscribe(uri))).await;
        for _ in 0..=self.random.below(4) {
            under_way.push(Box::pin(Arc::clone(self).call(self.next_id())));
        }
        let (done, over) = tokio::sync::oneshot::channel();
        spawn(async move {
            futures::future::join_all(under_way).await;
            done.send(()).ok();
        });
        sleep(self.random.between(0, 3000)).await;
        self.ends.store(true, Ordering::Relaxed);
        self.end().await;
        if timeout(OVER_WITHIN, over).await.is_err() {
            self.world
                .wrong(format!("{} waits in a session that has ended", self.name));
        }
        self.leaves.cancel();
    }

    /// No node serves a session that has ended, and the store keeps nothing of it.
    async fn check_ended(&self, session: &SessionId) {
        let Some(transport) = self.transport else { return };
        let name = &self.name;
        if self.world.store().keeps(session) {
            self.world
                .wrong(format!("the store keeps the session that {name} has ended"));
        }
        for node in self.nodes.serving() {
            let cached = node.engine.session(session, &self.principal, transport);
            let served = matches!(node.within(cached).await, Some(Ok(_)));
            if served && !node.faults.serves_last_known() {
                let node = &node.name;
                self.world
                    .wrong(format!("{node} serves the session that {name} has ended"));
            }
        }
    }

    /// A session that nobody has used for longer than it lives has ended too.
    pub(super) async fn check_expired(&self) {
        if let Some(session) = self.session() {
            self.check_ended(&session).await;
        }
    }
}
