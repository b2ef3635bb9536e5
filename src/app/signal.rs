//! How the process is told to stop.

use std::future::pending;
use std::time::Duration;

/// How long calls in flight may take to finish while somebody waits at a terminal.
const AT_ONCE: Duration = Duration::from_millis(500);

/// How soon to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM, as orchestrators send it: balancers must notice first.
    WhenBalancersKnow,
    /// The program that holds the node has no more use for it: calls in flight may finish.
    WhenCallsFinish,
    /// Ctrl-C: somebody waits at a terminal.
    AtOnce,
}

impl Stop {
    /// How long calls in flight may take to finish, of what `drain.deadline` allows.
    pub(super) fn deadline(self, allowed: Duration) -> Duration {
        match self {
            Self::WhenBalancersKnow | Self::WhenCallsFinish => allowed,
            Self::AtOnce => allowed.min(AT_ONCE),
        }
    }
}

/// Waits until the process is told to stop.
pub async fn told_to_stop() -> Stop {
    tokio::select! {
        () = terminated() => Stop::WhenBalancersKnow,
        () = interrupted() => Stop::AtOnce,
    }
}

async fn interrupted() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::warn!(%error, "cannot listen for Ctrl-C");
        pending::<()>().await;
    }
}

#[cfg(unix)]
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut signal) => drop(signal.recv().await),
        Err(error) => {
            tracing::warn!(%error, "cannot listen for SIGTERM");
            pending::<()>().await;
        }
    }
}

#[cfg(not(unix))]
async fn terminated() {
    pending::<()>().await;
}
