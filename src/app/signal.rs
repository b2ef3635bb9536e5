//! How the process is told to stop.

use std::future::pending;

/// How soon to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM, as orchestrators send it: balancers must notice first.
    WhenBalancersKnow,
    /// Ctrl-C: somebody waits at a terminal.
    AtOnce,
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
