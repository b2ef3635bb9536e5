//! How nodes tell each other to look again. A ring says only which session to look at; the truth is in the store.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::Membership;
use crate::causes::causes;
use crate::session::{NodeId, SessionId};
use crate::store::Store;
use crate::store::changes::Topic;
use crate::telemetry::seldom;

/// How long whoever changed a session waits for the nodes that keep copies, before it answers all the same.
pub(crate) const ACKNOWLEDGE_WITHIN: Duration = Duration::from_millis(250);

/// What happened to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum News {
    /// Its record changed.
    Changed,
    /// It was ended.
    Ended,
}

/// A message between nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ring", rename_all = "lowercase")]
pub(crate) enum Bell {
    /// Look at this session again, then acknowledge.
    Session {
        /// What happened.
        news: News,
        /// To which session.
        session: String,
        /// Who wants the acknowledgement.
        from: String,
        /// The number to acknowledge.
        number: u64,
    },
    /// An event was appended to a stream that this node carries, or another connection carries it now: read its log. Sent by
    /// the store.
    Stream {
        /// The session.
        session: String,
        /// The stream.
        stream: String,
    },
    /// A client's answer came for a call that this node runs: take it from the store. Sent by the store.
    Answer {
        /// The session.
        session: String,
        /// The call.
        call: String,
    },
    /// A client cancels a call that this node runs, or may be about to register.
    Cancel {
        /// The session.
        session: String,
        /// The request's id, as JSON text.
        request: String,
    },
    /// Something changed that sessions may want to know of: compare the versions.
    Topic {
        /// What changed.
        topic: Topic,
    },
    /// Somebody changed a task that this node runs, or wonders whether it does: look at its record.
    Task {
        /// The task.
        task: String,
    },
    /// A node has ended its lease: nobody need wait for it any longer.
    Left {
        /// The node.
        node: String,
    },
    /// A node has stopped trusting its copy.
    Acknowledged {
        /// The number of the ring.
        number: u64,
        /// The node that heard it.
        by: String,
    },
}

struct Waiting {
    missing: BTreeSet<String>,
    done: Option<oneshot::Sender<()>>,
}

/// Who hears what is rung, apart from what concerns copies of sessions.
pub(crate) trait Ears: std::fmt::Debug + Send + Sync + 'static {
    /// Something was rung.
    fn hear(self: Arc<Self>, bell: Bell);

    /// Something may have been rung and not been heard.
    fn catch_up(&self);
}

/// Nobody, for a process that only rings.
impl Ears for () {
    fn hear(self: Arc<Self>, _bell: Bell) {}

    fn catch_up(&self) {}
}

/// Rings other nodes, and collects their acknowledgements.
pub(crate) struct Ring {
    store: Arc<dyn Store>,
    membership: Arc<Membership>,
    node: NodeId,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl Ring {
    /// The ring of a member.
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

    /// Tells the nodes that keep copies of a session what happened, and waits until each that lives has stopped trusting its
    /// copy, at most [`ACKNOWLEDGE_WITHIN`]. Nodes that have died since are taken off the session.
    pub(crate) async fn tell(&self, holders: &[NodeId], session: &SessionId, news: News) {
        let others = holders.iter().filter(|holder| **holder != self.node).cloned();
        let (mut rung, unknown): (Vec<_>, Vec<_>) = others.partition(|node| self.membership.lives(node));
        let mut dead = Vec::new();
        if !unknown.is_empty() {
            // They have come just now, or are gone. While it cannot be told who is dead, all may live.
            let living = match self.membership.can_judge() {
                true => self.store.living(&unknown).await.ok(),
                false => None,
            };
            let lives = |node: &NodeId| living.as_ref().is_none_or(|living| living.contains(node));
            let (living, gone): (Vec<_>, Vec<_>) = unknown.into_iter().partition(lives);
            rung.extend(living);
            dead = gone;
        }
        // With a session that has ended, its holders are forgotten too.
        let released = async {
            if news == News::Changed {
                self.release(session, &dead).await;
            }
        };
        tokio::join!(self.ring_and_wait(&rung, session, news), released);
    }

    async fn ring_and_wait(&self, rung: &[NodeId], session: &SessionId, news: News) {
        if rung.is_empty() {
            return;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (done, heard) = oneshot::channel();
        let missing = rung.iter().map(|node| node.as_str().to_owned()).collect();
        self.lock().insert(
            number,
            Waiting {
                missing,
                done: Some(done),
            },
        );
        let bell = Bell::Session {
            news,
            session: session.as_str().to_owned(),
            from: self.node.as_str().to_owned(),
            number,
        };
        let all_heard = async {
            join_all(rung.iter().map(|node| self.send(node, &bell))).await;
            heard.await
        };
        let in_time = tokio::time::timeout(ACKNOWLEDGE_WITHIN, all_heard).await.is_ok();
        let left = self.lock().remove(&number);
        if let (false, Some(waiting)) = (in_time, left) {
            self.look_after_silent(session, &waiting.missing).await;
        }
    }

    /// Acknowledges a ring.
    pub(crate) async fn acknowledge(&self, to: &str, number: u64) {
        let Some(to) = NodeId::parse(to) else { return };
        self.send(
            &to,
            &Bell::Acknowledged {
                number,
                by: self.node.as_str().to_owned(),
            },
        )
        .await;
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

    async fn send(&self, to: &NodeId, bell: &Bell) {
        let Ok(text) = serde_json::to_string(bell) else {
            return;
        };
        if let Err(error) = self.store.ring(to, &text).await {
            let words = "could not ring a node";
            seldom(
                words,
                |left_out| warn!(%to, error = %causes(&error), left_out, "{words}"),
            );
        }
    }

    async fn look_after_silent(&self, session: &SessionId, silent: &BTreeSet<String>) {
        let silent: Vec<NodeId> = silent.iter().filter_map(|name| NodeId::parse(name)).collect();
        let living = match self.store.living(&silent).await {
            Ok(living) => living,
            Err(error) => {
                let words = "could not look after nodes that do not answer";
                return seldom(
                    words,
                    |left_out| warn!(error = %causes(&error), left_out, "{words}"),
                );
            }
        };
        for node in &living {
            let words = "a node did not acknowledge a change in time";
            seldom(
                words,
                |left_out| warn!(%node, session = session.tag(), left_out, "{words}"),
            );
        }
        if self.membership.can_judge() {
            let dead: Vec<_> = silent.into_iter().filter(|node| !living.contains(node)).collect();
            self.release(session, &dead).await;
        }
    }

    /// Takes nodes off a session that are dead. One that has come back meanwhile, and reads the session again just now, looks
    /// once more: it may have been taken off after that.
    async fn release(&self, session: &SessionId, dead: &[NodeId]) {
        if dead.is_empty() {
            return;
        }
        let released = dead.iter().map(|node| self.store.release(session, node));
        let failed = join_all(released).await.into_iter().find_map(Result::err);
        let back = match failed {
            None => self.store.living(dead).await,
            Some(error) => Err(error),
        };
        let bell = |node: &NodeId| {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            debug!(%node, "a node that was thought dead is back");
            Bell::Session {
                news: News::Changed,
                session: session.as_str().to_owned(),
                from: self.node.as_str().to_owned(),
                number,
            }
        };
        match back {
            Ok(back) => {
                let rings = back
                    .iter()
                    .map(|node| async move { self.send(node, &bell(node)).await });
                join_all(rings).await;
            }
            Err(error) => debug!(error = %causes(&error), "could not take nodes off that are gone"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
