//! What a modern client carries from one round of a call to the next, sealed.

use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{RequestStateCodec, RequestStateError, SealOptions};

use super::clock::Clock;

/// Seals what a modern client carries from one round of a call to the next (MRTR, SEP-2322): signed, not
/// encrypted, with keys that all nodes share.
#[derive(Debug, Clone)]
pub(crate) struct RequestState {
    codec: Arc<RequestStateCodec>,
    clock: Clock,
    ttl: Duration,
}

/// What a payload starts with that says when it ends: the time follows, in unix milliseconds, big-endian. Not
/// the codec's own way, which goes by the clocks of the machines that seal and open.
const ENDS: &[u8; 8] = b"\0ends-at";

impl RequestState {
    /// Seals with `codec`; what is sealed can be opened for `ttl` by this clock, which is the same on all
    /// nodes.
    #[must_use]
    pub(crate) fn new(codec: Arc<RequestStateCodec>, clock: Clock, ttl: Duration) -> Self {
        Self { codec, clock, ttl }
    }

    /// Seals `payload`, good only together with `bound`: name the principal and the call in it.
    #[must_use]
    pub(crate) fn seal(&self, payload: &[u8], bound: &[u8]) -> String {
        let ttl_ms = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        let ends_ms = self.clock.now_ms().saturating_add(ttl_ms);
        let dated = [ENDS, &ends_ms.to_be_bytes(), payload].concat();
        self.codec
            .seal_with(&dated, &SealOptions::new().associated_data(bound))
    }

    /// Opens what was sealed together with `bound`, on any node.
    ///
    /// # Errors
    /// [`RequestStateError`]. Answer a client with the same words for every reason (SEP-2322, "Security").
    pub(crate) fn open(&self, sealed: &str, bound: &[u8]) -> Result<Vec<u8>, RequestStateError> {
        let opened = self.codec.open_with(sealed, bound)?;
        let Some((ends, payload)) = opened
            .strip_prefix(ENDS)
            .and_then(|dated| dated.split_first_chunk())
        else {
            // A version sealed it that left the time to the codec.
            return Ok(opened);
        };
        if u64::from_be_bytes(*ends) <= self.clock.now_ms() {
            return Err(RequestStateError::Expired);
        }
        Ok(payload.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// M11: What was sealed ends by the store's clock, on every machine that opens it.
    #[tokio::test(start_paused = true)]
    async fn what_was_sealed_ends_by_the_clock_of_the_store() {
        let codec = Arc::new(RequestStateCodec::try_new([7; 32]).unwrap());
        let (clock, ttl) = (Clock::starting_at(1_000), Duration::from_secs(60));
        let state = RequestState::new(Arc::clone(&codec), clock, ttl);
        let sealed = state.seal(b"payload", b"alice");
        // Another machine, whose own clock is years away from the store's as well.
        let other = RequestState::new(Arc::clone(&codec), Clock::starting_at(60_999), ttl);
        assert_eq!(other.open(&sealed, b"alice").unwrap(), b"payload");
        assert!(other.open(&sealed, b"bob").is_err());
        let late = RequestState::new(Arc::clone(&codec), Clock::starting_at(61_000), ttl);
        assert!(matches!(
            late.open(&sealed, b"alice"),
            Err(RequestStateError::Expired)
        ));
        let former = codec.seal_with(b"old", &SealOptions::new().associated_data(b"alice").ttl(ttl));
        assert_eq!(
            late.open(&former, b"alice").unwrap(),
            b"old",
            "of a former version"
        );
    }
}
