//! How a registered call ends: with its response, or taken off because it was not run.

use std::sync::atomic::{AtomicU32, Ordering};

use tracing::{debug, warn};

use super::{DurableCall, Lost};
use crate::engine::local_streams::IsLast;
use crate::store::calls::CallEnded;
use crate::telemetry::seldom;

impl DurableCall {
    /// Unregisters a refused call. Its [registration](Self::register) failed, but may have taken effect.
    pub(crate) async fn take_off(self) {
        let (session, name, stream) = (&self.cached.id, &self.record.name, &self.record.stream);
        let end = || {
            let store = &self.engine.store;
            store.call_end(session, name, stream, None, self.node(), self.engine.stream_ttl())
        };
        match self.until_answered(self.engine.session_ttl(), end).await {
            Ok(CallEnded::Answered { .. } | CallEnded::Unanswered) => {}
            // Perhaps with its session, of which nobody else may ask this node any more.
            Ok(CallEnded::Gone) => drop(self.engine.session_gone(&self.cached).await),
            Err(Lost(_)) => debug!(
                session = self.cached.tag,
                "could not unregister a call that was not run"
            ),
        }
    }

    /// Ends the call, with its response if it has one.
    pub(super) async fn end(&self, response: Option<&[u8]>) {
        let data = response.map(String::from_utf8_lossy);
        let (session, call, stream) = (&self.cached.id, &self.record.name, &self.record.stream);
        let tries = AtomicU32::new(0);
        let end = || {
            tries.fetch_add(1, Ordering::Relaxed);
            let store = &self.engine.store;
            let data = data.as_deref();
            store.call_end(session, call, stream, data, self.node(), self.engine.stream_ttl())
        };
        let patience = self.engine.session_ttl();
        let mut ended = self.until_answered(patience, end).await;
        // On a second try, the first may have ended it.
        let unknown = matches!(ended, Ok(CallEnded::Gone)) && tries.load(Ordering::Relaxed) == 1;
        if unknown && data.is_some() {
            ended = match self.register_again(patience).await {
                Ok(true) => self.until_answered(patience, end).await,
                Ok(false) => ended,
                Err(lost) => Err(lost),
            };
        }
        match (ended, &data) {
            (Ok(CallEnded::Answered { number, holder }), Some(data)) => {
                let last = IsLast::of(&self.record);
                self.engine
                    .offer(session, stream, holder.as_ref(), (number, data), last);
            }
            // Nothing was appended, but the stream has ended: its carrier looks.
            (Ok(CallEnded::Answered { .. } | CallEnded::Unanswered), _) => {
                self.engine.streams.wake(session, stream);
            }
            (Ok(CallEnded::Gone), _) => {
                debug!(
                    session = self.cached.tag,
                    "a call ended that was no longer this node's"
                );
                self.engine.streams.wake(session, stream);
            }
            (Err(Lost(why)), _) => {
                let words = "a call's answer was lost: the store did not take it for too long";
                seldom(words, |left_out| {
                    warn!(session = self.cached.tag, why, left_out, "{words}")
                });
            }
        }
    }
}
