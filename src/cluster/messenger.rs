//! How nodes tell each other to look again. A message says only which session to look at; the truth is in the
//! store.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::Membership;
use crate::causes::causes;
use crate::session::{NodeId, SessionId};
use crate::store::{NodeMessage, Recipients, SessionNews, Store, StoreError};
use crate::telemetry::seldom;

/// How long the node that changed a session waits for the nodes that keep copies. Then it answers without
/// them.
pub(crate) const ACKNOWLEDGE_WITHIN: Duration = Duration::from_millis(250);

/// How often it is tried to send a message to a node, and how soon again.
const SEND_ATTEMPTS_MAX: u32 = 3;
const SEND_AGAIN: Duration = Duration::from_millis(20);

struct AwaitedAcknowledgements {
    missing: BTreeSet<String>,
    done: Option<oneshot::Sender<()>>,
}

/// Receives the messages of other nodes, except those about copies of sessions.
pub(crate) trait MessageHandler: std::fmt::Debug + Send + Sync + 'static {
    /// A message has come.
    fn handle(self: Arc<Self>, message: NodeMessage);

    /// Messages may have been missed.
    fn catch_up(&self);
}

/// Nobody, for a process that only sends.
impl MessageHandler for () {
    fn handle(self: Arc<Self>, _message: NodeMessage) {}

    fn catch_up(&self) {}
}

/// Sends messages to other nodes, and collects their acknowledgements.
pub(crate) struct Messenger {
    store: Arc<dyn Store>,
    membership: Arc<Membership>,
    node: NodeId,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, AwaitedAcknowledgements>>,
}

impl std::fmt::Debug for Messenger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Messenger")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl Messenger {
    /// The messenger of a member.
    #[must_use]
    pub(crate) fn new(store: Arc<dyn Store>, membership: Arc<Membership>) -> Self {
        Self {
            store,
            node: membership.node().clone(),
            membership,
            next: AtomicU64::new(1),
            waiting: Mutex::default(),
        }
    }

    /// Tells the nodes that keep copies of a session what happened, and waits until each that lives has
    /// stopped trusting its copy, at most [`ACKNOWLEDGE_WITHIN`]. Nodes that have died since are taken off
    /// the session. Returns those that could not be sent a message: they are to be told later.
    #[must_use]
    pub(crate) async fn tell_nodes(
        &self,
        nodes: &[NodeId],
        session: &SessionId,
        news: SessionNews,
    ) -> Vec<NodeId> {
        let others = nodes.iter().filter(|node| **node != self.node).cloned();
        let (mut told, unknown): (Vec<_>, Vec<_>) = others.partition(|node| self.membership.lives(node));
        let mut dead = Vec::new();
        if !unknown.is_empty() {
            // A node that is not known to live has come just now, or is gone. While this node cannot judge
            // who is dead, it takes all for alive.
            dead = self
                .membership
                .dead_among(&*self.store, &unknown)
                .await
                .unwrap_or_default();
            told.extend(unknown.into_iter().filter(|node| !dead.contains(node)));
        }
        // With a session that has ended, the nodes that keep copies are forgotten too.
        let released = async {
            if news == SessionNews::Changed {
                self.release(session, &dead).await;
            }
        };
        let (unsent, ()) = tokio::join!(self.send_and_wait(&told, session, news), released);
        unsent
    }

    /// Returns the nodes that could not be sent a message.
    async fn send_and_wait(&self, told: &[NodeId], session: &SessionId, news: SessionNews) -> Vec<NodeId> {
        if told.is_empty() {
            return vec![];
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (done, heard) = oneshot::channel();
        let missing = told.iter().map(|node| node.as_str().to_owned()).collect();
        self.lock().insert(
            number,
            AwaitedAcknowledgements {
                missing,
                done: Some(done),
            },
        );
        let message = NodeMessage::Session {
            news,
            session: session.as_str().to_owned(),
            from: self.node.as_str().to_owned(),
            number,
        };
        let unsent = &Mutex::new(told.to_vec());
        let send = |node: NodeId| {
            let message = &message;
            async move {
                if self.send(&node, message).await.is_ok() {
                    let mut unsent = unsent.lock().unwrap_or_else(PoisonError::into_inner);
                    unsent.retain(|left| *left != node);
                }
            }
        };
        let all_heard = async {
            join_all(told.iter().cloned().map(send)).await;
            heard.await
        };
        let in_time = tokio::time::timeout(ACKNOWLEDGE_WITHIN, all_heard).await.is_ok();
        let left = self.lock().remove(&number);
        if let (false, Some(waiting)) = (in_time, left) {
            self.look_after_silent(session, &waiting.missing).await;
        }
        std::mem::take(&mut *unsent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Acknowledges a message.
    pub(crate) async fn acknowledge(&self, to: &str, number: u64) {
        let Some(to) = NodeId::parse(to) else { return };
        let by = self.node.as_str().to_owned();
        // Without it the other node goes on after 250 ms.
        self.send(&to, &NodeMessage::Acknowledged { number, by })
            .await
            .unwrap_or_default();
    }

    /// Notes that a node acknowledged.
    pub(crate) fn acknowledged(&self, number: u64, by: &str) {
        let mut all = self.lock();
        let Some(waiting) = all.get_mut(&number) else {
            return;
        };
        waiting.missing.remove(by);
        if waiting.missing.is_empty()
            && let Some(done) = waiting.done.take()
            && done.send(()).is_err()
        {
            debug!(number, "an acknowledgement came after the wait for it had ended");
        }
    }

    /// Sends a message, again if need be. The node that changes a session waits 250 ms.
    async fn send(&self, to: &NodeId, message: &NodeMessage) -> Result<(), StoreError> {
        let mut left = SEND_ATTEMPTS_MAX;
        loop {
            left -= 1;
            match self.store.send(Recipients::One(to), message).await {
                Ok(()) => return Ok(()),
                Err(error) if left > 0 && error.may_pass() => sleep(SEND_AGAIN).await,
                Err(error) => {
                    let words = "could not send a message to a node";
                    seldom(
                        words,
                        |left_out| warn!(%to, error = %causes(&error), left_out, "{words}"),
                    );
                    return Err(error);
                }
            }
        }
    }

    async fn look_after_silent(&self, session: &SessionId, silent: &BTreeSet<String>) {
        let silent: Vec<NodeId> = silent.iter().filter_map(|name| NodeId::parse(name)).collect();
        let dead = match self.membership.dead_among(&*self.store, &silent).await {
            Ok(dead) => dead,
            Err(error) => {
                let words = "could not check nodes that do not answer";
                return seldom(
                    words,
                    |left_out| warn!(session = session.tag(), error = %causes(&error), left_out, "{words}"),
                );
            }
        };
        for node in silent.iter().filter(|node| !dead.contains(node)) {
            let words = "a node did not acknowledge a change in time";
            seldom(
                words,
                |left_out| warn!(silent = %node, session = session.tag(), left_out, "{words}"),
            );
        }
        self.release(session, &dead).await;
    }

    /// Takes dead nodes off a session. A node that has come back meanwhile gets a message to read the session
    /// once more: it may have been taken off after it read.
    async fn release(&self, session: &SessionId, dead: &[NodeId]) {
        if dead.is_empty() {
            return;
        }
        let released = dead.iter().map(|node| self.store.release(session, node));
        let failed = join_all(released).await.into_iter().find_map(Result::err);
        let still = match failed {
            None => self.membership.dead_among(&*self.store, dead).await,
            Some(error) => Err(error),
        };
        let message = |node: &NodeId| {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            debug!(back = %node, session = session.tag(), "a node that was thought dead is back");
            NodeMessage::Session {
                news: SessionNews::Changed,
                session: session.as_str().to_owned(),
                from: self.node.as_str().to_owned(),
                number,
            }
        };
        match still {
            Ok(still) => {
                let sent = dead
                    .iter()
                    .filter(|node| !still.contains(node))
                    .map(|node| async move { self.send(node, &message(node)).await.unwrap_or_default() });
                join_all(sent).await;
            }
            Err(error) => {
                debug!(session = session.tag(), error = %causes(&error), "could not take dead nodes off a session");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, AwaitedAcknowledgements>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
