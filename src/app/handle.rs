//! A node, whoever serves its requests: what its program asks of it, and how it ends.

use std::sync::Arc;

use axum::Router;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument as _, Span};

use super::AppError;
use super::drain::{GiveUp, announce, depart, let_finish};
use super::signal::Stop;
use crate::cluster::SessionError;
use crate::engine::Engine;
use crate::http::Service;
use crate::session::{Announcer, NodeId, SessionId, SessionRecord};
use crate::store::StoreError;
use crate::supervisor::KillOnDrop;

/// A node that a program of one's own serves; see [`Builder::build`](super::Builder::build). Dropping it is
/// like killing the node: other nodes take its calls over. [`stop`](Self::stop) lets them finish.
#[derive(Debug)]
#[must_use = "the node ends when it is dropped"]
pub struct NodeHandle {
    pub(super) engine: Arc<Engine>,
    pub(super) service: Service,
    /// The requests that the program's own server passes on, and their answers.
    pub(super) requests: TaskTracker,
    /// Fires when the node has left: nothing is served any longer.
    pub(super) closed: CancellationToken,
    /// Whether calls have finished, or had time to.
    finished: Arc<OnceCell<()>>,
    /// Adds the node's name to log lines.
    pub(super) span: Span,
    _owned: [KillOnDrop; 2],
}

impl NodeHandle {
    /// That of an engine at work. Call it in the node's span.
    pub(super) fn new(engine: Arc<Engine>, service: Service, owned: [KillOnDrop; 2]) -> Self {
        Self {
            engine,
            service,
            requests: TaskTracker::new(),
            closed: CancellationToken::new(),
            finished: Arc::default(),
            span: Span::current(),
            _owned: owned,
        }
    }

    /// The node's id.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        &self.engine.node
    }

    /// Which store it uses.
    #[must_use]
    pub fn store_kind(&self) -> &'static str {
        self.engine.store.profile().kind
    }

    /// How many sessions this node keeps restored.
    #[must_use]
    pub fn active_sessions(&self) -> usize {
        self.engine.sessions.kept()
    }

    /// Sessions of all nodes, at most `limit`, in no order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn sessions(&self, limit: usize) -> Result<Vec<(SessionId, SessionRecord)>, StoreError> {
        self.engine.store.list(limit).await
    }

    /// Ends a session on all nodes, for good: its client has to initialize again. Says whether there was one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn end_session(&self, id: &SessionId) -> Result<bool, StoreError> {
        match self.engine.sessions.end(id).await {
            Ok(()) => Ok(true),
            Err(SessionError::Store(error)) => Err(error),
            Err(SessionError::NotFound | SessionError::Full | SessionError::TooMany(_)) => Ok(false),
        }
    }

    /// Announces changes to every client that wants to know, on any node.
    #[must_use]
    pub fn announcer(&self) -> Announcer {
        self.engine.announcer()
    }

    /// Serves `/health`, `/livez`, `/readyz` and `/metrics`, wherever the program wants them.
    pub fn probes(&self) -> Router {
        self.service.probes()
    }

    /// Completes when the node has ended by itself: another process has taken its name, or a task has ended
    /// that it cannot do without.
    pub async fn broken(&self) -> AppError {
        self.engine.supervisor.stopping().cancelled().await;
        let displaced = self.engine.membership.displaced();
        displaced.map_or(AppError::Broken, AppError::Name)
    }

    /// Begins to drain, once it is polled, as `mcp-server` does on SIGTERM. `/readyz` and `/health` turn 503,
    /// so that balancers notice, and requests are served for `drain.delay`, and while they still come for 3 s
    /// more. Then it completes, and the program should accept no more connections. From then on clients'
    /// streams are closed, so that they go elsewhere, and calls may finish until `drain.deadline`.
    ///
    /// The program may wait for the end of all its connections then: they end. And then for
    /// [`stop`](Self::stop).
    pub fn drain(&self) -> impl Future<Output = ()> + Send + use<> {
        let (service, engine) = (self.service.clone(), Arc::clone(&self.engine));
        let (requests, finished) = (self.requests.clone(), Arc::clone(&self.finished));
        let begin = async move {
            let hurry = CancellationToken::new();
            let give_up = announce(&service, &engine, Stop::WhenBalancersKnow, &hurry).await;
            let owner = engine.supervisor.clone();
            owner.spawn("drain", async move {
                finished.get_or_init(|| finish(&engine, requests, give_up)).await;
            });
        };
        begin.instrument(self.span.clone())
    }

    /// Stops: lets calls in flight finish, at most `drain.deadline` from when the node began to drain, and
    /// leaves the other nodes. What its router is asked after that is refused with 503.
    pub async fn stop(self) {
        let stop = async {
            let hurry = CancellationToken::new();
            let give_up = announce(&self.service, &self.engine, Stop::WhenCallsFinish, &hurry).await;
            self.finished
                .get_or_init(|| finish(&self.engine, self.requests.clone(), give_up))
                .await;
            self.closed.cancel();
            depart(&self.engine).await;
        };
        stop.instrument(self.span.clone()).await;
    }
}

/// Waits until what the program's own server has passed on is answered, or it is time to give up.
async fn finish(engine: &Engine, requests: TaskTracker, give_up: GiveUp) {
    let answered = async {
        requests.close();
        tokio::select! {
            () = requests.wait() => None,
            () = give_up.reached() => Some(()),
        }
    };
    let_finish(engine, answered, &give_up).await;
}
