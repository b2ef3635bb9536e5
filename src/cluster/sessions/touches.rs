//! How often the store is told that a session is used, and so how exactly its last use is known.

use std::time::Duration;

use crate::cluster::millis;
use crate::session::SessionRecord;

/// A session is touched in the store once for each such fraction of its life.
const TOUCHES_A_LIFE: u32 = 20;

/// How often a session that is used is touched.
pub(super) fn touched_each(ttl: Duration) -> Duration {
    ttl / TOUCHES_A_LIFE
}

/// By how many milliseconds the last use of a session may be later than what is noted of it, where sessions
/// live `ttl`.
pub(crate) fn noted_within(record: &SessionRecord, ttl: Duration) -> u64 {
    match record.initialized {
        true => millis(touched_each(ttl)),
        // Its first use makes it one that is.
        false => 0,
    }
}
