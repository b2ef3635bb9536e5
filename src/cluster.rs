//! This node among others: the sessions it keeps restored, how nodes tell each other of changes, its
//! membership.

use std::time::Duration;

use tokio::time::Instant;

pub(crate) mod cached_session;
pub(crate) mod limits;
pub(crate) mod membership;
pub(crate) mod messenger;
pub(crate) mod registry;
pub(crate) mod secrets;
pub(crate) mod seen;
pub(crate) mod sessions;
mod subscribers;

pub(crate) use cached_session::CachedSession;
pub(crate) use limits::{LimitKind, LimitedBy, RateLimits};
pub(crate) use membership::Membership;
pub(crate) use sessions::{SessionError, Sessions};
pub(crate) use subscribers::Subscribers;

/// What the monotonic clock begins with, so that 0 stands for "never" and was long ago.
const BEGINNING_MS: u64 = 24 * 60 * 60 * 1000;

/// Milliseconds by the monotonic clock: ages are measured by it, because the machine's own clock may step.
#[must_use]
pub(crate) fn monotonic_ms() -> u64 {
    BEGINNING_MS.saturating_add(millis(beginning().elapsed()))
}

#[cfg(not(test))]
fn beginning() -> Instant {
    static BEGINNING: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *BEGINNING.get_or_init(Instant::now)
}

/// Each test, and each simulation, has a clock of its own.
#[cfg(test)]
fn beginning() -> Instant {
    use std::cell::OnceCell;

    thread_local! {
        static BEGINNING: OnceCell<Instant> = const { OnceCell::new() };
    }
    BEGINNING.with(|beginning| *beginning.get_or_init(Instant::now))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
