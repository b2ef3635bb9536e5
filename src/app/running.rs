//! A node with a listener of its own.

use std::future::pending;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info};

use super::AppError;
use super::drain::{announce, depart, let_finish};
use super::handle::NodeHandle;
use super::signal::{Stop, told_to_stop};
use crate::net::server::Server;
use crate::session::NodeId;

/// How long after the first signal a second one counts. Two that come together were meant as one: `timeout`
/// signals a process and then its group.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A node that listens. Dropping it is like killing it: other nodes take its calls over. [`stop`](Self::stop)
/// lets them finish.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct Running {
    handle: NodeHandle,
    server: Server,
}

impl Running {
    pub(super) const fn new(handle: NodeHandle, server: Server) -> Self {
        Self { handle, server }
    }

    /// Where it listens: `http://host:port`, or `unix:/path`.
    #[must_use]
    pub fn address(&self) -> &str {
        self.server.address()
    }

    /// The node's id.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        self.handle.node()
    }

    /// The node behind the listener: its sessions, its announcer.
    pub const fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// Runs until the process gets a signal to stop, then stops as [`stop`](Self::stop) does.
    ///
    /// # Errors
    /// [`AppError::Broken`], [`AppError::Name`].
    pub async fn run(self) -> Result<(), AppError> {
        self.run_until(told_to_stop(), told_to_stop).await
    }

    /// Runs until `told` completes, then drains. `again` makes the future of a second signal.
    ///
    /// # Errors
    /// [`AppError::Broken`], [`AppError::Name`].
    pub async fn run_until<A: Future<Output = Stop>>(
        self,
        told: impl Future<Output = Stop>,
        again: impl FnOnce() -> A,
    ) -> Result<(), AppError> {
        let Self { handle, mut server } = self;
        let told = tokio::select! {
            stop = told => Ok(stop),
            error = handle.broken() => Err(error),
            () = server.broken() => Err(AppError::Broken),
        };
        let stop = told.as_ref().copied().unwrap_or(Stop::WhenCallsFinish);
        let span = handle.span.clone();
        drain(&handle, server, stop, again).instrument(span).await;
        told.map(|_stop| ())
    }

    /// Stops: takes no new connections, lets calls in flight finish, at most `drain.deadline`.
    pub async fn stop(self) {
        let Self { handle, server } = self;
        let span = handle.span.clone();
        drain(&handle, server, Stop::WhenCallsFinish, pending)
            .instrument(span)
            .await;
    }
}

/// Stops a node. On a second signal, whose future `again` makes, calls get [`AT_ONCE`](super::signal::AT_ONCE)
/// and balancers nothing.
async fn drain<A: Future<Output = Stop>>(
    handle: &NodeHandle,
    server: Server,
    stop: Stop,
    again: impl FnOnce() -> A,
) {
    let (engine, hurry) = (&handle.engine, CancellationToken::new());
    let hurried = async {
        sleep(AGAIN_AFTER).await;
        again().await;
        info!(node = %engine.node, "second signal: stopping without waiting for calls or balancers");
        hurry.cancel();
        pending::<()>().await;
    };
    let drained = async {
        let give_up = announce(&handle.service, engine, stop, &hurry).await;
        let unfinished = let_finish(engine, server.stop(give_up.reached()), &give_up).await;
        // No handler runs on when the node has left.
        if let Some(unfinished) = unfinished {
            unfinished.close().await;
        }
        depart(engine).await;
    };
    tokio::select! {
        () = drained => {}
        () = hurried => {}
    }
}
