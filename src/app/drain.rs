//! How a node stops: balancers notice, clients go elsewhere, calls finish, and nothing names the node any
//! longer.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::signal::{AT_ONCE, Stop};
use crate::engine::Engine;
use crate::http::Service;

/// How long no request must have come before the listener closes. A balancer that still sends requests pauses
/// for less.
const QUIET: Duration = Duration::from_millis(250);
/// How long a balancer may go on after `drain.delay`. It is part of the deadline.
const STRAGGLERS_WITHIN: Duration = Duration::from_secs(3);
/// How long tasks may take to stop when calls have used up the deadline.
const TASKS_STOP_WITHIN: Duration = Duration::from_millis(500);
/// How long before their end MCP tasks (SEP-2663) learn that the node stops, so that they can record their
/// outcome.
const TASKS_TOLD_BEFORE: Duration = Duration::from_secs(1);

/// Lets balancers notice that the node drains. Completes when it should accept no more connections, and says
/// when to give up what has not finished then.
pub(super) async fn announce(
    service: &Service,
    engine: &Engine,
    stop: Stop,
    hurry: &CancellationToken,
) -> GiveUp {
    let settings = &engine.settings.drain;
    let deadline = stop.deadline(settings.deadline);
    if !engine.is_draining() {
        engine.stopping.draining.cancel();
        info!(node = %engine.node, "draining");
    }
    // A node that shares nothing is the only one: no balancer has another to send its requests to.
    let shares = engine.store.profile().is_shared;
    if stop != Stop::WhenBalancersKnow || settings.delay.is_zero() || !shares {
        return GiveUp::after(deadline, hurry);
    }
    // Requests are served still: balancers send them until they have seen /readyz change.
    hurry.run_until_cancelled(sleep(settings.delay)).await;
    let give_up = GiveUp::after(deadline, hurry);
    let quiet = until_quiet(service, deadline.min(STRAGGLERS_WITHIN));
    hurry.run_until_cancelled(quiet).await;
    give_up
}

/// Sends clients elsewhere and lets calls finish. `answered` completes when all requests are answered, or
/// when it is time to give up, with what is left then. Returns that.
pub(super) async fn let_finish<U>(
    engine: &Engine,
    answered: impl Future<Output = Option<U>>,
    give_up: &GiveUp,
) -> Option<U> {
    let (unfinished, ()) = tokio::join!(answered, engine.send_elsewhere(give_up.reached()));
    if unfinished.is_some() && engine.store.profile().is_shared {
        engine.stopping.deadline.cancel();
    }
    // They share the deadline: together with the delay it must fit what the platform grants.
    let left = give_up.left().max(TASKS_STOP_WITHIN);
    let tell = async {
        sleep(left.saturating_sub(TASKS_TOLD_BEFORE)).await;
        engine.stopping.tasks.cancel();
        pending::<()>().await;
    };
    let hurry = &give_up.hurry;
    tokio::select! {
        () = engine.work.stop(left) => {}
        () = tell => {}
        () = hurry.cancelled(), if !hurry.is_cancelled() => {
            engine.stopping.tasks.cancel();
            engine.work.stop(TASKS_STOP_WITHIN).await;
        }
    }
    unfinished
}

/// Stops all that is left of the node, and leaves the others.
pub(super) async fn depart(engine: &Engine) {
    engine.supervisor.stop(TASKS_STOP_WITHIN).await;
    engine.leave().await;
    engine.store.close().await;
    engine.audit.close();
    info!(node = %engine.node, "stopped");
}

/// When a node that stops gives up what has not finished.
#[derive(Debug, Clone)]
pub(super) struct GiveUp {
    at: Instant,
    /// Fires on the second signal.
    hurry: CancellationToken,
}

impl GiveUp {
    fn after(wait: Duration, hurry: &CancellationToken) -> Self {
        Self {
            at: Instant::now() + wait,
            hurry: hurry.clone(),
        }
    }

    /// Waits until then.
    pub(super) async fn reached(&self) {
        tokio::select! {
            () = sleep_until(self.at) => {}
            () = self.hurry.cancelled() => sleep(AT_ONCE).await,
        }
    }

    /// How long that is.
    fn left(&self) -> Duration {
        let left = self.at.saturating_duration_since(Instant::now());
        match self.hurry.is_cancelled() {
            true => left.min(AT_ONCE),
            false => left,
        }
    }
}

/// Waits until requests cease, at most for `most`. A balancer that still sends requests has not noticed, and
/// its requests to a closed listener would be lost.
async fn until_quiet(service: &Service, most: Duration) {
    let until = Instant::now() + most;
    loop {
        let wait = QUIET.saturating_sub(service.quiet_for());
        if wait.is_zero() {
            return;
        }
        if Instant::now() + wait > until {
            return warn!("requests still come: drain.delay is too short for the balancer, or there is none");
        }
        sleep(wait).await;
    }
}
