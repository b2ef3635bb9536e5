//! Owns every task of a node, so that none outlives it and none dies unseen.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span, debug, error, error_span, warn};

#[cfg(test)]
pub(crate) mod gate;

/// Starts tasks, and stops them together. Clones share the same tasks.
#[derive(Debug, Clone)]
pub(crate) struct Supervisor {
    // Each call has a clone of it, and a clone of a token takes a lock.
    inner: Arc<OwnedTasks>,
}

#[derive(Debug)]
struct OwnedTasks {
    /// The node whose tasks they are: each line that they log names it.
    node: Box<str>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    kill: CancellationToken,
    #[cfg(test)]
    gate: gate::Gate,
}

impl Supervisor {
    /// An owner, without tasks, of those of this node.
    #[must_use]
    pub(crate) fn new(node: &str) -> Self {
        Self {
            inner: Arc::new(OwnedTasks {
                node: node.into(),
                tasks: TaskTracker::new(),
                stopping: CancellationToken::new(),
                kill: CancellationToken::new(),
                #[cfg(test)]
                gate: gate::Gate::default(),
            }),
        }
    }

    /// An owner whose tasks go on as that gate lets them.
    #[cfg(test)]
    pub(crate) fn gated(node: &str, gate: gate::Gate) -> Self {
        let mut supervisor = Self::new(node);
        Arc::get_mut(&mut supervisor.inner)
            .expect("nobody else has it yet")
            .gate = gate;
        supervisor
    }

    /// How many tasks are left.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.inner.tasks.len()
    }

    /// Drops every task, as when the process is killed.
    #[cfg(test)]
    pub(crate) fn kill(&self) {
        self.inner.kill.cancel();
    }

    /// Runs a task that ends when its work is done.
    pub(crate) fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let kill = self.inner.kill.clone();
        // In a box: a task keeps room for what it is made of and once more for what it waits for.
        let task = Box::pin(task);
        let task = async move {
            tokio::select! {
                () = task => {}
                () = kill.cancelled() => {}
            }
        };
        #[cfg(test)]
        let task = self.inner.gate.guard(task);
        let span = error_span!("task", task = name, node = &*self.inner.node);
        drop(self.inner.tasks.spawn(task.instrument(span)));
    }

    /// Runs work that must not stop half way in a task of its own: the caller may be dropped while it waits.
    /// `None` when the node stops before it is done. The work is begun at once, so that the caller keeps no
    /// room for it.
    pub(crate) fn spawn_and_wait<T, F>(
        &self,
        name: &'static str,
        work: F,
    ) -> impl Future<Output = Option<T>> + Send + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (done, outcome) = oneshot::channel();
        let work = async move {
            if done.send(work.await).is_err() {
                debug!("work is done that nobody waits for");
            }
        };
        self.spawn(name, work.instrument(Span::current()));
        async move { outcome.await.ok() }
    }

    /// Runs a task that the node cannot do without: when it ends before the node stops, the node stops.
    pub(crate) fn spawn_vital<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stopping = self.inner.stopping.clone();
        self.spawn(name, async move {
            let guard = stopping.clone().drop_guard();
            tokio::select! {
                () = stopping.cancelled() => {}
                () = task => error!(task = name, "a task that must not end has ended: stopping the node"),
            }
            drop(guard);
        });
    }

    /// A guard: dropping it drops every task, also one that is at work.
    #[must_use]
    pub(crate) fn kill_on_drop(&self) -> KillOnDrop {
        KillOnDrop(self.clone())
    }

    /// Fires when the node stops. Tasks that wait must watch it.
    #[must_use]
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.inner.stopping
    }

    /// Tells every task to stop, waits for them, at most `limit`, and drops those that are left, and all that are
    /// begun later.
    pub(crate) async fn stop(&self, limit: Duration) {
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(limit, self.inner.tasks.wait())
            .await
            .is_err()
        {
            warn!(
                left = self.inner.tasks.len(),
                "some tasks did not stop in time: they are dropped"
            );
        }
        // Also a task that is begun only now: what is dropped may try to go on in one.
        self.inner.kill.cancel();
        self.inner.tasks.wait().await;
    }
}

/// Made by [`Supervisor::kill_on_drop`].
#[derive(Debug)]
pub(crate) struct KillOnDrop(Supervisor);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let tasks = &self.0.inner;
        tasks.stopping.cancel();
        tasks.tasks.close();
        tasks.kill.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_begun_after_the_stop_is_dropped() {
        let supervisor = Supervisor::new("node-1");
        supervisor.stop(Duration::from_secs(1)).await;
        supervisor.spawn("late", std::future::pending());
        let waited = tokio::time::timeout(Duration::from_secs(60), supervisor.inner.tasks.wait());
        assert!(waited.await.is_ok(), "it goes on");
    }
}
