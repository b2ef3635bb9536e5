//! Ends a session in the store, though answers may be lost.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{SessionError, SessionsInner};
use crate::causes::causes;
use crate::session::{Principal, SessionId};
use crate::store::Ended;

/// For how long it is tried again to end a session, and how soon. A store that is silent is asked once: its
/// client waits.
const END_AGAIN_WITHIN: Duration = Duration::from_millis(500);
const END_AGAIN: Duration = Duration::from_millis(50);

impl SessionsInner {
    /// Ends it in the store. When the answer to a try is lost, the next does not say who keeps copies: then
    /// all nodes may.
    pub(super) async fn end_in_store(
        &self,
        id: &SessionId,
        owner: Option<&Principal>,
    ) -> Result<Ended, SessionError> {
        let (began, mut again) = (Instant::now(), false);
        loop {
            match self.store.end(id, owner).await {
                Ok(Ended::Gone) if again => {
                    let nodes = self.store.nodes().await?.into_iter();
                    let living = nodes.filter(|known| known.lives).map(|known| known.node);
                    return Ok(Ended::Ended(living.collect()));
                }
                Err(error) if error.may_pass() && began.elapsed() < END_AGAIN_WITHIN => {
                    debug!(session = id.tag(), error = %causes(&error), "a session is ended again");
                    again = true;
                    sleep(END_AGAIN).await;
                }
                ended => return Ok(ended?),
            }
        }
    }
}
