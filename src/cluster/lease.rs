//! This node's lease: while it lasts, other nodes know that this one is alive.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::warn;

use crate::causes::causes;
use crate::store::{Lease, Store};

/// How long a lease lasts after it was last renewed.
pub const LEASE_TTL: Duration = Duration::from_secs(3);
/// How often it is renewed: two renewals may be lost before it ends.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(1);

/// Renews the lease for as long as the node runs.
pub async fn renew(store: Arc<dyn Store>, lease: Lease) {
    let mut ticks = interval(LEASE_RENEWAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        // An attempt that takes longer than a renewal is given up, or it would cost the next one its turn.
        match timeout(LEASE_RENEWAL, store.lease_renew(&lease, LEASE_TTL)).await {
            Ok(Ok(())) => failing = false,
            Ok(Err(error)) if !failing => {
                failing = true;
                warn!(
                    error = %causes(&error),
                    "could not renew this node's lease"
                );
            }
            Err(_) if !failing => {
                failing = true;
                warn!("the store is too slow to renew this node's lease");
            }
            Ok(Err(_)) | Err(_) => {}
        }
    }
}
