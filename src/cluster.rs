//! This node among others: the sessions it keeps restored, how nodes tell each other of changes, its lease.

use std::time::{SystemTime, UNIX_EPOCH};

pub mod lease;
pub mod live;
pub mod pulse;
pub mod registry;
pub mod ring;
pub mod secrets;
pub mod sessions;

pub use live::Live;
pub use sessions::{SessionError, Sessions};

/// The time now, in unix milliseconds.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
