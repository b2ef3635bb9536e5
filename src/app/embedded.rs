//! A node that another program serves, and how it ends.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::OnceCell;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::drain::{GiveUp, announce, depart, let_finish};
use super::handle::NodeHandle;
use super::signal::Stop;
use crate::engine::Engine;
use crate::http::{HttpService, MountedService};

/// How long the last answers may take to be written once calls have finished.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

/// A node that a program of one's own serves; see [`Builder::build`](super::Builder::build). Dropping it is
/// like killing the node: other nodes take its calls over, and its router refuses with 503. [`stop`](Self::stop)
/// lets calls finish.
#[derive(Debug)]
#[must_use = "the node ends when it is dropped"]
pub struct EmbeddedNode {
    handle: NodeHandle,
    serving: Serving,
}

/// What the program's own server passes on.
#[derive(Debug, Clone, Default)]
struct Serving {
    /// Requests that are not answered yet, or whose answers are not written.
    requests: TaskTracker,
    /// Fires when nothing is served any longer.
    closed: CancellationToken,
    /// Whether calls have finished, or had time to.
    finished: Arc<OnceCell<()>>,
}

impl Deref for EmbeddedNode {
    type Target = NodeHandle;

    fn deref(&self) -> &NodeHandle {
        &self.handle
    }
}

impl Drop for EmbeddedNode {
    fn drop(&mut self) {
        self.serving.closed.cancel();
    }
}

impl EmbeddedNode {
    /// The node, and a router of its paths for clients.
    pub(super) fn new(handle: NodeHandle) -> (Router, Self) {
        let serving = Serving::default();
        let http = HttpService::new(handle.service.clone());
        let mounted = MountedService::new(http, serving.requests.clone(), serving.closed.clone());
        (mounted.router(), Self { handle, serving })
    }

    /// What answers its requests.
    #[cfg(test)]
    pub(crate) fn http_service(&self) -> crate::http::Service {
        self.handle.service.clone()
    }

    /// Begins to drain, once it is polled, as `mcp-server` does on SIGTERM. `/readyz` and `/health` turn 503,
    /// so that balancers notice, and requests are served for `drain.delay`, and while they still come for 3 s
    /// more. Then it completes, and the program should accept no more connections. From then on clients'
    /// streams are closed, so that they go elsewhere, and calls may finish until `drain.deadline`; what is
    /// asked later is refused with 503.
    ///
    /// The program may wait for the end of its connections then, at most until [`drained`](Self::drained): a
    /// client that takes nothing may hold one open for longer.
    pub fn drain(&self) -> impl Future<Output = ()> + Send + use<> {
        let (service, engine) = (self.service.clone(), Arc::clone(&self.engine));
        let serving = self.serving.clone();
        let begin = async move {
            let hurry = CancellationToken::new();
            let give_up = announce(&service, &engine, Stop::WhenBalancersKnow, &hurry).await;
            let owner = engine.supervisor.clone();
            owner.spawn("drain", async move { serving.finish(&engine, give_up).await });
        };
        begin.instrument(self.span.clone())
    }

    /// Completes a second after calls have finished, or have had their time: when the connections of clients
    /// that read have ended, too.
    pub fn drained(&self) -> impl Future<Output = ()> + Send + use<> {
        let closed = self.serving.closed.clone();
        async move {
            closed.cancelled().await;
            sleep(WRITTEN_WITHIN).await;
        }
    }

    /// Stops: lets calls in flight finish, at most `drain.deadline` from when the node began to drain, and
    /// leaves the other nodes.
    pub async fn stop(self) {
        let stop = async {
            let hurry = CancellationToken::new();
            let give_up = announce(&self.service, &self.engine, Stop::WhenCallsFinish, &hurry).await;
            self.serving.finish(&self.engine, give_up).await;
            depart(&self.engine).await;
        };
        stop.instrument(self.span.clone()).await;
    }
}

impl Serving {
    /// Waits until what was passed on is answered, or it is time to give up. Then nothing more is served.
    async fn finish(&self, engine: &Engine, give_up: GiveUp) {
        let finish = async {
            let answered = async {
                self.requests.close();
                tokio::select! {
                    () = self.requests.wait() => None,
                    () = give_up.reached() => Some(()),
                }
            };
            let_finish(engine, answered, &give_up).await;
            self.closed.cancel();
        };
        self.finished.get_or_init(|| finish).await;
    }
}
