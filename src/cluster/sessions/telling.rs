//! Ends a session in the store, and tells other nodes of a session's changes, though answers and messages may
//! be lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{SessionError, SessionsInner};
use crate::causes::causes;
use crate::session::{NodeId, Principal, SessionId};
use crate::store::{Ended, SessionNews};

/// For how long a node tries again to end a session, and how soon. It asks a silent store once, because the
/// client waits.
const END_AGAIN_WITHIN: Duration = Duration::from_millis(500);
const END_AGAIN: Duration = Duration::from_millis(50);
/// How soon a failed message about a session is sent again, for `store.outage_grace`.
const TELL_AGAIN: Duration = Duration::from_secs(1);

impl SessionsInner {
    /// Tells the nodes that keep copies of a session what happened. If this node has just lost the store, it
    /// tells the rest when the store is back; nobody waits for that.
    pub(super) async fn tell(self: &Arc<Self>, nodes: &[NodeId], id: &SessionId, news: SessionNews) {
        let mut unsent = self.messenger.tell_nodes(nodes, id, news).await;
        if unsent.is_empty() {
            return;
        }
        let (inner, id) = (Arc::clone(self), id.clone());
        self.supervisor.spawn("tell-later", async move {
            let until = Instant::now() + inner.outage_grace;
            while !unsent.is_empty() && Instant::now() < until {
                sleep(TELL_AGAIN).await;
                unsent = inner.messenger.tell_nodes(&unsent, &id, news).await;
            }
        });
    }

    /// Ends it in the store. When the answer to one try is lost, the next cannot tell which nodes keep
    /// copies: then all may.
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
                    debug!(session = id.tag(), error = %causes(&error), "ending a session again");
                    again = true;
                    sleep(END_AGAIN).await;
                }
                ended => return Ok(ended?),
            }
        }
    }
}
