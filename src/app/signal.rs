//! The signals that stop the process.

use std::future::pending;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::causes::causes;

/// How long calls in flight may take to finish after Ctrl-C or a second signal.
pub(super) const AT_ONCE: Duration = Duration::from_millis(500);

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

/// Waits for the signal to stop. It listens from the call on, not only from the first poll, so it hears a
/// signal that comes while the node starts.
pub(crate) fn told_to_stop() -> impl Future<Output = Stop> {
    let (terminated, interrupted) = (heard(SignalKind::terminate()), heard(SignalKind::interrupt()));
    async move {
        tokio::select! {
            () = terminated => Stop::WhenBalancersKnow,
            () = interrupted => Stop::AtOnce,
        }
    }
}

/// Does something each time the process gets SIGHUP, which without this would end it.
pub(super) async fn on_hangup(act: impl Fn()) {
    match signal(SignalKind::hangup()) {
        Ok(mut hangups) => {
            while hangups.recv().await.is_some() {
                act();
            }
        }
        Err(error) => tracing::warn!(error = %causes(&error), "cannot listen for SIGHUP"),
    }
    pending::<()>().await;
}

fn heard(kind: SignalKind) -> impl Future<Output = ()> {
    let listening = signal(kind);
    async move {
        match listening {
            Ok(mut signal) => drop(signal.recv().await),
            Err(error) => {
                tracing::warn!(error = %causes(&error), ?kind, "cannot listen for a signal");
                pending::<()>().await;
            }
        }
    }
}
