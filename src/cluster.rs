//! This node among others: the sessions it keeps restored, how nodes tell each other of changes, its membership.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;

pub mod live;
pub mod membership;
pub mod registry;
pub mod ring;
pub mod secrets;
pub mod sessions;

pub use live::Live;
pub use membership::Membership;
pub use sessions::{SessionError, Sessions};

/// What the monotonic clock begins with, so that 0 stands for "never" and was long ago.
const BEGINNING_MS: u64 = 24 * 60 * 60 * 1000;

/// Milliseconds by the monotonic clock: ages are measured by it, because the machine's own clock may step.
#[must_use]
pub fn monotonic_ms() -> u64 {
    static BEGINNING: OnceLock<Instant> = OnceLock::new();
    let since = BEGINNING.get_or_init(Instant::now).elapsed();
    BEGINNING_MS.saturating_add(millis(since))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
