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
    servers: Servers,
}

/// What a node listens with.
#[derive(Debug)]
pub(super) struct Servers {
    /// For clients.
    pub(super) clients: Server,
    /// For health checks and metrics, if these have an address of their own.
    pub(super) probes: Option<Server>,
}

impl Servers {
    /// Completes when one of them accepts connections no longer, though nobody has stopped it.
    async fn broken(&mut self) {
        let probes = async {
            match &mut self.probes {
                Some(probes) => probes.broken().await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = self.clients.broken() => {}
            () = probes => {}
        }
    }
}

impl Running {
    pub(super) const fn new(handle: NodeHandle, servers: Servers) -> Self {
        Self { handle, servers }
    }

    /// Where it listens: `http://host:port`, or `unix:/path`.
    #[must_use]
    pub fn address(&self) -> &str {
        self.servers.clients.address()
    }

    /// Where health and metrics are apart from that, if they are.
    #[must_use]
    pub(crate) fn probe_address(&self) -> Option<&str> {
        self.servers.probes.as_ref().map(Server::address)
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
        let Self { handle, mut servers } = self;
        let told = tokio::select! {
            stop = told => Ok(stop),
            error = handle.broken() => Err(error),
            () = servers.broken() => Err(AppError::Broken),
        };
        let stop = told.as_ref().copied().unwrap_or(Stop::WhenCallsFinish);
        let span = handle.span.clone();
        drain(&handle, servers, stop, again).instrument(span).await;
        told.map(|_stop| ())
    }

    /// Stops: takes no new connections, lets calls in flight finish, at most `drain.deadline`.
    pub async fn stop(self) {
        let Self { handle, servers } = self;
        let span = handle.span.clone();
        drain(&handle, servers, Stop::WhenCallsFinish, pending)
            .instrument(span)
            .await;
    }
}

/// Stops a node. On a second signal, whose future `again` makes, calls get [`AT_ONCE`](super::signal::AT_ONCE)
/// and balancers nothing.
async fn drain<A: Future<Output = Stop>>(
    handle: &NodeHandle,
    servers: Servers,
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
        let unfinished = let_finish(engine, servers.clients.stop(give_up.reached()), &give_up).await;
        // No handler runs on when the node has left.
        if let Some(unfinished) = unfinished {
            unfinished.close().await;
        }
        depart(engine).await;
        // Until now it has told how the drain goes.
        if let Some(probes) = servers.probes {
            probes.close();
        }
    };
    tokio::select! {
        () = drained => {}
        () = hurried => {}
    }
}
