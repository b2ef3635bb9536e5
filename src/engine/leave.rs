//! How an engine leaves the others: clients go elsewhere, and nothing names the node any longer.

use std::time::Duration;

use tracing::warn;

use super::Engine;
use crate::causes::causes;

/// How long a node that leaves may take to take itself off the sessions of which it kept copies.
const RELEASE_WITHIN: Duration = Duration::from_millis(500);

impl Engine {
    /// Sends clients whose streams are carried here to other nodes; their calls go on here until the
    /// deadline. Where there is no other node, streams stay until their calls end, or until `give_up`.
    pub(crate) async fn send_elsewhere(&self, give_up: impl Future<Output = ()>) {
        if !self.store.profile().is_shared {
            tokio::select! {
                () = self.calls.keeps_none() => {}
                () = give_up => warn!("some calls did not end in time"),
            }
        }
        self.stopping.leaving.cancel();
    }

    /// Removes this node from everything that names it, as far as that is quick, and tells the others that it
    /// is gone.
    pub(crate) async fn leave(&self) {
        self.sessions.release_all(RELEASE_WITHIN).await;
        // Calls that are left behind are claimed by survivors, as those of a node that died.
        if let Err(error) = self.store.lease_end(&self.node).await {
            let error = causes(&error);
            warn!(%error, "could not end this node's lease: it ends by itself");
        }
    }
}
